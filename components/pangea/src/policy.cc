#include "engenho/pangea/policy.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

using json::Value;

constexpr std::array<std::string_view, 9> kProtectedTypes = {
    "aws_db_instance", "aws_eks_cluster", "aws_rds_cluster", "aws_route53_zone", "aws_s3_bucket", "aws_vpc", "azurerm_dns_zone", "cloudflare_zone", "google_dns_managed_zone"};

constexpr std::array<std::string_view, 4> kReactions = {"autoApply", "requireApproval", "refuse", "alert"};

// `*` stands for any text.
bool glob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool any_glob(const std::vector<std::string>& patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& p) { return glob(p, text); });
}

bool contains(const std::vector<std::string>& list, std::string_view text) { return std::find(list.begin(), list.end(), text) != list.end(); }

// A rule with its expressions compiled.
struct Matcher {
  const pangea_v1::PolicyRule* rule = nullptr;
  std::vector<std::unique_ptr<re2::RE2>> addresses;
  Decision decision = Decision::kRequireApproval;

  bool matches(const Change& change) const {
    if (!rule->match) return true;
    const auto& m = *rule->match;
    if (!m.resource_types.empty() && !any_glob(m.resource_types, change.type)) return false;
    if (!addresses.empty() && std::none_of(addresses.begin(), addresses.end(), [&](const auto& e) { return re2::RE2::PartialMatch(change.address, *e); })) return false;
    if (!m.actions.empty() && !contains(m.actions, change.action)) return false;
    if (!m.risk_levels.empty() && !contains(m.risk_levels, change.risk)) return false;
    if (!m.attributes.empty() && std::none_of(change.attributes.begin(), change.attributes.end(), [&](const std::string& a) { return any_glob(m.attributes, a); })) return false;
    return true;
  }
};

Result<Decision> decision_of(std::string_view text) {
  for (Decision d : {Decision::kAutoApply, Decision::kRequireApproval, Decision::kRefuse}) {
    if (decision_name(d) == text) return d;
  }
  return err(bad_request("decision: invalid value \"" + std::string(text) + "\": expected autoApply, requireApproval or refuse"));
}

Result<std::vector<Matcher>> compile(const std::vector<pangea_v1::PolicyRule>& rules) {
  std::vector<Matcher> out;
  for (const auto& rule : rules) {
    Matcher m;
    m.rule = &rule;
    ENGENHO_ASSIGN(m.decision, decision_of(rule.decision));
    if (rule.match) {
      for (const std::string& pattern : rule.match->address_patterns) {
        auto expression = std::make_unique<re2::RE2>(pattern, re2::RE2::Quiet);
        if (!expression->ok()) return err(bad_request("rule " + rule.name + ": \"" + pattern + "\" is no regular expression: " + expression->error()));
        m.addresses.push_back(std::move(expression));
      }
    }
    out.push_back(std::move(m));
  }
  return out;
}

struct Statement {
  Level level;
  std::string_view reaction;
  std::string_view rule;
};

// What the levels together say of a change. `rule`'s statement is among them.
Statement combine(const std::vector<Statement>& statements) {
  for (std::string_view restrictive : {"refuse", "requireApproval"}) {
    for (const Statement& s : statements) {
      if (s.reaction == restrictive) return s;
    }
  }
  for (auto s = statements.rbegin(); s != statements.rend(); ++s) {
    if (!s->reaction.empty()) return *s;
  }
  return {Level::kDefault, "requireApproval", ""};
}

bool destruction(const Change& change) { return change.action == "delete" || change.action == "replace"; }

template <typename T, typename U>
void take(Effective<T>& out, const PolicySource& source, const U& value) {
  out = {T(value), source.level, source.name};
}

// What every level's object says in the same place.
template <typename T>
PolicySource source_of(Level level, const T& object) {
  PolicySource out;
  out.level = level;
  out.name = std::string(T::kKind) + "/" + object.metadata.name;
  if (!object.spec.policy) return out;
  out.settling = object.spec.policy->settling_policy;
  out.routing = object.spec.policy->approval_routing;
  out.reactive = object.spec.policy->reactive;
  return out;
}

// "aws_vpc.main" of "aws_vpc.main[0]".
std::string resource_of_address(const Change& change) { return change.type + "." + change.name; }

Result<PolicySource> read_resource_policy(const std::string& address, const Value& written) {
  auto refuse = [&](const std::string& why) { return err(bad_request("pangea_policy of " + address + ": " + why)); };
  if (!written.is_object()) return refuse("expected an object");
  PolicySource out;
  out.level = Level::kResource;
  out.name = address;
  for (const auto& [name, value] : written.members()) {
    if (name == "driftReaction") {
      out.drift_reaction = value.str();
      if (std::find(kReactions.begin(), kReactions.end(), out.drift_reaction) == kReactions.end()) {
        return refuse("driftReaction: invalid value " + json::dump(value) + ": expected autoApply, requireApproval, refuse or alert");
      }
    } else if (name == "destroyProtection") {
      if (!value.is_bool()) return refuse("destroyProtection: invalid value " + json::dump(value) + ": expected true or false");
      out.destroy_protection = value.as_bool();
    } else {
      return refuse("unknown member \"" + name + "\": expected driftReaction or destroyProtection");
    }
  }
  return out;
}

}  // namespace

std::string_view level_name(Level level) {
  static constexpr std::string_view kNames[] = {"Default", "Gem", "Workspace", "Template", "Resource"};
  return kNames[static_cast<int>(level)];
}
std::string_view decision_name(Decision decision) {
  static constexpr std::string_view kNames[] = {"autoApply", "requireApproval", "refuse"};
  return kNames[static_cast<int>(decision)];
}

PolicySource policy_of(const pangea_v1::ArchitectureGem& gem) {
  PolicySource out = source_of(Level::kGem, gem);
  if (!gem.spec.policy) return out;
  out.drift_reaction = gem.spec.policy->drift_reaction;
  out.destroy_protection = gem.spec.policy->destroy_protection;
  return out;
}
PolicySource policy_of(const pangea_v1::WorkspaceCatalog& catalog) {
  PolicySource out = source_of(Level::kWorkspace, catalog);
  if (!catalog.spec.policy) return out;
  out.drift_reaction = catalog.spec.policy->drift_reaction;
  out.reconcile_interval = catalog.spec.policy->reconcile_interval;
  return out;
}
PolicySource policy_of(const pangea_v1::InfrastructureTemplate& object) {
  PolicySource out = source_of(Level::kTemplate, object);
  if (!object.spec.policy) return out;
  out.drift_reaction = object.spec.policy->default_decision;
  if (out.drift_reaction.empty() && object.spec.policy->auto_approve) out.drift_reaction = "autoApply";
  out.destroy_protection = object.spec.policy->destroy_protection;
  out.reconcile_interval = object.spec.policy->reconcile_interval;
  return out;
}

Result<std::map<std::string, PolicySource>> resource_policies(const Value& config) {
  std::map<std::string, PolicySource> out;
  const Value* resources = config.get("resource");
  if (resources == nullptr) return out;
  for (const auto& [type, named] : resources->members()) {
    for (const auto& [name, body] : named.members()) {
      // The body, or several of them.
      std::vector<const Value*> bodies{&body};
      if (body.is_array()) {
        bodies.clear();
        for (const Value& b : body.as_array()) bodies.push_back(&b);
      }
      for (const Value* b : bodies) {
        const Value* policy = b->at({"//", "pangea_policy"});
        if (policy == nullptr) continue;
        const std::string address = type + "." + name;
        ENGENHO_ASSIGN(out[address], read_resource_policy(address, *policy));
      }
    }
  }
  return out;
}

EffectivePolicy resolve(const std::vector<PolicySource>& sources) {
  EffectivePolicy out;
  std::vector<Statement> statements;
  for (const PolicySource& s : sources) statements.push_back({s.level, s.drift_reaction, s.name});
  const Statement drift = combine(statements);
  out.drift_reaction = {std::string(drift.reaction), drift.level, std::string(drift.rule)};
  for (const PolicySource& s : sources) {
    if (s.destroy_protection) take(out.destroy_protection, s, *s.destroy_protection);
    if (!s.reconcile_interval.empty()) take(out.reconcile_interval, s, s.reconcile_interval);
    if (s.settling) {
      Settling settling;
      settling.max_cycles = s.level == Level::kTemplate ? 5 : 4;
      if (s.settling->max_consecutive_drift_cycles > 0) settling.max_cycles = s.settling->max_consecutive_drift_cycles;
      if (!s.settling->on_exhaustion.empty()) settling.on_exhaustion = s.settling->on_exhaustion == "retry" ? "continue" : s.settling->on_exhaustion;
      take(out.settling, s, settling);
    }
    if (s.routing) take(out.routing, s, *s.routing);
    if (s.reactive && s.reactive->failure_escalation) take(out.failure_escalation, s, *s.reactive->failure_escalation);
    if (s.reactive && s.reactive->phase_timeout) take(out.phase_timeout, s, *s.reactive->phase_timeout);
    if (s.reactive && s.reactive->verified_blocked) take(out.verified_blocked, s, *s.reactive->verified_blocked);
  }
  return out;
}

pangea_v1::EffectivePolicy EffectivePolicy::to_status() const {
  pangea_v1::EffectivePolicy out;
  auto text = [](const auto& effective, std::string value) {
    pangea_v1::EffectiveText t;
    t.value = std::move(value);
    t.level = level_name(effective.level);
    t.from = effective.from;
    return t;
  };
  out.drift_reaction = text(drift_reaction, drift_reaction.value);
  out.destroy_protection.ensure();
  out.destroy_protection->enabled = destroy_protection.value;
  out.destroy_protection->level = level_name(destroy_protection.level);
  out.destroy_protection->from = destroy_protection.from;
  out.reconcile_interval = text(reconcile_interval, reconcile_interval.value);
  out.settling_policy.ensure();
  out.settling_policy->max_consecutive_drift_cycles = settling.value.max_cycles;
  out.settling_policy->on_exhaustion = settling.value.on_exhaustion;
  out.settling_policy->level = level_name(settling.level);
  out.settling_policy->from = settling.from;
  if (routing.level != Level::kDefault) out.approval_routing = text(routing, "set");
  auto on = [](const auto& effective, const std::string& action) { return effective.level == Level::kDefault ? "off" : action.empty() ? "alert" : action; };
  out.failure_escalation = text(failure_escalation, on(failure_escalation, failure_escalation.value.on_exhaustion));
  out.phase_timeout = text(phase_timeout, on(phase_timeout, phase_timeout.value.on_timeout));
  out.verified_blocked = text(verified_blocked, on(verified_blocked, verified_blocked.value.on_blocked));
  return out;
}

bool is_protected_type(std::string_view type) { return std::find(kProtectedTypes.begin(), kProtectedTypes.end(), type) != kProtectedTypes.end(); }

std::vector<std::string> PolicyEvaluation::refused() const {
  std::vector<std::string> out;
  for (const ChangeDecision& d : decisions) {
    if (d.decision == Decision::kRefuse) out.push_back(d.address);
  }
  return out;
}

Result<PolicyEvaluation> evaluate(const std::vector<Change>& changes, const std::vector<pangea_v1::PolicyRule>& rules, const std::vector<PolicySource>& sources,
                                  const std::map<std::string, PolicySource>& resources) {
  ENGENHO_ASSIGN(const std::vector<Matcher> matchers, compile(rules));
  PolicyEvaluation out;
  for (const Change& change : changes) {
    ChangeDecision d;
    d.address = change.address;
    d.action = change.action;
    const auto rule = std::find_if(matchers.begin(), matchers.end(), [&](const Matcher& m) { return m.matches(change); });
    const auto own = resources.find(resource_of_address(change));

    std::vector<Statement> statements;
    bool protection = EffectivePolicy().destroy_protection.value;
    for (const PolicySource& s : sources) {
      if (s.destroy_protection) protection = *s.destroy_protection;
      if (s.level == Level::kTemplate && rule != matchers.end()) continue;  // the rule speaks for the template
      statements.push_back({s.level, s.drift_reaction, ""});
    }
    if (rule != matchers.end()) statements.push_back({Level::kTemplate, rule->rule->decision, rule->rule->name});
    if (own != resources.end()) {
      statements.push_back({Level::kResource, own->second.drift_reaction, ""});
      if (own->second.destroy_protection) protection = *own->second.destroy_protection;
    }
    const Statement decided = combine(statements);
    d.level = decided.level;
    d.rule = decided.rule;
    d.alert = decided.reaction == "alert";
    d.decision = d.alert ? Decision::kAutoApply : *decision_of(decided.reaction);

    const bool delicate = destruction(change) && is_protected_type(change.type);
    if (decided.level == Level::kDefault && !destruction(change) && !is_protected_type(change.type)) {
      d.decision = Decision::kAutoApply;
      d.rule = "<default-nondestructive>";
    } else if (delicate && rule == matchers.end() && d.decision == Decision::kAutoApply) {
      d.decision = Decision::kRequireApproval;
      d.rule = "<protected-resource-floor>";
    }
    d.blocked = destruction(change) && protection;
    if (d.blocked) out.blocked.push_back(d.address);
    switch (d.decision) {
      case Decision::kAutoApply: ++out.auto_apply; break;
      case Decision::kRequireApproval: ++out.require_approval; break;
      case Decision::kRefuse: ++out.refuse; break;
    }
    out.aggregate = std::max(out.aggregate, d.decision);
    out.decisions.push_back(std::move(d));
  }
  return out;
}

std::string why_not_destroy(const pangea_v1::InfrastructureTemplate& object, const EffectivePolicy& policy, WallTime now) {
  if (policy.destroy_protection.value) {
    return "destroyProtection is on (" + std::string(level_name(policy.destroy_protection.level)) + "); set spec.policy.destroyProtection to false and give a spec.policy.destroyAuthorization";
  }
  if (!object.spec.policy || !object.spec.policy->destroy_authorization) return "spec.policy.destroyAuthorization is missing: the second key of a destruction";
  const auto& key = *object.spec.policy->destroy_authorization;
  if (trim(key.authorized_by).empty()) return "spec.policy.destroyAuthorization.authorizedBy is empty";
  if (trim(key.reason).empty()) return "spec.policy.destroyAuthorization.reason is empty";
  if (key.template_ != object.metadata.name) {
    return "spec.policy.destroyAuthorization.template: invalid value \"" + key.template_ + "\": expected \"" + object.metadata.name + "\"";
  }
  if (*key.expires_at <= now) return "spec.policy.destroyAuthorization has run out at " + format_rfc3339(*key.expires_at);
  return "";
}

Result<Duration> parse_duration(std::string_view text) {
  auto refuse = [&] { return err(bad_request("invalid length of time \"" + std::string(text) + "\": expected one such as 30s, 5m or 1h")); };
  if (text.empty()) return refuse();
  Duration total{0};
  size_t at = 0;
  while (at < text.size()) {
    const size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    int64_t n = 0;
    if (at == begin || !parse_int(text.substr(begin, at - begin), n) || n > 1'000'000'000) return refuse();
    const char unit = at < text.size() ? text[at++] : begin == 0 ? 's' : '\0';
    if (unit == 's') total += std::chrono::seconds(n);
    else if (unit == 'm') total += std::chrono::minutes(n);
    else if (unit == 'h') total += std::chrono::hours(n);
    else return refuse();
    if (total > std::chrono::hours(24 * 366 * 10)) return refuse();
  }
  return total;
}

}  // namespace engenho::pangea
