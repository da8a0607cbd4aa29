#include "engenho/schema/cron.h"

#include "engenho/testing/catch.h"

using namespace engenho::schema;

TEST_CASE("schedules are read as fields of bits", "[schema][cron]") {
  CronSchedule s;
  REQUIRE(parse_cron("*/15 0-6/3,22 1 JAN,dec mon-Fri", s).empty());
  CHECK(s.minutes == (1ull << 0 | 1ull << 15 | 1ull << 30 | 1ull << 45));
  CHECK(s.hours == (1ull << 0 | 1ull << 3 | 1ull << 6 | 1ull << 22));
  CHECK(s.days == 1ull << 1);
  CHECK(s.months == (1ull << 1 | 1ull << 12));
  CHECK(s.weekdays == 0b111110);
  CHECK_FALSE(s.any_day);
  CHECK(s.takes_day(1, 0));  // either fits
  CHECK(s.takes_day(2, 1));
  CHECK_FALSE(s.takes_day(2, 0));
  CronSchedule daily;
  REQUIRE(parse_cron("@daily", daily).empty());
  CHECK(daily.minutes == 1);
  CHECK(daily.any_day);
  CronSchedule weekly;
  REQUIRE(parse_cron("0 0 * * 1", weekly).empty());
  CHECK(weekly.takes_day(5, 1));
  CHECK_FALSE(weekly.takes_day(5, 2));  // "*" adds nothing
  CronSchedule every;
  REQUIRE(parse_cron("@every 1h30m", every).empty());
  CHECK(every.every == std::chrono::minutes(90));
}

TEST_CASE("schedules that make no sense are refused with the reason", "[schema][cron]") {
  CronSchedule s;
  CHECK(parse_cron("* * * *", s) == "expected exactly 5 fields, found 4: [* * * *]");
  CHECK(parse_cron("60 * * * *", s) == "end of range (60) above maximum (59): 60");
  CHECK(parse_cron("5-1 * * * *", s) == "beginning of range (5) beyond end of range (1): 5-1");
  CHECK(parse_cron("*/0 * * * *", s) == "step of range should be a positive number: */0");
  CHECK(parse_cron("* * 0 * *", s) == "beginning of range (0) below minimum (1): 0");
  CHECK_FALSE(parse_cron("* * * * 7", s).empty());
  CHECK_FALSE(parse_cron("@sometimes", s).empty());
  CHECK_FALSE(parse_cron("@every never", s).empty());
  CHECK_FALSE(parse_cron("@every 1e300h", s).empty());
}
