#include "encode.h"

#include "engenho/base/bytes.h"
#include "engenho/base/yaml.h"
#include "engenho/catalog/convert.h"
#include "engenho/catalog/transcode.h"
#include "engenho/http/gzip.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/protobuf.h"
#include "custom_resources.h"
#include "printers.h"

namespace engenho::apiserver {

namespace {

constexpr size_t kCompressFrom = 128 << 10;

json::Value partial_metadata(const json::Value& object, const std::string& version) {
  json::Value out = json::Object();
  out["kind"] = "PartialObjectMetadata";
  out["apiVersion"] = "meta.k8s.io/" + version;
  if (const json::Value* metadata = object.get("metadata")) out["metadata"] = *metadata;
  return out;
}

std::string protobuf_of(const json::Value& value) {
  auto bytes = catalog::encode_protobuf(value);
  return bytes ? std::move(*bytes) : std::string();
}

enum class IncludeObject { kNone, kMetadata, kObject };
IncludeObject include_object(const Context& context) {
  const std::string_view wanted = context.query.get("includeObject");
  if (wanted == "None") return IncludeObject::kNone;
  if (wanted == "Object") return IncludeObject::kObject;
  return IncludeObject::kMetadata;
}

json::Value table_row(const Context& context, const json::Value& object, const std::string& version) {
  json::Value row = json::Object();
  row["cells"] = table_cells(*context.resource, object, context.received);
  if (context.resource->kind == "Pod" && context.resource->custom == nullptr) {
    // Tools leave out what has run its course.
    const std::string_view phase = object.str_at({"status", "phase"});
    if (phase == "Succeeded" || phase == "Failed") {
      json::Value done = json::Object();
      done["type"] = "Completed";
      done["status"] = "True";
      done["reason"] = phase;
      done["message"] = phase == "Failed" ? "The pod failed." : "The pod has completed successfully.";
      row["conditions"] = json::Array{done};
    }
  }
  switch (include_object(context)) {
    case IncludeObject::kNone: row["object"] = nullptr; break;
    case IncludeObject::kMetadata: row["object"] = partial_metadata(object, version); break;
    case IncludeObject::kObject: row["object"] = object; break;
  }
  return row;
}

json::Value table_of(const Context& context, json::Array rows, json::Value metadata, bool with_columns = true) {
  json::Value table = json::Object();
  table["kind"] = "Table";
  table["apiVersion"] = "meta.k8s.io/" + context.accepted.transform_version;
  table["metadata"] = std::move(metadata);
  table["columnDefinitions"] = with_columns ? table_columns(*context.resource) : json::Value();
  table["rows"] = std::move(rows);
  return table;
}

json::Value transformed(const Context& context, const json::Value& value) {
  switch (context.accepted.transform) {
    case Transform::kTable: {
      json::Value metadata = json::Object();
      if (const json::Value* rv = value.at({"metadata", "resourceVersion"})) metadata["resourceVersion"] = *rv;
      return table_of(context, {table_row(context, value, context.accepted.transform_version)}, std::move(metadata));
    }
    case Transform::kPartial: return partial_metadata(value, context.accepted.transform_version);
    default: return value;
  }
}

void maybe_compress(const Context& context, http::Headers& headers, http::Body& body) {
  if (body.size() < kCompressFrom || !http::accepts_gzip(context.request().headers)) return;
  if (auto packed = http::gzip(body)) {
    headers.add("Content-Encoding", "gzip");
    headers.add("Vary", "Accept-Encoding");
    body = http::Body(std::move(*packed));
  }
}

std::string frame(std::string_view bytes) {
  // Protobuf frames: 4 bytes length, big-endian.
  const auto n = static_cast<uint32_t>(bytes.size());
  std::string out;
  out.reserve(bytes.size() + 4);
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>(n >> shift & 0xFF);
  out.append(bytes);
  return out;
}

std::string version_key(const ResourceDef& resource, Media media) {
  // What a definition says changes what its stored objects look like.
  return std::string(media_type(media)) + " " + resource.api_version() + (resource.custom != nullptr ? " " + std::to_string(resource.custom->generation) : "");
}

// The object's bytes in the accepted encoding, shared between all clients that accept the same.
Bytes object_bytes(const Context& context, const ObjectPtr& object) {
  const Media media = context.accepted.media == Media::kYaml ? Media::kJson : context.accepted.media;
  const ResourceDef& resource = *context.resource;
  if (media == Media::kJson && resource.stored_as_served()) return object->json();
  return object->encoding(version_key(resource, media), [&](const Object& o) {
    const json::Value value = served_value(resource, o);
    if (media != Media::kJson) return protobuf_of(value);
    auto text = with_resource_version(encode_for_store(value), o.revision());
    return text ? std::move(*text) : json::dump(value);
  });
}

}  // namespace

json::Value served_value(const ResourceDef& resource, const Object& object) {
  json::Value value = object.value();
  if (!resource.stored_as_served()) (void)resource.to_served(value);
  return value;
}

std::string encode_value(const Accepted& accepted, const json::Value& value) {
  switch (accepted.media) {
    case Media::kJson: return (accepted.pretty ? json::dump_pretty(value) : json::dump(value)) + "\n";
    case Media::kYaml: return yaml::dump(value);
    case Media::kProtobuf: return protobuf_of(value);
  }
  return "";
}

http::Headers answer_headers(const Context& context, std::string_view content_type) {
  http::Headers headers;
  headers.add("Audit-Id", context.info.path.empty() ? "" : std::string(context.request().headers.get("Audit-ID")));
  if (headers.get("Audit-Id").empty()) headers.remove("Audit-Id");
  headers.add("Cache-Control", "no-cache, private");
  headers.add("Content-Type", std::string(content_type));
  for (const std::string& warning : context.warnings) {
    // RFC 7234: code, agent, quoted text.
    std::string text = "299 - \"";
    for (char c : warning) {
      if (c == '"' || c == '\\') text += '\\';
      if (static_cast<unsigned char>(c) >= 0x20) text += c;
    }
    headers.add("Warning", text + "\"");
  }
  return headers;
}

void send_bytes(Context& context, int code, std::string_view content_type, http::Body body) {
  http::Headers headers = answer_headers(context, content_type);
  maybe_compress(context, headers, body);
  context.exchange->respond(code, std::move(headers), std::move(body));
}

void send_status(Context& context, const Status& status) {
  const json::Value document = schema::to_document(status);
  Accepted accepted = context.accepted;
  accepted.transform = Transform::kNone;
  http::Headers headers = answer_headers(context, media_type(accepted.media));
  if (status.details().retry_after_seconds > 0) headers.add("Retry-After", std::to_string(status.details().retry_after_seconds));
  context.exchange->respond(status.code(), std::move(headers), http::Body(encode_value(accepted, document)));
}

void send_text(Context& context, int code, std::string text, std::string_view content_type) {
  context.exchange->respond(code, answer_headers(context, content_type), http::Body(std::move(text)));
}

void send_document(Context& context, int code, const json::Value& document) {
  Accepted accepted = context.accepted;
  accepted.transform = Transform::kNone;
  send_bytes(context, code, media_type(accepted.media), http::Body(encode_value(accepted, document)));
}

void send_value(Context& context, int code, const json::Value& value) {
  const json::Value out = context.accepted.transform == Transform::kNone ? json::Value() : transformed(context, value);
  send_bytes(context, code, media_type(context.accepted.media),
             http::Body(encode_value(context.accepted, context.accepted.transform == Transform::kNone ? value : out)));
}

void send_object(Context& context, int code, const ObjectPtr& object) {
  if (context.accepted.transform != Transform::kNone || context.accepted.media == Media::kYaml || context.accepted.pretty) {
    send_value(context, code, served_value(*context.resource, *object));
    return;
  }
  http::Body body{object_bytes(context, object)};
  if (context.accepted.media == Media::kJson) body.append_fixed("\n");
  send_bytes(context, code, media_type(context.accepted.media), std::move(body));
}

void send_list(Context& context, const std::vector<ObjectPtr>& objects, const ListMeta& meta) {
  const ResourceDef& resource = *context.resource;
  json::Value metadata = json::Object();
  metadata["resourceVersion"] = std::to_string(meta.revision);
  if (!meta.continue_token.empty() || resource.custom != nullptr) metadata["continue"] = meta.continue_token;
  if (meta.remaining >= 0) metadata["remainingItemCount"] = meta.remaining;

  if (context.accepted.transform == Transform::kTable) {
    json::Array rows;
    for (const ObjectPtr& o : objects) rows.push_back(table_row(context, served_value(resource, *o), context.accepted.transform_version));
    send_bytes(context, 200, media_type(context.accepted.media),
               http::Body(encode_value(context.accepted, table_of(context, std::move(rows), std::move(metadata)))));
    return;
  }
  const bool partial = context.accepted.transform != Transform::kNone;
  if (partial || context.accepted.media != Media::kJson || context.accepted.pretty) {
    json::Value list = json::Object();
    list["kind"] = partial ? std::string("PartialObjectMetadataList") : resource.list_kind;
    list["apiVersion"] = partial ? "meta.k8s.io/" + context.accepted.transform_version : resource.api_version();
    list["metadata"] = std::move(metadata);
    json::Array& items = list["items"].make_array();
    for (const ObjectPtr& o : objects) {
      json::Value value = served_value(resource, *o);
      if (partial) {
        value = partial_metadata(value, context.accepted.transform_version);
      } else if (resource.custom == nullptr && context.accepted.media != Media::kProtobuf) {
        value.as_object().erase("apiVersion");
        value.as_object().erase("kind");
      }
      items.push_back(std::move(value));
    }
    send_bytes(context, 200, media_type(context.accepted.media), http::Body(encode_value(context.accepted, list)));
    return;
  }
  // The common case: the objects' own bytes, nothing parsed, nothing copied.
  http::Body body("{\"kind\":\"" + resource.list_kind + "\",\"apiVersion\":\"" + resource.api_version() +
                  "\",\"metadata\":" + json::dump(metadata) + ",\"items\":[");
  body.reserve(objects.size() * 3 + 2);
  bool first = true;
  for (const ObjectPtr& o : objects) {
    if (!first) body.append_fixed(",");
    first = false;
    // The list says what its items are; only custom resources repeat it.
    Bytes bytes = object_bytes(context, o);
    std::string_view view = *bytes;
    if (const size_t at = resource.custom == nullptr ? view.substr(0, 1024).find("\"metadata\":{") : 0; at != 0 && at != std::string_view::npos) {
      body.append_fixed("{");
      view.remove_prefix(at);
    }
    body.append(std::move(bytes), view);
  }
  body.append_fixed("]}\n");
  send_bytes(context, 200, media_type(Media::kJson), std::move(body));
}

std::string watch_content_type(const Accepted& accepted) {
  std::string out(media_type(accepted.media));
  if (accepted.media == Media::kProtobuf || accepted.stream_watch) out += ";stream=watch";
  return out;
}

http::Body encode_event_value(const Context& context, std::string_view type, const json::Value& value) {
  if (context.accepted.media == Media::kProtobuf) {
    return http::Body(frame(schema::make_watch_event(type, protobuf_of(value))));
  }
  std::string text = "{\"type\":\"" + std::string(type) + "\",\"object\":";
  json::dump_to(value, text);
  return http::Body(text + "}\n");
}

http::Body encode_event(const Context& context, std::string_view type, const ObjectPtr& object) {
  if (context.accepted.transform == Transform::kTable) {
    const json::Value value = served_value(*context.resource, *object);
    json::Value metadata = json::Object();
    metadata["resourceVersion"] = std::to_string(object->revision());
    return encode_event_value(context, type,
                              table_of(context, {table_row(context, value, context.accepted.transform_version)}, std::move(metadata)));
  }
  if (context.accepted.transform != Transform::kNone) {
    return encode_event_value(context, type,
                              partial_metadata(served_value(*context.resource, *object), context.accepted.transform_version));
  }
  Bytes bytes = object_bytes(context, object);
  if (context.accepted.media == Media::kProtobuf) return http::Body(frame(schema::make_watch_event(type, *bytes)));
  http::Body body;
  body.append_fixed(type == "ADDED"      ? "{\"type\":\"ADDED\",\"object\":"
                    : type == "MODIFIED" ? "{\"type\":\"MODIFIED\",\"object\":"
                                         : "{\"type\":\"DELETED\",\"object\":");
  const std::string_view view = *bytes;
  body.append(std::move(bytes), view);
  body.append_fixed("}\n");
  return body;
}

}  // namespace engenho::apiserver
