#include "object.h"

#include <algorithm>

namespace engenho::apiserver {

namespace {
constexpr std::string_view kMetadata = "\"metadata\":{";
}

std::string encode_for_store(const json::Value& object) {
  std::string out = "{\"apiVersion\":";
  json::dump_string_to(object.str_at({"apiVersion"}), out);
  out += ",\"kind\":";
  json::dump_string_to(object.str_at({"kind"}), out);
  out += ",\"metadata\":{";
  if (const json::Value* metadata = object.get("metadata")) {
    bool first = true;
    for (const auto& [name, v] : metadata->members()) {
      if (name == "resourceVersion" || name == "selfLink") continue;
      if (!first) out += ',';
      first = false;
      json::dump_string_to(name, out);
      out += ':';
      json::dump_to(v, out);
    }
  }
  out += '}';
  for (const auto& [name, v] : object.members()) {
    if (name == "apiVersion" || name == "kind" || name == "metadata") continue;
    out += ',';
    json::dump_string_to(name, out);
    out += ':';
    json::dump_to(v, out);
  }
  out += '}';
  return out;
}

Result<std::string> with_resource_version(std::string_view stored, int64_t revision) {
  // apiVersion and kind cannot hold an unescaped quote, so the first match is the member itself.
  const size_t at = stored.substr(0, 1024).find(kMetadata);
  if (at == std::string_view::npos) return err(internal_error("stored object does not begin with apiVersion, kind and metadata"));
  const size_t inside = at + kMetadata.size();
  std::string out;
  out.reserve(stored.size() + 40);
  out.append(stored.substr(0, inside));
  out += "\"resourceVersion\":\"" + std::to_string(revision) + '"';
  if (inside < stored.size() && stored[inside] != '}') out += ',';
  out.append(stored.substr(inside));
  return out;
}

Result<ObjectPtr> Object::make(std::string key, std::string_view stored, int64_t revision) {
  auto value = json::parse(stored);
  if (!value) return err(value.error().with_context("stored object " + key));
  if (stored.substr(0, 1024).find(kMetadata) == std::string_view::npos) {
    // Written by somebody else (through the etcd face): brought into our form.
    if (!value->is_object() || value->get("metadata") == nullptr) return err(internal_error("stored value " + key + " is no object"));
    return make(std::move(key), encode_for_store(*value), *value, revision);
  }
  return make(std::move(key), stored, *value, revision);
}

ObjectPtr Object::make(std::string key, std::string_view stored, const json::Value& value, int64_t revision) {
  auto object = std::shared_ptr<Object>(new Object());
  object->key_ = std::move(key);
  object->revision_ = revision;
  object->name_ = value.str_at({"metadata", "name"});
  object->namespace_ = value.str_at({"metadata", "namespace"});
  object->uid_ = value.str_at({"metadata", "uid"});
  if (const json::Value* labels = value.at({"metadata", "labels"})) {
    for (const auto& [k, v] : labels->members()) object->labels_.emplace_back(k, v.str());
  }
  auto served = with_resource_version(stored, revision);
  object->json_ = std::make_shared<const std::string>(served ? std::move(*served) : std::string(stored));
  return object;
}

const std::string* Object::label(std::string_view name) const {
  auto it = std::lower_bound(labels_.begin(), labels_.end(), name, [](const auto& l, std::string_view n) { return l.first < n; });
  return it != labels_.end() && it->first == name ? &it->second : nullptr;
}

json::Value Object::value() const {
  auto parsed = json::parse(*json_);
  return parsed ? std::move(*parsed) : json::Value();
}

Bytes Object::encoding(const std::string& encoding_key, const std::function<std::string(const Object&)>& make) const {
  {
    std::lock_guard lock(mutex_);
    if (auto it = encodings_.find(encoding_key); it != encodings_.end()) return it->second;
  }
  auto made = std::make_shared<const std::string>(make(*this));
  std::lock_guard lock(mutex_);
  return encodings_.try_emplace(encoding_key, std::move(made)).first->second;
}

}  // namespace engenho::apiserver
