#include "bootstrap_policy.h"

#include "engenho/base/bytes.h"
#include "engenho/base/yaml.h"

namespace engenho::apiserver {

namespace {

using json::Value;

// One role a key. Rules are "verbs | groups | resources" or "verbs | urls"; words are separated by commas, the core group is
// "core". A role with "aggregate" is the union of the roles that carry that label.
constexpr std::string_view kRoles = R"(
cluster-admin:
- "* | * | *"
- "* | *"
system:discovery:
- "get | /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"
system:public-info-viewer:
- "get | /healthz,/livez,/readyz,/version,/version/"
system:monitoring:
- "get | /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"
system:basic-user:
- "create | authorization.k8s.io | selfsubjectaccessreviews,selfsubjectrulesreviews"
- "create | authentication.k8s.io | selfsubjectreviews"
system:service-account-issuer-discovery:
- "get | /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/"
system:auth-delegator:
- "create | authentication.k8s.io | tokenreviews"
- "create | authorization.k8s.io | subjectaccessreviews"
system:kubelet-api-admin:
- "get,list,watch | core | nodes"
- "proxy | core | nodes"
- "* | core | nodes/log,nodes/metrics,nodes/proxy,nodes/stats"
system:node:
- "create | authentication.k8s.io | tokenreviews"
- "create | authorization.k8s.io | localsubjectaccessreviews,subjectaccessreviews"
- "get,list,watch | core | services"
- "create,get,list,watch | core | nodes"
- "patch,update | core | nodes,nodes/status"
- "create,patch,update | core | events"
- "create,patch,update | events.k8s.io | events"
- "get,list,watch | core | pods"
- "create,delete | core | pods"
- "patch,update | core | pods/status"
- "create | core | pods/eviction"
- "get,list,watch | core | configmaps,secrets"
- "get | core | persistentvolumeclaims,persistentvolumes"
- "get | core | endpoints"
- "get,list,watch | discovery.k8s.io | endpointslices"
- "create,get,list,watch | certificates.k8s.io | certificatesigningrequests"
- "create,delete,get,patch,update | coordination.k8s.io | leases"
- "get | storage.k8s.io | volumeattachments"
- "create | core | serviceaccounts/token"
- "get,patch,update | core | persistentvolumeclaims/status"
- "get,list,watch | storage.k8s.io | csidrivers"
- "create,delete,get,patch,update | storage.k8s.io | csinodes"
- "get,list,watch | node.k8s.io | runtimeclasses"
system:node-proxier:
- "list,watch | core | services,endpoints"
- "get,list,watch | core | nodes"
- "create,patch,update | core,events.k8s.io | events"
- "list,watch | discovery.k8s.io | endpointslices"
- "list,watch | networking.k8s.io | servicecidrs"
system:kube-dns:
- "list,watch | core | endpoints,services"
- "list,watch | core | namespaces,pods"
- "list,watch | discovery.k8s.io | endpointslices"
- "create,get,patch,update | core | services"
- "create,get,patch,update | discovery.k8s.io | endpointslices"
system:kube-scheduler:
- "create,patch,update | core,events.k8s.io | events"
- "create | coordination.k8s.io | leases"
- "get,list,update,watch | coordination.k8s.io | leases"
- "get,list,watch | core | nodes"
- "delete,get,list,watch | core | pods"
- "create | core | bindings,pods/binding"
- "patch,update | core | pods/status"
- "get,list,watch | core | replicationcontrollers,services,namespaces"
- "get,list,watch | apps | replicasets,statefulsets"
- "get,list,watch | policy | poddisruptionbudgets"
- "get,list,watch,update | core | persistentvolumeclaims,persistentvolumes"
- "get,list,watch | storage.k8s.io | csinodes,csidrivers,csistoragecapacities,storageclasses,volumeattachments"
- "create | authentication.k8s.io | tokenreviews"
- "create | authorization.k8s.io | subjectaccessreviews"
- "get,list,watch | resource.k8s.io | deviceclasses,resourceclaims,resourceslices"
system:kube-controller-manager:
- "create,patch,update | core,events.k8s.io | events"
- "create,get,list,update,watch | coordination.k8s.io | leases"
- "create,delete,get,patch,update | core | secrets,serviceaccounts,endpoints"
- "get | core | configmaps,namespaces"
- "create | authentication.k8s.io | tokenreviews"
- "create | authorization.k8s.io | subjectaccessreviews"
- "create | core | serviceaccounts/token"
- "list,watch | * | *"
- "get | * | *"
engenho:controllers:
- "create,delete,deletecollection,get,list,patch,update,watch | * | *"
- "update,patch,get | * | */status,*/scale,*/finalize,*/approval"
- "create | core | pods/eviction,serviceaccounts/token"
engenho:pangea:
- "create,delete,get,list,patch,update,watch | pangea.pleme.io | *"
- "create,delete,deletecollection,get,list,patch,update,watch | core | secrets,configmaps"
- "create,get | core | namespaces"
- "create,patch,update | core,events.k8s.io | events"
- "create,delete,get,list,patch,update,watch | coordination.k8s.io | leases"
)";

// admin, edit and view are unions; these are their parts, as upstream names them.
constexpr std::string_view kAggregated = R"(
view:
- "get,list,watch | core | configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status"
- "get,list,watch | core | bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status"
- "get,list,watch | core | namespaces"
- "get,list,watch | discovery.k8s.io | endpointslices"
- "get,list,watch | apps | controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status"
- "get,list,watch | autoscaling | horizontalpodautoscalers,horizontalpodautoscalers/status"
- "get,list,watch | batch | cronjobs,cronjobs/status,jobs,jobs/status"
- "get,list,watch | extensions | daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale"
- "get,list,watch | policy | poddisruptionbudgets,poddisruptionbudgets/status"
- "get,list,watch | networking.k8s.io | ingresses,ingresses/status,networkpolicies"
- "get,list,watch | resource.k8s.io | resourceclaims,resourceclaims/status,resourceclaimtemplates"
edit:
- "get,list,watch | core | pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy"
- "impersonate | core | serviceaccounts"
- "create,delete,deletecollection,patch,update | core | pods,pods/attach,pods/exec,pods/portforward,pods/proxy"
- "create | core | pods/eviction"
- "create,delete,deletecollection,patch,update | core | configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy"
- "create | core | serviceaccounts/token"
- "create,delete,deletecollection,patch,update | apps | daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale"
- "create,delete,deletecollection,patch,update | autoscaling | horizontalpodautoscalers"
- "create,delete,deletecollection,patch,update | batch | cronjobs,jobs"
- "create,delete,deletecollection,patch,update | extensions | daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale"
- "create,delete,deletecollection,patch,update | policy | poddisruptionbudgets"
- "create,delete,deletecollection,patch,update | networking.k8s.io | ingresses,networkpolicies"
- "create,delete,deletecollection,patch,update | resource.k8s.io | resourceclaims,resourceclaimtemplates"
- "create,delete,deletecollection,get,list,patch,update,watch | coordination.k8s.io | leases"
admin:
- "create | authorization.k8s.io | localsubjectaccessreviews"
- "create,delete,deletecollection,get,list,patch,update,watch | rbac.authorization.k8s.io | rolebindings,roles"
)";

// role: subjects as "Kind:name"
constexpr std::string_view kBindings = R"(
cluster-admin: [cluster-admin, "Group:system:masters"]
system:monitoring: [system:monitoring, "Group:system:monitoring"]
system:discovery: [system:discovery, "Group:system:authenticated"]
system:basic-user: [system:basic-user, "Group:system:authenticated"]
system:public-info-viewer: [system:public-info-viewer, "Group:system:authenticated", "Group:system:unauthenticated"]
system:service-account-issuer-discovery: [system:service-account-issuer-discovery, "Group:system:serviceaccounts"]
system:node-proxier: [system:node-proxier, "User:system:kube-proxy"]
system:kube-scheduler: [system:kube-scheduler, "User:system:kube-scheduler"]
system:kube-controller-manager: [system:kube-controller-manager, "User:system:kube-controller-manager"]
system:kube-dns: [system:kube-dns, "User:system:kube-dns"]
engenho:controllers: [engenho:controllers, "User:system:kube-controller-manager"]
engenho:pangea: [engenho:pangea, "User:system:pangea"]
engenho:nodes: [system:node, "Group:system:nodes"]
)";

json::Array words(std::string_view text) {
  json::Array out;
  for (std::string_view w : split(text, ',')) {
    w = trim(w);
    out.push_back(w == "core" ? std::string_view() : w);
  }
  return out;
}

Value rule_of(std::string_view text) {
  const auto parts = split(text, '|');
  Value out = json::Object();
  out["verbs"] = words(trim(parts[0]));
  if (parts.size() == 2) {
    out["nonResourceURLs"] = words(trim(parts[1]));
  } else {
    out["apiGroups"] = words(trim(parts[1]));
    out["resources"] = words(trim(parts[2]));
  }
  return out;
}

Value role_object(std::string_view name, const Value& rules) {
  Value out = json::Object();
  out["apiVersion"] = "rbac.authorization.k8s.io/v1";
  out["kind"] = "ClusterRole";
  out["metadata"]["name"] = name;
  out["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults";
  out["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "true";
  json::Array& list = out["rules"].make_array();
  for (const Value& rule : rules.items()) list.push_back(rule_of(rule.str()));
  return out;
}

}  // namespace

Result<std::vector<Value>> bootstrap_policy() {
  std::vector<Value> out;
  ENGENHO_ASSIGN(json::Parsed roles, yaml::parse(kRoles));
  for (const auto& [name, rules] : roles.value.members()) {
    if (!rules.items().empty()) out.push_back(role_object(name, rules));
  }
  ENGENHO_ASSIGN(json::Parsed parts, yaml::parse(kAggregated));
  // view is part of edit, edit of admin. The unions are written out here; a controller keeps them as labels ask once it runs.
  json::Array sum;
  for (const char* name : {"view", "edit", "admin"}) {
    const Value* rules = parts.value.get(name);
    Value part = role_object(std::string("system:aggregate-to-") + name, *rules);
    part["metadata"]["labels"][std::string("rbac.authorization.k8s.io/aggregate-to-") + name] = "true";
    for (const Value& rule : rules->items()) sum.push_back(rule);
    out.push_back(std::move(part));
    Value whole = role_object(name, sum);
    if (std::string_view(name) != "admin") {
      const char* into = std::string_view(name) == "view" ? "edit" : "admin";
      whole["metadata"]["labels"][std::string("rbac.authorization.k8s.io/aggregate-to-") + into] = "true";
    }
    Value selector = json::Object();
    selector["matchLabels"][std::string("rbac.authorization.k8s.io/aggregate-to-") + name] = "true";
    whole["aggregationRule"]["clusterRoleSelectors"] = json::Array{selector};
    out.push_back(std::move(whole));
  }
  ENGENHO_ASSIGN(json::Parsed bindings, yaml::parse(kBindings));
  for (const auto& [name, members] : bindings.value.members()) {
    Value b = json::Object();
    b["apiVersion"] = "rbac.authorization.k8s.io/v1";
    b["kind"] = "ClusterRoleBinding";
    b["metadata"]["name"] = name;
    b["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults";
    b["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "true";
    b["roleRef"]["apiGroup"] = "rbac.authorization.k8s.io";
    b["roleRef"]["kind"] = "ClusterRole";
    b["roleRef"]["name"] = members.items()[0].str();
    json::Array& subjects = b["subjects"].make_array();
    for (size_t i = 1; i < members.items().size(); ++i) {
      const std::string_view text = members.items()[i].str();
      Value s = json::Object();
      s["kind"] = text.substr(0, text.find(':'));
      s["apiGroup"] = "rbac.authorization.k8s.io";
      s["name"] = text.substr(text.find(':') + 1);
      subjects.push_back(std::move(s));
    }
    out.push_back(std::move(b));
  }
  return out;
}

}  // namespace engenho::apiserver
