// The type system of Terraform values (cty): primitives, collections, structural types and "dynamic", which stands for a type
// that is not known yet. Types are immutable values; copies share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::magma {

class Type {
 public:
  enum class Kind : uint8_t { kDynamic, kBool, kNumber, kString, kList, kSet, kMap, kObject, kTuple };
  using Attributes = std::vector<std::pair<std::string, Type>>;  // sorted by name

  Type() = default;  // dynamic
  static Type dynamic() { return Type(); }
  static Type boolean() { return Type(Kind::kBool); }
  static Type number() { return Type(Kind::kNumber); }
  static Type string() { return Type(Kind::kString); }
  static Type list(Type element) { return collection(Kind::kList, std::move(element)); }
  static Type set(Type element) { return collection(Kind::kSet, std::move(element)); }
  static Type map(Type element) { return collection(Kind::kMap, std::move(element)); }
  // `optional`: attributes that a conversion may leave out (they become null). Sorts.
  static Type object(Attributes attributes, std::vector<std::string> optional = {});
  static Type tuple(std::vector<Type> elements);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_dynamic() const { return kind_ == Kind::kDynamic; }
  bool is_primitive() const { return kind_ == Kind::kBool || kind_ == Kind::kNumber || kind_ == Kind::kString; }
  bool is_collection() const { return kind_ == Kind::kList || kind_ == Kind::kSet || kind_ == Kind::kMap; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kSet || kind_ == Kind::kTuple; }
  bool is_mapping() const { return kind_ == Kind::kMap || kind_ == Kind::kObject; }
  bool has_dynamic() const;  // anywhere inside

  // Preconditions: a collection; an object; a tuple.
  const Type& element() const;
  const Attributes& attributes() const;
  const std::vector<Type>& elements() const;
  const Type* attribute(std::string_view name) const;  // null unless an object that has it
  bool is_optional(std::string_view name) const;
  Type without_optional() const;  // what values of it have

  bool operator==(const Type& other) const;
  std::string friendly_name() const;  // "list of string", for messages

  // The JSON form of type constraints: "string", ["list","string"], ["object",{...}].
  json::Value to_json() const;
  static Result<Type> from_json(const json::Value& json);

 private:
  struct Rep;
  explicit Type(Kind kind) : kind_(kind) {}
  static Type collection(Kind kind, Type element);
  Kind kind_ = Kind::kDynamic;
  std::shared_ptr<const Rep> rep_;
};

// The one type to which values of all these types convert, as for the elements of a list. Empty when there is none.
std::optional<Type> unify(const std::vector<Type>& types);

}  // namespace engenho::magma
