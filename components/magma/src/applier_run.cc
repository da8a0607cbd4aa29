// The order of an apply.
#include <algorithm>

#include "applier.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::magma {

// Gates stand for whole resources, so that the number of edges stays that of the references:
//   made(r)     everything of r that is created, updated or read is
//   removed(r)  everything of r that is deleted is
// Creating waits for made() of what the configuration refers to. Deleting waits for removed() of what depended on it. Something that is
// deleted before its replacement exists goes before whatever depended on it is changed; what is replaced first and deleted then, after.
void Applier::build(Graph& graph, const State& stored) {
  struct Resource {
    std::optional<Graph::Id> made, removed;
  };
  std::map<std::string, Resource> gates;
  auto always = [] { return true; };
  std::map<ResourceAddress, std::set<ResourceAddress>> direct;
  for (const auto& [address, r] : config_.resources) {
    gates[address.to_string()].made = graph.add(always);
    std::set<ResourceAddress> needs = config_.resource_dependencies(config_.references(r));
    if (const ProviderConfig* p = providers_.config_of(providers_.reference_of(r))) needs.merge(config_.resource_dependencies(config_.references(*p)));
    needs.erase(address);
    direct[address] = std::move(needs);
  }
  for (const auto& [address, needs] : direct) {
    for (const ResourceAddress& other : needs) {
      if (config_.resources.contains(other)) graph.after(*gates[address.to_string()].made, *gates[other.to_string()].made);
    }
  }
  for (const Change& c : plan_.changes) {
    const std::string name = c.address.resource.to_string();
    if ((c.action == Action::kDelete || c.action == Action::kForget || is_replace(c.action)) && !gates[name].removed) gates[name].removed = graph.add(always);
  }

  std::map<const Change*, Graph::Id> writes, deletes;
  for (const Change& c : plan_.changes) {
    if (c.action == Action::kNoop) continue;
    const Fate came = stored.applying == plan_.id ? fate(c, stored) : Fate::kOpen;
    Outcome o;
    o.address = c.address.to_string() + (c.deposed.empty() ? "" : " (deposed object " + c.deposed + ")");
    o.action = action_name(c.action);
    o.result = Outcome::Result::kSkipped;
    if (came == Fate::kDone) {
      o.result = Outcome::Result::kDone;
      o.earlier = true;
      outcomes_.emplace(&c, std::move(o));
      continue;
    }
    const Change* const change = &c;
    const bool creates = c.action == Action::kCreate || is_replace(c.action);
    const std::string address = c.address.to_string();
    const bool open_end = creates && interrupted_.contains(address) && (c.action == Action::kCreate || came == Fate::kHalf || stored.current(c.address) == nullptr) &&
                          std::find(apply_options_.retry_interrupted.begin(), apply_options_.retry_interrupted.end(), address) == apply_options_.retry_interrupted.end();
    outcomes_.emplace(change, std::move(o));
    auto skipped = [this, change] { skip(*change, stop_.stopped() ? "cancelled before it was begun" : "something it depends on failed"); };
    if (open_end) {
      const std::string why = "an earlier apply was cut short while it created this object, and the state does not have it: it may exist. Look for it; then import it, or have the creation repeated";
      writes[change] = graph.add([this, change, why] {
        failed(*change, why);
        std::lock_guard lock(mutex_);
        outcomes_[change].result = Outcome::Result::kInterrupted;
        return false;
      }, skipped);
    } else if (creates || c.action == Action::kUpdate) {
      if (!(c.action == Action::kCreateThenDelete && came == Fate::kHalf)) writes[change] = graph.add([this, change] { return run_write(*change); }, skipped);
    } else if (c.action == Action::kRead) {
      writes[change] = graph.add([this, change] { return run_read(*change); }, skipped);
    }
    if (c.action == Action::kForget) deletes[change] = graph.add([this, change] { return run_forget(*change); }, skipped);
    else if (c.action == Action::kDelete || (is_replace(c.action) && !(c.action == Action::kDeleteThenCreate && came == Fate::kHalf))) {
      deletes[change] = graph.add([this, change] { return run_delete(*change); }, skipped);
    }
  }

  for (const auto& [c, id] : writes) {
    const std::string name = c->address.resource.to_string();
    if (gates[name].made) graph.after(*gates[name].made, id);
    for (const ResourceAddress& other : direct[c->address.resource]) {
      if (auto& gate = gates[other.to_string()]; gate.made) graph.after(id, *gate.made);
    }
  }
  for (const auto& [c, id] : deletes) {
    if (gates[c->address.resource.to_string()].removed) graph.after(*gates[c->address.resource.to_string()].removed, id);
    const bool late = c->action == Action::kCreateThenDelete || (c->action == Action::kDelete && (c->create_before_destroy || !c->deposed.empty()));
    if (auto own = writes.find(c); own != writes.end()) late ? graph.after(id, own->second) : graph.after(own->second, id);
    // Who depended on it, by the state that saw it last, or depends on it now?
    const std::string name = c->address.resource.to_string();
    std::set<std::string> seen;
    for (const auto& [other, r] : plan_.refreshed.resources) {
      if (other == c->address.resource) continue;
      bool depended = false;
      for (const auto& [key, i] : r.instances) {
        if (i.current) depended = depended || std::find(i.current->dependencies.begin(), i.current->dependencies.end(), name) != i.current->dependencies.end();
      }
      if (!depended) continue;
      Resource& gate = gates[other.to_string()];
      if (gate.removed) {
        // Both are replaced: the one that depends goes first, unless it is replaced late itself; then only its own rule holds.
        graph.after(id, *gate.removed);
      }
      if (late && gate.made) graph.after(id, *gate.made);
      if (!late) {
        for (const auto& [w, write] : writes) {
          if (w->address.resource == other) graph.after(write, id);
        }
      }
    }
    if (late) {
      for (const auto& [address, needs] : direct) {
        if (needs.contains(c->address.resource) && gates[address.to_string()].made) graph.after(id, *gates[address.to_string()].made);
      }
    }
    // The provider that deletes it must still be reachable by what configures it.
    if (const ProviderConfig* p = providers_.config_of(c->provider)) {
      for (const ResourceAddress& need : config_.resource_dependencies(config_.references(*p))) {
        if (auto& gate = gates[need.to_string()]; gate.made && need != c->address.resource) graph.after(id, *gate.made);
      }
    }
  }
}

ApplyResult Applier::run(StateStore& store, uint64_t token, const State& stored, const std::vector<std::string>& cursor) {
  ApplyResult result;
  result.serial_before = stored.serial;
  const bool resumed = stored.applying == plan_.id;
  State working = resumed ? stored : plan_.refreshed;
  working.serial = stored.serial;
  working.lineage = stored.lineage;
  const bool any = std::any_of(plan_.changes.begin(), plan_.changes.end(), [](const Change& c) { return c.action != Action::kNoop; });
  working.applying = any ? plan_.id : "";
  for (const std::string& line : cursor) {
    auto entry = json::parse(line);
    if (!entry) continue;
    if (entry->str_at({"action"}) == "create") interrupted_.insert(std::string(entry->str_at({"begin"})));
    if (entry->get("end") != nullptr) interrupted_.erase(std::string(entry->str_at({"end"})));
  }
  // What the state has was created after all.
  std::erase_if(interrupted_, [&](const std::string& name) {
    auto address = parse_instance_address(name);
    return !address || stored.current(*address) != nullptr;
  });

  // An object that is replaced by a new one first waits under a key of its own.
  for (const Change& c : plan_.changes) {
    if (c.action != Action::kCreateThenDelete) continue;
    InstanceState& instance = working.at(c.address, c.provider);
    if (resumed && fate(c, stored) != Fate::kOpen) {
      if (!instance.deposed.empty()) deposed_[&c] = instance.deposed.begin()->first;
      continue;
    }
    if (!instance.current) {
      if (!instance.deposed.empty()) deposed_[&c] = instance.deposed.begin()->first;
      continue;
    }
    const std::string key = hex_encode(random_bytes(4));
    instance.deposed[key] = *instance.current;
    instance.current.reset();
    deposed_[&c] = key;
  }
  saver_ = std::make_unique<StateSaver>(store, token, stored, std::move(working));
  for (const auto& [address, expansion] : plan_.expansions) evaluation_.set_expansion(address, expansion);

  // An object that makes way must be known to do so before its successor exists; all else is stored with the first change.
  Status start = deposed_.empty() ? Status() : saver_->update([](State&) {});
  Graph graph;
  if (start.ok()) {
    build(graph, stored);
    // What does not change, or was done before, has its value now.
    for (const Change& c : plan_.changes) {
      if (plan_.destroy && c.action == Action::kDelete && c.deposed.empty()) evaluation_.set_instance(c.address, c.before);   // for the configuration of providers
      const bool ready = c.action == Action::kNoop || (outcomes_.contains(&c) && outcomes_[&c].result == Outcome::Result::kDone);
      if (!ready || c.action == Action::kDelete || c.action == Action::kForget) continue;
      auto provider = providers_.get(c.provider);
      const auto object = saver_->look([&](const State& s) { const ObjectState* o = s.current(c.address); return o != nullptr ? std::optional(*o) : std::nullopt; });
      if (provider && object) {
        if (auto value = decode_object(**provider, c.address.resource.type, false, *object)) evaluation_.set_instance(c.address, *value);
      } else if (c.action == Action::kNoop) {
        evaluation_.set_instance(c.address, c.after);
      }
    }
    for (const auto& [address, r] : plan_.refreshed.resources) {
      if (!address.data) continue;
      for (const auto& [key, instance] : r.instances) {
        auto provider = providers_.get(r.provider);
        if (!provider || !instance.current) continue;
        if (auto value = decode_object(**provider, address.type, true, *instance.current)) evaluation_.set_instance({address, key}, *value);
      }
    }
    if (!graph.run(options_.parallelism, stop_)) messages_.push_back({true, "", "the changes depend on each other in a cycle", ""});
  } else {
    messages_.push_back({true, "", start.message(), ""});
  }

  result.ok = std::none_of(messages_.begin(), messages_.end(), [](const Message& m) { return m.error; });
  for (auto& [change, o] : outcomes_) {
    if (o.result != Outcome::Result::kDone) {
      if (o.result == Outcome::Result::kSkipped && stop_.stopped()) o.message = "cancelled before it was begun";
      result.ok = false;
    }
    result.outcomes.push_back(std::move(o));
  }
  std::sort(result.outcomes.begin(), result.outcomes.end(), [](const Outcome& a, const Outcome& b) { return a.address < b.address; });
  if (stop_.stopped()) messages_.push_back({true, "", "cancelled", ""});
  result.messages = std::move(messages_);
  for (Message& m : result.messages) m.summary = evaluation_.without_secrets(m.summary), m.detail = evaluation_.without_secrets(m.detail);
  if (start.ok()) outputs(result);
  if (result.ok && interrupted_.empty()) (void)store.clear_cursor(token);
  else if (result.ok) {
    // Those that were retried are settled now.
    bool open = false;
    for (const std::string& name : interrupted_) {
      auto address = parse_instance_address(name);
      open = open || (address && saver_->look([&](const State& s) { return s.current(*address) == nullptr; }) && config_.resources.contains(address->resource));
    }
    if (!open) (void)store.clear_cursor(token);
  }
  saver_->look([&](const State& s) {
    for (const auto& [name, o] : s.outputs) result.outputs.set(name, json::Object{{"value", o.value}, {"type", o.type}, {"sensitive", o.sensitive}});
    return 0;
  });
  result.serial_after = saver_->serial();
  result.lineage = saver_->lineage();
  // When the last write failed, the document is handed back rather than lost.
  if (Status last = saver_->update([](State&) {}); !last.ok()) {
    result.unsaved_state = saver_->look([&](const State& s) {
      State copy = s;
      copy.prune();
      copy.serial = saver_->serial() + 1;
      if (copy.lineage.empty()) copy.lineage = random_uuid();
      return dump_state(copy);
    });
    result.ok = false;
  }
  return result;
}

Status ApplyResult::status() const {
  if (ok) return {};
  std::vector<std::string> lines;
  for (const Message& m : messages) {
    if (m.error) lines.push_back((m.address.empty() ? "" : m.address + ": ") + m.summary);
  }
  return bad_request(lines.empty() ? "not everything was applied" : join(lines, "\n"));
}

}  // namespace engenho::magma
