// The queue of templates: who wakes which one, and how many are worked on.
#include <algorithm>

#include "gate.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

class TemplateController final : public Controller {
 public:
  explicit TemplateController(Environment& e) : e_(e), queue_(e.clock(), {std::chrono::milliseconds(200), std::chrono::minutes(5)}) {}

  void prepare() override {
    // Only what a person or another controller says wakes a template, never what it writes itself.
    templates().add_handler({[this](const auto& o) { queue_.add(key_of(*o)); },
                             [this](const auto& before, const auto& now) {
                               const bool asked = before->metadata.generation != now->metadata.generation || before->metadata.labels != now->metadata.labels ||
                                                  before->metadata.deletion_timestamp != now->metadata.deletion_timestamp ||
                                                  (now->status.approval && !(before->status.approval == now->status.approval)) || !(before->status.command == now->status.command);
                               if (asked) queue_.add(key_of(*now));
                               if (before->status.last_applied_at != now->status.last_applied_at) wake_dependents(*now);
                             },
                             [this](const auto& o) { queue_.add(key_of(*o)); }});
    e_.informers.get<pangea_v1::PangeaNamespace>().add_handler(
        {[this](const auto& o) { wake([&](const auto& t) { return t.spec.pangea_namespace == o->metadata.name; }); },
         [this](const auto& before, const auto& now) {
           if (before->metadata.generation == now->metadata.generation && before->status.backend_ready == now->status.backend_ready) return;
           wake([&](const auto& t) { return t.spec.pangea_namespace == now->metadata.name; });
         },
         [this](const auto& o) { wake([&](const auto& t) { return t.spec.pangea_namespace == o->metadata.name; }); }});
    e_.informers.get<pangea_v1::ArchitectureGem>().add_handler(
        {[this](const auto& o) { wake_users_of_gem(o->metadata.name); },
         [this](const auto& before, const auto& now) {
           if (before->metadata.generation == now->metadata.generation && before->status.phase == now->status.phase && before->status.observed_commit == now->status.observed_commit) return;
           wake_users_of_gem(now->metadata.name);
         },
         [this](const auto& o) { wake_users_of_gem(o->metadata.name); }});
    e_.informers.get<pangea_v1::WorkspaceCatalog>().add_handler(
        {[this](const auto& o) { wake_members(o->metadata.name); },
         [this](const auto& before, const auto& now) {
           if (before->metadata.generation != now->metadata.generation) wake_members(now->metadata.name);
         },
         [this](const auto& o) { wake_members(o->metadata.name); }});
    e_.informers.get<pangea_v1::OperatorPolicy>().add_handler({[this](const auto&) { wake([](const auto&) { return true; }); },
                                                               [this](const auto& before, const auto& now) {
                                                                 if (before->metadata.generation != now->metadata.generation) wake([](const auto&) { return true; });
                                                               },
                                                               [this](const auto&) { wake([](const auto&) { return true; }); }});
  }

  void run(TaskGroup& group) override {
    stop_ = group.token();
    client::run_workers(group, "pangea-template", queue_, std::clamp(e_.options.workers, 1, 32), [this](const std::string& key) { return reconcile(key); });
    group.spawn("configmaps", [this](const StopToken& stop) { watch_sources(stop); });
  }

 private:
  client::Informer<pangea_v1::InfrastructureTemplate>& templates() { return e_.informers.get<pangea_v1::InfrastructureTemplate>(); }
  static std::string key_of(const pangea_v1::InfrastructureTemplate& t) { return client::key_of(t.metadata.namespace_, t.metadata.name); }

  Status reconcile(const std::string& key) {
    std::string ns, name;
    client::split_key(key, ns, name);
    auto object = e_.client.get<pangea_v1::InfrastructureTemplate>(ns, name);
    if (!object) {
      if (object.error().not_found()) count_phases();
      return object.error().not_found() ? Status() : object.error();
    }
    auto label = object->metadata.labels.find(std::string(kWorkspaceLabel));
    if (!may_run(e_, "template", key, label == object->metadata.labels.end() ? "" : label->second)) {
      queue_.add_after(key, std::chrono::minutes(5));   // a change of the OperatorPolicy wakes it, too
      return {};
    }
    const meters::Active active;
    std::optional<Duration> again;
    TemplateWork work(e_, std::move(*object), stop_);
    const Status s = work.run(again);
    meters::reconciled("template", s.ok() || s.conflict() ? "ok" : "error");
    if (again) queue_.add_after(key, *again);
    count_phases();
    return s;
  }

  void wake(const std::function<bool(const pangea_v1::InfrastructureTemplate&)>& wanted) {
    for (const auto& t : templates().list()) {
      if (wanted(*t)) queue_.add(key_of(*t));
    }
  }
  void wake_members(const std::string& catalog) {
    wake([&](const auto& t) {
      auto label = t.metadata.labels.find(std::string(kWorkspaceLabel));
      return label != t.metadata.labels.end() && label->second == catalog;
    });
  }
  void wake_users_of_gem(const std::string& gem) {
    auto has = [&](const std::vector<std::string>& gems) { return std::find(gems.begin(), gems.end(), gem) != gems.end(); };
    wake([&](const auto& t) {
      if (t.spec.required_gem == gem || has(t.spec.required_gems)) return true;
      auto label = t.metadata.labels.find(std::string(kWorkspaceLabel));
      if (label == t.metadata.labels.end()) return false;
      auto catalog = e_.informers.get<pangea_v1::WorkspaceCatalog>().get("", label->second);
      return catalog != nullptr && has(catalog->spec.required_gems);
    });
  }
  void wake_dependents(const pangea_v1::InfrastructureTemplate& source) {
    wake([&](const auto& t) {
      for (const auto& [name, reference] : t.spec.variable_refs) {
        const std::string& ns = reference.template_ref.namespace_.empty() ? t.metadata.namespace_ : reference.template_ref.namespace_;
        if (reference.template_ref.name == source.metadata.name && ns == source.metadata.namespace_) return true;
      }
      return false;
    });
  }

  // ConfigMaps are watched from the first template on that has its text in one: most clusters have none.
  void watch_sources(const StopToken& stop) {
    while (!stop.stopped()) {
      const auto all = templates().list();
      const bool needed = std::any_of(all.begin(), all.end(), [](const auto& t) { return t->spec.source && t->spec.source->config_map_ref; });
      if (needed) break;
      if (stop.wait_for(std::chrono::seconds(2))) return;
    }
    if (stop.stopped()) return;
    auto changed = [this](const core_v1::ConfigMap& map) {
      wake([&](const auto& t) {
        if (!t.spec.source || !t.spec.source->config_map_ref) return false;
        const auto& ref = *t.spec.source->config_map_ref;
        return ref.name == map.metadata.name && (ref.namespace_.empty() ? t.metadata.namespace_ : ref.namespace_) == map.metadata.namespace_;
      });
    };
    e_.informers.get<core_v1::ConfigMap>().add_handler({[changed](const auto& o) { changed(*o); },
                                                        [changed](const auto& before, const auto& now) {
                                                          if (before->data != now->data) changed(*now);
                                                        },
                                                        {}});
    e_.informers.start();
  }

  void count_phases() {
    // Once a second is often enough, and cheap for a thousand templates.
    const int64_t second = std::chrono::duration_cast<std::chrono::seconds>(e_.clock().mono().time_since_epoch()).count();
    if (counted_.exchange(second) == second) return;
    std::map<std::string, int> counts;
    for (const char* phase : {"Pending", "Verifying", "Verified", "Compiling", "CompileBlocked", "Initializing", "Planning", "Applying", "Ready", "Drifted", "Failed", "Destroying"}) counts[phase] = 0;
    for (const auto& t : templates().list()) ++counts[t->status.phase.empty() ? "Pending" : t->status.phase];
    for (const auto& [phase, count] : counts) meters::templates_in(phase, count);
  }

  Environment& e_;
  client::WorkQueue queue_;
  StopToken stop_;
  std::atomic<int64_t> counted_{0};
};

}  // namespace

std::unique_ptr<Controller> template_controller(Environment& environment) { return std::make_unique<TemplateController>(environment); }

}  // namespace engenho::pangea
