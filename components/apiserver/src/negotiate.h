// Content negotiation: what the client accepts, what it sent.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::apiserver {

enum class Media { kJson, kYaml, kProtobuf };
enum class Transform { kNone, kTable, kPartial, kPartialList };

struct Accepted {
  Media media = Media::kJson;
  Transform transform = Transform::kNone;
  std::string transform_version;  // "v1" or "v1beta1" of meta.k8s.io
  bool stream_watch = false;      // ;stream=watch was asked for
  bool pretty = false;
};

// `accept` may be empty: JSON. Streams (watch) are never YAML. Error: NotAcceptable (406).
Result<Accepted> negotiate(std::string_view accept, bool allow_transform, bool stream);
// Of a request body; empty counts as JSON. Error: UnsupportedMediaType (415).
Result<Media> content_media(std::string_view content_type);
std::string_view media_type(Media media);

}  // namespace engenho::apiserver
