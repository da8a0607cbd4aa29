// Whole documents between JSON, YAML and protobuf (with the "k8s\0" envelope); the kind is read from the document.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::catalog {

enum class Format { kJson, kYaml, kProtobuf };
std::optional<Format> format_of_media_type(std::string_view media_type);  // without parameters
std::string_view media_type_of(Format format);

// Output is the normal form (schema/decode.h). Errors: BadRequest for input that does not parse, for kinds unknown here (protobuf needs a
// schema; JSON and YAML pass unknown kinds unchanged).
Result<std::string> transcode(std::string_view in, Format from, Format to);

// A document to and from enveloped protobuf; apiVersion and kind are taken from, or put into, the document.
Result<std::string> encode_protobuf(const json::Value& object);
Result<json::Value> decode_protobuf(std::string_view bytes);

}  // namespace engenho::catalog
