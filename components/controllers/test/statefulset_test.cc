// StatefulSets, with the test as the kubelet.
#include <set>

#include "engenho/catalog/apps_v1.h"
#include "fixture.h"

using namespace engenho;
using controllers::testing::Cluster;
namespace core_v1 = k8s::core_v1;
namespace apps_v1 = k8s::apps_v1;

namespace {

apps_v1::StatefulSet stateful_set(int replicas) {
  apps_v1::StatefulSet s;
  s.metadata.name = "s";
  s.metadata.namespace_ = "default";
  s.spec.replicas = replicas;
  s.spec.service_name = "svc";
  s.spec.selector.ensure().match_labels["app"] = "s";
  s.spec.template_.metadata.labels["app"] = "s";
  core_v1::Container c;
  c.name = "c";
  c.image = "image:1";
  s.spec.template_.spec.containers.push_back(c);
  return s;
}

core_v1::PersistentVolumeClaim claim(const std::string& name) {
  core_v1::PersistentVolumeClaim c;
  c.metadata.name = name;
  c.spec.access_modes = {"ReadWriteOnce"};
  c.spec.resources.requests["storage"] = k8s::Quantity("1Gi");
  return c;
}

struct StatefulTest : Cluster {
  using Cluster::Cluster;
  // "s-0=image:1 ..." of those that stay, in order.
  std::string pods() {
    std::set<std::string> all_of_them;
    for (const auto& p : all<core_v1::Pod>("app=s")) {
      if (p.metadata.deletion_timestamp.is_zero()) all_of_them.insert(p.metadata.name + "=" + p.spec.containers[0].image);
    }
    std::string out;
    for (const auto& text : all_of_them) out += (out.empty() ? "" : " ") + text;
    return out;
  }
  bool become(const std::string& wanted) {
    const bool good = eventually<core_v1::Pod>([&] { return pods() == wanted; });
    if (!good) UNSCOPED_INFO("pods: " << pods());
    return good;
  }
  apps_v1::StatefulSet get() {
    auto s = client->get<apps_v1::StatefulSet>("default", "s");
    REQUIRE(s);
    return *s;
  }
  bool status(std::function<bool(const apps_v1::StatefulSetStatus&)> check) {
    return eventually<apps_v1::StatefulSet>([&] { return check(get().status); });
  }
  void patch(const std::string& text) { REQUIRE(client->patch<apps_v1::StatefulSet>("default", "s", client::PatchType::kStrategic, text)); }
  void set_image(const std::string& image) { patch(R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":")" + image + R"("}]}}}})"); }
  void scale(int n) { patch(R"({"spec":{"replicas":)" + std::to_string(n) + "}}"); }
};

}  // namespace

TEST_CASE("a stateful set comes and goes in order, each pod with its own name", "[controllers][statefulset]") {
  StatefulTest t;
  REQUIRE(t.client->create(stateful_set(2)));
  REQUIRE(t.become("s-0=image:1"));
  auto pod = t.client->get<core_v1::Pod>("default", "s-0");
  REQUIRE(pod);
  CHECK(pod->spec.hostname == "s-0");
  CHECK(pod->spec.subdomain == "svc");
  CHECK(pod->metadata.labels.at("statefulset.kubernetes.io/pod-name") == "s-0");
  CHECK(pod->metadata.labels.at("apps.kubernetes.io/pod-index") == "0");
  REQUIRE(t.status([](const auto& s) { return s.replicas == 1 && s.ready_replicas == 0; }));
  CHECK(t.pods() == "s-0=image:1");  // the second waits for the first
  t.set_ready("s-0");
  REQUIRE(t.become("s-0=image:1 s-1=image:1"));
  t.set_ready("s-1");
  REQUIRE(t.status([](const auto& s) { return s.ready_replicas == 2 && s.available_replicas == 2 && s.current_replicas == 2 && s.updated_replicas == 2; }));
  CHECK(t.get().status.current_revision == pod->metadata.labels.at("controller-revision-hash"));

  // A pod that is lost comes back under its name; one that failed is replaced.
  const std::string uid = t.client->get<core_v1::Pod>("default", "s-0")->metadata.uid;
  t.kill("s-0");
  REQUIRE(t.eventually<core_v1::Pod>([&] {
    auto p = t.client->get<core_v1::Pod>("default", "s-0");
    return p && p->metadata.uid != uid;
  }));
  t.set_ready("s-0");
  const std::string second = t.client->get<core_v1::Pod>("default", "s-1")->metadata.uid;
  t.set_phase("s-1", "Failed");
  REQUIRE(t.eventually<core_v1::Pod>([&] {
    auto p = t.client->get<core_v1::Pod>("default", "s-1");
    return p && p->metadata.uid != second;
  }));
  t.set_ready("s-1");
  t.scale(0);
  REQUIRE(t.become(""));
}

TEST_CASE("a stateful set rolls from the highest ordinal down to the partition, and back", "[controllers][statefulset]") {
  StatefulTest t;
  auto s = stateful_set(3);
  s.spec.pod_management_policy = "Parallel";
  s.spec.update_strategy.type = "RollingUpdate";
  s.spec.update_strategy.rolling_update.ensure().partition = 1;
  REQUIRE(t.client->create(s));
  REQUIRE(t.become("s-0=image:1 s-1=image:1 s-2=image:1"));  // at once
  for (const char* name : {"s-0", "s-1", "s-2"}) t.set_ready(name);
  REQUIRE(t.status([](const auto& x) { return x.available_replicas == 3; }));
  t.set_image("image:2");
  REQUIRE(t.become("s-0=image:1 s-1=image:1 s-2=image:2"));
  t.set_ready("s-2");
  REQUIRE(t.become("s-0=image:1 s-1=image:2 s-2=image:2"));
  t.set_ready("s-1");
  REQUIRE(t.status([](const auto& x) { return x.updated_replicas == 2 && x.current_replicas == 1 && x.available_replicas == 3; }));
  CHECK(t.get().status.current_revision != t.get().status.update_revision);
  // What is lost below the partition comes back as it was.
  t.kill("s-0");
  REQUIRE(t.become("s-0=image:1 s-1=image:2 s-2=image:2"));
  t.set_ready("s-0");
  t.patch(R"({"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}})");
  REQUIRE(t.become("s-0=image:2 s-1=image:2 s-2=image:2"));
  t.set_ready("s-0");
  REQUIRE(t.status([](const auto& x) { return x.updated_replicas == 3 && x.current_revision == x.update_revision; }));

  auto revisions = t.all<apps_v1::ControllerRevision>("app=s");
  REQUIRE(revisions.size() == 2);
  const auto& first = revisions[0].revision < revisions[1].revision ? revisions[0] : revisions[1];
  t.patch(json::dump(first.data));  // as kubectl rollout undo
  for (const auto& [wanted, name] : std::vector<std::pair<std::string, std::string>>{
           {"s-0=image:2 s-1=image:2 s-2=image:1", "s-2"}, {"s-0=image:2 s-1=image:1 s-2=image:1", "s-1"}, {"s-0=image:1 s-1=image:1 s-2=image:1", "s-0"}}) {
    REQUIRE(t.become(wanted));
    t.set_ready(name);
  }
  REQUIRE(t.status([&](const auto& x) { return x.current_revision == first.metadata.name; }));
  CHECK(t.all<apps_v1::ControllerRevision>("app=s").size() == 2);
}

TEST_CASE("minReadySeconds delay the next pod; OnDelete leaves pods to the user", "[controllers][statefulset]") {
  FakeClock clock(Clock::real().wall());
  StatefulTest t(clock);
  auto s = stateful_set(2);
  s.spec.min_ready_seconds = 30;
  s.spec.update_strategy.type = "OnDelete";
  REQUIRE(t.client->create(s));
  REQUIRE(t.become("s-0=image:1"));
  t.set_ready("s-0", true, clock.wall());
  REQUIRE(t.status([](const auto& x) { return x.ready_replicas == 1 && x.available_replicas == 0; }));
  CHECK(t.pods() == "s-0=image:1");
  clock.advance(std::chrono::seconds(31));
  REQUIRE(t.become("s-0=image:1 s-1=image:1"));
  t.set_ready("s-1", true, clock.wall());
  clock.advance(std::chrono::seconds(31));
  REQUIRE(t.status([](const auto& x) { return x.available_replicas == 2; }));
  t.set_image("image:2");
  REQUIRE(t.status([](const auto& x) { return x.observed_generation == 2 && x.updated_replicas == 0; }));
  CHECK(t.pods() == "s-0=image:1 s-1=image:1");
  t.kill("s-1");
  REQUIRE(t.become("s-0=image:1 s-1=image:2"));
}

TEST_CASE("each pod has claims of its own, which stay or go as the retention policy says", "[controllers][statefulset]") {
  StatefulTest t;
  auto s = stateful_set(2);
  s.spec.pod_management_policy = "Parallel";
  s.spec.volume_claim_templates = {claim("data")};
  auto& policy = s.spec.persistent_volume_claim_retention_policy.ensure();
  policy.when_scaled = "Delete";
  policy.when_deleted = "Retain";
  auto created = t.client->create(s);
  INFO((created ? "" : created.error().to_string()));
  REQUIRE(created);
  REQUIRE(t.become("s-0=image:1 s-1=image:1"));
  auto claims = [&] {
    std::set<std::string> out;
    for (const auto& c : t.all<core_v1::PersistentVolumeClaim>()) out.insert(c.metadata.name);
    return out;
  };
  REQUIRE(claims() == std::set<std::string>{"data-s-0", "data-s-1"});
  auto pod = t.client->get<core_v1::Pod>("default", "s-1");
  REQUIRE(pod);
  REQUIRE_FALSE(pod->spec.volumes.empty());
  CHECK(pod->spec.volumes[0].name == "data");
  CHECK(pod->spec.volumes[0].persistent_volume_claim->claim_name == "data-s-1");
  CHECK(t.client->get<core_v1::PersistentVolumeClaim>("default", "data-s-1")->metadata.labels.at("app") == "s");
  for (const char* name : {"s-0", "s-1"}) t.set_ready(name);
  t.scale(1);
  REQUIRE(t.become("s-0=image:1"));
  REQUIRE(t.eventually<core_v1::PersistentVolumeClaim>([&] {
    auto c = t.client->get<core_v1::PersistentVolumeClaim>("default", "data-s-1");
    return !c || !c->metadata.deletion_timestamp.is_zero();
  }));
  CHECK(t.client->get<core_v1::PersistentVolumeClaim>("default", "data-s-0")->metadata.owner_references.empty());
  REQUIRE(t.client->remove<apps_v1::StatefulSet>("default", "s").ok());
  REQUIRE(t.become(""));
  CHECK(claims().contains("data-s-0"));
}
