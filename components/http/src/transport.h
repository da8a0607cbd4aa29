// A non-blocking socket with or without TLS, for the I/O threads. Bytes pass through buffers of the thread, so that an idle
// connection owns none: only what the peer would not take yet is kept here.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "loop.h"
#include "out_queue.h"
#include "tls.h"

namespace engenho::http {

class Transport final : private SslIo {
 public:
  enum class Io { kOk, kAgain, kEnd, kError };

  Transport(Loop& loop, int fd) : loop_(loop), fd_(fd) {}
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  bool start_tls(SslPtr ssl);
  int fd() const { return fd_; }
  ssl_st* ssl() const { return ssl_.get(); }

  Io handshake();  // kOk when it is done
  // Plain bytes in the thread's scratch, valid until the next read on the thread. Call it until it gives something else than
  // kOk, or has_unread() is false: encrypted bytes wait in the thread's scratch, which the next connection needs.
  Io read(std::string_view& out);
  bool has_unread() const { return in_size_ > 0; }
  // Sends what it can; kOk when `queue` and everything below it is with the kernel. `progress`: some bytes went.
  Io flush(OutQueue& queue, bool& progress);
  bool blocked() const { return !cipher_.empty(); }
  void shutdown_write();  // close_notify, best effort, and FIN

  // Ends the use here; the caller owns the descriptor. What is still in `queue` comes back, encrypted where TLS is on, in `raw`: to
  // be sent before anything else.
  int release(OutQueue& queue, SslPtr& ssl, std::string& raw);

 private:
  int ssl_read_bytes(char* buffer, int size) override;
  int ssl_write_bytes(const char* data, int size) override;
  Io fill();            // one recv into the scratch, for OpenSSL
  Io send_cipher();     // write_scratch, behind what cipher_ holds
  Io send_raw(const char* data, size_t size, size_t& sent);

  Loop& loop_;
  int fd_;
  SslPtr ssl_;
  // Within one call only: what recv gave and OpenSSL has not taken. Empty whenever control leaves this object but in read().
  const char* in_ = nullptr;
  size_t in_size_ = 0;
  bool in_end_ = false;
  std::string cipher_;  // encrypted bytes that the kernel did not take
};

}  // namespace engenho::http
