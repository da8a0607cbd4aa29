#include "openapi_v2_protobuf.h"

#include <bit>
#include <initializer_list>

#include "engenho/base/bytes.h"

namespace engenho::apiserver {

namespace {

using json::Value;

// Protobuf's wire format, as far as these messages need it.
class Message {
 public:
  void text(uint32_t number, std::string_view value) {
    tag(number, 2);
    varint(value.size());
    out_ += value;
  }
  void message(uint32_t number, const Message& value) { text(number, value.out_); }
  void boolean(uint32_t number, bool value) {
    if (!value) return;
    tag(number, 0);
    out_ += '\1';
  }
  void integer(uint32_t number, int64_t value) {
    tag(number, 0);
    varint(static_cast<uint64_t>(value));
  }
  void real(uint32_t number, double value) {
    tag(number, 1);
    const auto bits = std::bit_cast<uint64_t>(value);
    for (int shift = 0; shift < 64; shift += 8) out_ += static_cast<char>(bits >> shift);
  }
  std::string take() { return std::move(out_); }

 private:
  void varint(uint64_t v) {
    for (; v >= 0x80; v >>= 7) out_ += static_cast<char>(v | 0x80);
    out_ += static_cast<char>(v);
  }
  void tag(uint32_t number, uint32_t wire) { varint(uint64_t{number} << 3 | wire); }

  std::string out_;
};

using Build = Message (*)(const Value&);

struct Field {
  enum Kind { kText, kTexts, kBoolean, kInteger, kReal, kAny, kAnys, kMessage, kMessages };
  const char* name;
  uint32_t number;
  Kind kind;
  Build build = nullptr;  // of kMessage and kMessages
};

Message any(const Value& v) {
  Message out;
  out.text(2, json::dump(v));  // its YAML form, of which JSON is one
  return out;
}

Message named(std::string_view name, const Message& value) {
  Message out;
  out.text(1, name);
  out.message(2, value);
  return out;
}

// Every member of an object as a message with its name, under one field number.
template <Build build>
Message named_members(const Value& object) {
  Message out;
  if (!object.is_object()) return out;
  for (const auto& [name, value] : object.as_object()) out.message(1, named(name, build(value)));
  return out;
}

void extensions(Message& out, uint32_t number, const Value& object) {
  for (const auto& [name, value] : object.as_object()) {
    if (name.starts_with("x-")) out.message(number, named(name, any(value)));
  }
}

Message fill(const Value& object, std::initializer_list<Field> fields, uint32_t extension_number) {
  Message out;
  if (!object.is_object()) return out;
  for (const Field& f : fields) {
    const Value* v = object.get(f.name);
    if (v == nullptr || v->is_null()) continue;
    switch (f.kind) {
      case Field::kText: out.text(f.number, v->str()); break;
      case Field::kTexts:
        for (const Value& item : v->items()) out.text(f.number, item.str());
        break;
      case Field::kBoolean: out.boolean(f.number, v->is_bool() && v->as_bool()); break;
      case Field::kInteger: out.integer(f.number, v->is_int() ? v->as_int() : 0); break;
      case Field::kReal: out.real(f.number, v->is_number() ? v->as_double() : 0); break;
      case Field::kAny: out.message(f.number, any(*v)); break;
      case Field::kAnys:
        for (const Value& item : v->items()) out.message(f.number, any(item));
        break;
      case Field::kMessage: out.message(f.number, f.build(*v)); break;
      case Field::kMessages:
        for (const Value& item : v->items()) out.message(f.number, f.build(item));
        break;
    }
  }
  if (extension_number != 0) extensions(out, extension_number, object);
  return out;
}

Message schema(const Value& v);

Message type_item(const Value& v) {
  Message out;
  if (v.is_string()) out.text(1, v.str());
  for (const Value& item : v.items()) out.text(1, item.str());
  return out;
}
Message items_item(const Value& v) {
  Message out;
  if (v.is_object()) out.message(1, schema(v));
  for (const Value& item : v.items()) out.message(1, schema(item));
  return out;
}
Message additional_properties_item(const Value& v) {
  Message out;
  if (v.is_object()) out.message(1, schema(v));
  else if (v.is_bool()) out.integer(2, v.as_bool() ? 1 : 0);
  return out;
}
Message external_docs(const Value& v) { return fill(v, {{"description", 1, Field::kText}, {"url", 2, Field::kText}}, 3); }

Message schema(const Value& v) {
  return fill(v,
              {{"$ref", 1, Field::kText},
               {"format", 2, Field::kText},
               {"title", 3, Field::kText},
               {"description", 4, Field::kText},
               {"default", 5, Field::kAny},
               {"multipleOf", 6, Field::kReal},
               {"maximum", 7, Field::kReal},
               {"exclusiveMaximum", 8, Field::kBoolean},
               {"minimum", 9, Field::kReal},
               {"exclusiveMinimum", 10, Field::kBoolean},
               {"maxLength", 11, Field::kInteger},
               {"minLength", 12, Field::kInteger},
               {"pattern", 13, Field::kText},
               {"maxItems", 14, Field::kInteger},
               {"minItems", 15, Field::kInteger},
               {"uniqueItems", 16, Field::kBoolean},
               {"maxProperties", 17, Field::kInteger},
               {"minProperties", 18, Field::kInteger},
               {"required", 19, Field::kTexts},
               {"enum", 20, Field::kAnys},
               {"additionalProperties", 21, Field::kMessage, additional_properties_item},
               {"type", 22, Field::kMessage, type_item},
               {"items", 23, Field::kMessage, items_item},
               {"allOf", 24, Field::kMessages, schema},
               {"properties", 25, Field::kMessage, named_members<schema>},
               {"discriminator", 26, Field::kText},
               {"readOnly", 27, Field::kBoolean},
               {"externalDocs", 29, Field::kMessage, external_docs},
               {"example", 30, Field::kAny}},
              31);
}

Message reference(const Value& v) { return fill(v, {{"$ref", 1, Field::kText}, {"description", 2, Field::kText}}, 0); }

Message primitive_items(const Value& v) {
  return fill(v, {{"type", 1, Field::kText}, {"format", 2, Field::kText}, {"items", 3, Field::kMessage, primitive_items}, {"enum", 16, Field::kAnys}}, 18);
}

// Parameters of the path and of headers have the same fields; those of queries and forms have one more, so that their numbers are one higher.
Message plain_parameter(const Value& v, bool in_query, bool in_form) {
  const uint32_t more = in_query || in_form ? 1 : 0;
  Message out = fill(v,
                     {{"required", 1, Field::kBoolean},
                      {"in", 2, Field::kText},
                      {"description", 3, Field::kText},
                      {"name", 4, Field::kText},
                      {"type", 5 + more, Field::kText},
                      {"format", 6 + more, Field::kText},
                      {"items", 7 + more, Field::kMessage, primitive_items},
                      {"collectionFormat", 8 + more, Field::kText},
                      {"default", 9 + more, Field::kAny},
                      {"maximum", 10 + more, Field::kReal},
                      {"minimum", 12 + more, Field::kReal},
                      {"maxLength", 14 + more, Field::kInteger},
                      {"minLength", 15 + more, Field::kInteger},
                      {"pattern", 16 + more, Field::kText},
                      {"uniqueItems", 19 + more, Field::kBoolean},
                      {"enum", 20 + more, Field::kAnys}},
                     22 + more);
  if (more != 0) out.boolean(5, v.get("allowEmptyValue") != nullptr && v.get("allowEmptyValue")->is_bool() && v.get("allowEmptyValue")->as_bool());
  return out;
}

Message parameters_item(const Value& v) {
  Message out;
  if (v.get("$ref") != nullptr) {
    out.message(2, reference(v));
    return out;
  }
  Message parameter;
  const std::string_view in = v.str_at({"in"});
  if (in == "body") {
    parameter.message(1, fill(v,
                              {{"description", 1, Field::kText},
                               {"name", 2, Field::kText},
                               {"in", 3, Field::kText},
                               {"required", 4, Field::kBoolean},
                               {"schema", 5, Field::kMessage, schema}},
                              6));
  } else {
    Message plain;
    const uint32_t number = in == "header" ? 1 : in == "formData" ? 2 : in == "query" ? 3 : 4;
    plain.message(number, plain_parameter(v, in == "query", in == "formData"));
    parameter.message(2, plain);
  }
  out.message(1, parameter);
  return out;
}

Message schema_item(const Value& v) {
  Message out;
  out.message(1, schema(v));
  return out;
}

Message response_value(const Value& v) {
  Message out;
  if (v.get("$ref") != nullptr) out.message(2, reference(v));
  else out.message(1, fill(v, {{"description", 1, Field::kText}, {"schema", 2, Field::kMessage, schema_item}}, 5));
  return out;
}

Message responses(const Value& v) {
  Message out;
  if (!v.is_object()) return out;
  for (const auto& [code, value] : v.as_object()) {
    if (!code.starts_with("x-")) out.message(1, named(code, response_value(value)));
  }
  extensions(out, 2, v);
  return out;
}

Message operation(const Value& v) {
  return fill(v,
              {{"tags", 1, Field::kTexts},
               {"summary", 2, Field::kText},
               {"description", 3, Field::kText},
               {"externalDocs", 4, Field::kMessage, external_docs},
               {"operationId", 5, Field::kText},
               {"produces", 6, Field::kTexts},
               {"consumes", 7, Field::kTexts},
               {"parameters", 8, Field::kMessages, parameters_item},
               {"responses", 9, Field::kMessage, responses},
               {"schemes", 10, Field::kTexts},
               {"deprecated", 11, Field::kBoolean}},
              13);
}

Message path_item(const Value& v) {
  return fill(v,
              {{"$ref", 1, Field::kText},
               {"get", 2, Field::kMessage, operation},
               {"put", 3, Field::kMessage, operation},
               {"post", 4, Field::kMessage, operation},
               {"delete", 5, Field::kMessage, operation},
               {"options", 6, Field::kMessage, operation},
               {"head", 7, Field::kMessage, operation},
               {"patch", 8, Field::kMessage, operation},
               {"parameters", 9, Field::kMessages, parameters_item}},
              10);
}

Message paths(const Value& v) {
  Message out;
  if (!v.is_object()) return out;
  extensions(out, 1, v);
  for (const auto& [name, value] : v.as_object()) {
    if (name.starts_with("/")) out.message(2, named(name, path_item(value)));
  }
  return out;
}

Message info(const Value& v) {
  return fill(v, {{"title", 1, Field::kText}, {"version", 2, Field::kText}, {"description", 3, Field::kText}, {"termsOfService", 4, Field::kText}}, 7);
}

}  // namespace

std::string openapi_v2_to_protobuf(const Value& document) {
  return fill(document,
              {{"swagger", 1, Field::kText},
               {"info", 2, Field::kMessage, info},
               {"host", 3, Field::kText},
               {"basePath", 4, Field::kText},
               {"schemes", 5, Field::kTexts},
               {"consumes", 6, Field::kTexts},
               {"produces", 7, Field::kTexts},
               {"paths", 8, Field::kMessage, paths},
               {"definitions", 9, Field::kMessage, named_members<schema>}},
              16)
      .take();
}

}  // namespace engenho::apiserver
