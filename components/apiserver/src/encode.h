// Objects in the form the client asked for: version, media type, Table or metadata only.
#pragma once

#include <string>
#include <vector>

#include "context.h"
#include "object.h"

namespace engenho::apiserver {

// The document of a stored object in the version that `resource` serves.
json::Value served_value(const ResourceDef& resource, const Object& object);
// One object; `value` is in the served version and has its resourceVersion.
void send_value(Context& context, int code, const json::Value& value);
void send_object(Context& context, int code, const ObjectPtr& object);

struct ListMeta {
  int64_t revision = 0;
  std::string continue_token;
  int64_t remaining = -1;  // -1: not told
};
void send_list(Context& context, const std::vector<ObjectPtr>& objects, const ListMeta& meta);

// The bytes of one watch event, framed for the accepted encoding (newline-delimited JSON or length-prefixed protobuf).
http::Body encode_event(const Context& context, std::string_view type, const ObjectPtr& object);
// A document that is no stored object (bookmark, Status) as a watch event.
http::Body encode_event_value(const Context& context, std::string_view type, const json::Value& value);
std::string watch_content_type(const Accepted& accepted);

// Encoded object text for the accepted media (used for single objects).
std::string encode_value(const Accepted& accepted, const json::Value& value);

}  // namespace engenho::apiserver
