#include "engenho/base/threads.h"

#include <pthread.h>

#include <algorithm>

#include "engenho/base/log.h"

namespace engenho {

void set_thread_name(const std::string& name) { pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()); }

struct StopToken::State {
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  std::condition_variable cv;
  uint64_t next_id = 1;
  std::map<uint64_t, std::function<void()>> callbacks;
};

StopToken::StopToken() : state_(std::make_shared<State>()) {}
bool StopToken::stopped() const { return state_->stopped.load(std::memory_order_acquire); }
void StopToken::request_stop() {
  std::map<uint64_t, std::function<void()>> callbacks;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->stopped.exchange(true)) return;
    callbacks.swap(state_->callbacks);
    state_->cv.notify_all();
  }
  for (auto& [id, fn] : callbacks) fn();
}
bool StopToken::wait_for(Duration timeout) const {
  std::unique_lock lock(state_->mutex);
  return state_->cv.wait_for(lock, timeout, [&] { return state_->stopped.load(); });
}
void StopToken::wait() const {
  std::unique_lock lock(state_->mutex);
  state_->cv.wait(lock, [&] { return state_->stopped.load(); });
}
uint64_t StopToken::on_stop(std::function<void()> fn) const {
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->stopped) {
      const uint64_t id = state_->next_id++;
      state_->callbacks.emplace(id, std::move(fn));
      return id;
    }
  }
  fn();
  return 0;
}
void StopToken::remove(uint64_t id) const {
  std::lock_guard lock(state_->mutex);
  state_->callbacks.erase(id);
}

TaskGroup::TaskGroup(std::string name) : name_(std::move(name)) {}
TaskGroup::~TaskGroup() { stop(); }

void TaskGroup::reap() {
  std::erase_if(threads_, [](Thread& t) {
    if (!t.done->load()) return false;
    t.thread.join();
    return true;
  });
}

void TaskGroup::spawn(std::string what, std::function<void(StopToken)> fn) {
  std::lock_guard lock(mutex_);
  if (token_.stopped()) return;
  reap();
  auto done = std::make_shared<std::atomic<bool>>(false);
  threads_.push_back({std::thread([done, fn = std::move(fn), token = token_, label = name_ + "-" + what] {
                        set_thread_name(label);
                        fn(token);
                        done->store(true);
                      }),
                      done});
}

void TaskGroup::stop() {
  token_.request_stop();
  std::vector<Thread> threads;
  {
    std::lock_guard lock(mutex_);
    threads.swap(threads_);
  }
  for (Thread& t : threads) t.thread.join();
}

ThreadPool::ThreadPool(std::string name, size_t max_threads, size_t max_queue)
    : name_(std::move(name)), max_threads_(max_threads), max_queue_(max_queue) {}

ThreadPool::~ThreadPool() { stop(); }

bool ThreadPool::submit(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (stopping_ || queue_.size() >= max_queue_) return false;
  queue_.push_back(std::move(job));
  if (idle_ >= queue_.size()) {
    wake_.notify_one();
  } else if (threads_ < max_threads_) {
    ++threads_;
    std::thread([this] { run(); }).detach();  // counted in threads_: stop() waits for the count
  }
  return true;
}

void ThreadPool::run() {
  set_thread_name(name_);
  std::unique_lock lock(mutex_);
  for (;;) {
    if (queue_.empty()) {
      if (stopping_) break;
      ++idle_;
      const bool woken =
          wake_.wait_for(lock, std::chrono::seconds(10), [&] { return stopping_ || !queue_.empty(); });
      --idle_;
      if (!woken) break;
      continue;
    }
    auto job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
  --threads_;
  ended_.notify_all();  // under the lock: nothing of *this is touched after it is released
}

void ThreadPool::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  wake_.notify_all();
  ended_.wait(lock, [&] { return threads_ == 0; });
}

Timers::Timers(Clock& clock) : clock_(clock), thread_([this] { run(); }) {}
Timers::~Timers() { stop(); }

Timers::Id Timers::after(Duration delay, std::function<void()> fn) {
  std::lock_guard lock(mutex_);
  const Id id = next_++;
  const MonoTime deadline = clock_.mono() + delay;
  queue_.emplace(std::pair(deadline, id), std::move(fn));
  deadlines_.emplace(id, deadline);
  wake_.notify_one();
  return id;
}

bool Timers::cancel(Id id) {
  std::lock_guard lock(mutex_);
  auto it = deadlines_.find(id);
  if (it == deadlines_.end()) return false;
  queue_.erase({it->second, id});
  deadlines_.erase(it);
  return true;
}

void Timers::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Timers::run() {
  set_thread_name("timers");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (queue_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const MonoTime deadline = queue_.begin()->first.first;
    if (clock_.mono() < deadline) {
      clock_.wait_until(wake_, lock, deadline);
      continue;
    }
    auto node = queue_.extract(queue_.begin());
    deadlines_.erase(node.key().second);
    lock.unlock();
    node.mapped()();
    node = {};
    lock.lock();
  }
}

}  // namespace engenho
