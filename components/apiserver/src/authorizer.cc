#include "authorizer.h"

#include <algorithm>
#include <mutex>

namespace engenho::apiserver {

namespace {

using json::Value;

std::vector<std::string> strings(const Value* v) {
  std::vector<std::string> out;
  if (v == nullptr) return out;
  for (const Value& s : v->items()) out.emplace_back(s.str());
  return out;
}

bool has(const std::vector<std::string>& list, std::string_view wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

bool url_matches(const std::string& pattern, std::string_view path) {
  if (pattern == "*" || pattern == path) return true;
  return pattern.ends_with('*') && path.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
}

std::string map_key(std::string_view ns, std::string_view name) { return std::string(ns) + "/" + std::string(name); }

constexpr std::string_view kNodePrefix = "system:node:";

}  // namespace

Attributes attributes_of(const RequestInfo& info, const UserInfo& user) {
  Attributes out;
  out.user = &user;
  out.is_resource = info.is_resource;
  out.verb = info.verb;
  out.group = info.group;
  out.version = info.version;
  out.resource = info.resource;
  out.subresource = info.subresource;
  out.namespace_name = info.namespace_;
  out.name = info.name;
  out.path = info.path;
  return out;
}

PolicyRule rule_from(const Value& document) {
  PolicyRule out;
  out.verbs = strings(document.get("verbs"));
  out.api_groups = strings(document.get("apiGroups"));
  out.resources = strings(document.get("resources"));
  out.resource_names = strings(document.get("resourceNames"));
  out.non_resource_urls = strings(document.get("nonResourceURLs"));
  return out;
}

bool covers(const PolicyRule& rule, const Attributes& a) {
  if (!has(rule.verbs, "*") && !has(rule.verbs, a.verb)) return false;
  if (!a.is_resource) {
    return std::any_of(rule.non_resource_urls.begin(), rule.non_resource_urls.end(), [&](const std::string& p) { return url_matches(p, a.path); });
  }
  if (!has(rule.api_groups, "*") && !has(rule.api_groups, a.group)) return false;
  // A rule on a resource does not cover its subresources.
  bool resource = has(rule.resources, "*");
  if (!resource) {
    if (a.subresource.empty()) {
      resource = has(rule.resources, a.resource);
    } else {
      const std::string full = std::string(a.resource) + "/" + std::string(a.subresource);
      resource = has(rule.resources, full) || has(rule.resources, "*/" + std::string(a.subresource));
    }
  }
  if (!resource) return false;
  return rule.resource_names.empty() || has(rule.resource_names, a.name);
}

Authorizer::Authorizer(Hub& hub, ResourceTable& resources) : resources_(resources) {
  (void)hub;
  constexpr std::string_view kGroup = "rbac.authorization.k8s.io";
  for (std::string_view plural : {"roles", "clusterroles"}) {
    if (auto r = resources_.find(kGroup, "v1", plural)) r->cacher->on_change([this](const CacheEvent& e) { role_changed(e); });
  }
  for (std::string_view plural : {"rolebindings", "clusterrolebindings"}) {
    if (auto r = resources_.find(kGroup, "v1", plural)) r->cacher->on_change([this](const CacheEvent& e) { binding_changed(e); });
  }
}

void Authorizer::role_changed(const CacheEvent& event) {
  const std::string key = map_key(event.object->namespace_name(), event.object->name());
  Rules rules;
  if (event.type != EventType::kDeleted) {
    auto list = std::make_shared<std::vector<PolicyRule>>();
    const Value value = event.object->value();
    if (const Value* r = value.get("rules")) {
      for (const Value& rule : r->items()) list->push_back(rule_from(rule));
    }
    rules = std::move(list);
  }
  std::unique_lock lock(mutex_);
  if (rules == nullptr) roles_.erase(key);
  else roles_[key] = std::move(rules);
}

void Authorizer::binding_changed(const CacheEvent& event) {
  const std::string key = map_key(event.object->namespace_name(), event.object->name());
  std::shared_ptr<Binding> binding;
  if (event.type != EventType::kDeleted) {
    binding = std::make_shared<Binding>();
    const Value value = event.object->value();
    binding->name = event.object->name();
    binding->namespace_name = event.object->namespace_name();
    binding->role_kind = value.str_at({"roleRef", "kind"});
    binding->role_name = value.str_at({"roleRef", "name"});
    if (const Value* subjects = value.get("subjects")) {
      for (const Value& s : subjects->items()) {
        binding->subjects.push_back({std::string(s.str_at({"kind"})), std::string(s.str_at({"name"})), std::string(s.str_at({"namespace"}))});
      }
    }
  }
  std::unique_lock lock(mutex_);
  if (binding == nullptr) bindings_.erase(key);
  else bindings_[key] = std::move(binding);
}

bool Authorizer::applies(const Binding& binding, const UserInfo& user) const {
  for (const Subject& s : binding.subjects) {
    if (s.kind == "User") {
      if (s.name == user.name) return true;
    } else if (s.kind == "Group") {
      if (user.in_group(s.name)) return true;
    } else if (s.kind == "ServiceAccount") {
      const std::string& ns = s.namespace_name.empty() ? binding.namespace_name : s.namespace_name;
      if (!ns.empty() && user.name == "system:serviceaccount:" + ns + ":" + s.name) return true;
    }
  }
  return false;
}

template <typename Fn>
void Authorizer::each_rule(const UserInfo& user, std::string_view ns, Fn fn) {
  std::shared_lock lock(mutex_);
  auto visit = [&](std::string_view binding_ns) {
    const std::string prefix = std::string(binding_ns) + "/";
    for (auto it = bindings_.lower_bound(prefix); it != bindings_.end() && it->first.starts_with(prefix); ++it) {
      const Binding& b = *it->second;
      if (!applies(b, user)) continue;
      auto role = roles_.find(b.role_kind == "Role" ? map_key(binding_ns, b.role_name) : map_key("", b.role_name));
      if (role == roles_.end()) continue;
      for (const PolicyRule& rule : *role->second) {
        if (!fn(rule, b)) return false;
      }
    }
    return true;
  };
  if (!visit("")) return;
  if (!ns.empty()) visit(ns);
}

Decision Authorizer::authorize(const Attributes& a) {
  if (a.user->in_group(kMasters)) return {true, ""};
  if (a.user->in_group("system:nodes") && a.user->name.starts_with(kNodePrefix)) {
    Decision node = authorize_node(a);
    if (node.allowed) return node;
  }
  Decision out;
  each_rule(*a.user, a.namespace_name, [&](const PolicyRule& rule, const Binding& b) {
    if (!covers(rule, a)) return true;
    out.allowed = true;
    const bool cluster = b.namespace_name.empty();
    out.reason = "RBAC: allowed by " + std::string(cluster ? "ClusterRoleBinding" : "RoleBinding") + " \"" +
                 (cluster ? b.name : b.name + "/" + b.namespace_name) + "\" of " + b.role_kind + " \"" + b.role_name + "\" to ";
    for (const Subject& s : b.subjects) {
      Binding one = b;
      one.subjects = {s};
      if (!applies(one, *a.user)) continue;
      out.reason += s.kind + " \"" + s.name + (s.kind == "ServiceAccount" ? "/" + (s.namespace_name.empty() ? b.namespace_name : s.namespace_name) : "") + "\"";
      break;
    }
    return false;
  });
  return out;
}

std::vector<PolicyRule> Authorizer::rules_for(const UserInfo& user, std::string_view ns) {
  std::vector<PolicyRule> out;
  if (user.in_group(kMasters)) {
    PolicyRule all;
    all.verbs = {"*"};
    all.api_groups = {"*"};
    all.resources = {"*"};
    out.push_back(all);
    PolicyRule urls;
    urls.verbs = {"*"};
    urls.non_resource_urls = {"*"};
    out.push_back(urls);
  }
  each_rule(user, ns, [&](const PolicyRule& rule, const Binding&) {
    out.push_back(rule);
    return true;
  });
  return out;
}

std::vector<PolicyRule> Authorizer::rules_of(std::string_view role_kind, std::string_view role_name, std::string_view ns) {
  std::shared_lock lock(mutex_);
  auto it = roles_.find(role_kind == "Role" ? map_key(ns, role_name) : map_key("", role_name));
  return it == roles_.end() ? std::vector<PolicyRule>() : *it->second;
}

bool Authorizer::has_role(std::string_view role_kind, std::string_view role_name, std::string_view ns) const {
  std::shared_lock lock(mutex_);
  return roles_.contains(role_kind == "Role" ? map_key(ns, role_name) : map_key("", role_name));
}

// What a kubelet may do beyond its role: objects that its own pods refer to. The rest of its rights are the role system:node's.
Decision Authorizer::authorize_node(const Attributes& a) {
  const std::string_view node = std::string_view(a.user->name).substr(kNodePrefix.size());
  Decision yes{true, ""};
  if (!a.is_resource) return {};
  auto read_only = [&] { return a.verb == "get" || a.verb == "list" || a.verb == "watch"; };
  auto pods_of_node = [&](auto fn) {
    auto pods = resources_.find("", "v1", "pods");
    const std::string prefix = a.namespace_name.empty() ? pods->store_prefix : pods->store_prefix + std::string(a.namespace_name) + "/";
    std::atomic<Revision> unused{0};
    for (const ObjectPtr& pod : pods->cacher->list(prefix, unused)) {
      const Value value = pod->value();
      if (value.str_at({"spec", "nodeName"}) == node && fn(value)) return true;
    }
    return false;
  };
  auto refers = [&](const Value& pod, std::string_view kind) {
    // Any reference of that kind by name, wherever in the spec it stands.
    std::function<bool(const Value&)> walk = [&](const Value& v) -> bool {
      if (v.is_object()) {
        for (const auto& [member, inner] : v.as_object()) {
          if (kind == "configmaps" && (member == "configMap" || member == "configMapRef" || member == "configMapKeyRef") &&
              inner.str_at({"name"}) == a.name) return true;
          if (kind == "secrets" && (member == "secretRef" || member == "secretKeyRef") && inner.str_at({"name"}) == a.name) return true;
          if (kind == "secrets" && member == "secret" && (inner.str_at({"secretName"}) == a.name || inner.str_at({"name"}) == a.name)) return true;
          if (kind == "persistentvolumeclaims" && member == "persistentVolumeClaim" && inner.str_at({"claimName"}) == a.name) return true;
          if (kind == "secrets" && member == "imagePullSecrets") {
            for (const Value& s : inner.items()) {
              if (s.str_at({"name"}) == a.name) return true;
            }
          }
          if (walk(inner)) return true;
        }
      }
      for (const Value& item : v.items()) {
        if (walk(item)) return true;
      }
      return false;
    };
    const Value* spec = pod.get("spec");
    return spec != nullptr && walk(*spec);
  };
  if (a.group.empty()) {
    if ((a.resource == "configmaps" || a.resource == "secrets" || a.resource == "persistentvolumeclaims") && a.subresource.empty() &&
        read_only() && !a.name.empty()) {
      if (pods_of_node([&](const Value& pod) { return refers(pod, a.resource); })) return yes;
    }
    if (a.resource == "serviceaccounts" && a.subresource == "token" && a.verb == "create") {
      if (pods_of_node([&](const Value& pod) { return pod.str_at({"spec", "serviceAccountName"}) == a.name; })) return yes;
    }
  }
  return {};
}

}  // namespace engenho::apiserver
