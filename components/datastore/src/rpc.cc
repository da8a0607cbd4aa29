#include "rpc.h"

#include "codec.h"

namespace engenho::datastore::rpc {

namespace {

constexpr size_t kPrefix = kPrefixBytes;       // u8 compressed, be32 length
constexpr size_t kHighWater = 256 << 10, kLowWater = 64 << 10;   // of what a stream has written and the kernel not taken
constexpr size_t kMaxInput = 8 << 20;          // of a stream that is sent faster than it is read

http::Headers head() { return {{"content-type", "application/grpc"}}; }

http::Headers trailers(const grpc::Status& status) {
  http::Headers out;
  out.add("grpc-status", std::to_string(status.error_code()));
  if (status.error_message().empty()) return out;
  // Percent-encoded, as gRPC's protocol over HTTP/2 says.
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string text;
  for (const char byte : status.error_message()) {
    const auto value = static_cast<unsigned char>(byte);
    if (value >= 0x20 && value <= 0x7e && value != '%') text.push_back(byte);
    else text.append({'%', kHex[value >> 4], kHex[value & 15]});
  }
  out.add("grpc-message", std::move(text));
  return out;
}

void refuse(http::Exchange& exchange, const grpc::Status& status) { exchange.respond(200, head(), {}, trailers(status)); }

}  // namespace

void CallCount::add() {
  std::lock_guard lock(mutex_);
  ++calls_;
}
void CallCount::remove() {
  std::lock_guard lock(mutex_);
  if (--calls_ == 0) none_.notify_all();
}
void CallCount::wait() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [this] { return calls_ == 0; });
}

std::string frame(const Message& message) {
  std::string out;
  const size_t size = message.ByteSizeLong();
  out.reserve(kPrefix + size);
  out.push_back('\0');
  put_be32(out, static_cast<uint32_t>(size));
  message.AppendToString(&out);
  return out;
}

// ---- unary ----

bool Router::UnaryBase::parse_into(Message& message) {
  const http::Request& request = exchange_->request();
  const std::string& body = request.body;
  grpc::Status bad;
  if (request.body_too_large)
    bad = {grpc::StatusCode::RESOURCE_EXHAUSTED, "grpc: received message larger than max"};
  else if (body.size() < kPrefix || get_be32(body.data() + 1) != body.size() - kPrefix)
    bad = {grpc::StatusCode::INTERNAL, "grpc: the request is not one whole message"};
  else if (body[0] != 0)
    bad = {grpc::StatusCode::UNIMPLEMENTED, "grpc: compressed messages are not supported"};
  else if (!message.ParseFromArray(body.data() + kPrefix, static_cast<int>(body.size() - kPrefix)))
    bad = {grpc::StatusCode::INTERNAL, "grpc: error unmarshalling request"};
  if (bad.ok()) return true;
  refuse(*exchange_, bad);
  return false;
}

void Router::UnaryBase::answer(const grpc::Status& status, const Message& response) {
  if (!status.ok()) refuse(*exchange_, status);
  else exchange_->respond(200, head(), http::Body(frame(response)), trailers(status));
}

void Router::UnaryBase::answer(std::string framed) {
  std::string length;
  put_be32(length, static_cast<uint32_t>(framed.size() - kPrefixBytes));
  framed.replace(0, kPrefixBytes, '\0' + length);
  exchange_->respond(200, head(), http::Body(std::move(framed)), trailers(grpc::Status::OK));
}

// ---- streams ----

void StreamCore::bind(std::shared_ptr<http::Exchange> exchange, CallCount* calls) {
  calls_ = calls;
  calls_->add();
  exchange_ = std::move(exchange);
  exchange_->start(200, head());
  const std::shared_ptr<StreamCore> self = shared_from_this();
  exchange_->on_body([self](std::string_view piece, bool end) { self->feed(piece, end); });
  exchange_->on_close([self] { self->closed(); });
}

bool StreamCore::enter(std::unique_lock<std::mutex>& lock) {
  if (done_ || finished_) return false;
  ++active_;
  lock.unlock();
  return true;
}

void StreamCore::leave(std::unique_lock<std::mutex>& lock) {
  lock.lock();
  if (--active_ > 0 || !finished_ || done_) return;
  done_ = true;
  lock.unlock();
  owner_->done();
  calls_->remove();
  lock.lock();
}

void StreamCore::feed(std::string_view piece, bool end) {
  {
    std::lock_guard lock(mutex_);
    if (input_ended_ || input_bad_) return;
    input_.append(piece);
    input_ended_ = end;
    if (input_.size() > kMaxInput) input_bad_ = true;
  }
  pump_reads();
}

void StreamCore::start_read() {
  {
    std::lock_guard lock(mutex_);
    want_read_ = true;
  }
  pump_reads();
}

void StreamCore::pump_reads() {
  const std::shared_ptr<StreamCore> self = shared_from_this();
  std::unique_lock lock(mutex_);
  if (reading_) return;
  reading_ = true;
  while (want_read_ && !finished_) {
    std::string message;
    bool whole = false;
    if (input_.size() >= kPrefix) {
      const size_t size = get_be32(input_.data() + 1);
      if (input_[0] != 0 || size > max_message_) input_bad_ = true;
      else if (input_.size() - kPrefix >= size) {
        whole = true;
        message = input_.substr(kPrefix, size);
        input_.erase(0, kPrefix + size);
      }
    }
    if (!whole && !input_ended_ && !input_bad_ && !closed_) break;
    want_read_ = false;
    if (!enter(lock)) break;
    owner_->read_done(whole && !input_bad_ ? &message : nullptr);
    leave(lock);
  }
  reading_ = false;
}

void StreamCore::start_write(std::string framed) {
  exchange_->write(http::Body(std::move(framed)));
  {
    std::lock_guard lock(mutex_);
    write_pending_ = true;
  }
  pump_writes();
}

void StreamCore::pump_writes() {
  const std::shared_ptr<StreamCore> self = shared_from_this();
  std::unique_lock lock(mutex_);
  if (writing_) return;
  writing_ = true;
  while (write_pending_ && !finished_) {
    if (!closed_ && exchange_->queued_bytes() > kHighWater) {
      writing_ = false;
      lock.unlock();
      exchange_->on_drain(kLowWater, [self] { self->pump_writes(); });
      return;
    }
    write_pending_ = false;
    const bool ok = !closed_;
    if (!enter(lock)) break;
    owner_->write_done(ok);
    leave(lock);
  }
  writing_ = false;
}

void StreamCore::closed() {
  const std::shared_ptr<StreamCore> self = shared_from_this();
  {
    std::unique_lock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    if (!enter(lock)) return;
    owner_->cancelled();
    leave(lock);
  }
  pump_writes();
  pump_reads();
}

void StreamCore::finish(const grpc::Status& status) {
  exchange_->finish(trailers(status));
  std::unique_lock lock(mutex_);
  if (finished_) return;
  finished_ = true;
  ++active_;
  lock.unlock();
  leave(lock);
}

// ---- routes ----

bool Router::streams_body(const http::Request& head) {
  const auto it = methods_.find(head.target);
  return it != methods_.end() && it->second.streams;
}

void Router::handle(std::shared_ptr<http::Exchange> exchange) {
  const http::Request& request = exchange->request();
  if (request.connection->tls && (!request.connection->peer || !request.connection->peer->verified)) {
    const std::string why = request.connection->peer ? request.connection->peer->error : "no client certificate was presented";
    if (request.headers.get("content-type").starts_with("application/grpc")) return refuse(*exchange, {grpc::StatusCode::UNAUTHENTICATED, why});
    return exchange->respond(401, {{"content-type", "text/plain"}}, http::Body(why + "\n"));
  }
  if (request.method == "GET") {
    const auto page = pages_.find(request.path());
    if (page == pages_.end()) return exchange->respond(404, {{"content-type", "text/plain"}}, http::Body("404 page not found\n"));
    const std::string text = page->second();
    return exchange->respond(200, {{"content-type", text.starts_with("{") ? "application/json" : "text/plain; version=0.0.4"}}, http::Body(text));
  }
  if (request.method != "POST" || request.protocol != http::Protocol::kHttp2 || !request.headers.get("content-type").starts_with("application/grpc"))
    return exchange->respond(415, {{"content-type", "text/plain"}}, http::Body("this port speaks gRPC\n"));
  const auto method = methods_.find(request.target);
  if (method == methods_.end())
    return refuse(*exchange, {grpc::StatusCode::UNIMPLEMENTED, "unknown method " + request.target});
  method->second.call(std::move(exchange));
}

}  // namespace engenho::datastore::rpc
