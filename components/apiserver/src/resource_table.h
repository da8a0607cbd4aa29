// The resources this server serves, each with where its objects live. Built-ins come from the catalog; custom resources join at
// run time, so lookups hand out shared pointers to immutable definitions.
#pragma once

#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/catalog/resources.h"
#include "engenho/schema/schema.h"

namespace engenho::apiserver {

class Cacher;

struct ResourceDef {
  std::string group, version, plural, singular, kind, list_kind;
  bool namespaced = false;
  const schema::Schema* schema = nullptr;
  const catalog::Resource* builtin = nullptr;      // null: a custom resource
  const catalog::Resource* storage = nullptr;      // built-ins: the resource in its storage version
  std::string store_prefix;                        // "/registry/pods/"
  Cacher* cacher = nullptr;                        // null for kinds that are not persisted

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  std::string storage_api_version() const { return storage ? std::string(storage->api_version()) : api_version(); }
  bool stored_as_served() const { return storage == nullptr || storage->api_version() == api_version(); }
  // "/registry/pods/default/web"
  std::string store_key(std::string_view ns, std::string_view name) const;
};
using ResourcePtr = std::shared_ptr<const ResourceDef>;

class Hub;

// Alpha and beta versions are known to the catalog but not served, as on a default kube-apiserver.
bool is_served(const catalog::GroupVersion& gv);
bool is_served(const catalog::Group& group);  // any of its versions

class ResourceTable {
 public:
  // Defines every built-in resource and makes its cacher in `hub`.
  explicit ResourceTable(Hub& hub);
  ResourcePtr find(std::string_view group, std::string_view version, std::string_view plural) const;
  ResourcePtr find_kind(std::string_view group, std::string_view version, std::string_view kind) const;
  // In the version in which it is stored.
  ResourcePtr find_storage(std::string_view group, std::string_view plural) const;
  bool has_group_version(std::string_view group, std::string_view version) const;
  bool has_group(std::string_view group) const;
  std::vector<ResourcePtr> all() const;

 private:
  mutable std::shared_mutex mutex_;
  std::map<std::string, ResourcePtr, std::less<>> by_path_;  // "group/version/plural"
  std::map<std::string, ResourcePtr, std::less<>> by_kind_;  // "group/version/Kind"
};

}  // namespace engenho::apiserver
