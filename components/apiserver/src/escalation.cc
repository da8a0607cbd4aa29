// Nobody can give away rights that he does not have: writing a role needs its rules (or the verb "escalate"), binding one needs the role's
// rules (or the verb "bind"). https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
#include <algorithm>

#include "admission_plugins.h"
#include "authorizer.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

bool has(const std::vector<std::string>& list, const std::string& wanted) {
  return std::find(list.begin(), list.end(), "*") != list.end() || std::find(list.begin(), list.end(), wanted) != list.end();
}

// One verb on one resource (or URL) of one rule, held by a rule of the owner.
bool held(const std::vector<PolicyRule>& owner, const std::string& verb, const std::string& group, const std::string& resource, const std::string& name,
          bool named) {
  return std::any_of(owner.begin(), owner.end(), [&](const PolicyRule& r) {
    if (r.resources.empty() || !has(r.verbs, verb) || !has(r.api_groups, group)) return false;
    const size_t slash = resource.find('/');
    const bool resource_ok = has(r.resources, resource) ||
                             (slash != std::string::npos && std::find(r.resources.begin(), r.resources.end(), "*" + resource.substr(slash)) != r.resources.end());
    if (!resource_ok) return false;
    if (r.resource_names.empty()) return true;
    return named && std::find(r.resource_names.begin(), r.resource_names.end(), name) != r.resource_names.end();
  });
}

bool held_url(const std::vector<PolicyRule>& owner, const std::string& verb, const std::string& url) {
  return std::any_of(owner.begin(), owner.end(), [&](const PolicyRule& r) {
    return has(r.verbs, verb) && std::any_of(r.non_resource_urls.begin(), r.non_resource_urls.end(), [&](const std::string& p) {
             return p == "*" || p == url || (p.ends_with('*') && url.starts_with(std::string_view(p).substr(0, p.size() - 1)));
           });
  });
}

bool covered(const std::vector<PolicyRule>& owner, const PolicyRule& rule) {
  for (const std::string& verb : rule.verbs) {
    for (const std::string& url : rule.non_resource_urls) {
      if (!held_url(owner, verb, url)) return false;
    }
    for (const std::string& group : rule.api_groups) {
      for (const std::string& resource : rule.resources) {
        if (rule.resource_names.empty() && !held(owner, verb, group, resource, "", false)) return false;
        for (const std::string& name : rule.resource_names) {
          if (!held(owner, verb, group, resource, name, true)) return false;
        }
      }
    }
  }
  return true;
}

class EscalationCheck final : public AdmissionPlugin {
 public:
  explicit EscalationCheck(Authorizer& authorizer) : authorizer_(authorizer) {}
  std::string_view name() const override { return "RBACEscalationCheck"; }

  Status validate(const AdmissionRequest& r) override {
    if (r.group != "rbac.authorization.k8s.io" || r.object == nullptr) return {};
    if (r.operation != Operation::kCreate && r.operation != Operation::kUpdate) return {};
    if (r.user->in_group(kMasters)) return {};
    const bool role = r.resource == "roles" || r.resource == "clusterroles";
    const bool cluster = r.resource == "clusterroles" || r.resource == "clusterrolebindings";
    const std::string ns(cluster ? std::string_view() : r.namespace_name);
    std::vector<PolicyRule> wanted;
    if (role) {
      const Value* rules = r.object->get("rules");
      if (r.old_object != nullptr && rules != nullptr && r.old_object->get("rules") != nullptr && *rules == *r.old_object->get("rules") &&
          !changed(r, "aggregationRule")) {
        return {};  // the rights stay as they are
      }
      if (rules != nullptr) {
        for (const Value& rule : rules->items()) wanted.push_back(rule_from(rule));
      }
      if (r.object->get("aggregationRule") != nullptr && changed(r, "aggregationRule")) {
        // It may come to stand for anything.
        PolicyRule all;
        all.verbs = all.api_groups = all.resources = {"*"};
        wanted.push_back(std::move(all));
      }
      if (may(r, "escalate", r.resource, ns, r.name)) return {};
    } else {
      if (r.old_object != nullptr && !changed(r, "subjects") && !changed(r, "roleRef")) return {};
      const std::string kind(r.object->str_at({"roleRef", "kind"})), target(r.object->str_at({"roleRef", "name"}));
      if (may(r, "bind", kind == "Role" ? "roles" : "clusterroles", ns, target)) return {};
      wanted = authorizer_.rules_of(kind, target, ns);
      if (wanted.empty() && !authorizer_.has_role(kind, target, ns)) {
        return schema::not_found({"rbac.authorization.k8s.io", kind == "Role" ? "roles" : "clusterroles"}, target);
      }
    }
    const std::vector<PolicyRule> owned = authorizer_.rules_for(*r.user, ns);
    for (const PolicyRule& rule : wanted) {
      if (covered(owned, rule)) continue;
      return schema::forbidden({r.group, r.resource}, r.name,
                               "user \"" + r.user->name + "\" is attempting to grant RBAC permissions not currently held");
    }
    return {};
  }

 private:
  static bool changed(const AdmissionRequest& r, std::string_view member) {
    const Value* a = r.object->get(member);
    const Value* b = r.old_object != nullptr ? r.old_object->get(member) : nullptr;
    return (a == nullptr) != (b == nullptr) || (a != nullptr && !(*a == *b));
  }
  bool may(const AdmissionRequest& r, std::string_view verb, std::string_view resource, std::string_view ns, std::string_view name) {
    Attributes a;
    a.user = r.user;
    a.is_resource = true;
    a.verb = verb;
    a.group = "rbac.authorization.k8s.io";
    a.version = "v1";
    a.resource = resource;
    a.namespace_name = ns;
    a.name = name;
    return authorizer_.authorize(a).allowed;
  }
  Authorizer& authorizer_;
};

}  // namespace

std::unique_ptr<AdmissionPlugin> escalation_check(Authorizer& authorizer) { return std::make_unique<EscalationCheck>(authorizer); }

}  // namespace engenho::apiserver
