// Terraform values: typed, immutable, possibly null, unknown (a result that only the apply will give) and sensitive. Copies
// share. A value never has a dynamic type, except when null or unknown.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "type.h"

namespace engenho::magma {

// Holds every int64 exactly (64 bits of mantissa or more) and gives decimal fractions of up to 17 digits as written.
using Number = long double;

struct PathStep {
  std::variant<std::string, int64_t> key;   // an attribute or map key; a list index
  bool is_index = false;                    // for a string: written as ["k"], a map key; else as .k
  bool operator==(const PathStep& other) const { return key == other.key; }
  bool operator<(const PathStep& other) const { return key < other.key; }
};
using Path = std::vector<PathStep>;
std::string path_to_string(const Path& path);   // .a["k"][0]

class Value {
 public:
  using Items = std::vector<Value>;
  using Members = std::map<std::string, Value, std::less<>>;

  Value() = default;  // null of dynamic type
  static Value null(Type type = {});
  static Value unknown(Type type = {});
  static Value boolean(bool v);
  static Value number(Number v);
  static Value string(std::string v);
  // Elements must have (or be null or unknown of) the element type.
  static Value list(Type element, Items items);
  // Sorted in cty's order, duplicates dropped; a sensitive element makes the whole set sensitive.
  static Value set(Type element, Items items);
  static Value map(Type element, Members members);
  static Value object(Members members);
  static Value tuple(Items items);

  const Type& type() const { return type_; }
  bool is_null() const { return state_ == State::kNull; }
  bool is_known() const { return state_ != State::kUnknown; }   // of the value itself, not of what it holds
  bool is_wholly_known() const;
  bool holds() const { return state_ == State::kKnown; }        // known and not null
  bool is_bool() const { return holds() && type_.is(Type::Kind::kBool); }
  bool is_number() const { return holds() && type_.is(Type::Kind::kNumber); }
  bool is_string() const { return holds() && type_.is(Type::Kind::kString); }

  // Preconditions: holds(), and of that type.
  bool as_bool() const { return std::get<bool>(v_); }
  Number as_number() const { return std::get<Number>(v_); }
  const std::string& as_string() const { return *std::get<std::shared_ptr<const std::string>>(v_); }
  const Items& items() const { return *std::get<std::shared_ptr<const Items>>(v_); }         // list, set, tuple
  const Members& members() const { return *std::get<std::shared_ptr<const Members>>(v_); }   // map, object

  // Member of an object or map that holds; a null of dynamic type when absent.
  const Value& get(std::string_view name) const;
  // A copy in which that member is replaced. Precondition: an object that holds.
  Value with(std::string_view name, Value member) const;

  bool sensitive() const { return sensitive_; }
  bool contains_sensitive() const;
  Value marked(bool sensitive = true) const;   // adds the mark, never takes it away
  Value unmarked() const;                      // of the value itself
  Value unmarked_deep() const;

  // Same type, same content; marks do not count. Two unknowns of one type are equal.
  bool equals(const Value& other) const;

 private:
  enum class State : uint8_t { kNull, kUnknown, kKnown };
  Type type_;
  State state_ = State::kNull;
  bool sensitive_ = false;
  std::variant<std::monostate, bool, Number, std::shared_ptr<const std::string>, std::shared_ptr<const Items>, std::shared_ptr<const Members>> v_;
};

// cty's order of set elements: numbers and strings by value, everything else by a byte form of it.
bool set_less(const Value& a, const Value& b);

std::string number_to_string(Number number);          // decimal, without exponent
bool parse_number(std::string_view text, Number& out);
bool fits_int64(Number number);                       // a whole number, and in range

// Type conversion as Terraform does it for arguments: primitives through their text, tuples to lists, objects to maps, missing
// optional attributes to null. Errors (BadRequest) say what is required and where: `.a[0]: a number is required`.
Result<Value> convert(const Value& value, const Type& to);
// Whether convert() could succeed for values of that type.
bool convertible(const Type& from, const Type& to);

// Calls `fn` for each value inside, outermost first; stops descending where it returns false.
void walk(const Value& value, const std::function<bool(const Path&, const Value&)>& fn);
// Rebuilds the value from the innermost out.
Value transform(const Value& value, const std::function<Value(const Path&, const Value&)>& fn);
// The value at that path; null pointer when the path leads nowhere.
const Value* at_path(const Value& value, const Path& path, Value& scratch);
std::vector<Path> sensitive_paths(const Value& value);
Value mark_paths(const Value& value, const std::vector<Path>& paths);

// JSON, guided by a type: where that type is dynamic the JSON is {"value": ..., "type": ...}. Precondition: wholly known. Marks are lost.
json::Value to_json(const Value& value, const Type& type);
Result<Value> from_json(const json::Value& json, const Type& type);
// JSON without a type: arrays are tuples, objects are objects.
Value implied_from_json(const json::Value& json);
json::Value to_plain_json(const Value& value);   // unknown becomes null

// The wire form of provider plugins (msgpack as cty writes it). Unknowns are kept, marks are lost.
std::string to_msgpack(const Value& value, const Type& type);
Result<Value> from_msgpack(std::string_view bytes, const Type& type);

}  // namespace engenho::magma
