#include "engenho/base/clock.h"

#include <cstdio>
#include <list>

namespace engenho {

namespace {

class RealClock final : public Clock {
 public:
  WallTime wall() const override { return std::chrono::system_clock::now(); }
  MonoTime mono() const override { return std::chrono::steady_clock::now(); }
  void wait_until(std::condition_variable& cv, std::unique_lock<std::mutex>& lock,
                  MonoTime deadline) override {
    cv.wait_until(lock, deadline);
  }
};

}  // namespace

Clock& Clock::real() {
  static RealClock clock;
  return clock;
}

FakeClock::FakeClock(WallTime start) : start_(start) {}

WallTime FakeClock::wall() const {
  std::lock_guard lock(mutex_);
  return start_ + offset_;
}

MonoTime FakeClock::mono() const {
  std::lock_guard lock(mutex_);
  return MonoTime(offset_);
}

void FakeClock::wait_until(std::condition_variable& cv, std::unique_lock<std::mutex>& lock,
                           MonoTime deadline) {
  // Real time passes in short slices so that a waiter needs no registration; the loop around every wait checks its condition.
  if (mono() < deadline) cv.wait_for(lock, std::chrono::milliseconds(1));
}

void FakeClock::advance(Duration by) {
  std::lock_guard lock(mutex_);
  offset_ += by;
}

namespace {

std::string format_time(WallTime time, bool micro) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{floor<microseconds>(time - day)};
  char buffer[64];
  int n = std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                        static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                        static_cast<int>(clock.seconds().count()));
  if (micro) {
    n += std::snprintf(buffer + n, sizeof buffer - n, ".%06d", static_cast<int>(clock.subseconds().count()));
  }
  return std::string(buffer, n) + "Z";
}

}  // namespace

std::string format_rfc3339(WallTime time) { return format_time(time, false); }
std::string format_rfc3339_micro(WallTime time) { return format_time(time, true); }

Result<WallTime> parse_rfc3339(std::string_view text) {
  using namespace std::chrono;
  auto fail = [&] {
    return err(bad_request("parsing time \"" + std::string(text) +
                           "\" as \"2006-01-02T15:04:05Z07:00\": cannot parse"));
  };
  auto digits = [&](size_t at, size_t count, int& out) {
    out = 0;
    if (at + count > text.size()) return false;
    for (size_t i = at; i < at + count; ++i) {
      if (text[i] < '0' || text[i] > '9') return false;
      out = out * 10 + (text[i] - '0');
    }
    return true;
  };
  int y, mo, d, h, mi, s;
  if (!digits(0, 4, y) || !digits(5, 2, mo) || !digits(8, 2, d) || !digits(11, 2, h) || !digits(14, 2, mi) ||
      !digits(17, 2, s) || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':' ||
      text[16] != ':') {
    return fail();
  }
  const year_month_day date{year{y}, month{static_cast<unsigned>(mo)}, day{static_cast<unsigned>(d)}};
  if (!date.ok() || h > 23 || mi > 59 || s > 59) return fail();
  size_t at = 19;
  int64_t nanos = 0;
  if (at < text.size() && text[at] == '.') {
    int64_t scale = 100'000'000;
    const size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      nanos += (text[at] - '0') * scale;
      scale /= 10;
    }
    if (at == first) return fail();
  }
  int64_t offset_minutes = 0;
  if (at < text.size() && (text[at] == 'Z' || text[at] == 'z')) {
    ++at;
  } else if (at < text.size() && (text[at] == '+' || text[at] == '-')) {
    int oh, om;
    if (!digits(at + 1, 2, oh) || !digits(at + 4, 2, om) || text[at + 3] != ':' || oh > 23 || om > 59) return fail();
    offset_minutes = (text[at] == '-' ? -1 : 1) * (oh * 60 + om);
    at += 6;
  } else {
    return fail();
  }
  if (at != text.size()) return fail();
  const auto time = sys_days{date} + hours{h} + minutes{mi - offset_minutes} + seconds{s};
  // What nanoseconds cannot count (before 1678, after 2261) is as early or as late as they can.
  if (time <= floor<seconds>(WallTime::min()) + seconds{1}) return WallTime::min();
  if (time >= floor<seconds>(WallTime::max())) return WallTime::max();
  return WallTime{time + nanoseconds{nanos}};
}

}  // namespace engenho
