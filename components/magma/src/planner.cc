#include "planner.h"

#include <algorithm>
#include <atomic>

#include "engenho/base/bytes.h"

namespace engenho::magma {

Planner::Planner(const EngineOptions& options, const PlanRequest& request, const Config& config, const ProgressSink& sink, StopToken stop)
    : options_(options), request_(request), config_(config), sink_(sink), stop_(stop), providers_(options, config, stop) {}

void Planner::fail(const std::string& object, const std::string& what) {
  const std::string text = evaluation_ ? evaluation_->without_secrets(what) : what;
  std::lock_guard lock(mutex_);
  problems_.push_back(object.empty() ? text : object + ": " + text);
}

void Planner::add_change(Change change) {
  std::lock_guard lock(mutex_);
  plan_.changes.push_back(std::move(change));
}

int Planner::parallelism(const std::string& reference) const {
  // Built-in providers answer at once: threads would cost more than they bring.
  auto parsed = parse_provider_reference(reference);
  return parsed && options_.builtin_providers && parsed->first.ends_with("/terraform") ? 1 : options_.parallelism;
}

std::vector<std::string> Planner::dependencies(const ResourceConfig& resource) const {
  std::set<ResourceAddress> all;
  std::vector<ResourceAddress> work = {resource.address};
  while (!work.empty()) {
    const ResourceAddress at = work.back();
    work.pop_back();
    auto found = direct_.find(at);
    if (found == direct_.end()) continue;
    for (const ResourceAddress& next : found->second) {
      if (all.insert(next).second) work.push_back(next);
    }
  }
  all.erase(resource.address);
  std::vector<std::string> out;
  for (const ResourceAddress& a : all) out.push_back(a.to_string());
  return out;
}

// What is created first makes everything it depends on be created first too; else the order could not be kept.
void Planner::find_create_first() {
  std::vector<ResourceAddress> work;
  for (const auto& [address, r] : config_.resources) {
    if (r.lifecycle.create_before_destroy.value_or(false)) work.push_back(address);
  }
  while (!work.empty()) {
    const ResourceAddress at = work.back();
    work.pop_back();
    if (!create_first_.insert(at).second) continue;
    for (const ResourceAddress& next : direct_[at]) work.push_back(next);
  }
}

bool Planner::targeted(const ResourceAddress& resource) const { return !targets_ || targets_->contains(resource); }

void Planner::find_targets() {
  for (const std::string& text : request_.replace) {
    auto address = parse_instance_address(text);
    if (address) replace_.insert(*address);
    else problems_.push_back(address.error().message());
  }
  if (request_.targets.empty()) return;
  targets_.emplace();
  std::vector<ResourceAddress> work;
  for (const std::string& text : request_.targets) {
    auto address = parse_instance_address(text);
    if (!address) {
      problems_.push_back(address.error().message());
      continue;
    }
    work.push_back(address->resource);
    if (address->key.index() != 0) target_instances_.insert(*address);
    plan_.targets.push_back(text);
  }
  std::set<ResourceAddress> named(work.begin(), work.end());
  // Instances count only where nothing names the whole resource.
  for (const std::string& text : request_.targets) {
    auto address = parse_instance_address(text);
    if (address && address->key.index() == 0) std::erase_if(target_instances_, [&](const InstanceAddress& i) { return i.resource == address->resource; });
  }
  if (plan_.destroy) {
    // What depends on a target goes with it.
    bool grown = true;
    while (grown) {
      grown = false;
      for (const auto& [address, r] : plan_.refreshed.resources) {
        if (named.contains(address)) continue;
        for (const auto& [key, i] : r.instances) {
          if (!i.current) continue;
          for (const std::string& d : i.current->dependencies) {
            for (const ResourceAddress& n : named) {
              if (n.to_string() == d) grown = named.insert(address).second || grown;
            }
            if (named.contains(address)) break;
          }
        }
      }
    }
    *targets_ = named;
    return;
  }
  while (!work.empty()) {
    const ResourceAddress at = work.back();
    work.pop_back();
    if (!targets_->insert(at).second) continue;
    for (const ResourceAddress& next : direct_[at]) work.push_back(next);
  }
}

void Planner::move_objects() {
  for (const MovedConfig& m : config_.moved) {
    State& state = plan_.refreshed;
    auto from = state.resources.find(m.from.resource);
    if (from == state.resources.end()) continue;
    if (m.from.key.index() == 0 && m.to.key.index() == 0) {
      if (state.resources.contains(m.to.resource)) continue;
      for (const auto& [key, i] : from->second.instances) moved_[{m.to.resource, key}] = {m.from.resource, key};
      state.resources[m.to.resource] = std::move(from->second);
      state.resources.erase(m.from.resource);
      continue;
    }
    auto instance = from->second.instances.find(m.from.key);
    if (instance == from->second.instances.end() || state.current(m.to) != nullptr) continue;
    const std::string provider = from->second.provider;
    InstanceState object = std::move(instance->second);
    from->second.instances.erase(instance);
    state.at(m.to, provider) = std::move(object);
    moved_[m.to] = m.from;
    state.prune();
  }
}

// Adding or taking away count moves the one instance along.
void Planner::move_count(const ResourceConfig& resource, const Expansion& expansion) {
  std::lock_guard lock(mutex_);
  auto at = plan_.refreshed.resources.find(resource.address);
  if (at == plan_.refreshed.resources.end()) return;
  auto& instances = at->second.instances;
  const InstanceKey none, first = int64_t{0};
  const bool count = expansion.mode == Expansion::Mode::kCount;
  const InstanceKey from = count ? none : first, to = count ? first : none;
  if (expansion.mode == Expansion::Mode::kEach || !instances.contains(from) || instances.contains(to) || (count && expansion.keys.empty())) return;
  instances[to] = std::move(instances[from]);
  instances.erase(from);
  moved_[{resource.address, to}] = {resource.address, from};
}

Result<Provider*> Planner::ready_provider(const std::string& reference, const std::string& object, bool configure) {
  auto provider = providers_.get(reference);
  if (!provider) return provider;
  if (configure) {
    std::vector<Message> warnings;
    Status s = providers_.configure(reference, *evaluation_, warnings);
    std::lock_guard lock(mutex_);
    plan_.messages.insert(plan_.messages.end(), warnings.begin(), warnings.end());
    if (!s.ok()) return err(s);
  }
  return provider;
}

// What the state has of this resource and its count or for_each no longer asks for, and objects left over from replacements.
bool Planner::plan_leftovers(const ResourceConfig& resource, Provider& provider, const std::string& reference, const Expansion& expansion) {
  struct Item {
    InstanceAddress address;
    std::string deposed, reason;
  };
  std::vector<Item> items;
  {
    std::lock_guard lock(mutex_);
    auto at = plan_.refreshed.resources.find(resource.address);
    if (at == plan_.refreshed.resources.end()) return true;
    for (const auto& [key, instance] : at->second.instances) {
      for (const auto& [deposed, object] : instance.deposed) items.push_back({{resource.address, key}, deposed, ""});
      if (!instance.current || std::find(expansion.keys.begin(), expansion.keys.end(), key) != expansion.keys.end()) continue;
      const bool fits = expansion.mode == Expansion::Mode::kCount ? std::holds_alternative<int64_t>(key) : expansion.mode == Expansion::Mode::kEach && std::holds_alternative<std::string>(key);
      items.push_back({{resource.address, key}, "", !fits ? "delete_because_wrong_repetition" : expansion.mode == Expansion::Mode::kCount ? "delete_because_count_index" : "delete_because_each_key"});
    }
    if (resource.address.data) {
      for (const Item& item : items) at->second.instances.erase(item.address.key);
      return true;
    }
  }
  bool good = true;
  for (const Item& item : items) good = plan_delete(provider, reference, item.address, item.deposed, item.reason, &resource.lifecycle) && good;
  return good;
}

bool Planner::plan_resource(const ResourceConfig& resource) {
  const std::string name = resource.address.to_string();
  const std::string reference = providers_.reference_of(resource);
  if (resource.address.data && plan_.destroy) return true;
  auto provider = ready_provider(reference, name);
  if (!provider) {
    fail(name, provider.error().message());
    return false;
  }
  const auto& schemas = resource.address.data ? (*provider)->schema().data_sources : (*provider)->schema().resources;
  if (!schemas.contains(resource.address.type)) {
    fail(name, "the provider " + config_.provider_source(resource.provider_local()) + " does not support the " + (resource.address.data ? "data source" : "resource type") + " \"" + resource.address.type + "\"");
    return false;
  }
  if (plan_.destroy) {
    std::vector<std::pair<InstanceAddress, std::string>> objects;
    {
      std::lock_guard lock(mutex_);
      auto at = plan_.refreshed.resources.find(resource.address);
      if (at == plan_.refreshed.resources.end()) return true;
      Expansion as_stored;
      for (const auto& [key, instance] : at->second.instances) {
        as_stored.mode = std::holds_alternative<int64_t>(key) ? Expansion::Mode::kCount : std::holds_alternative<std::string>(key) ? Expansion::Mode::kEach : Expansion::Mode::kSingle;
        as_stored.keys.push_back(key);
      }
      plan_.expansions[resource.address] = as_stored;
      evaluation_->set_expansion(resource.address, as_stored);
      for (const auto& [key, instance] : at->second.instances) {
        const InstanceAddress address{resource.address, key};
        if (!target_instances_.empty() && targets_ && targets_->contains(resource.address) && !target_instances_.contains(address) &&
            std::any_of(target_instances_.begin(), target_instances_.end(), [&](const auto& t) { return t.resource == resource.address; })) continue;
        if (instance.current) objects.emplace_back(address, "");
        for (const auto& [deposed, object] : instance.deposed) objects.emplace_back(address, deposed);
      }
    }
    std::atomic<bool> good{true};
    parallel_for(objects.size(), parallelism(reference), [&](size_t i) {
      if (!plan_delete(**provider, reference, objects[i].first, objects[i].second, "", &resource.lifecycle)) good = false;
    });
    return good;
  }
  std::map<std::string, Value> each;
  auto expansion = evaluation_->expand(resource, each);
  if (!expansion) {
    fail(name, expansion.error().message());
    return false;
  }
  move_count(resource, *expansion);
  evaluation_->set_expansion(resource.address, *expansion);
  {
    std::lock_guard lock(mutex_);
    plan_.expansions[resource.address] = *expansion;
  }
  std::atomic<bool> good{true};
  std::vector<InstanceKey> keys = expansion->keys;
  const bool some = std::any_of(target_instances_.begin(), target_instances_.end(), [&](const auto& t) { return t.resource == resource.address; });
  if (some) std::erase_if(keys, [&](const InstanceKey& k) { return !target_instances_.contains({resource.address, k}); });
  parallel_for(keys.size(), parallelism(reference), [&](size_t i) {
    const InstanceAddress address{resource.address, keys[i]};
    const auto* key = std::get_if<std::string>(&keys[i]);
    const Value value = key != nullptr ? each.at(*key) : Value();
    const bool done = resource.address.data ? plan_data(resource, **provider, reference, address, value) : plan_managed(resource, **provider, reference, address, value);
    if (!done) good = false;
  });
  if (!some) good = plan_leftovers(resource, **provider, reference, *expansion) && good;
  return good;
}

// Resources that the configuration no longer has.
bool Planner::plan_orphans(const ResourceAddress& resource) {
  std::string reference;
  std::vector<std::pair<InstanceAddress, std::string>> objects;
  bool forget = false;
  for (const RemovedConfig& r : config_.removed) forget = forget || (r.from == resource && !r.destroy);
  {
    std::lock_guard lock(mutex_);
    const ResourceState& state = plan_.refreshed.resources.at(resource);
    reference = state.provider;
    for (const auto& [key, instance] : state.instances) {
      if (instance.current) objects.emplace_back(InstanceAddress{resource, key}, "");
      for (const auto& [deposed, object] : instance.deposed) objects.emplace_back(InstanceAddress{resource, key}, deposed);
    }
    if (resource.data) {
      plan_.refreshed.resources.erase(resource);
      return true;
    }
  }
  auto provider = ready_provider(reference, resource.to_string());
  if (!provider) {
    fail(resource.to_string(), provider.error().message());
    return false;
  }
  std::atomic<bool> good{true};
  parallel_for(objects.size(), parallelism(reference), [&](size_t i) {
    const auto& [address, deposed] = objects[i];
    if (!plan_delete(**provider, reference, address, deposed, deposed.empty() && !plan_.destroy ? "delete_because_no_resource_config" : "", nullptr)) good = false;
  });
  if (forget) {
    std::lock_guard lock(mutex_);
    for (Change& c : plan_.changes) {
      if (c.address.resource == resource && c.action == Action::kDelete) c.action = Action::kForget;
    }
  }
  return good;
}

void Planner::plan_outputs() {
  if (plan_.destroy && targets_) return;   // what is left may still be told
  const Evaluation::InstanceScope scope(*evaluation_);
  std::set<std::string> names;
  for (const auto& [name, o] : config_.outputs) names.insert(name);
  for (const auto& [name, o] : plan_.refreshed.outputs) names.insert(name);
  for (const std::string& name : names) {
    OutputChange change;
    if (auto at = plan_.refreshed.outputs.find(name); at != plan_.refreshed.outputs.end()) {
      auto type = Type::from_json(at->second.type);
      auto value = type ? from_json(at->second.value, *type) : Result<Value>(implied_from_json(at->second.value));
      change.before = (value ? *value : implied_from_json(at->second.value)).marked(at->second.sensitive);
      change.before_sensitive = at->second.sensitive;
    }
    auto at = config_.outputs.find(name);
    if (at != config_.outputs.end() && !plan_.destroy) {
      const OutputConfig& o = at->second;
      if (targets_) {
        // Only what can be said from what this run looks at.
        std::set<Reference> found;
        collect_references(*o.value, found);
        const auto needs = config_.resource_dependencies(found);
        if (std::any_of(needs.begin(), needs.end(), [&](const ResourceAddress& r) { return !targets_->contains(r); })) continue;
      }
      for (const std::string& rule : evaluation_->failed_rules(o.preconditions, scope)) fail("output." + name, "precondition failed: " + rule);
      auto value = evaluate(*o.value, scope);
      if (!value) {
        fail("output." + name, value.error().message());
        continue;
      }
      if (value->contains_sensitive() && !o.sensitive) {
        fail("output." + name, "the value is derived from a sensitive value; set sensitive = true to allow that");
        continue;
      }
      change.after = value->unmarked_deep().marked(o.sensitive);
      change.sensitive = o.sensitive;
    }
    const bool exists = plan_.refreshed.outputs.contains(name), wanted = at != config_.outputs.end() && !plan_.destroy;
    if (exists && wanted) {
      change.action = change.after.is_wholly_known() && change.after.unmarked_deep().equals(change.before.unmarked_deep()) && change.sensitive == change.before_sensitive ? Action::kNoop : Action::kUpdate;
    } else {
      change.action = !wanted ? Action::kDelete : change.after.is_null() ? Action::kNoop : Action::kCreate;   // null is as good as absent
    }
    if (!exists && !wanted) continue;
    plan_.outputs.emplace(name, std::move(change));
  }
}

Result<PlanData> Planner::run(State stored, std::map<std::string, Value> variables) {
  plan_.config = request_.config;
  plan_.directory = request_.directory;
  plan_.workspace = request_.workspace;
  plan_.variables = variables;
  plan_.destroy = request_.destroy;
  plan_.refresh_only = request_.refresh_only;
  plan_.time = std::chrono::floor<std::chrono::seconds>(Clock::real().wall());
  plan_.serial = stored.serial;
  plan_.lineage = stored.lineage;
  plan_.refreshed = stored;
  evaluation_.emplace(config_, std::move(variables), request_.workspace, plan_.time, false);
  for (const auto& [address, r] : config_.resources) direct_[address] = config_.resource_dependencies(config_.references(r));
  find_create_first();
  move_objects();
  find_targets();
  if (!problems_.empty()) return err(bad_request(join(problems_, "\n")));

  Graph graph;
  std::map<ResourceAddress, Graph::Id> nodes;
  for (const auto& [address, r] : config_.resources) {
    if (!targeted(address)) continue;
    nodes[address] = graph.add([this, &resource = r] { return plan_resource(resource); });
  }
  for (const auto& [address, id] : nodes) {
    const ResourceConfig& r = config_.resources.at(address);
    std::set<ResourceAddress> needs = direct_[address];
    if (const ProviderConfig* p = providers_.config_of(providers_.reference_of(r))) needs.merge(config_.resource_dependencies(config_.references(*p)));
    for (const ResourceAddress& other : needs) {
      auto at = nodes.find(other);
      if (at != nodes.end() && at->first != address) graph.after(id, at->second);
    }
  }
  std::vector<Graph::Id> all;
  for (const auto& [address, id] : nodes) all.push_back(id);
  for (const auto& [address, r] : stored.resources) (void)r;
  std::vector<ResourceAddress> orphans;
  for (const auto& [address, r] : plan_.refreshed.resources) {
    if (!config_.resources.contains(address) && targeted(address)) orphans.push_back(address);
  }
  for (const ResourceAddress& address : orphans) {
    const Graph::Id id = graph.add([this, address] { return plan_orphans(address); });
    // Their provider may be configured from resources that are there.
    if (const ProviderConfig* p = providers_.config_of(plan_.refreshed.resources.at(address).provider)) {
      for (const ResourceAddress& need : config_.resource_dependencies(config_.references(*p))) {
        if (auto at = nodes.find(need); at != nodes.end()) graph.after(id, at->second);
      }
    }
  }
  if (!graph.run(options_.parallelism, stop_)) problems_.push_back("the resources depend on each other in a cycle");
  if (stop_.stopped()) problems_.push_back("cancelled");
  if (plan_.destroy) {
    std::erase_if(plan_.refreshed.resources, [&](const auto& entry) { return entry.first.data && targeted(entry.first); });
  }
  if (problems_.empty()) plan_outputs();
  if (!problems_.empty()) {
    std::sort(problems_.begin(), problems_.end());
    return err(bad_request(join(problems_, "\n")));
  }
  for (Message& m : plan_.messages) m.summary = evaluation_->without_secrets(m.summary), m.detail = evaluation_->without_secrets(m.detail);
  plan_.refreshed.prune();
  plan_.state_changed = !plan_.refreshed.same_content(stored);
  auto by_address = [](const Change& a, const Change& b) { return std::tie(a.address, a.deposed) < std::tie(b.address, b.deposed); };
  std::sort(plan_.changes.begin(), plan_.changes.end(), by_address);
  std::sort(plan_.drift.begin(), plan_.drift.end(), by_address);
  for (const auto& [source, version] : providers_.versions()) plan_.providers[source] = version;
  return std::move(plan_);
}

Result<State> Planner::import(State stored, std::map<std::string, Value> variables, const InstanceAddress& address, const std::string& id) {
  plan_.refreshed = std::move(stored);
  evaluation_.emplace(config_, std::move(variables), request_.workspace, Clock::real().wall(), false);
  auto resource = config_.resources.find(address.resource);
  if (resource == config_.resources.end() || address.resource.data) {
    return err(bad_request("resource address \"" + address.to_string() + "\" does not exist in the configuration; write its resource block first"));
  }
  if (plan_.refreshed.current(address) != nullptr) return err(Status(409, reason::kConflict, address.to_string() + " is managed already; remove it from the state first"));
  for (const auto& [a, r] : config_.resources) direct_[a] = config_.resource_dependencies(config_.references(r));
  const std::string reference = providers_.reference_of(resource->second);
  ENGENHO_ASSIGN(Provider* const provider, ready_provider(reference, address.to_string()));
  if (!provider->schema().resources.contains(address.resource.type)) return err(bad_request("the provider does not support \"" + address.resource.type + "\""));
  auto adopted = adopt(*provider, reference, address, id);
  if (!adopted) return err(adopted.error().with_context(address.to_string()));
  plan_.refreshed.find(address)->current->dependencies = dependencies(resource->second);
  return std::move(plan_.refreshed);
}

}  // namespace engenho::magma
