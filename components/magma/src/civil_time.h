// A time as a calendar shows it, UTC.
#pragma once

#include "engenho/base/clock.h"

namespace engenho::magma {

struct CivilTime {
  int year, month, day, hour, minute, second, weekday;   // month and day from 1, weekday 0 = Sunday
};

inline CivilTime civil_time(WallTime time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const auto rest = floor<seconds>(time - day).count();
  return {static_cast<int>(date.year()), static_cast<int>(static_cast<unsigned>(date.month())), static_cast<int>(static_cast<unsigned>(date.day())),
          static_cast<int>(rest / 3600), static_cast<int>(rest / 60 % 60), static_cast<int>(rest % 60), static_cast<int>(weekday(day).c_encoding())};
}

}  // namespace engenho::magma
