// The schedule of a CronJob: five fields (minute, hour, day of month, month, day of week; lists, ranges, steps, names), a descriptor
// (@hourly, ...) or "@every 1h30m".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace engenho::schema {

struct CronSchedule {
  uint64_t minutes = 0, hours = 0, days = 0, months = 0, weekdays = 0;  // bit n: the number n; Sunday is 0
  bool any_day = false, any_weekday = false;                            // "*": when neither is, a day that fits either of them fits
  std::chrono::nanoseconds every{0};                                    // not 0: nothing else counts

  bool takes_day(unsigned day, unsigned weekday) const {
    const bool a = (days >> day & 1) != 0, b = (weekdays >> weekday & 1) != 0;
    return any_day || any_weekday ? a && b : a || b;
  }
};

// What is wrong with the text; "" when nothing is, and `out` is filled.
std::string parse_cron(std::string_view text, CronSchedule& out);

}  // namespace engenho::schema
