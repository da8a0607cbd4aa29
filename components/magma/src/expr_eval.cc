// The evaluator. Unknown and sensitive travel with the values: a result that rests on one is one.
#include <algorithm>
#include <cmath>

#include "expr.h"

namespace engenho::magma {

namespace {

using Kind = Expr::Kind;
using TypeKind = Type::Kind;

struct Frame {
  const Frame* outer = nullptr;
  std::string name;
  Value value;
};

class Evaluator {
 public:
  explicit Evaluator(const Scope& scope) : scope_(scope) {}
  Result<Value> eval(const Expr& e);

 private:
  Result<Value> reference(const Expr& e);
  Result<Value> get_attr(const Value& base, const std::string& name);
  Result<Value> splat(const Expr& e);
  Result<Value> for_expression(const Expr& e);
  Result<Value> template_text(const Expr& e);
  Result<Value> template_for(const Expr& e);
  Result<Value> object(const Expr& e);
  Result<Value> call(const Expr& e);
  Result<Value> binary(const Expr& e);
  Result<Value> conditional(const Expr& e);
  // Calls fn(key, value) for each element of a collection that holds.
  Status each(const Value& collection, const std::function<Status(const Value&, const Value&)>& fn);
  Result<bool> condition(const Expr& e, bool& unknown, bool& sensitive);

  const Scope& scope_;
  const Frame* frame_ = nullptr;
  const Value* splat_item_ = nullptr;
};

std::unexpected<Status> fail(std::string message) { return err(bad_request(std::move(message))); }

Result<Value> Evaluator::eval(const Expr& e) {
  switch (e.kind) {
    case Kind::kLiteral: return e.literal;
    case Kind::kTemplate: return template_text(e);
    case Kind::kTemplateIf: {
      bool unknown = false, sensitive = false;
      ENGENHO_ASSIGN(const bool yes, condition(*e.children[0], unknown, sensitive));
      if (unknown) return Value::unknown(Type::string()).marked(sensitive);
      ENGENHO_ASSIGN(Value chosen, eval(*e.children[yes ? 1 : 2]));
      return chosen.marked(sensitive);
    }
    case Kind::kTemplateFor: return template_for(e);
    case Kind::kVariable:
    case Kind::kGetAttr: return reference(e);
    case Kind::kIndex: {
      ENGENHO_ASSIGN(Value base, eval(*e.children[0]));
      ENGENHO_ASSIGN(Value key, eval(*e.children[1]));
      return index_value(base, key);
    }
    case Kind::kSplat: return splat(e);
    case Kind::kSplatItem: return splat_item_ != nullptr ? *splat_item_ : Value();
    case Kind::kCall: return call(e);
    case Kind::kUnary: {
      ENGENHO_ASSIGN(Value operand, eval(*e.children[0]));
      const Type type = e.name == "!" ? Type::boolean() : Type::number();
      ENGENHO_ASSIGN(operand, convert(operand, type));
      if (operand.is_null()) return fail("the operand of \"" + e.name + "\" is null");
      if (!operand.is_known()) return operand;
      return (e.name == "!" ? Value::boolean(!operand.as_bool()) : Value::number(-operand.as_number())).marked(operand.sensitive());
    }
    case Kind::kBinary: return binary(e);
    case Kind::kConditional: return conditional(e);
    case Kind::kFor: return for_expression(e);
    case Kind::kObject: return object(e);
    case Kind::kTuple: {
      Value::Items items;
      for (const ExprPtr& child : e.children) {
        ENGENHO_ASSIGN(Value item, eval(*child));
        items.push_back(std::move(item));
      }
      return Value::tuple(std::move(items));
    }
  }
  return fail("unexpected expression");
}

// A chain of attributes: the scope takes as many steps as name one thing, the rest are attributes of it.
Result<Value> Evaluator::reference(const Expr& e) {
  std::vector<std::string> steps;
  const Expr* at = &e;
  while (at->kind == Kind::kGetAttr) {
    steps.push_back(at->name);
    at = at->children[0].get();
  }
  Value value;
  size_t used = 0;
  if (at->kind == Kind::kVariable) {
    steps.push_back(at->name);
    std::reverse(steps.begin(), steps.end());
    const Frame* frame = frame_;
    while (frame != nullptr && frame->name != steps[0]) frame = frame->outer;
    if (frame != nullptr) {
      value = frame->value;
      used = 1;
    } else {
      ENGENHO_ASSIGN(value, scope_.resolve(steps, used));
    }
  } else {
    ENGENHO_ASSIGN(value, eval(*at));
    std::reverse(steps.begin(), steps.end());
  }
  for (; used < steps.size(); ++used) {
    ENGENHO_ASSIGN(value, get_attr(value, steps[used]));
  }
  return value;
}

Result<Value> Evaluator::get_attr(const Value& base, const std::string& name) {
  const Type& type = base.type();
  if (type.is(TypeKind::kObject)) {
    const Type* attribute = type.attribute(name);
    if (attribute == nullptr) return fail("this object does not have an attribute named \"" + name + "\"");
    if (base.is_null()) return fail("attempt to get attribute \"" + name + "\" from a null value");
    return (base.is_known() ? base.get(name) : Value::unknown(*attribute)).marked(base.sensitive());
  }
  if (base.is_null()) return fail("attempt to get attribute \"" + name + "\" from a null value");
  if (type.is_dynamic()) return Value::unknown().marked(base.sensitive());
  if (type.is(TypeKind::kMap)) {
    if (!base.is_known()) return Value::unknown(type.element()).marked(base.sensitive());
    auto found = base.members().find(name);
    if (found == base.members().end()) return fail("this map does not have an element with the key \"" + name + "\"");
    return found->second.marked(base.sensitive());
  }
  if (type.is_sequence()) {
    return fail("this is a " + type.friendly_name() + " and has no attribute \"" + name + "\"; did you mean to index it, as in [0]." + name + "?");
  }
  return fail("a " + type.friendly_name() + " has no attributes; cannot get \"" + name + "\"");
}

Result<Value> Evaluator::splat(const Expr& e) {
  ENGENHO_ASSIGN(Value base, eval(*e.children[0]));
  const Type& type = base.type();
  const bool sensitive = base.sensitive();
  if (!type.is_sequence()) {
    // A single value is a list of one, a null one of none.
    if (!base.is_known() && type.is_dynamic()) return Value::unknown().marked(sensitive);
    base = base.is_null() ? Value::tuple({}) : Value::tuple({base});
  }
  if (!base.is_known()) return Value::unknown().marked(sensitive);
  if (base.is_null()) return fail("splat expressions ([*]) cannot be applied to null sequences");
  Value::Items out;
  const Value* const before = splat_item_;
  for (const Value& item : base.items()) {
    splat_item_ = &item;
    auto result = eval(*e.children[1]);
    splat_item_ = before;
    if (!result) return result;
    out.push_back(std::move(*result));
  }
  if (type.is(TypeKind::kList) || type.is(TypeKind::kSet)) {
    std::vector<Type> types;
    for (const Value& v : out) types.push_back(v.type());
    auto common = unify(types);
    if (common && !common->has_dynamic()) return Value::list(*common, std::move(out)).marked(sensitive);
  }
  return Value::tuple(std::move(out)).marked(sensitive);
}

Status Evaluator::each(const Value& collection, const std::function<Status(const Value&, const Value&)>& fn) {
  if (collection.type().is_mapping()) {
    for (const auto& [name, member] : collection.members()) ENGENHO_RETURN_IF_ERROR(fn(Value::string(name), member));
    return {};
  }
  const bool is_set = collection.type().is(TypeKind::kSet);
  int64_t index = 0;
  for (const Value& item : collection.items()) ENGENHO_RETURN_IF_ERROR(fn(is_set ? item : Value::number(static_cast<Number>(index++)), item));
  return {};
}

Result<bool> Evaluator::condition(const Expr& e, bool& unknown, bool& sensitive) {
  ENGENHO_ASSIGN(Value value, eval(e));
  sensitive = sensitive || value.sensitive();
  auto converted = convert(value, Type::boolean());
  if (!converted) return fail("the condition must be a bool: " + converted.error().message());
  if (converted->is_null()) return fail("the condition is null; it must be true or false");
  unknown = !converted->is_known();
  return !unknown && converted->as_bool();
}

Result<Value> Evaluator::for_expression(const Expr& e) {
  ENGENHO_ASSIGN(Value collection, eval(*e.children[0]));
  bool sensitive = collection.sensitive(), unknown = false;
  if (collection.is_null()) return fail("a null value cannot be used as the collection of a for expression");
  if (!collection.is_known()) return Value::unknown().marked(sensitive);
  if (!collection.type().is_sequence() && !collection.type().is_mapping()) {
    return fail("a " + collection.type().friendly_name() + " cannot be used as the collection of a for expression");
  }
  Value::Items items;
  Value::Members members;
  std::map<std::string, Value::Items> groups;
  const Frame* const before = frame_;
  Status status = each(collection, [&](const Value& key, const Value& value) -> Status {
    Frame key_frame{before, e.name2, key}, value_frame{e.name2.empty() ? before : &key_frame, e.name, value};
    frame_ = &value_frame;
    if (e.for_condition) {
      bool not_known = false;
      ENGENHO_ASSIGN_OR_RETURN(const bool include, condition(*e.for_condition, not_known, sensitive));
      unknown = unknown || not_known;
      if (not_known || !include) return {};
    }
    if (!e.for_key) {
      ENGENHO_ASSIGN_OR_RETURN(Value item, eval(*e.children[1]));
      items.push_back(std::move(item));
      return {};
    }
    ENGENHO_ASSIGN_OR_RETURN(Value name, eval(*e.for_key));
    ENGENHO_ASSIGN_OR_RETURN(name, convert(name, Type::string()));
    if (name.is_null()) return bad_request("a key of the for expression is null");
    sensitive = sensitive || name.sensitive();
    if (!name.is_known()) {
      unknown = true;
      return {};
    }
    ENGENHO_ASSIGN_OR_RETURN(Value member, eval(*e.children[1]));
    if (e.for_group) groups[name.as_string()].push_back(std::move(member));
    else if (!members.emplace(name.as_string(), std::move(member)).second) {
      return bad_request("two items have the same key" + (name.sensitive() ? std::string() : " \"" + name.as_string() + "\"") + " in the for expression; add \"...\" after the value to group them");
    }
    return {};
  });
  frame_ = before;
  if (!status.ok()) return err(status);
  if (unknown) return Value::unknown().marked(sensitive);
  if (!e.for_key) return Value::tuple(std::move(items)).marked(sensitive);
  for (auto& [name, group] : groups) members.emplace(name, Value::tuple(std::move(group)));
  return Value::object(std::move(members)).marked(sensitive);
}

Result<Value> Evaluator::template_text(const Expr& e) {
  if (e.flag) return eval(*e.children[0]);
  std::string text;
  bool unknown = false, sensitive = false;
  for (const ExprPtr& part : e.children) {
    ENGENHO_ASSIGN(Value value, eval(*part));
    sensitive = sensitive || value.sensitive();
    if (value.is_null()) return fail("the expression result is null; a null value cannot be included in a string template");
    auto converted = convert(value, Type::string());
    if (!converted) return fail("a " + value.type().friendly_name() + " cannot be included in a string template: " + converted.error().message());
    if (!converted->is_known()) unknown = true;
    else text += converted->as_string();
  }
  return (unknown ? Value::unknown(Type::string()) : Value::string(std::move(text))).marked(sensitive);
}

Result<Value> Evaluator::template_for(const Expr& e) {
  ENGENHO_ASSIGN(Value collection, eval(*e.children[0]));
  if (collection.is_null()) return fail("a null value cannot be used as the collection of a template for");
  bool sensitive = collection.sensitive(), unknown = false;
  if (!collection.is_known()) return Value::unknown(Type::string()).marked(sensitive);
  if (!collection.type().is_sequence() && !collection.type().is_mapping()) return fail("a template for needs a collection");
  std::string text;
  const Frame* const before = frame_;
  Status status = each(collection, [&](const Value& key, const Value& value) -> Status {
    Frame key_frame{before, e.name2, key}, value_frame{e.name2.empty() ? before : &key_frame, e.name, value};
    frame_ = &value_frame;
    ENGENHO_ASSIGN_OR_RETURN(Value part, eval(*e.children[1]));
    sensitive = sensitive || part.sensitive();
    if (!part.is_known()) unknown = true;
    else text += part.as_string();
    return {};
  });
  frame_ = before;
  if (!status.ok()) return err(status);
  return (unknown ? Value::unknown(Type::string()) : Value::string(std::move(text))).marked(sensitive);
}

Result<Value> Evaluator::object(const Expr& e) {
  Value::Members members;
  bool unknown = false, sensitive = false;
  for (size_t i = 0; i < e.children.size(); i += 2) {
    ENGENHO_ASSIGN(Value key, eval(*e.children[i]));
    ENGENHO_ASSIGN(key, convert(key, Type::string()));
    ENGENHO_ASSIGN(Value value, eval(*e.children[i + 1]));
    sensitive = sensitive || key.sensitive();
    if (key.is_null()) return fail("a null value cannot be the key of an object");
    if (!key.is_known()) unknown = true;
    else members.insert_or_assign(key.as_string(), std::move(value));
  }
  return (unknown ? Value::unknown() : Value::object(std::move(members))).marked(sensitive);
}

Result<Value> Evaluator::call(const Expr& e) {
  // These two look at whether an expression can be evaluated at all.
  if (e.name == "try" || e.name == "can") {
    Status last = bad_request("try needs at least one expression");
    for (const ExprPtr& child : e.children) {
      const Frame* const frame = frame_;
      auto value = eval(*child);
      frame_ = frame;
      if (e.name == "can") return Value::boolean(value.has_value());
      if (value) return value;
      last = value.error();
    }
    return err(e.name == "can" ? bad_request("can needs one expression") : last.with_context("no expression of try succeeded; the last error"));
  }
  std::vector<Value> arguments;
  for (const ExprPtr& child : e.children) {
    ENGENHO_ASSIGN(Value argument, eval(*child));
    arguments.push_back(std::move(argument));
  }
  if (e.flag) {
    const Value last = arguments.back();
    arguments.pop_back();
    if (!last.is_known()) return Value::unknown().marked(last.sensitive());
    if (last.is_null() || !last.type().is_sequence()) return fail("the expanded argument of " + e.name + " must be a list, set or tuple");
    for (const Value& item : last.items()) arguments.push_back(item.marked(last.sensitive()));
  }
  return call_function(e.name, std::move(arguments), scope_);
}

Result<Value> Evaluator::binary(const Expr& e) {
  ENGENHO_ASSIGN(Value a, eval(*e.children[0]));
  ENGENHO_ASSIGN(Value b, eval(*e.children[1]));
  const std::string& op = e.name;
  const bool sensitive = a.sensitive() || b.sensitive();
  if (op == "==" || op == "!=") {
    ENGENHO_ASSIGN(Value equal, equal_values(a, b));
    if (op == "!=" && equal.is_known()) equal = Value::boolean(!equal.as_bool()).marked(equal.sensitive());
    return equal;
  }
  const bool logic = op == "&&" || op == "||";
  const Type type = logic ? Type::boolean() : Type::number();
  for (Value* side : {&a, &b}) {
    auto converted = convert(*side, type);
    if (!converted) return fail("unsuitable value for the operand of \"" + op + "\": " + converted.error().message());
    if (converted->is_null()) return fail("the operand of \"" + op + "\" is null");
    *side = *converted;
  }
  if (logic) {
    const bool decides = op == "||";   // true decides ||, false decides &&
    for (const Value* side : {&a, &b}) {
      if (side->is_known() && side->as_bool() == decides) return Value::boolean(decides).marked(sensitive);
    }
    if (!a.is_known() || !b.is_known()) return Value::unknown(Type::boolean()).marked(sensitive);
    return Value::boolean(!decides).marked(sensitive);
  }
  const bool compare = op[0] == '<' || op[0] == '>';
  if (!a.is_known() || !b.is_known()) return Value::unknown(compare ? Type::boolean() : Type::number()).marked(sensitive);
  const Number x = a.as_number(), y = b.as_number();
  if (compare) return Value::boolean(op == "<" ? x < y : op == "<=" ? x <= y : op == ">" ? x > y : x >= y).marked(sensitive);
  if ((op == "/" || op == "%") && y == 0) return fail("division by zero");
  const Number result = op == "+" ? x + y : op == "-" ? x - y : op == "*" ? x * y : op == "/" ? x / y : std::fmod(x, y);
  return Value::number(result).marked(sensitive);
}

Result<Value> Evaluator::conditional(const Expr& e) {
  bool unknown = false, sensitive = false;
  ENGENHO_ASSIGN(const bool yes, condition(*e.children[0], unknown, sensitive));
  auto a = eval(*e.children[1]);
  auto b = eval(*e.children[2]);
  // The branch that is not taken need not be valid, as long as its value is not needed for the type.
  if (!unknown) {
    auto& chosen = yes ? a : b;
    const auto& other = yes ? b : a;
    if (!chosen) return chosen;
    Value out = *chosen;
    if (other && !(other->type() == out.type())) {
      auto common = unify({out.type(), other->type()});
      if (common && !common->has_dynamic()) {
        if (auto converted = convert(out, *common)) out = *converted;
      } else if (!common && !(out.type().is_mapping() && other->type().is_mapping()) && !(out.type().is_sequence() && other->type().is_sequence())) {
        return fail("the true and false result expressions must have consistent types; they are " + (*a).type().friendly_name() + " and " + (*b).type().friendly_name());
      }
      if (out.is_null() && out.type().is_dynamic()) out = Value::null(other->type());
    }
    return out.marked(sensitive);
  }
  if (!a) return a;
  if (!b) return b;
  auto common = unify({a->type(), b->type()});
  return Value::unknown(common ? *common : Type()).marked(sensitive || a->sensitive() || b->sensitive());
}

}  // namespace

Result<Value> evaluate(const Expr& expr, const Scope& scope) { return Evaluator(scope).eval(expr); }

Result<Value> equal_values(const Value& a, const Value& b) {
  const bool sensitive = a.contains_sensitive() || b.contains_sensitive();
  if (!a.is_known() || !b.is_known()) return Value::unknown(Type::boolean()).marked(sensitive);
  if (a.is_null() || b.is_null()) return Value::boolean(a.is_null() && b.is_null()).marked(sensitive);
  const Value x = a.unmarked_deep(), y = b.unmarked_deep();
  if (!x.is_wholly_known() || !y.is_wholly_known()) {
    // Known parts that differ decide all the same.
    if (x.type().is_mapping() && y.type().is_mapping()) {
      if (x.members().size() != y.members().size()) return Value::boolean(false).marked(sensitive);
      for (const auto& [name, member] : x.members()) {
        ENGENHO_ASSIGN(Value same, equal_values(member, y.get(name)));
        if (same.is_known() && !same.as_bool()) return Value::boolean(false).marked(sensitive);
      }
    }
    return Value::unknown(Type::boolean()).marked(sensitive);
  }
  return Value::boolean(x.equals(y)).marked(sensitive);
}

Result<Value> index_value(const Value& collection, const Value& key) {
  const Type& type = collection.type();
  const bool sensitive = collection.sensitive() || key.sensitive();
  if (collection.is_null()) return fail("this value is null, so it does not have any indices");
  if (key.is_null()) return fail("a null value cannot be an index");
  if (type.is_dynamic()) return Value::unknown().marked(sensitive);
  if (type.is_mapping()) {
    auto name = convert(key, Type::string());
    if (!name) return fail("the key of a " + type.friendly_name() + " must be a string");
    if (!name->is_known()) return Value::unknown(type.is(TypeKind::kMap) ? type.element() : Type()).marked(sensitive);
    if (type.is(TypeKind::kObject)) {
      const Type* attribute = type.attribute(name->as_string());
      if (attribute == nullptr) return fail("the given key does not identify an element in this object");
      return (collection.is_known() ? collection.get(name->as_string()) : Value::unknown(*attribute)).marked(sensitive);
    }
    if (!collection.is_known()) return Value::unknown(type.element()).marked(sensitive);
    auto found = collection.members().find(name->as_string());
    if (found == collection.members().end()) return fail("the given key does not identify an element in this collection value");
    return found->second.marked(sensitive);
  }
  if (type.is(TypeKind::kSet)) return fail("elements of a set are identified only by their value and don't have any separate index or key to select with; convert it with tolist()");
  if (type.is_sequence()) {
    auto number = convert(key, Type::number());
    if (!number) return fail("the index of a " + type.friendly_name() + " must be a number");
    if (!number->is_known() || !collection.is_known()) return Value::unknown(type.is(TypeKind::kList) ? type.element() : Type()).marked(sensitive);
    const Number n = number->as_number();
    if (n < 0 || n != std::trunc(n) || n >= static_cast<Number>(collection.items().size())) {
      return fail("the given index does not identify an element in this collection value; it has " + std::to_string(collection.items().size()) + " elements");
    }
    return collection.items()[static_cast<size_t>(n)].marked(sensitive);
  }
  return fail("a " + type.friendly_name() + " cannot be indexed");
}

}  // namespace engenho::magma
