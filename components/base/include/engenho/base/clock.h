// Time comes through an interface, so that a test drives it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho {

using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;
using MonoTime = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall() const = 0;
  virtual MonoTime mono() const = 0;
  // Waits on `cv` (whose mutex `lock` holds) until notified or `deadline` on this clock has come; may wake early.
  virtual void wait_until(std::condition_variable& cv, std::unique_lock<std::mutex>& lock, MonoTime deadline) = 0;

  static Clock& real();
};

// A clock that stands still until advanced. advance() wakes everyone who waits on it. Thread-safe.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(WallTime start = WallTime(std::chrono::seconds(1'700'000'000)));
  WallTime wall() const override;
  MonoTime mono() const override;
  void wait_until(std::condition_variable& cv, std::unique_lock<std::mutex>& lock, MonoTime deadline) override;
  void advance(Duration by);

 private:
  mutable std::mutex mutex_;
  Duration offset_{0};
  WallTime start_;
};

// RFC 3339, UTC, as metav1.Time ("2026-01-02T03:04:05Z") and metav1.MicroTime ("...05.000000Z").
std::string format_rfc3339(WallTime time);
std::string format_rfc3339_micro(WallTime time);
// Accepts fractions and offsets. Times outside of what WallTime holds (1677 to 2262) become its ends.
Result<WallTime> parse_rfc3339(std::string_view text);

}  // namespace engenho
