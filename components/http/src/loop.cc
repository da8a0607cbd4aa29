#include "loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace engenho::http {
namespace {

class FunctionTask final : public Loop::Task {
 public:
  explicit FunctionTask(std::function<void()> fn) : fn_(std::move(fn)) {}
  void run_on_loop() override { fn_(); }

 private:
  std::function<void()> fn_;
};

}  // namespace

Loop*& Loop::current() {
  thread_local Loop* loop = nullptr;
  return loop;
}

Loop::Loop()
    : now_(std::chrono::steady_clock::now()),
      read_scratch_(new char[kScratch]),
      record_scratch_(new char[kRecord]),
      plain_scratch_(new char[kRecord]) {
  write_scratch_.reserve(kScratch + 2 * kRecord);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
  }
}

Loop::~Loop() {
  // Tasks and buried objects may hold the last reference to each other's owners: drop them while the loop is whole.
  std::vector<std::shared_ptr<Task>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  tasks.clear();
  buried_.clear();
  if (epoll_ >= 0) ::close(epoll_);
  if (wake_ >= 0) ::close(wake_);
}

void Loop::post(std::shared_ptr<Task> task) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    wake = !woken_;
    woken_ = true;
  }
  if (!wake) return;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(wake_, &one, sizeof one);
}

void Loop::post(std::function<void()> fn) { post(std::make_shared<FunctionTask>(std::move(fn))); }

void Loop::stop() {
  stopping_.store(true);
  post([] {});
}

Status Loop::add(int fd, bool edge_triggered, Watcher* watcher) {
  if (epoll_ < 0 || wake_ < 0) return internal_error("the event loop has no descriptor");
  epoll_event event{};
  event.events = edge_triggered ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
  event.data.ptr = watcher;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) return errno_error("epoll_ctl", errno);
  return {};
}

void Loop::remove(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

void Loop::forget(Deferred* work) {
  if (!work->deferred_) return;
  std::replace(deferred_.begin(), deferred_.end(), work, static_cast<Deferred*>(nullptr));
  work->deferred_ = false;
}

void Loop::set_tick(Duration interval, std::function<bool()> needed, std::function<void()> fn) {
  tick_interval_ = interval;
  tick_needed_ = std::move(needed);
  tick_ = std::move(fn);
  next_tick_ = now_ + interval;
}

void Loop::run_tasks() {
  std::vector<std::shared_ptr<Task>> tasks;
  {
    std::lock_guard lock(mutex_);
    if (!woken_) return;
    woken_ = false;
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) {
    task->run_on_loop();
    task.reset();
  }
}

void Loop::run_deferred() {
  // Work may defer other work (its own included): that runs in the next turn, which then does not sleep.
  std::vector<Deferred*> batch;
  batch.swap(deferred_);
  std::vector<Deferred*> again;
  for (size_t i = 0; i < batch.size(); ++i) {
    Deferred* work = batch[i];
    if (!work || !work->deferred_) continue;
    work->deferred_ = false;
    // forget() cannot see this batch, so that what runs must not destroy others of it: objects die by bury() only.
    if (work->end_of_turn()) again.push_back(work);
  }
  for (Deferred* work : again) defer(work);
}

void Loop::run() {
  current() = this;
  constexpr int kEvents = 256;
  std::vector<epoll_event> events(kEvents);
  while (!stopping_.load(std::memory_order_relaxed)) {
    int timeout = -1;
    bool ticking = tick_ && tick_needed_();
    if (!deferred_.empty()) {
      timeout = 0;
    } else if (ticking) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(next_tick_ - now_).count();
      timeout = static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
    }
    int count = epoll_wait(epoll_, events.data(), kEvents, timeout);
    now_ = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (auto* watcher = static_cast<Watcher*>(event.data.ptr)) {
        watcher->on_ready(event.events);
      } else {
        // Before woken_ is cleared: a signal that comes after that stands for a task that run_tasks() may not have seen.
        uint64_t signals = 0;
        [[maybe_unused]] ssize_t n = ::read(wake_, &signals, sizeof signals);
      }
    }
    run_tasks();
    run_deferred();
    if (ticking && now_ >= next_tick_) {
      next_tick_ = now_ + tick_interval_;
      tick_();
    } else if (!ticking) {
      next_tick_ = now_ + tick_interval_;
    }
    buried_.clear();
  }
  current() = nullptr;
}

const std::string& Loop::http_date() {
  time_t second = time(nullptr);
  if (second != date_second_) {
    date_second_ = second;
    tm parts{};
    gmtime_r(&second, &parts);
    char text[64];
    static const char* const kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char* const kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    snprintf(text, sizeof text, "%s, %02d %s %d %02d:%02d:%02d GMT", kDays[parts.tm_wday], parts.tm_mday,
             kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
    date_ = text;
  }
  return date_;
}

}  // namespace engenho::http
