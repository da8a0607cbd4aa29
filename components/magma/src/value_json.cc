// Values as JSON: with a type (state files, plugins) and without.
#include <cmath>

#include "value.h"

namespace engenho::magma {

using Kind = Type::Kind;

namespace {

json::Value number_json(Number number) {
  if (fits_int64(number)) return static_cast<int64_t>(number);
  return static_cast<double>(number);
}

Number number_of(const json::Value& json) {
  if (json.is_int()) return static_cast<Number>(json.as_int());
  // Through the shortest text, so that 0.1 is the 0.1 that was written.
  std::string text;
  json::dump_double_to(json.as_double(), text);
  Number number = json.as_double();
  parse_number(text, number);
  return number;
}

}  // namespace

json::Value to_json(const Value& value, const Type& type) {
  if (type.is_dynamic()) {
    if (value.is_null() && value.type().is_dynamic()) return nullptr;
    json::Object wrapped;
    wrapped.set("value", to_json(value, value.type()));
    wrapped.set("type", value.type().to_json());
    return wrapped;
  }
  if (!value.holds()) return nullptr;
  switch (value.type().kind()) {
    case Kind::kBool: return value.as_bool();
    case Kind::kNumber: return number_json(value.as_number());
    case Kind::kString: return value.as_string();
    case Kind::kList:
    case Kind::kSet: {
      json::Array items;
      for (const Value& item : value.items()) items.push_back(to_json(item, type.is_collection() ? type.element() : item.type()));
      return items;
    }
    case Kind::kTuple: {
      json::Array items;
      for (size_t i = 0; i < value.items().size(); ++i) {
        items.push_back(to_json(value.items()[i], type.is(Kind::kTuple) && i < type.elements().size() ? type.elements()[i] : value.items()[i].type()));
      }
      return items;
    }
    case Kind::kMap:
    case Kind::kObject: {
      json::Object members;
      for (const auto& [name, member] : value.members()) {
        const Type* t = type.is(Kind::kMap) ? &type.element() : type.attribute(name);
        members.set(name, to_json(member, t != nullptr ? *t : member.type()));
      }
      return members;
    }
    default: return nullptr;
  }
}

Result<Value> from_json(const json::Value& json, const Type& type) {
  if (json.is_null()) return Value::null(type);
  auto refuse = [&] { return err(bad_request(type.friendly_name() + " required, found " + std::string(json::type_name(json.type())))); };
  switch (type.kind()) {
    case Kind::kDynamic: {
      const json::Value* inner = json.get("value");
      const json::Value* inner_type = json.get("type");
      if (inner_type == nullptr || inner == nullptr) return implied_from_json(json);
      ENGENHO_ASSIGN(Type t, Type::from_json(*inner_type));
      return from_json(*inner, t);
    }
    case Kind::kBool:
    case Kind::kNumber:
    case Kind::kString: {
      const Value plain = json.is_bool() ? Value::boolean(json.as_bool()) : json.is_number() ? Value::number(number_of(json)) : Value::string(std::string(json.str()));
      if (json.is_array() || json.is_object()) return refuse();
      return convert(plain, type);
    }
    case Kind::kList:
    case Kind::kSet: {
      if (!json.is_array()) return refuse();
      Value::Items items;
      Type element = type.element();
      for (const json::Value& part : json.as_array()) {
        ENGENHO_ASSIGN(Value item, from_json(part, element));
        items.push_back(std::move(item));
      }
      if (element.has_dynamic() && !items.empty()) element = items[0].type();
      return type.is(Kind::kList) ? Value::list(element, std::move(items)) : Value::set(element, std::move(items));
    }
    case Kind::kTuple: {
      if (!json.is_array() || json.as_array().size() != type.elements().size()) return refuse();
      Value::Items items;
      for (size_t i = 0; i < type.elements().size(); ++i) {
        ENGENHO_ASSIGN(Value item, from_json(json.as_array()[i], type.elements()[i]));
        items.push_back(std::move(item));
      }
      return Value::tuple(std::move(items));
    }
    case Kind::kMap: {
      if (!json.is_object()) return refuse();
      Value::Members members;
      Type element = type.element();
      for (const auto& [name, part] : json.as_object()) {
        ENGENHO_ASSIGN(Value member, from_json(part, element));
        members.emplace(name, std::move(member));
      }
      if (element.has_dynamic() && !members.empty()) element = members.begin()->second.type();
      return Value::map(element, std::move(members));
    }
    case Kind::kObject: {
      if (!json.is_object()) return refuse();
      Value::Members members;
      for (const auto& [name, t] : type.attributes()) {
        const json::Value* part = json.get(name);
        auto member = part != nullptr ? from_json(*part, t) : Result<Value>(Value::null(t));
        if (!member) return err(member.error().with_context("." + name));
        members.emplace(name, std::move(*member));
      }
      return Value::object(std::move(members));
    }
  }
  return refuse();
}

Value implied_from_json(const json::Value& json) {
  switch (json.type()) {
    case json::Type::kNull: return Value();
    case json::Type::kBool: return Value::boolean(json.as_bool());
    case json::Type::kInt:
    case json::Type::kDouble: return Value::number(number_of(json));
    case json::Type::kString: return Value::string(json.as_string());
    case json::Type::kArray: {
      Value::Items items;
      for (const json::Value& part : json.as_array()) items.push_back(implied_from_json(part));
      return Value::tuple(std::move(items));
    }
    case json::Type::kObject: {
      Value::Members members;
      for (const auto& [name, part] : json.as_object()) members.emplace(name, implied_from_json(part));
      return Value::object(std::move(members));
    }
  }
  return Value();
}

json::Value to_plain_json(const Value& value) {
  if (!value.holds()) return nullptr;
  return to_json(value, value.type());
}

}  // namespace engenho::magma
