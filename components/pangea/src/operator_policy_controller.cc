// The OperatorPolicy's own status: what it comes to, and how often it kept somebody from working.
#include "conditions.h"
#include "gate.h"

namespace engenho::pangea {

namespace {

constexpr Duration kAgain = std::chrono::minutes(1);   // the count of skips moves by itself

class OperatorPolicyController final : public Controller {
 public:
  explicit OperatorPolicyController(Environment& e) : e_(e), queue_(e.clock()) {}

  void prepare() override {
    e_.informers.get<pangea_v1::OperatorPolicy>().add_handler({[this](const auto& o) { queue_.add(o->metadata.name); },
                                                               [this](const auto& before, const auto& now) {
                                                                 if (before->metadata.generation != now->metadata.generation) queue_.add(now->metadata.name);
                                                               },
                                                               {}});
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "pangea-policy", queue_, 1, [this](const std::string& name) { return reconcile(name); });
  }

 private:
  Status reconcile(const std::string& name) {
    const auto object = e_.informers.get<pangea_v1::OperatorPolicy>().get("", name);
    if (object == nullptr) return {};
    queue_.add_after(name, kAgain);
    pangea_v1::OperatorPolicy next = *object;
    auto& status = next.status;
    const Gate everything = gate(object.get(), "", "", "");
    int overrides = 0;
    if (next.spec.workspace_suspend) {
      for (const auto* states : {&next.spec.workspace_suspend->templates, &next.spec.workspace_suspend->catalogs}) {
        for (const auto& [who, state] : *states) overrides += state.state != "inherit";
      }
    }
    bool some = false;
    if (next.spec.controller_suspend) {
      const auto& c = *next.spec.controller_suspend;
      for (const auto& paused : {c.template_, c.namespace_, c.workspace_catalog, c.architecture_gem}) some = some || paused.value_or(false);
    }
    status.effective = !everything.run ? "Paused" : some || overrides > 0 ? "Partial" : "Active";
    status.workspace_overrides = overrides;
    status.reconciles_skipped = skips();
    if (status.observed_generation != next.metadata.generation) status.last_changed_at = e_.second();
    status.observed_generation = next.metadata.generation;
    const Status written = write_status(e_, next, *object);
    return written.not_found() || written.conflict() ? Status() : written;
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> operator_policy_controller(Environment& environment) { return std::make_unique<OperatorPolicyController>(environment); }

}  // namespace engenho::pangea
