#include "value.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "engenho/base/bytes.h"

namespace engenho::magma {

using Kind = Type::Kind;

std::string path_to_string(const Path& path) {
  std::string out;
  for (const PathStep& step : path) {
    if (const auto* index = std::get_if<int64_t>(&step.key)) {
      out += "[" + std::to_string(*index) + "]";
    } else if (step.is_index) {
      out += "[";
      json::dump_string_to(std::get<std::string>(step.key), out);
      out += "]";
    } else {
      out += "." + std::get<std::string>(step.key);
    }
  }
  return out;
}

Value Value::null(Type type) {
  Value v;
  v.type_ = std::move(type);
  return v;
}
Value Value::unknown(Type type) {
  Value v = null(std::move(type));
  v.state_ = State::kUnknown;
  return v;
}
Value Value::boolean(bool b) {
  Value v = null(Type::boolean());
  v.state_ = State::kKnown;
  v.v_ = b;
  return v;
}
Value Value::number(Number n) {
  Value v = null(Type::number());
  v.state_ = State::kKnown;
  v.v_ = n;
  return v;
}
Value Value::string(std::string s) {
  Value v = null(Type::string());
  v.state_ = State::kKnown;
  v.v_ = std::make_shared<const std::string>(std::move(s));
  return v;
}
Value Value::list(Type element, Items items) {
  Value v = null(Type::list(std::move(element)));
  v.state_ = State::kKnown;
  v.v_ = std::make_shared<const Items>(std::move(items));
  return v;
}
Value Value::set(Type element, Items items) {
  bool sensitive = false;
  for (Value& item : items) {
    if (!item.contains_sensitive()) continue;
    sensitive = true;
    item = item.unmarked_deep();
  }
  std::stable_sort(items.begin(), items.end(), set_less);
  items.erase(std::unique(items.begin(), items.end(), [](const Value& a, const Value& b) { return a.is_wholly_known() && a.equals(b); }), items.end());
  Value v = null(Type::set(std::move(element)));
  v.state_ = State::kKnown;
  v.sensitive_ = sensitive;
  v.v_ = std::make_shared<const Items>(std::move(items));
  return v;
}
Value Value::map(Type element, Members members) {
  Value v = null(Type::map(std::move(element)));
  v.state_ = State::kKnown;
  v.v_ = std::make_shared<const Members>(std::move(members));
  return v;
}
Value Value::object(Members members) {
  Type::Attributes attributes;
  attributes.reserve(members.size());
  for (const auto& [name, member] : members) attributes.emplace_back(name, member.type());
  Value v = null(Type::object(std::move(attributes)));
  v.state_ = State::kKnown;
  v.v_ = std::make_shared<const Members>(std::move(members));
  return v;
}
Value Value::tuple(Items items) {
  std::vector<Type> types;
  types.reserve(items.size());
  for (const Value& item : items) types.push_back(item.type());
  Value v = null(Type::tuple(std::move(types)));
  v.state_ = State::kKnown;
  v.v_ = std::make_shared<const Items>(std::move(items));
  return v;
}

bool Value::is_wholly_known() const {
  if (state_ == State::kUnknown) return false;
  if (const auto* items = std::get_if<std::shared_ptr<const Items>>(&v_)) {
    return std::all_of((*items)->begin(), (*items)->end(), [](const Value& v) { return v.is_wholly_known(); });
  }
  if (const auto* members = std::get_if<std::shared_ptr<const Members>>(&v_)) {
    return std::all_of((*members)->begin(), (*members)->end(), [](const auto& entry) { return entry.second.is_wholly_known(); });
  }
  return true;
}

bool Value::contains_sensitive() const {
  if (sensitive_) return true;
  if (const auto* items = std::get_if<std::shared_ptr<const Items>>(&v_)) {
    return std::any_of((*items)->begin(), (*items)->end(), [](const Value& v) { return v.contains_sensitive(); });
  }
  if (const auto* members = std::get_if<std::shared_ptr<const Members>>(&v_)) {
    return std::any_of((*members)->begin(), (*members)->end(), [](const auto& entry) { return entry.second.contains_sensitive(); });
  }
  return false;
}

const Value& Value::get(std::string_view name) const {
  static const Value kAbsent;
  if (!holds() || !type_.is_mapping()) return kAbsent;
  auto at = members().find(name);
  return at == members().end() ? kAbsent : at->second;
}

Value Value::with(std::string_view name, Value member) const {
  Members copy = members();
  copy.insert_or_assign(std::string(name), std::move(member));
  return object(std::move(copy)).marked(sensitive_);
}

Value Value::marked(bool sensitive) const {
  if (!sensitive || sensitive_) return *this;
  Value copy = *this;
  copy.sensitive_ = true;
  return copy;
}
Value Value::unmarked() const {
  if (!sensitive_) return *this;
  Value copy = *this;
  copy.sensitive_ = false;
  return copy;
}
Value Value::unmarked_deep() const {
  if (!contains_sensitive()) return *this;
  return transform(*this, [](const Path&, const Value& v) { return v.unmarked(); });
}

bool Value::equals(const Value& other) const {
  if (state_ != other.state_ || !(type_ == other.type_)) return false;
  if (state_ != State::kKnown) return true;
  switch (type_.kind()) {
    case Kind::kBool: return as_bool() == other.as_bool();
    case Kind::kNumber: return as_number() == other.as_number();
    case Kind::kString: return as_string() == other.as_string();
    case Kind::kList:
    case Kind::kSet:
    case Kind::kTuple: {
      if (items().size() != other.items().size()) return false;
      for (size_t i = 0; i < items().size(); ++i) {
        if (!items()[i].equals(other.items()[i])) return false;
      }
      return true;
    }
    case Kind::kMap:
    case Kind::kObject: {
      if (members().size() != other.members().size()) return false;
      auto b = other.members().begin();
      for (auto a = members().begin(); a != members().end(); ++a, ++b) {
        if (a->first != b->first || !a->second.equals(b->second)) return false;
      }
      return true;
    }
    default: return true;
  }
}

namespace {

// The byte form by which cty orders what has no order of its own.
void set_bytes(const Value& v, std::string& out) {
  if (!v.is_known()) {
    out += '?';
    return;
  }
  if (v.is_null()) {
    out += '~';
    return;
  }
  switch (v.type().kind()) {
    case Kind::kBool: out += v.as_bool() ? 'T' : 'F'; return;
    case Kind::kNumber: out += number_to_string(v.as_number()); return;
    case Kind::kString: json::dump_string_to(v.as_string(), out); return;
    case Kind::kMap:
      out += '{';
      for (const auto& [name, member] : v.members()) {
        json::dump_string_to(name, out);
        out += ':';
        set_bytes(member, out);
        out += ';';
      }
      out += '}';
      return;
    case Kind::kObject:
      out += '<';
      for (const auto& [name, member] : v.members()) {
        set_bytes(member, out);
        out += ';';
      }
      out += '>';
      return;
    case Kind::kDynamic: return;
    default:
      out += v.type().is(Kind::kTuple) ? '<' : '[';
      for (const Value& item : v.items()) {
        set_bytes(item, out);
        out += ';';
      }
      out += v.type().is(Kind::kTuple) ? '>' : ']';
  }
}

}  // namespace

bool set_less(const Value& a, const Value& b) {
  // Null and unknown come last, in that order.
  auto rank = [](const Value& v) { return !v.is_known() ? 2 : v.is_null() ? 1 : 0; };
  if (rank(a) != rank(b)) return rank(a) < rank(b);
  if (rank(a) != 0) return false;
  if (a.is_string() && b.is_string()) return a.as_string() < b.as_string();
  if (a.is_number() && b.is_number()) return a.as_number() < b.as_number();
  if (a.is_bool() && b.is_bool()) return a.as_bool() < b.as_bool();
  std::string x, y;
  set_bytes(a, x);
  set_bytes(b, y);
  return x < y;
}

bool fits_int64(Number number) { return number == std::trunc(number) && number >= -9223372036854775808.0L && number < 9223372036854775808.0L; }

std::string number_to_string(Number number) {
  if (std::isinf(number)) return number < 0 ? "-Inf" : "Inf";
  char buffer[64];
  if (fits_int64(number)) {
    std::snprintf(buffer, sizeof buffer, "%.0Lf", number);
    return number == 0 ? "0" : buffer;
  }
  // Seventeen digits: what a fraction of decimal digits was written as comes back as that. A double needs its own shortest form.
  const double d = static_cast<double>(number);
  std::string text;
  if (static_cast<Number>(d) == number) {
    for (int digits = 15; digits <= 17; ++digits) {
      std::snprintf(buffer, sizeof buffer, "%.*e", digits - 1, d);
      if (std::strtod(buffer, nullptr) == d) break;
    }
    text = buffer;
  } else {
    std::snprintf(buffer, sizeof buffer, "%.17Le", number);
    text = buffer;
  }
  // d.ddde±x -> plain decimal
  const bool negative = text[0] == '-';
  if (negative) text.erase(0, 1);
  const size_t e = text.find('e');
  int exponent = std::atoi(text.c_str() + e + 1);
  std::string digits = text.substr(0, 1) + (e > 2 ? text.substr(2, e - 2) : "");
  while (digits.size() > 1 && digits.back() == '0') digits.pop_back();
  std::string out;
  const int count = static_cast<int>(digits.size());
  if (exponent < 0) out = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  else if (count <= exponent + 1) out = digits + std::string(static_cast<size_t>(exponent + 1 - count), '0');
  else out = digits.substr(0, static_cast<size_t>(exponent) + 1) + "." + digits.substr(static_cast<size_t>(exponent) + 1);
  return negative ? "-" + out : out;
}

bool parse_number(std::string_view text, Number& out) {
  if (text.empty() || text.size() > 400) return false;
  // strtold also takes hexadecimal, inf and nan.
  for (char c : text) {
    if (!((c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E')) return false;
  }
  const std::string copy(text);
  char* end = nullptr;
  out = std::strtold(copy.c_str(), &end);
  return end == copy.c_str() + copy.size() && std::isfinite(out);
}

namespace {

void walk_at(Path& path, const Value& value, const std::function<bool(const Path&, const Value&)>& fn) {
  if (!fn(path, value) || !value.holds()) return;
  if (value.type().is_sequence()) {
    int64_t index = 0;
    for (const Value& item : value.items()) {
      path.push_back({index++});
      walk_at(path, item, fn);
      path.pop_back();
    }
  } else if (value.type().is_mapping()) {
    for (const auto& [name, member] : value.members()) {
      path.push_back({name, value.type().is(Kind::kMap)});
      walk_at(path, member, fn);
      path.pop_back();
    }
  }
}

Value transform_at(Path& path, const Value& value, const std::function<Value(const Path&, const Value&)>& fn) {
  if (!value.holds() || value.type().is_primitive()) return fn(path, value);
  Value rebuilt;
  if (value.type().is_sequence()) {
    Value::Items items;
    items.reserve(value.items().size());
    int64_t index = 0;
    for (const Value& item : value.items()) {
      path.push_back({index++});
      items.push_back(transform_at(path, item, fn));
      path.pop_back();
    }
    rebuilt = value.type().is(Kind::kList)  ? Value::list(value.type().element(), std::move(items))
              : value.type().is(Kind::kSet) ? Value::set(value.type().element(), std::move(items))
                                            : Value::tuple(std::move(items));
  } else {
    Value::Members members;
    for (const auto& [name, member] : value.members()) {
      path.push_back({name, value.type().is(Kind::kMap)});
      members.emplace(name, transform_at(path, member, fn));
      path.pop_back();
    }
    rebuilt = value.type().is(Kind::kMap) ? Value::map(value.type().element(), std::move(members)) : Value::object(std::move(members));
  }
  return fn(path, rebuilt.marked(value.sensitive()));
}

}  // namespace

void walk(const Value& value, const std::function<bool(const Path&, const Value&)>& fn) {
  Path path;
  walk_at(path, value, fn);
}

Value transform(const Value& value, const std::function<Value(const Path&, const Value&)>& fn) {
  Path path;
  return transform_at(path, value, fn);
}

const Value* at_path(const Value& value, const Path& path, Value& scratch) {
  scratch = value;
  for (const PathStep& step : path) {
    if (!scratch.holds()) return nullptr;
    Value next;
    if (const auto* index = std::get_if<int64_t>(&step.key)) {
      if (!scratch.type().is_sequence() || *index < 0 || static_cast<size_t>(*index) >= scratch.items().size()) return nullptr;
      next = scratch.items()[static_cast<size_t>(*index)];
    } else {
      if (!scratch.type().is_mapping()) return nullptr;
      auto at = scratch.members().find(std::get<std::string>(step.key));
      if (at == scratch.members().end()) return nullptr;
      next = at->second;
    }
    scratch = std::move(next);
  }
  return &scratch;
}

std::vector<Path> sensitive_paths(const Value& value) {
  std::vector<Path> out;
  walk(value, [&](const Path& path, const Value& v) {
    if (v.sensitive()) out.push_back(path);
    return true;
  });
  return out;
}

Value mark_paths(const Value& value, const std::vector<Path>& paths) {
  if (paths.empty()) return value;
  return transform(value, [&](const Path& path, const Value& v) {
    return v.marked(std::find(paths.begin(), paths.end(), path) != paths.end());
  });
}

}  // namespace engenho::magma
