// The cascade, the rules and the floor.
#include "engenho/pangea/policy.h"

#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pangea;

namespace {

PolicySource level(Level l, std::string reaction, std::optional<bool> protection = {}, std::string interval = "") {
  PolicySource out;
  out.level = l;
  out.name = std::string(level_name(l));
  out.drift_reaction = std::move(reaction);
  out.destroy_protection = protection;
  out.reconcile_interval = std::move(interval);
  return out;
}

Change change(std::string type, std::string action, std::string name = "a") {
  Change c;
  c.type = std::move(type);
  c.name = std::move(name);
  c.address = c.type + "." + c.name;
  c.action = std::move(action);
  c.risk = risk_of(c.action, c.type);
  return c;
}

pangea_v1::PolicyRule rule(std::string name, std::string decision, std::vector<std::string> actions = {}, std::vector<std::string> types = {}) {
  pangea_v1::PolicyRule r;
  r.name = std::move(name);
  r.decision = std::move(decision);
  r.match.ensure().actions = std::move(actions);
  r.match->resource_types = std::move(types);
  return r;
}

ChangeDecision decide(const Change& c, std::vector<pangea_v1::PolicyRule> rules, std::vector<PolicySource> sources, std::map<std::string, PolicySource> resources = {}) {
  auto e = evaluate({c}, rules, sources, resources);
  REQUIRE(e);
  REQUIRE(e->decisions.size() == 1);
  CHECK(e->aggregate == e->decisions[0].decision);
  return e->decisions[0];
}

}  // namespace

TEST_CASE("cascade: every combination of the four levels") {
  const std::vector<std::string> reactions = {"", "autoApply", "alert", "requireApproval", "refuse"};
  const Level levels[] = {Level::kGem, Level::kWorkspace, Level::kTemplate, Level::kResource};
  for (size_t n = 0; n < 5 * 5 * 5 * 5; ++n) {
    std::vector<PolicySource> sources;
    std::vector<std::string> said;
    for (size_t i = 0, rest = n; i < 4; ++i, rest /= 5) {
      said.push_back(reactions[rest % 5]);
      sources.push_back(level(levels[i], said.back()));
    }
    // The rule, said another way: the outermost that refuses, else the outermost that asks, else the innermost that says anything.
    std::string expected = "requireApproval";
    Level from = Level::kDefault;
    for (size_t i = 0; i < 4; ++i) {
      if (!said[i].empty()) { expected = said[i]; from = levels[i]; }
    }
    for (const char* strict : {"requireApproval", "refuse"}) {
      for (size_t i = 4; i-- > 0;) {
        if (said[i] == strict) { expected = strict; from = levels[i]; }
      }
    }
    const EffectivePolicy policy = resolve(sources);
    INFO(said[0] << "," << said[1] << "," << said[2] << "," << said[3]);
    CHECK(policy.drift_reaction.value == expected);
    CHECK(policy.drift_reaction.level == from);
    CHECK(policy.to_status().drift_reaction->level == level_name(from));
  }
}

TEST_CASE("cascade: what is not restrictive is the innermost's, with where it is from") {
  const EffectivePolicy none = resolve({});
  CHECK(none.destroy_protection.value);
  CHECK(none.reconcile_interval.value == "5m");
  CHECK(none.settling.value.max_cycles == 4);
  CHECK(none.settling.value.on_exhaustion == "fail");
  const EffectivePolicy p = resolve({level(Level::kGem, "", true), level(Level::kWorkspace, "", {}, "10m"), level(Level::kTemplate, "", false), level(Level::kResource, "", true)});
  CHECK(p.destroy_protection.value);
  CHECK(p.destroy_protection.level == Level::kResource);
  CHECK(p.reconcile_interval.value == "10m");
  CHECK(p.to_status().reconcile_interval->from == "Workspace");
  pangea_v1::InfrastructureTemplate t;
  t.metadata.name = "t";
  t.spec.policy.ensure().settling_policy.ensure().on_exhaustion = "retry";
  t.spec.policy->auto_approve = true;
  const EffectivePolicy q = resolve({policy_of(t)});
  CHECK(q.settling.value.max_cycles == 5);
  CHECK(q.settling.value.on_exhaustion == "continue");
  CHECK(q.drift_reaction.value == "autoApply");
}

TEST_CASE("rules: the first that matches decides, by glob, expression, action, risk and attribute") {
  const std::vector<PolicySource> ask = {level(Level::kTemplate, "requireApproval")};
  const auto c = change("aws_s3_bucket", "update");
  CHECK(decide(c, {rule("a", "autoApply", {"create"}), rule("b", "refuse", {}, {"aws_*"}), rule("c", "autoApply")}, ask).rule == "b");
  CHECK(decide(c, {rule("d", "refuse", {}, {"aws_*_object"})}, ask).rule.empty());
  auto r = rule("e", "autoApply");
  r.match->address_patterns = {"^aws_s3_bucket\\.a$"};
  CHECK(decide(c, {r}, ask).decision == Decision::kAutoApply);
  r.match->address_patterns = {"^a$"};
  CHECK(decide(c, {r}, ask).decision == Decision::kRequireApproval);
  r.match->address_patterns = {"("};
  CHECK_FALSE(evaluate({c}, {r}, ask, {}));
  auto tags = c;
  tags.attributes = {"tags", "tags_all"};
  r.match->address_patterns = {};
  r.match->attributes = {"tags_*"};
  CHECK(decide(tags, {r}, ask).decision == Decision::kAutoApply);
  CHECK(decide(c, {r}, ask).decision == Decision::kRequireApproval);
  r.match->attributes = {};
  r.match->risk_levels = {"high"};
  CHECK(decide(change("aws_instance", "delete"), {r}, {level(Level::kTemplate, "refuse")}).decision == Decision::kAutoApply);
}

TEST_CASE("rules: they speak for their template and loosen no outer level") {
  const auto c = change("aws_instance", "update");
  CHECK(decide(c, {rule("free", "autoApply")}, {level(Level::kWorkspace, "requireApproval"), level(Level::kTemplate, "refuse")}).level == Level::kWorkspace);
  CHECK(decide(c, {rule("free", "autoApply")}, {level(Level::kGem, "autoApply"), level(Level::kTemplate, "refuse")}).decision == Decision::kAutoApply);
  CHECK(decide(c, {rule("free", "autoApply")}, {}, {{"aws_instance.a", level(Level::kResource, "refuse")}}).decision == Decision::kRefuse);
}

TEST_CASE("the floor and the default") {
  const std::vector<PolicySource> free = {level(Level::kTemplate, "autoApply")};
  CHECK(decide(change("aws_vpc", "replace"), {}, free).rule == "<protected-resource-floor>");
  CHECK(decide(change("aws_vpc", "delete"), {rule("known", "autoApply", {"delete"})}, free).decision == Decision::kAutoApply);
  CHECK(decide(change("aws_vpc", "update"), {}, free).decision == Decision::kAutoApply);
  CHECK(decide(change("aws_instance", "delete"), {}, free).decision == Decision::kAutoApply);
  // Nobody said anything: what destroys nothing goes on, the rest waits. Who said requireApproval gets it.
  CHECK(decide(change("aws_instance", "create"), {}, {}).rule == "<default-nondestructive>");
  CHECK(decide(change("aws_instance", "delete"), {}, {}).decision == Decision::kRequireApproval);
  CHECK(decide(change("aws_instance", "create"), {}, {level(Level::kTemplate, "requireApproval")}).decision == Decision::kRequireApproval);
}

TEST_CASE("change 499 of 500 is refused, and all are counted") {
  std::vector<Change> changes;
  for (int i = 0; i < 500; ++i) changes.push_back(change("aws_instance", "update", "n" + std::to_string(i)));
  auto r = rule("no", "refuse");
  r.match->address_patterns = {"\\.n499$"};
  auto e = evaluate(changes, {r}, {level(Level::kTemplate, "autoApply")}, {});
  REQUIRE(e);
  CHECK(e->aggregate == Decision::kRefuse);
  CHECK(e->refused() == std::vector<std::string>{"aws_instance.n499"});
  CHECK(e->auto_apply == 499);
}

TEST_CASE("no changes: nothing is refused") {
  auto e = evaluate({}, {rule("no", "refuse")}, {level(Level::kGem, "refuse")}, {});
  REQUIRE(e);
  CHECK(e->aggregate == Decision::kAutoApply);
}

TEST_CASE("destroyProtection blocks deletes and replacements, per resource") {
  const std::vector<PolicySource> sources = {level(Level::kTemplate, "autoApply", true)};
  CHECK(decide(change("aws_instance", "replace"), {}, sources).blocked);
  CHECK_FALSE(decide(change("aws_instance", "update"), {}, sources).blocked);
  CHECK_FALSE(decide(change("aws_instance", "delete"), {}, sources, {{"aws_instance.a", level(Level::kResource, "", false)}}).blocked);
}

TEST_CASE("the two keys of a destruction") {
  const WallTime now{std::chrono::seconds(1'800'000'000)};
  pangea_v1::InfrastructureTemplate t;
  t.metadata.name = "web";
  auto why = [&] { return why_not_destroy(t, resolve({policy_of(t)}), now); };
  CHECK(why().find("destroyProtection is on") == 0);
  t.spec.policy.ensure().destroy_protection = false;
  CHECK(why().find("destroyAuthorization is missing") != std::string::npos);
  auto& key = t.spec.policy->destroy_authorization.ensure();
  key.authorized_by = "ada";
  key.reason = " ";
  key.template_ = "other";
  key.expires_at = now + std::chrono::hours(1);
  CHECK(why().find("reason is empty") != std::string::npos);
  key.reason = "moved";
  CHECK(why().find("expected \"web\"") != std::string::npos);
  key.template_ = "web";
  CHECK(why().empty());
  key.expires_at = now;
  CHECK(why().find("has run out") != std::string::npos);
}

TEST_CASE("policies written into resources") {
  auto config = json::parse(R"({"resource":{"aws_vpc":{"a":{"//":{"pangea_policy":{"driftReaction":"refuse","destroyProtection":false}}},"b":{}}}})");
  auto policies = resource_policies(*config);
  REQUIRE(policies);
  REQUIRE(policies->size() == 1);
  CHECK(policies->at("aws_vpc.a").drift_reaction == "refuse");
  auto wrong = json::parse(R"({"resource":{"aws_vpc":{"a":{"//":{"pangea_policy":{"driftReaction":"ask"}}}}}})");
  CHECK(resource_policies(*wrong).error().message().find("aws_vpc.a") != std::string::npos);
}

TEST_CASE("lengths of time") {
  CHECK(*parse_duration("90") == std::chrono::seconds(90));
  CHECK(*parse_duration("1h30m") == std::chrono::minutes(90));
  for (const char* bad : {"", "m", "5x", "1h5", "-5s", "99999999999999999999h"}) CHECK_FALSE(parse_duration(bad));
}
