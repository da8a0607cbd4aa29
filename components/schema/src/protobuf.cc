#include "engenho/schema/protobuf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "engenho/base/bytes.h"
#include "engenho/schema/decode.h"
#include "normal.h"
#include "scalars.h"

namespace engenho::schema {

namespace {

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kStartGroup = 3, kEndGroup = 4, kFixed32 = 5 };
constexpr int kMaxDepth = 500;

// --- writing --------------------------------------------------------------------------------

void put_varint(std::string& out, uint64_t v) {
  while (v >= 0x80) {
    out += static_cast<char>(v | 0x80);
    v >>= 7;
  }
  out += static_cast<char>(v);
}
void put_tag(std::string& out, uint32_t number, Wire wire) { put_varint(out, number << 3 | wire); }
void put_text(std::string& out, uint32_t number, std::string_view text) {
  put_tag(out, number, kBytes);
  put_varint(out, text.size());
  out += text;
}
void put_number(std::string& out, uint32_t number, int64_t v) {
  put_tag(out, number, kVarint);
  put_varint(out, static_cast<uint64_t>(v));
}

// A nested message: its length is known only afterwards. Most fit the one byte reserved for it.
template <typename F>
void put_message(std::string& out, uint32_t number, F body) {
  put_tag(out, number, kBytes);
  const size_t at = out.size();
  out += '\0';
  body();
  const size_t length = out.size() - at - 1;
  if (length < 0x80) {
    out[at] = static_cast<char>(length);
    return;
  }
  std::string prefix;
  put_varint(prefix, length);
  out.replace(at, 1, prefix);
}

void write_object(const Schema& schema, const json::Value& v, std::string& out);
void write_value(const Schema& schema, uint32_t number, const json::Value& v, std::string& out);

void write_time(const json::Value& v, bool micro, std::string& out) {
  Result<Moment> moment = parse_time(v.str(), micro);
  if (!moment) return;  // the zero time is an empty message
  put_number(out, 1, moment->seconds);
  put_number(out, 2, micro ? int64_t{moment->micros} * 1000 : 0);
}

void write_int_or_string(const json::Value& v, std::string& out) {
  put_number(out, 1, v.is_string() ? 1 : 0);
  put_number(out, 2, v.int_or(0));
  put_text(out, 3, v.str());
}

void write_map_entry(const Schema& element, uint32_t number, const std::string& key, const json::Value& v, std::string& out) {
  put_message(out, number, [&] {
    put_text(out, 1, key);
    write_value(element, 2, v, out);
  });
}

// `v` is present: for a field that Go writes although the document has it not, its zero value.
void write_value(const Schema& schema, uint32_t number, const json::Value& v, std::string& out) {
  switch (schema.kind) {
    case Kind::kString: put_text(out, number, v.str()); return;
    case Kind::kBytes:
      if (Result<std::string> bytes = decode_base64(v.str()); bytes && !v.is_null()) put_text(out, number, *bytes);
      return;
    case Kind::kBool: put_number(out, number, v.bool_or(false) ? 1 : 0); return;
    case Kind::kInt32:
    case Kind::kInt64: put_number(out, number, v.int_or(0)); return;
    case Kind::kDouble: {
      put_tag(out, number, kFixed64);
      const auto bits = std::bit_cast<uint64_t>(v.is_number() ? v.as_double() : 0.0);
      for (int i = 0; i < 64; i += 8) out += static_cast<char>(bits >> i & 0xFF);
      return;
    }
    case Kind::kObject: put_message(out, number, [&] { write_object(schema, v, out); }); return;
    case Kind::kQuantity: put_message(out, number, [&] { put_text(out, 1, v.str("0")); }); return;
    case Kind::kTime:
    case Kind::kMicroTime: put_message(out, number, [&] { write_time(v, schema.kind == Kind::kMicroTime, out); }); return;
    case Kind::kDuration: {
      Result<int64_t> nanos = parse_duration(v.str("0"));
      put_message(out, number, [&] { put_number(out, 1, nanos ? *nanos : 0); });
      return;
    }
    case Kind::kIntOrString: put_message(out, number, [&] { write_int_or_string(v, out); }); return;
    case Kind::kRawExtension:
    case Kind::kJson:
    case Kind::kFieldsV1:
    case Kind::kAny:
      put_message(out, number, [&] {
        if (!v.is_null()) put_text(out, 1, json::dump(v));
      });
      return;
    case Kind::kArray:
      if (schema.proto_wrapped) {
        put_message(out, number, [&] {
          for (const json::Value& item : v.items()) write_value(*schema.element, 1, item, out);
        });
        return;
      }
      for (const json::Value& item : v.items()) write_value(*schema.element, number, item, out);
      return;
    case Kind::kMap:
      for (const auto& [key, item] : v.members()) write_map_entry(*schema.element, number, key, item, out);
      return;
    case Kind::kSchemaOrArray:
      put_message(out, number, [&] {
        if (v.is_object()) write_value(*schema.element, 1, v, out);
        for (const json::Value& item : v.items()) write_value(*schema.element, 2, item, out);
      });
      return;
    case Kind::kSchemaOrBool:
      put_message(out, number, [&] {
        put_number(out, 1, v.is_object() || v.bool_or(false) ? 1 : 0);
        if (v.is_object()) write_value(*schema.element, 2, v, out);
      });
      return;
    case Kind::kSchemaOrStringArray:
      put_message(out, number, [&] {
        if (v.is_object()) write_value(*schema.element, 1, v, out);
        for (const json::Value& item : v.items()) put_text(out, 2, item.str());
      });
      return;
  }
}

void write_object(const Schema& schema, const json::Value& v, std::string& out) {
  for (const ProtoField& p : schema.proto_fields) {
    if (p.embedded != nullptr) {
      put_message(out, p.number, [&] { write_object(*p.embedded, v, out); });
      continue;
    }
    const Field& field = *p.field;
    const json::Value* member = v.get(field.name);
    if (member != nullptr && !member->is_null()) {
      write_value(*field.schema, p.number, *member, out);
      continue;
    }
    // Absent: a pointer, a list, a map and nil bytes leave no trace; everything else is written as its zero value.
    const Kind kind = field.schema->kind;
    if (field.pointer || kind == Kind::kArray || kind == Kind::kMap || kind == Kind::kBytes) continue;
    static const json::Value kNothing;
    write_value(*field.schema, p.number, kNothing, out);
  }
}

// --- reading --------------------------------------------------------------------------------

Status truncated() { return bad_request("proto: unexpected end of message"); }

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  Status varint(uint64_t& out) {
    out = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) return truncated();
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) out |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return {};
    }
    return bad_request("proto: integer overflow");
  }
  Status tag(uint32_t& number, uint32_t& wire) {
    uint64_t v = 0;
    ENGENHO_RETURN_IF_ERROR(varint(v));
    wire = static_cast<uint32_t>(v & 7);
    if (v >> 3 == 0 || v >> 3 > 0x1FFFFFFF) return bad_request("proto: illegal tag " + std::to_string(v >> 3));
    number = static_cast<uint32_t>(v >> 3);
    return {};
  }
  Status bytes(std::string_view& out) {
    uint64_t length = 0;
    ENGENHO_RETURN_IF_ERROR(varint(length));
    if (length > rest_.size()) return truncated();
    out = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return {};
  }
  Status fixed64(uint64_t& out) {
    if (rest_.size() < 8) return truncated();
    out = 0;
    for (int i = 0; i < 8; ++i) out |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[static_cast<size_t>(i)])) << (8 * i);
    rest_.remove_prefix(8);
    return {};
  }
  Status skip(uint32_t wire, int depth = 0) {
    uint64_t ignored = 0;
    std::string_view view;
    switch (wire) {
      case kVarint: return varint(ignored);
      case kFixed64: return fixed64(ignored);
      case kBytes: return bytes(view);
      case kFixed32:
        if (rest_.size() < 4) return truncated();
        rest_.remove_prefix(4);
        return {};
      case kStartGroup: {
        if (depth > 50) return bad_request("proto: groups nested too deeply");
        while (true) {
          uint32_t number = 0, inner = 0;
          ENGENHO_RETURN_IF_ERROR(tag(number, inner));
          if (inner == kEndGroup) return {};
          ENGENHO_RETURN_IF_ERROR(skip(inner, depth + 1));
        }
      }
      default: return bad_request("proto: illegal wire type " + std::to_string(wire));
    }
  }

 private:
  std::string_view rest_;
};

Status wrong_wire(uint32_t wire, std::string_view name) {
  return bad_request("proto: wrong wireType = " + std::to_string(wire) + " for field " + std::string(name));
}

Status read_object(const Schema& schema, std::string_view bytes, json::Object& out, int depth);
Status read_scalar(const Schema& schema, uint32_t wire, Reader& in, json::Value& out, std::string_view name, int depth);

Status read_raw(std::string_view bytes, json::Value& out) {
  Reader in(bytes);
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    if (number != 1 || wire != kBytes) {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
      continue;
    }
    std::string_view raw;
    ENGENHO_RETURN_IF_ERROR(in.bytes(raw));
    if (raw.empty()) continue;
    if (has_protobuf_magic(raw)) return bad_request("a raw extension in protobuf encoding is not supported here");
    Result<json::Value> value = json::parse(raw);
    if (!value) return value.error();
    out = std::move(*value);
  }
  return {};
}

Status read_time(std::string_view bytes, bool micro, json::Value& out) {
  Reader in(bytes);
  int64_t seconds = 0, nanos = 0;
  if (in.done()) {
    out = json::Value();
    return {};
  }
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    if (number > 2 || wire != kVarint) {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
      continue;
    }
    uint64_t v = 0;
    ENGENHO_RETURN_IF_ERROR(in.varint(v));
    (number == 1 ? seconds : nanos) = static_cast<int64_t>(v);
  }
  if (nanos < 0 || nanos > 999'999'999) return bad_request("proto: nanoseconds out of range");
  if (seconds == -62135596800 && nanos == 0) {  // Go's zero time, 0001-01-01
    out = json::Value();
    return {};
  }
  std::string text = format_time(Moment{seconds, static_cast<int>(nanos / 1000)}, micro);
  if (text.empty()) return bad_request("proto: year outside of range [0,9999]");
  out = std::move(text);
  return {};
}

Status read_int_or_string(std::string_view bytes, json::Value& out) {
  Reader in(bytes);
  bool is_string = false;
  int64_t number_value = 0;
  std::string_view text;
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    if (wire == kVarint && number <= 2) {
      uint64_t v = 0;
      ENGENHO_RETURN_IF_ERROR(in.varint(v));
      if (number == 1) is_string = v == 1;
      if (number == 2) number_value = static_cast<int32_t>(v);
    } else if (wire == kBytes && number == 3) {
      ENGENHO_RETURN_IF_ERROR(in.bytes(text));
    } else {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
    }
  }
  out = is_string ? json::Value(text) : json::Value(number_value);
  return {};
}

// JSONSchemaPropsOr...: which members there are depends on the kind.
Status read_schema_or(const Schema& schema, std::string_view bytes, json::Value& out, int depth) {
  Reader in(bytes);
  out = schema.kind == Kind::kSchemaOrBool ? json::Value(false) : json::Value();
  const uint32_t schema_number = schema.kind == Kind::kSchemaOrBool ? 2 : 1;
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    if (schema.kind == Kind::kSchemaOrBool && number == 1 && wire == kVarint) {
      uint64_t v = 0;
      ENGENHO_RETURN_IF_ERROR(in.varint(v));
      if (!out.is_object()) out = v != 0;
      continue;
    }
    if (wire != kBytes || number > 2) {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
      continue;
    }
    std::string_view part;
    ENGENHO_RETURN_IF_ERROR(in.bytes(part));
    if (number == schema_number) {
      json::Object object;
      ENGENHO_RETURN_IF_ERROR(read_object(*schema.element, part, object, depth + 1));
      out = std::move(object);
    } else if (schema.kind == Kind::kSchemaOrStringArray) {
      out.make_array().emplace_back(part);
    } else {
      json::Object object;
      ENGENHO_RETURN_IF_ERROR(read_object(*schema.element, part, object, depth + 1));
      out.make_array().emplace_back(std::move(object));
    }
  }
  return {};
}

Status read_wrapped(const Schema& element, std::string_view bytes, json::Value& out, int depth) {
  Reader in(bytes);
  out.make_array();
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    if (number != 1) {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
      continue;
    }
    json::Value item;
    ENGENHO_RETURN_IF_ERROR(read_scalar(element, wire, in, item, "items", depth));
    out.as_array().push_back(std::move(item));
  }
  return {};
}

// One value of a type that is not a list or a map, except lists wrapped in a message. `out` may hold an earlier occurrence.
Status read_scalar(const Schema& schema, uint32_t wire, Reader& in, json::Value& out, std::string_view name, int depth) {
  switch (schema.kind) {
    case Kind::kBool:
    case Kind::kInt32:
    case Kind::kInt64: {
      if (wire != kVarint) return wrong_wire(wire, name);
      uint64_t v = 0;
      ENGENHO_RETURN_IF_ERROR(in.varint(v));
      if (schema.kind == Kind::kBool) {
        out = v != 0;
      } else if (schema.kind == Kind::kInt32) {
        out = int64_t{static_cast<int32_t>(v)};
      } else {
        out = static_cast<int64_t>(v);
      }
      return {};
    }
    case Kind::kDouble: {
      if (wire != kFixed64) return wrong_wire(wire, name);
      uint64_t bits = 0;
      ENGENHO_RETURN_IF_ERROR(in.fixed64(bits));
      out = std::bit_cast<double>(bits);
      return {};
    }
    default: break;
  }
  if (wire != kBytes) return wrong_wire(wire, name);
  std::string_view bytes;
  ENGENHO_RETURN_IF_ERROR(in.bytes(bytes));
  if (depth > kMaxDepth) return bad_request("proto: nested too deeply");
  switch (schema.kind) {
    case Kind::kString: out = bytes; return {};
    case Kind::kBytes: out = base64_encode(bytes); return {};
    case Kind::kObject: return read_object(schema, bytes, out.make_object(), depth + 1);
    case Kind::kTime:
    case Kind::kMicroTime: return read_time(bytes, schema.kind == Kind::kMicroTime, out);
    case Kind::kIntOrString: return read_int_or_string(bytes, out);
    case Kind::kRawExtension:
    case Kind::kJson:
    case Kind::kFieldsV1:
    case Kind::kAny: return read_raw(bytes, out);
    case Kind::kQuantity: {
      Reader inner(bytes);
      out = "0";
      while (!inner.done()) {
        uint32_t number = 0, inner_wire = 0;
        ENGENHO_RETURN_IF_ERROR(inner.tag(number, inner_wire));
        std::string_view text;
        if (number == 1 && inner_wire == kBytes) {
          ENGENHO_RETURN_IF_ERROR(inner.bytes(text));
          if (!text.empty()) out = text;
        } else {
          ENGENHO_RETURN_IF_ERROR(inner.skip(inner_wire));
        }
      }
      return {};
    }
    case Kind::kDuration: {
      Reader inner(bytes);
      out = "0s";
      while (!inner.done()) {
        uint32_t number = 0, inner_wire = 0;
        ENGENHO_RETURN_IF_ERROR(inner.tag(number, inner_wire));
        uint64_t v = 0;
        if (number == 1 && inner_wire == kVarint) {
          ENGENHO_RETURN_IF_ERROR(inner.varint(v));
          out = format_duration(static_cast<int64_t>(v));
        } else {
          ENGENHO_RETURN_IF_ERROR(inner.skip(inner_wire));
        }
      }
      return {};
    }
    case Kind::kSchemaOrArray:
    case Kind::kSchemaOrBool:
    case Kind::kSchemaOrStringArray: return read_schema_or(schema, bytes, out, depth);
    case Kind::kArray: return read_wrapped(*schema.element, bytes, out, depth);
    default: return bad_request("proto: unexpected type of field " + std::string(name));
  }
}

Status read_map_entry(const Schema& element, std::string_view bytes, json::Object& out, int depth) {
  Reader in(bytes);
  std::string_view key;
  json::Value value = zero_value(element);
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    if (number == 1 && wire == kBytes) {
      ENGENHO_RETURN_IF_ERROR(in.bytes(key));
    } else if (number == 2) {
      ENGENHO_RETURN_IF_ERROR(read_scalar(element, wire, in, value, "value", depth));
    } else {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
    }
  }
  out.set(key, std::move(value));
  return {};
}

Status read_member(const Field& field, uint32_t wire, Reader& in, json::Value& out, int depth) {
  const Schema& type = *field.schema;
  std::string_view part;
  if (type.kind == Kind::kMap) {
    if (wire != kBytes) return wrong_wire(wire, field.name);
    ENGENHO_RETURN_IF_ERROR(in.bytes(part));
    return read_map_entry(*type.element, part, out.make_object(), depth + 1);
  }
  if (type.kind != Kind::kArray || type.proto_wrapped) return read_scalar(type, wire, in, out, field.name, depth);
  json::Array& items = out.make_array();
  const Kind element = type.element->kind;
  const bool packable = element == Kind::kBool || element == Kind::kInt32 || element == Kind::kInt64 || element == Kind::kDouble;
  if (!packable || wire != kBytes) return read_scalar(*type.element, wire, in, items.emplace_back(), field.name, depth);
  ENGENHO_RETURN_IF_ERROR(in.bytes(part));
  Reader packed(part);
  while (!packed.done()) {
    ENGENHO_RETURN_IF_ERROR(
        read_scalar(*type.element, element == Kind::kDouble ? kFixed64 : kVarint, packed, items.emplace_back(), field.name, depth));
  }
  return {};
}

// Members arrive in the order of their numbers and are wanted in the order of their names: they are gathered by field first.
Status read_object(const Schema& schema, std::string_view bytes, json::Object& out, int depth) {
  if (depth > kMaxDepth) return bad_request("proto: nested too deeply");
  if (bytes.empty()) return {};
  std::vector<json::Value> members(schema.fields.size());
  std::vector<bool> present(schema.fields.size());
  const bool fresh = out.empty();
  Reader in(bytes);
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_RETURN_IF_ERROR(in.tag(number, wire));
    auto it = std::lower_bound(schema.proto_fields.begin(), schema.proto_fields.end(), number,
                               [](const ProtoField& p, uint32_t n) { return p.number < n; });
    if (it == schema.proto_fields.end() || it->number != number) {
      ENGENHO_RETURN_IF_ERROR(in.skip(wire));
      continue;
    }
    std::string_view part;
    if (it->embedded != nullptr) {
      if (wire != kBytes) return wrong_wire(wire, it->embedded->short_name());
      ENGENHO_RETURN_IF_ERROR(in.bytes(part));
      ENGENHO_RETURN_IF_ERROR(read_object(*it->embedded, part, out, depth + 1));
      continue;
    }
    const Field& field = *it->field;
    const auto index = static_cast<size_t>(&field - schema.fields.data());
    json::Value& member = members[index];
    if (!present[index]) {
      present[index] = true;
      // An object may come in pieces, and an embedded struct may have been read before.
      if (json::Value* earlier = fresh ? nullptr : out.find(field.name)) member = std::move(*earlier);
    }
    ENGENHO_RETURN_IF_ERROR(read_member(field, wire, in, member, depth));
  }
  for (size_t i = 0; i < members.size(); ++i) {
    // Scalars that are not pointers are always on the wire, and mostly zero.
    if (present[i] && !is_omitted(schema.fields[i], members[i])) out.set(schema.fields[i].name, std::move(members[i]));
  }
  return {};
}

}  // namespace

std::string to_protobuf(const Schema& schema, const json::Value& document) {
  std::string out;
  write_object(schema, document, out);
  return out;
}

void to_protobuf(const Schema& schema, const json::Value& document, std::string& out) { write_object(schema, document, out); }

Result<json::Value> from_protobuf(const Schema& schema, std::string_view bytes) {
  json::Value out = json::Object();
  ENGENHO_TRY(read_object(schema, bytes, out.as_object(), 0));
  ENGENHO_TRY(decode(schema, out));
  return out;
}

bool has_protobuf_magic(std::string_view bytes) { return bytes.starts_with(kProtobufMagic); }

Result<Envelope> open_envelope(std::string_view bytes) {
  if (!has_protobuf_magic(bytes)) {
    return err(bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"));
  }
  Reader in(bytes.substr(kProtobufMagic.size()));
  Envelope out;
  while (!in.done()) {
    uint32_t number = 0, wire = 0;
    ENGENHO_TRY(in.tag(number, wire));
    if (wire != kBytes || number > 4) {
      ENGENHO_TRY(in.skip(wire));
      continue;
    }
    std::string_view part;
    ENGENHO_TRY(in.bytes(part));
    if (number == 2) {
      out.raw = part;
    } else if (number == 3) {
      out.content_encoding = part;
    } else if (number == 4) {
      out.content_type = part;
    } else {
      Reader meta(part);
      while (!meta.done()) {
        ENGENHO_TRY(meta.tag(number, wire));
        if (wire != kBytes || number > 2) {
          ENGENHO_TRY(meta.skip(wire));
          continue;
        }
        ENGENHO_TRY(meta.bytes(number == 1 ? out.api_version : out.kind));
      }
    }
  }
  return out;
}

std::string make_envelope(std::string_view api_version, std::string_view kind, std::string_view raw, std::string_view content_type) {
  std::string out(kProtobufMagic);
  out.reserve(raw.size() + api_version.size() + kind.size() + content_type.size() + 32);
  put_message(out, 1, [&] {
    put_text(out, 1, api_version);
    put_text(out, 2, kind);
  });
  put_text(out, 2, raw);
  put_text(out, 3, "");
  put_text(out, 4, content_type);
  return out;
}

std::string make_watch_event(std::string_view type, std::string_view enveloped_object) {
  std::string out;
  out.reserve(type.size() + enveloped_object.size() + 24);
  put_text(out, 1, type);
  put_message(out, 2, [&] { put_text(out, 1, enveloped_object); });
  return out;
}

}  // namespace engenho::schema
