// Typed structs <-> JSON documents, driven by tables (one per struct, generated).
//
//   ENGENHO_ASSIGN(core_v1::Pod pod, k8s::from_json<core_v1::Pod>(document));
//   pod.spec.node_name = "a";
//   json::Value document = k8s::to_json(pod);      // apiVersion and kind filled in, Go's omission rules
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/schema.h"

namespace engenho::k8s {

struct StructInfo;
// The table of a generated struct. Specialised in the generated headers.
template <typename T>
const StructInfo& struct_info();

namespace codec {
Status decode(const StructInfo& info, void* out, const json::Value& document);
json::Value encode(const StructInfo& info, const void* in);
const schema::Schema& schema_of(const StructInfo& info);
}  // namespace codec

// Reads what `document` has and ignores what the struct has not. Errors: BadRequest with the path of the value whose type is wrong.
// apiVersion and kind of a kind are not checked.
template <typename T>
Result<T> from_json(const json::Value& document) {
  T out;
  ENGENHO_TRY(codec::decode(struct_info<T>(), &out, document));
  return out;
}
template <typename T>
Result<T> from_json_text(std::string_view text) {
  ENGENHO_ASSIGN(json::Value document, json::parse(text));
  return from_json<T>(document);
}
template <typename T>
json::Value to_json(const T& object) {
  return codec::encode(struct_info<T>(), &object);
}
template <typename T>
std::string to_json_text(const T& object) {
  return json::dump(to_json(object));
}
template <typename T>
const schema::Schema& schema_of() {
  return codec::schema_of(struct_info<T>());
}

}  // namespace engenho::k8s
