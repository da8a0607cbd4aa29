#include "transport.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace engenho::http {

Transport::~Transport() {
  ssl_.reset();
  if (fd_ >= 0) ::close(fd_);
}

bool Transport::start_tls(SslPtr ssl) {
  if (!attach_ssl_io(ssl.get(), this)) return false;
  ssl_ = std::move(ssl);
  return true;
}

int Transport::ssl_read_bytes(char* buffer, int size) {
  if (in_size_ == 0) return in_end_ ? 0 : -1;
  size_t n = std::min(static_cast<size_t>(size), in_size_);
  std::memcpy(buffer, in_, n);
  in_ += n;
  in_size_ -= n;
  return static_cast<int>(n);
}

int Transport::ssl_write_bytes(const char* data, int size) {
  loop_.write_scratch().append(data, static_cast<size_t>(size));
  return size;
}

Transport::Io Transport::fill() {
  for (;;) {
    ssize_t n = ::recv(fd_, loop_.read_scratch(), Loop::kScratch, 0);
    if (n > 0) {
      in_ = loop_.read_scratch();
      in_size_ = static_cast<size_t>(n);
      return Io::kOk;
    }
    if (n == 0) {
      in_end_ = true;
      return Io::kEnd;
    }
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == EWOULDBLOCK ? Io::kAgain : Io::kError;
  }
}

Transport::Io Transport::send_raw(const char* data, size_t size, size_t& sent) {
  sent = 0;
  while (sent < size) {
    ssize_t n = ::send(fd_, data + sent, size - sent, MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK ? Io::kAgain : Io::kError;
    }
  }
  return Io::kOk;
}

Transport::Io Transport::send_cipher() {
  std::string& out = loop_.write_scratch();
  Io io = Io::kOk;
  size_t sent = 0;
  if (!cipher_.empty()) {
    cipher_ += out;
    io = send_raw(cipher_.data(), cipher_.size(), sent);
    cipher_.erase(0, sent);
    if (cipher_.empty()) cipher_ = std::string();
  } else if (!out.empty()) {
    io = send_raw(out.data(), out.size(), sent);
    if (io == Io::kAgain) cipher_.assign(out, sent, std::string::npos);
  }
  out.clear();
  return io;
}

Transport::Io Transport::handshake() {
  for (;;) {
    ERR_clear_error();
    int rc = SSL_do_handshake(ssl_.get());
    int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), rc);
    if (!loop_.write_scratch().empty() && send_cipher() == Io::kError) return Io::kError;
    if (rc == 1) return Io::kOk;
    if (why != SSL_ERROR_WANT_READ) {
      ERR_clear_error();
      return in_end_ ? Io::kEnd : Io::kError;
    }
    Io io = fill();
    if (io != Io::kOk) return io;
  }
}

Transport::Io Transport::read(std::string_view& out) {
  if (!ssl_) {
    Io io = fill();
    out = std::string_view(in_, in_size_);
    in_size_ = 0;
    return io;
  }
  for (;;) {
    ERR_clear_error();
    int n = SSL_read(ssl_.get(), loop_.plain_scratch(), static_cast<int>(Loop::kRecord));
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), n);
    // A key update or an alert wants an answer.
    if (!loop_.write_scratch().empty() && send_cipher() == Io::kError) return Io::kError;
    if (n > 0) {
      out = std::string_view(loop_.plain_scratch(), static_cast<size_t>(n));
      return Io::kOk;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
      in_size_ = 0;
      return Io::kEnd;
    }
    if (why != SSL_ERROR_WANT_READ) {
      ERR_clear_error();
      in_size_ = 0;
      return in_end_ ? Io::kEnd : Io::kError;
    }
    Io io = fill();
    if (io != Io::kOk) return io;
  }
}

Transport::Io Transport::flush(OutQueue& queue, bool& progress) {
  if (!ssl_) {
    while (!queue.empty()) {
      iovec parts[64];
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = static_cast<size_t>(queue.gather(parts, 64));
      ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
      if (n > 0) {
        progress = true;
        queue.consume(static_cast<size_t>(n));
      } else if (errno != EINTR) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? Io::kAgain : Io::kError;
      }
    }
    return Io::kOk;
  }
  if (!cipher_.empty()) {
    size_t before = cipher_.size();
    Io io = send_cipher();
    if (cipher_.size() != before) progress = true;
    if (io != Io::kOk) return io;
  }
  while (!queue.empty()) {
    std::string_view chunk = queue.contiguous(loop_.record_scratch(), Loop::kRecord);
    ERR_clear_error();
    int n = SSL_write(ssl_.get(), chunk.data(), static_cast<int>(chunk.size()));
    if (n <= 0) {
      ERR_clear_error();
      loop_.write_scratch().clear();
      return Io::kError;
    }
    progress = true;
    queue.consume(static_cast<size_t>(n));
    if (loop_.write_scratch().size() >= Loop::kScratch) {
      Io io = send_cipher();
      if (io != Io::kOk) return io;
    }
  }
  return send_cipher();
}

void Transport::shutdown_write() {
  if (ssl_ && SSL_is_init_finished(ssl_.get())) {
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    send_cipher();
  }
  ::shutdown(fd_, SHUT_WR);
}

int Transport::release(OutQueue& queue, SslPtr& ssl, std::string& raw) {
  while (!queue.empty()) {
    std::string_view chunk = queue.contiguous(loop_.record_scratch(), Loop::kRecord);
    size_t taken = chunk.size();
    if (ssl_) {
      int n = SSL_write(ssl_.get(), chunk.data(), static_cast<int>(chunk.size()));
      if (n <= 0) break;
      taken = static_cast<size_t>(n);
    } else {
      raw.append(chunk);
    }
    queue.consume(taken);
  }
  if (ssl_) {
    raw = std::move(cipher_) + loop_.write_scratch();
    loop_.write_scratch().clear();
    attach_ssl_io(ssl_.get(), nullptr);
  }
  ssl = std::move(ssl_);
  int fd = fd_;
  fd_ = -1;
  return fd;
}

}  // namespace engenho::http
