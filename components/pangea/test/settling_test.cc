// Drift that comes back, templates that will not come to rest, and who is told.
#include "operator_fixture.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
using namespace std::chrono_literals;

namespace {

const std::string kOften = R"("defaultDecision": "autoApply", "destroyProtection": false, "reconcileInterval": "1m")";

// One round of drift: the file goes, the next cycle finds it.
bool drift_once(OperatorFixture& f, const std::string& name, int expected_cycles) {
  std::filesystem::remove(f.file(0));
  return f.until([&] { return f.get(name).status.consecutive_drift_cycles == expected_cycles; }, 2s);
}

}  // namespace

TEST_CASE("settling: the same drift is stuck, a cycle without drift begins anew, and the count is exhausted") {
  struct Case {
    std::string outcome, phase, kind, event;
    bool corrected;
  };
  for (const Case& c : {Case{"fail", "Failed", "SettlingFailed", "ReconcileFailed", false}, Case{"alert", "Drifted", "", "SettlingAlert", false},
                        Case{"continue", "Ready", "", "DriftDetected", true}, Case{"retry", "Ready", "", "DriftDetected", true}}) {
    INFO(c.outcome);
    OperatorFixture f;
    f.place();
    f.apply("t", f.files(2), kOften + R"(, "settlingPolicy": {"maxConsecutiveDriftCycles": 3, "onExhaustion": ")" + c.outcome + "\"}");
    REQUIRE(f.applied("t"));
    CHECK(f.until([&] { return f.truth("t", "Settled") == "True"; }, 2s));
    REQUIRE(drift_once(f, "t", 1));
    CHECK(f.get("t").status.stuck_resources.empty());
    // Well in between: the count begins anew.
    REQUIRE(f.until([&] { return f.get("t").status.consecutive_drift_cycles == 0 && f.truth("t", "Settled") == "True"; }, 2s));
    CHECK(f.get("t").status.drift_fingerprint.empty());
    // Gone again before each next look.
    for (int cycle = 1; cycle <= 2; ++cycle) {
      REQUIRE(f.becomes("t", "Ready"));
      REQUIRE(drift_once(f, "t", cycle));
      CHECK(f.reason("t", "Settled") == (cycle == 1 ? "DriftDetected" : "StuckByFingerprint"));
    }
    CHECK(f.get("t").status.stuck_resources == std::vector<std::string>{"local_file.f0"});
    REQUIRE(f.becomes("t", "Ready"));
    REQUIRE(drift_once(f, "t", 3));
    CHECK(f.reason("t", "Settled") == "StuckByCount");
    CHECK(f.truth("t", "Settled") == "False");
    CHECK(f.becomes("t", c.phase));
    if (!c.kind.empty()) CHECK(f.get("t").status.failure_kind == c.kind);
    CHECK(f.until([&] { return f.events("t", c.event) >= 1; }));
    CHECK(std::filesystem::exists(f.file(0)) == c.corrected);
    if (c.outcome != "fail") continue;
    // It stays so: nobody goes on correcting. What a person changes begins anew.
    for (int i = 0; i < 20; ++i) f.clock.advance(1min);
    CHECK(f.get("t").status.phase == "Failed");
    CHECK_FALSE(std::filesystem::exists(f.file(0)));
    f.command("t", "reconcile");
    CHECK(f.until([&] { return std::filesystem::exists(f.file(0)); }));
    CHECK(f.until([&] { return f.get("t").status.consecutive_drift_cycles == 0 && f.get("t").status.phase == "Ready"; }));
  }
}

TEST_CASE("drift under autoApply is corrected whatever autoApprove says: one decision point") {
  OperatorFixture f;
  f.place();
  f.apply("t", f.files(1),
          R"("rules": [{"name": "all", "decision": "autoApply"}], "autoApprove": false, "destroyProtection": false, "reconcileInterval": "1m")");
  REQUIRE(f.applied("t"));
  std::filesystem::remove(f.file(0));
  CHECK(f.until([&] { return std::filesystem::exists(f.file(0)); }, 2s));
}

TEST_CASE("an explicit requireApproval asks about what destroys nothing, too") {
  OperatorFixture f;
  f.place();
  f.apply("t", kNothing, R"("defaultDecision": "requireApproval")");
  CHECK_FALSE(f.pending("t").empty());
  CHECK(f.get("t").status.last_applied_at.is_zero());
}

TEST_CASE("escalation: at the threshold, once, worst action first, and over when it is well again") {
  OperatorFixture f;
  f.place();
  // Two triggers at once: the phase that lasts (alert) and the failures (page). The worse one is told.
  f.apply(
      "t", "{\"resource\": ",
      R"("defaultDecision": "autoApply", "reactive": {"failureEscalation": {"maxConsecutiveFailures": 2, "onExhaustion": "page"}, "phaseTimeout": {"compiling": "1h", "onTimeout": "alert"}})");
  REQUIRE(f.until([&] { return f.get("t").status.consecutive_compile_failures == 1; }));
  CHECK(f.truth("t", "Healthy") == "True");
  CHECK(f.events("t", "ReactivePolicyTriggered") == 0);
  REQUIRE(f.until([&] { return f.get("t").status.consecutive_compile_failures == 2; }, 5s));
  REQUIRE(f.until([&] { return f.truth("t", "Healthy") == "False"; }));
  CHECK(f.get("t").status.last_escalation_reason == "FailureEscalation");
  REQUIRE(f.until([&] { return f.get("t").status.consecutive_compile_failures >= 4; }, 30s));
  CHECK(f.events("t", "ReactivePolicyTriggered") == 1);  // told once
  CHECK_FALSE(f.get("t").status.auto_suspended);
  f.patch("t", R"({"source": {"inline": "{\"resource\": {\"null_resource\": {\"a\": {}}}}"}})");
  REQUIRE(f.applied("t"));
  CHECK(f.until([&] { return f.truth("t", "Healthy") == "True" && f.get("t").status.last_escalation_reason.empty(); }, 2s));
  // The next trouble is told anew.
  f.patch("t", R"({"source": {"inline": "{"}})");
  CHECK(f.until([&] { return f.events("t", "ReactivePolicyTriggered") == 2; }, 5s));
}

TEST_CASE("the ladder: a rendering that keeps failing is told at 0, 5, 15, 30 and 60 minutes, and then paused") {
  OperatorFixture f;
  f.place();
  f.apply("t", "{\"resource\": ", R"("defaultDecision": "autoApply")");
  REQUIRE(f.until([&] { return f.get("t").status.escalation_step == "Retry"; }));
  const std::string signature = f.get("t").status.compile_failure_signature;
  CHECK(signature.size() == 16);
  auto passed = 0min;
  for (const auto& [at, step] : std::vector<std::pair<std::chrono::minutes, std::string>>{{5min, "RefreshSource"}, {15min, "ReloadGems"}, {30min, "RecycleWorkers"}, {60min, "Pause"}}) {
    INFO(step);
    CHECK_FALSE(f.get("t").status.auto_suspended);
    f.clock.advance(at - passed);
    passed = at;
    REQUIRE(f.until([&] { return f.get("t").status.escalation_step == step; }, 30s));
    CHECK(f.events("t", "EscalationLadder" + step) == 1);
  }
  CHECK(f.get("t").status.auto_suspended);
  CHECK(f.get("t").status.compile_failure_signature == signature);
  CHECK(f.truth("t", "Healthy") == "False");
  // A changed spec begins anew.
  f.patch("t", R"({"source": {"inline": "{\"resource\": {\"null_resource\": {\"a\": {}}}}"}})");
  REQUIRE(f.applied("t"));
  CHECK(f.get("t").status.escalation_step.empty());
  CHECK_FALSE(f.get("t").status.auto_suspended);
}

TEST_CASE("escalation: a gate that stays shut") {
  OperatorFixture f;
  f.apply("t", kNothing, R"("reactive": {"verifiedBlocked": {"timeout": "10m", "onBlocked": "alert"}})");
  REQUIRE(f.has_reason("t", "Verified", "NamespaceNotFound"));
  const WallTime since = *f.get("t").status.verified_blocked_since;
  f.clock.advance(9min);
  REQUIRE(f.until([&] { return f.clock.wall() > since + 9min + 30s; }, 5s));
  CHECK(f.events("t", "ReactivePolicyTriggered") == 0);
  REQUIRE(f.until([&] { return f.events("t", "ReactivePolicyTriggered") == 1; }, 5s));
  CHECK(f.clock.wall() > since + 10min);
  CHECK(f.get("t").status.last_escalation_reason == "VerifiedBlocked");
  f.place();
  REQUIRE(f.applied("t"));
  CHECK(f.until([&] { return f.truth("t", "Healthy") == "True"; }));
}

TEST_CASE("escalation: phases that last too long; a plan that waits for a person does not") {
  OperatorFixture f;
  f.place();
  const std::string limits =
      R"("destroyProtection": false, "reactive": {"phaseTimeout": {"compiling": "20m", "planning": "10m", "applying": "30m", "onTimeout": "page"}})";
  f.apply("compiling", kNothing, R"("defaultDecision": "autoApply", )" + limits,
          R"("variableRefs": {"v": {"templateRef": {"name": "absent"}, "outputKey": "o"}})");
  f.apply("asks", kNothing, R"("defaultDecision": "requireApproval", )" + limits);
  REQUIRE(f.has_reason("compiling", "Verified", "WaitingForOutputs"));
  REQUIRE_FALSE(f.pending("asks").empty());
  REQUIRE(f.until([&] { return f.get("compiling").status.last_escalation_reason == "PhaseTimeout:Compiling"; }, 10s));
  CHECK(f.until([&] { return f.events("compiling", "ReactivePolicyTriggered") == 1; }));
  CHECK(f.events("asks", "ReactivePolicyTriggered") == 0);
  CHECK(f.get("asks").status.phase == "Planning");
}

TEST_CASE("escalation: an apply that stands still is ended; one that advances is not") {
  OperatorFixture f;
  f.place();
  const std::string policy =
      R"("defaultDecision": "autoApply", "destroyProtection": false, "reactive": {"phaseTimeout": {"applying": "30m", "onTimeout": "suspend"}})";
  // Each step takes twenty minutes of the clock; six of them take two hours.
  std::string chain;
  for (int i = 0; i < 6; ++i) {
    chain += (i == 0 ? "" : ", ") + std::string("\"s") + std::to_string(i) + R"(": {"create_duration": "300ms")" +
             (i == 0 ? "" : R"(, "depends_on": ["time_sleep.s)" + std::to_string(i - 1) + "\"]") + "}";
  }
  f.apply("long", R"({"resource": {"time_sleep": {)" + chain + "}}}", policy);
  REQUIRE(f.becomes("long", "Applying"));
  const WallTime begin = f.clock.wall();
  REQUIRE(f.until([&] { return f.get("long").status.phase != "Applying"; }, 15s));  // about 75 steps of 4 ms are one of these steps
  CHECK(f.get("long").status.phase == "Ready");
  CHECK(f.clock.wall() - begin > 30min);
  CHECK(f.events("long", "ReactivePolicyTriggered") == 0);

  f.apply("hangs", f.things(R"("h": {"name": "h", "mode": "hang_apply"})"), policy);
  REQUIRE(f.becomes("hangs", "Applying"));
  REQUIRE(f.until([&] { return f.get("hangs").status.last_escalation_reason == "PhaseTimeout:Applying"; }, 10s));
  CHECK(f.get("hangs").status.phase == "Failed");
  CHECK(f.get("hangs").status.auto_suspended);
}

TEST_CASE("the breaker: opens, lets one try through, closes when the try goes well or the spec is changed") {
  OperatorFixture f;
  f.place();
  f.apply(
      "t", f.things(R"("a": {"name": "a", "mode": "fail_create"})"),
      R"("defaultDecision": "autoApply", "destroyProtection": false, "reactive": {"failureEscalation": {"maxConsecutiveFailures": 1, "onExhaustion": "suspend"}})");
  REQUIRE(f.until([&] { return f.get("t").status.auto_suspended; }));
  const auto cycles = f.get("t").status.cycle_count;
  for (int i = 0; i < 8; ++i) f.clock.advance(30s);
  CHECK(f.get("t").status.cycle_count == cycles);  // open: nothing is tried
  REQUIRE(f.until([&] { return f.events("t", "AutoSuspendProbe") >= 1; }, 5s));
  REQUIRE(f.until([&] { return f.get("t").status.cycle_count > cycles; }));
  CHECK(f.until([&] { return f.get("t").status.auto_suspended; }));
  f.patch("t", R"({"source": {"inline": )" + json::dump(json::Value(f.things(R"("a": {"name": "a"})"))) + "}}");
  REQUIRE(f.applied("t"));
  CHECK_FALSE(f.get("t").status.auto_suspended);
  CHECK(f.until([&] { return f.events("t", "AutoSuspendCleared") >= 1; }));
}
