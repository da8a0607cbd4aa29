// The document model: a JSON value as Kubernetes sees it. Integers that fit int64 stay integers, everything else
// numeric is a double; object keys are kept sorted, so equal documents have equal bytes.
//
// Parsing follows RFC 8259, with what Kubernetes adds: duplicate keys are reported (two objects under one key merge, else the
// last one wins), a lone surrogate becomes U+FFFD, depth is bounded.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::json {

class Value;
using Array = std::vector<Value>;

// A map from string to Value, sorted by key (byte order).
class Object {
 public:
  using Entry = std::pair<std::string, Value>;
  Object() = default;
  Object(std::initializer_list<Entry> entries);

  bool empty() const;
  size_t size() const;
  Value* find(std::string_view key);
  const Value* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  Value& operator[](std::string_view key);           // inserts null when absent
  Value& set(std::string_view key, Value value);     // inserts or replaces
  bool erase(std::string_view key);                  // true when it was there
  void clear();

  std::vector<Entry>::iterator begin();
  std::vector<Entry>::iterator end();
  std::vector<Entry>::const_iterator begin() const;
  std::vector<Entry>::const_iterator end() const;
  std::vector<Entry>::iterator erase(std::vector<Entry>::iterator it);

  bool operator==(const Object& other) const;

 private:
  friend class Builder;
  std::vector<Entry> entries_;
};

enum class Type : uint8_t { kNull, kBool, kInt, kDouble, kString, kArray, kObject };
std::string_view type_name(Type type);  // "null", "bool", "integer", "number", "string", "array", "object"

class Value {
 public:
  Value() = default;
  Value(std::nullptr_t) {}
  Value(bool v) : v_(v) {}
  Value(int v) : v_(int64_t{v}) {}
  Value(int64_t v) : v_(v) {}
  Value(uint32_t v) : v_(int64_t{v}) {}
  Value(double v) : v_(v) {}
  Value(const char* v) : v_(std::string(v)) {}
  Value(std::string_view v) : v_(std::string(v)) {}
  Value(std::string v) : v_(std::move(v)) {}
  Value(Array v) : v_(std::move(v)) {}
  Value(Object v) : v_(std::move(v)) {}

  Type type() const { return static_cast<Type>(v_.index()); }
  bool is_null() const { return type() == Type::kNull; }
  bool is_bool() const { return type() == Type::kBool; }
  bool is_int() const { return type() == Type::kInt; }
  bool is_double() const { return type() == Type::kDouble; }
  bool is_number() const { return is_int() || is_double(); }
  bool is_string() const { return type() == Type::kString; }
  bool is_array() const { return type() == Type::kArray; }
  bool is_object() const { return type() == Type::kObject; }

  // Precondition: the value has that type.
  bool as_bool() const { return std::get<bool>(v_); }
  int64_t as_int() const { return std::get<int64_t>(v_); }
  double as_double() const { return is_int() ? static_cast<double>(as_int()) : std::get<double>(v_); }
  const std::string& as_string() const { return std::get<std::string>(v_); }
  std::string& as_string() { return std::get<std::string>(v_); }
  const Array& as_array() const { return std::get<Array>(v_); }
  Array& as_array() { return std::get<Array>(v_); }
  const Object& as_object() const { return std::get<Object>(v_); }
  Object& as_object() { return std::get<Object>(v_); }

  // Reading what may not be there: a missing member or another type gives the default.
  const Value* get(std::string_view key) const;  // null unless an object that has the key
  Value* get(std::string_view key);
  const Value* at(std::initializer_list<std::string_view> path) const;
  Value* at(std::initializer_list<std::string_view> path);
  std::string_view str(std::string_view otherwise = {}) const;
  std::string_view str_at(std::initializer_list<std::string_view> path, std::string_view otherwise = {}) const;
  int64_t int_or(int64_t otherwise) const { return is_int() ? as_int() : otherwise; }
  bool bool_or(bool otherwise) const { return is_bool() ? as_bool() : otherwise; }
  // Empty unless it is an array, or an object, respectively: for range-for over what may be absent.
  const Array& items() const;
  const Object& members() const;

  // Member for writing; a null value becomes an object first. Precondition: object or null.
  Value& operator[](std::string_view key);
  // Makes it an array, or an object, unless it is one.
  Array& make_array();
  Object& make_object();

  // Deep equality; 1 and 1.0 differ.
  bool operator==(const Value& other) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> v_;
};

struct ParseOptions {
  int max_depth = 1000;
};
struct Parsed {
  Value value;
  std::vector<std::string> duplicate_keys;  // dotted paths in order of appearance, "spec.ports[0].name"
};

// Errors: BadRequest, with a message in the form of Go's encoding/json where a client shows it
// ("invalid character 'x' looking for beginning of value", "unexpected end of JSON input").
Result<Parsed> parse_with_duplicates(std::string_view text, const ParseOptions& options = {});
Result<Value> parse(std::string_view text, const ParseOptions& options = {});

// Compact; keys sorted; '<', '>', '&', U+2028 and U+2029 escaped as Go does; invalid UTF-8 becomes U+FFFD. No trailing newline.
std::string dump(const Value& value);
void dump_to(const Value& value, std::string& out);
std::string dump_pretty(const Value& value, int indent = 2);
void dump_string_to(std::string_view text, std::string& out);  // quoted and escaped
void dump_double_to(double value, std::string& out);           // as Go's encoding/json writes a float64

}  // namespace engenho::json
