// The two halves of an exchange: ExchangeImpl is what the handler holds, Reply is what crosses from any thread to the I/O
// thread. Kept apart so that the server notices when a handler lets go of an exchange that it has not answered.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include "engenho/http/server.h"
#include "loop.h"

namespace engenho::http {

class Reply;

// One protocol on one connection, as a Reply sees it. Loop thread only.
class ReplyOwner {
 public:
  virtual ~ReplyOwner() = default;
  virtual void reply_ready(Reply& reply) = 0;  // take() has news
  virtual Result<std::unique_ptr<Stream>> upgrade(Reply& reply, Headers headers) = 0;
};

class Reply final : public Loop::Task, public std::enable_shared_from_this<Reply> {
 public:
  Reply(Loop& loop, ReplyOwner* owner, int32_t stream_id, size_t max_queued, bool can_upgrade)
      : loop_(loop), max_queued_(max_queued), can_upgrade_(can_upgrade), owner_(owner), stream_id_(stream_id) {}

  // Any thread.
  void begin(int status, Headers headers, Body body, bool whole, Headers trailers = {});
  bool write(Body body);
  void finish(Headers trailers = {});
  void abort();
  void abandon();  // the handler's reference is gone
  size_t queued_bytes() const { return queued_.load(std::memory_order_relaxed); }
  void on_drain(size_t low_water, std::function<void()> fn);
  void on_close(std::function<void()> fn);
  bool closed() const;
  Result<std::unique_ptr<Stream>> upgrade(Headers headers);

  // The loop's thread only, from here on.
  int32_t stream_id() const { return stream_id_; }
  void take();  // moves what other threads have left to this side
  bool has_head() const { return has_head_; }
  bool whole() const { return whole_; }       // respond(): the size is known
  bool finished() const { return finished_; }
  bool aborted() const { return aborted_; }
  int status() const { return status_; }
  Headers& headers() { return headers_; }
  const Headers& trailers() const { return trailers_; }  // complete once finished()
  void on_body(std::function<void(std::string_view, bool)> fn) { body_fn_ = std::move(fn); }
  void deliver(std::string_view piece, bool end) {
    if (const auto fn = body_fn_) fn(piece, end);  // a copy: it may close this
  }
  size_t ready_bytes() const { return ready_bytes_; }
  Segment pop(size_t max);                    // precondition: ready_bytes() > 0
  void drop_body();                           // HEAD, 204, 304
  bool body_dropped() const { return body_dropped_; }
  // True once when the drain callback is due; then call run_drain().
  bool drain_due() const { return drain_armed_.load(std::memory_order_relaxed) && queued_bytes() <= low_water_; }
  void run_drain();
  void close(bool complete);                  // the owner lets go; callbacks run here

  void run_on_loop() override;

 private:
  struct Upgrade {
    Headers headers;
    std::promise<Result<std::unique_ptr<Stream>>> result;
  };
  void schedule(std::unique_lock<std::mutex> lock);  // unlocks
  bool queue(Body& body);                            // under mutex_

  Loop& loop_;                     // used only while not closed_: the loop may be gone after that
  const size_t max_queued_;
  const bool can_upgrade_;
  std::atomic<size_t> queued_{0};
  std::atomic<bool> drain_armed_{false};
  std::atomic<size_t> low_water_{0};

  mutable std::mutex mutex_;       // guards what follows, up to the blank line
  bool begun_ = false, ended_ = false, abort_ = false, closed_ = false, complete_ = false, posted_ = false, changed_ = false;
  bool whole_in_ = false;
  int status_in_ = 0;
  Headers headers_in_, trailers_in_;
  std::vector<Segment> body_in_;
  std::function<void()> drain_fn_, close_fn_;
  std::unique_ptr<Upgrade> upgrade_;

  ReplyOwner* owner_;
  const int32_t stream_id_;
  bool has_head_ = false, whole_ = false, finished_ = false, aborted_ = false, body_dropped_ = false;
  int status_ = 0;
  Headers headers_, trailers_;
  std::function<void(std::string_view, bool)> body_fn_;
  std::vector<Segment> ready_;
  size_t ready_at_ = 0, ready_bytes_ = 0;
};

class ExchangeImpl final : public Exchange {
 public:
  ExchangeImpl() = default;
  ~ExchangeImpl() override {
    if (reply_) reply_->abandon();
  }
  void bind(std::shared_ptr<Reply> reply) { reply_ = std::move(reply); }

  void respond(int status, Headers headers, Body body) override {
    reply_->begin(status, std::move(headers), std::move(body), true);
  }
  void start(int status, Headers headers) override { reply_->begin(status, std::move(headers), {}, false); }
  void respond(int status, Headers headers, Body body, Headers trailers) override {
    reply_->begin(status, std::move(headers), std::move(body), true, std::move(trailers));
  }
  void finish(Headers trailers) override { reply_->finish(std::move(trailers)); }
  void on_body(std::function<void(std::string_view, bool)> fn) override { reply_->on_body(std::move(fn)); }
  bool write(Body body) override { return reply_->write(std::move(body)); }
  size_t queued_bytes() const override { return reply_->queued_bytes(); }
  void on_drain(size_t low_water, std::function<void()> fn) override { reply_->on_drain(low_water, std::move(fn)); }
  void finish() override { reply_->finish(); }
  void abort() override { reply_->abort(); }
  void on_close(std::function<void()> fn) override { reply_->on_close(std::move(fn)); }
  bool closed() const override { return reply_->closed(); }
  Result<std::unique_ptr<Stream>> upgrade(Headers headers) override { return reply_->upgrade(std::move(headers)); }

 private:
  std::shared_ptr<Reply> reply_;
};

}  // namespace engenho::http
