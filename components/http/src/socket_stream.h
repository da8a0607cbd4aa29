// Blocking streams: a socket, and TLS over any other stream.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "engenho/http/stream.h"
#include "tls.h"

namespace engenho::http {

// A non-blocking descriptor, waited for with poll(). Owns it.
class SocketStream final : public Stream {
 public:
  // `input`: already read. `output`: to be sent before anything else.
  explicit SocketStream(int fd, std::string input = {}, std::string output = {});
  ~SocketStream() override;
  Result<size_t> read(char* buffer, size_t size, MonoTime deadline) override;
  Status write(std::string_view data, MonoTime deadline) override;
  Status shutdown_write() override;
  void close() override;

  // Whether a pooled connection is still good: open, and the peer has sent nothing unasked.
  bool quiet() const;

 private:
  Status send_all(std::string_view data, MonoTime deadline);
  Status send_early(MonoTime deadline);
  const int fd_;
  std::atomic<bool> closed_{false};
  std::string input_;             // reader's
  size_t input_at_ = 0;
  std::mutex early_mutex_;        // guards early_output_ and the order of what is sent while it is not empty
  std::string early_output_;
  std::atomic<bool> has_early_;
};

class TlsStream final : public Stream, private SslIo {
 public:
  // After the handshake, or before it: then call handshake(). `input`: plain bytes already read.
  TlsStream(std::unique_ptr<Stream> under, SslPtr ssl, std::string input, std::shared_ptr<const TlsContext> context);
  ~TlsStream() override;
  Status handshake(MonoTime deadline);
  Result<size_t> read(char* buffer, size_t size, MonoTime deadline) override;
  Status write(std::string_view data, MonoTime deadline) override;
  Status shutdown_write() override;
  void close() override { under_->close(); }
  Stream& under() { return *under_; }

 private:
  int ssl_read_bytes(char* buffer, int size) override;
  int ssl_write_bytes(const char* data, int size) override;
  Status send_pending(MonoTime deadline);  // write_mutex_ held
  Status fill(MonoTime deadline, bool& end);

  std::unique_ptr<Stream> under_;
  std::shared_ptr<const TlsContext> context_;
  std::mutex write_mutex_;        // order of what goes to under_; taken before ssl_mutex_
  std::mutex ssl_mutex_;          // guards what follows; never held while waiting
  SslPtr ssl_;
  std::string cipher_in_, cipher_out_;
  size_t cipher_in_at_ = 0;
  bool in_end_ = false;
  std::string input_;             // reader's
  size_t input_at_ = 0;
  std::unique_ptr<char[]> scratch_;  // reader's
};

// `stream` with bytes put back in front of what it reads.
std::unique_ptr<Stream> with_input(std::unique_ptr<Stream> stream, std::string input);

}  // namespace engenho::http
