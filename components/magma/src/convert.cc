// Conversion between types.
#include <algorithm>

#include "value.h"

namespace engenho::magma {

using Kind = Type::Kind;

namespace {

std::string required(const Type& type) {
  switch (type.kind()) {
    case Kind::kBool: return "a bool is required";
    case Kind::kNumber: return "a number is required";
    case Kind::kString: return "string required";
    default: return type.friendly_name() + " required";
  }
}

Status mismatch(const Path& path, std::string message) {
  const std::string where = path_to_string(path);
  return bad_request(where.empty() ? std::move(message) : where + ": " + message);
}

Result<Value> convert_at(Path& path, const Value& value, const Type& to);

Result<Value> convert_items(Path& path, const Value& value, const Type& to) {
  Value::Items items;
  Type element = to.element();
  if (value.type().is_sequence()) {
    int64_t index = 0;
    for (const Value& item : value.items()) {
      path.push_back({index++});
      ENGENHO_ASSIGN(Value converted, convert_at(path, item, element));
      path.pop_back();
      items.push_back(std::move(converted));
    }
  }
  if (element.has_dynamic()) {
    std::vector<Type> types;
    for (const Value& item : items) types.push_back(item.type());
    auto common = unify(types);
    if (!common) return err(mismatch(path, "all elements must have the same type"));
    if (!(common->has_dynamic())) {
      element = *common;
      for (Value& item : items) {
        ENGENHO_ASSIGN(item, convert_at(path, item, element));
      }
    }
  }
  element = element.without_optional();
  return to.is(Kind::kList) ? Value::list(element, std::move(items)) : Value::set(element, std::move(items));
}

Result<Value> convert_members(Path& path, const Value& value, const Type& to) {
  Value::Members members;
  Type element = to.element();
  for (const auto& [name, member] : value.members()) {
    path.push_back({name, true});
    ENGENHO_ASSIGN(Value converted, convert_at(path, member, element));
    path.pop_back();
    members.emplace(name, std::move(converted));
  }
  if (element.has_dynamic()) {
    std::vector<Type> types;
    for (const auto& [name, member] : members) types.push_back(member.type());
    auto common = unify(types);
    if (!common) return err(mismatch(path, "all map elements must have the same type"));
    if (!common->has_dynamic()) {
      element = *common;
      for (auto& [name, member] : members) {
        ENGENHO_ASSIGN(member, convert_at(path, member, element));
      }
    }
  }
  return Value::map(element.without_optional(), std::move(members));
}

Result<Value> convert_object(Path& path, const Value& value, const Type& to) {
  Value::Members members;
  for (const auto& [name, type] : to.attributes()) {
    auto at = value.members().find(name);
    if (at == value.members().end()) {
      if (!to.is_optional(name)) return err(mismatch(path, "attribute \"" + name + "\" is required"));
      members.emplace(name, Value::null(type.without_optional()));
      continue;
    }
    path.push_back({name, false});
    ENGENHO_ASSIGN(Value converted, convert_at(path, at->second, type));
    path.pop_back();
    members.emplace(name, std::move(converted));
  }
  return Value::object(std::move(members));
}

Result<Value> convert_primitive(Path& path, const Value& value, const Type& to) {
  const Type& from = value.type();
  if (to.is(Kind::kString)) {
    if (value.is_bool()) return Value::string(value.as_bool() ? "true" : "false");
    if (value.is_number()) return Value::string(number_to_string(value.as_number()));
  } else if (to.is(Kind::kNumber) && from.is(Kind::kString)) {
    Number number;
    if (parse_number(value.as_string(), number)) return Value::number(number);
  } else if (to.is(Kind::kBool) && from.is(Kind::kString)) {
    if (value.as_string() == "true" || value.as_string() == "1") return Value::boolean(true);
    if (value.as_string() == "false" || value.as_string() == "0") return Value::boolean(false);
  }
  return err(mismatch(path, required(to)));
}

Result<Value> convert_known(Path& path, const Value& value, const Type& to) {
  const Type& from = value.type();
  switch (to.kind()) {
    case Kind::kDynamic: return value;
    case Kind::kBool:
    case Kind::kNumber:
    case Kind::kString: return from.is_primitive() ? convert_primitive(path, value, to) : err(mismatch(path, required(to)));
    case Kind::kList:
    case Kind::kSet:
      if (from.is_sequence()) return convert_items(path, value, to);
      break;
    case Kind::kMap:
      if (from.is_mapping()) return convert_members(path, value, to);
      break;
    case Kind::kObject:
      if (from.is_mapping()) return convert_object(path, value, to);
      break;
    case Kind::kTuple: {
      if (!from.is_sequence() || value.items().size() != to.elements().size()) break;
      Value::Items items;
      for (size_t i = 0; i < to.elements().size(); ++i) {
        path.push_back({static_cast<int64_t>(i)});
        ENGENHO_ASSIGN(Value item, convert_at(path, value.items()[i], to.elements()[i]));
        path.pop_back();
        items.push_back(std::move(item));
      }
      return Value::tuple(std::move(items));
    }
  }
  return err(mismatch(path, required(to)));
}

Result<Value> convert_at(Path& path, const Value& value, const Type& to) {
  if (value.type() == to || to.is_dynamic()) return value;
  if (!value.is_known() || value.is_null()) {
    if (!convertible(value.type(), to)) return err(mismatch(path, required(to)));
    const Type type = to.has_dynamic() && !value.type().is_dynamic() && value.type().kind() == to.kind() ? value.type() : to.without_optional();
    return (value.is_known() ? Value::null(type) : Value::unknown(type)).marked(value.sensitive());
  }
  auto converted = convert_known(path, value, to);
  if (!converted) return converted;
  return converted->marked(value.sensitive());
}

}  // namespace

Result<Value> convert(const Value& value, const Type& to) {
  Path path;
  return convert_at(path, value, to);
}

bool convertible(const Type& from, const Type& to) {
  if (from.is_dynamic() || to.is_dynamic() || from == to) return true;
  if (to.is_primitive()) {
    return from.is_primitive() && (to.is(Kind::kString) || from.is(Kind::kString));
  }
  if (to.is(Kind::kList) || to.is(Kind::kSet)) {
    if (from.is(Kind::kTuple)) {
      return std::all_of(from.elements().begin(), from.elements().end(), [&](const Type& t) { return convertible(t, to.element()); });
    }
    return from.is_sequence() && convertible(from.element(), to.element());
  }
  if (to.is(Kind::kMap)) {
    if (from.is(Kind::kObject)) {
      return std::all_of(from.attributes().begin(), from.attributes().end(), [&](const auto& a) { return convertible(a.second, to.element()); });
    }
    return from.is(Kind::kMap) && convertible(from.element(), to.element());
  }
  if (to.is(Kind::kObject)) {
    if (from.is(Kind::kMap)) return true;
    if (!from.is(Kind::kObject)) return false;
    for (const auto& [name, type] : to.attributes()) {
      const Type* have = from.attribute(name);
      if (have == nullptr ? !to.is_optional(name) : !convertible(*have, type)) return false;
    }
    return true;
  }
  if (to.is(Kind::kTuple)) {
    if (!from.is(Kind::kTuple)) return from.is_sequence();
    if (from.elements().size() != to.elements().size()) return false;
    for (size_t i = 0; i < to.elements().size(); ++i) {
      if (!convertible(from.elements()[i], to.elements()[i])) return false;
    }
    return true;
  }
  return false;
}

}  // namespace engenho::magma
