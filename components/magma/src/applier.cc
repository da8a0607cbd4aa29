#include "applier.h"

#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::magma {

Applier::Applier(const EngineOptions& options, const PlanData& plan, const Config& config, const ApplyOptions& apply_options, const ProgressSink& sink, StopToken stop)
    : options_(options), plan_(plan), config_(config), apply_options_(apply_options), sink_(sink), stop_(stop), providers_(options, config, stop),
      evaluation_(config, plan.variables, plan.workspace, plan.time, true) {}

bool Applier::failed(const Change& change, const std::string& problem) {
  const std::string what = evaluation_.without_secrets(problem);
  Duration elapsed{0};
  const std::string address = change.address.to_string();
  {
    std::lock_guard lock(mutex_);
    Outcome& o = outcomes_[&change];
    o.result = Outcome::Result::kFailed;
    o.message = what;
    if (auto at = started_.find(&change); at != started_.end()) o.elapsed = elapsed = Clock::real().mono() - at->second;
    messages_.push_back({true, address, what, ""});
  }
  if (sink_) sink_({Progress::Kind::kFailed, address, action_name(change.action), what, elapsed});
  return false;
}

void Applier::skip(const Change& change, const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    Outcome& o = outcomes_[&change];
    if (o.result == Outcome::Result::kFailed || o.result == Outcome::Result::kInterrupted) return;
    o.result = Outcome::Result::kSkipped;
    o.message = why;
  }
  if (sink_) sink_({Progress::Kind::kSkipped, change.address.to_string(), action_name(change.action), why, {}});
}

void Applier::begin(const Change& change) {
  {
    std::lock_guard lock(mutex_);
    if (started_.contains(&change)) return;
    started_[&change] = Clock::real().mono();
    outcomes_[&change].started = Clock::real().wall();
  }
  if (sink_) sink_({Progress::Kind::kStart, change.address.to_string(), action_name(change.action), "", {}});
}

bool Applier::done(const Change& change) {
  Duration elapsed{0};
  {
    std::lock_guard lock(mutex_);
    Outcome& o = outcomes_[&change];
    o.result = Outcome::Result::kDone;
    o.message.clear();
    o.elapsed = elapsed = Clock::real().mono() - started_[&change];
  }
  if (sink_) sink_({Progress::Kind::kDone, change.address.to_string(), action_name(change.action), "", elapsed});
  return true;
}

Result<Provider*> Applier::ready_provider(const std::string& reference) {
  ENGENHO_ASSIGN(Provider* const provider, providers_.get(reference));
  // Another version could answer differently: the plan names those it was made with.
  ENGENHO_ASSIGN(const auto source, parse_provider_reference(reference));
  auto planned = plan_.providers.find(source.first);
  if (planned != plan_.providers.end() && planned->second != provider->version()) {
    return err(bad_request("the plan was made with version " + planned->second + " of provider " + source.first + ", and here is version " + provider->version()));
  }
  std::vector<Message> warnings;
  Status s = providers_.configure(reference, evaluation_, warnings);
  std::lock_guard lock(mutex_);
  messages_.insert(messages_.end(), warnings.begin(), warnings.end());
  if (!s.ok()) return err(s);
  return provider;
}

Value Applier::each_value(const ResourceConfig& resource, const InstanceKey& key, Status& status) {
  const auto* name = std::get_if<std::string>(&key);
  if (name == nullptr || !resource.for_each) return {};
  std::map<std::string, Value> each;
  auto expansion = evaluation_.expand(resource, each);
  if (!expansion) {
    status = expansion.error();
    return {};
  }
  auto at = each.find(*name);
  if (at == each.end()) status = bad_request("for_each no longer has the key that was planned");
  return at == each.end() ? Value() : at->second;
}

// How far an earlier run of the same plan came: the stored object is still the one that the plan saw, or not.
Applier::Fate Applier::fate(const Change& change, const State& stored) const {
  const ObjectState* const now = stored.current(change.address);
  const ObjectState* const then = plan_.refreshed.current(change.address);
  const bool untouched = now != nullptr && then != nullptr && *now == *then;
  switch (change.action) {
    case Action::kCreate: return now != nullptr && !now->tainted ? Fate::kDone : Fate::kOpen;
    case Action::kUpdate: return untouched ? Fate::kOpen : Fate::kDone;
    case Action::kDelete:
    case Action::kForget: {
      if (change.deposed.empty()) return now == nullptr ? Fate::kDone : Fate::kOpen;
      auto r = stored.resources.find(change.address.resource);
      if (r == stored.resources.end()) return Fate::kDone;
      auto i = r->second.instances.find(change.address.key);
      return i == r->second.instances.end() || !i->second.deposed.contains(change.deposed) ? Fate::kDone : Fate::kOpen;
    }
    case Action::kDeleteThenCreate: return untouched ? Fate::kOpen : now == nullptr ? Fate::kHalf : now->tainted ? Fate::kOpen : Fate::kDone;
    case Action::kCreateThenDelete: {
      if (untouched) return Fate::kOpen;
      auto r = stored.resources.find(change.address.resource);
      if (r == stored.resources.end()) return Fate::kOpen;
      auto i = r->second.instances.find(change.address.key);
      const bool waiting = i != r->second.instances.end() && !i->second.deposed.empty();
      if (now == nullptr) return Fate::kOpen;
      return waiting ? Fate::kHalf : Fate::kDone;
    }
    default: return Fate::kOpen;
  }
}

bool Applier::run_write(const Change& change) {
  const std::string name = change.address.to_string();
  begin(change);
  auto provider = ready_provider(change.provider);
  if (!provider) return failed(change, provider.error().message());
  auto at = config_.resources.find(change.address.resource);
  if (at == config_.resources.end()) return failed(change, "the resource is not in the plan's configuration");
  const ResourceConfig& resource = at->second;
  const std::string& type = resource.address.type;
  const ResourceSchema& schema = (*provider)->schema().resources.find(type)->second;
  Status status;
  const Evaluation::InstanceScope scope(evaluation_, change.address.key, each_value(resource, change.address.key, status));
  if (!status.ok()) return failed(change, status.message());
  for (const std::string& rule : evaluation_.failed_rules(resource.lifecycle.preconditions, scope)) return failed(change, "resource precondition failed: " + rule);
  auto config = evaluate_config(schema.block, resource, scope);
  if (!config) return failed(change, config.error().message());
  evaluation_.learn(mark_paths(mark_by_schema(config->value, schema.block), config->sensitive));
  if (!config->value.is_wholly_known()) return failed(change, "the configuration is still not wholly known; something it depends on was not applied");
  Diagnostics d;
  (*provider)->validate_resource(type, false, config->value, d);
  if (has_errors(d)) return failed(change, error_text(d));

  // Planned once more, now that everything is known: it must be what was announced.
  const bool create = change.action != Action::kUpdate;
  Value prior = Value::null(schema.block.type());
  std::string prior_private;
  if (!create) {
    const auto object = saver_->look([&](const State& s) { const ObjectState* o = s.current(change.address); return o != nullptr ? std::optional(*o) : std::nullopt; });
    if (!object) return failed(change, "the object is no longer in the state");
    auto decoded = decode_object(**provider, type, false, *object);
    if (!decoded) return failed(change, decoded.error().message());
    prior = *decoded;
    prior_private = object->private_data;
  }
  std::vector<Message> warnings;
  auto planned = plan_instance(**provider, resource, *config, prior, prior_private, false, change.create_before_destroy, warnings, name);
  if (!planned) return failed(change, planned.error().message());
  if (planned->action != (create ? Action::kCreate : Action::kUpdate) && planned->action != Action::kNoop) {
    return failed(change, "provider produced inconsistent final plan: it planned to " + std::string(action_name(create ? Action::kCreate : Action::kUpdate)) + " and now wants to " + action_name(planned->action));
  }
  if (const auto violations = result_violations(schema.block, change.after, planned->planned); !violations.empty()) {
    return failed(change, "provider produced inconsistent final plan: " + violations[0] + "; this is a defect of the provider");
  }
  if (stop_.stopped()) return failed(change, "cancelled before it was begun");
  const bool remember = !(*provider)->repeatable();
  if (remember) {
    // The state must carry the plan's mark before anything is begun outside it: what somebody imports after a crash would else make the plan stale.
    std::call_once(mark_once_, [this] { marked_ = saver_->update([](State&) {}); });
    if (!marked_.ok()) return failed(change, marked_.message());
    if (Status s = saver_->append_cursor(json::dump(json::Object{{"begin", name}, {"action", create ? "create" : "update"}, {"plan", plan_.id}})); !s.ok()) return failed(change, s.message());
  }
  ApplyOutcome out = (*provider)->apply(type, prior.unmarked_deep(), planned->planned.unmarked_deep(), config->value, planned->private_data, d);
  take_warnings(d, name, warnings);
  std::string problem = has_errors(d) ? error_text(d) : "";
  Value value = out.state;
  if (value.holds() && !value.is_wholly_known()) {
    if (problem.empty()) problem = "provider returned invalid result object after apply: it still holds unknown values; this is a defect of the provider";
    // What is known is kept, so that nothing that exists is lost.
    value = transform(value, [](const Path&, const Value& v) { return v.is_known() ? v : Value::null(v.type()); });
  }
  if (problem.empty() && !value.holds()) problem = "provider returned no object after apply; this is a defect of the provider";
  if (problem.empty() && !out.legacy_types) {
    const auto violations = result_violations(schema.block, planned->planned, value);
    if (!violations.empty()) problem = "provider produced inconsistent result after apply: " + violations[0] + "; this is a defect of the provider";
  }
  // A failed update of which the provider says nothing leaves what was there.
  const bool keep_prior = !create && !value.holds() && !problem.empty();
  const Value marked = value.holds() ? mark_paths(mark_by_schema(value, schema.block), config->sensitive) : value;
  Status saved = saver_->update([&](State& state) {
    InstanceState& instance = state.at(change.address, change.provider);
    if (marked.holds()) {
      ObjectState object = encode_object(schema, marked);
      object.private_data = out.private_data;
      object.dependencies = change.dependencies;
      object.create_before_destroy = change.create_before_destroy;
      object.tainted = create && !problem.empty();
      instance.current = std::move(object);
    } else if (!keep_prior) {
      instance.current.reset();
    }
    // A replacement that failed without a trace: the old object is still the one.
    std::lock_guard lock(mutex_);
    auto waiting = deposed_.find(&change);
    if (!marked.holds() && waiting != deposed_.end() && instance.deposed.contains(waiting->second)) {
      instance.current = instance.deposed[waiting->second];
      instance.deposed.erase(waiting->second);
    }
  });
  if (!saved.ok()) return failed(change, saved.message() + (problem.empty() ? "" : "; " + problem));
  // From here on the state tells; a line that is missing after a crash costs nothing but a second look.
  const bool open_end = create && !out.answered && !marked.holds();
  if (remember && !open_end) (void)saver_->append_cursor(json::dump(json::Object{{"end", name}, {"plan", plan_.id}}));
  {
    std::lock_guard lock(mutex_);
    messages_.insert(messages_.end(), warnings.begin(), warnings.end());
  }
  if (marked.holds()) evaluation_.set_instance(change.address, marked);
  if (open_end) {
    failed(change, problem + "; whether the object was created is not known");
    std::lock_guard lock(mutex_);
    outcomes_[&change].result = Outcome::Result::kInterrupted;
    return false;
  }
  if (!problem.empty()) return failed(change, problem);
  const Evaluation::InstanceScope own(evaluation_, change.address.key, {}, marked);
  for (const std::string& rule : evaluation_.failed_rules(resource.lifecycle.postconditions, own)) return failed(change, "resource postcondition failed: " + rule);
  if (change.action == Action::kCreateThenDelete) return true;   // the other half is still to come
  return done(change);
}

bool Applier::run_read(const Change& change) {
  begin(change);
  auto provider = ready_provider(change.provider);
  if (!provider) return failed(change, provider.error().message());
  const ResourceConfig& resource = config_.resources.at(change.address.resource);
  const ResourceSchema& schema = (*provider)->schema().data_sources.find(resource.address.type)->second;
  Status status;
  const Evaluation::InstanceScope scope(evaluation_, change.address.key, each_value(resource, change.address.key, status));
  if (!status.ok()) return failed(change, status.message());
  auto config = evaluate_config(schema.block, resource, scope);
  if (!config) return failed(change, config.error().message());
  Diagnostics d;
  const Value read = (*provider)->read_data(resource.address.type, config->value, d);
  if (has_errors(d)) return failed(change, error_text(d));
  if (!read.holds() || !read.is_wholly_known()) return failed(change, "the provider returned no object, or unknown values; this is a defect of the provider");
  const Value value = mark_paths(mark_by_schema(read, schema.block), config->sensitive);
  Status saved = saver_->update([&](State& state) { state.at(change.address, change.provider).current = encode_object(schema, value); });
  if (!saved.ok()) return failed(change, saved.message());
  evaluation_.set_instance(change.address, value);
  const Evaluation::InstanceScope own(evaluation_, change.address.key, {}, value);
  for (const std::string& rule : evaluation_.failed_rules(resource.lifecycle.postconditions, own)) return failed(change, "resource postcondition failed: " + rule);
  return done(change);
}

bool Applier::run_delete(const Change& change) {
  begin(change);
  const std::string& type = change.address.resource.type;
  std::string deposed = change.deposed;
  if (change.action == Action::kCreateThenDelete) {
    std::lock_guard lock(mutex_);
    deposed = deposed_[&change];
  }
  auto object = saver_->look([&](const State& s) -> std::optional<ObjectState> {
    auto r = s.resources.find(change.address.resource);
    if (r == s.resources.end()) return std::nullopt;
    auto i = r->second.instances.find(change.address.key);
    if (i == r->second.instances.end()) return std::nullopt;
    if (deposed.empty()) return i->second.current;
    auto d = i->second.deposed.find(deposed);
    return d == i->second.deposed.end() ? std::nullopt : std::optional(d->second);
  });
  auto finish = [&] { return change.action == Action::kDeleteThenCreate ? true : done(change); };
  if (!object) return finish();   // gone already
  auto provider = ready_provider(change.provider);
  if (!provider) return failed(change, provider.error().message());
  auto prior = decode_object(**provider, type, false, *object);
  if (!prior) return failed(change, prior.error().message());
  evaluation_.learn(*prior);
  const ResourceSchema& schema = (*provider)->schema().resources.find(type)->second;
  Diagnostics d;
  const Value none = Value::null(schema.block.type());
  const std::string& private_data = change.action == Action::kDelete ? change.private_data : object->private_data;
  ApplyOutcome out = (*provider)->apply(type, prior->unmarked_deep(), none, none, private_data, d);
  std::string problem = has_errors(d) ? error_text(d) : "";
  const bool gone = !out.state.holds() && problem.empty();
  if (!gone && problem.empty()) problem = "provider returned an object after destroying it; this is a defect of the provider";
  std::vector<Message> warnings;
  take_warnings(d, change.address.to_string(), warnings);
  Status saved = saver_->update([&](State& state) {
    InstanceState& instance = state.at(change.address, "");
    std::optional<ObjectState> rest;
    if (!gone) {
      rest = object;
      if (out.state.holds() && out.state.is_wholly_known()) rest->attributes = to_json(out.state, schema.block.type());
    }
    if (deposed.empty()) instance.current = rest;
    else if (rest) instance.deposed[deposed] = *rest;
    else instance.deposed.erase(deposed);
  });
  {
    std::lock_guard lock(mutex_);
    messages_.insert(messages_.end(), warnings.begin(), warnings.end());
  }
  if (!saved.ok()) return failed(change, saved.message() + (problem.empty() ? "" : "; " + problem));
  if (!problem.empty()) return failed(change, problem);
  return finish();
}

bool Applier::run_forget(const Change& change) {
  begin(change);
  Status saved = saver_->update([&](State& state) {
    InstanceState& instance = state.at(change.address, "");
    if (change.deposed.empty()) instance.current.reset();
    else instance.deposed.erase(change.deposed);
  });
  return saved.ok() ? done(change) : failed(change, saved.message());
}

void Applier::outputs(ApplyResult& result) {
  const Evaluation::InstanceScope scope(evaluation_);
  std::map<std::string, std::optional<OutputState>> next;
  for (const auto& [name, change] : plan_.outputs) {
    if (change.action == Action::kDelete) {
      next[name] = std::nullopt;
      continue;
    }
    const OutputConfig& o = config_.outputs.at(name);
    auto value = evaluate(*o.value, scope);
    // After a failure some of it is not known: the old value stays.
    if (!value || !value->is_wholly_known()) {
      if (!value && result.ok) result.messages.push_back({true, "output." + name, value.error().message(), ""}), result.ok = false;
      continue;
    }
    for (const std::string& rule : evaluation_.failed_rules(o.preconditions, scope)) {
      result.messages.push_back({true, "output." + name, "precondition failed: " + rule, ""});
      result.ok = false;
    }
    next[name] = OutputState{to_plain_json(*value), value->type().to_json(), o.sensitive};
  }
  Status saved = saver_->update([&](State& state) {
    for (const auto& [name, o] : next) {
      if (o && !(o->value.is_null())) state.outputs[name] = *o;
      else state.outputs.erase(name);
    }
    if (result.ok) state.applying.clear();
  });
  if (!saved.ok()) {
    result.ok = false;
    result.messages.push_back({true, "", saved.message(), ""});
  }
}

}  // namespace engenho::magma
