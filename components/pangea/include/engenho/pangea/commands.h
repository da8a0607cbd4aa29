// What people ask of a template: the subresources approve, reconcile and unlock, and the states of a PangeaNamespace for Terraform's http backend. Who
// serves them has authenticated and authorized the caller.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/client/client.h"

namespace engenho::pangea {

struct Caller {
  std::string name;
  std::vector<std::string> groups;
};

// Body: {"planHash": the pending plan's hash, "reason": text, "expiresIn": "1h"}; the hash is required. The approval is for that plan alone and used
// once. Answers the template. Errors: BadRequest for a body that is not understood; Conflict when another plan, or none, waits.
Result<json::Value> approve(client::Client& client, const std::string& ns, const std::string& name, const std::string& body, const Caller& caller, WallTime now);

// `action`: reconcile (look now, render and plan anew, forget failures) or unlock (give up a state lock that nobody keeps alive).
Result<json::Value> command(client::Client& client, const std::string& ns, const std::string& name, const std::string& action, const Caller& caller, WallTime now);

// The plan that waits for an approval or was refused: {"planHash", "plan"}, the latter in the shape of `terraform show -json` with every sensitive value
// replaced by null. NotFound when none is kept.
Result<json::Value> pending_plan(client::Client& client, const std::string& ns, const std::string& name);

// One request of Terraform's http backend for the state of template `ns`/`name` in a PangeaNamespace whose backend is the cluster.
struct StateCall {
  std::string pangea_namespace, ns, name;
  std::string method, lock_id, content_md5, body;
};
struct StateReply {
  int code = 200;
  std::string content_type, body;
};
Result<StateReply> serve_state(const std::shared_ptr<client::Client>& client, const StateCall& call);

}  // namespace engenho::pangea
