// Threads with an owner. Nothing is fire-and-forget: every task belongs to a group, and stop() waits for all of it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engenho/base/clock.h"

namespace engenho {

// Tells long-running work to end. Copies share one state. Thread-safe.
class StopToken {
 public:
  StopToken();
  bool stopped() const;
  void request_stop();
  // Waits until stopped or `timeout` has passed; true when stopped.
  bool wait_for(Duration timeout) const;
  void wait() const;
  // Calls `fn` once when stopped (at once if it already is), on the thread that stops. The returned id removes it.
  uint64_t on_stop(std::function<void()> fn) const;
  void remove(uint64_t id) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// A named set of threads with one stop token. The destructor stops and joins.
class TaskGroup {
 public:
  explicit TaskGroup(std::string name);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Runs `fn` on a thread of its own, named after the group and `what` (shown by ps -T).
  void spawn(std::string what, std::function<void(StopToken)> fn);
  StopToken token() const { return token_; }
  void stop();  // requests stop and joins; may be called twice

 private:
  struct Thread {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };
  void reap();
  std::string name_;
  StopToken token_;
  std::mutex mutex_;
  std::vector<Thread> threads_;
};

// Runs short blocking work. Grows on demand up to `max_threads`, and idle threads end after ten seconds. Bounded:
// when `max_queue` jobs wait, submit() returns false and the caller sheds the work.
class ThreadPool {
 public:
  ThreadPool(std::string name, size_t max_threads, size_t max_queue);
  ~ThreadPool();
  bool submit(std::function<void()> job);
  void stop();  // runs what is queued, then joins

 private:
  void run();
  const std::string name_;
  const size_t max_threads_, max_queue_;
  std::mutex mutex_;
  std::condition_variable wake_, ended_;
  std::deque<std::function<void()>> queue_;
  size_t threads_ = 0, idle_ = 0;
  bool stopping_ = false;
};

// Calls functions at their time, on one thread; they must be short. Thread-safe.
class Timers {
 public:
  explicit Timers(Clock& clock = Clock::real());
  ~Timers();
  using Id = uint64_t;
  Id after(Duration delay, std::function<void()> fn);
  // False when it has run or is running (cancel does not wait for it).
  bool cancel(Id id);
  void stop();

 private:
  void run();
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::pair<MonoTime, Id>, std::function<void()>> queue_;
  std::map<Id, MonoTime> deadlines_;
  Id next_ = 1;
  bool stopping_ = false;
  std::thread thread_;
};

void set_thread_name(const std::string& name);  // 15 characters are kept

}  // namespace engenho
