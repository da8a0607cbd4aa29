#include "connection.h"

#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <exception>

#include "engenho/base/log.h"
#include "socket_stream.h"

namespace engenho::http {
namespace {

constexpr size_t kReadBudget = 256 << 10;   // bytes of one connection in one turn
constexpr size_t kWriteBudget = 1 << 20;
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr size_t kLingerBytes = 16 << 20;
constexpr std::string_view kPrefaceStart = "PRI ";

}  // namespace

bool hop_by_hop(std::string_view name) {
  switch (name.size()) {
    case 7: return iequals(name, "upgrade");
    case 10: return iequals(name, "connection") || iequals(name, "keep-alive");
    case 16: return iequals(name, "proxy-connection");
    case 17: return iequals(name, "transfer-encoding");
    default: return false;
  }
}

Connection::Connection(IoThread& io, int fd, std::shared_ptr<Handler> handler, std::shared_ptr<const TlsContext> tls,
                       ConnectionInfo info)
    : io_(io),
      handler_(std::move(handler)),
      tls_(std::move(tls)),
      info_(std::make_shared<ConnectionInfo>(std::move(info))),
      transport_(io.loop, fd),
      state_(tls_ ? State::kHandshake : State::kOpen),
      since_(io.loop.now()),
      sent_at_(since_) {
  io_.shared.connections.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() {
  io_.loop.forget(this);
  io_.shared.connections.fetch_sub(1, std::memory_order_relaxed);
  io_.load.fetch_sub(1, std::memory_order_relaxed);
}

bool Connection::start() {
  if (tls_) {
    auto ssl = tls_->new_server();
    if (!ssl || !transport_.start_tls(std::move(*ssl))) return false;
  }
  return io_.loop.add(transport_.fd(), true, this).ok();
}

void Connection::on_ready(uint32_t events) {
  if (state_ == State::kClosed) return;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (state_ == State::kHandshake) {
    switch (transport_.handshake()) {
      case Transport::Io::kOk:
        open_session();
        // The handshake may have taken request bytes off the socket, although this event told of no input.
        readable_ = true;
        break;
      case Transport::Io::kAgain: return;
      case Transport::Io::kEnd:
      case Transport::Io::kError: close(); return;
    }
  }
  read_some();
  if (state_ != State::kClosed) wake();
}

void Connection::open_session() {
  state_ = State::kOpen;
  since_ = sent_at_ = io_.loop.now();
  auto info = std::make_shared<ConnectionInfo>(*info_);
  info->tls = true;
  info->peer = tls_->identify(transport_.ssl());
  if (const char* name = SSL_get_servername(transport_.ssl(), TLSEXT_NAMETYPE_host_name)) info->server_name = name;
  info_ = std::move(info);
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(transport_.ssl(), &protocol, &size);
  bool h2 = std::string_view(reinterpret_cast<const char*>(protocol), size) == "h2";
  session_ = h2 ? make_h2_session(*this) : make_h1_session(*this);
  if (io_.draining) session_->drain();
}

void Connection::read_some() {
  size_t budget = kReadBudget;
  while (readable_ && (state_ == State::kOpen || state_ == State::kLinger)) {
    if (!transport_.has_unread()) {
      if (session_ && state_ == State::kOpen && session_->paused()) return;
      if (budget == 0) {
        wake();
        return;
      }
    }
    std::string_view data;
    Transport::Io io = transport_.read(data);
    if (io == Transport::Io::kAgain) {
      readable_ = false;
      return;
    }
    if (io != Transport::Io::kOk) {
      close();
      return;
    }
    budget -= std::min(budget, data.size());
    if (state_ == State::kLinger) {
      lingered_ += data.size();
      if (lingered_ > kLingerBytes) close();
      continue;
    }
    if (!session_) {
      session_ = data.starts_with(kPrefaceStart) ? make_h2_session(*this) : make_h1_session(*this);
      if (io_.draining) session_->drain();
    }
    if (!session_->on_data(data)) {
      // What the session has to say about it (a 400, a GOAWAY) still goes out if it can.
      bool progress = false;
      if (state_ == State::kOpen) transport_.flush(out_, progress);
      close();
      return;
    }
  }
}

bool Connection::end_of_turn() {
  if (state_ != State::kOpen || !session_) {
    if (state_ == State::kLinger) read_some();
    return false;
  }
  size_t sent = 0;
  for (;;) {
    if (!session_->produce()) {
      close();
      return false;
    }
    if (state_ != State::kOpen) return false;
    if (out_.empty() && !transport_.blocked()) break;
    size_t before = out_.size();
    bool progress = false;
    Transport::Io io = transport_.flush(out_, progress);
    if (progress) sent_at_ = io_.loop.now();
    if (io == Transport::Io::kError) {
      close();
      return false;
    }
    if (io == Transport::Io::kAgain) break;
    sent += before;
    if (sent > kWriteBudget) {
      session_->flushed();
      return state_ == State::kOpen;
    }
  }
  session_->flushed();
  if (state_ != State::kOpen) return false;
  if (out_.empty() && !transport_.blocked()) {
    out_.release();
    sent_at_ = io_.loop.now();
    if (session_->done()) {
      if (session_->linger()) {
        start_linger();
      } else {
        transport_.shutdown_write();
        close();
      }
      return false;
    }
  }
  if (readable_ && !session_->paused()) {
    read_some();
    return state_ == State::kOpen;
  }
  return false;
}

// The answer is out while the peer still sends its body. Closing now would make the kernel reset the connection and the
// answer might be lost on its way: read on for a little while.
void Connection::start_linger() {
  session_->closed();
  state_ = State::kLinger;
  since_ = io_.loop.now();
  transport_.shutdown_write();
  read_some();
}

void Connection::tick(MonoTime now) {
  const Limits& limits = io_.shared.limits;
  switch (state_) {
    case State::kHandshake:
      if (now - since_ > limits.handshake_timeout) close("TLS handshake");
      return;
    case State::kLinger:
      if (now - since_ > kLingerTime) close();
      return;
    case State::kOpen:
      if ((!out_.empty() || transport_.blocked()) && now - sent_at_ > limits.stall_timeout) {
        close("the peer does not read");
      } else if (!session_) {
        if (now - since_ > limits.header_timeout) close("no request");
      } else if (const char* why = session_->overdue(now)) {
        close(why);
      }
      return;
    case State::kClosed: return;
  }
}

void Connection::drain() {
  if (state_ != State::kOpen || !session_) {
    close();
    return;
  }
  session_->drain();
  wake();
}

void Connection::close(const char* shed_reason) {
  if (state_ == State::kClosed) return;
  if (shed_reason) {
    io_.shared.shed.fetch_add(1, std::memory_order_relaxed);
    log::debug("http", "{}: closing {}: {}", io_.shared.name, info_->remote_address, shed_reason);
  }
  state_ = State::kClosed;
  auto self = shared_from_this();
  io_.loop.forget(this);
  if (transport_.fd() >= 0) io_.loop.remove(transport_.fd());
  if (session_) session_->closed();
  io_.connections.erase(this);
  io_.loop.bury(std::move(self));
  if (io_.draining && io_.connections.empty() && io_.on_empty) io_.on_empty();
}

void Connection::dispatch(std::shared_ptr<ExchangeImpl> exchange) {
  io_.shared.requests.fetch_add(1, std::memory_order_relaxed);
  try {
    handler_->handle(std::move(exchange));
  } catch (const std::exception& e) {
    // The exchange went with the stack: it is answered 500 as abandoned.
    log::error("http", "{}: a handler threw: {}", io_.shared.name, e.what());
  } catch (...) {
    log::error("http", "{}: a handler threw", io_.shared.name);
  }
}

bool Connection::read_rest(std::string& into) {
  while (transport_.has_unread()) {
    std::string_view data;
    if (transport_.read(data) != Transport::Io::kOk) break;
    into.append(data);
  }
  return true;
}

Result<std::unique_ptr<Stream>> Connection::detach(std::string input) {
  if (state_ != State::kOpen) return err(unavailable("the client has gone away"));
  bool progress = false;
  if (transport_.flush(out_, progress) == Transport::Io::kError) {
    close();
    return err(unavailable("the client has gone away"));
  }
  SslPtr ssl;
  std::string raw;
  io_.loop.remove(transport_.fd());
  int fd = transport_.release(out_, ssl, raw);
  std::unique_ptr<Stream> stream;
  if (ssl) {
    auto socket = std::make_unique<SocketStream>(fd, std::string(), std::move(raw));
    stream = std::make_unique<TlsStream>(std::move(socket), std::move(ssl), std::move(input), tls_);
  } else {
    stream = std::make_unique<SocketStream>(fd, std::move(input), std::move(raw));
  }
  close();
  return stream;
}

}  // namespace engenho::http
