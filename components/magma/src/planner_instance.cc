// Planning one instance: refresh, import, the plan itself, data sources, deletions.
#include <algorithm>

#include "planner.h"

namespace engenho::magma {

Result<Value> Planner::refresh_object(Provider& provider, const std::string& reference, const InstanceAddress& address, const std::string& deposed) {
  ObjectState object;
  {
    std::lock_guard lock(mutex_);
    InstanceState* const instance = plan_.refreshed.find(address);
    if (instance == nullptr) return Value();
    if (deposed.empty()) {
      if (!instance->current) return Value();
      object = *instance->current;
    } else {
      object = instance->deposed.at(deposed);
    }
  }
  ENGENHO_ASSIGN(const Value before, decode_object(provider, address.resource.type, false, object));
  evaluation_->learn(before);
  const ResourceSchema& schema = provider.schema().resources.find(address.resource.type)->second;
  Value after = before;
  std::string private_data = object.private_data;
  if (request_.refresh && !stop_.stopped()) {
    if (sink_) sink_({Progress::Kind::kRefresh, address.to_string(), "read", "", {}});
    Diagnostics d;
    ReadResult read = provider.read(address.resource.type, before.unmarked_deep(), object.private_data, d);
    {
      std::lock_guard lock(mutex_);
      take_warnings(d, address.to_string(), plan_.messages);
    }
    if (has_errors(d)) return err(bad_request(error_text(d)));
    if (!read.state.is_wholly_known()) return err(bad_request("the provider returned unknown values on read; this is a defect of the provider"));
    after = read.state.holds() ? mark_paths(mark_by_schema(read.state, schema.block), object.sensitive) : Value::null(schema.block.type());
    private_data = read.private_data;
  }
  std::lock_guard lock(mutex_);
  InstanceState* const instance = plan_.refreshed.find(address);
  std::optional<ObjectState> updated;
  if (after.holds()) {
    updated = encode_object(schema, after);
    updated->tainted = object.tainted;
    updated->private_data = private_data;
    updated->dependencies = object.dependencies;
    updated->create_before_destroy = object.create_before_destroy;
  }
  if (!after.equals(before) && deposed.empty()) {
    Change drift;
    drift.address = address;
    drift.provider = reference;
    drift.action = after.holds() ? Action::kUpdate : Action::kDelete;
    drift.before = before;
    drift.after = after;
    drift.schema_version = schema.version;
    plan_.drift.push_back(std::move(drift));
  }
  if (deposed.empty()) instance->current = updated;
  else if (updated) instance->deposed[deposed] = *updated;
  else instance->deposed.erase(deposed);
  return after.holds() ? after : Value();
}

bool Planner::plan_delete(Provider& provider, const std::string& reference, const InstanceAddress& address, const std::string& deposed, const std::string& reason, const Lifecycle* lifecycle) {
  const std::string name = address.to_string();
  auto before = refresh_object(provider, reference, address, deposed);
  if (!before) {
    fail(name, before.error().message());
    return false;
  }
  if (before->is_null()) return true;   // gone already
  if (plan_.refresh_only) {
    if (deposed.empty()) evaluation_->set_instance(address, *before);
    return true;
  }
  if (lifecycle != nullptr && lifecycle->prevent_destroy) {
    fail(name, "instance cannot be destroyed: lifecycle.prevent_destroy is set, and the plan calls for it to be destroyed");
    return false;
  }
  Change change;
  change.address = address;
  change.deposed = deposed;
  change.provider = reference;
  change.action = Action::kDelete;
  change.before = *before;
  change.after = Value::null(before->type());
  change.reason = reason;
  const auto& schema = provider.schema().resources.find(address.resource.type)->second;
  change.schema_version = schema.version;
  {
    std::lock_guard lock(mutex_);
    InstanceState* const instance = plan_.refreshed.find(address);
    const ObjectState& object = deposed.empty() ? *instance->current : instance->deposed.at(deposed);
    change.private_data = object.private_data;
    change.dependencies = object.dependencies;
    change.create_before_destroy = object.create_before_destroy;
  }
  if (provider.schema().plan_destroy) {
    Diagnostics d;
    PlanResult planned = provider.plan(address.resource.type, before->unmarked_deep(), Value::null(schema.block.type()), Value::null(schema.block.type()), change.private_data, d);
    if (has_errors(d)) {
      fail(name, error_text(d));
      return false;
    }
    change.private_data = planned.private_data;
  }
  // The configuration of providers may still read it.
  if (plan_.destroy && deposed.empty()) evaluation_->set_instance(address, *before);
  add_change(std::move(change));
  return true;
}

bool Planner::replaces_others(const ResourceConfig& resource, const Scope& scope) {
  std::lock_guard lock(mutex_);
  for (const Reference& reference : resource.lifecycle.replace_triggered_by) {
    ResourceAddress address;
    size_t steps = 0;
    if (!resource_of(reference, address, steps)) continue;
    std::string key;
    size_t next = steps;
    if (reference.steps.size() > next && reference.steps[next][0] == '[') key = reference.steps[next++];
    Path path;
    for (; next < reference.steps.size() && reference.steps[next][0] != '['; ++next) path.push_back({reference.steps[next]});
    for (const Change& c : plan_.changes) {
      if (c.address.resource != address || !c.deposed.empty() || (!key.empty() && key_to_string(c.address.key) != key)) continue;
      if (c.action == Action::kNoop || c.action == Action::kRead || c.action == Action::kDelete || c.action == Action::kForget) continue;
      if (path.empty() || !c.before.holds()) return true;
      Value x, y;
      const Value* const before = at_path(c.before, path, x);
      const Value* const after = at_path(c.after, path, y);
      if (before == nullptr || after == nullptr || !after->is_wholly_known() || !before->unmarked_deep().equals(after->unmarked_deep())) return true;
    }
  }
  return false;
}

Result<Value> Planner::adopt(Provider& provider, const std::string& reference, const InstanceAddress& address, const std::string& id) {
  const std::string& type = address.resource.type;
  Diagnostics d;
  std::vector<Imported> found = provider.import(type, id, d);
  if (has_errors(d)) return err(bad_request(error_text(d)));
  std::erase_if(found, [&](const Imported& i) { return i.type != type; });
  if (found.size() != 1 || !found[0].state.holds()) return err(bad_request("the provider returned no " + type + " for the import"));
  ReadResult read = provider.read(type, found[0].state, found[0].private_data, d);
  if (has_errors(d)) return err(bad_request(error_text(d)));
  if (!read.state.holds()) return err(not_found_error("cannot import: there is no remote object of this id"));
  const ResourceSchema& schema = provider.schema().resources.find(type)->second;
  const Value value = mark_by_schema(read.state, schema.block);
  ObjectState object = encode_object(schema, value);
  object.private_data = read.private_data;
  std::lock_guard lock(mutex_);
  plan_.refreshed.at(address, reference).current = std::move(object);
  return value;
}

bool Planner::plan_managed(const ResourceConfig& resource, Provider& provider, const std::string& reference, const InstanceAddress& address, const Value& each) {
  const std::string name = address.to_string();
  auto failed = [&](const std::string& what) {
    fail(name, what);
    return false;
  };
  if (stop_.stopped()) return failed("cancelled");
  const ResourceSchema& schema = provider.schema().resources.find(resource.address.type)->second;
  auto prior = refresh_object(provider, reference, address, "");
  if (!prior) return failed(prior.error().message());
  const Evaluation::InstanceScope scope(*evaluation_, address.key, each);
  std::string import_id;
  if (prior->is_null() && !plan_.refresh_only) {
    for (const ImportConfig& import : config_.imports) {
      if (!(import.to == address)) continue;
      auto id = evaluate(*import.id, scope);
      if (!id || !id->is_string()) return failed("the import id must be a known string");
      auto adopted = adopt(provider, reference, address, id->as_string());
      if (!adopted) return failed(adopted.error().message());
      prior = adopted;
      import_id = id->as_string();
    }
  }
  if (plan_.refresh_only) {
    evaluation_->set_instance(address, prior->holds() ? *prior : Value::unknown(schema.block.type()));
    return true;
  }
  for (const std::string& rule : evaluation_->failed_rules(resource.lifecycle.preconditions, scope)) return failed("resource precondition failed: " + rule);
  auto config = evaluate_config(schema.block, resource, scope);
  if (!config) return failed(config.error().message());
  evaluation_->learn(mark_paths(mark_by_schema(config->value, schema.block), config->sensitive));
  Diagnostics d;
  provider.validate_resource(resource.address.type, false, config->value, d);
  std::vector<Message> warnings;
  take_warnings(d, name, warnings);
  if (has_errors(d)) return failed(error_text(d));

  ObjectState object;
  {
    std::lock_guard lock(mutex_);
    if (const ObjectState* current = plan_.refreshed.current(address)) object = *current;
  }
  const bool triggered = prior->holds() && replaces_others(resource, scope);
  const bool forced = prior->holds() && (object.tainted || triggered || replace_.contains(address));
  auto planned = plan_instance(provider, resource, *config, prior->holds() ? *prior : Value::null(schema.block.type()), object.private_data, forced, create_before_destroy(resource.address),
                               warnings, name);
  if (!planned) return failed(planned.error().message());

  Change change;
  change.address = address;
  change.provider = reference;
  change.action = planned->action;
  change.before = prior->holds() ? *prior : Value::null(schema.block.type());
  change.after = planned->planned;
  change.replace_paths = planned->replace_paths;
  change.private_data = planned->private_data;
  change.import_id = import_id;
  change.create_before_destroy = create_before_destroy(resource.address);
  change.schema_version = schema.version;
  change.dependencies = dependencies(resource);
  if (is_replace(change.action)) {
    if (object.tainted) change.reason = "replace_because_tainted";
    else if (replace_.contains(address)) change.reason = "replace_by_request";
    else if (triggered) change.reason = "replace_by_triggers";
    else change.reason = "replace_because_cannot_update";
    if (resource.lifecycle.prevent_destroy) return failed("instance cannot be destroyed: lifecycle.prevent_destroy is set, and the plan calls for it to be replaced");
  }
  const Evaluation::InstanceScope own(*evaluation_, address.key, each, change.after);
  for (const std::string& rule : evaluation_->failed_rules(resource.lifecycle.postconditions, own)) return failed("resource postcondition failed: " + rule);
  evaluation_->set_instance(address, change.after);
  {
    std::lock_guard lock(mutex_);
    if (auto at = moved_.find(address); at != moved_.end()) change.previous = at->second;
    plan_.messages.insert(plan_.messages.end(), warnings.begin(), warnings.end());
  }
  add_change(std::move(change));
  return true;
}

bool Planner::pending_dependency(const ResourceConfig& resource) {
  std::set<std::string> wanted;
  for (const Reference& d : resource.depends_on) {
    ResourceAddress address;
    size_t steps = 0;
    if (!resource_of(d, address, steps)) continue;
    wanted.insert(address.to_string());
    if (auto at = config_.resources.find(address); at != config_.resources.end()) {
      for (const std::string& further : dependencies(at->second)) wanted.insert(further);
    }
  }
  if (wanted.empty()) return false;
  std::lock_guard lock(mutex_);
  return std::any_of(plan_.changes.begin(), plan_.changes.end(), [&](const Change& c) { return c.action != Action::kNoop && wanted.contains(c.address.resource.to_string()); });
}

bool Planner::plan_data(const ResourceConfig& resource, Provider& provider, const std::string& reference, const InstanceAddress& address, const Value& each) {
  const std::string name = address.to_string();
  auto failed = [&](const std::string& what) {
    fail(name, what);
    return false;
  };
  if (stop_.stopped()) return failed("cancelled");
  const ResourceSchema& schema = provider.schema().data_sources.find(resource.address.type)->second;
  const Evaluation::InstanceScope scope(*evaluation_, address.key, each);
  for (const std::string& rule : evaluation_->failed_rules(resource.lifecycle.preconditions, scope)) return failed("resource precondition failed: " + rule);
  auto config = evaluate_config(schema.block, resource, scope);
  if (!config) return failed(config.error().message());
  evaluation_->learn(mark_paths(mark_by_schema(config->value, schema.block), config->sensitive));
  Diagnostics d;
  provider.validate_resource(resource.address.type, true, config->value, d);
  if (has_errors(d)) return failed(error_text(d));
  const bool known = config->value.is_wholly_known();
  const bool pending = known && pending_dependency(resource);
  if (!known || pending) {
    Change change;
    change.address = address;
    change.provider = reference;
    change.action = Action::kRead;
    change.before = Value::null(schema.block.type());
    change.after = mark_paths(mark_by_schema(unknown_computed(schema.block, config->value), schema.block), config->sensitive);
    change.reason = known ? "read_because_dependency_pending" : "read_because_config_unknown";
    change.schema_version = schema.version;
    change.dependencies = dependencies(resource);
    evaluation_->set_instance(address, change.after);
    add_change(std::move(change));
    return true;
  }
  if (sink_) sink_({Progress::Kind::kRefresh, name, "read", "", {}});
  const Value read = provider.read_data(resource.address.type, config->value, d);
  std::vector<Message> warnings;
  take_warnings(d, name, warnings);
  if (has_errors(d)) return failed(error_text(d));
  if (!read.holds() || !read.is_wholly_known()) return failed("the provider returned no object, or unknown values; this is a defect of the provider");
  const Value value = mark_paths(mark_by_schema(read, schema.block), config->sensitive);
  const Evaluation::InstanceScope own(*evaluation_, address.key, each, value);
  for (const std::string& rule : evaluation_->failed_rules(resource.lifecycle.postconditions, own)) return failed("resource postcondition failed: " + rule);
  evaluation_->set_instance(address, value);
  std::lock_guard lock(mutex_);
  plan_.messages.insert(plan_.messages.end(), warnings.begin(), warnings.end());
  ObjectState object = encode_object(schema, value);
  plan_.refreshed.at(address, reference).current = std::move(object);
  return true;
}

}  // namespace engenho::magma
