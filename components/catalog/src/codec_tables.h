// The tables behind from_json and to_json: how a C++ type is laid out, and the few operations on containers that need its type.
// Generated code declares one TypeRef per member type and one StructInfo per struct, all constant data.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engenho/catalog/codec.h"
#include "engenho/catalog/types.h"
#include "struct_infos.h"

namespace engenho::k8s {

enum class Rep : uint8_t {
  kString, kBytes, kBool, kInt32, kInt64, kDouble, kTime, kMicroTime, kQuantity, kIntOrString, kValue,
  kStruct,                             // info
  kOptional, kBox, kVector, kMap,      // element, ops
};

struct OptionalOps {
  const void* (*get)(const void*);     // null when empty
  void* (*make)(void*);                // a fresh value inside
};
struct VectorOps {
  size_t element_size;                 // 0: std::vector<bool>
  size_t (*size)(const void*);
  const void* (*data)(const void*);
  void* (*resize)(void*, size_t);      // data
};
struct MapOps {
  size_t (*size)(const void*);
  void* (*add)(void*, std::string_view key);   // keys come in order
  void (*each)(const void*, void* context, void (*visit)(void* context, const std::string& key, const void* value));
};

struct TypeRef {
  Rep rep;
  const TypeRef* element = nullptr;
  const StructInfo* info = nullptr;
  const void* ops = nullptr;
};

struct Member {
  uint32_t offset;
  const TypeRef* type;                 // null: apiVersion or kind, which the struct has as constants
};

// members[i] belongs to schema->fields[i].
struct StructInfo {
  const schema::Schema* schema;
  const Member* members;
  std::string_view api_version, kind;  // empty unless a kind
};

inline constexpr TypeRef kRef_String{Rep::kString}, kRef_Bytes{Rep::kBytes}, kRef_Bool{Rep::kBool}, kRef_Int32{Rep::kInt32},
    kRef_Int64{Rep::kInt64}, kRef_Double{Rep::kDouble}, kRef_Time{Rep::kTime}, kRef_MicroTime{Rep::kMicroTime},
    kRef_Quantity{Rep::kQuantity}, kRef_IntOrString{Rep::kIntOrString}, kRef_Value{Rep::kValue};

template <typename T>
inline constexpr OptionalOps optional_ops{
    [](const void* p) -> const void* {
      const auto& o = *static_cast<const std::optional<T>*>(p);
      return o ? &*o : nullptr;
    },
    [](void* p) -> void* { return &static_cast<std::optional<T>*>(p)->emplace(); }};

template <typename T>
inline constexpr OptionalOps box_ops{
    [](const void* p) -> const void* { return static_cast<const Box<T>*>(p)->get(); },
    [](void* p) -> void* { return &static_cast<Box<T>*>(p)->ensure(); }};

template <typename T>
inline constexpr VectorOps vector_ops{
    sizeof(T),
    [](const void* p) { return static_cast<const std::vector<T>*>(p)->size(); },
    [](const void* p) -> const void* { return static_cast<const std::vector<T>*>(p)->data(); },
    [](void* p, size_t n) -> void* {
      auto& v = *static_cast<std::vector<T>*>(p);
      v.resize(n);
      return v.data();
    }};
inline constexpr VectorOps bool_vector_ops{0, nullptr, nullptr, nullptr};

template <typename T>
inline constexpr MapOps map_ops{
    [](const void* p) { return static_cast<const std::map<std::string, T>*>(p)->size(); },
    [](void* p, std::string_view key) -> void* {
      auto& m = *static_cast<std::map<std::string, T>*>(p);
      return &m.emplace_hint(m.end(), std::piecewise_construct, std::forward_as_tuple(key), std::forward_as_tuple())->second;
    },
    [](const void* p, void* context, void (*visit)(void*, const std::string&, const void*)) {
      for (const auto& [key, value] : *static_cast<const std::map<std::string, T>*>(p)) visit(context, key, &value);
    }};

}  // namespace engenho::k8s
