#include "cron_times.h"

#include <absl/strings/ascii.h>
#include <absl/time/time.h>

namespace engenho::controllers {

namespace {

// Only names from inside the database: no path that leads out of it.
std::optional<absl::TimeZone> load(const std::string& zone) {
  if (zone.empty() || zone == "UTC") return absl::UTCTimeZone();
  if (zone.front() == '/' || zone.find("..") != zone.npos || zone.size() > 64) return std::nullopt;
  for (char c : zone) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '+' && c != '-' && c != '/') return std::nullopt;
  }
  absl::TimeZone out;
  if (!absl::LoadTimeZone(zone, &out)) return std::nullopt;
  return out;
}

// The beginning of a civil hour or day; where the clock skips it, the moment of the skip.
absl::Time begin_of(absl::CivilSecond civil, const absl::TimeZone& zone) {
  const auto at = zone.At(civil);
  return at.kind == absl::TimeZone::TimeInfo::SKIPPED ? at.trans : at.pre;
}

}  // namespace

bool zone_exists(const std::string& zone) {
  return load(zone).has_value();
}

std::string format_in_zone(WallTime time, const std::string& zone) {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%S%Ez", absl::FromChrono(time), load(zone).value_or(absl::UTCTimeZone()));
}

std::optional<WallTime> next_run(const schema::CronSchedule& s, const std::string& zone_name, WallTime after) {
  if (s.every > Duration(0)) return std::chrono::floor<std::chrono::seconds>(after) + s.every;
  const auto zone = load(zone_name);
  if (!zone) return std::nullopt;
  absl::Time t = absl::FromChrono(after);
  t = absl::FromUnixSeconds((absl::ToUnixSeconds(t) / 60 + 1) * 60);
  const auto last_year = zone->At(t).cs.year() + 5;
  while (true) {
    const absl::CivilSecond c = zone->At(t).cs;
    if (c.year() > last_year) return std::nullopt;
    absl::Time next;
    const unsigned weekday = (static_cast<unsigned>(absl::GetWeekday(c)) + 1) % 7;  // Monday is 0 there
    if ((s.months >> c.month() & 1) == 0)
      next = begin_of(absl::CivilSecond(absl::CivilMonth(c) + 1), *zone);
    else if (!s.takes_day(static_cast<unsigned>(c.day()), weekday))
      next = begin_of(absl::CivilSecond(absl::CivilDay(c) + 1), *zone);
    else if ((s.hours >> c.hour() & 1) == 0)
      next = t + absl::Minutes(60 - c.minute());
    else if ((s.minutes >> c.minute() & 1) == 0)
      next = t + absl::Minutes(1);
    else
      return std::chrono::time_point_cast<Duration>(WallTime(absl::ToUnixNanos(t) * std::chrono::nanoseconds(1)));
    t = next > t ? next : t + absl::Minutes(1);
  }
}

MissedRuns missed_runs(const schema::CronSchedule& s, const std::string& zone, WallTime earliest, WallTime now) {
  MissedRuns out;
  const auto first = next_run(s, zone, earliest);
  if (!first || *first > now) return out;
  const auto second = next_run(s, zone, *first);
  out.last = first;
  out.about = 1;
  if (!second || *second > now) return out;
  // Years may have passed: how many there are is estimated, and the last one looked for in windows that grow backwards from now.
  const Duration step = *second - *first;
  out.about = (now - *first) / step + 1;
  if (s.every > Duration(0)) {
    out.last = *first + step * (out.about - 1);
    return out;
  }
  for (Duration back = 2 * step;; back *= 4) {
    const WallTime from = now - *first > back ? now - back : *first;
    bool found = false;
    for (auto t = next_run(s, zone, from); t && *t <= now; t = next_run(s, zone, *t)) {
      out.last = t;
      found = true;
    }
    if (found || from == *first) break;
  }
  return out;
}

}  // namespace engenho::controllers
