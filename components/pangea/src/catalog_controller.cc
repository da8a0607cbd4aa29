// WorkspaceCatalogs: are the gems there that its members need, can its repository be reached, how many members are there.
#include "conditions.h"
#include "gate.h"
#include "gem_store.h"

namespace engenho::pangea {

namespace {

constexpr Duration kAgain = std::chrono::minutes(5);

class CatalogController final : public Controller {
 public:
  explicit CatalogController(Environment& e) : e_(e), queue_(e.clock()) {}

  void prepare() override {
    e_.informers.get<pangea_v1::WorkspaceCatalog>().add_handler(
        {[this](const auto& o) { queue_.add(o->metadata.name); },
         [this](const auto& before, const auto& now) {
           if (before->metadata.generation != now->metadata.generation) queue_.add(now->metadata.name);
         },
         {}});
    auto member = [this](const auto& t) {
      auto it = t->metadata.labels.find(std::string(kWorkspaceLabel));
      if (it != t->metadata.labels.end()) queue_.add_after(it->second, std::chrono::seconds(1));
    };
    e_.informers.get<pangea_v1::InfrastructureTemplate>().add_handler({member, [member](const auto& before, const auto& now) {
                                                                         if (before->metadata.labels == now->metadata.labels) return;
                                                                         member(before);
                                                                         member(now);
                                                                       },
                                                                       member});
    e_.informers.get<pangea_v1::ArchitectureGem>().on_change([this](const pangea_v1::ArchitectureGem& gem) {
      for (const auto& c : e_.informers.get<pangea_v1::WorkspaceCatalog>().list()) {
        const auto& gems = c->spec.required_gems;
        if (std::find(gems.begin(), gems.end(), gem.metadata.name) != gems.end()) queue_.add(c->metadata.name);
      }
    });
  }

  void run(TaskGroup& group) override {
    stop_ = group.token();
    client::run_workers(group, "pangea-catalog", queue_, 1, [this](const std::string& name) { return reconcile(name); });
  }

 private:
  Status reconcile(const std::string& name) {
    const auto object = e_.informers.get<pangea_v1::WorkspaceCatalog>().get("", name);
    if (object == nullptr || object->metadata.deletion_timestamp) return {};
    queue_.add_after(name, kAgain);
    if (!may_run(e_, "workspaceCatalog", name, name)) return {};
    pangea_v1::WorkspaceCatalog next = *object;
    auto& status = next.status;
    status.observed_generation = next.metadata.generation;
    status.template_count = 0;
    for (const auto& t : e_.informers.get<pangea_v1::InfrastructureTemplate>().list()) {
      auto label = t->metadata.labels.find(std::string(kWorkspaceLabel));
      if (label != t->metadata.labels.end() && label->second == name) ++status.template_count;
    }
    if (!next.spec.suspend) {
      reach(next);
      gems(next);
      status.verified = is_true(status.conditions, "Verified");
    }
    if (!(status == object->status)) status.last_reconcile_time = e_.second();
    const Status written = write_status(e_, next, *object);
    meters::reconciled("workspaceCatalog", written.ok() ? "ok" : "error");
    return written.not_found() ? Status() : written;
  }

  void reach(pangea_v1::WorkspaceCatalog& catalog) {
    auto& conditions = catalog.status.conditions;
    if (!catalog.spec.source || catalog.spec.source->git.empty()) return set_condition(conditions, "Reachable", true, "NoRepository", "", e_.now());
    auto head = e_.gems.head(repository_of(catalog), stop_);
    if (head) catalog.status.observed_commit = *head;
    set_condition(conditions, "Reachable", head.has_value(), head ? "Reconciled" : "RepositoryUnreachable", head ? "" : head.error().message(), e_.now());
  }

  void gems(pangea_v1::WorkspaceCatalog& catalog) {
    std::string reason = "AllRequiredGemsLoaded", message;
    for (const std::string& name : catalog.spec.required_gems) {
      const auto gem = e_.informers.get<pangea_v1::ArchitectureGem>().get("", name);
      if (gem == nullptr) {
        reason = "GemNotFound";
        message = "there is no ArchitectureGem " + name;
        break;
      }
      if (gem->status.phase != "Loaded" || !is_true(gem->status.conditions, "Ready")) {
        reason = "GemNotLoaded";
        message = "ArchitectureGem " + name + " is " + (gem->status.phase.empty() ? "Pending" : gem->status.phase);
        break;
      }
    }
    const bool good = message.empty();
    set_condition(catalog.status.conditions, "GemsLoaded", good, reason, message, e_.now());
    set_condition(catalog.status.conditions, "Verified", good, good ? "AllRequiredGemsLoaded" : "GemsNotReady", message, e_.now());
  }

  Environment& e_;
  client::WorkQueue queue_;
  StopToken stop_;
};

}  // namespace

std::unique_ptr<Controller> catalog_controller(Environment& environment) { return std::make_unique<CatalogController>(environment); }

}  // namespace engenho::pangea
