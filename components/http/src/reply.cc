#include "reply.h"

#include <iterator>

namespace engenho::http {

void Reply::schedule(std::unique_lock<std::mutex> lock) {
  if (closed_) return;
  changed_ = true;
  if (loop_.on_thread()) {
    lock.unlock();
    if (owner_) owner_->reply_ready(*this);
    return;
  }
  if (posted_) return;
  posted_ = true;
  loop_.post(shared_from_this());  // under the lock: once closed_ is set, the loop may be gone
}

bool Reply::queue(Body& body) {
  queued_.fetch_add(body.size(), std::memory_order_relaxed);
  if (body_in_.empty()) {
    body_in_ = std::move(body.segments());
  } else {
    body_in_.insert(body_in_.end(), std::make_move_iterator(body.segments().begin()),
                    std::make_move_iterator(body.segments().end()));
  }
  body = Body();
  return true;
}

void Reply::begin(int status, Headers headers, Body body, bool whole, Headers trailers) {
  std::unique_lock lock(mutex_);
  if (closed_ || begun_) return;
  begun_ = true;
  whole_in_ = ended_ = whole;
  status_in_ = status;
  headers_in_ = std::move(headers);
  trailers_in_ = std::move(trailers);
  if (!body.empty()) queue(body);
  schedule(std::move(lock));
}

bool Reply::write(Body body) {
  std::unique_lock lock(mutex_);
  if (closed_ || !begun_ || ended_ || abort_) return false;
  if (body.empty()) return true;
  if (queued_bytes() + body.size() > max_queued_) {
    // Whoever never reads does not get to keep our memory.
    abort_ = true;
    schedule(std::move(lock));
    return false;
  }
  queue(body);
  schedule(std::move(lock));
  return true;
}

void Reply::finish(Headers trailers) {
  std::unique_lock lock(mutex_);
  if (closed_ || !begun_ || ended_) return;
  trailers_in_ = std::move(trailers);
  ended_ = true;
  schedule(std::move(lock));
}

void Reply::abort() {
  std::unique_lock lock(mutex_);
  if (closed_ || abort_) return;
  abort_ = true;
  schedule(std::move(lock));
}

void Reply::abandon() {
  std::unique_lock lock(mutex_);
  if (closed_ || ended_) return;
  if (begun_) {
    abort_ = true;
  } else {
    begun_ = ended_ = whole_in_ = true;
    status_in_ = 500;
    headers_in_.add("content-type", "text/plain");
    Body body = Body::fixed("the request was not answered\n");
    queue(body);
  }
  schedule(std::move(lock));
}

void Reply::on_drain(size_t low_water, std::function<void()> fn) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      // Armed before the look at the queue: the I/O thread either sees the flag or has emptied the queue before.
      drain_fn_ = std::move(fn);
      low_water_.store(low_water);
      drain_armed_.store(true);
      if (queued_.load() > low_water) return;
      drain_armed_.store(false);
      fn = std::move(drain_fn_);
      drain_fn_ = nullptr;
    }
  }
  if (fn) fn();
}

void Reply::on_close(std::function<void()> fn) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      close_fn_ = std::move(fn);
      return;
    }
    if (complete_) return;
  }
  fn();
}

bool Reply::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

Result<std::unique_ptr<Stream>> Reply::upgrade(Headers headers) {
  if (!can_upgrade_) return err(bad_request("only HTTP/1.1 connections can be upgraded"));
  std::future<Result<std::unique_ptr<Stream>>> future;
  {
    std::unique_lock lock(mutex_);
    if (closed_) return err(unavailable("the client has gone away"));
    if (begun_ || upgrade_) return err(internal_error("upgrade: the request has been answered"));
    begun_ = ended_ = true;  // nobody answers beside the upgrade
    if (loop_.on_thread()) {
      lock.unlock();
      return owner_->upgrade(*this, std::move(headers));
    }
    upgrade_ = std::make_unique<Upgrade>();
    upgrade_->headers = std::move(headers);
    future = upgrade_->result.get_future();
    schedule(std::move(lock));
  }
  return future.get();
}

void Reply::run_on_loop() {
  std::unique_ptr<Upgrade> upgrade;
  {
    std::lock_guard lock(mutex_);
    posted_ = false;
    if (closed_) return;
    upgrade = std::move(upgrade_);
  }
  if (upgrade) {
    upgrade->result.set_value(owner_->upgrade(*this, std::move(upgrade->headers)));
    return;
  }
  owner_->reply_ready(*this);
}

void Reply::take() {
  std::lock_guard lock(mutex_);
  if (!changed_) return;
  changed_ = false;
  if (begun_ && !has_head_ && status_in_ != 0) {
    has_head_ = true;
    whole_ = whole_in_;
    status_ = status_in_;
    headers_ = std::move(headers_in_);
  }
  if (!body_in_.empty()) {
    size_t bytes = 0;
    for (const Segment& segment : body_in_) bytes += segment.size;
    if (body_dropped_) {
      queued_.fetch_sub(bytes, std::memory_order_relaxed);
      body_in_.clear();
    } else {
      ready_bytes_ += bytes;
      if (ready_at_ == ready_.size()) {
        ready_.clear();
        ready_at_ = 0;
        ready_.swap(body_in_);
      } else {
        ready_.insert(ready_.end(), std::make_move_iterator(body_in_.begin()), std::make_move_iterator(body_in_.end()));
        body_in_.clear();
      }
    }
  }
  if (ended_ && !finished_) trailers_ = std::move(trailers_in_);
  finished_ = ended_;
  aborted_ = abort_;
}

Segment Reply::pop(size_t max) {
  Segment& first = ready_[ready_at_];
  Segment out;
  if (first.size <= max) {
    out = std::move(first);
    if (++ready_at_ == ready_.size()) {
      ready_.clear();
      ready_at_ = 0;
      if (ready_.capacity() > 64) ready_.shrink_to_fit();
    }
  } else {
    out = Segment{first.owner, first.data, max};
    first.data += max;
    first.size -= max;
  }
  ready_bytes_ -= out.size;
  queued_.fetch_sub(out.size);
  return out;
}

void Reply::drop_body() {
  body_dropped_ = true;
  queued_.fetch_sub(ready_bytes_);
  ready_.clear();
  ready_at_ = ready_bytes_ = 0;
}

void Reply::run_drain() {
  std::function<void()> fn;
  {
    std::lock_guard lock(mutex_);
    if (!drain_armed_.load() || queued_bytes() > low_water_) return;
    drain_armed_.store(false);
    fn = std::move(drain_fn_);
    drain_fn_ = nullptr;
  }
  if (fn) fn();
}

void Reply::close(bool complete) {
  std::function<void()> drain, closed;
  std::unique_ptr<Upgrade> upgrade;
  std::vector<Segment> body;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    complete_ = complete;
    drain = std::move(drain_fn_);
    closed = std::move(close_fn_);
    drain_fn_ = close_fn_ = nullptr;
    drain_armed_.store(false);
    upgrade = std::move(upgrade_);
    body.swap(body_in_);
  }
  owner_ = nullptr;
  body_fn_ = nullptr;
  ready_.clear();
  ready_.shrink_to_fit();
  ready_at_ = ready_bytes_ = 0;
  queued_.store(0);
  if (upgrade) upgrade->result.set_value(err(unavailable("the client has gone away")));
  if (closed && !complete) closed();
  if (drain && !complete) drain();
}

}  // namespace engenho::http
