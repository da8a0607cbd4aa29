#include "engenho/pangea/commands.h"

#include "engenho/base/random.h"
#include "engenho/catalog/pangea_v1.h"
#include "engenho/pangea/cluster_state.h"
#include "engenho/pangea/http_state.h"
#include "engenho/pangea/policy.h"
#include "engenho/schema/api_errors.h"
#include "plan_shelf.h"

namespace engenho::pangea {

namespace {

using json::Value;
using Template = pangea_v1::InfrastructureTemplate;

Result<Value> patch_status(client::Client& client, const std::string& ns, const std::string& name, std::string_view member, Value value) {
  Value patch = json::Object();
  patch["status"][member] = std::move(value);
  return client.patch_raw(client::resource_of<Template>(), ns, name, client::PatchType::kMerge, json::dump(patch), "status");
}

Status conflict(const std::string& name, std::string why) { return schema::conflict({"pangea.pleme.io", "infrastructuretemplates"}, name, std::move(why)); }

}  // namespace

Result<Value> approve(client::Client& client, const std::string& ns, const std::string& name, const std::string& body, const Caller& caller, WallTime now) {
  auto parsed = json::parse(body);
  if (!parsed || !parsed->is_object()) return err(bad_request("the body must be a JSON object with planHash"));
  std::string hash, reason;
  Duration lasts{0};
  for (const auto& [member, value] : parsed->members()) {
    if (member == "apiVersion" || member == "kind" || member == "metadata") continue;
    if (!value.is_string()) return err(bad_request(member + ": invalid value " + json::dump(value) + ": expected a string"));
    if (member == "planHash") hash = value.as_string();
    else if (member == "reason") reason = value.as_string();
    else if (member == "expiresIn") {
      auto length = parse_duration(value.as_string());
      if (!length) return err(bad_request("expiresIn: " + length.error().message()));
      lasts = *length;
    } else {
      return err(bad_request("unknown member \"" + member + "\": expected planHash, reason and expiresIn"));
    }
  }
  if (hash.empty()) return err(bad_request("planHash: required: the hash of the plan that is approved (status.pendingPlanHash)"));
  ENGENHO_ASSIGN(const Template object, client.get<Template>(ns, name));
  const std::string& pending = object.status.pending_plan_hash;
  if (pending.empty()) return err(conflict(name, "no plan waits for an approval"));
  if (pending != hash) return err(conflict(name, "the plan that waits for an approval is " + pending + ", not " + hash));
  pangea_v1::Approval approval;
  approval.plan_hash = hash;
  approval.approver = caller.name;
  approval.groups = caller.groups;
  approval.approved_at = WallTime(std::chrono::floor<std::chrono::seconds>(now));
  if (lasts > Duration(0)) approval.expires_at = WallTime(std::chrono::floor<std::chrono::seconds>(now + lasts));
  approval.reason = reason;
  approval.via = "subresource";
  return patch_status(client, ns, name, "approval", k8s::to_json(approval));
}

Result<Value> command(client::Client& client, const std::string& ns, const std::string& name, const std::string& action, const Caller& caller, WallTime now) {
  pangea_v1::TemplateStatusCommand asked;
  asked.id = random_uuid();
  asked.action = action;
  asked.requested_by = caller.name;
  asked.requested_at = WallTime(std::chrono::floor<std::chrono::seconds>(now));
  return patch_status(client, ns, name, "command", k8s::to_json(asked));
}

Result<Value> pending_plan(client::Client& client, const std::string& ns, const std::string& name) {
  ENGENHO_ASSIGN(const Template object, client.get<Template>(ns, name));
  return PlanShelf(client).get(object.metadata.uid);
}

Result<StateReply> serve_state(const std::shared_ptr<client::Client>& client, const StateCall& call) {
  if (call.ns.empty() || call.name.empty()) return err(bad_request("the path must end in state/NAMESPACE/TEMPLATE"));
  ENGENHO_ASSIGN(const auto owner, client->get<pangea_v1::PangeaNamespace>("", call.pangea_namespace));
  if (owner.spec.backend.type != "cluster") {
    return err(bad_request("the states of PangeaNamespace " + call.pangea_namespace + " are kept by backend " + owner.spec.backend.type + ", not by the cluster"));
  }
  ClusterStateOptions options;
  options.renew = false;
  options.lease = HttpState::kClientLease;
  ClusterState state(client, {call.pangea_namespace, call.ns, call.name}, options);
  HttpState http(state);
  StateAnswer answer = http.handle({call.method, call.lock_id, call.content_md5, call.body});
  return StateReply{answer.status, std::move(answer.content_type), std::move(answer.body)};
}

}  // namespace engenho::pangea
