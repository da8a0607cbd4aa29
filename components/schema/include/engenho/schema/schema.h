// The type model: one tree of plain structs describes a built-in kind (tables generated at build time, constant data) and a
// custom resource (built at run time in an arena). Every engine, defaulting, decoding, pruning, merging, protobuf, OpenAPI,
// works on a JSON document plus a Schema.
//
// Everything here is a view: strings and spans point into constant tables or into the arena that owns the schema. Nodes are
// immutable once built and may be read by any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "engenho/base/json.h"

namespace engenho::schema {

enum class Kind : uint8_t {
  kAny,            // any JSON, kept as it is (x-kubernetes-preserve-unknown-fields without a type)
  kObject,         // named fields; unknown ones are dropped unless preserve_unknown
  kMap,            // string -> element
  kArray,          // list of element
  kString,
  kBytes,          // base64 text in JSON
  kBool,
  kInt32,
  kInt64,          // also CRD "integer"
  kDouble,         // CRD "number"
  kQuantity,       // resource.Quantity: text such as "500m"; a JSON number is read too
  kTime,           // RFC 3339, UTC, whole seconds; null when zero
  kMicroTime,      // RFC 3339, UTC, microseconds
  kDuration,       // Go's "1h30m0s"
  kIntOrString,
  kRawExtension,   // any JSON object; protobuf RawExtension{raw = 1}
  kJson,           // apiextensions JSON: any JSON; protobuf JSON{raw = 1}
  kFieldsV1,       // managedFields' field set; protobuf FieldsV1{Raw = 1}
  kSchemaOrArray,  // JSONSchemaPropsOrArray and its relatives; `element` is JSONSchemaProps
  kSchemaOrBool,
  kSchemaOrStringArray,
};
std::string_view kind_name(Kind kind);

enum class ListType : uint8_t { kNone, kAtomic, kSet, kMap };  // kNone counts as atomic in server-side apply

// x-kubernetes-patch-strategy of a field.
enum class PatchStrategy : uint8_t { kReplace, kMerge, kRetainKeys, kMergeRetainKeys };

struct Schema;

struct Field {
  std::string_view name;               // JSON name
  const Schema* schema = nullptr;
  std::string_view default_json;       // JSON text filled in when absent; empty: none
  const json::Value* default_value = nullptr;  // the same, built beforehand (custom resources); null: none
  std::string_view merge_key;          // x-kubernetes-patch-merge-key
  uint16_t go_order = 0;               // position in the Go struct, embedded structs flattened
  uint16_t proto = 0;                  // protobuf field number; 0: not a direct field of the message (see Schema::embedded)
  PatchStrategy patch = PatchStrategy::kReplace;
  bool required = false;
  bool pointer = false;                // a pointer in Go: zero differs from absent
  bool omit_empty = false;             // Go drops it when false, 0, "", empty list or map, nil
  bool omit_zero = false;              // Go drops it when the zero value of its type (also an empty struct)
  bool atomic = false;                 // x-kubernetes-map-type: atomic on this use of the type
  bool nullable = false;               // custom resources: null is kept

  bool has_default() const { return !default_json.empty() || default_value != nullptr; }
  bool merges() const { return patch == PatchStrategy::kMerge || patch == PatchStrategy::kMergeRetainKeys; }
  bool retains_keys() const { return patch == PatchStrategy::kRetainKeys || patch == PatchStrategy::kMergeRetainKeys; }
};

// A Go struct embedded without a JSON name (VolumeSource in Volume): JSON shows its fields in the outer object, protobuf a
// message of its own. `message` lists those fields with their numbers in the inner message.
struct Embedded {
  uint16_t proto = 0;
  const Schema* message = nullptr;
};

// One field of the protobuf message, direct or an embedded struct.
struct ProtoField {
  uint16_t number = 0;
  const Field* field = nullptr;        // null for an embedded struct
  const Schema* embedded = nullptr;
};

// x-kubernetes-validations.
struct ValidationRule {
  std::string_view rule, message, message_expression, reason, field_path;
  bool optional_old_self = false;
};

// What only custom resources carry. Absent limits are nullopt.
struct Constraints {
  std::optional<double> minimum, maximum, multiple_of;
  bool exclusive_minimum = false, exclusive_maximum = false, unique_items = false;
  std::optional<int64_t> min_length, max_length, min_items, max_items, min_properties, max_properties;
  std::string_view pattern, format;
  std::span<const json::Value> enum_values;
  std::span<const ValidationRule> rules;
  std::span<const Schema* const> all_of, any_of, one_of;
  const Schema* not_schema = nullptr;
  std::span<const std::string_view> required;  // inside all_of and friends: names without a Field
  std::string_view title, description;
};

struct Schema {
  Kind kind = Kind::kAny;
  ListType list_type = ListType::kNone;
  bool atomic = false;                 // x-kubernetes-map-type: atomic on the type; for a map or list also list_type atomic
  bool nullable = false;               // elements of this type may be null (custom resources)
  bool preserve_unknown = false;       // x-kubernetes-preserve-unknown-fields
  bool embedded_resource = false;      // x-kubernetes-embedded-resource
  bool proto_wrapped = false;          // a list that is a message {items = 1} in protobuf (Verbs, ExtraValue)
  bool has_proto = false;              // kObject: has a protobuf message
  bool top_level = false;              // has apiVersion and kind of its own (a kind, not a part of one)
  std::string_view name;               // OpenAPI name, "io.k8s.api.apps.v1.DeploymentSpec"; empty for anonymous nodes
  std::string_view go_type;            // as Go prints it: "v1.DeploymentSpec", "int32", "[]v1.Container", "v1.RestartPolicy"
  std::span<const Field> fields;       // kObject: sorted by name
  std::span<const Embedded> embedded;  // kObject: embedded protobuf messages
  std::span<const ProtoField> proto_fields;      // kObject: sorted by number
  const Schema* element = nullptr;     // kMap, kArray
  std::span<const std::string_view> list_keys;   // ListType::kMap
  const json::Value* element_default = nullptr;  // custom resources: default of the element schema
  const Constraints* constraints = nullptr;      // null: none

  // The field of that JSON name, or null. Binary search.
  const Field* field(std::string_view json_name) const;
  // The part of `name` after the last dot: "DeploymentSpec".
  std::string_view short_name() const;
  bool is_list_map() const { return kind == Kind::kArray && list_type == ListType::kMap; }
  bool is_set() const { return kind == Kind::kArray && list_type == ListType::kSet; }
};

// Whether the value of `field` is owned and replaced as a whole in server-side apply.
bool is_atomic(const Field& field);
// Follows JSON names from `root` through objects, maps (any key) and lists (any item); null when a name is unknown.
const Schema* resolve(const Schema& root, std::span<const std::string_view> path);

}  // namespace engenho::schema
