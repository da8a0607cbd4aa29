#include "engenho/base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace engenho::json {

namespace {

const Array kNoItems;
const Object kNoMembers;

auto lower_bound(auto& entries, std::string_view key) {
  return std::lower_bound(entries.begin(), entries.end(), key,
                          [](const auto& entry, std::string_view k) { return entry.first < k; });
}

}  // namespace

Object::Object(std::initializer_list<Entry> entries) {
  entries_.reserve(entries.size());
  for (const auto& entry : entries) set(entry.first, entry.second);
}

bool Object::empty() const { return entries_.empty(); }
size_t Object::size() const { return entries_.size(); }
void Object::clear() { entries_.clear(); }
std::vector<Object::Entry>::iterator Object::begin() { return entries_.begin(); }
std::vector<Object::Entry>::iterator Object::end() { return entries_.end(); }
std::vector<Object::Entry>::const_iterator Object::begin() const { return entries_.begin(); }
std::vector<Object::Entry>::const_iterator Object::end() const { return entries_.end(); }
std::vector<Object::Entry>::iterator Object::erase(std::vector<Entry>::iterator it) {
  return entries_.erase(it);
}
bool Object::operator==(const Object& other) const { return entries_ == other.entries_; }

Value* Object::find(std::string_view key) {
  auto it = lower_bound(entries_, key);
  return it != entries_.end() && it->first == key ? &it->second : nullptr;
}
const Value* Object::find(std::string_view key) const {
  return const_cast<Object*>(this)->find(key);
}
Value& Object::operator[](std::string_view key) {
  // Keys mostly arrive in order: appending is the common case.
  if (entries_.empty() || entries_.back().first < key) {
    return entries_.emplace_back(std::string(key), Value()).second;
  }
  auto it = lower_bound(entries_, key);
  if (it != entries_.end() && it->first == key) return it->second;
  return entries_.emplace(it, std::string(key), Value())->second;
}
Value& Object::set(std::string_view key, Value value) {
  Value& slot = (*this)[key];
  slot = std::move(value);
  return slot;
}
bool Object::erase(std::string_view key) {
  auto it = lower_bound(entries_, key);
  if (it == entries_.end() || it->first != key) return false;
  entries_.erase(it);
  return true;
}

std::string_view type_name(Type type) {
  switch (type) {
    case Type::kNull: return "null";
    case Type::kBool: return "bool";
    case Type::kInt: return "integer";
    case Type::kDouble: return "number";
    case Type::kString: return "string";
    case Type::kArray: return "array";
    case Type::kObject: return "object";
  }
  return "?";
}

const Value* Value::get(std::string_view key) const {
  return is_object() ? as_object().find(key) : nullptr;
}
Value* Value::get(std::string_view key) { return is_object() ? as_object().find(key) : nullptr; }
const Value* Value::at(std::initializer_list<std::string_view> path) const {
  const Value* value = this;
  for (std::string_view key : path) {
    value = value->get(key);
    if (value == nullptr) return nullptr;
  }
  return value;
}
Value* Value::at(std::initializer_list<std::string_view> path) {
  return const_cast<Value*>(static_cast<const Value*>(this)->at(path));
}
std::string_view Value::str(std::string_view otherwise) const {
  return is_string() ? std::string_view(as_string()) : otherwise;
}
std::string_view Value::str_at(std::initializer_list<std::string_view> path,
                               std::string_view otherwise) const {
  const Value* value = at(path);
  return value ? value->str(otherwise) : otherwise;
}
const Array& Value::items() const { return is_array() ? as_array() : kNoItems; }
const Object& Value::members() const { return is_object() ? as_object() : kNoMembers; }
Value& Value::operator[](std::string_view key) { return make_object()[key]; }
Array& Value::make_array() {
  if (!is_array()) v_ = Array();
  return as_array();
}
Object& Value::make_object() {
  if (!is_object()) v_ = Object();
  return as_object();
}
bool Value::operator==(const Value& other) const { return v_ == other.v_; }

// --- writing ----------------------------------------------------------------------------------

namespace {

constexpr char kHex[] = "0123456789abcdef";

// Length of the valid UTF-8 sequence at `s`, or 0.
size_t utf8_length(const unsigned char* s, size_t left) {
  auto continues = [&](size_t i) { return i < left && (s[i] & 0xC0) == 0x80; };
  if (s[0] < 0x80) return 1;
  if (s[0] >= 0xC2 && s[0] <= 0xDF) return continues(1) ? 2 : 0;
  if (s[0] >= 0xE0 && s[0] <= 0xEF) {
    if (!continues(1) || !continues(2)) return 0;
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (s[0] == 0xED && s[1] > 0x9F) return 0;
    return 3;
  }
  if (s[0] >= 0xF0 && s[0] <= 0xF4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0;
    return 4;
  }
  return 0;
}

// Bytes that are written as they are: printable ASCII but for '"', '\', '<', '>' and '&'.
struct PlainTable {
  bool plain[256] = {};
  constexpr PlainTable() {
    for (int c = 0x20; c < 0x7F; ++c) plain[c] = true;
    plain[0x7F] = true;
    for (char c : {'"', '\\', '<', '>', '&'}) plain[static_cast<unsigned char>(c)] = false;
  }
};
constexpr PlainTable kPlain;

void pretty_to(const Value& value, int indent, int depth, std::string& out) {
  auto line = [&](int levels) {
    out += '\n';
    out.append(static_cast<size_t>(indent) * levels, ' ');
  };
  if (value.is_array() && !value.as_array().empty()) {
    out += '[';
    bool first = true;
    for (const Value& item : value.as_array()) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      pretty_to(item, indent, depth + 1, out);
    }
    line(depth);
    out += ']';
  } else if (value.is_object() && !value.as_object().empty()) {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : value.as_object()) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      dump_string_to(key, out);
      out += ": ";
      pretty_to(member, indent, depth + 1, out);
    }
    line(depth);
    out += '}';
  } else {
    dump_to(value, out);
  }
}

}  // namespace

void dump_string_to(std::string_view text, std::string& out) {
  const auto* s = reinterpret_cast<const unsigned char*>(text.data());
  const size_t n = text.size();
  out += '"';
  size_t start = 0, i = 0;
  auto flush = [&] { out.append(text.data() + start, i - start); };
  while (i < n) {
    const unsigned char c = s[i];
    if (kPlain.plain[c]) {
      ++i;
      continue;
    }
    if (c < 0x80) {
      flush();
      switch (c) {
        case '"': out += "\\\""; break;
        case '\\': out += "\\\\"; break;
        case '\n': out += "\\n"; break;
        case '\r': out += "\\r"; break;
        case '\t': out += "\\t"; break;
        case '\b': out += "\\b"; break;
        case '\f': out += "\\f"; break;
        default:
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
      }
      start = ++i;
      continue;
    }
    const size_t length = utf8_length(s + i, n - i);
    if (length == 0) {
      flush();
      out += "\\ufffd";
      start = ++i;
    } else if (length == 3 && s[i] == 0xE2 && s[i + 1] == 0x80 && (s[i + 2] | 1) == 0xA9) {
      flush();
      out += s[i + 2] == 0xA8 ? "\\u2028" : "\\u2029";
      i += 3;
      start = i;
    } else {
      i += length;
    }
  }
  flush();
  out += '"';
}

void dump_double_to(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[64];
  const double magnitude = std::fabs(value);
  const bool exponent = magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21);
  auto result = std::to_chars(buffer, buffer + sizeof buffer, value,
                              exponent ? std::chars_format::scientific : std::chars_format::fixed);
  std::string_view text(buffer, result.ptr - buffer);
  if (exponent) {
    // Go writes e-9 where C writes e-09.
    size_t e = text.find('e');
    if (e != std::string_view::npos && text.size() == e + 4 && text[e + 1] == '-' && text[e + 2] == '0') {
      out.append(text.substr(0, e + 2));
      out += text[e + 3];
      return;
    }
  }
  // The fewest digits that read back as the same number, then zeros: 2^63 is 9223372036854776000.
  if (!exponent && magnitude >= 9007199254740992.0 && text.find('.') == std::string_view::npos) {
    char digits[64];
    auto shortest = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::scientific);
    const size_t length = text.size() - (value < 0 ? 1 : 0);
    std::string kept;
    for (const char* c = digits; c != shortest.ptr && *c != 'e'; ++c) {
      if (*c >= '0' && *c <= '9') kept += *c;
    }
    kept.resize(std::max(length, kept.size()), '0');
    out += (value < 0 ? "-" : "") + kept;
    return;
  }
  out.append(text);
}

void dump_to(const Value& value, std::string& out) {
  switch (value.type()) {
    case Type::kNull: out += "null"; break;
    case Type::kBool: out += value.as_bool() ? "true" : "false"; break;
    case Type::kInt: {
      char buffer[24];
      auto result = std::to_chars(buffer, buffer + sizeof buffer, value.as_int());
      out.append(buffer, result.ptr);
      break;
    }
    case Type::kDouble: dump_double_to(value.as_double(), out); break;
    case Type::kString: dump_string_to(value.as_string(), out); break;
    case Type::kArray: {
      char separator = '[';
      for (const Value& item : value.as_array()) {
        out += separator;
        separator = ',';
        dump_to(item, out);
      }
      if (separator == '[') out += '[';
      out += ']';
      break;
    }
    case Type::kObject: {
      char separator = '{';
      for (const auto& [key, member] : value.as_object()) {
        out += separator;
        separator = ',';
        dump_string_to(key, out);
        out += ':';
        dump_to(member, out);
      }
      if (separator == '{') out += '{';
      out += '}';
      break;
    }
  }
}

std::string dump(const Value& value) {
  std::string out;
  dump_to(value, out);
  return out;
}

std::string dump_pretty(const Value& value, int indent) {
  std::string out;
  pretty_to(value, indent, 0, out);
  return out;
}

}  // namespace engenho::json
