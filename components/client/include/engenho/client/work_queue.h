// A queue of keys for reconcilers: each key is in it at most once, is worked on by one worker at a time, and comes back when it was added
// while being worked on. Failed keys come back after a delay that doubles. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"

namespace engenho::client {

class WorkQueue {
 public:
  struct Backoff {
    Duration first = std::chrono::milliseconds(5);
    Duration max = std::chrono::seconds(1000);
  };
  explicit WorkQueue(Clock& clock = Clock::real()) : WorkQueue(clock, Backoff()) {}
  WorkQueue(Clock& clock, Backoff backoff);

  void add(const std::string& key);
  void add_after(const std::string& key, Duration delay);  // the earliest of several wins
  void add_rate_limited(const std::string& key);           // after the key's next back-off
  void forget(const std::string& key);                     // the back-off begins anew
  // Waits for a key; nullopt after shut_down(). done() must follow.
  std::optional<std::string> get();
  void done(const std::string& key);
  void shut_down();
  size_t size() const;

 private:
  void move_due();
  Clock& clock_;
  const Backoff backoff_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::string> ready_;
  std::set<std::string> queued_, active_, again_;
  std::map<std::string, MonoTime> delayed_;
  std::set<std::pair<MonoTime, std::string>> due_;
  std::map<std::string, int> failures_;
  bool stopped_ = false;
};

// Starts `workers` threads in `group`: each takes keys and calls `reconcile`. OK forgets the key's back-off; an error is logged under
// `name` and the key comes back later.
void run_workers(TaskGroup& group, const std::string& name, WorkQueue& queue, int workers,
                 std::function<Status(const std::string& key)> reconcile);

}  // namespace engenho::client
