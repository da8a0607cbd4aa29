// The phases of a template: each can be reached, none is a trap, and one that rests is left alone.
#include "operator_fixture.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
using namespace std::chrono_literals;

TEST_CASE("a template at rest is not written; a cycle that finds nothing writes its times and no receipt") {
  OperatorFixture f;
  f.place();
  f.apply("rest", kNothing, R"("defaultDecision": "autoApply", "reconcileInterval": "1h")");
  REQUIRE(f.applied("rest"));
  // What follows at once has come to its end: two looks that find the same.
  std::string version;
  REQUIRE(f.until([&] { return std::exchange(version, f.get("rest").metadata.resource_version) == version && f.get("rest").status.last_cycle; }, 2s));
  const auto receipts = f.receipts("rest").size();
  for (int i = 0; i < 50; ++i) {
    f.clock.advance(30s);
    std::this_thread::yield();
  }
  CHECK(f.get("rest").metadata.resource_version == version);
  int writes = 0;
  for (int cycle = 0; cycle < 4; ++cycle) {
    const auto last = f.get("rest").status.last_drift_check_at;
    REQUIRE(f.until([&] {
      const auto now = f.get("rest");
      if (now.metadata.resource_version != version) ++writes;
      version = now.metadata.resource_version;
      return now.status.last_drift_check_at != last;
    }, 30s));
  }
  CHECK(writes <= 8);
  // The first look that found nothing is a cycle of its own; the next ones are no news.
  CHECK(f.receipts("rest").size() <= receipts + 1);
  // The same for what is around it.
  auto place = f.client->get<pangea_v1::PangeaNamespace>("", "dev");
  REQUIRE(place);
  for (int i = 0; i < 20; ++i) f.clock.advance(6min);
  CHECK(f.client->get<pangea_v1::PangeaNamespace>("", "dev")->metadata.resource_version == place->metadata.resource_version);
}

TEST_CASE("every phase is reached, and left") {
  OperatorFixture f;
  // Verifying: nothing is where its state could be.
  f.apply("verifying", kNothing);
  REQUIRE(f.has_reason("verifying", "Verified", "NamespaceNotFound"));
  CHECK(f.get("verifying").status.phase == "Verifying");
  f.place();
  CHECK(f.applied("verifying"));

  // CompileBlocked: what cannot be read.
  f.apply("blocked", "{\"resource\": ");
  REQUIRE(f.becomes("blocked", "CompileBlocked"));
  f.patch("blocked", R"({"source": {"inline": "{\"resource\": {\"null_resource\": {\"a\": {}}}}"}})");
  CHECK(f.applied("blocked"));

  // Compiling: an output that is not there.
  f.apply("compiling", R"({"variable": {"v": {}}, "resource": {"null_resource": {"a": {"triggers": {"v": "${var.v}"}}}}})", R"("defaultDecision": "autoApply")",
          R"("variableRefs": {"v": {"templateRef": {"name": "producer"}, "outputKey": "o"}})");
  REQUIRE(f.has_reason("compiling", "Verified", "WaitingForOutputs"));
  CHECK(f.get("compiling").status.phase == "Compiling");
  f.apply("producer", R"({"output": {"o": {"value": "x"}}})");
  CHECK(f.applied("compiling"));

  // Planning: somebody is asked.
  f.apply("planning", kNothing, R"("defaultDecision": "requireApproval")");
  const std::string plan = f.pending("planning");
  CHECK(f.get("planning").status.phase == "Planning");
  REQUIRE(f.approve("planning", plan).ok());
  CHECK(f.applied("planning"));

  // Applying: seen while it lasts.
  f.apply("applying", R"({"resource": {"time_sleep": {"a": {"create_duration": "400ms"}}}})");
  CHECK(f.becomes("applying", "Applying"));
  CHECK(f.applied("applying"));

  // Drifted, and settled by an approval.
  f.apply("drifted", f.files(1), R"("defaultDecision": "requireApproval", "destroyProtection": false, "reconcileInterval": "1m")");
  REQUIRE(f.approve("drifted", f.pending("drifted")).ok());
  REQUIRE(f.applied("drifted"));
  std::filesystem::remove(f.file(0));
  REQUIRE(f.becomes("drifted", "Drifted", 5s));
  REQUIRE(f.approve("drifted", f.pending("drifted")).ok());
  CHECK(f.becomes("drifted", "Ready"));
  CHECK(std::filesystem::exists(f.file(0)));

  // Failed: refused until the rule is changed.
  f.apply("failed", kNothing, R"("rules": [{"name": "never", "decision": "refuse"}])");
  REQUIRE(f.becomes("failed", "Failed"));
  CHECK(f.get("failed").status.failure_kind == "PolicyRefused");
  f.patch("failed", R"({"policy": {"rules": [], "defaultDecision": "autoApply"}})");
  CHECK(f.applied("failed"));

  // Destroying: what cannot be deleted is tried again, and goes when it can.
  f.apply(
      "destroying", f.things(R"("a": {"name": "a", "mode": "fail_delete"})"),
      R"("defaultDecision": "autoApply", "destroyProtection": false, "destroyAuthorization": {"authorizedBy": "ada", "reason": "test", "template": "destroying", "expiresAt": "2099-01-01T00:00:00Z"})");
  REQUIRE(f.applied("destroying"));
  f.remove("destroying");
  REQUIRE(f.becomes("destroying", "Destroying"));
  CHECK(f.provider.things().size() == 1);
  for (const auto& thing : std::filesystem::directory_iterator(f.provider.cloud())) {
    if (thing.path().extension() != ".json") continue;
    auto text = read_file(thing.path().string());
    auto value = parse_json(*text);
    value["mode"] = "";
    write_text(thing.path().string(), json::dump(value));
  }
  CHECK(f.until([&] { return f.gone("destroying"); }, 2s));
  CHECK(f.provider.things().empty());
}

TEST_CASE("no phase is a trap: whatever stands in the status, the template comes to rest") {
  OperatorFixture f;
  f.place();
  f.apply("any", kNothing);
  REQUIRE(f.applied("any"));
  f.stop();
  for (const char* phase : {"Pending", "Verifying", "Verified", "Compiling", "CompileBlocked", "Initializing", "Planning", "Applying", "Ready", "Drifted",
                            "Failed", "Destroying"}) {
    INFO(phase);
    // What a crash, another version or a person left: the phase alone, with and without what belongs to it.
    for (const char* rest :
         {"", R"(, "pendingPlanHash": "0000", "renderedHash": "1111")", R"(, "phaseEnteredAt": null, "failureCount": 99, "autoSuspended": true)"}) {
      INFO(rest);
      f.patch_status("any", std::string(R"({"phase": ")") + phase + "\"" + rest + "}");
      f.start();
      const bool rests = f.until(
          [&] {
            const auto s = f.get("any").status;
            return s.phase == "Ready" && s.pending_plan_hash.empty() && !s.auto_suspended;
          },
          5s);
      if (!rests) f.tell("any");
      CHECK(rests);
      f.stop();
    }
  }
}
