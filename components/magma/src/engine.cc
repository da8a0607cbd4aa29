#include "engenho/magma/engine.h"

#include <unistd.h>

#include "applier.h"
#include "engenho/base/bytes.h"
#include "planner.h"

namespace engenho::magma {

namespace {

Result<State> load(StateStore& store) {
  ENGENHO_ASSIGN(const std::string document, store.read());
  return parse_state(document);
}

LockInfo lock_info(const char* operation) {
  LockInfo info;
  info.operation = operation;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  info.who = std::string(host) + ", process " + std::to_string(getpid());
  return info;
}

// Takes the lock, changes the state, stores it, gives the lock back.
Status change_state(StateStore& store, const char* operation, const std::function<Status(State&)>& change) {
  ENGENHO_ASSIGN_OR_RETURN(const uint64_t token, store.lock(lock_info(operation)));
  auto work = [&]() -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const State stored, load(store));
    State next = stored;
    ENGENHO_RETURN_IF_ERROR(change(next));
    StateSaver saver(store, token, stored, std::move(next));
    return saver.update([](State&) {});
  };
  Status status = work();
  Status unlocked = store.unlock(token);
  return status.ok() ? unlocked : status;
}

}  // namespace

Engine::Engine(EngineOptions options) : options_(std::move(options)) {}
Engine::~Engine() = default;

bool Validation::ok() const {
  for (const Message& m : messages) {
    if (m.error) return false;
  }
  return true;
}

Validation Engine::validate(const PlanRequest& request, StopToken stop) {
  Validation out;
  auto fail = [&](const Status& s) {
    for (std::string_view line : split(s.message(), '\n')) out.messages.push_back({true, "", std::string(line), ""});
  };
  auto config = parse_config(request.config, request.directory);
  if (!config) {
    fail(config.error());
    return out;
  }
  // Variables without a value are unknown: what is said must hold for any.
  std::map<std::string, Value> variables;
  for (const auto& [name, v] : config->variables) variables.emplace(name, Value::unknown(v.type.has_dynamic() ? Type() : v.type.without_optional()).marked(v.sensitive));
  PlanRequest blank = request;
  blank.refresh = false;
  const ProgressSink none;
  ProviderSet providers(options_, *config, stop);
  const Evaluation evaluation(*config, variables, request.workspace, Clock::real().wall(), false);
  for (const auto& [address, r] : config->resources) {
    auto provider = providers.get(providers.reference_of(r));
    if (!provider) {
      out.messages.push_back({true, address.to_string(), provider.error().message(), ""});
      continue;
    }
    const auto& schemas = address.data ? (*provider)->schema().data_sources : (*provider)->schema().resources;
    auto schema = schemas.find(address.type);
    if (schema == schemas.end()) {
      out.messages.push_back({true, address.to_string(), "the provider does not support \"" + address.type + "\"", ""});
      continue;
    }
    const InstanceKey key = r.for_each ? InstanceKey(std::string("key")) : r.count ? InstanceKey(int64_t{0}) : InstanceKey();
    const Evaluation::InstanceScope scope(evaluation, key, Value::unknown());
    auto value = evaluate_config(schema->second.block, r, scope);
    if (!value) {
      out.messages.push_back({true, address.to_string(), value.error().message(), ""});
      continue;
    }
    Diagnostics d;
    (*provider)->validate_resource(address.type, address.data, value->value, d);
    for (const Diagnostic& one : d) out.messages.push_back({one.error, address.to_string(), one.summary, one.detail});
  }
  return out;
}

Result<Plan> Engine::plan(const PlanRequest& request, StateStore& state, const ProgressSink& sink, StopToken stop) {
  ENGENHO_ASSIGN(const Config config, parse_config(request.config, request.directory));
  ENGENHO_ASSIGN(auto variables, variable_values(config, request.variables));
  ENGENHO_ASSIGN(State stored, load(state));
  ENGENHO_ASSIGN(const auto cursor, state.read_cursor());
  Planner planner(options_, request, config, sink, stop);
  const State before = stored;
  ENGENHO_ASSIGN(PlanData made, planner.run(std::move(stored), std::move(variables)));
  for (const std::string& line : cursor) {
    auto entry = json::parse(line);
    if (!entry || entry->str_at({"action"}) != "create") continue;
    auto address = parse_instance_address(entry->str_at({"begin"}));
    if (!address || before.current(*address) != nullptr) continue;
    made.messages.push_back({false, address->to_string(), "an earlier apply was cut short while it created this object",
                             "The state does not have it, and it may exist. It is not created again unless that is asked for; import it if it is there."});
  }
  auto data = std::make_shared<PlanData>(std::move(made));
  data->id = plan_id(plan_content(*data));
  return Plan(std::move(data));
}

Result<ApplyResult> Engine::apply(const Plan& plan, StateStore& state, const ApplyOptions& options, const ProgressSink& sink, StopToken stop) {
  const PlanData& data = plan.data();
  ENGENHO_ASSIGN(const Config config, parse_config(data.config, data.directory));
  ENGENHO_ASSIGN(const uint64_t token, state.lock(lock_info("apply")));
  auto work = [&]() -> Result<ApplyResult> {
    ENGENHO_ASSIGN(const State stored, load(state));
    const bool resumed = !stored.applying.empty() && stored.applying == data.id;
    if (!resumed && (stored.serial != data.serial || stored.lineage != data.lineage)) {
      return err(Status(409, reason::kConflict,
                        "saved plan is stale: it was made from state serial " + std::to_string(data.serial) + (data.lineage.empty() ? " (no state)" : " of lineage " + data.lineage) +
                            ", and the state now has serial " + std::to_string(stored.serial) + (stored.lineage.empty() ? "" : " of lineage " + stored.lineage)));
    }
    ENGENHO_ASSIGN(const auto cursor, state.read_cursor());
    Applier applier(options_, data, config, options, sink, stop);
    return applier.run(state, token, stored, cursor);
  };
  auto result = work();
  Status unlocked = state.unlock(token);
  if (result && !unlocked.ok()) result->messages.push_back({true, "", unlocked.message(), ""}), result->ok = false;
  return result;
}

Status Engine::import(const PlanRequest& request, StateStore& state, const std::string& address, const std::string& id, StopToken stop) {
  ENGENHO_ASSIGN_OR_RETURN(const InstanceAddress instance, parse_instance_address(address));
  ENGENHO_ASSIGN_OR_RETURN(const Config config, parse_config(request.config, request.directory));
  ENGENHO_ASSIGN_OR_RETURN(auto variables, variable_values(config, request.variables));
  const ProgressSink none;
  return change_state(state, "import", [&](State& s) -> Status {
    Planner planner(options_, request, config, none, stop);
    ENGENHO_ASSIGN_OR_RETURN(s, planner.import(s, std::move(variables), instance, id));
    return {};
  });
}

Status Engine::taint(StateStore& state, const std::string& address, bool tainted) {
  ENGENHO_ASSIGN_OR_RETURN(const InstanceAddress instance, parse_instance_address(address));
  return change_state(state, tainted ? "taint" : "untaint", [&](State& s) -> Status {
    InstanceState* const found = s.find(instance);
    if (found == nullptr || !found->current || instance.resource.data) return not_found_error("no such resource instance in the state: " + address);
    if (!tainted && !found->current->tainted) return bad_request(address + " is not tainted");
    found->current->tainted = tainted;
    return {};
  });
}

Status Engine::remove_from_state(StateStore& state, const std::string& address) {
  ENGENHO_ASSIGN_OR_RETURN(const InstanceAddress instance, parse_instance_address(address));
  return change_state(state, "state rm", [&](State& s) -> Status {
    auto r = s.resources.find(instance.resource);
    if (r == s.resources.end()) return not_found_error("nothing in the state matches " + address);
    if (instance.key.index() == 0) s.resources.erase(r);
    else if (r->second.instances.erase(instance.key) == 0) return not_found_error("nothing in the state matches " + address);
    s.prune();
    return {};
  });
}

Status Engine::move_in_state(StateStore& state, const std::string& from, const std::string& to) {
  ENGENHO_ASSIGN_OR_RETURN(const InstanceAddress source, parse_instance_address(from));
  ENGENHO_ASSIGN_OR_RETURN(const InstanceAddress target, parse_instance_address(to));
  if (source.resource.type != target.resource.type || source.resource.data != target.resource.data) return bad_request("a resource cannot be moved to another type");
  return change_state(state, "state mv", [&](State& s) -> Status {
    auto r = s.resources.find(source.resource);
    if (r == s.resources.end()) return not_found_error("nothing in the state matches " + from);
    const std::string provider = r->second.provider;
    if (source.key.index() == 0 && target.key.index() == 0) {
      if (s.resources.contains(target.resource)) return bad_request(to + " is there already");
      s.resources[target.resource] = std::move(r->second);
      s.resources.erase(source.resource);
      return {};
    }
    auto i = r->second.instances.find(source.key);
    if (i == r->second.instances.end()) return not_found_error("nothing in the state matches " + from);
    if (s.find(target) != nullptr) return bad_request(to + " is there already");
    InstanceState moved = std::move(i->second);
    r->second.instances.erase(i);
    s.at(target, provider) = std::move(moved);
    s.prune();
    return {};
  });
}

Result<json::Value> Engine::show_state(StateStore& state, bool redact) {
  ENGENHO_ASSIGN(const State s, load(state));
  return state_values(s, redact);
}

Result<std::vector<std::string>> Engine::list_state(StateStore& state) {
  ENGENHO_ASSIGN(const State s, load(state));
  std::vector<std::string> out;
  for (const bool data : {true, false}) {
    for (const auto& [address, r] : s.resources) {
      if (address.data != data) continue;
      for (const auto& [key, i] : r.instances) {
        if (i.current) out.push_back(InstanceAddress{address, key}.to_string());
      }
    }
  }
  return out;
}

Result<json::Object> Engine::outputs(StateStore& state) {
  ENGENHO_ASSIGN(const State s, load(state));
  json::Object out;
  for (const auto& [name, o] : s.outputs) out.set(name, json::Object{{"value", o.value}, {"type", o.type}, {"sensitive", o.sensitive}});
  return out;
}

}  // namespace engenho::magma
