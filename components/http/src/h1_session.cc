// HTTP/1.1 on a server connection: one request at a time, answers in order. Pipelined requests wait in `in_`.
#include <algorithm>
#include <charconv>

#include "connection.h"
#include "h1_parser.h"

namespace engenho::http {
namespace {

constexpr size_t kMaxBacklog = 64 << 10;  // pipelined bytes taken while an answer is under way

class H1Session final : public Session {
 public:
  explicit H1Session(Connection& connection)
      : c_(connection), state_since_(connection.loop().now()), progress_(state_since_) {}

  bool on_data(std::string_view data) override;
  bool produce() override;
  void flushed() override;
  bool done() const override { return closing_; }
  bool linger() const override { return closing_ && request_unfinished_; }
  bool paused() const override {
    return in_.size() - in_at_ > kMaxBacklog && (state_ == State::kReply || c_.out().size() > Connection::kHighWater);
  }
  const char* overdue(MonoTime now) override;
  void drain() override;
  void closed() override;

  void reply_ready(Reply& reply) override {
    // While this session is parsing, advance() looks at the reply itself.
    if (&reply == reply_.get()) c_.wake();
  }
  Result<std::unique_ptr<Stream>> upgrade(Reply& reply, Headers headers) override;

 private:
  enum class State { kHead, kBody, kReply };
  bool advance();                          // false: cut the connection
  bool parse_head(std::string_view& data, bool& incomplete, bool& complete);
  bool read_body(std::string_view& data, bool& complete);
  void begin_reply();
  void pull();                             // from the reply to the out queue
  void write_head();
  void finish_reply();
  bool refuse(int status);
  void count_body(size_t bytes);

  Connection& c_;
  State state_ = State::kHead;
  std::string in_;                         // bytes not yet used, from in_at_
  size_t in_at_ = 0, searched_ = 0;
  std::shared_ptr<ExchangeImpl> incoming_;
  Framing framing_;
  ChunkedDecoder chunks_;
  uint64_t body_left_ = 0;
  size_t body_limit_ = 0, counted_ = 0;
  std::shared_ptr<Reply> reply_;
  bool http10_ = false, keep_alive_ = true, head_request_ = false;
  bool head_written_ = false, chunked_out_ = false;
  bool closing_ = false, request_unfinished_ = false, draining_ = false, in_handler_ = false, first_ = true;
  MonoTime state_since_, progress_;
};

bool H1Session::on_data(std::string_view data) {
  progress_ = c_.loop().now();
  if (closing_) return true;  // nothing more is wanted
  if (state_ == State::kHead && in_at_ == in_.size()) state_since_ = progress_;
  if (state_ == State::kBody && in_at_ == in_.size()) {
    // The usual upload: straight into the body.
    bool complete = false;
    if (!read_body(data, complete)) return false;
    if (!complete) return true;
    in_.assign(data);
    in_at_ = searched_ = 0;
    begin_reply();
    return advance();
  }
  if (in_at_ == in_.size()) {
    in_.assign(data);
    in_at_ = searched_ = 0;
  } else {
    in_.append(data);
  }
  if (state_ == State::kReply) return true;
  return advance();
}

bool H1Session::advance() {
  for (;;) {
    if (closing_) return true;
    if (state_ == State::kReply) {
      if (!reply_) return true;  // upgraded
      pull();
      if (reply_ && reply_->aborted()) return false;
      if (state_ == State::kReply) return true;
      continue;
    }
    std::string_view rest = std::string_view(in_).substr(in_at_);
    const size_t before = rest.size();
    bool complete = false;  // the request is
    if (state_ == State::kHead) {
      if (c_.out().size() > Connection::kHighWater) return true;  // a pipeliner who does not read waits
      bool incomplete = false;
      bool ok = parse_head(rest, incomplete, complete);
      in_at_ += before - rest.size();
      if (!ok) return false;
      if (incomplete) break;
    } else {
      bool ok = read_body(rest, complete);
      in_at_ += before - rest.size();
      if (!ok) return false;
      if (!complete) break;
    }
    if (complete) begin_reply();  // in_at_ is behind the request: an upgrade takes the rest of in_ along
  }
  if (in_at_ == in_.size()) {
    in_.clear();
    if (in_.capacity() > 1024) in_.shrink_to_fit();
    in_at_ = searched_ = 0;
  } else if (in_at_ > 4096) {
    in_.erase(0, in_at_);
    searched_ -= std::min(searched_, in_at_);
    in_at_ = 0;
  }
  return true;
}

bool H1Session::parse_head(std::string_view& data, bool& incomplete, bool& complete) {
  while (data.starts_with("\r\n")) data.remove_prefix(2);  // RFC 9112, section 2.2
  size_t end = find_head_end(data, searched_);
  if (end == 0) {
    searched_ = data.size();
    incomplete = true;
    if (data.size() > c_.limits().max_header_bytes) return refuse(431);
    return true;
  }
  searched_ = 0;
  if (end > c_.limits().max_header_bytes) return refuse(431);
  auto exchange = std::make_shared<ExchangeImpl>();
  Request& request = exchange->request();
  int bad = parse_request_head(data.substr(0, end), request);
  data.remove_prefix(end);
  framing_ = Framing{};
  if (!bad) bad = request_framing(request.headers, request.protocol, framing_);
  if (bad) return refuse(bad);
  request.connection = c_.info();
  http10_ = request.protocol == Protocol::kHttp10;
  keep_alive_ = http10_ ? request.headers.has_token("connection", "keep-alive")
                        : !request.headers.has_token("connection", "close");
  head_request_ = request.method == "HEAD";
  incoming_ = std::move(exchange);
  first_ = false;
  state_since_ = progress_ = c_.loop().now();
  request_unfinished_ = false;
  if (framing_.kind == Framing::Kind::kNone) {
    complete = true;
    return true;
  }
  body_limit_ = c_.handler().max_body(request).value_or(c_.limits().max_body_bytes);
  chunks_ = ChunkedDecoder();
  body_left_ = framing_.length;
  request_unfinished_ = true;
  if (framing_.kind == Framing::Kind::kLength && framing_.length > body_limit_) {
    request.body_too_large = true;
    complete = true;
    return true;
  }
  if (!http10_ && request.headers.has_token("expect", "100-continue") && data.empty()) {
    c_.out().append_copy("HTTP/1.1 100 Continue\r\n\r\n");
    c_.wake();
  }
  if (framing_.kind == Framing::Kind::kLength && framing_.length <= (64 << 10))
    request.body.reserve(static_cast<size_t>(framing_.length));
  state_ = State::kBody;
  return true;
}

void H1Session::count_body(size_t bytes) {
  auto& total = c_.io().shared.buffered_bodies;
  if (bytes) {
    total.fetch_add(bytes, std::memory_order_relaxed);
    counted_ += bytes;
  } else {
    total.fetch_sub(counted_, std::memory_order_relaxed);
    counted_ = 0;
  }
}

bool H1Session::read_body(std::string_view& data, bool& complete) {
  Request& request = incoming_->request();
  auto add = [&](std::string_view bytes) {
    if (request.body.size() + bytes.size() > body_limit_) {
      request.body = std::string();
      request.body_too_large = true;
      return;
    }
    count_body(bytes.size());
    request.body.append(bytes);
  };
  if (framing_.kind == Framing::Kind::kLength) {
    std::string_view part = data.substr(0, static_cast<size_t>(std::min<uint64_t>(body_left_, data.size())));
    add(part);
    data.remove_prefix(part.size());
    body_left_ -= part.size();
    complete = body_left_ == 0;
    if (complete) request_unfinished_ = false;
  } else {
    while (!data.empty() && !complete && !request.body_too_large) {
      std::string_view payload;
      ChunkedDecoder::State state = chunks_.feed(data, payload);
      if (state == ChunkedDecoder::State::kBad) return refuse(400);
      if (!payload.empty()) add(payload);
      complete = state == ChunkedDecoder::State::kDone;
    }
    if (complete) request_unfinished_ = false;
    if (request.body_too_large) complete = true;  // answered at once; the rest is never read as a request
  }
  // More bodies are under way than the server may hold: this one goes.
  return c_.io().shared.buffered_bodies.load(std::memory_order_relaxed) <= c_.limits().max_buffered_body_bytes;
}

// Calls the handler; the answer may be there when this returns.
void H1Session::begin_reply() {
  count_body(0);
  state_ = State::kReply;
  head_written_ = chunked_out_ = false;
  reply_ = std::make_shared<Reply>(c_.loop(), this, 1, c_.limits().max_queued_bytes, !http10_ && !request_unfinished_);
  auto exchange = std::move(incoming_);
  exchange->bind(reply_);
  c_.dispatch(std::move(exchange));
}

void H1Session::write_head() {
  OutQueue& out = c_.out();
  const int status = reply_->status();
  const bool no_body = head_request_ || status == 204 || status == 304 || status < 200;
  if (draining_ || request_unfinished_) keep_alive_ = false;
  std::string head;
  head.reserve(256);
  head += "HTTP/1.1 ";
  head += std::to_string(status);
  head += ' ';
  head += status_text(status);
  head += "\r\n";
  bool has_length = false, has_date = false;
  for (const Headers::Field& field : reply_->headers()) {
    if (hop_by_hop(field.name)) {
      // The connection is this session's business; a handler may ask to end it.
      if (iequals(field.name, "connection") && reply_->headers().has_token("connection", "close")) keep_alive_ = false;
      continue;
    }
    if (!valid_field_name(field.name) || !valid_field_value(field.value)) continue;  // never split a response
    if (iequals(field.name, "content-length")) has_length = true;
    if (iequals(field.name, "date")) has_date = true;
    head += field.name;
    head += ": ";
    head += field.value;
    head += "\r\n";
  }
  if (!has_date) head.append("Date: ").append(c_.loop().http_date()).append("\r\n");
  if (!has_length && status != 204 && status != 304 && status >= 200) {
    if (reply_->whole()) {
      head.append("Content-Length: ").append(std::to_string(reply_->ready_bytes())).append("\r\n");
    } else if (!http10_) {
      chunked_out_ = !no_body;
      head += "Transfer-Encoding: chunked\r\n";
    } else {
      keep_alive_ = false;  // the end of the connection ends the body
    }
  }
  if (no_body) reply_->drop_body();
  if (!keep_alive_) {
    head += "Connection: close\r\n";
  } else if (http10_) {
    head += "Connection: keep-alive\r\n";
  }
  head += "\r\n";
  out.append_copy(head);
  head_written_ = true;
}

void H1Session::pull() {
  reply_->take();
  if (reply_->aborted()) return;
  if (!head_written_) {
    if (!reply_->has_head()) return;
    write_head();
  }
  OutQueue& out = c_.out();
  while (reply_->ready_bytes() > 0 && out.size() < Connection::kHighWater) {
    if (!chunked_out_) {
      out.append(reply_->pop(Connection::kHighWater));
      continue;
    }
    // One chunk for all that is there, up to the mark.
    size_t size = std::min(reply_->ready_bytes(), Connection::kHighWater);
    char line[20];
    auto [end, error] = std::to_chars(line, line + 16, size, 16);
    *end++ = '\r';
    *end++ = '\n';
    out.append_copy({line, static_cast<size_t>(end - line)});
    while (size > 0) {
      Segment segment = reply_->pop(size);
      size -= segment.size;
      out.append(std::move(segment));
    }
    out.append_copy("\r\n");
  }
  if (reply_->finished() && reply_->ready_bytes() == 0) finish_reply();
}

void H1Session::finish_reply() {
  if (chunked_out_) c_.out().append_copy("0\r\n\r\n");
  auto reply = std::move(reply_);
  state_ = State::kHead;
  state_since_ = c_.loop().now();
  if (!keep_alive_ || request_unfinished_ || draining_) closing_ = true;
  reply->close(true);
}

bool H1Session::produce() { return advance(); }

void H1Session::flushed() {
  if (reply_ && reply_->drain_due()) {
    auto reply = reply_;
    reply->run_drain();
  }
}

bool H1Session::refuse(int status) {
  std::string text(status_text(status));
  std::string head = "HTTP/1.1 " + std::to_string(status) + " " + text +
                     "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
                     std::to_string(text.size()) + "\r\n\r\n" + text;
  c_.out().append_copy(head);
  incoming_.reset();
  count_body(0);
  state_ = State::kHead;
  closing_ = request_unfinished_ = true;
  c_.wake();
  return true;
}

const char* H1Session::overdue(MonoTime now) {
  const Limits& limits = c_.limits();
  switch (state_) {
    case State::kHead:
      if (closing_) return nullptr;
      if (first_ || in_at_ < in_.size())
        return now - state_since_ > limits.header_timeout ? "the request's head is slow" : nullptr;
      return now - state_since_ > limits.idle_timeout ? "idle" : nullptr;
    case State::kBody: return now - progress_ > limits.body_timeout ? "the request's body is slow" : nullptr;
    case State::kReply: return nullptr;
  }
  return nullptr;
}

void H1Session::drain() {
  draining_ = true;
  if (state_ == State::kHead && in_at_ == in_.size()) closing_ = true;
}

void H1Session::closed() {
  count_body(0);
  incoming_.reset();
  if (auto reply = std::move(reply_)) reply->close(false);
}

Result<std::unique_ptr<Stream>> H1Session::upgrade(Reply& reply, Headers headers) {
  if (&reply != reply_.get()) return err(unavailable("the client has gone away"));
  std::string head = "HTTP/1.1 101 Switching Protocols\r\n";
  for (const Headers::Field& field : headers)
    if (valid_field_name(field.name) && valid_field_value(field.value))
      head.append(field.name).append(": ").append(field.value).append("\r\n");
  head += "\r\n";
  c_.out().append_copy(head);
  c_.read_rest(in_);
  std::string input = in_.substr(in_at_);
  auto mine = std::move(reply_);
  auto stream = c_.detach(std::move(input));
  mine->close(stream.has_value());
  return stream;
}

}  // namespace

std::unique_ptr<Session> make_h1_session(Connection& connection) { return std::make_unique<H1Session>(connection); }

}  // namespace engenho::http
