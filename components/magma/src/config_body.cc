// Bodies of blocks: their values by schema, their references without one; and type constraints.
#include <algorithm>

#include "config.h"
#include "engenho/base/bytes.h"

namespace engenho::magma {

using Kind = Type::Kind;

namespace {

std::unexpected<Status> fail(const std::string& path, const std::string& what) {
  return err(bad_request(path.empty() ? what : path + ": " + what));
}

// Adds the iterator of a dynamic block to a scope.
class IteratorScope final : public Scope {
 public:
  IteratorScope(const Scope& outer, std::string name, Value value) : outer_(outer), name_(std::move(name)), value_(std::move(value)) {}
  Result<Value> resolve(const std::vector<std::string>& steps, size_t& used) const override {
    if (steps[0] != name_) return outer_.resolve(steps, used);
    used = 1;
    return value_;
  }
  const std::string& module_dir() const override { return outer_.module_dir(); }
  WallTime plan_time() const override { return outer_.plan_time(); }
  bool applying() const override { return outer_.applying(); }

 private:
  const Scope& outer_;
  std::string name_;
  Value value_;
};

// Missing members of the objects inside as null: what nested attributes may leave out.
Value fill_missing(const Value& v, const Type& type) {
  if (!v.holds()) return v;
  if (type.is(Kind::kObject) && v.type().is(Kind::kObject)) {
    Value::Members members;
    for (const auto& [name, member] : v.members()) {
      const Type* t = type.attribute(name);
      members.emplace(name, t != nullptr ? fill_missing(member, *t) : member);
    }
    for (const auto& [name, t] : type.attributes()) members.try_emplace(name, Value::null(t));
    return Value::object(std::move(members)).marked(v.sensitive());
  }
  if ((type.is(Kind::kList) || type.is(Kind::kSet)) && v.type().is(Kind::kTuple)) {
    Value::Items items;
    for (const Value& item : v.items()) items.push_back(fill_missing(item, type.element()));
    return Value::tuple(std::move(items)).marked(v.sensitive());
  }
  return v;
}

// Optional attributes of a nested attribute may be left out.
Value fill_nested(const Value& v, const Block& nested, Nesting nesting) {
  Type object = nested.type();
  return fill_missing(v, nesting == Nesting::kSingle ? object : nesting == Nesting::kMap ? object : Type::list(object));
}

Result<Value> decode_attribute(const Attribute& a, const json::Value* source, const Scope& scope, const std::string& path) {
  if (source == nullptr || source->is_null()) {
    if (a.required) return fail(path, "the argument \"" + a.name + "\" is required, but no definition was found");
    return Value::null(a.type);
  }
  const std::string where = path.empty() ? a.name : path + "." + a.name;
  if (a.computed && !a.optional && !a.required) return fail(where, "this value is computed by the provider and cannot be set");
  auto expr = expr_from_json(*source);
  if (!expr) return fail(where, expr.error().message());
  auto value = evaluate(**expr, scope);
  if (!value) return fail(where, value.error().message());
  if (a.nested && a.nesting != Nesting::kMap) *value = fill_nested(*value, *a.nested, a.nesting);
  else if (a.nested && value->holds() && value->type().is(Kind::kObject)) {
    Value::Members members;
    for (const auto& [name, member] : value->members()) members.emplace(name, fill_missing(member, a.nested->type()));
    *value = Value::object(std::move(members)).marked(value->sensitive());
  }
  auto converted = convert(*value, a.type);
  if (!converted) {
    return fail(where, value->contains_sensitive() ? "inappropriate (sensitive) value: " + a.type.friendly_name() + " required" : "inappropriate value: " + converted.error().message());
  }
  if (a.required && converted->is_null()) return fail(where, "the argument is required, but its value is null");
  return converted;
}

struct BlockBody {
  const json::Value* body;
  std::shared_ptr<IteratorScope> scope;   // of a dynamic block; null for plain ones
  std::string label;                      // for nesting by map
};

Status gather(const json::Value& v, Nesting nesting, std::vector<BlockBody>& out, const std::string& path) {
  if (v.is_array()) {
    for (const json::Value& item : v.as_array()) ENGENHO_RETURN_IF_ERROR(gather(item, nesting, out, path));
    return {};
  }
  if (v.is_null()) return {};
  if (!v.is_object()) return bad_request(path + ": a block must be an object or an array of objects; an expression cannot stand here");
  if (nesting == Nesting::kMap) {
    for (const auto& [label, body] : v.as_object()) out.push_back({&body, nullptr, label});
  } else {
    out.push_back({&v, nullptr, ""});
  }
  return {};
}

// The instances of a dynamic block. `unknown`: its for_each is not known yet.
Status expand_dynamic(const json::Value& definition, const std::string& name, const Scope& scope, std::vector<BlockBody>& out, bool& unknown, const std::string& path) {
  if (definition.is_array()) {
    for (const json::Value& item : definition.as_array()) ENGENHO_RETURN_IF_ERROR(expand_dynamic(item, name, scope, out, unknown, path));
    return {};
  }
  const json::Value* source = definition.get("for_each");
  const json::Value* content = definition.get("content");
  if (source == nullptr || content == nullptr) return bad_request(path + ": a dynamic block needs for_each and content");
  if (content->is_array() && content->as_array().size() == 1) content = &content->as_array()[0];
  const std::string iterator(definition.str_at({"iterator"}, name));
  ENGENHO_ASSIGN_OR_RETURN(ExprPtr e, expr_from_json(*source));
  ENGENHO_ASSIGN_OR_RETURN(Value collection, evaluate(*e, scope));
  if (!collection.is_known()) {
    unknown = true;
    return {};
  }
  if (collection.is_null() || !(collection.type().is_sequence() || collection.type().is_mapping())) return bad_request(path + ": for_each needs a collection");
  auto add = [&](Value key, const Value& value) {
    Value it = Value::object({{"key", key}, {"value", value.marked(collection.sensitive())}});
    out.push_back({content, std::make_shared<IteratorScope>(scope, iterator, it), key.is_string() ? key.as_string() : ""});
  };
  if (collection.type().is_mapping()) {
    for (const auto& [key, member] : collection.members()) add(Value::string(key), member);
  } else {
    int64_t index = 0;
    for (const Value& item : collection.items()) add(collection.type().is(Kind::kSet) ? item : Value::number(static_cast<Number>(index++)), item);
  }
  return {};
}

Result<Value> decode_blocks(const NestedBlock& b, const json::Value& body, const Scope& scope, const std::string& path) {
  const std::string where = path.empty() ? b.name : path + "." + b.name;
  std::vector<BlockBody> bodies;
  bool unknown = false;
  if (const json::Value* plain = body.get(b.name)) ENGENHO_TRY(gather(*plain, b.nesting, bodies, where));
  if (const json::Value* dynamic = body.at({"dynamic", b.name})) ENGENHO_TRY(expand_dynamic(*dynamic, b.name, scope, bodies, unknown, where));
  if (const json::Value* list = body.get("dynamic"); list != nullptr && list->is_array()) {
    for (const json::Value& item : list->as_array()) {
      if (const json::Value* dynamic = item.get(b.name)) ENGENHO_TRY(expand_dynamic(*dynamic, b.name, scope, bodies, unknown, where));
    }
  }
  const Type& object = b.block->type();
  if (unknown) return Value::unknown(Block::nested_type(object, b.nesting));
  const auto count = static_cast<int64_t>(bodies.size());
  if (b.nesting == Nesting::kList || b.nesting == Nesting::kSet) {
    if (count < b.min_items) return fail(where, count == 0 ? "at least " + std::to_string(b.min_items) + " \"" + b.name + "\" blocks are required" : "too few blocks");
    if (b.max_items > 0 && count > b.max_items) return fail(where, "no more than " + std::to_string(b.max_items) + " \"" + b.name + "\" blocks are allowed");
  } else if (b.nesting != Nesting::kMap && count > 1) {
    return fail(where, "only one \"" + b.name + "\" block is allowed");
  } else if (b.nesting == Nesting::kSingle && b.min_items > 0 && count == 0) {
    return fail(where, "a \"" + b.name + "\" block is required");
  }
  Value::Items items;
  Value::Members members;
  for (size_t i = 0; i < bodies.size(); ++i) {
    const std::string at = b.nesting == Nesting::kMap ? where + "[\"" + bodies[i].label + "\"]" : count > 1 ? where + "[" + std::to_string(i) + "]" : where;
    const Scope& inner = bodies[i].scope ? static_cast<const Scope&>(*bodies[i].scope) : scope;
    ENGENHO_ASSIGN(Value value, decode_body(*b.block, *bodies[i].body, inner, at));
    if (b.nesting == Nesting::kMap) members.insert_or_assign(bodies[i].label, std::move(value));
    else items.push_back(std::move(value));
  }
  switch (b.nesting) {
    case Nesting::kSingle: return items.empty() ? Value::null(object) : items[0];
    case Nesting::kGroup: return items.empty() ? empty_value(*b.block) : items[0];
    case Nesting::kList: return object.has_dynamic() ? Value::tuple(std::move(items)) : Value::list(object, std::move(items));
    case Nesting::kSet: return Value::set(object, std::move(items));
    case Nesting::kMap: return object.has_dynamic() ? Value::object(std::move(members)) : Value::map(object, std::move(members));
  }
  return Value();
}

Status collect_body(const json::Value& v, std::vector<std::string>& bound, std::set<Reference>& out) {
  if (v.is_string()) {
    if (v.as_string().find("{") == std::string::npos) return {};
    ENGENHO_ASSIGN_OR_RETURN(ExprPtr e, parse_template(v.as_string()));
    std::set<Reference> found;
    collect_references(*e, found);
    for (const Reference& reference : found) {
      if (std::find(bound.begin(), bound.end(), reference.steps[0]) == bound.end()) out.insert(reference);
    }
    return {};
  }
  for (const json::Value& item : v.items()) ENGENHO_RETURN_IF_ERROR(collect_body(item, bound, out));
  for (const auto& [name, member] : v.members()) {
    if (name == "//") continue;
    if (name == "dynamic" && (member.is_object() || member.is_array())) {
      json::Array one;
      if (member.is_object()) one.push_back(member);
      for (const json::Value& group : member.is_array() ? member.as_array() : one) {
        for (const auto& [block, definition] : group.members()) {
          const size_t before = bound.size();
          bound.push_back(std::string(definition.str_at({"iterator"}, block)));
          const Status s = collect_body(definition, bound, out);
          bound.resize(before);
          if (!s.ok()) return s;
        }
      }
      continue;
    }
    if (name.find("${") != std::string::npos) ENGENHO_RETURN_IF_ERROR(collect_body(json::Value(name), bound, out));
    if (Status s = collect_body(member, bound, out); !s.ok()) return s.with_context(name);
  }
  return {};
}

}  // namespace

Status body_references(const json::Value& body, std::set<Reference>& out) {
  std::vector<std::string> bound;
  return collect_body(body, bound, out);
}

Result<Value> decode_body(const Block& block, const json::Value& body, const Scope& scope, const std::string& path) {
  if (!body.is_object()) return fail(path, "an object is required");
  for (const auto& [name, member] : body.as_object()) {
    if (name == "//" || name == "dynamic" || block.attribute(name) != nullptr || block.block(name) != nullptr) continue;
    std::vector<std::string> names;
    for (const Attribute& a : block.attributes) names.push_back(a.name);
    for (const NestedBlock& b : block.blocks) names.push_back(b.name);
    const std::string near = nearest(name, names);
    return fail(path, "unsupported argument \"" + name + "\"" + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  Value::Members members;
  for (const Attribute& a : block.attributes) {
    // Some providers declare as attributes what people write as blocks; dynamic makes them blocks for sure.
    if (body.at({"dynamic", a.name}) != nullptr && (a.type.is(Kind::kList) || a.type.is(Kind::kSet)) && a.type.element().is(Kind::kObject)) {
      auto inner = std::make_shared<Block>();
      for (const auto& [name, type] : a.type.element().attributes()) {
        Attribute member;
        member.name = name;
        member.type = type;
        member.optional = true;
        inner->attributes.push_back(std::move(member));
      }
      inner->seal();
      ENGENHO_ASSIGN(Value value, decode_blocks({a.name, inner, a.type.is(Kind::kList) ? Nesting::kList : Nesting::kSet}, body, scope, path));
      members.emplace(a.name, std::move(value));
      continue;
    }
    ENGENHO_ASSIGN(Value value, decode_attribute(a, body.get(a.name), scope, path));
    members.emplace(a.name, std::move(value));
  }
  for (const NestedBlock& b : block.blocks) {
    ENGENHO_ASSIGN(Value value, decode_blocks(b, body, scope, path));
    members.emplace(b.name, std::move(value));
  }
  return Value::object(std::move(members));
}

Result<Type> type_from_expr(const Expr& e) {
  if (e.kind == Expr::Kind::kVariable) {
    if (e.name == "any") return Type();
    if (e.name == "string") return Type::string();
    if (e.name == "number") return Type::number();
    if (e.name == "bool") return Type::boolean();
    if (e.name == "list") return Type::list(Type());
    if (e.name == "map") return Type::map(Type());
  }
  if (e.kind == Expr::Kind::kLiteral && e.literal.is_string()) {   // the old quoted form
    const std::string& name = e.literal.as_string();
    if (name == "string") return Type::string();
    if (name == "list") return Type::list(Type());
    if (name == "map") return Type::map(Type());
  }
  if (e.kind == Expr::Kind::kCall && e.children.size() == 1) {
    const Expr& argument = *e.children[0];
    if (e.name == "list" || e.name == "set" || e.name == "map") {
      ENGENHO_ASSIGN(Type element, type_from_expr(argument));
      return e.name == "list" ? Type::list(element) : e.name == "set" ? Type::set(element) : Type::map(element);
    }
    if (e.name == "tuple" && argument.kind == Expr::Kind::kTuple) {
      std::vector<Type> types;
      for (const ExprPtr& child : argument.children) {
        ENGENHO_ASSIGN(Type t, type_from_expr(*child));
        types.push_back(std::move(t));
      }
      return Type::tuple(std::move(types));
    }
    if (e.name == "object" && argument.kind == Expr::Kind::kObject) {
      Type::Attributes attributes;
      std::vector<std::string> optional;
      for (size_t i = 0; i < argument.children.size(); i += 2) {
        const Expr& key = *argument.children[i];
        const Expr* value = argument.children[i + 1].get();
        if (!key.literal.is_string()) return err(bad_request("object attribute names must be plain names"));
        if (value->kind == Expr::Kind::kCall && value->name == "optional" && !value->children.empty()) {
          optional.push_back(key.literal.as_string());
          value = value->children[0].get();
        }
        ENGENHO_ASSIGN(Type t, type_from_expr(*value));
        attributes.emplace_back(key.literal.as_string(), std::move(t));
      }
      return Type::object(std::move(attributes), std::move(optional));
    }
  }
  return err(bad_request("expected a type: string, number, bool, any, list(...), set(...), map(...), object({...}) or tuple([...])"));
}

Value apply_type_defaults(const Value& value, const Expr& e, const Scope& scope) {
  if (!value.holds() || e.kind != Expr::Kind::kCall || e.children.empty()) return value;
  const Expr& argument = *e.children[0];
  if ((e.name == "list" || e.name == "set") && value.type().is_sequence()) {
    Value::Items items;
    for (const Value& item : value.items()) items.push_back(apply_type_defaults(item, argument, scope));
    return Value::tuple(std::move(items)).marked(value.sensitive());
  }
  if (e.name == "map" && value.type().is_mapping()) {
    Value::Members members;
    for (const auto& [name, member] : value.members()) members.emplace(name, apply_type_defaults(member, argument, scope));
    return Value::object(std::move(members)).marked(value.sensitive());
  }
  if (e.name == "object" && argument.kind == Expr::Kind::kObject && value.type().is_mapping()) {
    Value::Members members = value.members();
    for (size_t i = 0; i < argument.children.size(); i += 2) {
      const std::string& name = argument.children[i]->literal.as_string();
      const Expr* type = argument.children[i + 1].get();
      auto at = members.find(name);
      if (type->kind == Expr::Kind::kCall && type->name == "optional") {
        if (type->children.size() > 1 && (at == members.end() || at->second.is_null())) {
          if (auto d = evaluate(*type->children[1], scope)) at = members.insert_or_assign(name, *d).first;
        }
        type = type->children[0].get();
      }
      if (at != members.end()) at->second = apply_type_defaults(at->second, *type, scope);
    }
    return Value::object(std::move(members)).marked(value.sensitive());
  }
  return value;
}

}  // namespace engenho::magma
