// Deletes Jobs that have been finished for as long as their ttlSecondsAfterFinished says.
#include "engenho/client/work_queue.h"
#include "job_rules.h"

namespace engenho::controllers {

namespace {

using client::key_of;

class TtlAfterFinishedController final : public Controller {
 public:
  explicit TtlAfterFinishedController(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "ttl-after-finished"; }
  void prepare() override {
    e_.informers.get<batch_v1::Job>().on_change([this](const batch_v1::Job& job) {
      if (job.spec.ttl_seconds_after_finished && is_finished(job)) queue_.add(key_of(job.metadata.namespace_, job.metadata.name));
    });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "ttl", queue_, 1, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  // How long it may still stay; nullopt when nothing ends it.
  std::optional<Duration> left(const batch_v1::Job& job) const {
    if (!job.metadata.deletion_timestamp.is_zero() || !job.spec.ttl_seconds_after_finished) return std::nullopt;
    const auto* end = find_condition(job, "Complete");
    if (end == nullptr) end = find_condition(job, "Failed");
    if (end == nullptr || end->last_transition_time.is_zero()) return std::nullopt;
    return *end->last_transition_time + std::chrono::seconds(*job.spec.ttl_seconds_after_finished) - e_.options.clock->wall();
  }
  Status reconcile(const std::string& key) {
    auto job = e_.informers.get<batch_v1::Job>().get(key);
    if (job == nullptr) return {};
    auto wait = left(*job);
    if (!wait) return {};
    if (*wait > Duration(0)) return queue_.add_after(key, *wait), Status();
    // Somebody may have raised the TTL meanwhile.
    auto fresh = e_.client.get<batch_v1::Job>(job->metadata.namespace_, job->metadata.name);
    if (!fresh) return fresh.error().not_found() ? Status() : fresh.error();
    wait = left(*fresh);
    if (!wait) return {};
    if (*wait > Duration(0)) return queue_.add_after(key, *wait), Status();
    client::DeleteOptions options;
    options.propagation_policy = "Foreground";
    options.uid = fresh->metadata.uid;
    options.resource_version = fresh->metadata.resource_version;
    Status s = e_.client.remove<batch_v1::Job>(fresh->metadata.namespace_, fresh->metadata.name, options);
    return s.not_found() ? Status() : s;
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> ttl_after_finished_controller(Environment& e) {
  return std::make_unique<TtlAfterFinishedController>(e);
}

}  // namespace engenho::controllers
