// HTTP/1.1 client with blocking calls, for worker threads. TCP, TLS and Unix sockets, a keep-alive pool, a deadline on
// every step. Any blocked call ends when its StopToken is stopped, or when the thing it belongs to is closed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"
#include "engenho/http/message.h"
#include "engenho/http/stream.h"

namespace engenho::http {

struct Url {
  std::string scheme;   // "http", "https", "ws", "wss"; lower case
  std::string host;     // without brackets
  uint16_t port = 0;    // the scheme's when none is given
  std::string target;   // "/path?query", at least "/"
  std::string authority() const;  // host[:port], for the Host field
};
Result<Url> parse_url(std::string_view text);

struct TlsClientOptions {
  std::string ca_pem;                // empty: the system's roots
  std::string certificate_pem, key_pem;  // client certificate, optional
  std::string server_name;           // empty: the host dialled. What is verified, and SNI.
  bool insecure_skip_verify = false;
};

// Connects. `stop` may be null.
Result<std::unique_ptr<Stream>> dial_tcp(const std::string& host, uint16_t port, MonoTime deadline,
                                         const StopToken* stop = nullptr);
Result<std::unique_ptr<Stream>> dial_unix(const std::string& path, MonoTime deadline);
Result<std::unique_ptr<Stream>> dial_tls(const std::string& host, uint16_t port, const TlsClientOptions& tls,
                                         MonoTime deadline, const StopToken* stop = nullptr);

struct ClientOptions {
  TlsClientOptions tls;
  std::string unix_socket;           // when set, everything goes there, whatever the URL's host
  // Replaces name resolution and connecting for TCP (a Service's endpoint, a test); TLS is put on top of it here.
  std::function<Result<std::unique_ptr<Stream>>(const std::string& host, uint16_t port, MonoTime deadline,
                                                const StopToken* stop)> dial;
  Duration connect_timeout = std::chrono::seconds(10);      // connection and TLS handshake
  Duration header_timeout = std::chrono::seconds(60);       // from the request to the response's head
  Duration idle_timeout = std::chrono::seconds(60);         // of a pooled connection
  size_t max_idle_connections = 8;                          // in all
  size_t max_head_bytes = 256 << 10;
  size_t max_response_bytes = 64 << 20;                     // send() only
  int max_redirects = 0;                                    // GET and HEAD; credentials are dropped on another host
  bool redirects_stay = false;                              // one to another host name is the answer, and is not followed
};

struct ClientRequest {
  std::string method = "GET";
  std::string url;
  Headers headers;                   // Host, Content-Length and Connection are added
  Body body;
  Duration timeout = std::chrono::seconds(30);  // send(): the whole call. open() and upgrade(): up to the response's head.
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;
};

// A response whose body is read as it comes. One reader; close() from any thread unblocks it. Reading to the end gives the
// connection back to the pool.
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;
  virtual int status() const = 0;
  virtual const Headers& headers() const = 0;
  // At least one byte; 0 at the end of the body. A body cut short is an error.
  virtual Result<size_t> read(char* buffer, size_t size, MonoTime deadline = kNoDeadline) = 0;
  virtual void close() = 0;
};

struct Upgraded {
  int status = 0;                    // 101, else the refusal
  Headers headers;
  std::unique_ptr<Stream> stream;    // null unless 101
  std::string body;                  // of a refusal, at most 64 KiB
};

// Thread-safe; each call uses a connection of its own. Errors: Timeout, ServiceUnavailable (cannot connect, connection
// lost, stopped), BadRequest (URL), InternalError (malformed response). An HTTP error status is not an error.
class Client {
 public:
  explicit Client(ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // A pooled connection that turns out dead before the first response byte is retried once on a new one if the method is
  // idempotent.
  Result<ClientResponse> send(const ClientRequest& request, const StopToken* stop = nullptr);
  // `stop` stays in force until the returned stream is destroyed.
  Result<std::unique_ptr<ResponseStream>> open(const ClientRequest& request, const StopToken* stop = nullptr);
  // Connection and Upgrade fields are the caller's.
  Result<Upgraded> upgrade(const ClientRequest& request, const StopToken* stop = nullptr);
  void close_idle();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace engenho::http
