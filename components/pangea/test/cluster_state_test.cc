#include "engenho/pangea/cluster_state.h"

#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <iostream>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/catalog/coordination_v1.h"
#include "engenho/catalog/core_v1.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

using k8s::core_v1::Secret;

const StateName kName{"dev-state", "default", "web"};

magma::LockInfo info(const std::string& who = "test") {
  magma::LockInfo out;
  out.operation = "apply";
  out.who = who;
  return out;
}

std::string document(uint64_t serial, const std::string& lineage, const std::string& content = "") {
  return R"({"version": 4, "serial": )" + std::to_string(serial) + R"(, "lineage": ")" + lineage +
         R"(", "terraform_version": "1.9.0", "outputs": {"o": {"value": ")" + content + R"(", "type": "string"}}, "resources": []})";
}

std::vector<Secret> secrets(client::Client& client) {
  client::ListOptions all;
  all.namespace_name = kSystemNamespace;
  return client.list<Secret>(all)->items;
}

// Under a lock of its own.
Status store(magma::StateStore& state, const std::string& text, uint64_t serial, const std::string& lineage) {
  auto token = state.lock(info());
  if (!token) return token.error();
  const Status s = state.write(text, serial, lineage, *token);
  const Status unlocked = state.unlock(*token);
  return s.ok() ? unlocked : s;
}

}  // namespace

TEST_CASE("nothing, a state, the next, and who is refused") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterState state(client, kName);
  CHECK(*state.read() == "");
  CHECK(state.read_cursor()->empty());
  CHECK(state.current()->serial == 0);
  CHECK(state.write(document(1, "l"), 0, "", 1).conflict());  // no lock
  CHECK(state.clear_cursor(1).conflict());
  auto token = state.lock(info());
  INFO((token ? "" : token.error().message()));
  REQUIRE(token);
  CHECK(state.lock(info()).error().conflict());
  CHECK(state.write(document(2, "l"), 1, "l", *token).conflict());  // not what is there
  REQUIRE(state.write(document(1, "l", "a"), 0, "", *token).ok());
  CHECK(state.write(document(1, "l", "b"), 0, "", *token).conflict());
  CHECK(state.write(document(2, "l", "b"), 1, "other", *token).message().find("lineage") != std::string::npos);
  CHECK(state.write(document(2, "l", "b"), 1, "l", *token + 1).conflict());
  REQUIRE(state.write(document(2, "l", "b"), 1, "l", *token).ok());
  CHECK(*state.read() == document(2, "l", "b"));
  for (const char* bad : {"", "{}", "[]", R"({"version": 3, "serial": 3, "lineage": "l"})", R"({"version": 4, "serial": 3})"})
    CHECK_FALSE(state.write(bad, 2, "l", *token).ok());
  REQUIRE(state.unlock(*token).ok());
  CHECK_FALSE(state.unlock(*token).ok());
  CHECK(state.write(document(3, "l"), 2, "l", *token).ok() == false);
  // What is there is of one type, labelled, and outlives the server.
  cluster.restart();
  auto again = cluster.client();
  CHECK(*ClusterState(again, kName).read() == document(2, "l", "b"));
  const auto all = secrets(*again);
  REQUIRE(all.size() == 1);
  CHECK(all[0].type == "pangea.pleme.io/state");
  CHECK(all[0].metadata.labels.at("pangea.pleme.io/pangea-namespace") == "dev-state");
  CHECK(all[0].metadata.labels.at("pangea.pleme.io/template") == "web");
}

TEST_CASE("two PangeaNamespaces, two namespaces, two templates never share") {
  Cluster cluster;
  auto client = cluster.client();
  // The last two would run together if the names were only put one after the other.
  const std::vector<StateName> names = {{"dev", "default", "web"}, {"prod", "default", "web"}, {"dev", "other", "web"},
                                        {"dev", "default", "db"},  {"a", "b-c", "d"},          {"a-b", "c", "d"}};
  for (const StateName& n : names) {
    ClusterState state(client, n);
    CHECK(*state.read() == "");
    REQUIRE(store(state, document(1, n.pangea_namespace + n.template_namespace + n.template_name), 0, "").ok());
  }
  for (const StateName& n : names) CHECK(ClusterState(client, n).current()->lineage == n.pangea_namespace + n.template_namespace + n.template_name);
  ClusterState long_name(client, {std::string(200, 'n'), std::string(63, 's'), std::string(253, 't')});
  CHECK(store(long_name, document(1, "l"), 0, "").ok());
}

TEST_CASE("ten megabytes that do not compress, whole again and collected when replaced") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterStateOptions options;
  options.history = 1;
  ClusterState state(client, kName, options);
  auto big = [](uint64_t serial) { return document(serial, "l", base64_encode(random_bytes(10 << 20))); };
  const std::string first = big(1);
  REQUIRE(store(state, first, 0, "").ok());
  CHECK(*state.read() == first);
  const size_t pieces = secrets(*client).size() - 1;
  CHECK(pieces >= 14);
  for (const Secret& s : secrets(*client)) {
    for (const auto& [name, bytes] : s.data) CHECK(bytes.size() <= 700'000);
  }
  const std::string second = big(2), third = big(3);
  REQUIRE(store(state, second, 1, "l").ok());
  REQUIRE(store(state, third, 2, "l").ok());
  CHECK(*state.read() == third);
  CHECK(*state.read_version(2) == second);
  CHECK(state.read_version(1).error().not_found());
  CHECK(secrets(*client).size() <= 2 * pieces + 3);  // the first one's pieces are gone
  // One byte of a piece changed: an error, not another state.
  for (const Secret& s : secrets(*client)) {
    if (!s.immutable.value_or(false)) continue;
    REQUIRE(client->remove<Secret>(kSystemNamespace, s.metadata.name).ok());
    Secret other = s;
    other.metadata = {};
    other.metadata.namespace_ = kSystemNamespace;
    other.metadata.name = s.metadata.name;
    other.metadata.labels = s.metadata.labels;
    other.data["piece"][other.data["piece"].size() / 2] ^= 1;
    REQUIRE(client->create(other));
  }
  CHECK_FALSE(state.read());
}

TEST_CASE("history: a version for each operation, and back to an earlier one") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterStateOptions options;
  options.history = 3;
  ClusterState state(client, kName, options);
  uint64_t serial = 0;
  for (int operation = 1; operation <= 6; ++operation) {
    auto token = state.lock(info());
    REQUIRE(token);
    for (int i = 0; i < 5; ++i) {  // the writes of one operation are one version
      REQUIRE(state.write(document(serial + 1, "l", std::to_string(operation) + "." + std::to_string(i)), serial, serial == 0 ? "" : "l", *token).ok());
      ++serial;
    }
    REQUIRE(state.unlock(*token).ok());
  }
  auto versions = state.versions();
  REQUIRE(versions);
  REQUIRE(versions->size() == 4);
  CHECK((*versions)[0].current);
  CHECK((*versions)[0].version == 6);
  CHECK((*versions)[0].serial == 30);
  CHECK((*versions)[3].version == 3);
  CHECK(*state.read_version(4) == document(20, "l", "4.4"));
  CHECK(state.rollback(1, "me").not_found());
  CHECK_FALSE(state.rollback(6, "me").ok());
  REQUIRE(state.rollback(4, "me").ok());
  const json::Value now = parse_json(*state.read());
  CHECK(now.get("serial")->as_int() == 31);
  CHECK(now.str_at({"outputs", "o", "value"}) == "4.4");
  CHECK((*state.versions())[1].version == 6);  // what was there can be had again
  CHECK_FALSE(state.holder()->has_value());
  auto token = state.lock(info());
  REQUIRE(state.clear(*token).ok());
  REQUIRE(state.unlock(*token).ok());
  CHECK(*state.read() == "");
  CHECK((*state.versions())[0].serial == 31);
  REQUIRE(state.purge("me").ok());
  CHECK(secrets(*client).empty());
  CHECK(state.versions()->empty());
  CHECK(store(state, document(1, "new"), 0, "").ok());
}

TEST_CASE("the lock: held, contended, run out, taken over, fenced") {
  Cluster cluster;
  auto client = cluster.client();
  FakeClock clock;
  ClusterStateOptions options;
  options.renew = false;
  options.clock = &clock;
  ClusterState one(client, kName, options), two(client, kName, options);
  auto first = one.lock(info("the first"));
  REQUIRE(first);
  REQUIRE(one.write(document(1, "l"), 0, "", *first).ok());
  auto refused = two.lock(info());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().conflict());
  CHECK(refused.error().message().find("the first") != std::string::npos);
  CHECK((*two.holder())->who == "the first");
  clock.advance(std::chrono::seconds(31));
  CHECK_FALSE(two.holder()->has_value());
  auto second = two.lock(info("the second"));
  REQUIRE(second);
  CHECK(*second > *first);
  // The first one does not know yet, and can do no harm.
  CHECK(one.write(document(2, "l", "late"), 1, "l", *first).conflict());
  CHECK(one.append_cursor("late", *first).conflict());
  CHECK(one.clear_cursor(*first).conflict());
  CHECK_FALSE(one.unlock(*first).ok());
  CHECK((*two.holder())->who == "the second");
  REQUIRE(two.write(document(2, "l", "good"), 1, "l", *second).ok());
  // Somebody breaks it.
  CHECK(one.force_unlock("another id").conflict());
  REQUIRE(one.force_unlock((*one.holder())->id).ok());
  CHECK(one.force_unlock("").not_found());
  CHECK(two.write(document(3, "l", "late"), 2, "l", *second).conflict());
  CHECK(*one.read() == document(2, "l", "good"));
}

TEST_CASE("a lock that an earlier process of the same server left is free at once; of another server, and of a live process, it is not") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterStateOptions options;
  options.owner = "this server";
  options.renew = false;
  auto left = ClusterState(client, kName, options).lock(info());
  REQUIRE(left);
  ClusterState same(client, kName, options);
  CHECK(same.lock(info()).error().conflict());   // this very process has it
  auto lease = client->get<k8s::coordination_v1::Lease>(kSystemNamespace, "state-" + kName.key());
  REQUIRE(lease);
  json::Value lock = parse_json(lease->metadata.annotations["pangea.pleme.io/lock"]);
  lock["process"] = "one that is no more";
  lease->metadata.annotations["pangea.pleme.io/lock"] = json::dump(lock);
  REQUIRE(client->update(*lease));
  options.owner = "another server";
  CHECK(ClusterState(client, kName, options).lock(info()).error().conflict());
  auto token = same.lock(info());
  REQUIRE(token);
  CHECK(*token > *left);
}

TEST_CASE("a lock is renewed while its holder lives, and the holder hears when it is lost") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterStateOptions options;
  options.lease = std::chrono::seconds(1);
  ClusterState other(client, kName, options);
  {
    ClusterState holder(client, kName, options);
    auto token = holder.lock(info());
    REQUIRE(token);
    const auto first = (*other.holder())->until;
    CHECK(eventually([&] {
      auto h = other.holder();
      return h && *h && (*h)->until > first + std::chrono::seconds(1);
    }));  // longer than one lease
    CHECK_FALSE(holder.lost().stopped());
    REQUIRE(other.force_unlock("").ok());
    CHECK(holder.lost().wait_for(std::chrono::seconds(20)));
    CHECK(holder.write(document(1, "l"), 0, "", *token).conflict());
    REQUIRE(holder.lock(info()));
  }
  CHECK_FALSE(other.holder()->has_value());  // it went with its holder
}

TEST_CASE("of writers at once one wins") {
  Cluster cluster;
  auto client = cluster.client();
  std::atomic<int> wins{0}, conflicts{0}, others{0};
  std::atomic<uint64_t> highest{0};
  std::vector<std::thread> threads;
  std::atomic<bool> together{false};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      ClusterState state(client, kName);
      while (!together) std::this_thread::yield();
      for (int round = 0; round < 15; ++round) {
        auto token = state.lock(info(std::to_string(i)));
        if (!token) {
          ++(token.error().conflict() ? conflicts : others);
          continue;
        }
        auto now = state.current();
        const Status s = now ? state.write(document(now->serial + 1, "l", std::to_string(i)), now->serial, now->lineage, *token) : now.error();
        if (s.ok())
          ++wins;
        else
          ++others;
        if (!state.unlock(*token).ok()) ++others;
      }
    });
  }
  together = true;
  for (std::thread& t : threads) t.join();
  CHECK(others == 0);
  CHECK(wins + conflicts == 60);
  CHECK(wins > 0);
  CHECK(ClusterState(client, kName).current()->serial == static_cast<uint64_t>(wins.load()));  // none was lost
}

TEST_CASE("the cursor: lines in order, over several objects, gone at once") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterState state(client, kName);
  auto token = state.lock(info());
  REQUIRE(token);
  std::vector<std::string> lines;
  for (int i = 0; i < 450; ++i) {
    lines.push_back("{\"begin\": \"a.b[" + std::to_string(i) + "]\"}");
    REQUIRE(state.append_cursor(lines.back(), *token).ok());
    // Another object, as after a restart, goes on in the same place.
    if (i == 250) {
      REQUIRE(state.unlock(*token).ok());
      CHECK(*ClusterState(client, kName).read_cursor() == lines);
      token = state.lock(info());
      REQUIRE(token);
    }
  }
  CHECK(*ClusterState(client, kName).read_cursor() == lines);
  REQUIRE(state.clear_cursor(*token).ok());
  CHECK(state.read_cursor()->empty());
  REQUIRE(state.append_cursor("again", *token).ok());
  CHECK(*state.read_cursor() == std::vector<std::string>{"again"});
  REQUIRE(state.unlock(*token).ok());
  CHECK(secrets(*client).size() == 2);
}

TEST_CASE("what a crash left is collected, what is in use is not") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterStateOptions options;
  options.inline_bytes = 0;
  ClusterState state(client, kName, options);
  REQUIRE(store(state, document(1, "l", "kept"), 0, "").ok());
  auto orphan = [&](const std::string& name, const std::string& key, const std::string& fence) {
    Secret s;
    s.metadata.namespace_ = kSystemNamespace;
    s.metadata.name = name;
    s.metadata.labels = {{"pangea.pleme.io/state", key}, {"pangea.pleme.io/state-part", "piece"}, {"pangea.pleme.io/fencing-token", fence}};
    s.type = kStateSecretType;
    REQUIRE(client->create(s));
  };
  orphan("state-old", kName.key(), "0");
  orphan("state-gone", "ffff", "7");
  auto token = state.lock(info());
  orphan("state-under-way", kName.key(), std::to_string(*token));
  Secret stranger;
  stranger.metadata.namespace_ = kSystemNamespace;
  stranger.metadata.name = "stranger";
  stranger.metadata.labels = {{"pangea.pleme.io/state-part", "piece"}};
  REQUIRE(client->create(stranger));
  CHECK(*collect_state_orphans(*client) == 2);
  CHECK(*collect_state_orphans(*client) == 0);
  CHECK(client->get<Secret>(kSystemNamespace, "state-under-way"));
  CHECK(client->get<Secret>(kSystemNamespace, "stranger"));
  CHECK(*state.read() == document(1, "l", "kept"));
}

TEST_CASE("magma keeps its state in the cluster: plan, apply, again from a restart") {
  Cluster cluster;
  TempDir dir;
  const Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"t": {"count": 50, "input": "${count.index}"}}}})");
  auto executor = std::move(*make_executor("magma", {}));
  std::string bytes;
  {
    ClusterState state(cluster.client(), kName);
    auto plan = executor->plan(w, state, {}, {});
    REQUIRE(plan);
    bytes = plan->serialize();
  }
  cluster.restart();
  ClusterState state(cluster.client(), kName);
  auto applied = executor->apply(w, state, *SavedPlan::parse(bytes), {}, {});
  REQUIRE(applied);
  CHECK(applied->status().message() == "");
  CHECK(executor->plan(w, state, {}, {})->model.empty());
  CHECK(state.versions()->size() == 1);
  CHECK_FALSE(state.holder()->has_value());
}

TEST_CASE("what a template costs with its state in the cluster", "[.bench]") {
  Cluster cluster;
  TempDir dir;
  auto executor = std::move(*make_executor("magma", {}));
  auto client = cluster.client();
  constexpr int kTemplates = 300;
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < kTemplates; ++i) {
    const Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"a": {"input": "x"}}, "random_pet": {"p": {}}}})", "t" + std::to_string(i));
    ClusterState state(client, {"dev", "default", "t" + std::to_string(i)});
    auto plan = executor->plan(w, state, {}, {});
    REQUIRE(plan);
    REQUIRE(executor->apply(w, state, *plan, {}, {})->ok);
    REQUIRE(executor->plan(w, state, {}, {})->model.empty());
  }
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
  std::cout << "plan, apply, plan again: " << ms / kTemplates << " ms a template\n";
}
