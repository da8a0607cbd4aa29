// pangea.pleme.io: v1alpha1 has a source's repository as an object of its own and a template's policy spread over the spec.
#include "convert_internal.h"

namespace engenho::catalog::conversion {

namespace {

using json::Value;

constexpr std::string_view kRepositoryFields[] = {"ref", "path", "secretRef"};

// v1's name within spec.policy, v1alpha1's within spec.
constexpr std::pair<std::string_view, std::string_view> kPolicyFields[] = {
    {"defaultDecision", "defaultDecision"},     {"rules", "policies"},
    {"autoApprove", "autoApprove"},             {"reconcileInterval", "refreshInterval"},
    {"destroyProtection", "destroyProtection"}, {"destroyAuthorization", "destroyAuthorization"},
    {"settlingPolicy", "settlingPolicy"},       {"approvalRouting", "approvalRouting"},
    {"reactive", "reactivePolicy"}};

bool move_member(Value& from, std::string_view name, Value& to, std::string_view as) {
  Value* value = from.get(name);
  if (value == nullptr) return false;
  Value moved = std::move(*value);
  from.as_object().erase(name);
  to[as] = std::move(moved);
  return true;
}

Value* member(Value& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  Value* value = object.get(name);
  return value != nullptr && value->is_object() ? value : nullptr;
}

// {git, ref, path, secretRef, subPath} -> {gitRepository: {url, ref, path, secretRef}, path}
void nest_repository(Value& source) {
  if (source.get("git") != nullptr) {
    Value repository = json::Object();
    move_member(source, "git", repository, "url");
    for (std::string_view field : kRepositoryFields) move_member(source, field, repository, field);
    source["gitRepository"] = std::move(repository);
  }
  rename(source, "subPath", "path");
}
void flatten_repository(Value& source) {
  Value* nested = member(source, "gitRepository");
  if (nested == nullptr) return;
  Value repository = std::move(*nested);
  source.as_object().erase("gitRepository");
  rename(source, "path", "subPath");
  move_member(repository, "url", source, "git");
  for (std::string_view field : kRepositoryFields) move_member(repository, field, source, field);
}

}  // namespace

void pangea_v1_to_v1alpha1(Value& object) {
  Value* spec = member(object, "spec");
  if (spec == nullptr) return;
  if (Value* source = member(*spec, "source")) nest_repository(*source);
  if (object.str_at({"kind"}) != "InfrastructureTemplate") return;
  if (Value* policy = member(*spec, "policy")) {
    Value fields = std::move(*policy);
    spec->as_object().erase("policy");
    for (const auto& [mine, theirs] : kPolicyFields) move_member(fields, mine, *spec, theirs);
  }
}

void pangea_v1alpha1_to_v1(Value& object) {
  Value* spec = member(object, "spec");
  if (spec == nullptr) return;
  if (Value* source = member(*spec, "source")) flatten_repository(*source);
  if (object.str_at({"kind"}) != "InfrastructureTemplate") return;
  Value policy = json::Object();
  for (const auto& [mine, theirs] : kPolicyFields) move_member(*spec, theirs, policy, mine);
  if (!policy.members().empty()) (*spec)["policy"] = std::move(policy);
}

}  // namespace engenho::catalog::conversion
