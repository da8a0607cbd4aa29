#include "evaluation.h"

#include <cmath>

#include "engenho/base/bytes.h"

namespace engenho::magma {

using Kind = Type::Kind;

Evaluation::Evaluation(const Config& config, std::map<std::string, Value> variables, std::string workspace, WallTime time, bool applying)
    : config_(config), variables_(std::move(variables)), workspace_(std::move(workspace)), time_(time), applying_(applying) {
  for (const auto& [name, value] : variables_) learn(value);
}

void Evaluation::learn(const Value& value) const {
  if (!value.contains_sensitive()) return;
  std::lock_guard lock(mutex_);
  std::function<void(const Value&, bool)> look = [&](const Value& v, bool hidden) {
    hidden = hidden || v.sensitive();
    if (!v.holds()) return;
    if (hidden && v.is_string() && v.as_string().size() >= 3 && secrets_.size() < 10'000) secrets_.insert(v.as_string());
    if (v.type().is_sequence()) {
      for (const Value& item : v.items()) look(item, hidden);
    } else if (v.type().is_mapping()) {
      for (const auto& [name, member] : v.members()) look(member, hidden);
    }
  };
  look(value, false);
}

std::string Evaluation::without_secrets(std::string text) const {
  std::lock_guard lock(mutex_);
  for (const std::string& secret : secrets_) {
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos;) text.replace(at, secret.size(), "(sensitive value)"), at += 17;
  }
  return text;
}

void Evaluation::set_expansion(const ResourceAddress& resource, Expansion expansion) {
  std::lock_guard lock(mutex_);
  expansions_[resource] = std::move(expansion);
}
void Evaluation::set_instance(const InstanceAddress& instance, Value value) {
  learn(value);
  std::lock_guard lock(mutex_);
  instances_[instance.resource][instance.key] = std::move(value);
}
std::optional<Expansion> Evaluation::expansion(const ResourceAddress& resource) const {
  std::lock_guard lock(mutex_);
  auto at = expansions_.find(resource);
  return at == expansions_.end() ? std::nullopt : std::optional(at->second);
}

Result<Value> Evaluation::local(const std::string& name) const {
  {
    std::lock_guard lock(mutex_);
    if (auto at = locals_.find(name); at != locals_.end()) return at->second;
  }
  auto e = config_.locals.find(name);
  if (e == config_.locals.end()) return err(bad_request("there is no local value \"" + name + "\""));
  auto value = evaluate(*e->second, InstanceScope(*this));
  if (!value) return err(value.error().with_context("local." + name));
  std::lock_guard lock(mutex_);
  locals_.emplace(name, *value);
  return value;
}

Result<Value> Evaluation::resource(const ResourceAddress& address) const {
  std::lock_guard lock(mutex_);
  auto expansion = expansions_.find(address);
  if (expansion == expansions_.end()) return Value::unknown();   // left out of this run
  auto instances = instances_.find(address);
  auto value_of = [&](const InstanceKey& key) -> Value {
    if (instances == instances_.end()) return Value::unknown();
    auto at = instances->second.find(key);
    return at == instances->second.end() ? Value::unknown() : at->second;
  };
  if (expansion->second.mode == Expansion::Mode::kSingle) return value_of({});
  if (expansion->second.mode == Expansion::Mode::kCount) {
    Value::Items items;
    for (const InstanceKey& key : expansion->second.keys) items.push_back(value_of(key));
    return Value::tuple(std::move(items));
  }
  Value::Members members;
  for (const InstanceKey& key : expansion->second.keys) members.emplace(std::get<std::string>(key), value_of(key));
  return Value::object(std::move(members));
}

Result<Value> Evaluation::InstanceScope::resolve(const std::vector<std::string>& steps, size_t& used) const {
  const std::string& root = steps[0];
  const std::string name = steps.size() > 1 ? steps[1] : "";
  used = 2;
  auto whole = [&]() -> Status { return steps.size() < 2 ? bad_request("\"" + root + "\" needs a name after it") : Status(); };
  if (root == "var") {
    ENGENHO_TRY(whole());
    auto at = evaluation_.variables_.find(name);
    if (at == evaluation_.variables_.end()) return err(bad_request("there is no variable \"" + name + "\""));
    return at->second;
  }
  if (root == "local") {
    ENGENHO_TRY(whole());
    return evaluation_.local(name);
  }
  if (root == "each") {
    const auto* key = std::get_if<std::string>(&key_);
    if (key == nullptr) return err(bad_request("\"each\" can be used only where for_each is set"));
    if (name == "key") return Value::string(*key);
    if (name == "value") return each_;
  }
  if (root == "count" && name == "index") {
    const auto* index = std::get_if<int64_t>(&key_);
    if (index == nullptr) return err(bad_request("\"count\" can be used only where count is set"));
    return Value::number(static_cast<Number>(*index));
  }
  if (root == "path") {
    if (name == "module" || name == "root") return Value::string(evaluation_.config_.directory);
    if (name == "cwd") return Value::string(".");
  }
  if ((root == "terraform" || root == "tofu") && name == "workspace") return Value::string(evaluation_.workspace_);
  if (root == "self" && self_) {
    used = 1;
    return *self_;
  }
  ResourceAddress address;
  if (resource_of({steps}, address, used) && evaluation_.config_.resources.contains(address)) return evaluation_.resource(address);
  return err(bad_request("\"" + join(steps, ".") + "\" refers to nothing that is there"));
}

Result<Expansion> Evaluation::expand(const ResourceConfig& resource, std::map<std::string, Value>& each) const {
  Expansion out;
  const InstanceScope scope(*this);
  if (resource.count) {
    out.mode = Expansion::Mode::kCount;
    auto value = evaluate(*resource.count, scope);
    if (!value) return err(value.error().with_context("count"));
    if (value->sensitive()) return err(bad_request("count: sensitive values cannot be used here"));
    auto n = convert(*value, Type::number());
    if (!n) return err(n.error().with_context("count"));
    if (!n->is_known()) return err(bad_request("count: the value depends on resource attributes that cannot be determined until apply"));
    if (n->is_null()) return err(bad_request("count: the value is null"));
    if (n->as_number() < 0 || n->as_number() != std::trunc(n->as_number())) return err(bad_request("count: must be a whole number of zero or more"));
    if (n->as_number() > 100'000) return err(bad_request("count: more than 100000 instances"));
    for (int64_t i = 0; i < static_cast<int64_t>(n->as_number()); ++i) out.keys.emplace_back(i);
    return out;
  }
  if (!resource.for_each) {
    out.keys.emplace_back();
    return out;
  }
  out.mode = Expansion::Mode::kEach;
  auto value = evaluate(*resource.for_each, scope);
  if (!value) return err(value.error().with_context("for_each"));
  if (value->sensitive()) return err(bad_request("for_each: sensitive values cannot be used here"));
  if (!value->is_known()) return err(bad_request("for_each: the value depends on resource attributes that cannot be determined until apply"));
  if (value->is_null()) return err(bad_request("for_each: the value is null"));
  if (value->type().is_mapping()) {
    for (const auto& [name, member] : value->members()) each.emplace(name, member);
  } else if (value->type().is(Kind::kSet) || (value->type().is_sequence() && value->items().empty())) {
    for (const Value& item : value->items()) {
      if (!item.is_known()) return err(bad_request("for_each: the set includes values derived from resource attributes that cannot be determined until apply"));
      if (!item.is_string()) return err(bad_request("for_each: the set must hold strings"));
      each.emplace(item.as_string(), item);
    }
  } else {
    return err(bad_request("for_each: must be a map, or a set of strings, and this is a " + value->type().friendly_name()));
  }
  for (const auto& [name, member] : each) out.keys.emplace_back(name);
  return out;
}

std::vector<std::string> Evaluation::failed_rules(const std::vector<CheckRule>& rules, const Scope& scope) const {
  std::vector<std::string> out;
  for (const CheckRule& rule : rules) {
    auto condition = evaluate(*rule.condition, scope);
    if (!condition) {
      out.push_back(condition.error().message());
      continue;
    }
    auto holds = convert(*condition, Type::boolean());
    if (holds && !holds->is_known()) continue;   // looked at again when it is
    if (holds && holds->holds() && holds->as_bool()) continue;
    auto message = evaluate(*rule.error_message, scope);
    out.push_back(message && message->is_string() && !message->contains_sensitive() ? message->as_string() : "the condition does not hold, and its error message cannot be shown");
  }
  return out;
}

Result<std::map<std::string, Value>> variable_values(const Config& config, const json::Object& given) {
  std::map<std::string, Value> out;
  std::vector<std::string> problems;
  for (const auto& [name, value] : given) {
    if (config.variables.contains(name)) continue;
    std::vector<std::string> names;
    for (const auto& [n, v] : config.variables) names.push_back(n);
    const std::string near = nearest(name, names);
    problems.push_back("a value was given for the undeclared variable \"" + name + "\"" + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  const Config none;
  const Evaluation empty(none, {}, "", {}, false);
  for (const auto& [name, v] : config.variables) {
    const json::Value* source = given.find(name);
    Value value;
    if (source == nullptr || (source->is_null() && !v.nullable)) {
      if (!v.default_value) {
        problems.push_back("no value for required variable \"" + name + "\"");
        continue;
      }
      value = implied_from_json(*v.default_value);
    } else {
      value = implied_from_json(*source);
      // On a command line everything is text: what is to be a list or an object is written as JSON.
      if (value.is_string() && !v.type.is_primitive() && !v.type.is_dynamic()) {
        if (auto parsed = json::parse(value.as_string())) value = implied_from_json(*parsed);
      }
    }
    if (v.type_expr) value = apply_type_defaults(value, *v.type_expr, Evaluation::InstanceScope(empty));
    auto converted = convert(value, v.type);
    if (!converted) {
      problems.push_back("var." + name + ": " + (v.sensitive ? v.type.friendly_name() + " required" : converted.error().message()));
      continue;
    }
    if (converted->is_null() && !v.nullable) problems.push_back("var." + name + ": null is not allowed");
    out.emplace(name, converted->marked(v.sensitive));
  }
  if (!problems.empty()) return err(bad_request(join(problems, "\n")));
  const Evaluation evaluation(config, out, "", {}, false);
  for (const auto& [name, v] : config.variables) {
    for (const std::string& failed : evaluation.failed_rules(v.validations, Evaluation::InstanceScope(evaluation))) problems.push_back("var." + name + ": invalid value: " + failed);
  }
  if (!problems.empty()) return err(bad_request(join(problems, "\n")));
  return out;
}

}  // namespace engenho::magma
