// One event loop a thread: edge-triggered epoll, tasks from other threads, a coarse tick, and work put off to the end of
// a turn so that many small writes leave in one system call.
//
// Why not an Asio io_context: what is needed of it here is readiness and wake-ups only (TLS runs over buffers of the
// thread, see transport.h), and a descriptor that is registered once costs no system call per wait, no buffers, and
// no header that takes seconds to compile.
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"

namespace engenho::http {

class Loop {
 public:
  // Woken by its descriptor. Must outlive the turn in which it is removed: see bury().
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void on_ready(uint32_t events) = 0;
  };
  // Posted from any thread, run on the loop's.
  class Task {
   public:
    virtual ~Task() = default;
    virtual void run_on_loop() = 0;
  };
  // Put off to the end of the turn; may ask for another turn by returning true.
  class Deferred {
   public:
    virtual ~Deferred() = default;
    virtual bool end_of_turn() = 0;
    bool deferred_ = false;  // owned by the loop
  };

  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Any thread. Tasks posted after the loop has ended are dropped when it is destroyed.
  void post(std::shared_ptr<Task> task);
  void post(std::function<void()> fn);
  bool on_thread() const { return current() == this; }
  void stop();  // run() returns after the turn

  // The loop's thread only (add: also before run()).
  Status add(int fd, bool edge_triggered, Watcher* watcher);
  void remove(int fd);
  void run();
  void defer(Deferred* work) {
    if (work->deferred_) return;
    work->deferred_ = true;
    deferred_.push_back(work);
  }
  void forget(Deferred* work);  // it is about to be destroyed
  void bury(std::shared_ptr<void> object) { buried_.push_back(std::move(object)); }  // destroyed after the turn
  // `fn` about every `interval`, as long as `needed` says so; without it the loop sleeps.
  void set_tick(Duration interval, std::function<bool()> needed, std::function<void()> fn);
  MonoTime now() const { return now_; }     // of this turn
  const std::string& http_date();           // "Sun, 06 Nov 1994 08:49:37 GMT", of this second

  // Scratch of the thread, valid until the next call on the loop's thread that uses it.
  static constexpr size_t kScratch = 64 << 10;
  char* read_scratch() { return read_scratch_.get(); }
  std::string& write_scratch() { return write_scratch_; }
  static constexpr size_t kRecord = 16 << 10;  // payload of a TLS record
  char* record_scratch() { return record_scratch_.get(); }
  char* plain_scratch() { return plain_scratch_.get(); }

 private:
  static Loop*& current();
  void run_tasks();
  void run_deferred();

  int epoll_ = -1, wake_ = -1;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::shared_ptr<Task>> tasks_;  // guarded by mutex_
  bool woken_ = false;                        // guarded by mutex_: wake_ is signalled already

  std::vector<Deferred*> deferred_;
  std::vector<std::shared_ptr<void>> buried_;
  Duration tick_interval_{0};
  std::function<bool()> tick_needed_;
  std::function<void()> tick_;
  MonoTime now_, next_tick_;
  time_t date_second_ = 0;
  std::string date_;
  std::unique_ptr<char[]> read_scratch_, record_scratch_, plain_scratch_;
  std::string write_scratch_;
};

}  // namespace engenho::http
