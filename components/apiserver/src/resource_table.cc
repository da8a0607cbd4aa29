#include "resource_table.h"

#include <algorithm>
#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/catalog/convert.h"
#include "custom_resources.h"
#include "hub.h"

namespace engenho::apiserver {

namespace {

std::string path_of(std::string_view group, std::string_view version, std::string_view name) {
  std::string out;
  out.reserve(group.size() + version.size() + name.size() + 2);
  out.append(group).append("/").append(version).append("/").append(name);
  return out;
}

// Where upstream keeps the kinds whose place is not their plural name.
std::string store_directory(std::string_view group, std::string_view plural) {
  if (group.empty()) {
    if (plural == "nodes") return "minions";
    if (plural == "services") return "services/specs";
    if (plural == "endpoints") return "services/endpoints";
    if (plural == "replicationcontrollers") return "controllers";
  }
  if (group == "networking.k8s.io" && plural == "ingresses") return "ingress";
  if (group == "apiextensions.k8s.io" || group == "apiregistration.k8s.io") return std::string(group) + "/" + std::string(plural);
  return std::string(plural);
}

}  // namespace

bool is_served(const catalog::GroupVersion& gv) {
  if (gv.declared) return false;  // served from their definitions
  return gv.version.find("alpha") == std::string_view::npos && gv.version.find("beta") == std::string_view::npos;
}
bool is_served(const catalog::Group& group) {
  for (const catalog::GroupVersion& gv : group.versions) {
    if (is_served(gv)) return true;
  }
  return false;
}

std::string ResourceDef::store_key(std::string_view ns, std::string_view name) const {
  std::string out = store_prefix;
  if (namespaced) out.append(ns).append("/");
  out.append(name);
  return out;
}

bool ResourceDef::stored_as_served() const {
  if (custom != nullptr) return custom->storage_api_version == api_version() && !custom->schema->has_defaults();
  return storage->api_version() == api_version();
}
Status ResourceDef::to_served(json::Value& object) const {
  if (custom == nullptr || custom->declared) ENGENHO_RETURN_IF_ERROR(catalog::convert(object, group, version));
  if (custom == nullptr) return {};
  apiserver::to_served(*custom, api_version(), object);
  return {};
}
Status ResourceDef::to_storage(json::Value& object) const {
  if (custom == nullptr) return catalog::convert(object, storage->group, storage->version);
  if (custom->declared) {
    std::string_view to_group, to_version;
    catalog::split_api_version(custom->storage_api_version, to_group, to_version);
    return catalog::convert(object, to_group, to_version);
  }
  object["apiVersion"] = custom->storage_api_version;
  return {};
}

ResourceTable::ResourceTable(Hub& hub) {
  for (const catalog::GroupVersion& gv : catalog::group_versions()) {
    if (!is_served(gv)) continue;
    for (const catalog::Resource& r : gv.resources) {
      auto def = std::make_shared<ResourceDef>();
      def->group = r.group;
      def->version = r.version;
      def->plural = r.plural;
      def->singular = r.singular;
      def->kind = r.kind;
      def->list_kind = r.list_kind;
      def->namespaced = r.namespaced;
      def->schema = r.schema;
      def->facts = &r;
      def->storage = &catalog::storage_resource(r);
      def->store_prefix = "/registry/" + store_directory(def->storage->group, r.plural) + "/";
      if (r.persisted()) def->cacher = &hub.cacher(def->store_prefix);
      by_kind_.try_emplace(path_of(r.group, r.version, r.kind), def);
      by_path_.emplace(path_of(r.group, r.version, r.plural), std::move(def));
    }
  }
}

ResourcePtr ResourceTable::find(std::string_view group, std::string_view version, std::string_view plural) const {
  std::shared_lock lock(mutex_);
  auto it = by_path_.find(path_of(group, version, plural));
  return it == by_path_.end() ? nullptr : it->second;
}
ResourcePtr ResourceTable::find_kind(std::string_view group, std::string_view version, std::string_view kind) const {
  std::shared_lock lock(mutex_);
  auto it = by_kind_.find(path_of(group, version, kind));
  return it == by_kind_.end() ? nullptr : it->second;
}
ResourcePtr ResourceTable::find_storage(std::string_view group, std::string_view plural) const {
  const catalog::Resource* r = catalog::find_resource(group, plural);
  if (r == nullptr) {
    std::shared_lock lock(mutex_);
    for (const auto& [path, def] : by_path_) {
      if (def->custom != nullptr && def->group == group && def->plural == plural) return def;
    }
    return nullptr;
  }
  const catalog::Resource& s = catalog::storage_resource(*r);
  return find(s.group, s.version, s.plural);
}
bool ResourceTable::has_group_version(std::string_view group, std::string_view version) const {
  const catalog::GroupVersion* gv = catalog::find_group_version(group, version);
  if (gv != nullptr && is_served(*gv)) return true;
  return !custom_resources(group, version).empty();
}
bool ResourceTable::has_group(std::string_view group) const {
  const catalog::Group* g = catalog::find_group(group);
  return (g != nullptr && is_served(*g)) || custom_groups().contains(std::string(group));
}

void ResourceTable::set_custom(std::string_view group, std::string_view plural, std::vector<ResourcePtr> versions) {
  std::unique_lock lock(mutex_);
  auto drop = [&](auto& map) {
    std::erase_if(map, [&](const auto& item) { return item.second->custom != nullptr && item.second->group == group && item.second->plural == plural; });
  };
  drop(by_path_);
  drop(by_kind_);
  for (ResourcePtr& v : versions) {
    by_kind_.try_emplace(path_of(v->group, v->version, v->kind), v);
    by_path_.try_emplace(path_of(v->group, v->version, v->plural), v);
  }
}

namespace {

// Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1 before what is named otherwise.
struct VersionRank {
  int stage = 0;  // 3 stable, 2 beta, 1 alpha, 0 none of these
  int64_t major = 0, minor = 0;
};
VersionRank rank_of(std::string_view v) {
  if (!v.starts_with('v')) return {};
  size_t at = 1;
  auto digits = [&](int64_t& out) {
    const size_t from = at;
    while (at < v.size() && v[at] >= '0' && v[at] <= '9') ++at;
    return at > from && v[from] != '0' && parse_int(v.substr(from, at - from), out);
  };
  VersionRank rank;
  if (!digits(rank.major)) return {};
  if (at == v.size()) rank.stage = 3;
  else {
    for (const auto& [word, stage] : {std::pair("beta", 2), std::pair("alpha", 1)}) {
      if (!v.substr(at).starts_with(word)) continue;
      at += std::string_view(word).size();
      if (digits(rank.minor) && at == v.size()) rank.stage = stage;
      break;
    }
  }
  return rank;
}
bool better_version(const std::string& a, const std::string& b) {
  const VersionRank x = rank_of(a), y = rank_of(b);
  if (x.stage != y.stage) return x.stage > y.stage;
  if (x.stage == 0) return a < b;
  if (x.major != y.major) return x.major > y.major;
  return x.minor > y.minor;
}

}  // namespace

std::map<std::string, std::vector<std::string>> ResourceTable::custom_groups() const {
  std::map<std::string, std::vector<std::string>> out;
  {
    std::shared_lock lock(mutex_);
    for (const auto& [path, def] : by_path_) {
      if (def->custom == nullptr) continue;
      auto& versions = out[def->group];
      if (std::find(versions.begin(), versions.end(), def->version) == versions.end()) versions.push_back(def->version);
    }
  }
  for (auto& [group, versions] : out) std::sort(versions.begin(), versions.end(), better_version);
  return out;
}

std::vector<ResourcePtr> ResourceTable::custom_resources(std::string_view group, std::string_view version) const {
  std::vector<ResourcePtr> out;
  std::shared_lock lock(mutex_);
  for (const auto& [path, def] : by_path_) {
    if (def->custom != nullptr && def->group == group && def->version == version) out.push_back(def);
  }
  return out;
}

std::vector<ResourcePtr> ResourceTable::all() const {
  std::shared_lock lock(mutex_);
  std::vector<ResourcePtr> out;
  for (const auto& [path, def] : by_path_) out.push_back(def);
  return out;
}

}  // namespace engenho::apiserver
