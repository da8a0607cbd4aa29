// Runs pods until as many have succeeded as a Job asks for.
//
// A finished pod is counted exactly once, whatever is restarted in between: its uid is first written to status.uncountedTerminatedPods,
// then its finalizer is taken away, and only then does the uid move into the counters.
#include <tuple>

#include "engenho/base/bytes.h"
#include "engenho/client/work_queue.h"
#include "job_rules.h"

namespace engenho::controllers {

namespace {

using client::key_of;

constexpr int kBurst = 500;  // pods made or deleted at once
constexpr size_t kMaxUncounted = 500;

// One look at a Job and its pods.
struct Look {
  std::string key;
  batch_v1::Job job;  // changes on the way
  PodOwner owner;
  std::vector<PodPtr> pods, active;
  std::set<std::string> uncounted_succeeded, uncounted_failed;
  std::set<std::string> stripped;  // uids whose finalizer is gone though the informer still shows it
  int active_now = 0, ready = 0, terminating = 0;
  int64_t succeeded = 0, failed = 0;
  Indexes succeeded_before, succeeded_indexes, failed_indexes;
  std::map<int, PodPtr> replaced;  // backoffLimitPerIndex: the failed pod of an index that waits for its replacement
  std::optional<batch_v1::JobCondition> finish;
  JobBackoff backoff;

  bool per_index() const { return is_indexed(job) && job.spec.backoff_limit_per_index; }
  bool tracked(const core_v1::Pod& pod) const { return has_finalizer(pod) && !stripped.contains(pod.metadata.uid); }
  // Its index, where it counts for the Job: always, unless Indexed.
  bool valid(const core_v1::Pod& pod) const {
    if (!is_indexed(job)) return true;
    const auto index = completion_index(pod);
    return index && *index < job.spec.completions.value_or(0);
  }
};

class JobController final : public Controller {
 public:
  explicit JobController(Environment& e) : e_(e), queue_(*e.options.clock), orphans_(*e.options.clock), expectations_(*e.options.clock) {}
  std::string_view name() const override { return "job"; }

  void prepare() override {
    auto& jobs = e_.informers.get<batch_v1::Job>();
    jobs.on_change([this](const batch_v1::Job& job) { queue_.add(key_of(job.metadata.namespace_, job.metadata.name)); });
    jobs.add_handler({nullptr,
                      [this](const auto&, const auto& now) {
                        if (is_finished(*now)) release_pods(*now);
                      },
                      [this](const auto& last) { release_pods(*last); }});
    watch_pods(
        e_, "Job",
        [this](const std::string& key, const core_v1::Pod& pod, bool deleted) {
          expectations_.observe(key, pod, deleted);
          if (deleted || !has_finalizer(pod)) {
            std::lock_guard lock(mutex_);
            if (auto it = stripped_.find(key); it != stripped_.end()) it->second.erase(pod.metadata.uid);
          }
          queue_.add(key);
          if (!deleted && has_finalizer(pod)) consider_orphan(pod);
        },
        [this](const core_v1::Pod& pod) {
          if (has_finalizer(pod)) consider_orphan(pod);
          for (const auto& job : e_.informers.get<batch_v1::Job>().list(pod.metadata.namespace_)) {
            if (matches(job->spec.selector, pod.metadata.labels)) queue_.add(key_of(job->metadata.namespace_, job->metadata.name));
          }
        });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "job", queue_, 4, [this](const std::string& key) { return reconcile(key); });
    client::run_workers(group, "job-orphans", orphans_, 1, [this](const std::string& key) { return free_orphan(key); });
  }

 private:
  // --- pods that nobody counts any more: their finalizer would keep them for ever ---

  void consider_orphan(const core_v1::Pod& pod) {
    if (const auto* owner = controller_of(pod.metadata)) {
      auto job = e_.informers.get<batch_v1::Job>().get(pod.metadata.namespace_, owner->name);
      if (job != nullptr && job->metadata.uid == owner->uid && !is_finished(*job)) return;
    }
    orphans_.add(key_of(pod.metadata.namespace_, pod.metadata.name));
  }
  void release_pods(const batch_v1::Job& job) {
    for (const PodPtr& pod : e_.informers.get<core_v1::Pod>().list(job.metadata.namespace_)) {
      const auto* owner = controller_of(pod->metadata);
      if (owner != nullptr && owner->uid == job.metadata.uid && has_finalizer(*pod)) orphans_.add(key_of(pod->metadata.namespace_, pod->metadata.name));
    }
  }
  Status free_orphan(const std::string& key) {
    const PodPtr pod = e_.informers.get<core_v1::Pod>().get(key);
    if (pod == nullptr || !has_finalizer(*pod)) return {};
    if (const auto* owner = controller_of(pod->metadata)) {
      if (owner->kind != "Job" || owner->api_version != batch_v1::Job::kApiVersion) return {};
      auto job = e_.client.get<batch_v1::Job>(pod->metadata.namespace_, owner->name);  // the informer may be behind
      if (!job && !job.error().not_found()) return job.error();
      if (job && job->metadata.uid == owner->uid && (job->spec.managed_by.value_or(kManager) != kManager || !is_finished(*job))) return {};
    }
    return strip(*pod);
  }
  // Takes the finalizer; a pod that is gone has none.
  Status strip(const core_v1::Pod& pod) {
    const std::string patch =
        std::string(R"({"metadata":{"uid":")") + pod.metadata.uid + R"(","$deleteFromPrimitiveList/finalizers":[")" + kJobFinalizer + R"("]}})";
    auto done = e_.client.patch<core_v1::Pod>(pod.metadata.namespace_, pod.metadata.name, client::PatchType::kStrategic, patch);
    return done || done.error().not_found() ? Status() : done.error();
  }

  // --- the Job ---

  static int64_t version_of(const batch_v1::Job& job) {
    int64_t version = 0;
    parse_int(job.metadata.resource_version, version);
    return version;
  }
  void forget(const std::string& key) {
    expectations_.forget(key);
    std::lock_guard lock(mutex_);
    backoff_.erase(key);
    stripped_.erase(key);
    written_.erase(key);
  }

  Status reconcile(const std::string& key) {
    auto job = e_.informers.get<batch_v1::Job>().get(key);
    if (job == nullptr || is_finished(*job)) return forget(key), Status();
    if (job->spec.managed_by.value_or(kManager) != kManager) return {};
    Look look;
    look.key = key;
    look.job = *job;
    {
      std::lock_guard lock(mutex_);
      // What this controller wrote and the informer has yet to show: its pods without finalizers would look as if they had never been.
      if (auto it = written_.find(key); it != written_.end()) {
        if (it->second.first == job->metadata.uid && version_of(*job) < it->second.second) return {};
        if (it->second.first != job->metadata.uid) backoff_.erase(key);
      }
      look.stripped = stripped_[key];
      look.backoff = backoff_[key];
    }
    look.owner = pod_owner(e_, *job);
    look.owner.finalizer = kJobFinalizer;
    look.owner.adopts_finished = true;
    const bool settled = expectations_.settled(key);
    ENGENHO_ASSIGN_OR_RETURN(look.pods, claim_pods(e_, look.owner));
    count(look);
    judge(look, e_.options.clock->wall());

    const WallTime now = e_.options.clock->wall();
    auto& status = look.job.status;
    if (status.start_time.is_zero() && !is_suspended(look.job)) status.start_time = now;
    Status acted;
    bool suspension_changed = false;
    if (look.finish) {
      int deleted = 0;
      acted = delete_pods(look, look.active, false, deleted);
      if (deleted != static_cast<int>(look.active.size()) || !settled) look.finish.reset();  // pods may be left that are not counted yet
    } else {
      const bool manage_now = settled && look.job.metadata.deletion_timestamp.is_zero();
      if (manage_now) acted = manage(look);
      const auto& wanted = look.job.spec.completions;
      if (look.active_now == 0 && (wanted ? look.succeeded >= *wanted : look.succeeded > 0)) {
        look.finish = condition("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods");
      } else if (manage_now) {
        suspension_changed = note_suspension(look, now);
      }
    }
    const bool flush = suspension_changed || status.active != look.active_now || status.ready != look.ready || status.terminating != look.terminating ||
                       status.start_time != job->status.start_time;
    status.active = look.active_now;
    status.ready = look.ready;
    status.terminating = look.terminating;
    ENGENHO_RETURN_IF_ERROR(track(look, flush));
    return acted;
  }

  void count(Look& look) {
    const batch_v1::Job& job = look.job;
    if (job.status.uncounted_terminated_pods) {
      for (const auto& uid : job.status.uncounted_terminated_pods->succeeded) look.uncounted_succeeded.insert(uid);
      for (const auto& uid : job.status.uncounted_terminated_pods->failed) look.uncounted_failed.insert(uid);
    }
    std::vector<PodPtr> succeeded, failed;
    int64_t counting = 0;
    for (const PodPtr& p : look.pods) {
      if (is_active(*p)) {
        look.active.push_back(p);
        look.ready += is_ready(*p);
      } else if (!controllers::is_finished(*p)) {
        ++look.terminating;
      }
      if (!look.tracked(*p) || !look.valid(*p)) continue;
      if (p->status.phase == "Succeeded") {
        if (!look.uncounted_succeeded.contains(p->metadata.uid)) succeeded.push_back(p);
        if (is_indexed(job)) look.succeeded_indexes.add(*completion_index(*p));
      } else if (is_failed(*p, job) && !look.uncounted_failed.contains(p->metadata.uid)) {
        failed.push_back(p);
        counting += judge_failure(job, *p).counts;
      }
    }
    look.active_now = static_cast<int>(look.active.size());
    look.succeeded = job.status.succeeded + static_cast<int64_t>(succeeded.size() + look.uncounted_succeeded.size());
    look.failed = job.status.failed + counting + static_cast<int64_t>(look.uncounted_failed.size());
    look.backoff.add(std::move(succeeded), std::move(failed));
    if (!is_indexed(job)) return;
    const int completions = job.spec.completions.value_or(0);
    look.succeeded_before = Indexes::parse(job.status.completed_indexes, completions);
    look.succeeded_indexes.add(look.succeeded_before);
    look.succeeded = look.succeeded_indexes.size();
    if (!look.per_index()) return;
    look.failed_indexes = Indexes::parse(job.status.failed_indexes.value_or(""), completions);
    std::set<int> running;
    for (const PodPtr& p : look.active) {
      if (auto i = completion_index(*p)) running.insert(*i);
    }
    for (const PodPtr& p : look.pods) {
      if (look.tracked(*p) && look.valid(*p) && fails_its_index(job, *p)) look.failed_indexes.add(*completion_index(*p));
    }
    for (const PodPtr& p : look.pods) {
      if (!look.tracked(*p) || !look.valid(*p) || !is_failed(*p, job)) continue;
      const int i = *completion_index(*p);
      if (look.succeeded_indexes.contains(i) || look.failed_indexes.contains(i) || running.contains(i)) continue;
      PodPtr& last = look.replaced[i];
      if (last == nullptr || (failures_of_index(*last, true) <= failures_of_index(*p, true) && finished_at(*last) <= finished_at(*p))) last = p;
    }
  }

  batch_v1::JobCondition condition(const char* type, std::string reason, std::string message) {
    batch_v1::JobCondition c;
    c.type = type;
    c.status = "True";
    c.reason = std::move(reason);
    c.message = std::move(message);
    c.last_probe_time = c.last_transition_time = e_.options.clock->wall();
    return c;
  }

  // Whether the Job has come to an end, before its completions are looked at.
  void judge(Look& look, WallTime now) {
    const batch_v1::Job& job = look.job;
    if (const auto* met = find_condition(job, "SuccessCriteriaMet"))
      look.finish = *met;
    else if (const auto* target = find_condition(job, "FailureTarget"))
      look.finish = *target;
    if (look.finish) return;
    for (const PodPtr& p : look.pods) {
      if (!job.spec.pod_failure_policy || !is_failed(*p, job)) continue;
      if (auto why = judge_failure(job, *p).fails_job) look.finish = condition("FailureTarget", "PodFailurePolicy", *why);
      if (look.finish) return;
    }
    if (look.failed > job.spec.backoff_limit.value_or(6) || restarted_too_often(job, look.pods)) {
      look.finish = condition("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
      return;
    }
    if (job.spec.active_deadline_seconds && !is_suspended(job)) {
      const Duration left = job.status.start_time.value_or(now) + std::chrono::seconds(*job.spec.active_deadline_seconds) - now;
      if (left <= Duration(0) && !job.status.start_time.is_zero()) {
        look.finish = condition("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline");
        return;
      }
      queue_.add_after(look.key, std::max<Duration>(left, std::chrono::milliseconds(1)));
    }
    if (look.per_index()) {
      const int64_t failed = look.failed_indexes.size();
      if (job.spec.max_failed_indexes && failed > *job.spec.max_failed_indexes) {
        look.finish = condition("FailureTarget", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
      } else if (failed > 0 && failed + look.succeeded >= job.spec.completions.value_or(0)) {
        look.finish = condition("FailureTarget", "FailedIndexes", "Job has failed indexes");
      }
    }
    if (!look.finish && is_indexed(job)) {
      if (auto why = success_policy_met(job, look.succeeded_indexes)) look.finish = condition("SuccessCriteriaMet", "SuccessPolicy", *why);
    }
  }

  bool note_suspension(Look& look, WallTime now) {
    auto& conditions = look.job.status.conditions;
    auto it = std::find_if(conditions.begin(), conditions.end(), [](const auto& c) { return c.type == "Suspended"; });
    const bool suspended = is_suspended(look.job);
    if (it == conditions.end() ? !suspended : (it->status == "True") == suspended) return false;
    auto c = condition("Suspended", suspended ? "JobSuspended" : "JobResumed", suspended ? "Job suspended" : "Job resumed");
    c.status = suspended ? "True" : "False";
    if (it == conditions.end())
      conditions.push_back(std::move(c));
    else
      *it = std::move(c);
    e_.events.event(look.owner.about, "Normal", suspended ? "Suspended" : "Resumed", suspended ? "Job suspended" : "Job resumed");
    // The deadline counts from the last time that it was resumed.
    if (suspended)
      look.job.status.start_time.reset();
    else
      look.job.status.start_time = now;
    return true;
  }

  // Counts what it deletes out of `look`. `strip_too`: nobody will count these pods.
  Status delete_pods(Look& look, const std::vector<PodPtr>& pods, bool strip_too, int& deleted) {
    for (const PodPtr& p : pods) {
      if (strip_too && has_finalizer(*p)) ENGENHO_RETURN_IF_ERROR(strip(*p));
      ENGENHO_RETURN_IF_ERROR(delete_pod(e_, expectations_, look.key, look.owner, *p));
      ++deleted;
      --look.active_now;
      ++look.terminating;
      look.ready -= is_ready(*p);
    }
    return {};
  }

  // Those that are too many: first what has no index, or one that another has too.
  static std::vector<PodPtr> surplus(const Look& look, int at_least) {
    std::vector<PodPtr> out, rest = look.active;
    sort_for_deletion(rest);
    if (is_indexed(look.job)) {
      std::set<int> kept;
      std::vector<PodPtr> single;
      for (auto it = rest.rbegin(); it != rest.rend(); ++it) {
        (look.valid(**it) && kept.insert(*completion_index(**it)).second ? single : out).push_back(*it);
      }
      std::reverse(single.begin(), single.end());
      rest = std::move(single);
    }
    for (const PodPtr& p : rest) {
      if (static_cast<int>(out.size()) >= at_least) break;
      out.push_back(p);
    }
    if (out.size() > kBurst) out.resize(kBurst);
    return out;
  }

  // Makes as many pods run as may.
  Status manage(Look& look) {
    const batch_v1::Job& job = look.job;
    const int active = look.active_now, parallelism = job.spec.parallelism.value_or(1);
    int deleted = 0;
    if (is_suspended(job)) return delete_pods(look, surplus(look, active), true, deleted);
    int64_t wanted = parallelism;
    if (!job.spec.completions) {
      if (look.succeeded > 0) wanted = active;  // one said that all is done: the others run to their end
    } else {
      wanted = std::clamp<int64_t>(*job.spec.completions - look.succeeded, 0, parallelism);
    }
    if (auto extra = surplus(look, static_cast<int>(std::max<int64_t>(0, active - wanted))); !extra.empty()) {
      return delete_pods(look, extra, true, deleted);
    }
    int64_t missing = std::min<int64_t>(wanted - active - (replaces_only_failed(job) ? look.terminating : 0), kBurst);
    if (missing <= 0) return {};
    const WallTime now = e_.options.clock->wall();
    if (!look.per_index()) {
      if (const Duration wait = look.backoff.remaining(now); wait > Duration(0)) return queue_.add_after(look.key, wait), Status();
    }
    if (!is_indexed(job)) {
      for (; missing > 0; --missing) {
        ENGENHO_ASSIGN_OR_RETURN(const bool made, create(look, std::nullopt));
        if (!made) return {};
      }
      return {};
    }
    Indexes taken = look.succeeded_indexes;
    taken.add(look.failed_indexes);
    for (const PodPtr& p : look.pods) {
      const bool going = !is_active(*p) && !controllers::is_finished(*p) && replaces_only_failed(job);
      if (auto i = completion_index(*p); i && (is_active(*p) || going)) taken.add(*i);
    }
    for (int i : taken.missing(missing, job.spec.completions.value_or(0))) {
      if (auto it = look.replaced.find(i); it != look.replaced.end()) {
        JobBackoff own;
        own.failures = failures_of_index(*it->second, true) + 1;
        own.last_failure = finished_at(*it->second);
        if (const Duration wait = own.remaining(now); wait > Duration(0)) {
          queue_.add_after(look.key, wait);
          continue;
        }
      }
      ENGENHO_ASSIGN_OR_RETURN(const bool made, create(look, i));
      if (!made) return {};
    }
    return {};
  }

  Result<bool> create(Look& look, std::optional<int> index) {
    const batch_v1::Job& job = look.job;
    core_v1::Pod pod = pod_of_template(job.spec.template_, look.owner);
    if (!has_finalizer(pod)) pod.metadata.finalizers.push_back(kJobFinalizer);
    std::string suffix = "-";
    if (index) {
      const std::string text = std::to_string(*index);
      suffix = "-" + text + "-";
      pod.metadata.labels[kCompletionIndex] = pod.metadata.annotations[kCompletionIndex] = text;
      pod.spec.hostname = job.metadata.name + "-" + text;
      for (auto* list : {&pod.spec.init_containers, &pod.spec.containers}) {
        for (core_v1::Container& c : *list) {
          if (std::any_of(c.env.begin(), c.env.end(), [](const auto& v) { return v.name == "JOB_COMPLETION_INDEX"; })) continue;
          core_v1::EnvVar v;
          v.name = "JOB_COMPLETION_INDEX";
          v.value_from.ensure().field_ref.ensure().field_path = std::string("metadata.labels['") + kCompletionIndex + "']";
          c.env.push_back(std::move(v));
        }
      }
      if (look.per_index()) {
        int failures = 0, ignored = 0;
        if (auto it = look.replaced.find(*index); it != look.replaced.end()) {
          failures = failures_of_index(*it->second, false);
          ignored = failures_of_index(*it->second, true) - failures;
          ++(judge_failure(job, *it->second).counts ? failures : ignored);
        }
        pod.metadata.annotations[kIndexFailures] = std::to_string(failures);
        if (ignored > 0) pod.metadata.annotations[kIndexIgnoredFailures] = std::to_string(ignored);
      }
    }
    pod.metadata.generate_name = job.metadata.name.substr(0, 58 - suffix.size()) + suffix;
    ENGENHO_ASSIGN(auto made, create_pod(e_, expectations_, look.key, look.owner, pod));
    look.active_now += made.has_value();
    return made.has_value();
  }

  // --- counting, with status writes before and after the finalizers go ---

  Status track(Look& look, bool flush) {
    auto& status = look.job.status;
    auto& uncounted = status.uncounted_terminated_pods.ensure();
    const batch_v1::JobStatus before = status;
    std::set<std::string> with_finalizer;
    for (const PodPtr& p : look.pods) {
      if (look.tracked(*p)) with_finalizer.insert(p->metadata.uid);
    }
    flush |= settle_uncounted(status, with_finalizer);
    std::vector<PodPtr> to_strip;
    Indexes succeeded = look.succeeded_before;
    size_t fresh = 0;
    bool too_many = false;
    const bool success = look.finish && look.finish->type == "SuccessCriteriaMet";
    for (const PodPtr& p : look.pods) {
      if (!look.tracked(*p)) continue;
      const bool failed = is_failed(*p, look.job), done = p->status.phase == "Succeeded";
      const auto index = completion_index(*p);
      if (!look.finish && look.job.metadata.deletion_timestamp.is_zero() && !done) {
        if (!failed) continue;
        // It stays until its replacement carries its count of failures.
        if (auto it = index ? look.replaced.find(*index) : look.replaced.end(); it != look.replaced.end() && it->second == p) continue;
      }
      to_strip.push_back(p);
      const std::string& uid = p->metadata.uid;
      if (done && !look.uncounted_failed.contains(uid)) {
        if (!is_indexed(look.job)) {
          if (!look.uncounted_succeeded.contains(uid)) uncounted.succeeded.push_back(uid), flush = true;
        } else if (look.valid(*p) && !succeeded.contains(*index)) {
          succeeded.add(*index);
          ++fresh;
        }
      } else if ((failed || (look.finish && !success)) && look.valid(*p) && !look.uncounted_failed.contains(uid) && judge_failure(look.job, *p).counts) {
        uncounted.failed.push_back(uid);
        flush = true;
      }
      if (fresh + uncounted.succeeded.size() + uncounted.failed.size() >= kMaxUncounted) {
        too_many = true;  // the status that this writes brings the Job back
        break;
      }
    }
    if (is_indexed(look.job)) {
      status.succeeded = static_cast<int32_t>(succeeded.size());
      status.completed_indexes = succeeded.to_string();
      if (look.per_index()) status.failed_indexes = look.failed_indexes.to_string();
      flush |= status.completed_indexes != before.completed_indexes || status.failed_indexes != before.failed_indexes || status.succeeded != before.succeeded;
    }
    if (look.finish && find_condition(look.job, look.finish->type) == nullptr) {
      status.conditions.push_back(*look.finish);
      flush = true;
    }
    if (flush) {
      ENGENHO_RETURN_IF_ERROR(write(look));
      std::lock_guard lock(mutex_);
      backoff_[look.key] = look.backoff;
    }
    Status stripped;
    for (const PodPtr& p : to_strip) {
      {
        std::lock_guard lock(mutex_);
        stripped_[look.key].insert(p->metadata.uid);
      }
      if (Status s = strip(*p); !s.ok()) {
        std::lock_guard lock(mutex_);
        stripped_[look.key].erase(p->metadata.uid);
        stripped = s;
      } else {
        with_finalizer.erase(p->metadata.uid);
      }
    }
    bool again = settle_uncounted(look.job.status, with_finalizer);
    const bool finished = stripped.ok() && !too_many && finish(look);
    if (again || finished) ENGENHO_RETURN_IF_ERROR(write(look));
    if (finished) tell_end(look);
    return stripped;
  }

  // Moves those whose finalizer is gone into the counters.
  static bool settle_uncounted(batch_v1::JobStatus& status, const std::set<std::string>& with_finalizer) {
    if (!status.uncounted_terminated_pods) return false;
    auto settle = [&](std::vector<std::string>& uids, int32_t& counter) {
      const auto n = std::erase_if(uids, [&](const std::string& uid) { return !with_finalizer.contains(uid); });
      counter += static_cast<int32_t>(n);
      return n > 0;
    };
    const bool a = settle(status.uncounted_terminated_pods->succeeded, status.succeeded);
    const bool b = settle(status.uncounted_terminated_pods->failed, status.failed);
    return a || b;
  }

  // Complete or Failed, once every pod is counted and gone.
  bool finish(Look& look) {
    auto& status = look.job.status;
    if (!look.finish || look.terminating > 0) return false;
    if (status.uncounted_terminated_pods && !(status.uncounted_terminated_pods->succeeded.empty() && status.uncounted_terminated_pods->failed.empty())) {
      return false;
    }
    const bool success = look.finish->type == "SuccessCriteriaMet";
    status.conditions.push_back(condition(success ? "Complete" : "Failed", look.finish->reason, look.finish->message));
    if (success) status.completion_time = status.conditions.back().last_transition_time;
    return true;
  }
  void tell_end(const Look& look) {
    const auto& job = look.job;
    if (look.finish->type != "SuccessCriteriaMet") {
      e_.events.event(look.owner.about, "Warning", look.finish->reason, look.finish->message);
      return;
    }
    if (job.spec.completions && job.status.succeeded > *job.spec.completions) {
      e_.events.event(look.owner.about, "Warning", "TooManySucceededPods", "Too many succeeded pods running after completion count reached");
    }
    e_.events.event(look.owner.about, "Normal", "Completed", "Job completed");
  }

  Status write(Look& look) {
    auto written = e_.client.update_status(look.job);
    if (!written) return written.error();
    look.job = std::move(*written);
    look.job.status.uncounted_terminated_pods.ensure();
    std::lock_guard lock(mutex_);
    written_[look.key] = {look.job.metadata.uid, version_of(look.job)};
    return {};
  }

  static constexpr char kManager[] = "kubernetes.io/job-controller";
  Environment& e_;
  client::WorkQueue queue_, orphans_;
  Expectations expectations_;
  std::mutex mutex_;  // guards what follows; by the Job's key
  std::map<std::string, JobBackoff> backoff_;
  std::map<std::string, std::set<std::string>> stripped_;
  std::map<std::string, std::pair<std::string, int64_t>> written_;  // uid, resource version
};

}  // namespace

std::unique_ptr<Controller> job_controller(Environment& e) {
  return std::make_unique<JobController>(e);
}

}  // namespace engenho::controllers
