// PangeaNamespaces: is the backend one that can be used, and how do the templates in it fare.
#include <algorithm>

#include "conditions.h"
#include "engenho/base/bytes.h"
#include "engenho/http/client.h"
#include "engenho/schema/api_errors.h"
#include "gate.h"

namespace engenho::pangea {

namespace {

constexpr Duration kGood = std::chrono::minutes(5), kBad = std::chrono::minutes(1), kProbe = std::chrono::seconds(5);
constexpr size_t kNamed = 10;

class NamespaceController final : public Controller {
 public:
  explicit NamespaceController(Environment& e) : e_(e), queue_(e.clock()) {}

  void prepare() override {
    e_.informers.get<pangea_v1::PangeaNamespace>().add_handler(
        {[this](const auto& o) { queue_.add(o->metadata.name); },
         [this](const auto& before, const auto& now) {
           const bool news = before->metadata.generation != now->metadata.generation || before->metadata.finalizers != now->metadata.finalizers ||
                             static_cast<bool>(before->metadata.deletion_timestamp) != static_cast<bool>(now->metadata.deletion_timestamp);
           if (news) queue_.add(now->metadata.name);
         },
         {}});
    auto count = [this](const auto& t) { queue_.add_after(t->spec.pangea_namespace, std::chrono::seconds(1)); };
    e_.informers.get<pangea_v1::InfrastructureTemplate>().add_handler(
        {count, [this, count](const auto& before, const auto& now) {
           if (before->status.phase != now->status.phase || before->spec.pangea_namespace != now->spec.pangea_namespace) {
             count(before);
             count(now);
           }
         },
         count});
  }

  void run(TaskGroup& group) override {
    client::run_workers(group, "pangea-namespace", queue_, 1, [this](const std::string& name) { return reconcile(name); });
  }

 private:
  Status reconcile(const std::string& name) {
    const auto object = e_.informers.get<pangea_v1::PangeaNamespace>().get("", name);
    if (object == nullptr) return {};
    if (!may_run(e_, "namespace", name, "")) {
      queue_.add_after(name, kGood);
      return {};
    }
    if (object->metadata.deletion_timestamp) return release(*object);
    pangea_v1::PangeaNamespace next = *object;
    auto& finalizers = next.metadata.finalizers;
    if (std::find(finalizers.begin(), finalizers.end(), kFinalizer) == finalizers.end()) {
      finalizers.emplace_back(kFinalizer);
      auto written = e_.client.update(next);
      return written || written.error().not_found() ? Status() : written.error();  // what is written brings the next look
    }
    auto& status = next.status;
    const Status usable = probe(next);
    status.error = usable.ok() ? "" : shorten(usable.message());
    status.backend_ready = usable.ok() && !next.spec.suspend;
    status.observed_generation = next.metadata.generation;
    if (next.spec.backend.type == "pg") status.schema_name = next.spec.backend.pg->schema_prefix + name;
    set_condition(status.conditions, "Ready", status.backend_ready, next.spec.suspend ? "Suspended" : usable.ok() ? "BackendReady" : "BackendUnavailable", status.error, e_.now());
    auto& stats = status.resource_stats.ensure();
    stats = {};
    status.template_count = 0;
    for (const auto& t : e_.informers.get<pangea_v1::InfrastructureTemplate>().list()) {
      if (t->spec.pangea_namespace != name) continue;
      ++status.template_count;
      if (t->status.resources) stats.total_resources += t->status.resources->total;
      if (t->status.phase == "Ready") ++stats.ready_templates;
      if (t->status.phase == "Failed" || t->status.phase == "CompileBlocked") ++stats.failed_templates;
      if (t->status.phase == "Drifted") ++stats.drifted_templates;
    }
    // The time of the last look alone is no news.
    if (status.last_verified_at.is_zero() || !(next.status == object->status)) status.last_verified_at = e_.second();
    queue_.add_after(name, usable.ok() ? kGood : kBad);
    const Status written = write_status(e_, next, *object);
    meters::reconciled("namespace", written.ok() ? "ok" : "error");
    return written.not_found() ? Status() : written;
  }

  // As long as templates are in it, their states are only found through it.
  Status release(const pangea_v1::PangeaNamespace& object) {
    const std::string& name = object.metadata.name;
    pangea_v1::PangeaNamespace next = object;
    std::vector<std::string> users;
    ENGENHO_ASSIGN_OR_RETURN(const auto templates, e_.client.list<pangea_v1::InfrastructureTemplate>());  // not from memory: one may just have come
    for (const auto& t : templates.items) {
      if (t.spec.pangea_namespace == name) users.push_back(t.metadata.namespace_ + "/" + t.metadata.name);
    }
    if (!users.empty()) {
      const size_t more = users.size() > kNamed ? users.size() - kNamed : 0;
      users.resize(users.size() - more);
      set_condition(next.status.conditions, "Ready", false, "InUse",
                    "is deleted when these templates are gone: " + join(users, ", ") + (more > 0 ? " and " + std::to_string(more) + " more" : ""), e_.now());
      queue_.add_after(name, kBad);
      const Status written = write_status(e_, next, object);
      return written.not_found() ? Status() : written;
    }
    std::erase(next.metadata.finalizers, kFinalizer);
    auto written = e_.client.update(next);
    return written || written.error().not_found() ? Status() : written.error();
  }

  // Whether the backend answers. What only a run can tell (credentials, rights) is told by the first run.
  Status probe(const pangea_v1::PangeaNamespace& object) {
    const auto& backend = object.spec.backend;
    if (backend.type == "cluster" || backend.type == "local") return {};
    if (backend.type == "pg") {
      if (!backend.pg) return bad_request("spec.backend.pg: a backend of type pg needs it");
      ENGENHO_RETURN_IF_ERROR(secret_there(backend.pg->secret_ref.name, backend.pg->secret_ref.namespace_,
                                           {backend.pg->secret_ref.username_key, backend.pg->secret_ref.password_key}));
      return dial(backend.pg->host, static_cast<uint16_t>(backend.pg->port.value_or(5432)));
    }
    if (backend.type == "s3") {
      if (!backend.s3) return bad_request("spec.backend.s3: a backend of type s3 needs it");
      if (backend.s3->secret_ref) ENGENHO_RETURN_IF_ERROR(secret_there(backend.s3->secret_ref->name, backend.s3->secret_ref->namespace_, {}));
      return dial("s3." + backend.s3->region + ".amazonaws.com", 443);
    }
    return bad_request("spec.backend.type: invalid value \"" + backend.type + "\": expected cluster, pg, s3 or local");
  }

  Status secret_there(const std::string& name, const std::string& ns, const std::vector<std::string>& keys) {
    if (ns.empty()) return bad_request("the backend's secretRef must name a namespace: a PangeaNamespace is in none");
    auto secret = e_.client.get<core_v1::Secret>(ns, name);
    if (!secret) return secret.error();
    for (const std::string& key : keys) {
      if (!key.empty() && !secret->data.contains(key)) return bad_request("Secret " + ns + "/" + name + " has no key \"" + key + "\"");
    }
    return {};
  }

  Status dial(const std::string& host, uint16_t port) {
    auto stream = http::dial_tcp(host, port, std::chrono::steady_clock::now() + kProbe);
    return stream ? Status() : Status(503, reason::kServiceUnavailable, host + ":" + std::to_string(port) + ": " + stream.error().message());
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> namespace_controller(Environment& environment) { return std::make_unique<NamespaceController>(environment); }

}  // namespace engenho::pangea
