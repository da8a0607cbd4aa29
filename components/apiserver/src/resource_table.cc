#include "resource_table.h"

#include <mutex>

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
      def->builtin = &r;
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
  if (r == nullptr) return nullptr;
  const catalog::Resource& s = catalog::storage_resource(*r);
  return find(s.group, s.version, s.plural);
}
bool ResourceTable::has_group_version(std::string_view group, std::string_view version) const {
  const catalog::GroupVersion* gv = catalog::find_group_version(group, version);
  return gv != nullptr && is_served(*gv);
}
bool ResourceTable::has_group(std::string_view group) const {
  const catalog::Group* g = catalog::find_group(group);
  return g != nullptr && is_served(*g);
}

std::vector<ResourcePtr> ResourceTable::all() const {
  std::shared_lock lock(mutex_);
  std::vector<ResourcePtr> out;
  for (const auto& [path, def] : by_path_) out.push_back(def);
  return out;
}

}  // namespace engenho::apiserver
