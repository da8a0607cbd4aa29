#include "schema.h"

#include <algorithm>

namespace engenho::magma {

using Kind = Type::Kind;

const Attribute* Block::attribute(std::string_view name) const {
  for (const Attribute& a : attributes) {
    if (a.name == name) return &a;
  }
  return nullptr;
}
const NestedBlock* Block::block(std::string_view name) const {
  for (const NestedBlock& b : blocks) {
    if (b.name == name) return &b;
  }
  return nullptr;
}

Type Block::nested_type(const Type& object, Nesting nesting) {
  switch (nesting) {
    case Nesting::kList: return object.has_dynamic() ? Type() : Type::list(object);
    case Nesting::kSet: return Type::set(object);
    case Nesting::kMap: return object.has_dynamic() ? Type() : Type::map(object);
    default: return object;
  }
}

void Block::seal() {
  Type::Attributes members;
  for (const Attribute& a : attributes) members.emplace_back(a.name, a.type);
  for (const NestedBlock& b : blocks) members.emplace_back(b.name, nested_type(b.block->type(), b.nesting));
  type_ = Type::object(std::move(members));
}

namespace {

// Rebuilds what nests under a block or nested attribute with `fn` applied to each object inside.
Value each_object(const Value& value, Nesting nesting, const std::function<Value(const Value&)>& fn) {
  if (!value.holds()) return value;
  if (nesting == Nesting::kSingle || nesting == Nesting::kGroup) return fn(value);
  if (value.type().is_sequence()) {
    Value::Items items;
    for (const Value& item : value.items()) items.push_back(fn(item));
    if (value.type().is(Kind::kTuple)) return Value::tuple(std::move(items)).marked(value.sensitive());
    return (value.type().is(Kind::kSet) ? Value::set(value.type().element(), std::move(items)) : Value::list(value.type().element(), std::move(items))).marked(value.sensitive());
  }
  Value::Members members;
  for (const auto& [name, member] : value.members()) members.emplace(name, fn(member));
  return (value.type().is(Kind::kMap) ? Value::map(value.type().element(), std::move(members)) : Value::object(std::move(members))).marked(value.sensitive());
}

bool block_has_sensitive(const Block& block) {
  for (const Attribute& a : block.attributes) {
    if (a.sensitive || (a.nested && block_has_sensitive(*a.nested))) return true;
  }
  for (const NestedBlock& b : block.blocks) {
    if (block_has_sensitive(*b.block)) return true;
  }
  return false;
}

}  // namespace

Value mark_by_schema(const Value& value, const Block& block) {
  if (!value.holds() || !value.type().is_mapping() || !block_has_sensitive(block)) return value;
  Value::Members members = value.members();
  for (const Attribute& a : block.attributes) {
    auto at = members.find(a.name);
    if (at == members.end()) continue;
    if (a.nested) at->second = each_object(at->second, a.nesting, [&](const Value& v) { return mark_by_schema(v, *a.nested); });
    if (a.sensitive) at->second = at->second.marked();
  }
  for (const NestedBlock& b : block.blocks) {
    auto at = members.find(b.name);
    if (at != members.end()) at->second = each_object(at->second, b.nesting, [&](const Value& v) { return mark_by_schema(v, *b.block); });
  }
  return Value::object(std::move(members)).marked(value.sensitive());
}

Value empty_value(const Block& block) {
  Value::Members members;
  for (const Attribute& a : block.attributes) members.emplace(a.name, Value::null(a.type));
  for (const NestedBlock& b : block.blocks) {
    const Type& object = b.block->type();
    switch (b.nesting) {
      case Nesting::kSingle: members.emplace(b.name, Value::null(object)); break;
      case Nesting::kGroup: members.emplace(b.name, empty_value(*b.block)); break;
      case Nesting::kList: members.emplace(b.name, object.has_dynamic() ? Value::tuple({}) : Value::list(object, {})); break;
      case Nesting::kSet: members.emplace(b.name, Value::set(object, {})); break;
      case Nesting::kMap: members.emplace(b.name, object.has_dynamic() ? Value::object({}) : Value::map(object, {})); break;
    }
  }
  return Value::object(std::move(members));
}

namespace {

Value proposed_nested(const Block& block, Nesting nesting, const Value& prior, const Value& config);

// Whether a prior set element could be what this configured element became: everything that is configured is equal.
bool set_element_matches(const Block& block, const Value& prior, const Value& config) {
  if (!prior.holds() || !config.holds()) return false;
  for (const Attribute& a : block.attributes) {
    const Value& c = config.get(a.name);
    if (a.computed && c.is_null()) continue;
    if (a.nested && a.nesting != Nesting::kSet) {
      if (a.nesting == Nesting::kSingle && c.holds() && prior.get(a.name).holds()) {
        if (!set_element_matches(*a.nested, prior.get(a.name), c)) return false;
        continue;
      }
    }
    if (!c.equals(prior.get(a.name))) return false;
  }
  for (const NestedBlock& b : block.blocks) {
    const Value& c = config.get(b.name);
    const Value& p = prior.get(b.name);
    if (c.equals(p)) continue;
    if (!c.holds() || !p.holds() || !c.type().is_sequence() || !p.type().is_sequence() || c.items().size() != p.items().size()) return false;
    for (size_t i = 0; i < c.items().size(); ++i) {
      if (!set_element_matches(*b.block, p.items()[i], c.items()[i])) return false;
    }
  }
  return true;
}

Value proposed_object(const Block& block, const Value& prior, const Value& config) {
  if (!config.holds()) return config;
  Value::Members members;
  for (const Attribute& a : block.attributes) {
    const Value& c = config.get(a.name);
    const Value p = prior.holds() ? prior.get(a.name) : Value::null(a.type);
    Value v = c;
    if (a.computed && a.optional && c.is_null()) {
      // What is configured nowhere keeps what the provider once decided; a nested one only where no part of it had been configured.
      v = p;
    } else if (a.computed && !a.optional) {
      v = p;
    } else if (a.nested) {
      v = proposed_nested(*a.nested, a.nesting, p, c);
    }
    members.emplace(a.name, v.is_null() && v.type().is_dynamic() ? Value::null(a.type) : v);
  }
  for (const NestedBlock& b : block.blocks) members.emplace(b.name, proposed_nested(*b.block, b.nesting, prior.holds() ? prior.get(b.name) : Value(), config.get(b.name)));
  return Value::object(std::move(members));
}

Value proposed_nested(const Block& block, Nesting nesting, const Value& prior, const Value& config) {
  if (!config.holds()) return config;
  if (nesting == Nesting::kSingle || nesting == Nesting::kGroup) return proposed_object(block, prior, config);
  if (config.type().is_mapping()) {
    Value::Members members;
    for (const auto& [name, c] : config.members()) members.emplace(name, proposed_object(block, prior.holds() ? prior.get(name) : Value(), c));
    return config.type().is(Kind::kMap) ? Value::map(config.type().element(), std::move(members)) : Value::object(std::move(members));
  }
  Value::Items items;
  if (nesting == Nesting::kSet) {
    std::vector<bool> used(prior.holds() ? prior.items().size() : 0);
    for (const Value& c : config.items()) {
      Value p;
      for (size_t i = 0; i < used.size(); ++i) {
        if (used[i] || !set_element_matches(block, prior.items()[i], c)) continue;
        used[i] = true;
        p = prior.items()[i];
        break;
      }
      items.push_back(proposed_object(block, p, c));
    }
    return Value::set(config.type().element(), std::move(items));
  }
  for (size_t i = 0; i < config.items().size(); ++i) {
    const bool have = prior.holds() && prior.type().is_sequence() && i < prior.items().size();
    items.push_back(proposed_object(block, have ? prior.items()[i] : Value(), config.items()[i]));
  }
  return config.type().is(Kind::kList) ? Value::list(config.type().element(), std::move(items)) : Value::tuple(std::move(items));
}

}  // namespace

Value proposed_new(const Block& block, const Value& prior, const Value& config) {
  if (prior.is_null()) {
    // As if everything computed had been unknown: the provider fills it in.
    return unknown_computed(block, config);
  }
  return proposed_object(block, prior, config);
}

Value unknown_computed(const Block& block, const Value& config) {
  if (!config.holds()) return config;
  Value::Members members;
  for (const Attribute& a : block.attributes) {
    const Value& c = config.get(a.name);
    if (a.computed && c.is_null()) members.emplace(a.name, Value::unknown(a.type));
    else if (a.nested) members.emplace(a.name, each_object(c, a.nesting, [&](const Value& v) { return unknown_computed(*a.nested, v); }));
    else members.emplace(a.name, c);
  }
  for (const NestedBlock& b : block.blocks) {
    members.emplace(b.name, each_object(config.get(b.name), b.nesting, [&](const Value& v) { return unknown_computed(*b.block, v); }));
  }
  return Value::object(std::move(members));
}

namespace {

void check_plan(const Block& block, const Value& prior, const Value& config, const Value& planned, const std::string& path, std::vector<std::string>& out);

void check_plan_nested(const Block& block, Nesting nesting, bool is_block, const Value& prior, const Value& config, const Value& planned, const std::string& path,
                       std::vector<std::string>& out) {
  if (!config.is_known() || !planned.is_known()) return;
  if (config.is_null() || planned.is_null()) {
    if (config.is_null() != planned.is_null()) out.push_back(path + ": planned for existence differs from the configuration");
    return;
  }
  if (nesting == Nesting::kSingle || nesting == Nesting::kGroup) return check_plan(block, prior, config, planned, path, out);
  if (nesting == Nesting::kSet) {
    if (is_block && config.is_wholly_known() && planned.items().size() != config.items().size()) {
      out.push_back(path + ": block set length changed from " + std::to_string(config.items().size()) + " to " + std::to_string(planned.items().size()));
    }
    return;
  }
  if (config.type().is_mapping()) {
    for (const auto& [name, c] : config.members()) {
      auto at = planned.members().find(name);
      if (at == planned.members().end()) out.push_back(path + "[\"" + name + "\"]: missing from the plan");
      else check_plan(block, prior.holds() ? prior.get(name) : Value(), c, at->second, path + "[\"" + name + "\"]", out);
    }
    return;
  }
  if (planned.items().size() != config.items().size()) {
    out.push_back(path + ": block count in plan (" + std::to_string(planned.items().size()) + ") disagrees with count in config (" + std::to_string(config.items().size()) + ")");
    return;
  }
  for (size_t i = 0; i < config.items().size(); ++i) {
    const bool have = prior.holds() && prior.type().is_sequence() && i < prior.items().size();
    check_plan(block, have ? prior.items()[i] : Value(), config.items()[i], planned.items()[i], path + "[" + std::to_string(i) + "]", out);
  }
}

void check_plan(const Block& block, const Value& prior, const Value& config, const Value& planned, const std::string& path, std::vector<std::string>& out) {
  if (!planned.holds() || !config.holds()) return;
  for (const Attribute& a : block.attributes) {
    const Value& c = config.get(a.name);
    const Value& p = planned.get(a.name);
    const Value pr = prior.holds() ? prior.get(a.name) : Value::null(a.type);
    const std::string where = path + "." + a.name;
    if (p.unmarked_deep().equals(c.unmarked_deep())) continue;   // as configured
    if (a.write_only && p.is_null()) continue;
    if (p.unmarked_deep().equals(pr.unmarked_deep()) && !pr.is_null() && !c.is_null()) continue;   // unchanged: equal in the provider's view
    if (a.computed && c.is_null()) continue;
    if (c.is_null()) {
      out.push_back(where + ": planned for an attribute that is not computed and not configured");
      continue;
    }
    if (a.nested) {
      check_plan_nested(*a.nested, a.nesting, false, pr, c, p, where, out);
      continue;
    }
    if (!c.is_wholly_known()) continue;
    out.push_back(where + ": planned value does not match the configured value" + (pr.is_null() ? "" : " nor the prior value"));
  }
  for (const NestedBlock& b : block.blocks) {
    check_plan_nested(*b.block, b.nesting, true, prior.holds() ? prior.get(b.name) : Value(), config.get(b.name), planned.get(b.name), path + "." + b.name, out);
  }
}

void check_result(const Value& planned, const Value& actual, bool hide, const std::string& path, std::vector<std::string>& out) {
  if (!planned.is_known()) return;
  if (!actual.is_known()) {
    out.push_back(path + ": still unknown after apply");
    return;
  }
  hide = hide || planned.sensitive() || actual.sensitive();
  auto was = [&](const std::string& what) { out.push_back(path + ": " + (hide ? "inconsistent values for a sensitive attribute" : what)); };
  if (planned.is_null() || actual.is_null()) {
    if (planned.is_null() && !actual.is_null()) was("was null, but now is not");
    if (!planned.is_null() && actual.is_null()) was("was present, but now absent");
    return;
  }
  if (planned.type().is_primitive() || planned.type().kind() != actual.type().kind()) {
    if (!planned.unmarked().equals(actual.unmarked())) {
      auto show = [](const Value& v) { return json::dump(to_plain_json(v)); };
      was("was " + show(planned) + ", but now " + show(actual));
    }
    return;
  }
  if (planned.type().is_mapping()) {
    for (const auto& [name, p] : planned.members()) {
      const std::string where = planned.type().is(Kind::kMap) ? path + "[\"" + name + "\"]" : path + "." + name;
      if (!actual.members().contains(name)) out.push_back(where + ": " + "element has vanished");
      else check_result(p, actual.get(name), hide, where, out);
    }
    for (const auto& [name, p] : actual.members()) {
      if (!planned.members().contains(name)) out.push_back(path + "[\"" + name + "\"]: new element has appeared");
    }
    return;
  }
  if (planned.type().is(Kind::kSet)) {
    if (!planned.is_wholly_known()) return;
    if (!planned.unmarked_deep().equals(actual.unmarked_deep())) was("the set's elements differ from the planned ones");
    return;
  }
  if (planned.items().size() != actual.items().size()) {
    was("had " + std::to_string(planned.items().size()) + " elements, but now " + std::to_string(actual.items().size()));
    return;
  }
  for (size_t i = 0; i < planned.items().size(); ++i) check_result(planned.items()[i], actual.items()[i], hide, path + "[" + std::to_string(i) + "]", out);
}

}  // namespace

std::vector<std::string> plan_violations(const Block& block, const Value& prior, const Value& config, const Value& planned) {
  std::vector<std::string> out;
  check_plan(block, prior, config, planned, "", out);
  return out;
}

std::vector<std::string> result_violations(const Block& block, const Value& planned, const Value& actual) {
  std::vector<std::string> out;
  check_result(mark_by_schema(planned, block), mark_by_schema(actual, block), false, "", out);
  return out;
}

}  // namespace engenho::magma
