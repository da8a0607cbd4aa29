#include "instance.h"

#include <algorithm>

namespace engenho::magma {

void take_warnings(const Diagnostics& d, const std::string& object, std::vector<Message>& out) {
  for (const Diagnostic& one : d) {
    if (!one.error) out.push_back({false, object, one.summary, one.detail});
  }
}

Result<Value> decode_object(Provider& provider, const std::string& type, bool data, const ObjectState& object) {
  const auto& schemas = data ? provider.schema().data_sources : provider.schema().resources;
  auto schema = schemas.find(type);
  if (schema == schemas.end()) return err(bad_request("the provider does not support the " + std::string(data ? "data source" : "resource type") + " \"" + type + "\""));
  Value value;
  if (data) {
    ENGENHO_ASSIGN(value, from_json(object.attributes, schema->second.block.type()));
  } else {
    Diagnostics d;
    value = provider.upgrade(type, object.schema_version, object.attributes, d);
    if (has_errors(d)) return err(bad_request(error_text(d)));
  }
  return mark_paths(mark_by_schema(value, schema->second.block), object.sensitive);
}

ObjectState encode_object(const ResourceSchema& schema, const Value& value) {
  ObjectState out;
  out.schema_version = schema.version;
  out.attributes = to_json(value, schema.block.type());
  // What the schema marks anyway needs no mention, yet upstream names it too; either is read.
  out.sensitive = sensitive_paths(value);
  return out;
}

Result<InstanceConfig> evaluate_config(const Block& schema, const ResourceConfig& resource, const Scope& scope) {
  ENGENHO_ASSIGN(Value value, decode_body(schema, resource.body, scope));
  InstanceConfig out;
  out.sensitive = sensitive_paths(value);
  out.value = value.unmarked_deep();
  return out;
}

namespace {

Value replace_at(const Value& value, const Path& path, size_t depth, const Value& with) {
  if (depth == path.size()) return with;
  if (!value.holds()) return value;
  const PathStep& step = path[depth];
  if (const auto* name = std::get_if<std::string>(&step.key)) {
    if (!value.type().is_mapping()) return value;
    Value::Members members = value.members();
    auto at = members.find(*name);
    if (at == members.end()) {
      if (!value.type().is(Type::Kind::kMap) || depth + 1 != path.size() || with.is_null()) return value;
      members.emplace(*name, with);
    } else if (depth + 1 == path.size() && with.is_null() && value.type().is(Type::Kind::kMap)) {
      members.erase(at);
    } else {
      at->second = replace_at(at->second, path, depth + 1, with);
    }
    return value.type().is(Type::Kind::kMap) ? Value::map(value.type().element(), std::move(members)) : Value::object(std::move(members));
  }
  const auto index = static_cast<size_t>(std::get<int64_t>(step.key));
  if (!value.type().is_sequence() || value.type().is(Type::Kind::kSet) || index >= value.items().size()) return value;
  Value::Items items = value.items();
  items[index] = replace_at(items[index], path, depth + 1, with);
  return value.type().is(Type::Kind::kList) ? Value::list(value.type().element(), std::move(items)) : Value::tuple(std::move(items));
}

// Whether the values differ at the path, or as near to it as both reach.
bool differs_at(const Value& a, const Value& b, const Path& path) {
  for (size_t length = path.size() + 1; length-- > 0;) {
    const Path prefix(path.begin(), path.begin() + static_cast<ptrdiff_t>(length));
    Value x, y;
    const Value* const p = at_path(a, prefix, x);
    const Value* const q = at_path(b, prefix, y);
    if (p == nullptr && q == nullptr) continue;
    if (p == nullptr || q == nullptr) {
      // One of them lacks it: what lacks it counts as null there.
      const Value* const have = p != nullptr ? p : q;
      if (have->is_null()) return false;
      return true;
    }
    return !p->is_wholly_known() || !q->is_wholly_known() || !p->unmarked_deep().equals(q->unmarked_deep());
  }
  return false;
}

}  // namespace

Value with_ignored(const Lifecycle& lifecycle, const Value& prior, const Value& config) {
  if (!prior.holds()) return config;
  if (lifecycle.ignore_all) return prior;
  Value out = config;
  for (const Path& path : lifecycle.ignore_changes) {
    Value scratch;
    const Value* const before = at_path(prior, path, scratch);
    out = replace_at(out, path, 0, before != nullptr ? before->unmarked_deep() : Value());
  }
  return out;
}

Result<InstancePlan> plan_instance(Provider& provider, const ResourceConfig& resource, const InstanceConfig& config, const Value& prior, const std::string& prior_private, bool forced,
                                   bool create_before_destroy, std::vector<Message>& warnings, const std::string& object) {
  const std::string& type = resource.address.type;
  const Block& block = provider.schema().resources.find(type)->second.block;
  const Value before = prior.unmarked_deep();
  Value effective = with_ignored(resource.lifecycle, before, config.value);
  if (resource.lifecycle.ignore_all && before.holds()) {
    // Computed values are the provider's: what it alone decides is not configured.
    Value::Members members = effective.members();
    for (const Attribute& a : block.attributes) {
      if (a.computed && !a.optional) members[a.name] = Value::null(a.type);
    }
    effective = Value::object(std::move(members));
  }
  auto ask = [&](const Value& from) -> Result<PlanResult> {
    Diagnostics d;
    PlanResult result = provider.plan(type, from, proposed_new(block, from, effective), effective, from.holds() ? prior_private : "", d);
    take_warnings(d, object, warnings);
    if (has_errors(d)) return err(bad_request(error_text(d)));
    if (!result.planned.holds()) return err(bad_request("the provider planned no object for it; this is a defect of the provider"));
    if (!result.legacy_types) {
      const auto violations = plan_violations(block, from, effective, result.planned);
      if (!violations.empty()) return err(bad_request("provider produced invalid plan: " + violations[0] + "; this is a defect of the provider"));
    }
    return result;
  };
  const Value none = Value::null(block.type());
  ENGENHO_ASSIGN(PlanResult result, ask(before.holds() ? before : none));
  InstancePlan out;
  bool replace = forced && before.holds();
  if (before.holds()) {
    for (const Path& path : result.requires_replace) {
      if (differs_at(before, result.planned, path)) out.replace_paths.push_back(path);
    }
    replace = replace || !out.replace_paths.empty();
  }
  if (replace) {
    ENGENHO_ASSIGN(result, ask(none));
    out.action = create_before_destroy ? Action::kCreateThenDelete : Action::kDeleteThenCreate;
  } else {
    out.action = !before.holds() ? Action::kCreate : result.planned.equals(before) ? Action::kNoop : Action::kUpdate;
  }
  out.planned = mark_paths(mark_by_schema(result.planned, block), config.sensitive);
  if (out.action == Action::kNoop) {
    out.planned = mark_paths(mark_by_schema(before, block), config.sensitive);
    // What is sensitive is part of the state: a change of that alone is to be stored too.
    auto was = sensitive_paths(prior), is = sensitive_paths(out.planned);
    std::sort(was.begin(), was.end());
    std::sort(is.begin(), is.end());
    if (was != is) out.action = Action::kUpdate;
  }
  out.private_data = result.private_data;
  return out;
}

}  // namespace engenho::magma
