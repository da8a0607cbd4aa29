// When a schedule is due, in a time zone of the system's zone database.
#pragma once

#include <optional>
#include <string>

#include "engenho/base/clock.h"
#include "engenho/schema/cron.h"

namespace engenho::controllers {

// The first time after `after`; nullopt when there is none within five years (February 30th). `zone`: IANA name, one that zone_exists().
// Hours that the clock skips have no runs; those that it repeats have theirs twice.
std::optional<WallTime> next_run(const schema::CronSchedule& schedule, const std::string& zone, WallTime after);
bool zone_exists(const std::string& zone);
// "2026-03-29T03:00:00+02:00".
std::string format_in_zone(WallTime time, const std::string& zone);

struct MissedRuns {
  std::optional<WallTime> last;  // the latest run that is due
  int64_t about = 0;             // how many are
};
// The runs in (earliest, now].
MissedRuns missed_runs(const schema::CronSchedule& schedule, const std::string& zone, WallTime earliest, WallTime now);

}  // namespace engenho::controllers
