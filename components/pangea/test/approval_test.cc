// Approvals and what happens around them; the two keys of a destruction; what is lost or tampered with on the disk.
#include <set>

#include "operator_fixture.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
using namespace std::chrono_literals;

namespace {

const std::string kAsk = R"("defaultDecision": "requireApproval", "destroyProtection": false)";

std::string trigger(const std::string& value) {
  return R"({"resource": {"terraform_data": {"a": {"input": ")" + value + R"("}}}})";
}

std::string inline_source(const std::string& config) {
  return R"({"source": {"inline": )" + json::dump(json::Value(config)) + "}}";
}

std::string artifact(const OperatorFixture& f, const std::string& name, const std::string& kind) {
  return f.dir.path("pangea/templates/" + f.get(name).metadata.uid + "/" + kind);
}

}  // namespace

TEST_CASE("an approval runs out, is for one plan, and is used once") {
  OperatorFixture f;
  f.place();
  f.apply("t", trigger("1"), kAsk);
  const std::string first = f.pending("t");
  CHECK(first.size() == 64);
  CHECK(f.approve("t", std::string(64, '0')).conflict());
  CHECK_FALSE(f.approve("t", first, R"(, "expiresIn": "soon")").ok());
  CHECK_FALSE(f.approve("t", first, R"(, "unknown": "x")").ok());
  CHECK_FALSE(f.approve("t", "").ok());
  // Given while nobody works, and run out when somebody does.
  f.stop();
  REQUIRE(f.approve("t", first, R"(, "expiresIn": "1m")").ok());
  f.clock.advance(2min);
  f.start();
  REQUIRE(f.until([&] { return !f.get("t").status.last_planned_at.is_zero() && *f.get("t").status.last_planned_at > f.clock.wall() - 1min; }));
  CHECK(f.until([&] { return f.reason("t", "Ready") == "AwaitingApproval"; }));
  CHECK(f.get("t").status.last_applied_at.is_zero());
  REQUIRE(f.approve("t", first, R"(, "expiresIn": "1h")").ok());
  REQUIRE(f.applied("t"));
  CHECK_FALSE(static_cast<bool>(f.get("t").status.approval));
  const auto receipts = f.receipts("t");
  REQUIRE_FALSE(receipts.empty());
  CHECK(std::any_of(receipts.begin(), receipts.end(),
                    [&](const auto& r) { return r.spec.approval && r.spec.approval->approver == "ada" && r.spec.approval->plan_hash == first; }));
  // The next change asks again.
  f.patch("t", inline_source(trigger("2")));
  CHECK_FALSE(f.pending("t", first).empty());
}

TEST_CASE("a plan that changes after its approval is not applied") {
  OperatorFixture f;
  f.place();
  f.apply("t", trigger("1"), kAsk);
  const std::string first = f.pending("t");
  f.stop();
  REQUIRE(f.approve("t", first).ok());
  f.patch("t", inline_source(trigger("2")));
  f.start();
  const std::string second = f.pending("t", first);
  CHECK_FALSE(second.empty());
  CHECK(f.get("t").status.last_applied_at.is_zero());
  CHECK_FALSE(static_cast<bool>(f.get("t").status.approval));
  CHECK(f.approve("t", first).conflict());
}

TEST_CASE("two keys destroy: each that is missing, wrong or out of date is named") {
  OperatorFixture f;
  f.place();
  f.apply("t", f.files(1), R"("defaultDecision": "autoApply")");
  REQUIRE(f.applied("t"));
  f.remove("t");
  REQUIRE(f.has_reason("t", "Ready", "DestroyBlocked"));
  auto says = [&](const std::string& policy, const std::string& text) {
    f.patch("t", R"({"policy": )" + policy + "}");
    const bool said = f.until([&] {
      for (const auto& c : f.get("t").status.conditions) {
        if (c.type == "Ready" && c.message.find(text) != std::string::npos) return true;
      }
      return false;
    });
    if (!said) f.tell("t");
    CHECK(said);
    CHECK(std::filesystem::exists(f.file(0)));
  };
  const std::string key = R"("authorizedBy": "ada", "reason": "test", "template": "t")";
  says(R"({"destroyProtection": false})", "destroyAuthorization is missing");
  says(R"({"destroyAuthorization": {)" + key + R"(, "expiresAt": "2020-01-01T00:00:00Z"}})", "has run out");
  says(R"({"destroyAuthorization": {"authorizedBy": "ada", "reason": "test", "template": "u", "expiresAt": "2099-01-01T00:00:00Z"}})", "expected \"t\"");
  says(R"({"destroyAuthorization": {"authorizedBy": "  ", "reason": "test", "template": "t", "expiresAt": "2099-01-01T00:00:00Z"}})", "authorizedBy is empty");
  says(R"({"destroyAuthorization": {"authorizedBy": "ada", "reason": " ", "template": "t", "expiresAt": "2099-01-01T00:00:00Z"}})", "reason is empty");
  says(R"({"destroyProtection": true, "destroyAuthorization": {)" + key + R"(, "expiresAt": "2099-01-01T00:00:00Z"}})", "destroyProtection is on");
  // A resource's own word counts beside the template's.
  f.patch("t", R"({"policy": {"destroyProtection": false, "destroyAuthorization": {)" + key + R"(, "expiresAt": "2099-01-01T00:00:00Z"}}})");
  CHECK(f.until([&] { return f.gone("t"); }));
  CHECK_FALSE(std::filesystem::exists(f.file(0)));
}

TEST_CASE("a resource that protects itself outlives the two keys of its template") {
  OperatorFixture f;
  f.place();
  f.apply(
      "t", R"({"resource": {"null_resource": {"a": {}, "b": {"//": {"pangea_policy": {"destroyProtection": true}}}}}})",
      R"("defaultDecision": "autoApply", "destroyProtection": false, "destroyAuthorization": {"authorizedBy": "ada", "reason": "test", "template": "t", "expiresAt": "2099-01-01T00:00:00Z"})");
  REQUIRE(f.applied("t"));
  f.remove("t");
  REQUIRE(f.has_reason("t", "Ready", "DestroyBlocked"));
  CHECK_FALSE(f.gone("t"));
}

TEST_CASE("a PangeaNamespace stays as long as templates are in it") {
  OperatorFixture f;
  f.place();
  f.apply("t", f.files(1), R"("defaultDecision": "autoApply")");
  REQUIRE(f.applied("t"));
  REQUIRE(f.client->remove<pangea_v1::PangeaNamespace>("", "dev").ok());
  auto ready = [&] {
    auto place = f.client->get<pangea_v1::PangeaNamespace>("", "dev");
    if (!place) return std::string("gone");
    for (const auto& c : place->status.conditions) {
      if (c.type == "Ready") return c.reason + " " + c.message;
    }
    return std::string();
  };
  CHECK(f.until([&] { return ready() == "InUse is deleted when these templates are gone: default/t"; }));
  // Protected: it goes with two keys, and then the place does.
  f.remove("t");
  REQUIRE(f.has_reason("t", "Ready", "DestroyBlocked"));
  CHECK(ready().starts_with("InUse"));
  f.patch(
      "t",
      R"({"policy": {"destroyProtection": false, "destroyAuthorization": {"authorizedBy": "ada", "reason": "test", "template": "t", "expiresAt": "2099-01-01T00:00:00Z"}}})");
  CHECK(f.until([&] { return f.gone("t"); }));
  CHECK(f.until([&] { return ready() == "gone"; }, 1s));
}

TEST_CASE("artifacts that were tampered with or lost cost a render and a plan") {
  OperatorFixture f;
  f.place();
  f.apply("t", trigger("1"), kAsk);
  std::string plan = f.pending("t");
  f.stop();
  SECTION("a byte of the configuration") {
    auto text = read_file(artifact(f, "t", "config"));
    REQUIRE(text);
    std::string changed = *text;
    changed[changed.find("\"input\":\"1\"") + 9] = '9';
    write_text(artifact(f, "t", "config"), changed);
  }
  SECTION("a configuration of another digest, in itself right") {
    write_text(artifact(f, "t", "config"), "0000 0000\n{}");
  }
  SECTION("all of the directory") {
    std::filesystem::remove_all(f.dir.path("pangea"));
  }
  f.start();
  REQUIRE(f.approve("t", plan).ok());
  REQUIRE(f.applied("t"));
  f.stop();
  // And in the middle of an apply: the plan that was approved is gone, so it is asked again.
  f.start();
  f.patch("t", inline_source(trigger("2")));
  plan = f.pending("t", plan);
  f.stop();
  REQUIRE(f.approve("t", plan).ok());
  f.patch_status("t", R"({"phase": "Applying", "approvedPlanHash": ")" + plan + R"("})");
  write_text(artifact(f, "t", "plan"), "not a plan");
  f.start();
  CHECK(f.applied("t", f.clock.wall() - 1s));
  auto state = f.client->request("GET", "/api/v1/namespaces/pangea-system/secrets");
  REQUIRE(state);
}

TEST_CASE("no room for artifacts: nothing is lost, and it goes on when there is room") {
  OperatorFixture f(false);
  // The directory cannot be made: a file stands there. (A full disk fails the same write.)
  write_text(f.dir.path("pangea/templates"), "in the way");
  f.start();
  f.place();
  f.apply("t", trigger("1"));
  REQUIRE(f.until([&] { return f.get("t").metadata.finalizers.size() == 1; }));
  for (int i = 0; i < 10; ++i) f.clock.advance(10s);
  CHECK(f.get("t").status.last_applied_at.is_zero());
  std::filesystem::remove(f.dir.path("pangea/templates"));
  CHECK(f.applied("t"));
}

TEST_CASE("two operators at once on one cluster make nothing twice") {
  OperatorFixture f;
  f.place();
  Options options = f.options;
  options.data_dir = f.dir.path("other");
  Operator other(client::local_transport(f.cluster.server(), apiserver::UserInfo{"system:pangea", "", {"system:masters"}, {}}), options);
  other.start();
  std::string bodies;
  for (int i = 0; i < 40; ++i)
    bodies += (i == 0 ? "" : ", ") + std::string("\"r") + std::to_string(i) + "\": {\"name\": \"r" + std::to_string(i) + R"(", "mode": "slow"})";
  f.apply("t", f.things(bodies));
  REQUIRE(f.applied("t"));
  f.patch("t", R"({"variables": {"n": 1}})");
  REQUIRE(f.until([&] { return f.get("t").status.observed_generation == f.get("t").metadata.generation && f.get("t").status.phase == "Ready"; }));
  other.stop();
  const auto things = f.provider.things();
  CHECK(things.size() == 40);
  std::set<std::string> names;
  for (const auto& [name, id] : things) names.insert(name);
  CHECK(names.size() == 40);
  CHECK(f.provider.log().size() == 40);
}

TEST_CASE("a lock that nobody keeps alive is given up by unlock; one that is kept is not") {
  OperatorFixture f;
  f.place();
  f.apply("t", trigger("1"));
  REQUIRE(f.applied("t"));
  f.stop();
  // Somebody with terraform took it and went away.
  const StateCall lock{"dev", "default", "t", "LOCK", "", "", R"({"ID": "11111111-1111-1111-1111-111111111111", "Operation": "apply", "Who": "bob"})"};
  auto taken = serve_state(f.client, lock);
  REQUIRE(taken);
  REQUIRE(taken->code == 200);
  f.start();
  f.patch("t", inline_source(trigger("2")));
  REQUIRE(f.until([&] { return f.reason("t", "Ready") == "StateLocked"; }));
  f.command("t", "unlock");
  CHECK(f.until([&] { return f.events("t", "UnlockFailed") + f.events("t", "Unlocked") == 1; }));
  StateCall unlock = lock;
  unlock.method = "UNLOCK";
  auto released = serve_state(f.client, unlock);
  REQUIRE(released);
  CHECK(released->code == 200);
  CHECK(f.until(
      [&] {
        return f.get("t").status.phase == "Ready" && f.get("t").status.outputs.empty() && f.get("t").status.last_cycle &&
               f.get("t").status.last_cycle->outcome == "Applied";
      },
      1s));
}
