// Plans as values: identity, serialization, summaries.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "plan_data.h"

namespace engenho::magma {

namespace {

constexpr int kPlanFormat = 1;

json::Value path_json(const Path& path) {
  json::Array out;
  for (const PathStep& step : path) {
    if (const auto* i = std::get_if<int64_t>(&step.key)) out.push_back(*i);
    else if (step.is_index) out.push_back(json::Object{{"key", std::get<std::string>(step.key)}});
    else out.push_back(std::get<std::string>(step.key));
  }
  return out;
}
Path path_of(const json::Value& json) {
  Path out;
  for (const json::Value& step : json.items()) {
    if (step.is_int()) out.push_back({step.as_int()});
    else if (step.is_object()) out.push_back({std::string(step.str_at({"key"})), true});
    else out.push_back({std::string(step.str())});
  }
  return out;
}
json::Value paths_json(const std::vector<Path>& paths) {
  json::Array out;
  for (const Path& p : paths) out.push_back(path_json(p));
  return out;
}
std::vector<Path> paths_of(const json::Value* json) {
  std::vector<Path> out;
  if (json == nullptr) return out;
  for (const json::Value& p : json->items()) out.push_back(path_of(p));
  return out;
}

json::Value value_json(const Value& v) {
  json::Object out;
  out.set("type", v.type().to_json());
  out.set("msgpack", base64_encode(to_msgpack(v, v.type())));
  if (v.contains_sensitive()) out.set("sensitive", paths_json(sensitive_paths(v)));
  return out;
}
Result<Value> value_of(const json::Value* json) {
  if (json == nullptr || json->get("type") == nullptr) return err(bad_request("the plan is damaged: a value is missing"));
  ENGENHO_ASSIGN(const Type type, Type::from_json(*json->get("type")));
  ENGENHO_ASSIGN(const std::string bytes, base64_decode(json->str_at({"msgpack"})));
  ENGENHO_ASSIGN(const Value v, from_msgpack(bytes, type));
  return mark_paths(v, paths_of(json->get("sensitive")));
}

json::Value change_json(const Change& c) {
  json::Object out;
  out.set("address", c.address.to_string());
  if (!c.deposed.empty()) out.set("deposed", c.deposed);
  if (c.previous) out.set("previous", c.previous->to_string());
  out.set("provider", c.provider);
  out.set("action", static_cast<int64_t>(c.action));
  out.set("before", value_json(c.before));
  out.set("after", value_json(c.after));
  if (!c.replace_paths.empty()) out.set("replace_paths", paths_json(c.replace_paths));
  if (!c.reason.empty()) out.set("reason", c.reason);
  if (!c.private_data.empty()) out.set("private", base64_encode(c.private_data));
  if (!c.import_id.empty()) out.set("import", c.import_id);
  if (c.create_before_destroy) out.set("create_before_destroy", true);
  out.set("schema_version", c.schema_version);
  json::Array d;
  for (const std::string& name : c.dependencies) d.push_back(name);
  out.set("dependencies", std::move(d));
  return out;
}

Result<Change> change_of(const json::Value& json) {
  Change c;
  ENGENHO_ASSIGN(c.address, parse_instance_address(json.str_at({"address"})));
  c.deposed = json.str_at({"deposed"});
  if (!json.str_at({"previous"}).empty()) {
    ENGENHO_ASSIGN(c.previous, parse_instance_address(json.str_at({"previous"})));
  }
  c.provider = json.str_at({"provider"});
  const json::Value* action = json.get("action");
  if (action == nullptr || action->int_or(-1) < 0 || action->int_or(-1) > static_cast<int64_t>(Action::kForget)) return err(bad_request("the plan is damaged: unknown action"));
  c.action = static_cast<Action>(action->as_int());
  ENGENHO_ASSIGN(c.before, value_of(json.get("before")));
  ENGENHO_ASSIGN(c.after, value_of(json.get("after")));
  c.replace_paths = paths_of(json.get("replace_paths"));
  c.reason = json.str_at({"reason"});
  ENGENHO_ASSIGN(c.private_data, base64_decode(json.str_at({"private"})));
  c.import_id = json.str_at({"import"});
  if (const json::Value* b = json.get("create_before_destroy")) c.create_before_destroy = b->bool_or(false);
  if (const json::Value* n = json.get("schema_version")) c.schema_version = n->int_or(0);
  if (const json::Value* d = json.get("dependencies")) {
    for (const json::Value& name : d->items()) c.dependencies.emplace_back(name.str());
  }
  return c;
}

PlannedChange summary_of(const Change& c) {
  PlannedChange out;
  out.address = c.address.to_string() + (c.deposed.empty() ? "" : " (deposed object " + c.deposed + ")");
  out.type = c.address.resource.type;
  auto source = parse_provider_reference(c.provider);
  out.provider = source ? source->first : c.provider;
  out.action = action_name(c.action);
  out.reason = c.reason;
  const Value& shape = c.after.holds() ? c.after : c.before;
  if (shape.holds() && shape.type().is(Type::Kind::kObject)) {
    for (const auto& [name, member] : shape.members()) {
      const Value& before = c.before.get(name);
      const Value& after = c.after.get(name);
      if (!after.is_wholly_known() || !before.unmarked_deep().equals(after.unmarked_deep())) {
        if (before.is_null() && after.is_null()) continue;
        out.attributes.push_back(name);
      }
    }
  }
  for (const Path& p : c.replace_paths) {
    std::string text = path_to_string(p);
    out.replace_because.push_back(text.starts_with(".") ? text.substr(1) : text);
  }
  return out;
}

}  // namespace

json::Value plan_content(const PlanData& plan) {
  json::Object out;
  out.set("format", kPlanFormat);
  out.set("config", plan.config);
  out.set("directory", plan.directory);
  out.set("workspace", plan.workspace);
  json::Object variables;
  for (const auto& [name, v] : plan.variables) variables.set(name, value_json(v));
  out.set("variables", std::move(variables));
  out.set("destroy", plan.destroy);
  out.set("refresh_only", plan.refresh_only);
  json::Array targets;
  for (const std::string& t : plan.targets) targets.push_back(t);
  out.set("targets", std::move(targets));
  out.set("time", format_rfc3339(plan.time));
  out.set("serial", static_cast<int64_t>(plan.serial));
  out.set("lineage", plan.lineage);
  out.set("refreshed", dump_state(plan.refreshed));
  out.set("state_changed", plan.state_changed);
  json::Array changes, drift;
  for (const Change& c : plan.changes) changes.push_back(change_json(c));
  for (const Change& c : plan.drift) drift.push_back(change_json(c));
  out.set("changes", std::move(changes));
  out.set("drift", std::move(drift));
  json::Object outputs;
  for (const auto& [name, o] : plan.outputs) {
    outputs.set(name, json::Object{{"action", static_cast<int64_t>(o.action)}, {"before", value_json(o.before)}, {"after", value_json(o.after)},
                                   {"sensitive", o.sensitive}, {"before_sensitive", o.before_sensitive}});
  }
  out.set("outputs", std::move(outputs));
  json::Object expansions;
  for (const auto& [address, e] : plan.expansions) {
    json::Array keys;
    for (const InstanceKey& key : e.keys) {
      if (const auto* n = std::get_if<int64_t>(&key)) keys.push_back(*n);
      else if (const auto* s = std::get_if<std::string>(&key)) keys.push_back(*s);
      else keys.push_back(nullptr);
    }
    expansions.set(address.to_string(), json::Object{{"mode", static_cast<int64_t>(e.mode)}, {"keys", std::move(keys)}});
  }
  out.set("expansions", std::move(expansions));
  json::Object providers;
  for (const auto& [source, version] : plan.providers) providers.set(source, version);
  out.set("providers", std::move(providers));
  json::Array messages;
  for (const Message& m : plan.messages) messages.push_back(json::Object{{"address", m.address}, {"summary", m.summary}, {"detail", m.detail}});
  out.set("messages", std::move(messages));
  return out;
}

std::string Message::to_string() const {
  std::string out = (error ? "Error: " : "Warning: ") + summary;
  if (!address.empty()) out += " (" + address + ")";
  if (!detail.empty() && detail != summary) out += ": " + detail;
  return out;
}

json::Value Plan::document(bool redact) const { return plan_document(*data_, redact); }
const std::string& Plan::id() const { return data_->id; }
uint64_t Plan::serial() const { return data_->serial; }
const std::string& Plan::lineage() const { return data_->lineage; }
const std::map<std::string, std::string>& Plan::providers() const { return data_->providers; }
const std::vector<Message>& Plan::messages() const { return data_->messages; }

bool Plan::has_changes() const {
  return std::any_of(data_->changes.begin(), data_->changes.end(), [](const Change& c) { return c.action != Action::kNoop || !c.import_id.empty() || c.previous; }) ||
         std::any_of(data_->outputs.begin(), data_->outputs.end(), [](const auto& o) { return o.second.action != Action::kNoop; });
}
bool Plan::only_refresh() const { return !has_changes() && data_->state_changed; }

Plan::Counts Plan::counts() const {
  Counts n;
  for (const Change& c : data_->changes) {
    if (!c.import_id.empty()) ++n.import;
    if (c.action == Action::kCreate || is_replace(c.action)) ++n.add;
    if (c.action == Action::kDelete || is_replace(c.action)) ++n.destroy;
    if (c.action == Action::kUpdate) ++n.change;
    if (c.action == Action::kForget) ++n.forget;
  }
  return n;
}

std::vector<PlannedChange> Plan::changes() const {
  std::vector<PlannedChange> out;
  for (const Change& c : data_->changes) {
    if (c.action != Action::kNoop) out.push_back(summary_of(c));
  }
  return out;
}
std::vector<PlannedChange> Plan::drift() const {
  std::vector<PlannedChange> out;
  for (const Change& c : data_->drift) out.push_back(summary_of(c));
  return out;
}

std::string plan_id(json::Value content) {
  // The same plan made a minute later is the same plan.
  content.as_object().erase("time");
  content.as_object().erase("messages");
  return sha256_hex(json::dump(content));
}

std::string Plan::serialize() const {
  json::Value content = plan_content(*data_);
  const std::string checksum = sha256_hex(json::dump(content));
  content["id"] = data_->id;
  content["checksum"] = checksum;
  return json::dump(content) + "\n";
}

Result<Plan> Plan::parse(std::string_view bytes) {
  auto parsed = json::parse(bytes);
  if (!parsed || parsed->get("format") == nullptr) return err(bad_request("this is no saved plan"));
  json::Value json = std::move(*parsed);
  if (json.get("format")->int_or(0) != kPlanFormat) return err(bad_request("the saved plan was written by another version of this program"));
  auto data = std::make_shared<PlanData>();
  data->id = json.str_at({"id"});
  const std::string checksum(json.str_at({"checksum"}));
  json.as_object().erase("id");
  json.as_object().erase("checksum");
  // What was approved is what is applied.
  if (sha256_hex(json::dump(json)) != checksum || plan_id(json) != data->id) return err(bad_request("the saved plan is damaged or was changed: its id does not match"));
  data->config = *json.get("config");
  data->directory = json.str_at({"directory"});
  data->workspace = json.str_at({"workspace"});
  for (const auto& [name, v] : json.get("variables")->members()) {
    ENGENHO_ASSIGN(Value value, value_of(&v));
    data->variables.emplace(name, std::move(value));
  }
  data->destroy = json.get("destroy")->bool_or(false);
  data->refresh_only = json.get("refresh_only")->bool_or(false);
  for (const json::Value& t : json.get("targets")->items()) data->targets.emplace_back(t.str());
  ENGENHO_ASSIGN(data->time, parse_rfc3339(json.str_at({"time"})));
  data->serial = static_cast<uint64_t>(json.get("serial")->int_or(0));
  data->lineage = json.str_at({"lineage"});
  ENGENHO_ASSIGN(data->refreshed, parse_state(json.str_at({"refreshed"})));
  data->state_changed = json.get("state_changed")->bool_or(false);
  for (const json::Value& c : json.get("changes")->items()) {
    ENGENHO_ASSIGN(Change change, change_of(c));
    data->changes.push_back(std::move(change));
  }
  for (const json::Value& c : json.get("drift")->items()) {
    ENGENHO_ASSIGN(Change change, change_of(c));
    data->drift.push_back(std::move(change));
  }
  for (const auto& [name, o] : json.get("outputs")->members()) {
    OutputChange out;
    out.action = static_cast<Action>(o.get("action")->int_or(0));
    ENGENHO_ASSIGN(out.before, value_of(o.get("before")));
    ENGENHO_ASSIGN(out.after, value_of(o.get("after")));
    out.sensitive = o.get("sensitive")->bool_or(false);
    out.before_sensitive = o.get("before_sensitive")->bool_or(false);
    data->outputs.emplace(name, std::move(out));
  }
  for (const auto& [name, e] : json.get("expansions")->members()) {
    ENGENHO_ASSIGN(const ResourceAddress address, parse_resource_address(name));
    Expansion out;
    out.mode = static_cast<Expansion::Mode>(e.get("mode")->int_or(0));
    for (const json::Value& key : e.get("keys")->items()) {
      if (key.is_int()) out.keys.emplace_back(key.as_int());
      else if (key.is_string()) out.keys.emplace_back(key.as_string());
      else out.keys.emplace_back();
    }
    data->expansions.emplace(address, std::move(out));
  }
  for (const auto& [source, version] : json.get("providers")->members()) data->providers.emplace(source, version.str());
  for (const json::Value& m : json.get("messages")->items()) {
    data->messages.push_back({false, std::string(m.str_at({"address"})), std::string(m.str_at({"summary"})), std::string(m.str_at({"detail"}))});
  }
  return Plan(std::move(data));
}

}  // namespace engenho::magma
