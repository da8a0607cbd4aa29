// TLS contexts and the BIO that OpenSSL reads and writes through. Callers include no OpenSSL header for it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/status.h"
#include "engenho/http/client.h"
#include "engenho/http/message.h"
#include "engenho/http/server.h"
#include "engenho/pki/certificate.h"

struct ssl_st;
struct ssl_ctx_st;

namespace engenho::http {

struct SslDeleter {
  void operator()(ssl_st* ssl) const;
};
using SslPtr = std::unique_ptr<ssl_st, SslDeleter>;

// Where a connection's OpenSSL object gets and puts its bytes. Both return the count, or -1 for "not now"; read also 0 at
// the end.
class SslIo {
 public:
  virtual ~SslIo() = default;
  virtual int ssl_read_bytes(char* buffer, int size) = 0;
  virtual int ssl_write_bytes(const char* data, int size) = 0;
};
bool attach_ssl_io(ssl_st* ssl, SslIo* io);  // replaces an earlier one

// Immutable after it was made; connections share it.
class TlsContext {
 public:
  static Result<std::shared_ptr<const TlsContext>> for_server(const TlsServerOptions& options);
  static Result<std::shared_ptr<const TlsContext>> for_client(const TlsClientOptions& options);
  ~TlsContext();

  Result<SslPtr> new_server() const;
  // `host`: for SNI and verification, unless the options name another or skip it.
  Result<SslPtr> new_client(const std::string& host) const;
  // After the handshake of a server connection; null when the client showed no certificate.
  std::shared_ptr<const PeerIdentity> identify(ssl_st* ssl) const;

 private:
  TlsContext() = default;
  ssl_ctx_st* ctx_ = nullptr;
  bool http2_ = false;
  std::vector<pki::Certificate> client_roots_;
  std::string server_name_;
  bool skip_verify_ = false;
};

std::string ssl_error_text();  // the first error of the queue; empties it

}  // namespace engenho::http
