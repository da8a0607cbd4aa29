// CronJobs, on a clock that the test moves.
#include <set>

#include "../src/cron_times.h"
#include "engenho/catalog/batch_v1.h"
#include "fixture.h"

using namespace engenho;
using controllers::testing::Cluster;
namespace core_v1 = k8s::core_v1;
namespace batch_v1 = k8s::batch_v1;

namespace {

batch_v1::CronJob cron_job(const std::string& schedule) {
  batch_v1::CronJob c;
  c.metadata.name = "c";
  c.metadata.namespace_ = "default";
  c.spec.schedule = schedule;
  core_v1::Container container;
  container.name = "c";
  container.image = "image:1";
  c.spec.job_template.spec.template_.spec.containers.push_back(container);
  c.spec.job_template.spec.template_.spec.restart_policy = "Never";
  return c;
}

struct CronTest : Cluster {
  using Cluster::Cluster;
  batch_v1::CronJob get() {
    auto c = client->get<batch_v1::CronJob>("default", "c");
    REQUIRE(c);
    return *c;
  }
  bool status(std::function<bool(const batch_v1::CronJobStatus&)> check) {
    return eventually<batch_v1::CronJob>([&] { return check(get().status); });
  }
  bool jobs(size_t n) {
    return eventually<batch_v1::Job>([&] { return all<batch_v1::Job>().size() == n; });
  }
  void finish(const batch_v1::Job& job) {
    const std::string selector = "job-name=" + job.metadata.name;
    REQUIRE(eventually<core_v1::Pod>([&] { return all<core_v1::Pod>(selector).size() == 1; }));
    set_phase(all<core_v1::Pod>(selector)[0].metadata.name, "Succeeded");
  }
};

WallTime at(const char* text) {
  return *parse_rfc3339(text);
}
std::string next(const std::string& text, const std::string& zone, const char* after) {
  schema::CronSchedule s;
  REQUIRE(schema::parse_cron(text, s).empty());
  auto t = controllers::next_run(s, zone, at(after));
  return t ? format_rfc3339(*t) : "never";
}

}  // namespace

TEST_CASE("the next run of a schedule, in zones and over changes of the clock", "[controllers][cronjob]") {
  CHECK(next("*/5 * * * *", "", "2026-01-01T00:00:00Z") == "2026-01-01T00:05:00Z");
  CHECK(next("*/5 * * * *", "", "2026-01-01T00:04:59Z") == "2026-01-01T00:05:00Z");
  CHECK(next("0 0 29 2 *", "", "2026-03-01T00:00:00Z") == "2028-02-29T00:00:00Z");
  CHECK(next("0 0 31 2 *", "", "2026-03-01T00:00:00Z") == "never");
  CHECK(next("0 9 * * mon", "", "2026-11-21T12:00:00Z") == "2026-11-23T09:00:00Z");
  CHECK(next("0 0 1 1 *", "", "2026-01-01T00:00:00Z") == "2027-01-01T00:00:00Z");
  if (!controllers::zone_exists("Europe/Berlin")) {
    WARN("no zone database");
    return;
  }
  CHECK(next("0 9 * * *", "Europe/Berlin", "2026-01-10T00:00:00Z") == "2026-01-10T08:00:00Z");
  CHECK(next("0 9 * * *", "Europe/Berlin", "2026-07-10T00:00:00Z") == "2026-07-10T07:00:00Z");
  // 02:30 does not exist on that day; 02:30 exists twice on this.
  CHECK(next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z") == "2026-03-30T00:30:00Z");
  CHECK(next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z") == "2026-10-25T00:30:00Z");
  CHECK(next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z") == "2026-10-25T01:30:00Z");
  CHECK_FALSE(controllers::zone_exists("Mars/Base"));
  CHECK_FALSE(controllers::zone_exists("../../etc/passwd"));
  CHECK_FALSE(controllers::zone_exists("/dev/zero"));

  schema::CronSchedule s;
  REQUIRE(schema::parse_cron("0,1 0 * * *", s).empty());
  const auto missed = controllers::missed_runs(s, "", at("2026-01-01T12:00:00Z"), at("2026-03-01T12:00:00Z"));
  REQUIRE(missed.last);
  CHECK(format_rfc3339(*missed.last) == "2026-03-01T00:01:00Z");
  CHECK(missed.about > 100);
}

TEST_CASE("a cron job makes a job when it is due, once, and keeps so many that are done", "[controllers][cronjob]") {
  FakeClock clock(Clock::real().wall());
  CronTest t(clock);
  auto c = cron_job("* * * * *");
  c.spec.successful_jobs_history_limit = 1;
  REQUIRE(t.client->create(c));
  REQUIRE(t.eventually<batch_v1::CronJob>([&] { return t.client->get<batch_v1::CronJob>("default", "c").has_value(); }));
  CHECK(t.all<batch_v1::Job>().empty());
  std::set<std::string> names;
  for (int round = 0; round < 3; ++round) {
    clock.advance(std::chrono::seconds(61));
    REQUIRE(t.eventually<batch_v1::Job>([&] {
      for (const auto& j : t.all<batch_v1::Job>()) {
        if (!names.contains(j.metadata.name)) return true;
      }
      return false;
    }));
    for (const auto& j : t.all<batch_v1::Job>()) {
      if (!names.insert(j.metadata.name).second) continue;
      CHECK(j.metadata.name.starts_with("c-"));
      CHECK(j.metadata.owner_references.at(0).kind == "CronJob");
      CHECK(j.metadata.annotations.contains("batch.kubernetes.io/cronjob-scheduled-timestamp"));
      REQUIRE(t.status([&](const auto& s) { return s.active.size() == 1 && s.active[0].uid == j.metadata.uid && !s.last_schedule_time.is_zero(); }));
      t.finish(j);
    }
    REQUIRE(t.status([](const auto& s) { return s.active.empty() && !s.last_successful_time.is_zero(); }));
  }
  CHECK(names.size() == 3);
  REQUIRE(t.jobs(1));
  CHECK(t.all<batch_v1::Job>()[0].metadata.name == *names.rbegin());
}

TEST_CASE("Forbid waits, Replace takes over, suspended ones rest", "[controllers][cronjob]") {
  FakeClock clock(Clock::real().wall());
  CronTest t(clock);
  auto c = cron_job("* * * * *");
  c.spec.concurrency_policy = "Forbid";
  REQUIRE(t.client->create(c));
  REQUIRE(t.eventually<batch_v1::CronJob>([&] { return t.client->get<batch_v1::CronJob>("default", "c").has_value(); }));
  clock.advance(std::chrono::seconds(61));
  REQUIRE(t.jobs(1));
  REQUIRE(t.status([](const auto& s) { return s.active.size() == 1; }));
  const auto first = t.all<batch_v1::Job>()[0];
  clock.advance(std::chrono::seconds(61));
  REQUIRE(t.eventually<core_v1::Event>([&] {
    for (const auto& e : t.all<core_v1::Event>()) {
      if (e.reason == "JobAlreadyActive") return true;
    }
    return false;
  }));
  CHECK(t.all<batch_v1::Job>().size() == 1);
  REQUIRE(t.client->patch<batch_v1::CronJob>("default", "c", client::PatchType::kMerge, R"({"spec":{"concurrencyPolicy":"Replace"}})"));
  clock.advance(std::chrono::seconds(61));
  REQUIRE(t.eventually<batch_v1::Job>([&] {
    const auto now = t.all<batch_v1::Job>();
    return now.size() == 1 && now[0].metadata.uid != first.metadata.uid;
  }));
  REQUIRE(t.status([&](const auto& s) { return s.active.size() == 1 && s.active[0].uid != first.metadata.uid; }));
  REQUIRE(t.client->patch<batch_v1::CronJob>("default", "c", client::PatchType::kMerge, R"({"spec":{"suspend":true,"timeZone":"Mars/Base"}})"));
  REQUIRE(t.eventually<core_v1::Event>([&] {
    for (const auto& e : t.all<core_v1::Event>()) {
      if (e.reason == "UnknownTimeZone") return true;
    }
    return false;
  }));
}
