#include "type.h"

#include <algorithm>

namespace engenho::magma {

struct Type::Rep {
  std::vector<Type> elements;  // the one of a collection, all of a tuple
  Attributes attributes;
  std::vector<std::string> optional;
};

Type Type::collection(Kind kind, Type element) {
  Type type(kind);
  auto rep = std::make_shared<Rep>();
  rep->elements.push_back(std::move(element));
  type.rep_ = std::move(rep);
  return type;
}

Type Type::object(Attributes attributes, std::vector<std::string> optional) {
  Type type(Kind::kObject);
  std::sort(attributes.begin(), attributes.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  auto rep = std::make_shared<Rep>();
  rep->attributes = std::move(attributes);
  rep->optional = std::move(optional);
  type.rep_ = std::move(rep);
  return type;
}

Type Type::tuple(std::vector<Type> elements) {
  Type type(Kind::kTuple);
  auto rep = std::make_shared<Rep>();
  rep->elements = std::move(elements);
  type.rep_ = std::move(rep);
  return type;
}

const Type& Type::element() const { return rep_->elements[0]; }
const Type::Attributes& Type::attributes() const { return rep_->attributes; }
const std::vector<Type>& Type::elements() const { return rep_->elements; }

const Type* Type::attribute(std::string_view name) const {
  if (kind_ != Kind::kObject) return nullptr;
  const auto& all = rep_->attributes;
  auto at = std::lower_bound(all.begin(), all.end(), name, [](const auto& entry, std::string_view n) { return entry.first < n; });
  return at != all.end() && at->first == name ? &at->second : nullptr;
}

bool Type::is_optional(std::string_view name) const {
  return kind_ == Kind::kObject && std::find(rep_->optional.begin(), rep_->optional.end(), name) != rep_->optional.end();
}

Type Type::without_optional() const {
  switch (kind_) {
    case Kind::kList: return list(element().without_optional());
    case Kind::kSet: return set(element().without_optional());
    case Kind::kMap: return map(element().without_optional());
    case Kind::kTuple: {
      std::vector<Type> out;
      for (const Type& t : elements()) out.push_back(t.without_optional());
      return tuple(std::move(out));
    }
    case Kind::kObject: {
      Attributes out;
      for (const auto& [name, t] : attributes()) out.emplace_back(name, t.without_optional());
      return object(std::move(out));
    }
    default: return *this;
  }
}

bool Type::has_dynamic() const {
  if (is_dynamic()) return true;
  if (!rep_) return false;
  for (const Type& t : rep_->elements) {
    if (t.has_dynamic()) return true;
  }
  for (const auto& [name, t] : rep_->attributes) {
    if (t.has_dynamic()) return true;
  }
  return false;
}

bool Type::operator==(const Type& other) const {
  if (kind_ != other.kind_) return false;
  if (rep_ == other.rep_) return true;
  if (!rep_ || !other.rep_) return false;
  return rep_->elements == other.rep_->elements && rep_->attributes == other.rep_->attributes;
}

std::string Type::friendly_name() const {
  switch (kind_) {
    case Kind::kDynamic: return "dynamic";
    case Kind::kBool: return "bool";
    case Kind::kNumber: return "number";
    case Kind::kString: return "string";
    case Kind::kList: return "list of " + element().friendly_name();
    case Kind::kSet: return "set of " + element().friendly_name();
    case Kind::kMap: return "map of " + element().friendly_name();
    case Kind::kObject: return "object";
    case Kind::kTuple: return "tuple";
  }
  return "";
}

json::Value Type::to_json() const {
  switch (kind_) {
    case Kind::kDynamic: return "dynamic";
    case Kind::kBool: return "bool";
    case Kind::kNumber: return "number";
    case Kind::kString: return "string";
    case Kind::kList: return json::Array{"list", element().to_json()};
    case Kind::kSet: return json::Array{"set", element().to_json()};
    case Kind::kMap: return json::Array{"map", element().to_json()};
    case Kind::kTuple: {
      json::Array types;
      for (const Type& t : elements()) types.push_back(t.to_json());
      return json::Array{"tuple", std::move(types)};
    }
    case Kind::kObject: {
      json::Object members;
      for (const auto& [name, t] : attributes()) members.set(name, t.to_json());
      return json::Array{"object", std::move(members)};
    }
  }
  return nullptr;
}

Result<Type> Type::from_json(const json::Value& json) {
  if (json.is_string()) {
    const std::string& name = json.as_string();
    if (name == "dynamic") return dynamic();
    if (name == "bool") return boolean();
    if (name == "number") return number();
    if (name == "string") return string();
    return err(bad_request("\"" + name + "\" is no primitive type"));
  }
  const json::Array& parts = json.items();
  if (parts.size() < 2 || !parts[0].is_string()) return err(bad_request("a type is a name or an array of a kind and its arguments"));
  const std::string& kind = parts[0].as_string();
  if (kind == "list" || kind == "set" || kind == "map") {
    ENGENHO_ASSIGN(Type element, from_json(parts[1]));
    return kind == "list" ? list(std::move(element)) : kind == "set" ? set(std::move(element)) : map(std::move(element));
  }
  if (kind == "tuple") {
    std::vector<Type> types;
    for (const json::Value& part : parts[1].items()) {
      ENGENHO_ASSIGN(Type t, from_json(part));
      types.push_back(std::move(t));
    }
    return tuple(std::move(types));
  }
  if (kind == "object") {
    Attributes attributes;
    for (const auto& [name, part] : parts[1].members()) {
      ENGENHO_ASSIGN(Type t, from_json(part));
      attributes.emplace_back(name, std::move(t));
    }
    std::vector<std::string> optional;
    if (parts.size() > 2) {
      for (const json::Value& name : parts[2].items()) optional.emplace_back(name.str());
    }
    return object(std::move(attributes), std::move(optional));
  }
  return err(bad_request("\"" + kind + "\" is no kind of type"));
}

namespace {

using Kind = Type::Kind;

std::optional<Type> unify_two(const Type& a, const Type& b);

std::optional<Type> unify_elements(const std::vector<Type>& types) {
  if (types.empty()) return Type::dynamic();
  Type out = types[0];
  for (size_t i = 1; i < types.size(); ++i) {
    auto next = unify_two(out, types[i]);
    if (!next) return std::nullopt;
    out = *next;
  }
  return out;
}

std::vector<Type> attribute_types(const Type& object) {
  std::vector<Type> out;
  for (const auto& [name, t] : object.attributes()) out.push_back(t);
  return out;
}

std::optional<Type> unify_two(const Type& a, const Type& b) {
  if (a == b) return a;
  if (a.is_dynamic() || b.is_dynamic()) return Type::dynamic();
  if (a.is_primitive() && b.is_primitive()) {
    // A bool and a number meet only as strings, which a list of both would not accept.
    if (a.is(Kind::kString) || b.is(Kind::kString)) return Type::string();
    return std::nullopt;
  }
  if (a.is(Kind::kTuple) && b.is(Kind::kTuple) && a.elements().size() == b.elements().size()) {
    std::vector<Type> out;
    for (size_t i = 0; i < a.elements().size(); ++i) {
      auto t = unify_two(a.elements()[i], b.elements()[i]);
      if (!t) return std::nullopt;
      out.push_back(*t);
    }
    return Type::tuple(std::move(out));
  }
  if (a.is(Kind::kObject) && b.is(Kind::kObject)) {
    const bool same = std::equal(a.attributes().begin(), a.attributes().end(), b.attributes().begin(), b.attributes().end(),
                                 [](const auto& x, const auto& y) { return x.first == y.first; });
    if (same) {
      Type::Attributes out;
      for (size_t i = 0; i < a.attributes().size(); ++i) {
        auto t = unify_two(a.attributes()[i].second, b.attributes()[i].second);
        if (!t) return std::nullopt;
        out.emplace_back(a.attributes()[i].first, *t);
      }
      return Type::object(std::move(out));
    }
    std::vector<Type> all = attribute_types(a);
    for (const Type& t : attribute_types(b)) all.push_back(t);
    auto element = unify_elements(all);
    return element ? std::optional(Type::map(*element)) : std::nullopt;
  }
  if (a.is_mapping() && b.is_mapping()) {
    std::vector<Type> all;
    for (const Type* t : {&a, &b}) {
      if (t->is(Kind::kMap)) all.push_back(t->element());
      else for (const Type& inner : attribute_types(*t)) all.push_back(inner);
    }
    auto element = unify_elements(all);
    return element ? std::optional(Type::map(*element)) : std::nullopt;
  }
  if (a.is_sequence() && b.is_sequence()) {
    std::vector<Type> all;
    bool set = false, tuple = false;
    for (const Type* t : {&a, &b}) {
      if (t->is(Kind::kTuple)) all.insert(all.end(), t->elements().begin(), t->elements().end()), tuple = true;
      else all.push_back(t->element());
      set = set || t->is(Kind::kSet);
    }
    auto element = unify_elements(all);
    if (!element) return std::nullopt;
    return set && !tuple && a.kind() == b.kind() ? Type::set(*element) : Type::list(*element);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Type> unify(const std::vector<Type>& types) { return unify_elements(types); }

}  // namespace engenho::magma
