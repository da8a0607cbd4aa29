#include "engenho/catalog/codec.h"

#include <limits>

#include "codec_tables.h"
#include "engenho/base/bytes.h"

namespace engenho::k8s::codec {

namespace {

using schema::Field;

template <typename T>
T& as(void* p) {
  return *static_cast<T*>(p);
}
template <typename T>
const T& as(const void* p) {
  return *static_cast<const T*>(p);
}

constexpr int kMaxDepth = 200;  // JSONSchemaProps nests; nothing else comes near

// The way from the root to the value at hand, for error messages.
struct Path {
  const Path* outer = nullptr;
  std::string_view name;
  size_t index = 0;
  int depth = 0;
  bool is_index = false;
};

std::string text_of(const Path& path) {
  std::string out = path.outer ? text_of(*path.outer) : std::string();
  if (path.is_index) return out + "[" + std::to_string(path.index) + "]";
  if (path.name.empty()) return out;
  return out.empty() ? std::string(path.name) : out + "." + std::string(path.name);
}

Status wrong(const Path& path, std::string_view want, const json::Value& got) {
  return bad_request(text_of(path) + ": want " + std::string(want) + ", got " + std::string(json::type_name(got.type())));
}

Status read(const TypeRef& type, void* out, const json::Value& in, const Path& path);

Status read_struct(const StructInfo& info, void* out, const json::Value& in, const Path& path) {
  if (!in.is_object()) return wrong(path, "an object", in);
  if (path.depth > kMaxDepth) return bad_request(text_of(path) + ": nested too deeply");
  // Both sides are sorted by name: walk them together.
  std::span<const Field> fields = info.schema->fields;
  size_t i = 0;
  for (const auto& [key, value] : in.as_object()) {
    while (i < fields.size() && fields[i].name < key) ++i;
    if (i == fields.size()) break;
    const Member& member = info.members[i];
    if (fields[i].name != key || value.is_null() || member.type == nullptr) continue;
    ENGENHO_RETURN_IF_ERROR(read(*member.type, static_cast<char*>(out) + member.offset, value,
                                 Path{.outer = &path, .name = key, .depth = path.depth + 1}));
  }
  return {};
}

Status read_vector(const TypeRef& type, void* out, const json::Value& in, const Path& path) {
  if (!in.is_array()) return wrong(path, "a list", in);
  const json::Array& items = in.as_array();
  const auto& ops = *static_cast<const VectorOps*>(type.ops);
  if (ops.element_size == 0) {
    auto& bits = as<std::vector<bool>>(out);
    for (const json::Value& item : items) bits.push_back(item.bool_or(false));
    return {};
  }
  char* data = static_cast<char*>(ops.resize(out, items.size()));
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].is_null()) continue;
    ENGENHO_RETURN_IF_ERROR(read(*type.element, data + i * ops.element_size, items[i],
                                 Path{.outer = &path, .index = i, .depth = path.depth, .is_index = true}));
  }
  return {};
}

Status read_map(const TypeRef& type, void* out, const json::Value& in, const Path& path) {
  if (!in.is_object()) return wrong(path, "a map", in);
  const auto& ops = *static_cast<const MapOps*>(type.ops);
  for (const auto& [key, value] : in.as_object()) {
    void* slot = ops.add(out, key);
    if (value.is_null()) continue;
    ENGENHO_RETURN_IF_ERROR(read(*type.element, slot, value, Path{.outer = &path, .name = key, .depth = path.depth}));
  }
  return {};
}

Status read(const TypeRef& type, void* out, const json::Value& in, const Path& path) {
  switch (type.rep) {
    case Rep::kString:
      if (!in.is_string()) return wrong(path, "text", in);
      as<std::string>(out) = in.as_string();
      return {};
    case Rep::kBytes: {
      if (!in.is_string()) return wrong(path, "base64 text", in);
      Result<std::string> bytes = base64_decode(in.as_string());
      if (!bytes) return bytes.error().with_context(text_of(path));
      as<std::string>(out) = std::move(*bytes);
      return {};
    }
    case Rep::kBool:
      if (!in.is_bool()) return wrong(path, "a boolean", in);
      as<bool>(out) = in.as_bool();
      return {};
    case Rep::kInt32:
      if (!in.is_int() || in.as_int() < std::numeric_limits<int32_t>::min() || in.as_int() > std::numeric_limits<int32_t>::max()) {
        return wrong(path, "a 32-bit integer", in);
      }
      as<int32_t>(out) = static_cast<int32_t>(in.as_int());
      return {};
    case Rep::kInt64:
      if (!in.is_int()) return wrong(path, "an integer", in);
      as<int64_t>(out) = in.as_int();
      return {};
    case Rep::kDouble:
      if (!in.is_number()) return wrong(path, "a number", in);
      as<double>(out) = in.as_double();
      return {};
    case Rep::kTime:
    case Rep::kMicroTime: {
      if (!in.is_string()) return wrong(path, "a time", in);
      Result<WallTime> time = parse_rfc3339(in.as_string());
      if (!time) return time.error().with_context(text_of(path));
      if (type.rep == Rep::kTime) {
        as<Time>(out) = Time(*time);
      } else {
        as<MicroTime>(out) = MicroTime(*time);
      }
      return {};
    }
    case Rep::kQuantity:
      if (in.is_string()) {
        as<Quantity>(out) = Quantity(in.as_string());
      } else if (in.is_number()) {
        as<Quantity>(out) = Quantity(json::dump(in));
      } else {
        return wrong(path, "a quantity", in);
      }
      return {};
    case Rep::kIntOrString:
      if (in.is_string()) {
        as<IntOrString>(out) = IntOrString(in.as_string());
      } else if (in.is_int()) {
        as<IntOrString>(out) = IntOrString(static_cast<int32_t>(in.as_int()));
      } else {
        return wrong(path, "a number or text", in);
      }
      return {};
    case Rep::kValue:
      as<json::Value>(out) = in;
      return {};
    case Rep::kStruct: return read_struct(*type.info, out, in, path);
    case Rep::kOptional:
    case Rep::kBox: return read(*type.element, static_cast<const OptionalOps*>(type.ops)->make(out), in, path);
    case Rep::kVector: return read_vector(type, out, in, path);
    case Rep::kMap: return read_map(type, out, in, path);
  }
  return {};
}

// Go's "empty" of omitempty, which a struct never is, and its "zero" of omitzero, which a struct of zeros is.
bool is_empty(const TypeRef& type, const void* in, bool zero) {
  switch (type.rep) {
    case Rep::kString:
    case Rep::kBytes: return as<std::string>(in).empty();
    case Rep::kBool: return !as<bool>(in);
    case Rep::kInt32: return as<int32_t>(in) == 0;
    case Rep::kInt64: return as<int64_t>(in) == 0;
    case Rep::kDouble: return as<double>(in) == 0;
    case Rep::kTime: return as<Time>(in).is_zero();
    case Rep::kMicroTime: return as<MicroTime>(in).is_zero();
    case Rep::kQuantity: return as<Quantity>(in).text().empty();
    case Rep::kIntOrString: return zero && as<IntOrString>(in) == IntOrString();
    case Rep::kValue: return as<json::Value>(in).is_null();
    case Rep::kOptional:
    case Rep::kBox: return static_cast<const OptionalOps*>(type.ops)->get(in) == nullptr;
    case Rep::kVector: {
      const auto& ops = *static_cast<const VectorOps*>(type.ops);
      return ops.element_size == 0 ? as<std::vector<bool>>(in).empty() : ops.size(in) == 0;
    }
    case Rep::kMap: return static_cast<const MapOps*>(type.ops)->size(in) == 0;
    case Rep::kStruct: {
      if (!zero) return false;
      for (size_t i = 0; i < type.info->schema->fields.size(); ++i) {
        const Member& m = type.info->members[i];
        if (m.type != nullptr && !is_empty(*m.type, static_cast<const char*>(in) + m.offset, true)) return false;
      }
      return true;
    }
  }
  return false;
}

// omitempty never omits a Go struct that is not behind a pointer, and these are structs in Go.
bool always_written(const Field& field) {
  using schema::Kind;
  switch (field.schema->kind) {
    case Kind::kTime:
    case Kind::kMicroTime:
    case Kind::kQuantity:
    case Kind::kRawExtension:
    case Kind::kJson:
    case Kind::kFieldsV1: return !field.pointer;
    default: return false;
  }
}

json::Value write(const TypeRef& type, const void* in);

// Only the outermost object names its kind.
json::Value write_struct(const StructInfo& info, const void* in, bool outermost) {
  json::Object out;
  std::span<const Field> fields = info.schema->fields;
  for (size_t i = 0; i < fields.size(); ++i) {
    const Field& field = fields[i];
    const Member& member = info.members[i];
    if (member.type == nullptr) {
      std::string_view constant = field.name == "kind" ? info.kind : info.api_version;
      if (outermost && !constant.empty()) out.set(field.name, constant);
      continue;
    }
    const void* value = static_cast<const char*>(in) + member.offset;
    if ((field.omit_empty && !always_written(field) && is_empty(*member.type, value, false)) || (field.omit_zero && is_empty(*member.type, value, true))) {
      continue;
    }
    out.set(field.name, write(*member.type, value));
  }
  return out;
}

json::Value write(const TypeRef& type, const void* in) {
  switch (type.rep) {
    case Rep::kString: return as<std::string>(in);
    case Rep::kBytes: return base64_encode(as<std::string>(in));
    case Rep::kBool: return as<bool>(in);
    case Rep::kInt32: return int64_t{as<int32_t>(in)};
    case Rep::kInt64: return as<int64_t>(in);
    case Rep::kDouble: return as<double>(in);
    case Rep::kTime: return as<Time>(in) ? json::Value(as<Time>(in).to_string()) : json::Value();
    case Rep::kMicroTime: return as<MicroTime>(in) ? json::Value(as<MicroTime>(in).to_string()) : json::Value();
    case Rep::kQuantity: return as<Quantity>(in).text().empty() ? json::Value("0") : json::Value(as<Quantity>(in).text());
    case Rep::kIntOrString: {
      const auto& v = as<IntOrString>(in);
      return v.is_string() ? json::Value(v.str()) : json::Value(int64_t{v.int_value()});
    }
    case Rep::kValue: return as<json::Value>(in);
    case Rep::kStruct: return write_struct(*type.info, in, false);
    case Rep::kOptional:
    case Rep::kBox: {
      const void* inner = static_cast<const OptionalOps*>(type.ops)->get(in);
      return inner ? write(*type.element, inner) : json::Value();
    }
    case Rep::kVector: {
      const auto& ops = *static_cast<const VectorOps*>(type.ops);
      json::Array out;
      if (ops.element_size == 0) {
        for (bool bit : as<std::vector<bool>>(in)) out.emplace_back(bit);
        return out;
      }
      const char* data = static_cast<const char*>(ops.data(in));
      const size_t size = ops.size(in);
      out.reserve(size);
      for (size_t i = 0; i < size; ++i) out.push_back(write(*type.element, data + i * ops.element_size));
      return out;
    }
    case Rep::kMap: {
      struct Context {
        const TypeRef& element;
        json::Object out;
      } context{*type.element, {}};
      static_cast<const MapOps*>(type.ops)->each(in, &context, [](void* c, const std::string& key, const void* value) {
        auto& ctx = *static_cast<Context*>(c);
        ctx.out.set(key, write(ctx.element, value));
      });
      return std::move(context.out);
    }
  }
  return {};
}

}  // namespace

Status decode(const StructInfo& info, void* out, const json::Value& document) {
  return read_struct(info, out, document, Path{});
}
json::Value encode(const StructInfo& info, const void* in) { return write_struct(info, in, true); }
const schema::Schema& schema_of(const StructInfo& info) { return *info.schema; }

}  // namespace engenho::k8s::codec
