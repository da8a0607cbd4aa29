// Empties namespaces that are being deleted, pods first, and lets them go when nothing is left.
#include <algorithm>
#include <functional>
#include <map>

#include "engenho/base/log.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

class NamespaceController final : public Controller {
 public:
  explicit NamespaceController(Environment& e)
      : e_(e), queue_(*e.options.clock, {std::chrono::milliseconds(100), std::chrono::seconds(5)}) {}
  std::string_view name() const override { return "namespace"; }

  void prepare() override {
    e_.informers.get<core_v1::Namespace>().on_change([this](const core_v1::Namespace& ns) {
      if (!ns.metadata.deletion_timestamp.is_zero()) queue_.add(ns.metadata.name);
    });
    // The last pod of a namespace that goes is what it waits for.
    e_.informers.get<core_v1::Pod>().add_handler({nullptr, nullptr, [this](const auto& pod) {
      auto ns = e_.informers.get<core_v1::Namespace>().get("", pod->metadata.namespace_);
      if (ns != nullptr && !ns->metadata.deletion_timestamp.is_zero()) queue_.add(ns->metadata.name);
    }});
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "namespace", queue_, 2, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  // The namespaced custom resources, each in one version that is served.
  Status each_custom(const std::function<Status(const catalog::Resource&)>& fn) {
    const catalog::Resource& definitions = *catalog::find_resource("apiextensions.k8s.io", "customresourcedefinitions");
    auto list = e_.client.list_raw(definitions, {.namespace_name = "", .label_selector = "", .field_selector = "", .resource_version = ""});
    if (!list) return list.error();
    Status failed;
    for (const json::Value& item : list->items) {
      const json::Value* versions = item.at({"spec", "versions"});
      if (versions == nullptr || item.str_at({"spec", "scope"}) != "Namespaced") continue;
      for (const json::Value& v : versions->items()) {
        const json::Value* served = v.get("served");
        if (served == nullptr || !served->bool_or(false)) continue;
        const std::string api_version = catalog::join_api_version(item.str_at({"spec", "group"}), v.str_at({"name"}));
        catalog::Resource r;
        r.group = item.str_at({"spec", "group"});
        r.version = v.str_at({"name"});
        r.plural = item.str_at({"spec", "names", "plural"});
        r.kind = item.str_at({"spec", "names", "kind"});
        r.api_version_ = api_version;
        r.namespaced = true;
        // Not served, or not any more: nothing can be in it.
        if (Status s = fn(r); !s.ok() && !s.not_found() && s.code() != 404) failed = s;
        break;
      }
    }
    return failed;
  }

  // What a namespace that goes still waits for.
  Status tell(const core_v1::Namespace& before, const std::map<std::string, size_t>& content, const std::map<std::string, size_t>& finalizers) {
    core_v1::Namespace next = before;
    auto set = [&](const char* type, const char* reason, const std::string& intro, const std::map<std::string, size_t>& counts, const std::string& link) {
      std::string message = intro;
      bool first = true;
      for (const auto& [what, count] : counts) {
        message += (first ? "" : ", ") + what + link + std::to_string(count) + " resource instances";
        first = false;
      }
      auto& conditions = next.status.conditions;
      auto it = std::find_if(conditions.begin(), conditions.end(), [&](const auto& c) { return c.type == type; });
      if (it == conditions.end()) {
        if (counts.empty()) return;
        it = conditions.insert(conditions.end(), core_v1::NamespaceCondition());
        it->type = type;
      }
      const std::string status = counts.empty() ? "False" : "True";
      if (it->status != status) it->last_transition_time = WallTime(std::chrono::floor<std::chrono::seconds>(e_.options.clock->wall()));
      it->status = status;
      it->reason = reason;
      it->message = counts.empty() ? "" : message;
    };
    set("NamespaceContentRemaining", "SomeResourcesRemain", "Some resources are remaining: ", content, " has ");
    set("NamespaceFinalizersRemaining", "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: ", finalizers, " in ");
    if (next.status == before.status) return {};
    auto written = e_.client.update_status(next);
    return written || written.error().not_found() || written.error().conflict() ? Status() : written.error();
  }

  Status reconcile(const std::string& name) {
    const catalog::Resource& resource = client::resource_of<core_v1::Namespace>();
    auto ns = e_.client.get<core_v1::Namespace>("", name);
    if (!ns) return ns.error().not_found() ? Status() : ns.error();
    if (ns->metadata.deletion_timestamp.is_zero()) return {};
    if (std::find(ns->spec.finalizers.begin(), ns->spec.finalizers.end(), "kubernetes") == ns->spec.finalizers.end()) return {};

    size_t left = 0;
    std::map<std::string, size_t> content, finalizers;   // how many objects of a resource, and with a finalizer
    Status failed;
    auto empty = [&](const catalog::Resource& r) -> Status {
      auto list = e_.client.list_raw(r, {.namespace_name = name, .label_selector = "", .field_selector = "", .resource_version = ""});
      if (!list) return list.error();
      if (list->items.empty()) return {};
      ENGENHO_RETURN_IF_ERROR(e_.client.remove_collection_raw(r, name));
      auto again = e_.client.list_raw(r, {.namespace_name = name, .label_selector = "", .field_selector = "", .resource_version = ""});
      if (!again) return again.error();
      left += again->items.size();
      if (!again->items.empty()) content[std::string(r.plural) + (r.group.empty() ? "" : "." + std::string(r.group))] += again->items.size();
      for (const json::Value& item : again->items) {
        const json::Value* held = item.at({"metadata", "finalizers"});
        if (held == nullptr) continue;
        for (const json::Value& finalizer : held->items()) ++finalizers[std::string(finalizer.str())];
      }
      return {};
    };
    // Pods first: while one runs it may still need its secrets, its account and its network.
    if (Status s = empty(client::resource_of<core_v1::Pod>()); !s.ok()) return s;
    if (left == 0) {
      for (const catalog::Group& group : catalog::groups()) {
        for (const catalog::GroupVersion& gv : group.versions) {
          if (gv.version.find("alpha") != std::string_view::npos || gv.version.find("beta") != std::string_view::npos) continue;  // not served
          for (const catalog::Resource& r : gv.resources) {
            if (!r.namespaced || !r.persisted() || !r.has_verb("deletecollection")) continue;
            const catalog::Resource& stored = catalog::storage_resource(r);
            if (stored.version != r.version || stored.group != r.group) continue;
            if (Status s = empty(r); !s.ok()) failed = s;
          }
        }
      }
      if (Status s = each_custom(empty); !s.ok()) failed = s;
    }
    if (!failed.ok()) return failed;
    if (left > 0) {
      queue_.add_after(name, std::chrono::seconds(1));
      return tell(*ns, content, finalizers);
    }
    core_v1::Namespace next = *ns;
    std::erase(next.spec.finalizers, "kubernetes");
    auto done = e_.client.update_raw(resource, k8s::to_json(next), "finalize");
    if (!done && !done.error().not_found()) return done.error();
    return {};
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> namespace_controller(Environment& e) { return std::make_unique<NamespaceController>(e); }

}  // namespace engenho::controllers
