#include "plan_shelf.h"

#include "engenho/catalog/core_v1.h"
#include "engenho/http/gzip.h"
#include "engenho/pangea/cluster_state.h"
#include "engenho/schema/api_errors.h"
#include "state_lease.h"

namespace engenho::pangea {

namespace {

using k8s::core_v1::Secret;
constexpr size_t kMostBytes = 700'000, kMostPlain = 64 << 20;

std::string name_of(const std::string& uid) { return "plan-" + uid; }

}  // namespace

Status PlanShelf::put(const std::string& uid, const std::string& hash, const json::Value& shown) {
  ENGENHO_ASSIGN_OR_RETURN(std::string packed, http::gzip(http::Body(json::dump(shown)), 6));
  if (packed.size() > kMostBytes) {
    // The list of changes alone; values are what takes room.
    json::Value brief = json::Object();
    brief["format_version"] = shown.str_at({"format_version"});
    json::Array& changes = brief["resource_changes"].make_array();
    if (const json::Value* all = shown.get("resource_changes")) {
      for (const json::Value& change : all->items()) {
        json::Value one = json::Object();
        for (const char* member : {"address", "type", "name", "mode", "provider_name"}) one[member] = change.str_at({member});
        if (const json::Value* actions = change.at({"change", "actions"})) one["change"]["actions"] = *actions;
        changes.push_back(std::move(one));
      }
    }
    brief["truncated"] = true;
    ENGENHO_ASSIGN_OR_RETURN(packed, http::gzip(http::Body(json::dump(brief)), 6));
    if (packed.size() > kMostBytes) return bad_request("the plan is too large to be shown");
  }
  Secret secret;
  secret.metadata.namespace_ = kSystemNamespace;
  secret.metadata.name = name_of(uid);
  secret.type = "pangea.pleme.io/plan";
  secret.data["hash"] = hash;
  secret.data["plan"] = std::move(packed);
  auto found = client_.get<Secret>(kSystemNamespace, secret.metadata.name);
  if (!found && !found.error().not_found()) return found.error();
  if (!found) {
    auto made = create_in_system(client_, secret);
    return made ? Status() : made.error();
  }
  found->data = std::move(secret.data);
  auto written = client_.update(*found);
  return written ? Status() : written.error();
}

Result<json::Value> PlanShelf::get(const std::string& uid) {
  auto found = client_.get<Secret>(kSystemNamespace, name_of(uid));
  if (!found && found.error().not_found()) return err(not_found_error("no plan waits for an approval or was refused"));
  if (!found) return err(found.error());
  ENGENHO_ASSIGN(const std::string text, http::gunzip(found->data["plan"], kMostPlain));
  ENGENHO_ASSIGN(json::Value plan, json::parse(text));
  json::Value out = json::Object();
  out["planHash"] = found->data["hash"];
  out["plan"] = std::move(plan);
  return out;
}

void PlanShelf::remove(const std::string& uid) { (void)client_.remove<Secret>(kSystemNamespace, name_of(uid)); }

}  // namespace engenho::pangea
