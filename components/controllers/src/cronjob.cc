// Makes a Job each time that a CronJob's schedule says.
#include <set>

#include "cron_times.h"
#include "engenho/client/work_queue.h"
#include "job_rules.h"

namespace engenho::controllers {

namespace {

using client::key_of;
using JobPtr = std::shared_ptr<const batch_v1::Job>;

class CronJobController final : public Controller {
 public:
  explicit CronJobController(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "cronjob"; }

  void prepare() override {
    e_.informers.get<batch_v1::CronJob>().on_change([this](const batch_v1::CronJob& c) { queue_.add(key_of(c.metadata.namespace_, c.metadata.name)); });
    e_.informers.get<batch_v1::Job>().on_change([this](const batch_v1::Job& job) {
      const auto* owner = controller_of(job.metadata);
      if (owner != nullptr && owner->kind == batch_v1::CronJob::kKind) queue_.add(key_of(job.metadata.namespace_, owner->name));
    });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "cronjob", queue_, 2, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  void tell(const batch_v1::CronJob& c, const char* type, const char* reason, std::string message) {
    e_.events.event(client::reference_to(c), type, reason, std::move(message));
  }

  Status reconcile(const std::string& key) {
    auto found = e_.informers.get<batch_v1::CronJob>().get(key);
    if (found == nullptr) return {};
    batch_v1::CronJob cron = *found;
    std::vector<JobPtr> jobs;
    for (const JobPtr& job : e_.informers.get<batch_v1::Job>().list(cron.metadata.namespace_)) {
      const auto* owner = controller_of(job->metadata);
      if (owner != nullptr && owner->uid == cron.metadata.uid) jobs.push_back(job);
    }
    ENGENHO_RETURN_IF_ERROR(look_at_jobs(cron, jobs));
    Status started;
    if (cron.metadata.deletion_timestamp.is_zero()) {
      started = start(key, cron);
      ENGENHO_RETURN_IF_ERROR(clean_up(cron, jobs));
    }
    if (!(cron.status == found->status)) {
      auto written = e_.client.update_status(cron);
      if (!written && !written.error().not_found()) return written.error();
    }
    return started;
  }

  // Brings the list of active Jobs up to date.
  Status look_at_jobs(batch_v1::CronJob& cron, const std::vector<JobPtr>& jobs) {
    auto& active = cron.status.active;
    std::set<std::string> known;
    for (const JobPtr& job : jobs) {
      known.insert(job->metadata.uid);
      auto it = std::find_if(active.begin(), active.end(), [&](const auto& a) { return a.uid == job->metadata.uid; });
      if (!is_finished(*job)) {
        if (it == active.end()) {
          // Made just before this process went down, or not by it.
          auto fresh = e_.client.get<batch_v1::CronJob>(cron.metadata.namespace_, cron.metadata.name);
          if (!fresh) return fresh.error().not_found() ? Status() : fresh.error();
          const bool listed = std::any_of(fresh->status.active.begin(), fresh->status.active.end(), [&](const auto& a) { return a.uid == job->metadata.uid; });
          if (listed)
            cron = std::move(*fresh);
          else
            tell(cron, "Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: " + job->metadata.name);
        }
        continue;
      }
      const bool complete = find_condition(*job, "Complete") != nullptr;
      if (it != active.end()) {
        active.erase(it);
        tell(cron, "Normal", "SawCompletedJob", "Saw completed job: " + job->metadata.name + ", condition: " + (complete ? "Complete" : "Failed"));
      }
      auto& last = cron.status.last_successful_time;
      if (complete && !job->status.completion_time.is_zero() && (last.is_zero() || *job->status.completion_time > *last)) last = job->status.completion_time;
    }
    for (size_t i = 0; i < active.size();) {
      if (!known.contains(active[i].uid)) {
        auto there = e_.client.get<batch_v1::Job>(active[i].namespace_, active[i].name);
        if (!there && !there.error().not_found()) return there.error();
        if (!there || there->metadata.uid != active[i].uid) {
          tell(cron, "Normal", "MissingJob", "Active job went missing: " + active[i].name);
          active.erase(active.begin() + static_cast<std::ptrdiff_t>(i));
          continue;
        }
      }
      ++i;
    }
    return {};
  }

  // Starts what is due and comes back for the next.
  Status start(const std::string& key, batch_v1::CronJob& cron) {
    const std::string zone = cron.spec.time_zone.value_or("");
    if (!zone_exists(zone)) {
      tell(cron, "Warning", "UnknownTimeZone", "invalid timeZone: \"" + zone + "\": unknown time zone " + zone);
      return {};
    }
    if (cron.spec.suspend.value_or(false)) return {};
    schema::CronSchedule schedule;
    if (std::string wrong = schema::parse_cron(cron.spec.schedule, schedule); !wrong.empty()) {
      tell(cron, "Warning", "UnparseableSchedule", "unparseable schedule: \"" + cron.spec.schedule + "\" : " + wrong);
      return {};
    }
    const WallTime now = e_.options.clock->wall();
    WallTime earliest = cron.status.last_schedule_time.value_or(cron.metadata.creation_timestamp.value_or(now));
    const auto deadline = cron.spec.starting_deadline_seconds;
    if (deadline) earliest = std::max<WallTime>(earliest, now - std::chrono::seconds(std::min<int64_t>(*deadline, 10LL * 365 * 86400)));
    const MissedRuns missed = missed_runs(schedule, zone, earliest, now);
    // An interval counts from the last run, a schedule from now.
    if (const auto next = next_run(schedule, zone, schedule.every > Duration(0) ? missed.last.value_or(earliest) : now)) {
      queue_.add_after(key, *next - now + std::chrono::milliseconds(100));
    } else {
      tell(cron, "Warning", "InvalidSchedule", "invalid schedule: " + cron.spec.schedule + " : it is never due");
    }
    if (!missed.last) return {};
    const WallTime due = *missed.last;
    if (missed.about > 100) {
      tell(cron, "Warning", "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew");
    }
    if (deadline && due + std::chrono::seconds(std::min<int64_t>(*deadline, 10LL * 365 * 86400)) < now) {
      tell(cron, "Warning", "MissSchedule", "Missed scheduled time to start a job: " + format_rfc3339(due));
      return {};
    }
    auto& active = cron.status.active;
    // Named by its minute: whoever tries again finds it there.
    const std::string name = cron.metadata.name + "-" + std::to_string(std::chrono::duration_cast<std::chrono::minutes>(due.time_since_epoch()).count());
    if (cron.status.last_schedule_time == k8s::Time(due) || std::any_of(active.begin(), active.end(), [&](const auto& a) { return a.name == name; })) return {};
    if (cron.spec.concurrency_policy == "Forbid" && !active.empty()) {
      tell(cron, "Normal", "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid");
      return {};
    }
    if (cron.spec.concurrency_policy == "Replace") {
      while (!active.empty()) {
        ENGENHO_RETURN_IF_ERROR(remove(cron, active.front().namespace_, active.front().name));
        active.erase(active.begin());
      }
    }
    batch_v1::Job job;
    job.metadata.namespace_ = cron.metadata.namespace_;
    job.metadata.name = name;
    job.metadata.labels = cron.spec.job_template.metadata.labels;
    job.metadata.annotations = cron.spec.job_template.metadata.annotations;
    job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] = format_in_zone(due, zone);
    job.metadata.owner_references.push_back(owner_reference(cron));
    job.spec = cron.spec.job_template.spec;
    auto made = e_.client.create(job);
    if (made) {
      tell(cron, "Normal", "SuccessfulCreate", "Created job " + name);
    } else if (made.error().already_exists()) {
      made = e_.client.get<batch_v1::Job>(job.metadata.namespace_, name);
      if (!made) return made.error();
      const auto* owner = controller_of(made->metadata);
      if (owner == nullptr || owner->uid != cron.metadata.uid) return {};
    } else {
      if (namespace_is_going(made.error())) return {};
      tell(cron, "Warning", "FailedCreate", "Error creating job: " + made.error().message());
      return made.error();
    }
    if (!is_finished(*made)) {
      core_v1::ObjectReference reference;
      reference.api_version = batch_v1::Job::kApiVersion;
      reference.kind = batch_v1::Job::kKind;
      reference.namespace_ = made->metadata.namespace_;
      reference.name = name;
      reference.uid = made->metadata.uid;
      reference.resource_version = made->metadata.resource_version;
      active.push_back(std::move(reference));
    }
    cron.status.last_schedule_time = due;
    return {};
  }

  Status remove(const batch_v1::CronJob& cron, const std::string& ns, const std::string& name) {
    client::DeleteOptions options;
    options.propagation_policy = "Background";
    Status s = e_.client.remove<batch_v1::Job>(ns, name, options);
    if (s.not_found()) return {};
    if (!s.ok())
      tell(cron, "Warning", "FailedDelete", "Deleted job: " + s.message());
    else
      tell(cron, "Normal", "SuccessfulDelete", "Deleted job " + name);
    return s;
  }

  // Deletes the oldest finished Jobs beyond the limits.
  Status clean_up(const batch_v1::CronJob& cron, const std::vector<JobPtr>& jobs) {
    for (const bool good : {true, false}) {
      const auto& limit = good ? cron.spec.successful_jobs_history_limit : cron.spec.failed_jobs_history_limit;
      if (!limit) continue;
      std::vector<JobPtr> ended;
      for (const JobPtr& job : jobs) {
        if (find_condition(*job, good ? "Complete" : "Failed") != nullptr && job->metadata.deletion_timestamp.is_zero()) ended.push_back(job);
      }
      std::sort(ended.begin(), ended.end(), [](const JobPtr& a, const JobPtr& b) {
        return std::pair(a->status.start_time.value_or(WallTime::max()), a->metadata.name) <
               std::pair(b->status.start_time.value_or(WallTime::max()), b->metadata.name);
      });
      for (int i = 0; i < static_cast<int>(ended.size()) - *limit; ++i) {
        ENGENHO_RETURN_IF_ERROR(remove(cron, cron.metadata.namespace_, ended[static_cast<size_t>(i)]->metadata.name));
      }
    }
    return {};
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> cronjob_controller(Environment& e) {
  return std::make_unique<CronJobController>(e);
}

}  // namespace engenho::controllers
