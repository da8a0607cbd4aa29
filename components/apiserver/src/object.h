// A stored object as the watch cache holds it: immutable bytes that GET, LIST and WATCH write to the socket unchanged, with
// what selectors need beside them. Other encodings are made on first demand and shared.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::apiserver {

using Bytes = std::shared_ptr<const std::string>;

// The text in the store has no resourceVersion (its revision is not known before it is written). It begins
// {"apiVersion":…,"kind":…,"metadata":{ and the served text has the resourceVersion as the first member of metadata.
std::string encode_for_store(const json::Value& object);
// Error: InternalError when the text does not begin so.
Result<std::string> with_resource_version(std::string_view stored, int64_t revision);

class Object {
 public:
  // Parses `stored`. Error: InternalError for what is not an object of ours; `key` names it.
  static Result<std::shared_ptr<const Object>> make(std::string key, std::string_view stored, int64_t revision);
  // The same without parsing: `value` is the document without resourceVersion.
  static std::shared_ptr<const Object> make(std::string key, std::string_view stored, const json::Value& value, int64_t revision);

  const std::string& key() const { return key_; }        // the store's
  const std::string& name() const { return name_; }
  const std::string& namespace_name() const { return namespace_; }
  const std::string& uid() const { return uid_; }
  int64_t revision() const { return revision_; }
  const Bytes& json() const { return json_; }            // storage version, with resourceVersion
  const std::vector<std::pair<std::string, std::string>>& labels() const { return labels_; }
  const std::string* label(std::string_view name) const;

  // The document, parsed anew at each call: an idle cluster keeps only bytes.
  json::Value value() const;

  // An encoding that `make` produces once per object and key (media type and version).
  Bytes encoding(const std::string& encoding_key, const std::function<std::string(const Object&)>& make) const;

  size_t memory() const { return json_->size() + key_.size() + 256; }

 private:
  Object() = default;
  std::string key_, name_, namespace_, uid_;
  int64_t revision_ = 0;
  Bytes json_;
  std::vector<std::pair<std::string, std::string>> labels_;
  mutable std::mutex mutex_;  // guards encodings_
  mutable std::map<std::string, Bytes> encodings_;
};

using ObjectPtr = std::shared_ptr<const Object>;

}  // namespace engenho::apiserver
