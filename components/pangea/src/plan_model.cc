#include "engenho/pangea/plan_model.h"

#include <algorithm>
#include <array>
#include <set>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

Status not_understood(const std::string& what) {
  return bad_request("plan document: " + what);
}

// Whether a tree of marks (after_unknown, before_sensitive, ...) marks anything.
bool marked(const json::Value* marks) {
  if (marks == nullptr) return false;
  if (marks->is_bool()) return marks->as_bool();
  for (const json::Value& item : marks->items()) {
    if (marked(&item)) return true;
  }
  for (const auto& [name, member] : marks->members()) {
    if (marked(&member)) return true;
  }
  return false;
}

bool is_null(const json::Value* v) {
  return v == nullptr || v->is_null();
}

std::vector<std::string> changed_attributes(const json::Value& change, const std::string& action) {
  const json::Value *before = change.get("before"), *after = change.get("after"), *unknown = change.get("after_unknown");
  const json::Value *was_sensitive = change.get("before_sensitive"), *is_sensitive = change.get("after_sensitive");
  std::set<std::string> names, out;
  for (const json::Value* side : {before, after, unknown}) {
    if (side == nullptr) continue;
    for (const auto& [name, member] : side->members()) names.insert(name);
  }
  for (const std::string& name : names) {
    const json::Value* b = before ? before->get(name) : nullptr;
    const json::Value* a = after ? after->get(name) : nullptr;
    if (unknown != nullptr && marked(unknown->get(name))) {
      out.insert(name);
      continue;
    }
    if (is_null(a) && is_null(b)) continue;
    const bool equal = !is_null(a) && !is_null(b) && *a == *b;
    const bool same_marks =
        action != "update" || marked(was_sensitive ? was_sensitive->get(name) : nullptr) == marked(is_sensitive ? is_sensitive->get(name) : nullptr);
    if (!equal || !same_marks) out.insert(name);
  }
  return {out.begin(), out.end()};
}

Result<std::string> action_of(const json::Value& change, const std::string& address) {
  std::vector<std::string> actions;
  if (const json::Value* list = change.get("actions")) {
    for (const json::Value& a : list->items()) actions.emplace_back(a.str());
  }
  if (actions.size() == 1) {
    static const std::set<std::string> kSingle = {"no-op", "create", "read", "update", "delete", "forget"};
    if (actions[0] == "no-op" && change.get("importing") != nullptr && !change.get("importing")->is_null()) return "import";
    if (kSingle.contains(actions[0])) return actions[0];
  }
  if (actions.size() == 2) {
    std::sort(actions.begin(), actions.end());
    // "forget" in place of "delete": the old object is let go, the new one is created in its place all the same.
    if (actions[0] == "create" && (actions[1] == "delete" || actions[1] == "forget")) return "replace";
  }
  return err(not_understood("unknown actions [" + join(actions, ", ") + "] of " + address));
}

Result<Change> read_change(const json::Value& entry) {
  Change out;
  out.address = entry.str_at({"address"});
  if (out.address.empty()) return err(not_understood("a change without an address"));
  out.type = entry.str_at({"type"});
  out.name = entry.str_at({"name"});
  out.provider = entry.str_at({"provider_name"});
  out.deposed = entry.str_at({"deposed"});
  const json::Value* change = entry.get("change");
  if (change == nullptr || !change->is_object()) return err(not_understood(out.address + " has no change"));
  ENGENHO_ASSIGN(out.action, action_of(*change, out.address));
  out.import_id = change->str_at({"importing", "id"});
  if (out.action != "no-op" && out.action != "import" && out.action != "forget") out.attributes = changed_attributes(*change, out.action);
  std::set<std::string> because;
  if (const json::Value* paths = change->get("replace_paths")) {
    for (const json::Value& path : paths->items()) {
      if (!path.items().empty() && path.items()[0].is_string()) because.insert(path.items()[0].as_string());
    }
  }
  out.replace_because.assign(because.begin(), because.end());
  out.risk = risk_of(out.action, out.type);
  return out;
}

void sort_by_address(std::vector<Change>& changes) {
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return std::tie(a.address, a.deposed) < std::tie(b.address, b.deposed); });
}

Result<bool> is_managed(const json::Value& entry) {
  const std::string_view mode = entry.str_at({"mode"}, "managed");
  if (mode == "managed") return true;
  if (mode == "data" || mode == "ephemeral") return false;
  return err(not_understood("unknown mode \"" + std::string(mode) + "\" of " + std::string(entry.str_at({"address"}))));
}

// The value with everything that `marks` marks replaced by null.
json::Value without_marked(const json::Value* value, const json::Value* marks) {
  if (value == nullptr) return nullptr;
  if (marks == nullptr || marks->is_null()) return *value;
  if (marks->is_bool()) return marks->as_bool() ? json::Value() : *value;
  json::Value out = *value;
  if (out.is_object()) {
    for (auto& [name, member] : out.as_object()) member = without_marked(&member, marks->get(name));
  } else if (out.is_array()) {
    for (size_t i = 0; i < out.as_array().size(); ++i) {
      out.as_array()[i] = without_marked(&out.as_array()[i], i < marks->items().size() ? &marks->items()[i] : nullptr);
    }
  }
  return out;
}

json::Value redact_change(const json::Value& change) {
  json::Value out = change;
  out["before"] = without_marked(change.get("before"), change.get("before_sensitive"));
  if (change.get("after") != nullptr) out["after"] = without_marked(change.get("after"), change.get("after_sensitive"));
  // Identities and generated configuration have no marks of their own.
  for (const char* name : {"before_identity", "after_identity", "generated_config"}) out.as_object().erase(name);
  return out;
}

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return text.starts_with(p); });
}

// Words of a type's name, "aws_iam_role" -> "_aws_iam_role_", so that whole words are found.
bool has_word(std::string_view type, std::initializer_list<std::string_view> words) {
  const std::string padded = "_" + std::string(type) + "_";
  return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return padded.find("_" + std::string(w) + "_") != std::string::npos; });
}

bool stands_for_nothing(std::string_view type) {
  if (type == "random_password" || type == "random_bytes") return false;
  return type == "null_resource" || type == "terraform_data" || begins_with_any(type, {"time_", "random_"});
}

bool grants_access(std::string_view type) {
  return has_word(
      type, {"iam",   "role", "policy",     "permission",  "permissions", "user",   "group",   "membership", "security",     "firewall",      "acl", "secret",
             "token", "key",  "credential", "credentials", "password",    "access", "binding", "grant",      "collaborator", "authorization", "waf"});
}

bool carries_others(std::string_view type) {
  return has_word(type, {"vpc", "vnet", "network",    "subnet",       "subnetwork", "gateway", "route53",     "zone",   "cluster", "eks",
                         "gke", "aks",  "rds",        "db",           "database",   "sql",     "dynamodb",    "bucket", "volume",  "disk",
                         "efs", "kms",  "repository", "organization", "account",    "project", "certificate", "ca"});
}

}  // namespace

std::string risk_of(std::string_view action, std::string_view type) {
  if (action == "no-op" || action == "read") return "none";
  if (stands_for_nothing(type)) return "low";
  if (action == "import" || action == "forget") return "low";
  if (action == "create") return grants_access(type) ? "medium" : "low";
  if (action == "update") return grants_access(type) || carries_others(type) ? "high" : "medium";
  return "high";
}

std::string PlanModel::summary() const {
  if (empty()) return "No changes";
  return "+" + std::to_string(add) + " ~" + std::to_string(change) + " -" + std::to_string(destroy);
}

Result<PlanModel> read_plan(const json::Value& document) {
  const std::string version(document.str_at({"format_version"}));
  if (version.empty()) return err(not_understood("no format_version"));
  if (version != "1" && !version.starts_with("1.")) return err(not_understood("format version " + version + " is not understood; 1.x is"));
  if (const json::Value* errored = document.get("errored"); errored != nullptr && errored->bool_or(false))
    return err(not_understood("the plan is incomplete: planning ended with errors"));
  PlanModel out;
  if (const json::Value* changes = document.get("resource_changes")) {
    for (const json::Value& entry : changes->items()) {
      ENGENHO_ASSIGN(const bool managed, is_managed(entry));
      if (!managed) continue;
      ENGENHO_ASSIGN(Change c, read_change(entry));
      ++out.total;
      if (c.action == "create" || c.action == "replace") ++out.add;
      if (c.action == "update") ++out.change;
      if (c.action == "delete" || c.action == "replace") ++out.destroy;
      if (c.action != "no-op") out.changes.push_back(std::move(c));
    }
  }
  if (const json::Value* drift = document.get("resource_drift")) {
    for (const json::Value& entry : drift->items()) {
      ENGENHO_ASSIGN(const bool managed, is_managed(entry));
      if (!managed) continue;
      ENGENHO_ASSIGN(Change c, read_change(entry));
      // An object that only moved within the configuration did not drift.
      if (c.action != "no-op") out.drift.push_back(std::move(c));
    }
  }
  if (const json::Value* outputs = document.get("output_changes")) {
    for (const auto& [name, change] : outputs->members()) {
      ENGENHO_ASSIGN(const std::string action, action_of(change, "output " + name));
      out.output_changes = out.output_changes || action != "no-op";
    }
  }
  sort_by_address(out.changes);
  sort_by_address(out.drift);
  return out;
}

json::Value redact_plan(const json::Value& document) {
  json::Object out;
  for (const char* name : {"format_version", "terraform_version", "timestamp", "applyable", "complete", "errored"}) {
    if (const json::Value* v = document.get(name)) out.set(name, *v);
  }
  for (const char* name : {"resource_changes", "resource_drift"}) {
    const json::Value* list = document.get(name);
    if (list == nullptr) continue;
    json::Array entries;
    for (const json::Value& entry : list->items()) {
      json::Value shown = entry;
      if (const json::Value* change = entry.get("change")) shown["change"] = redact_change(*change);
      entries.push_back(std::move(shown));
    }
    out.set(name, std::move(entries));
  }
  if (const json::Value* outputs = document.get("output_changes")) {
    json::Object shown;
    for (const auto& [name, change] : outputs->members()) shown.set(name, redact_change(change));
    out.set("output_changes", std::move(shown));
  }
  if (const json::Value* variables = document.get("variables")) {
    json::Object shown;
    for (const auto& [name, variable] : variables->members()) {
      const json::Value* declared = document.at({"configuration", "root_module", "variables", name});
      // One whose declaration is not there cannot be shown to be harmless.
      const bool open = declared != nullptr && !(declared->get("sensitive") != nullptr && declared->get("sensitive")->bool_or(false));
      shown.set(name, open ? variable : json::Value(json::Object{}));
    }
    out.set("variables", std::move(shown));
  }
  return out;
}

}  // namespace engenho::pangea
