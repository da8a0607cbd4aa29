// HTTP server: HTTP/1.1 and HTTP/2 (ALPN, or prior knowledge on plain sockets) over TCP, TLS and Unix sockets.
//
// A few I/O threads each run one event loop; a connection lives on one of them. Handlers are called there and must not
// block: they answer at once, or keep the Exchange and answer from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/http/message.h"
#include "engenho/http/stream.h"

namespace engenho::http {

// One request and its response. All calls are thread-safe; after the exchange is closed they do nothing. Dropping the
// last reference before answering makes the server answer 500.
//
// It is an interface, so that a handler can be driven in process and by tests.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // Unchanging after the handler was called, except by the handler itself (it may move parts out).
  Request& request() { return request_; }
  const Request& request() const { return request_; }

  // The whole answer. Content-Length and Date are added; the body of a HEAD, 204 or 304 is not sent.
  virtual void respond(int status, Headers headers, Body body) = 0;

  // A streamed answer: start, write..., finish. HTTP/1.1 sends it chunked unless Content-Length is among `headers`.
  virtual void start(int status, Headers headers) = 0;
  // Queues and returns. False when closed. A queue over Limits::max_queued_bytes aborts the exchange: look at
  // queued_bytes() and wait with on_drain() before that.
  virtual bool write(Body body) = 0;
  virtual size_t queued_bytes() const = 0;  // written, and not yet given to the kernel (roughly, 64 KiB less)
  // Calls `fn` once when queued_bytes() <= `low_water` (at once, on this thread, if it is so already), or when the exchange
  // closes. One at a time: a new one replaces the old. Otherwise on the I/O thread: do not block.
  virtual void on_drain(size_t low_water, std::function<void()> fn) = 0;
  virtual void finish() = 0;
  // The same with fields after the body. HTTP/2 only; elsewhere they are left out.
  virtual void finish(Headers trailers) { finish(); }
  virtual void respond(int status, Headers headers, Body body, Headers trailers) { respond(status, std::move(headers), std::move(body)); }
  // For a request whose body is streamed (Handler::streams_body): `fn` is called on the I/O thread for each piece as it comes, the last time
  // with `end`. To be set within handle(). Pieces are not held back: whoever cannot take more aborts.
  virtual void on_body(std::function<void(std::string_view piece, bool end)> fn) {}
  // Cuts it off so that the client notices: HTTP/2 resets the stream, HTTP/1.1 closes the connection.
  virtual void abort() = 0;

  // Calls `fn` once when the exchange ends before the answer was sent whole: the client went away, stalled, was aborted,
  // the server stops. At once on this thread if that is so already, else on the I/O thread. After a full answer it is
  // dropped without a call.
  virtual void on_close(std::function<void()> fn) = 0;
  virtual bool closed() const = 0;  // ended that way, or answered in full

  // Answers 101 with `headers` (Connection and Upgrade are the caller's) and hands over the connection.
  // HTTP/1.1 only. Call it from a worker thread or from within handle().
  virtual Result<std::unique_ptr<Stream>> upgrade(Headers headers) = 0;

 protected:
  Request request_;
};

class Handler {
 public:
  virtual ~Handler() = default;
  // On an I/O thread, when the request and its whole body are there.
  virtual void handle(std::shared_ptr<Exchange> exchange) = 0;
  // Body limit in bytes for a request of which all but the body is known; nullopt: Limits::max_body_bytes.
  virtual std::optional<size_t> max_body(const Request& head) { return std::nullopt; }
  // True: handle() is called before the body is there, and gets it by Exchange::on_body(). HTTP/2 only.
  virtual bool streams_body(const Request& head) { return false; }
};

struct TlsServerOptions {
  std::string certificate_pem;            // leaf first, then intermediates
  std::string key_pem;
  bool request_client_certificate = false;
  std::string client_ca_pem;              // pool for PeerIdentity::verified; may be empty
  bool http2 = true;                      // offer h2 by ALPN
};

struct Limits {
  size_t max_connections = 20'000;
  size_t max_header_bytes = 128 << 10;    // request line and fields; over it: 431
  size_t max_body_bytes = (3 << 20) + (64 << 10);
  size_t max_buffered_body_bytes = 512 << 20;  // bodies being received, over all connections: beyond, streams are refused
  uint32_t max_streams = 250;             // concurrent per HTTP/2 connection
  size_t max_queued_bytes = 128 << 20;    // per exchange, written and not yet sent; respond() is exempt
  Duration handshake_timeout = std::chrono::seconds(10);
  Duration header_timeout = std::chrono::seconds(32);  // from the first byte of a request (or the connection) to its last header
  Duration body_timeout = std::chrono::seconds(60);    // without any progress of the body
  Duration idle_timeout = std::chrono::seconds(180);   // no request in flight
  Duration stall_timeout = std::chrono::seconds(60);   // bytes wait and the peer takes none
  // HTTP/2 abuse: token buckets per connection; when empty, GOAWAY(ENHANCE_YOUR_CALM) and close.
  uint32_t reset_burst = 1000, resets_per_second = 50;
  uint32_t control_burst = 1000, control_per_second = 100;  // PING, SETTINGS, PRIORITY, empty DATA
};

struct ServerOptions {
  std::string name = "http";              // thread names and logs
  int threads = 2;
  Limits limits;
};

struct ServerStats {
  uint64_t connections = 0;               // open now
  uint64_t accepted = 0, refused = 0, requests = 0, shed = 0;  // since start; shed: cut for a limit or time-out
};

using ListenerId = int;

class Server {
 public:
  explicit Server(ServerOptions options = {});
  ~Server();  // stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Before or after start(). Port 0 takes a free one, see port(). Address "" or "::": all, IPv4 too. Without `tls`: plain.
  Result<ListenerId> listen_tcp(const std::string& address, uint16_t port, std::shared_ptr<Handler> handler,
                                std::optional<TlsServerOptions> tls = std::nullopt);
  // Replaces a stale socket file. The file is removed by stop().
  Result<ListenerId> listen_unix(const std::string& path, unsigned mode, std::shared_ptr<Handler> handler);
  uint16_t port(ListenerId listener) const;
  // New certificate or client CA for connections from now on.
  Status set_tls(ListenerId listener, const TlsServerOptions& tls);

  Status start();
  // Stops listening, sends GOAWAY, lets exchanges in flight finish for `grace`, cuts the rest, joins. No handler
  // runs after it. Streamed answers (watches) must be ended by their owner, or they last the whole grace.
  void stop(Duration grace);
  ServerStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::http
