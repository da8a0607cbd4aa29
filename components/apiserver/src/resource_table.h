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
struct CustomVersion;

struct ResourceDef {
  std::string group, version, plural, singular, kind, list_kind;
  bool namespaced = false;
  const schema::Schema* schema = nullptr;
  const catalog::Resource* facts = nullptr;        // verbs, names, subresources, columns
  const catalog::Resource* storage = nullptr;      // built-ins: the resource in its storage version; null: a custom resource
  std::shared_ptr<const CustomVersion> custom;     // custom resources: owns schema and facts; null: built-in
  std::string store_prefix;                        // "/registry/pods/"
  Cacher* cacher = nullptr;                        // null for kinds that are not persisted

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  // Whether the stored text is what clients of this version get.
  bool stored_as_served() const;
  // From the version it is stored in to the one this resource serves, and back. Errors: BadRequest.
  Status to_served(json::Value& object) const;
  Status to_storage(json::Value& object) const;
  // "/registry/pods/default/web"
  std::string store_key(std::string_view ns, std::string_view name) const;
};
using ResourcePtr = std::shared_ptr<const ResourceDef>;

class Hub;

// Whether its resources are served as built-in ones. Alpha and beta versions are known to the catalog but not served, as on a default
// kube-apiserver; declared kinds are served from their definitions, as custom resources are.
bool is_served(const catalog::GroupVersion& gv);
bool is_served(const catalog::Group& group);  // any of its versions

class ResourceTable {
 public:
  // The versions that a custom resource is served in replace those before; none: it is served no more.
  void set_custom(std::string_view group, std::string_view plural, std::vector<ResourcePtr> versions);
  // The groups of custom resources, each with its versions, the preferred one first.
  std::map<std::string, std::vector<std::string>> custom_groups() const;
  // Custom resources of one group version, by plural name.
  std::vector<ResourcePtr> custom_resources(std::string_view group, std::string_view version) const;

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
