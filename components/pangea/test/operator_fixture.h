// The Pangea controllers on an API server in this process, with a clock that the test drives.
#pragma once

#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/pangea_v1.h"
#include "engenho/pangea/commands.h"
#include "engenho/pangea/operator.h"
#include "support.h"

namespace engenho::pangea::testing {

namespace pangea_v1 = k8s::pangea_v1;
namespace core_v1 = k8s::core_v1;

class OperatorFixture {
 public:
  using Template = pangea_v1::InfrastructureTemplate;

  explicit OperatorFixture(bool started = true) {
    options.data_dir = dir.path("pangea");
    options.executors = provider.options();
    options.executors.grace = std::chrono::seconds(1);   // of providers that do not heed a stop
    options.clock = &clock;
    options.workers = 2;
    if (started) start();
  }
  ~OperatorFixture() { stop(); }

  void start() {
    operator_ =
        std::make_unique<Operator>(client::local_transport(cluster.server(), apiserver::UserInfo{"system:pangea", "", {"system:masters"}, {}}), options);
    operator_->start();
  }
  void stop() { operator_.reset(); }

  // True when it became so. Between two looks a little of the clock's time goes by, so that what was put off for a moment comes; `pace` is how much.
  bool until(const std::function<bool()>& condition, Duration pace = std::chrono::milliseconds(20)) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::mutex mutex;
    std::condition_variable none;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      clock.advance(pace);
      std::unique_lock lock(mutex);
      none.wait_for(lock, std::chrono::milliseconds(4));
    }
    return true;
  }

  json::Value create(const std::string& kind, const std::string& name, const std::string& spec, const std::string& ns = "", const std::string& labels = "{}") {
    static const std::map<std::string, std::string> plurals = {{"ArchitectureGem", "architecturegems"},
                                                               {"WorkspaceCatalog", "workspacecatalogs"},
                                                               {"PangeaNamespace", "pangeanamespaces"},
                                                               {"OperatorPolicy", "operatorpolicies"},
                                                               {"InfrastructureTemplate", "infrastructuretemplates"}};
    const std::string path = "/apis/pangea.pleme.io/v1" + (ns.empty() ? "" : "/namespaces/" + ns) + "/" + plurals.at(kind);
    auto made = client->request("POST", path, "application/json",
                                R"({"apiVersion": "pangea.pleme.io/v1", "kind": ")" + kind + R"(", "metadata": {"name": ")" + name + R"(", "labels": )" +
                                    labels + R"(}, "spec": )" + spec + "}");
    if (!made) FAIL(made.error().message());
    return *made;
  }
  void place(const std::string& name = "dev", const std::string& more = "") {
    create("PangeaNamespace", name, R"({"backend": {"type": "cluster"})" + more + "}");
  }

  // A template of a JSON document. `policy` and `more` are members of JSON objects.
  void apply(const std::string& name, const std::string& config, const std::string& policy = R"("defaultDecision": "autoApply", "destroyProtection": false)",
             const std::string& more = "", const std::string& ns = "default", const std::string& labels = "{}") {
    create("InfrastructureTemplate", name,
           R"({"pangeaNamespace": "dev", "source": {"inline": )" + json::dump(json::Value(config)) + R"(}, "policy": {)" + policy + "}" +
               (more.empty() ? "" : ", " + more) + "}",
           ns, labels);
  }
  void patch(const std::string& name, const std::string& spec) {
    auto done = client->patch<Template>("default", name, client::PatchType::kMerge, R"({"spec": )" + spec + "}");
    if (!done) FAIL(done.error().message());
  }
  void patch_status(const std::string& name, const std::string& status) {
    auto done = client->patch<Template>("default", name, client::PatchType::kMerge, R"({"status": )" + status + "}", "status");
    if (!done) FAIL(done.error().message());
  }
  Template get(const std::string& name) const {
    auto found = client->get<Template>("default", name);
    return found ? *found : Template();
  }
  bool gone(const std::string& name) const {
    auto found = client->get<Template>("default", name);
    return !found && found.error().not_found();
  }
  std::string reason(const std::string& name, const std::string& condition) const {
    for (const auto& c : get(name).status.conditions) {
      if (c.type == condition) return c.reason;
    }
    return "";
  }
  std::string truth(const std::string& name, const std::string& condition) const {
    for (const auto& c : get(name).status.conditions) {
      if (c.type == condition) return c.status;
    }
    return "";
  }
  bool becomes(const std::string& name, const std::string& phase, Duration pace = std::chrono::milliseconds(20)) {
    const bool came = until([&] { return get(name).status.phase == phase; }, pace);
    if (!came) tell(name);
    return came;
  }
  bool has_reason(const std::string& name, const std::string& condition, const std::string& wanted, Duration pace = std::chrono::milliseconds(20)) {
    const bool came = until([&] { return reason(name, condition) == wanted; }, pace);
    if (!came) tell(name);
    return came;
  }
  // Ready after at least so many applies that changed something.
  bool applied(const std::string& name, WallTime after = {}) {
    const bool came = until([&] {
      const auto s = get(name).status;
      return s.phase == "Ready" && !s.last_applied_at.is_zero() && *s.last_applied_at > after;
    });
    if (!came) tell(name);
    return came;
  }
  std::string pending(const std::string& name, const std::string& other_than = "") {
    std::string hash;
    const bool came = until([&] {
      hash = get(name).status.pending_plan_hash;
      return !hash.empty() && hash != other_than && reason(name, "Ready") == "AwaitingApproval";
    });
    if (!came) tell(name);
    return came ? hash : "";
  }
  Status approve(const std::string& name, const std::string& hash, const std::string& more = "") {
    // The server writes approvals as the operator, in the name of who asked.
    client::Client server(client::local_transport(cluster.server(), apiserver::UserInfo{"system:pangea", "", {"system:masters"}, {}}), "pangea");
    auto done = pangea::approve(server, "default", name, R"({"planHash": ")" + hash + "\"" + more + "}", {"ada", {}}, clock.wall());
    return done ? Status() : done.error();
  }
  void command(const std::string& name, const std::string& action) { REQUIRE(pangea::command(*client, "default", name, action, {"ada", {}}, clock.wall())); }
  void remove(const std::string& name) { REQUIRE(client->remove<Template>("default", name).ok()); }

  // How often an event of that reason was told of.
  int events(const std::string& name, const std::string& wanted) const {
    int count = 0;
    auto all = client->list<core_v1::Event>();
    if (!all) return 0;
    for (const auto& e : all->items) {
      if (e.involved_object.name == name && e.reason == wanted) count += std::max(1, e.count);
    }
    return count;
  }
  std::vector<pangea_v1::CycleReceipt> receipts(const std::string& name) const {
    std::vector<pangea_v1::CycleReceipt> out;
    auto all = client->list<pangea_v1::CycleReceipt>();
    if (!all) return out;
    for (auto& r : all->items) {
      if (r.spec.template_.name == name) out.push_back(std::move(r));
    }
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.spec.cycle < b.spec.cycle; });
    return out;
  }
  void tell(const std::string& name) const {
    auto raw = client->get_raw(client::resource_of<Template>(), "default", name);
    UNSCOPED_INFO(name << ": " << (raw && raw->get("status") ? json::dump(*raw->get("status")) : std::string("absent")));
    auto all = client->list<core_v1::Event>();
    if (!all) return;
    for (const auto& e : all->items) {
      if (e.involved_object.name == name) UNSCOPED_INFO(e.reason << ": " << e.message);
    }
  }
  // Documents of the test provider: its cloud is a directory of this fixture.
  std::string things(const std::string& bodies, const std::string& more = "") const {
    return R"({"terraform": {"required_providers": {"test": {"source": "example.com/test/test"}}}, "provider": {"test": {"endpoint": ")" + provider.cloud() +
           R"("}}, "resource": {"test_thing": {)" + bodies + "}}" + more + "}";
  }
  std::string files(int count) const {
    json::Value out = json::Object();
    for (int i = 0; i < count; ++i) {
      const std::string name = "f" + std::to_string(i);
      out["resource"]["local_file"][name] = json::Object{{"filename", dir.path("files/" + name)}, {"content", "text of " + name}};
    }
    return json::dump(out);
  }
  std::string file(int i) const { return dir.path("files/f" + std::to_string(i)); }

  TempDir dir;
  Cluster cluster;
  TestProvider provider;
  FakeClock clock;
  Options options;
  std::shared_ptr<client::Client> client = cluster.client();

 private:
  std::unique_ptr<Operator> operator_;
};

inline const std::string kNothing = R"({"resource": {"null_resource": {"a": {}}}})";

}  // namespace engenho::pangea::testing
