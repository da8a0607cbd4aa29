#include "engenho/catalog/transcode.h"

#include "engenho/base/yaml.h"
#include "engenho/catalog/resources.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/protobuf.h"

namespace engenho::catalog {

namespace {

constexpr std::string_view kJsonType = "application/json", kYamlType = "application/yaml",
                           kProtobufType = "application/vnd.kubernetes.protobuf";

Status no_kind(std::string_view api_version, std::string_view kind) {
  return bad_request("no kind \"" + std::string(kind) + "\" is registered for version \"" + std::string(api_version) + "\"");
}

}  // namespace

std::optional<Format> format_of_media_type(std::string_view media_type) {
  if (media_type == kJsonType) return Format::kJson;
  if (media_type == kYamlType) return Format::kYaml;
  if (media_type == kProtobufType) return Format::kProtobuf;
  return std::nullopt;
}

std::string_view media_type_of(Format format) {
  switch (format) {
    case Format::kJson: return kJsonType;
    case Format::kYaml: return kYamlType;
    case Format::kProtobuf: return kProtobufType;
  }
  return {};
}

Result<std::string> encode_protobuf(const json::Value& object) {
  const std::string_view api_version = object.str_at({"apiVersion"}), kind = object.str_at({"kind"});
  const schema::Schema* schema = find_schema(api_version, kind);
  if (schema == nullptr || !schema->has_proto) return err(no_kind(api_version, kind));
  return schema::make_envelope(api_version, kind, schema::to_protobuf(*schema, object));
}

Result<json::Value> decode_protobuf(std::string_view bytes) {
  ENGENHO_ASSIGN(schema::Envelope envelope, schema::open_envelope(bytes));
  if (!envelope.content_encoding.empty()) return err(bad_request("unsupported content encoding"));
  const schema::Schema* schema = find_schema(envelope.api_version, envelope.kind);
  if (envelope.content_type == kJsonType) {
    ENGENHO_ASSIGN(json::Value object, json::parse(envelope.raw));
    if (schema != nullptr) ENGENHO_TRY(schema::decode(*schema, object));
    return object;
  }
  if (schema == nullptr || !schema->has_proto) return err(no_kind(envelope.api_version, envelope.kind));
  ENGENHO_ASSIGN(json::Value object, schema::from_protobuf(*schema, envelope.raw));
  object["apiVersion"] = envelope.api_version;
  object["kind"] = envelope.kind;
  return object;
}

Result<std::string> transcode(std::string_view in, Format from, Format to) {
  json::Value object;
  if (from == Format::kProtobuf) {
    ENGENHO_ASSIGN(object, decode_protobuf(in));
  } else {
    if (from == Format::kYaml) {
      ENGENHO_ASSIGN(json::Parsed parsed, yaml::parse(in));
      object = std::move(parsed.value);
    } else {
      ENGENHO_ASSIGN(object, json::parse(in));
    }
    const schema::Schema* schema = find_schema(object.str_at({"apiVersion"}), object.str_at({"kind"}));
    if (schema != nullptr) ENGENHO_TRY(schema::decode(*schema, object));
  }
  switch (to) {
    case Format::kJson: return json::dump(object);
    case Format::kYaml: return yaml::dump(object);
    case Format::kProtobuf: return encode_protobuf(object);
  }
  return err(internal_error("unknown format"));
}

}  // namespace engenho::catalog
