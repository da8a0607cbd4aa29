// JSON documents to and from Kubernetes' protobuf encoding, by table. Wire format: proto2 as gogo/protobuf writes it (fields in
// number order, scalars that are not pointers always present, maps sorted by key), inside the envelope "k8s\0" + runtime.Unknown.
// Input may be hostile: depth, lengths and memory are bounded by the input's size; errors are BadRequest.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

inline constexpr std::string_view kProtobufMagic{"k8s\0", 4};

// One message without envelope. Precondition: schema.has_proto (Table, for one, has none). `document` is in normal form (decode.h); apiVersion and kind of a kind are left out, as in Go.
std::string to_protobuf(const Schema& schema, const json::Value& document);
void to_protobuf(const Schema& schema, const json::Value& document, std::string& out);  // appends
// Gives the normal form, without apiVersion and kind of the kind itself.
Result<json::Value> from_protobuf(const Schema& schema, std::string_view bytes);

// runtime.Unknown. The views point into the bytes given.
struct Envelope {
  std::string_view api_version, kind, raw, content_encoding, content_type;
};
bool has_protobuf_magic(std::string_view bytes);
Result<Envelope> open_envelope(std::string_view bytes);
std::string make_envelope(std::string_view api_version, std::string_view kind, std::string_view raw,
                          std::string_view content_type = {});
// meta/v1 WatchEvent{type, object{raw}} with `object` an enveloped message (no envelope of its own on a watch stream's frames).
std::string make_watch_event(std::string_view type, std::string_view enveloped_object);

}  // namespace engenho::schema
