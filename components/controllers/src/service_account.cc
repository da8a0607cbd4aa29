// The service account "default" and the ConfigMap kube-root-ca.crt of every namespace.
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

constexpr std::string_view kRootCa = "kube-root-ca.crt";

class ServiceAccountController final : public Controller {
 public:
  explicit ServiceAccountController(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "serviceaccount"; }

  void prepare() override {
    e_.informers.get<core_v1::Namespace>().on_change([this](const core_v1::Namespace& ns) { queue_.add(ns.metadata.name); });
    e_.informers.get<core_v1::ServiceAccount>().on_change([this](const core_v1::ServiceAccount& a) {
      if (a.metadata.name == "default") queue_.add(a.metadata.namespace_);
    });
    e_.informers.get<core_v1::ConfigMap>().on_change([this](const core_v1::ConfigMap& c) {
      if (c.metadata.name == kRootCa) queue_.add(c.metadata.namespace_);
    });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "serviceaccount", queue_, 2, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  Status reconcile(const std::string& ns_name) {
    auto ns = e_.informers.get<core_v1::Namespace>().get("", ns_name);
    if (ns == nullptr || !ns->metadata.deletion_timestamp.is_zero() || ns->status.phase == "Terminating") return {};
    if (e_.informers.get<core_v1::ServiceAccount>().get(ns_name, "default") == nullptr) {
      core_v1::ServiceAccount account;
      account.metadata.name = "default";
      account.metadata.namespace_ = ns_name;
      auto created = e_.client.create(account);
      if (!created && !created.error().already_exists() && !gone(created.error())) return created.error();
    }
    auto map = e_.informers.get<core_v1::ConfigMap>().get(ns_name, kRootCa);
    if (map == nullptr) {
      core_v1::ConfigMap fresh;
      fresh.metadata.name = kRootCa;
      fresh.metadata.namespace_ = ns_name;
      fresh.metadata.annotations["kubernetes.io/description"] =
          "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service "
          "IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
      fresh.data["ca.crt"] = e_.options.root_ca_pem;
      auto created = e_.client.create(fresh);
      if (!created && !created.error().already_exists() && !gone(created.error())) return created.error();
    } else if (auto it = map->data.find("ca.crt"); map->data.size() != 1 || it == map->data.end() || it->second != e_.options.root_ca_pem) {
      core_v1::ConfigMap next = *map;
      next.data = {{"ca.crt", e_.options.root_ca_pem}};
      auto updated = e_.client.update(next);
      if (!updated && !updated.error().not_found()) return updated.error();
    }
    return {};
  }
  // The namespace went while we worked.
  static bool gone(const Status& s) { return s.not_found() || s.code() == 403; }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> service_account_controller(Environment& e) { return std::make_unique<ServiceAccountController>(e); }

}  // namespace engenho::controllers
