#include "socket_stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "engenho/base/threads.h"

namespace engenho::http {
namespace {

constexpr size_t kCipherScratch = 17 << 10;

int poll_timeout(MonoTime deadline) {
  if (deadline == kNoDeadline) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000'000));
}

// Waits until the descriptor is ready; the stream is only ever waited for, never spun on.
Status wait_for(int fd, short what, MonoTime deadline) {
  for (;;) {
    pollfd p{fd, what, 0};
    int n = ::poll(&p, 1, poll_timeout(deadline));
    if (n > 0) return {};
    if (n == 0) {
      if (deadline != kNoDeadline && std::chrono::steady_clock::now() >= deadline) return timeout_error("stream: timed out");
      continue;
    }
    if (errno != EINTR) return errno_error("poll", errno);
  }
}

}  // namespace

SocketStream::SocketStream(int fd, std::string input, std::string output)
    : fd_(fd), input_(std::move(input)), early_output_(std::move(output)), has_early_(!early_output_.empty()) {}

SocketStream::~SocketStream() { ::close(fd_); }

Status SocketStream::send_early(MonoTime deadline) {
  if (!has_early_.load()) return {};
  std::lock_guard lock(early_mutex_);
  if (early_output_.empty()) return {};
  ENGENHO_RETURN_IF_ERROR(send_all(early_output_, deadline));
  early_output_ = std::string();
  has_early_.store(false);
  return {};
}

Result<size_t> SocketStream::read(char* buffer, size_t size, MonoTime deadline) {
  if (input_at_ < input_.size()) {
    size_t n = std::min(size, input_.size() - input_at_);
    std::memcpy(buffer, input_.data() + input_at_, n);
    input_at_ += n;
    if (input_at_ == input_.size()) {
      input_ = std::string();
      input_at_ = 0;
    }
    return n;
  }
  ENGENHO_TRY(send_early(deadline));
  for (;;) {
    if (closed_.load()) return err(unavailable("the stream is closed"));
    ssize_t n = ::recv(fd_, buffer, size, MSG_DONTWAIT);
    if (n > 0) return static_cast<size_t>(n);
    if (n == 0) {
      if (closed_.load()) return err(unavailable("the stream is closed"));
      return 0;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return err(unavailable(std::string("read: ") + strerror(errno)));
    ENGENHO_TRY(wait_for(fd_, POLLIN, deadline));
  }
}

Status SocketStream::send_all(std::string_view data, MonoTime deadline) {
  while (!data.empty()) {
    if (closed_.load()) return unavailable("the stream is closed");
    ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      data.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return unavailable(std::string("write: ") + strerror(errno));
    ENGENHO_RETURN_IF_ERROR(wait_for(fd_, POLLOUT, deadline));
  }
  return {};
}

Status SocketStream::write(std::string_view data, MonoTime deadline) {
  ENGENHO_RETURN_IF_ERROR(send_early(deadline));
  return send_all(data, deadline);
}

Status SocketStream::shutdown_write() {
  ENGENHO_RETURN_IF_ERROR(send_early(deadline_in(std::chrono::seconds(10))));
  if (::shutdown(fd_, SHUT_WR) != 0) return unavailable(std::string("shutdown: ") + strerror(errno));
  return {};
}

void SocketStream::close() {
  closed_.store(true);
  ::shutdown(fd_, SHUT_RDWR);  // wakes whoever polls; the descriptor itself lives until nobody can be inside
}

bool SocketStream::quiet() const {
  pollfd p{fd_, POLLIN, 0};
  return !closed_.load() && ::poll(&p, 1, 0) == 0;
}

TlsStream::TlsStream(std::unique_ptr<Stream> under, SslPtr ssl, std::string input,
                     std::shared_ptr<const TlsContext> context)
    : under_(std::move(under)),
      context_(std::move(context)),
      ssl_(std::move(ssl)),
      input_(std::move(input)),
      scratch_(new char[kCipherScratch]) {
  attach_ssl_io(ssl_.get(), this);
}

TlsStream::~TlsStream() = default;

int TlsStream::ssl_read_bytes(char* buffer, int size) {
  size_t have = cipher_in_.size() - cipher_in_at_;
  if (have == 0) return in_end_ ? 0 : -1;
  size_t n = std::min(static_cast<size_t>(size), have);
  std::memcpy(buffer, cipher_in_.data() + cipher_in_at_, n);
  cipher_in_at_ += n;
  if (cipher_in_at_ == cipher_in_.size()) {
    cipher_in_.clear();
    cipher_in_at_ = 0;
  }
  return static_cast<int>(n);
}

int TlsStream::ssl_write_bytes(const char* data, int size) {
  cipher_out_.append(data, static_cast<size_t>(size));
  return size;
}

Status TlsStream::fill(MonoTime deadline, bool& end) {
  auto n = under_->read(scratch_.get(), kCipherScratch, deadline);
  if (!n) return n.error();
  std::lock_guard lock(ssl_mutex_);
  if (*n == 0) in_end_ = true;
  end = *n == 0;
  cipher_in_.append(scratch_.get(), *n);
  return {};
}

Status TlsStream::send_pending(MonoTime deadline) {
  std::string out;
  {
    std::lock_guard lock(ssl_mutex_);
    out.swap(cipher_out_);
  }
  if (out.empty()) return {};
  return under_->write(out, deadline);
}

Status TlsStream::handshake(MonoTime deadline) {
  for (;;) {
    int rc, why;
    std::string reason;
    {
      std::lock_guard lock(ssl_mutex_);
      ERR_clear_error();
      rc = SSL_do_handshake(ssl_.get());
      why = SSL_get_error(ssl_.get(), rc);
      if (rc != 1 && why != SSL_ERROR_WANT_READ) {
        long verified = SSL_get_verify_result(ssl_.get());
        reason = verified != X509_V_OK ? X509_verify_cert_error_string(verified) : in_end_ ? "the peer closed" : ssl_error_text();
      }
    }
    Status sent;
    {
      std::lock_guard lock(write_mutex_);
      sent = send_pending(deadline);
    }
    if (!reason.empty()) return unavailable("TLS handshake: " + reason);
    ENGENHO_RETURN_IF_ERROR(sent);
    if (rc == 1) return {};
    bool end = false;
    ENGENHO_RETURN_IF_ERROR(fill(deadline, end));
  }
}

Result<size_t> TlsStream::read(char* buffer, size_t size, MonoTime deadline) {
  if (input_at_ < input_.size()) {
    size_t n = std::min(size, input_.size() - input_at_);
    std::memcpy(buffer, input_.data() + input_at_, n);
    input_at_ += n;
    if (input_at_ == input_.size()) {
      input_ = std::string();
      input_at_ = 0;
    }
    return n;
  }
  for (;;) {
    bool answer;
    {
      std::lock_guard lock(ssl_mutex_);
      ERR_clear_error();
      int n = SSL_read(ssl_.get(), buffer, static_cast<int>(std::min<size_t>(size, 1 << 20)));
      if (n > 0) return static_cast<size_t>(n);
      int why = SSL_get_error(ssl_.get(), n);
      if (why == SSL_ERROR_ZERO_RETURN) return 0;
      if (why != SSL_ERROR_WANT_READ) {
        if (in_end_) return 0;
        return err(unavailable("TLS: " + ssl_error_text()));
      }
      if (in_end_) return 0;
      answer = !cipher_out_.empty();
    }
    // A key update wants an answer; when a writer is busy it takes ours along.
    if (answer) {
      if (std::unique_lock lock(write_mutex_, std::try_to_lock); lock) ENGENHO_TRY(send_pending(deadline));
    }
    bool end = false;
    ENGENHO_TRY(fill(deadline, end));
  }
}

Status TlsStream::write(std::string_view data, MonoTime deadline) {
  std::lock_guard lock(write_mutex_);
  while (!data.empty()) {
    {
      std::lock_guard ssl_lock(ssl_mutex_);
      // Up to four records in one write below.
      for (int i = 0; i < 4 && !data.empty(); ++i) {
        ERR_clear_error();
        int n = SSL_write(ssl_.get(), data.data(), static_cast<int>(std::min<size_t>(data.size(), 16 << 10)));
        if (n <= 0) return unavailable("TLS: " + ssl_error_text());
        data.remove_prefix(static_cast<size_t>(n));
      }
    }
    ENGENHO_RETURN_IF_ERROR(send_pending(deadline));
  }
  return {};
}

Status TlsStream::shutdown_write() {
  std::lock_guard lock(write_mutex_);
  {
    std::lock_guard ssl_lock(ssl_mutex_);
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  ENGENHO_RETURN_IF_ERROR(send_pending(deadline_in(std::chrono::seconds(10))));
  return under_->shutdown_write();
}

namespace {

class PrefixedStream final : public Stream {
 public:
  PrefixedStream(std::unique_ptr<Stream> stream, std::string input) : stream_(std::move(stream)), input_(std::move(input)) {}
  Result<size_t> read(char* buffer, size_t size, MonoTime deadline) override {
    if (at_ == input_.size()) return stream_->read(buffer, size, deadline);
    size_t n = std::min(size, input_.size() - at_);
    std::memcpy(buffer, input_.data() + at_, n);
    at_ += n;
    return n;
  }
  Status write(std::string_view data, MonoTime deadline) override { return stream_->write(data, deadline); }
  Status shutdown_write() override { return stream_->shutdown_write(); }
  void close() override { stream_->close(); }

 private:
  std::unique_ptr<Stream> stream_;
  const std::string input_;
  size_t at_ = 0;
};

}  // namespace

std::unique_ptr<Stream> with_input(std::unique_ptr<Stream> stream, std::string input) {
  return std::make_unique<PrefixedStream>(std::move(stream), std::move(input));
}

Status read_exactly(Stream& stream, char* buffer, size_t size, MonoTime deadline) {
  while (size > 0) {
    auto n = stream.read(buffer, size, deadline);
    if (!n) return n.error();
    if (*n == 0) return unavailable("the stream ended early");
    buffer += *n;
    size -= *n;
  }
  return {};
}

void relay(Stream& a, Stream& b) {
  auto copy = [](Stream& from, Stream& to) {
    auto buffer = std::make_unique<char[]>(32 << 10);
    for (;;) {
      auto n = from.read(buffer.get(), 32 << 10);
      if (n && *n == 0) {
        if (to.shutdown_write().ok()) return;
        break;
      }
      if (!n || !to.write({buffer.get(), *n}).ok()) break;
    }
    from.close();
    to.close();
  };
  std::thread other([&] {
    set_thread_name("http-relay");
    copy(b, a);
  });
  copy(a, b);
  other.join();
  a.close();
  b.close();
}

Result<std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>>> stream_pair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
    return err(errno_error("socketpair", errno));
  return std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>>(std::make_unique<SocketStream>(fds[0]),
                                                                   std::make_unique<SocketStream>(fds[1]));
}

}  // namespace engenho::http
