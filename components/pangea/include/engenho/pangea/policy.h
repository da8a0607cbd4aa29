// What may be done about a change: one decision point for plans, drift and destruction.
//
// Two mechanisms meet here. The cascade gem -> workspace -> template -> resource gives each setting a value and says which level it is from;
// restrictive decisions are monotone (an inner level can tighten, never loosen), for the rest the innermost level wins. The rules of a template,
// first match wins, stand in for the template's own decision about the changes that they match. Pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/catalog/pangea_v1.h"
#include "engenho/pangea/plan_model.h"

namespace engenho::pangea {

namespace pangea_v1 = k8s::pangea_v1;

enum class Level { kDefault, kGem, kWorkspace, kTemplate, kResource };
std::string_view level_name(Level level);          // "Default", "Gem", ...

enum class Decision { kAutoApply, kRequireApproval, kRefuse };   // in order of severity
std::string_view decision_name(Decision decision); // "autoApply", ...

// A value and where it is from.
template <typename T>
struct Effective {
  T value{};
  Level level = Level::kDefault;
  std::string from;                                // "ArchitectureGem/pangea-aws"; empty for the default
};

struct Settling {
  int max_cycles = 4;
  std::string on_exhaustion = "fail";              // fail, alert, continue
};

// One level's say. `name` is shown; absent settings are left to others.
struct PolicySource {
  Level level = Level::kDefault;
  std::string name;
  std::string drift_reaction;                      // "" or one of the four
  std::optional<bool> destroy_protection;
  std::string reconcile_interval;
  k8s::Box<pangea_v1::SettlingPolicy> settling;
  k8s::Box<pangea_v1::ApprovalRouting> routing;
  k8s::Box<pangea_v1::ReactivePolicy> reactive;
};

// Levels of the objects; those of one level in order of name. A template's autoApprove counts as autoApply.
PolicySource policy_of(const pangea_v1::ArchitectureGem& gem);
PolicySource policy_of(const pangea_v1::WorkspaceCatalog& catalog);
PolicySource policy_of(const pangea_v1::InfrastructureTemplate& object);
// Of the resource's own "//" comment in the rendered configuration: {"//": {"pangea_policy": {...}}}. Errors: BadRequest that names the address
// and what is wrong.
Result<std::map<std::string, PolicySource>> resource_policies(const json::Value& config);   // by "type.name"

struct EffectivePolicy {
  Effective<std::string> drift_reaction{"requireApproval", Level::kDefault, ""};
  Effective<bool> destroy_protection{true, Level::kDefault, ""};
  Effective<std::string> reconcile_interval{"5m", Level::kDefault, ""};
  Effective<Settling> settling;
  Effective<pangea_v1::ApprovalRouting> routing;
  Effective<pangea_v1::ReactivePolicyFailureEscalation> failure_escalation;
  Effective<pangea_v1::ReactivePolicyPhaseTimeout> phase_timeout;
  Effective<pangea_v1::ReactivePolicyVerifiedBlocked> verified_blocked;

  pangea_v1::EffectivePolicy to_status() const;
};
// `sources` from the outermost level to the innermost.
EffectivePolicy resolve(const std::vector<PolicySource>& sources);

struct ChangeDecision {
  std::string address, action;
  Decision decision = Decision::kRequireApproval;
  std::string rule;                                // the rule's name, "<protected-resource-floor>", "<default-nondestructive>", or empty
  Level level = Level::kDefault;                   // who decided
  bool alert = false;                              // applied, and told
  bool blocked = false;                            // destroyProtection forbids it, whatever was decided
};

struct PolicyEvaluation {
  Decision aggregate = Decision::kAutoApply;       // the most severe
  std::vector<ChangeDecision> decisions;           // of every change, in its order
  int auto_apply = 0, require_approval = 0, refuse = 0;
  std::vector<std::string> blocked;                // addresses that destroyProtection keeps

  std::vector<std::string> refused() const;
};

// Errors: BadRequest for a rule that cannot be understood; nothing is ignored.
Result<PolicyEvaluation> evaluate(const std::vector<Change>& changes, const std::vector<pangea_v1::PolicyRule>& rules,
                                  const std::vector<PolicySource>& sources, const std::map<std::string, PolicySource>& resources);

// Types whose loss is never decided by a default alone.
bool is_protected_type(std::string_view type);

// The two keys of a destruction: no protection, and an authorization that names this template and has not run out. Empty: may be destroyed; else why not.
std::string why_not_destroy(const pangea_v1::InfrastructureTemplate& object, const EffectivePolicy& policy, WallTime now);

// "30s", "5m", "1h30m", "90". Errors: BadRequest with the text.
Result<Duration> parse_duration(std::string_view text);

}  // namespace engenho::pangea
