// A plan in the shape of `terraform show -json` (format 1.2).
#include <algorithm>

#include "plan_data.h"

namespace engenho::magma {

using Kind = Type::Kind;

namespace {

constexpr const char* kFormat = "1.2";
constexpr const char* kVersion = "1.11.4";   // whose format this is

json::Value change_body(const Change& c, bool redact) {
  json::Object out;
  out.set("actions", action_json(c.action));
  out.set("before", known_json(c.before, redact));
  out.set("after", known_json(c.after, redact));
  out.set("after_unknown", c.after.is_wholly_known() ? json::Value(json::Object()) : unknown_json(c.after));
  out.set("before_sensitive", sensitive_json(c.before));
  out.set("after_sensitive", sensitive_json(c.after));
  if (!c.replace_paths.empty()) {
    json::Array paths;
    for (const Path& p : c.replace_paths) {
      json::Array steps;
      for (const PathStep& s : p) {
        if (const auto* i = std::get_if<int64_t>(&s.key)) steps.push_back(*i);
        else steps.push_back(std::get<std::string>(s.key));
      }
      paths.push_back(std::move(steps));
    }
    out.set("replace_paths", std::move(paths));
  }
  if (!c.import_id.empty()) out.set("importing", json::Object{{"id", c.import_id}});
  return out;
}

std::string source_of(const std::string& reference) {
  auto parsed = parse_provider_reference(reference);
  return parsed ? parsed->first : reference;
}

void set_index(json::Object& out, const InstanceKey& key) {
  if (const auto* n = std::get_if<int64_t>(&key)) out.set("index", *n);
  if (const auto* s = std::get_if<std::string>(&key)) out.set("index", *s);
}

json::Value change_entry(const Change& c, bool redact) {
  json::Object out;
  out.set("address", c.address.to_string());
  if (c.previous) out.set("previous_address", c.previous->to_string());
  out.set("mode", c.address.resource.data ? "data" : "managed");
  out.set("type", c.address.resource.type);
  out.set("name", c.address.resource.name);
  set_index(out, c.address.key);
  out.set("provider_name", source_of(c.provider));
  if (!c.deposed.empty()) out.set("deposed", c.deposed);
  if (!c.reason.empty()) out.set("action_reason", c.reason);
  out.set("change", change_body(c, redact));
  return out;
}

json::Object instance_entry(const InstanceAddress& address, const std::string& provider, int64_t schema_version) {
  json::Object out;
  out.set("address", address.to_string());
  out.set("mode", address.resource.data ? "data" : "managed");
  out.set("type", address.resource.type);
  out.set("name", address.resource.name);
  set_index(out, address.key);
  out.set("provider_name", source_of(provider));
  out.set("schema_version", schema_version);
  return out;
}

json::Value planned_values(const PlanData& plan, bool redact) {
  json::Object outputs;
  for (const auto& [name, o] : plan.outputs) {
    if (o.action == Action::kDelete) continue;
    json::Object out;
    out.set("sensitive", o.sensitive);
    if (o.after.is_wholly_known()) {
      out.set("type", (o.after.is_null() ? Type() : o.after.type()).to_json());
      out.set("value", o.sensitive && redact ? json::Value() : to_plain_json(o.after));
    }
    outputs.set(name, std::move(out));
  }
  json::Array resources;
  for (const Change& c : plan.changes) {
    if (!c.deposed.empty() || (c.after.is_null() && c.action != Action::kForget)) continue;
    json::Object out = instance_entry(c.address, c.provider, c.schema_version);
    if (!c.after.is_null()) out.set("values", known_json(c.after, redact));   // what is forgotten is named without values
    out.set("sensitive_values", sensitive_json(c.after));
    resources.push_back(std::move(out));
  }
  json::Object root;
  if (!resources.empty()) root.set("resources", std::move(resources));
  json::Object values;
  if (!outputs.empty()) values.set("outputs", std::move(outputs));
  values.set("root_module", std::move(root));
  return values;
}

json::Value expression_json(const json::Value& v) {
  std::set<Reference> found;
  if (!body_references(v, found).ok() || found.empty()) return json::Object{{"constant_value", v}};
  json::Array names;
  for (const Reference& r : found) {
    for (size_t n = r.steps.size(); n >= 2; --n) names.push_back(Reference{{r.steps.begin(), r.steps.begin() + static_cast<ptrdiff_t>(n)}}.to_string());
    if (r.steps.size() < 2) names.push_back(r.to_string());
  }
  return json::Object{{"references", std::move(names)}};
}

json::Object expressions(const json::Value& body) {
  json::Object out;
  for (const auto& [name, v] : body.members()) {
    if (name != "//" && name != "dynamic") out.set(name, expression_json(v));
  }
  return out;
}

json::Value configuration(const PlanData& plan) {
  auto parsed = parse_config(plan.config, plan.directory);
  if (!parsed) return json::Object();
  const Config& config = *parsed;
  json::Object providers;
  std::set<std::string> names;
  for (const auto& [key, p] : config.providers) names.insert(key);
  for (const auto& [address, r] : config.resources) names.insert(r.provider_key);
  for (const std::string& key : names) {
    json::Object out;
    const std::string local = key.substr(0, key.find('.'));
    out.set("name", local);
    out.set("full_name", config.provider_source(local));
    if (key != local) out.set("alias", key.substr(local.size() + 1));
    if (auto at = config.requirements.find(local); at != config.requirements.end() && !at->second.version.empty()) out.set("version_constraint", at->second.version);
    if (auto at = config.providers.find(key); at != config.providers.end()) {
      json::Object e = expressions(at->second.body);
      if (!e.empty()) out.set("expressions", std::move(e));
    }
    providers.set(key, std::move(out));
  }
  json::Object root;
  json::Array resources;
  for (const bool data : {false, true}) {
    for (const auto& [address, r] : config.resources) {
      if (address.data != data) continue;
      json::Object out;
      out.set("address", address.to_string());
      out.set("mode", data ? "data" : "managed");
      out.set("type", address.type);
      out.set("name", address.name);
      out.set("provider_config_key", r.provider_key);
      json::Object e = expressions(r.body);
      if (!e.empty()) out.set("expressions", std::move(e));
      const json::Value* source = plan.config.at({data ? "data" : "resource", address.type, address.name});
      for (const char* meta : {"count", "for_each"}) {
        if (const json::Value* v = source != nullptr ? source->get(meta) : nullptr) out.set(std::string(meta) + "_expression", expression_json(*v));
      }
      if (!r.depends_on.empty()) {
        json::Array d;
        for (const Reference& reference : r.depends_on) d.push_back(reference.to_string());
        out.set("depends_on", std::move(d));
      }
      for (const Change& c : plan.changes) {
        if (c.address.resource == address) out.set("schema_version", c.schema_version);
      }
      resources.push_back(std::move(out));
    }
  }
  if (!resources.empty()) root.set("resources", std::move(resources));
  json::Object outputs;
  for (const auto& [name, o] : config.outputs) {
    json::Object out;
    if (const json::Value* v = plan.config.at({"output", name, "value"})) out.set("expression", expression_json(*v));
    if (o.sensitive) out.set("sensitive", true);
    outputs.set(name, std::move(out));
  }
  if (!outputs.empty()) root.set("outputs", std::move(outputs));
  json::Object variables;
  for (const auto& [name, v] : config.variables) {
    json::Object out;
    if (v.default_value) out.set("default", *v.default_value);
    if (v.sensitive) out.set("sensitive", true);
    variables.set(name, std::move(out));
  }
  if (!variables.empty()) root.set("variables", std::move(variables));
  json::Object out;
  if (!providers.empty()) out.set("provider_config", std::move(providers));
  out.set("root_module", std::move(root));
  return out;
}

}  // namespace

const char* action_name(Action action) {
  switch (action) {
    case Action::kNoop: return "no-op";
    case Action::kCreate: return "create";
    case Action::kRead: return "read";
    case Action::kUpdate: return "update";
    case Action::kDelete: return "delete";
    case Action::kForget: return "forget";
    default: return "replace";
  }
}

json::Array action_json(Action action) {
  if (action == Action::kDeleteThenCreate) return {"delete", "create"};
  if (action == Action::kCreateThenDelete) return {"create", "delete"};
  return {action_name(action)};
}

json::Value known_json(const Value& v, bool redact) {
  if (!v.holds() || (redact && v.sensitive())) return nullptr;
  if (v.type().is_sequence()) {
    json::Array out;
    for (const Value& item : v.items()) out.push_back(known_json(item, redact));   // unknown ones are null, so that indexes stay
    return out;
  }
  if (v.type().is_mapping()) {
    json::Object out;
    for (const auto& [name, member] : v.members()) {
      if (member.is_known()) out.set(name, known_json(member, redact));
    }
    return out;
  }
  return to_plain_json(v);
}

json::Value unknown_json(const Value& v) {
  if (!v.is_known()) return true;
  if (v.is_null() || v.type().is_primitive()) return false;
  if (v.type().is_sequence()) {
    json::Array out;
    for (const Value& item : v.items()) out.push_back(unknown_json(item));
    return out;
  }
  json::Object out;
  for (const auto& [name, member] : v.members()) {
    json::Value inner = unknown_json(member);
    if (!(inner == json::Value(false))) out.set(name, std::move(inner));
  }
  return out;
}

json::Value sensitive_json(const Value& v) {
  if (v.sensitive()) return true;
  if (v.is_null() || v.type().is_primitive() || v.type().is_dynamic()) return false;
  if (v.type().is_sequence()) {
    json::Array out;
    if (v.is_known()) {
      for (const Value& item : v.items()) out.push_back(sensitive_json(item));
    }
    return out;
  }
  json::Object out;
  if (v.is_known()) {
    for (const auto& [name, member] : v.members()) {
      json::Value inner = sensitive_json(member);
      if (!(inner == json::Value(false))) out.set(name, std::move(inner));
    }
  }
  return out;
}

json::Value state_values(const State& state, bool redact) {
  json::Object outputs;
  for (const auto& [name, o] : state.outputs) {
    json::Object out;
    out.set("sensitive", o.sensitive);
    out.set("value", o.sensitive && redact ? json::Value() : o.value);
    out.set("type", o.type);
    outputs.set(name, std::move(out));
  }
  json::Array resources;
  for (const auto& [address, r] : state.resources) {
    for (const auto& [key, instance] : r.instances) {
      auto add = [&](const ObjectState& object, const std::string& deposed) {
        json::Object out = instance_entry({address, key}, r.provider, object.schema_version);
        // Attributes of dynamic type are stored with their type beside them.
        json::Object plain;
        for (const auto& [name, v] : object.attributes.members()) {
          const json::Value* type = v.get("type");
          const json::Value* inner = v.get("value");
          const bool wrapped = v.is_object() && v.as_object().size() == 2 && type != nullptr && inner != nullptr && Type::from_json(*type);
          plain.set(name, wrapped ? *inner : v);
        }
        const Value value = mark_paths(implied_from_json(json::Value(plain)), object.sensitive);
        out.set("values", known_json(value, redact));
        out.set("sensitive_values", sensitive_json(value));
        if (object.tainted) out.set("tainted", true);
        if (!deposed.empty()) out.set("deposed_key", deposed);
        if (!object.dependencies.empty()) {
          json::Array d;
          for (const std::string& name : object.dependencies) d.push_back(name);
          out.set("depends_on", std::move(d));
        }
        resources.push_back(std::move(out));
      };
      if (instance.current) add(*instance.current, "");
      for (const auto& [deposed, object] : instance.deposed) add(object, deposed);
    }
  }
  json::Object root;
  if (!resources.empty()) root.set("resources", std::move(resources));
  json::Object values;
  if (!outputs.empty()) values.set("outputs", std::move(outputs));
  values.set("root_module", std::move(root));
  json::Object out;
  out.set("format_version", "1.0");
  out.set("terraform_version", kVersion);
  if (!state.resources.empty() || !state.outputs.empty()) out.set("values", std::move(values));
  return out;
}

json::Value plan_document(const PlanData& plan, bool redact) {
  json::Object out;
  out.set("format_version", kFormat);
  out.set("terraform_version", kVersion);
  json::Object variables;
  for (const auto& [name, v] : plan.variables) {
    json::Object one;
    if (!(redact && v.contains_sensitive())) one.set("value", to_plain_json(v));
    variables.set(name, std::move(one));
  }
  if (!variables.empty()) out.set("variables", std::move(variables));
  out.set("planned_values", planned_values(plan, redact));
  json::Array drift, changes;
  for (const Change& c : plan.drift) drift.push_back(change_entry(c, redact));
  if (!drift.empty()) out.set("resource_drift", std::move(drift));
  bool applyable = plan.state_changed && plan.refresh_only;
  for (const Change& c : plan.changes) {
    applyable = applyable || c.action != Action::kNoop;
    changes.push_back(change_entry(c, redact));
  }
  if (!changes.empty()) out.set("resource_changes", std::move(changes));
  json::Object outputs;
  for (const auto& [name, o] : plan.outputs) {
    Change c;
    c.action = o.action;
    applyable = applyable || o.action != Action::kNoop;
    json::Object one;
    one.set("actions", action_json(o.action));
    one.set("before", known_json(o.before, redact));
    if (o.action == Action::kDelete || o.after.is_wholly_known() || o.after.is_known()) one.set("after", known_json(o.after, redact));
    one.set("after_unknown", o.after.is_wholly_known() ? json::Value(false) : unknown_json(o.after));
    one.set("before_sensitive", o.before_sensitive || (o.action == Action::kCreate && o.sensitive));
    one.set("after_sensitive", o.sensitive || (o.action == Action::kDelete && o.before_sensitive));
    outputs.set(name, std::move(one));
  }
  if (!outputs.empty()) out.set("output_changes", std::move(outputs));
  if (!plan.refreshed.resources.empty() || !plan.refreshed.outputs.empty()) out.set("prior_state", state_values(plan.refreshed, redact));
  json::Value described = configuration(plan);
  out.set("configuration", std::move(described));
  out.set("timestamp", format_rfc3339(plan.time));
  out.set("applyable", applyable);
  out.set("complete", plan.targets.empty());
  out.set("errored", false);
  return out;
}

}  // namespace engenho::magma
