// May they? RBAC over the roles and bindings in the caches, and the Node authorizer for kubelets.
#pragma once

#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "engenho/apiserver/request_info.h"
#include "engenho/apiserver/user.h"
#include "hub.h"
#include "resource_table.h"

namespace engenho::apiserver {

struct Attributes {
  const UserInfo* user = nullptr;
  bool is_resource = false;
  std::string_view verb, group, version, resource, subresource, namespace_name, name, path;
};
Attributes attributes_of(const RequestInfo& info, const UserInfo& user);

struct PolicyRule {
  std::vector<std::string> verbs, api_groups, resources, resource_names, non_resource_urls;
};

struct Decision {
  bool allowed = false;
  std::string reason;
};

class Authorizer {
 public:
  Authorizer(Hub& hub, ResourceTable& resources);
  Decision authorize(const Attributes& attributes);
  // All rules that apply to a user in a namespace ("": cluster-wide), for SelfSubjectRulesReview and escalation checks.
  std::vector<PolicyRule> rules_for(const UserInfo& user, std::string_view ns);
  // The rules a role reference stands for.
  std::vector<PolicyRule> rules_of(std::string_view role_kind, std::string_view role_name, std::string_view ns);
  bool has_role(std::string_view role_kind, std::string_view role_name, std::string_view ns) const;

 private:
  struct Subject {
    std::string kind, name, namespace_name;
  };
  struct Binding {
    std::string name, namespace_name, role_kind, role_name;
    std::vector<Subject> subjects;
  };
  using Rules = std::shared_ptr<const std::vector<PolicyRule>>;
  bool applies(const Binding& binding, const UserInfo& user) const;
  Decision authorize_node(const Attributes& attributes);
  template <typename Fn>
  void each_rule(const UserInfo& user, std::string_view ns, Fn fn);
  void follow(const ResourcePtr& resource, void (Authorizer::*apply)(const CacheEvent&));
  void role_changed(const CacheEvent& event);
  void binding_changed(const CacheEvent& event);

  ResourceTable& resources_;
  mutable std::shared_mutex mutex_;  // guards the maps; taken inside a cacher's lock, so nothing here may call a cacher while it is held
  std::map<std::string, Rules> roles_;        // "ns/name", cluster roles "/name"
  std::map<std::string, std::shared_ptr<const Binding>> bindings_;  // likewise
};

bool covers(const PolicyRule& rule, const Attributes& attributes);
PolicyRule rule_from(const json::Value& document);

}  // namespace engenho::apiserver
