#include "engenho/client/work_queue.h"

#include <algorithm>

#include "engenho/base/log.h"

namespace engenho::client {

WorkQueue::WorkQueue(Clock& clock, Backoff backoff) : clock_(clock), backoff_(backoff) {}

void WorkQueue::add(const std::string& key) {
  std::lock_guard lock(mutex_);
  if (stopped_) return;
  if (active_.contains(key)) {
    again_.insert(key);
    return;
  }
  if (!queued_.insert(key).second) return;
  ready_.push_back(key);
  wake_.notify_one();
}

void WorkQueue::add_after(const std::string& key, Duration delay) {
  if (delay <= Duration(0)) return add(key);
  std::lock_guard lock(mutex_);
  if (stopped_) return;
  const MonoTime due = clock_.mono() + delay;
  auto it = delayed_.find(key);
  if (it != delayed_.end()) {
    if (it->second <= due) return;
    due_.erase({it->second, key});
  }
  delayed_[key] = due;
  due_.insert({due, key});
  wake_.notify_one();
}

void WorkQueue::add_rate_limited(const std::string& key) {
  Duration delay;
  {
    std::lock_guard lock(mutex_);
    const int failures = failures_[key]++;
    delay = failures < 40 ? std::min(backoff_.first * (int64_t{1} << std::min(failures, 30)), backoff_.max) : backoff_.max;
  }
  add_after(key, delay);
}

void WorkQueue::forget(const std::string& key) {
  std::lock_guard lock(mutex_);
  failures_.erase(key);
}

void WorkQueue::move_due() {
  const MonoTime now = clock_.mono();
  while (!due_.empty() && due_.begin()->first <= now) {
    const std::string key = due_.begin()->second;
    due_.erase(due_.begin());
    delayed_.erase(key);
    if (active_.contains(key)) again_.insert(key);
    else if (queued_.insert(key).second) ready_.push_back(key);
  }
}

std::optional<std::string> WorkQueue::get() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopped_) return std::nullopt;
    move_due();
    if (!ready_.empty()) {
      std::string key = std::move(ready_.front());
      ready_.pop_front();
      queued_.erase(key);
      active_.insert(key);
      return key;
    }
    if (due_.empty()) wake_.wait(lock);
    else clock_.wait_until(wake_, lock, due_.begin()->first);
  }
}

void WorkQueue::done(const std::string& key) {
  std::lock_guard lock(mutex_);
  active_.erase(key);
  if (again_.erase(key) > 0 && !stopped_ && queued_.insert(key).second) {
    ready_.push_back(key);
    wake_.notify_one();
  }
}

void WorkQueue::shut_down() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
}

size_t WorkQueue::size() const {
  std::lock_guard lock(mutex_);
  return ready_.size() + delayed_.size();
}

void run_workers(TaskGroup& group, const std::string& name, WorkQueue& queue, int workers,
                 std::function<Status(const std::string&)> reconcile) {
  group.token().on_stop([&queue] { queue.shut_down(); });
  for (int i = 0; i < workers; ++i) {
    group.spawn(std::to_string(i), [&queue, name, reconcile](StopToken) {
      while (auto key = queue.get()) {
        const Status status = reconcile(*key);
        if (status.ok()) {
          queue.forget(*key);
        } else {
          // Both are the normal course of things: somebody else wrote first, or the cache was behind.
          if (!status.conflict() && !status.already_exists()) log::warn(name, "{}: {}", *key, status.to_string());
          queue.add_rate_limited(*key);
        }
        queue.done(*key);
      }
    });
  }
}

}  // namespace engenho::client
