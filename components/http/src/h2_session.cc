// HTTP/2 on a server connection: nghttp2 does framing, HPACK, priorities and flow control; bodies leave as references to
// the handler's bytes (NO_COPY data frames).
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>

#include "connection.h"
#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "h1_parser.h"

namespace engenho::http {
namespace {

constexpr int32_t kConnectionWindow = 4 << 20;
constexpr uint32_t kStreamWindow = 512 << 10;

// So many at once, and so many a second after that.
class TokenBucket {
 public:
  TokenBucket(uint32_t burst, uint32_t per_second) : burst_(burst), rate_(per_second), tokens_(burst) {}
  bool take(MonoTime now) {
    tokens_ = std::min(burst_, tokens_ + rate_ * std::chrono::duration<double>(now - last_).count());
    last_ = now;
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  double burst_, rate_, tokens_;
  MonoTime last_ = std::chrono::steady_clock::now();
};

struct H2Stream {
  int32_t id = 0;
  std::shared_ptr<ExchangeImpl> exchange;  // until it is dispatched
  std::shared_ptr<Reply> reply;
  size_t header_bytes = 0, body_limit = 0, counted = 0;
  bool headers_done = false, request_done = false, too_many_headers = false, bad = false;
  bool head_sent = false, end_sent = false, head_request = false;
  bool streaming = false;                  // the handler takes the body in pieces
  bool end_data = false;                   // nghttp2 was told that no more data will come
  MonoTime progress;                       // of receiving the request, later of sending
  H2Stream* previous = nullptr;
  H2Stream* next = nullptr;
};

class H2Session final : public Session {
 public:
  explicit H2Session(Connection& connection);
  ~H2Session() override;

  bool on_data(std::string_view data) override;
  bool produce() override;
  void flushed() override;
  bool done() const override { return !nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_); }
  const char* overdue(MonoTime now) override;
  void drain() override;
  void closed() override;
  void reply_ready(Reply& reply) override;
  Result<std::unique_ptr<Stream>> upgrade(Reply&, Headers) override {
    return err(bad_request("only HTTP/1.1 connections can be upgraded"));
  }

 private:
  static H2Session& self(void* user) { return *static_cast<H2Session*>(user); }
  static nghttp2_session_callbacks* callbacks();
  static nghttp2_option* options(bool unix_socket);
  H2Stream* stream(int32_t id) { return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session_, id)); }

  int on_begin_headers(int32_t id);
  int on_header(H2Stream& s, std::string_view name, std::string_view value);
  int on_frame(const nghttp2_frame& frame);
  int on_body(int32_t id, std::string_view data);
  void on_headers_done(H2Stream& s);
  void on_stream_end(int32_t id, uint32_t error);
  ssize_t on_read(H2Stream& s, size_t length, uint32_t* flags);
  int on_send_data(H2Stream& s, const uint8_t* head, size_t length);

  void dispatch(H2Stream& s);
  void end_request(H2Stream& s);
  void submit_head(H2Stream& s);
  void submit_trailers(H2Stream& s);
  void answer_here(H2Stream& s, int status);
  void count_body(H2Stream& s, size_t bytes);
  void reset(int32_t id, uint32_t error) { nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, error); }
  void enhance_your_calm(const char* why);
  void link(H2Stream* s);
  void unlink(H2Stream* s);

  Connection& c_;
  nghttp2_session* session_ = nullptr;
  H2Stream* first_ = nullptr;
  size_t streams_ = 0;
  std::vector<std::shared_ptr<Reply>> drained_;
  TokenBucket resets_, controls_;
  MonoTime active_at_, drain_at_;
  bool dead_ = false;            // a callback found a reason to cut at once
  bool draining_ = false, goaway_sent_ = false;
  std::vector<nghttp2_nv> fields_;
  std::string names_;            // lower-cased field names of fields_
};

nghttp2_session_callbacks* H2Session::callbacks() {
  static nghttp2_session_callbacks* const shared = [] {
    nghttp2_session_callbacks* cb = nullptr;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_send_callback(
        cb, [](nghttp2_session*, const uint8_t* data, size_t size, int, void* user) -> ssize_t {
          OutQueue& out = self(user).c_.out();
          if (out.size() > Connection::kHighWater) return NGHTTP2_ERR_WOULDBLOCK;
          out.append_copy({reinterpret_cast<const char*>(data), size});
          return static_cast<ssize_t>(size);
        });
    nghttp2_session_callbacks_set_send_data_callback(
        cb, [](nghttp2_session*, nghttp2_frame* frame, const uint8_t* head, size_t length, nghttp2_data_source* source,
               void* user) -> int { return self(user).on_send_data(*static_cast<H2Stream*>(source->ptr), head, length); });
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        cb, [](nghttp2_session*, const nghttp2_frame* frame, void* user) -> int {
          if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
          return self(user).on_begin_headers(frame->hd.stream_id);
        });
    nghttp2_session_callbacks_set_on_header_callback(
        cb, [](nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
               const uint8_t* value, size_t value_size, uint8_t, void* user) -> int {
          H2Stream* s = self(user).stream(frame->hd.stream_id);
          if (!s) return 0;
          return self(user).on_header(*s, {reinterpret_cast<const char*>(name), name_size},
                                      {reinterpret_cast<const char*>(value), value_size});
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        cb, [](nghttp2_session*, const nghttp2_frame* frame, void* user) -> int { return self(user).on_frame(*frame); });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        cb, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* user) -> int {
          return self(user).on_body(id, {reinterpret_cast<const char*>(data), size});
        });
    nghttp2_session_callbacks_set_on_frame_send_callback(
        cb, [](nghttp2_session*, const nghttp2_frame* frame, void* user) -> int {
          if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
          if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
          if (H2Stream* s = self(user).stream(frame->hd.stream_id)) {
            s->end_sent = true;
            // Answered before the request was whole (413): the client may stop sending (RFC 9113, section 8.1).
            if (!s->request_done) self(user).reset(s->id, NGHTTP2_NO_ERROR);
          }
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        cb, [](nghttp2_session*, int32_t id, uint32_t error, void* user) -> int {
          self(user).on_stream_end(id, error);
          return 0;
        });
    return cb;
  }();
  return shared;
}

nghttp2_option* H2Session::options(bool unix_socket) {
  const auto make = [](bool lenient) {
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    // gRPC's clients put the socket's path into :authority, which nghttp2 takes for an attack. Who may open the socket needs none.
    nghttp2_option_set_no_http_messaging(option, lenient ? 1 : 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    // Header blocks over our limit are read to the end (HPACK state) and answered 431; past this nghttp2 cuts.
    nghttp2_option_set_max_send_header_block_length(option, 256 << 10);
    return option;
  };
  static nghttp2_option* const strict = make(false);
  static nghttp2_option* const lenient = make(true);
  return unix_socket ? lenient : strict;
}

H2Session::H2Session(Connection& connection)
    : c_(connection),
      resets_(connection.limits().reset_burst, connection.limits().resets_per_second),
      controls_(connection.limits().control_burst, connection.limits().control_per_second),
      active_at_(connection.loop().now()) {
  nghttp2_session_server_new2(&session_, callbacks(), this, options(c_.info()->remote_ip.empty()));
  const Limits& limits = c_.limits();
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.max_header_bytes)},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

H2Session::~H2Session() {
  closed();
  nghttp2_session_del(session_);
}

void H2Session::link(H2Stream* s) {
  s->next = first_;
  if (first_) first_->previous = s;
  first_ = s;
  ++streams_;
}

void H2Session::unlink(H2Stream* s) {
  if (s->previous) s->previous->next = s->next;
  if (s->next) s->next->previous = s->previous;
  if (first_ == s) first_ = s->next;
  --streams_;
}

bool H2Session::on_data(std::string_view data) {
  active_at_ = c_.loop().now();
  ssize_t n = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  if (n < 0) {
    nghttp2_session_terminate_session(session_, n == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    nghttp2_session_send(session_);
    return false;
  }
  return !dead_;
}

bool H2Session::produce() {
  if (dead_) return false;
  return nghttp2_session_send(session_) == 0 && !dead_;
}

void H2Session::flushed() {
  if (drained_.empty()) return;
  std::vector<std::shared_ptr<Reply>> due;
  due.swap(drained_);
  for (auto& reply : due) reply->run_drain();
}

int H2Session::on_begin_headers(int32_t id) {
  auto* s = new H2Stream;
  s->id = id;
  s->progress = c_.loop().now();
  s->exchange = std::make_shared<ExchangeImpl>();
  Request& request = s->exchange->request();
  request.protocol = Protocol::kHttp2;
  request.connection = c_.info();
  request.headers.reserve(12);
  nghttp2_session_set_stream_user_data(session_, id, s);
  link(s);
  return 0;
}

int H2Session::on_header(H2Stream& s, std::string_view name, std::string_view value) {
  if (s.headers_done || name.empty()) return 0;  // trailers
  s.header_bytes += name.size() + value.size() + 32;
  if (s.header_bytes > c_.limits().max_header_bytes + 4096) {
    if (!s.too_many_headers) s.exchange->request().headers.clear();
    s.too_many_headers = true;
    return 0;
  }
  Request& request = s.exchange->request();
  if (name.front() == ':') {
    if (name == ":method") request.method = value;
    if (name == ":path") request.target = value;
    if (name == ":authority") request.host = value;
    return 0;
  }
  if (name == "cookie") {  // may come in pieces (RFC 9113, section 8.2.3); nobody here reads it
    request.headers.add(std::string(name), std::string(value));
    return 0;
  }
  if (name == "host" && request.host.empty()) request.host = value;
  request.headers.add(std::string(name), std::string(value));
  return 0;
}

int H2Session::on_frame(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS: {
      H2Stream* s = stream(frame.hd.stream_id);
      if (!s) break;
      if (!s->headers_done) {
        on_headers_done(*s);
        // The handler may have run and reset the stream.
        s = stream(frame.hd.stream_id);
      }
      if (s && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) && !s->request_done) {
        end_request(*s);
      }
      break;
    }
    case NGHTTP2_DATA: {
      H2Stream* s = stream(frame.hd.stream_id);
      bool end = frame.hd.flags & NGHTTP2_FLAG_END_STREAM;
      if (frame.hd.length == 0 && !end && !controls_.take(c_.loop().now())) enhance_your_calm("empty DATA frames");
      if (s && end && !s->request_done) {
        end_request(*s);
      }
      break;
    }
    case NGHTTP2_RST_STREAM:
      if (!resets_.take(c_.loop().now())) enhance_your_calm("stream resets");
      break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
    case NGHTTP2_PRIORITY:
      if (!(frame.hd.flags & NGHTTP2_FLAG_ACK) && !controls_.take(c_.loop().now())) enhance_your_calm("control frames");
      break;
    default: break;
  }
  return 0;
}

void H2Session::enhance_your_calm(const char* why) {
  if (dead_ || goaway_sent_) return;
  goaway_sent_ = true;
  c_.io().shared.shed.fetch_add(1, std::memory_order_relaxed);
  log::info("http", "{}: {} floods: {}", c_.io().shared.name, c_.info()->remote_address, why);
  nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
}

void H2Session::on_headers_done(H2Stream& s) {
  s.headers_done = true;
  s.progress = c_.loop().now();
  if (s.too_many_headers) {
    answer_here(s, 431);
    return;
  }
  Request& request = s.exchange->request();
  if (request.target.empty()) request.target = request.host;  // CONNECT
  if (!request.headers.contains("host")) request.headers.add("host", request.host);
  s.head_request = request.method == "HEAD";
  if (c_.handler().streams_body(request)) {
    s.streaming = true;
    dispatch(s);
    return;
  }
  s.body_limit = c_.handler().max_body(request).value_or(c_.limits().max_body_bytes);
  int64_t length = 0;
  const std::string* declared = request.headers.find("content-length");
  if (declared && parse_int(*declared, length) && length > 0) {
    if (static_cast<uint64_t>(length) > s.body_limit) {
      request.body_too_large = true;
      dispatch(s);
    } else if (length <= (64 << 10)) {
      request.body.reserve(static_cast<size_t>(length));
    }
  }
}

int H2Session::on_body(int32_t id, std::string_view data) {
  H2Stream* s = stream(id);
  if (s && s->streaming) {
    const std::shared_ptr<Reply> reply = s->reply;
    reply->deliver(data, false);
    return 0;
  }
  if (!s || !s->exchange) return 0;  // answered before it was whole: what still comes is dropped
  s->progress = c_.loop().now();
  Request& request = s->exchange->request();
  if (request.body.size() + data.size() > s->body_limit) {
    request.body = std::string();
    request.body_too_large = true;
    dispatch(*s);
    return 0;
  }
  count_body(*s, data.size());
  if (c_.io().shared.buffered_bodies.load(std::memory_order_relaxed) > c_.limits().max_buffered_body_bytes) {
    c_.io().shared.shed.fetch_add(1, std::memory_order_relaxed);
    s->exchange.reset();
    count_body(*s, 0);
    reset(id, NGHTTP2_REFUSED_STREAM);
    return 0;
  }
  request.body.append(data);
  return 0;
}

void H2Session::count_body(H2Stream& s, size_t bytes) {
  auto& total = c_.io().shared.buffered_bodies;
  if (bytes) {
    total.fetch_add(bytes, std::memory_order_relaxed);
    s.counted += bytes;
  } else {
    total.fetch_sub(s.counted, std::memory_order_relaxed);
    s.counted = 0;
  }
}

void H2Session::end_request(H2Stream& s) {
  s.request_done = true;
  if (s.exchange) {
    dispatch(s);
  } else if (s.streaming) {
    const std::shared_ptr<Reply> reply = s.reply;  // the callback may end the stream
    reply->deliver({}, true);
  }
}

void H2Session::dispatch(H2Stream& s) {
  if (s.too_many_headers || s.reply) return;
  count_body(s, 0);
  s.reply = std::make_shared<Reply>(c_.loop(), this, s.id, c_.limits().max_queued_bytes, false);
  auto exchange = std::move(s.exchange);
  exchange->bind(s.reply);
  c_.dispatch(std::move(exchange));
}

void H2Session::answer_here(H2Stream& s, int status) {
  s.exchange.reset();
  s.reply = std::make_shared<Reply>(c_.loop(), this, s.id, c_.limits().max_queued_bytes, false);
  s.reply->begin(status, {{"content-type", "text/plain; charset=utf-8"}}, Body::fixed(status_text(status)), true);
}

void H2Session::reply_ready(Reply& reply) {
  H2Stream* s = stream(reply.stream_id());
  if (!s || s->reply.get() != &reply) return;
  const bool was_empty = reply.ready_bytes() == 0;
  reply.take();
  c_.wake();
  if (was_empty) s->progress = c_.loop().now();
  if (reply.aborted()) {
    reset(s->id, s->head_sent ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
    return;
  }
  if (!reply.has_head()) return;
  if (!s->head_sent) {
    submit_head(*s);
  } else if (!s->end_data && (reply.ready_bytes() > 0 || reply.finished())) {
    nghttp2_session_resume_data(session_, s->id);
  }
}

void H2Session::submit_head(H2Stream& s) {
  Reply& reply = *s.reply;
  s.head_sent = true;
  const int status = reply.status();
  bool has_length = false, has_date = false;
  const Headers& headers = reply.headers();
  fields_.clear();
  names_.clear();
  // names_ must not move while fields_ points into it.
  size_t name_bytes = 0;
  for (const Headers::Field& field : headers) name_bytes += field.name.size();
  names_.reserve(name_bytes);
  auto add = [&](std::string_view name, std::string_view value) {
    fields_.push_back(nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                                 reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                                 NGHTTP2_NV_FLAG_NONE});
  };
  char status_line[8];
  auto [status_end, status_error] = std::to_chars(status_line, status_line + sizeof status_line, status);
  add(":status", {status_line, static_cast<size_t>(status_end - status_line)});
  for (const Headers::Field& field : headers) {
    if (hop_by_hop(field.name) || !valid_field_name(field.name) || !valid_field_value(field.value)) continue;
    size_t at = names_.size();
    for (char c : field.name) names_ += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    std::string_view name = std::string_view(names_).substr(at);
    if (name == "content-length") has_length = true;
    if (name == "date") has_date = true;
    add(name, field.value);
  }
  const bool no_body = reply.finished() && reply.ready_bytes() == 0;
  const bool trailers = reply.finished() && !reply.trailers().empty();
  if (no_body && trailers) {
    for (const Headers::Field& field : reply.trailers())
      if (valid_field_name(field.name) && valid_field_value(field.value)) add(field.name, field.value);
  }
  if (!has_date) add("date", c_.loop().http_date());
  char length[24];
  if (!has_length && reply.whole() && !trailers && status != 204 && status != 304) {
    auto [end, error] = std::to_chars(length, length + sizeof length, reply.ready_bytes());
    add("content-length", {length, static_cast<size_t>(end - length)});
  }
  if (s.head_request || status == 204 || status == 304) reply.drop_body();
  int rc;
  if (reply.body_dropped() || (reply.finished() && reply.ready_bytes() == 0)) {
    s.end_data = true;
    rc = nghttp2_submit_response(session_, s.id, fields_.data(), fields_.size(), nullptr);
  } else {
    nghttp2_data_provider provider{};
    provider.source.ptr = &s;
    provider.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t size, uint32_t* flags,
                                nghttp2_data_source* source, void* user) -> ssize_t {
      return self(user).on_read(*static_cast<H2Stream*>(source->ptr), size, flags);
    };
    rc = nghttp2_submit_response(session_, s.id, fields_.data(), fields_.size(), &provider);
  }
  if (rc != 0) {
    log::warn("http", "{}: cannot answer a stream: {}", c_.io().shared.name, nghttp2_strerror(rc));
    reset(s.id, NGHTTP2_INTERNAL_ERROR);
  }
}

void H2Session::submit_trailers(H2Stream& s) {
  fields_.clear();
  for (const Headers::Field& field : s.reply->trailers()) {
    if (!valid_field_name(field.name) || !valid_field_value(field.value)) continue;
    fields_.push_back(nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(field.name.data())),
                                 reinterpret_cast<uint8_t*>(const_cast<char*>(field.value.data())), field.name.size(), field.value.size(),
                                 NGHTTP2_NV_FLAG_NONE});
  }
  nghttp2_submit_trailer(session_, s.id, fields_.data(), fields_.size());
}

ssize_t H2Session::on_read(H2Stream& s, size_t length, uint32_t* flags) {
  Reply& reply = *s.reply;
  size_t n = std::min(length, reply.ready_bytes());
  if (n == 0 && !reply.finished()) return NGHTTP2_ERR_DEFERRED;
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (n == reply.ready_bytes() && reply.finished()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    s.end_data = true;
    if (!reply.trailers().empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      submit_trailers(s);
    }
  }
  return static_cast<ssize_t>(n);
}

int H2Session::on_send_data(H2Stream& s, const uint8_t* head, size_t length) {
  OutQueue& out = c_.out();
  if (out.size() > Connection::kHighWater) return NGHTTP2_ERR_WOULDBLOCK;
  out.append_copy({reinterpret_cast<const char*>(head), 9});
  Reply& reply = *s.reply;
  while (length > 0) {
    Segment segment = reply.pop(length);
    length -= segment.size;
    out.append(std::move(segment));
  }
  s.progress = c_.loop().now();
  if (reply.drain_due()) drained_.push_back(s.reply);
  return 0;
}

void H2Session::on_stream_end(int32_t id, uint32_t) {
  H2Stream* s = stream(id);
  if (!s) return;
  nghttp2_session_set_stream_user_data(session_, id, nullptr);
  unlink(s);
  count_body(*s, 0);
  active_at_ = c_.loop().now();
  std::unique_ptr<H2Stream> owner(s);
  if (s->reply) s->reply->close(s->end_sent);
}

const char* H2Session::overdue(MonoTime now) {
  const Limits& limits = c_.limits();
  if (draining_ && !goaway_sent_ && now >= drain_at_) {
    goaway_sent_ = true;
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                          nullptr, 0);
    c_.wake();
  }
  if (streams_ == 0) {
    if (!goaway_sent_ && now - active_at_ > limits.idle_timeout) {
      goaway_sent_ = true;
      nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR);
      c_.wake();
    } else if (now - active_at_ > limits.idle_timeout + limits.header_timeout) {
      return "idle";
    }
    return nullptr;
  }
  for (H2Stream* s = first_; s; s = s->next) {
    if (!s->headers_done) {
      // In the middle of a header block nothing else can come on the connection.
      if (now - s->progress > limits.header_timeout) return "a header block is slow";
      continue;
    }
    bool receiving = !s->request_done && s->exchange != nullptr;
    bool stalled = s->reply && s->reply->ready_bytes() > 0 && now - s->progress > limits.stall_timeout;
    if (stalled || (receiving && now - s->progress > limits.body_timeout)) {
      c_.io().shared.shed.fetch_add(1, std::memory_order_relaxed);
      reset(s->id, NGHTTP2_CANCEL);
      s->progress = now;
      c_.wake();
    }
  }
  return nullptr;
}

void H2Session::drain() {
  if (draining_) return;
  draining_ = true;
  if (streams_ == 0) {
    // A request that crosses this on its way is not processed, and its client may send it again elsewhere.
    goaway_sent_ = true;
    nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR);
  } else {
    // First a warning, so that requests on their way are still answered; the real GOAWAY comes with a later tick.
    nghttp2_submit_shutdown_notice(session_);
    drain_at_ = c_.loop().now() + std::chrono::milliseconds(500);
  }
  c_.wake();
}

void H2Session::closed() {
  while (H2Stream* s = first_) {
    nghttp2_session_set_stream_user_data(session_, s->id, nullptr);
    unlink(s);
    count_body(*s, 0);
    std::unique_ptr<H2Stream> owner(s);
    if (s->reply) s->reply->close(s->end_sent);
  }
  drained_.clear();
}

}  // namespace

std::unique_ptr<Session> make_h2_session(Connection& connection) { return std::make_unique<H2Session>(connection); }

}  // namespace engenho::http
