// Adopting what exists: ids that the spec gives, and objects that an apply found in its way. Both become import blocks of the configuration, so an
// adoption is part of the plan that is decided upon and approved, never something done before or after it.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

using json::Value;

// The natural id of types whose objects are commonly there already.
const std::map<std::string, std::string>& bundled_ids() {
  static const std::map<std::string, std::string> ids = {
      {"aws_iam_role", "{{ .planned.name }}"},
      {"aws_iam_user", "{{ .planned.name }}"},
      {"aws_s3_bucket", "{{ .planned.bucket }}"},
      {"github_actions_secret", "{{ .planned.repository }}/{{ .planned.secret_name }}"},
      {"github_actions_variable", "{{ .planned.repository }}:{{ .planned.variable_name }}"},
      {"github_branch_protection", "{{ .planned.repository_id }}:{{ .planned.pattern }}"},
      {"github_issue_label", "{{ .planned.repository }}:{{ .planned.name }}"},
      {"github_repository", "{{ .planned.name }}"},
      {"github_repository_environment", "{{ .planned.repository }}:{{ .planned.environment }}"},
      {"github_team", "{{ .planned.name }}"},
      {"github_team_membership", "{{ .planned.team_id }}:{{ .planned.username }}"},
  };
  return ids;
}

// Puts values in the place of {{ .name }} and {{ .planned.name }}. Error: BadRequest that names what has no value.
Result<std::string> fill(const std::string& pattern, const json::Object& variables, const Value* planned) {
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t open = pattern.find("{{", at);
    out += pattern.substr(at, open == std::string::npos ? std::string::npos : open - at);
    if (open == std::string::npos) return out;
    const size_t close = pattern.find("}}", open);
    if (close == std::string::npos) return err(bad_request("\"" + pattern + "\": {{ is not closed"));
    std::string_view name = trim(std::string_view(pattern).substr(open + 2, close - open - 2));
    if (!name.starts_with('.')) return err(bad_request("\"" + pattern + "\": expected {{ .name }}"));
    name.remove_prefix(1);
    const Value* value = name.starts_with("planned.") ? (planned == nullptr ? nullptr : planned->get(name.substr(8))) : variables.find(name);
    if (value == nullptr || value->is_null() || value->is_object() || value->is_array()) return err(bad_request("\"" + pattern + "\": ." + std::string(name) + " has no value"));
    out += value->is_string() ? value->as_string() : json::dump(*value);
    at = close + 2;
  }
}

std::string type_of_address(const std::string& address) { return address.substr(0, address.find('.')); }

// Within `document`.
const Value* planned_values(const Value& document, const std::string& address) {
  const Value* changes = document.get("resource_changes");
  if (changes == nullptr) return nullptr;
  for (const Value& change : changes->items()) {
    if (change.str_at({"address"}) == address) return change.at({"change", "after"});
  }
  return nullptr;
}

}  // namespace

Status TemplateWork::add_imports(Workspace& workspace) {
  std::map<std::string, std::string> ids = object_.status.adopt;
  for (const auto& [address, pattern] : object_.spec.import_hints) {
    auto id = fill(pattern, workspace.variables, nullptr);
    if (!id) return bad_request("spec.importHints." + address + ": " + id.error().message());
    ids[address] = *id;
  }
  if (ids.empty()) return {};
  json::Array& blocks = workspace.config["import"].make_array();
  for (const auto& [address, id] : ids) {
    const std::string type = type_of_address(address);
    const std::string name = address.substr(std::min(address.size(), type.size() + 1));
    if (workspace.config.at({"resource", type, name.substr(0, name.find('['))}) == nullptr) {
      return bad_request("spec.importHints: the configuration has no resource " + address);
    }
    blocks.push_back(json::Object{{"to", address}, {"id", id}});
  }
  return {};
}

std::string TemplateWork::resolution_of(const std::string& type, bool exists) const {
  const auto& policy = object_.spec.conflict_policy;
  const bool import_by_itself = object_.spec.import_policy && object_.spec.import_policy->auto_on_conflict;
  const bool enabled = policy && policy->enabled ? true : import_by_itself;
  if (!enabled) return "fail";
  const std::string kind = exists ? "alreadyExists" : "other";
  if (policy) {
    for (const auto& rule : policy->rules) {
      const bool of_type = rule.resource_types.empty() || std::find(rule.resource_types.begin(), rule.resource_types.end(), type) != rule.resource_types.end();
      const bool of_kind = rule.kinds.empty() || std::find(rule.kinds.begin(), rule.kinds.end(), kind) != rule.kinds.end();
      if (of_type && of_kind) return rule.resolution;
    }
    if (!policy->default_resolution.empty()) return policy->default_resolution;
  }
  return exists ? "import" : "fail";
}

TemplateWork::Conflicts TemplateWork::resolve_conflicts(const SavedPlan& plan, const Applied& result) {
  Conflicts out;
  std::string waiting;
  auto values = variables(waiting);
  const json::Object known = values && *values ? **values : json::Object();
  for (const Outcome& o : result.outcomes) {
    if (o.result != Outcome::Result::kFailed) continue;
    const std::string type = type_of_address(o.address);
    const bool exists = classify_failure(o.message).kind == FailureKind::kObjectExistsUntracked;
    const std::string resolution = resolution_of(type, exists);
    if (resolution == "skip") {
      tell("Warning", "ConflictSkipped", o.address + ": " + o.message);
      continue;
    }
    out.all_resolved = false;
    if (resolution != "import") continue;
    std::string pattern;
    if (object_.spec.import_policy) {
      auto own = object_.spec.import_policy->natural_ids.find(type);
      if (own != object_.spec.import_policy->natural_ids.end()) pattern = own->second;
    }
    if (auto bundled = bundled_ids().find(type); pattern.empty() && bundled != bundled_ids().end()) pattern = bundled->second;
    if (pattern.empty()) {
      tell("Warning", "ImportIdUnknown", o.address + " exists already, and spec.importPolicy.naturalIds has no entry for " + type);
      continue;
    }
    auto id = fill(pattern, known, planned_values(plan.document, o.address));
    if (!id) {
      tell("Warning", "ImportIdUnknown", o.address + ": " + id.error().message());
      continue;
    }
    // An id that was tried already did not help.
    if (auto [it, fresh] = object_.status.adopt.try_emplace(o.address, *id); fresh) out.adopt_again = true;
  }
  return out;
}

}  // namespace engenho::pangea
