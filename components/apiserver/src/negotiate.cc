#include "negotiate.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "engenho/base/bytes.h"

namespace engenho::apiserver {

namespace {

struct Range {
  std::string type;
  std::vector<std::pair<std::string, std::string>> params;
  double q = 1;
  std::string_view param(std::string_view name) const {
    for (const auto& [k, v] : params) {
      if (k == name) return v;
    }
    return {};
  }
};

std::vector<Range> parse_accept(std::string_view accept) {
  std::vector<Range> out;
  for (std::string_view part : split(accept, ',')) {
    const auto pieces = split(part, ';');
    Range range;
    range.type = to_lower(trim(pieces[0]));
    if (range.type.empty()) continue;
    for (size_t i = 1; i < pieces.size(); ++i) {
      const std::string_view p = trim(pieces[i]);
      const size_t eq = p.find('=');
      std::string key = to_lower(trim(p.substr(0, eq)));
      std::string value(eq == std::string_view::npos ? "" : trim(p.substr(eq + 1)));
      if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
      if (key == "q") range.q = std::strtod(value.c_str(), nullptr);
      else range.params.emplace_back(std::move(key), std::move(value));
    }
    out.push_back(std::move(range));
  }
  std::stable_sort(out.begin(), out.end(), [](const Range& a, const Range& b) { return a.q > b.q; });
  return out;
}

Status not_acceptable(bool stream) {
  std::string types = "application/json, ";
  if (!stream) types += "application/yaml, ";
  types += "application/vnd.kubernetes.protobuf";
  if (stream) types = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
  return Status(406, reason::kNotAcceptable, "only the following media types are accepted: " + types);
}

}  // namespace

std::string_view media_type(Media media) {
  switch (media) {
    case Media::kJson: return "application/json";
    case Media::kYaml: return "application/yaml";
    case Media::kProtobuf: return "application/vnd.kubernetes.protobuf";
  }
  return "";
}

Result<Accepted> negotiate(std::string_view accept, bool allow_transform, bool stream) {
  if (trim(accept).empty()) return Accepted{};
  for (const Range& range : parse_accept(accept)) {
    Accepted out;
    if (range.type == "*/*" || range.type == "application/*" || range.type == "application/json") out.media = Media::kJson;
    else if (range.type == "application/yaml" && !stream) out.media = Media::kYaml;
    else if (range.type == "application/vnd.kubernetes.protobuf") out.media = Media::kProtobuf;
    else continue;
    bool fits = true;
    std::string_view as, group, version;
    for (const auto& [key, value] : range.params) {
      if (key == "as") as = value;
      else if (key == "g") group = value;
      else if (key == "v") version = value;
      else if (key == "stream") out.stream_watch = value == "watch";
      else if (key == "pretty") fits = fits && value != "1";
      else if (key == "charset" || key == "profile") continue;
    }
    if (!as.empty()) {
      if (!allow_transform || group != "meta.k8s.io" || (version != "v1" && version != "v1beta1")) continue;
      if (as == "Table") out.transform = Transform::kTable;
      else if (as == "PartialObjectMetadata") out.transform = Transform::kPartial;
      else if (as == "PartialObjectMetadataList") out.transform = Transform::kPartialList;
      else continue;
      out.transform_version = version;
    }
    if (fits) return out;
  }
  return err(not_acceptable(stream));
}

Result<Media> content_media(std::string_view content_type) {
  const std::string type = to_lower(trim(content_type.substr(0, content_type.find(';'))));
  if (type.empty() || type == "application/json") return Media::kJson;
  if (type == "application/yaml") return Media::kYaml;
  if (type == "application/vnd.kubernetes.protobuf") return Media::kProtobuf;
  return err(Status(415, reason::kUnsupportedMediaType,
                    "the body of the request was in an unknown format - accepted media types include: application/json, "
                    "application/yaml, application/vnd.kubernetes.protobuf"));
}

}  // namespace engenho::apiserver
