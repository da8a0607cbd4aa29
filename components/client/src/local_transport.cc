// Requests within the process: an Exchange that is no connection.
#include <condition_variable>
#include <deque>
#include <mutex>

#include "engenho/client/transport.h"

namespace engenho::client {

namespace {

// Answers are collected; a stream's chunks wait in a queue that is bounded by bytes.
class LocalExchange final : public http::Exchange {
 public:
  LocalExchange(const Request& request, std::shared_ptr<const http::ConnectionInfo> connection) {
    request_.method = request.method;
    request_.target = request.target;
    request_.body = request.body;
    request_.headers.add("Accept", "application/json");
    request_.headers.add("User-Agent", "engenho/in-process");
    if (!request.content_type.empty()) request_.headers.add("Content-Type", request.content_type);
    request_.connection = std::move(connection);
  }

  void respond(int status, http::Headers, http::Body body) override {
    std::string text = body.to_string();
    std::lock_guard lock(mutex_);
    if (ended_) return;
    status_ = status;
    text_ = std::move(text);
    ended_ = true;
    wake_.notify_all();
  }
  void start(int status, http::Headers) override {
    std::lock_guard lock(mutex_);
    status_ = status;
    started_ = true;
    wake_.notify_all();
  }
  bool write(http::Body body) override {
    std::lock_guard lock(mutex_);
    if (ended_) return false;
    queued_ += body.size();
    if (queued_ > kMaxQueued) {
      ended_ = true;  // the reader is too slow: it lists again
      wake_.notify_all();
      return false;
    }
    chunks_.push_back(std::move(body));
    wake_.notify_all();
    return true;
  }
  size_t queued_bytes() const override {
    std::lock_guard lock(mutex_);
    return queued_;
  }
  void on_drain(size_t, std::function<void()> fn) override { fn(); }
  void finish() override { end(); }
  void abort() override { end(); }
  void on_close(std::function<void()> fn) override {
    {
      std::lock_guard lock(mutex_);
      if (!ended_) {
        on_close_ = std::move(fn);
        return;
      }
    }
    fn();
  }
  bool closed() const override {
    std::lock_guard lock(mutex_);
    return ended_;
  }
  Result<std::unique_ptr<http::Stream>> upgrade(http::Headers) override {
    return err(bad_request("an in-process request cannot be upgraded"));
  }

  // The reader's side.
  Response wait_response() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return ended_; });
    return {status_, std::move(text_)};
  }
  // Waits for the head: true for a stream.
  bool wait_head() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return ended_ || started_; });
    return started_;
  }
  // Waits for a chunk; false at the end.
  bool next(http::Body& out) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return ended_ || !chunks_.empty(); });
    if (chunks_.empty()) return false;
    out = std::move(chunks_.front());
    chunks_.pop_front();
    queued_ -= out.size();
    return true;
  }
  // The client goes away: the server's on_close is called.
  void leave() {
    std::function<void()> fn;
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      fn = std::move(on_close_);
      on_close_ = nullptr;
      wake_.notify_all();
    }
    if (fn) fn();
  }

 private:
  static constexpr size_t kMaxQueued = 64u << 20;
  void end() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    wake_.notify_all();
  }
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  int status_ = 500;
  std::string text_;
  bool started_ = false, ended_ = false;
  std::deque<http::Body> chunks_;
  size_t queued_ = 0;
  std::function<void()> on_close_;
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(apiserver::ApiServer& server, apiserver::UserInfo user) : server_(server), user_(std::move(user)) {
    auto info = std::make_shared<http::ConnectionInfo>();
    info->remote_address = info->local_address = "@";
    connection_ = std::move(info);
  }

  Result<Response> send(const Request& request) override {
    auto exchange = std::make_shared<LocalExchange>(request, connection_);
    server_.handle_as(exchange, user_);
    return exchange->wait_response();
  }

  Status stream(const Request& request, const StopToken& stop, const std::function<bool(std::string_view)>& on_line) override {
    auto exchange = std::make_shared<LocalExchange>(request, connection_);
    std::weak_ptr<LocalExchange> weak = exchange;
    const uint64_t id = stop.on_stop([weak] {
      if (auto e = weak.lock()) e->leave();
    });
    server_.handle_as(exchange, user_);
    Status status;
    if (!exchange->wait_head()) {
      const Response response = exchange->wait_response();
      if (!stop.stopped()) status = Status(response.status, "", response.body);
    } else {
      std::string pending;
      http::Body chunk;
      bool going = true;
      while (going && exchange->next(chunk)) {
        for (const http::Segment& s : chunk.segments()) pending.append(s.data, s.size);
        size_t from = 0, end;
        while (going && (end = pending.find('\n', from)) != std::string::npos) {
          if (end > from) going = on_line(std::string_view(pending).substr(from, end - from));
          from = end + 1;
        }
        pending.erase(0, from);
      }
      exchange->leave();
    }
    stop.remove(id);
    return status;
  }

 private:
  apiserver::ApiServer& server_;
  const apiserver::UserInfo user_;
  std::shared_ptr<const http::ConnectionInfo> connection_;
};

}  // namespace

std::unique_ptr<Transport> local_transport(apiserver::ApiServer& server, apiserver::UserInfo user) {
  user.groups.emplace_back(apiserver::kAuthenticated);
  return std::make_unique<LocalTransport>(server, std::move(user));
}

}  // namespace engenho::client
