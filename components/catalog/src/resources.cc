#include "engenho/catalog/resources.h"

#include <algorithm>

#include "registry.h"

namespace engenho::catalog {

bool Resource::has_verb(std::string_view verb) const {
  return std::find(verbs.begin(), verbs.end(), verb) != verbs.end();
}

const Subresource* Resource::subresource(std::string_view name) const {
  for (const Subresource& s : subresources) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

std::span<const Group> groups() { return tables::kGroups; }
std::span<const GroupVersion> group_versions() { return tables::kGroupVersions; }

const Group* find_group(std::string_view group) {
  for (const Group& g : groups()) {
    if (g.name == group) return &g;
  }
  return nullptr;
}

const GroupVersion* find_group_version(std::string_view group, std::string_view version) {
  const Group* g = find_group(group);
  if (g == nullptr) return nullptr;
  for (const GroupVersion& gv : g->versions) {
    if (gv.version == version) return &gv;
  }
  return nullptr;
}

namespace {

const Resource* by_plural(const GroupVersion& gv, std::string_view plural) {
  auto it = std::lower_bound(gv.resources.begin(), gv.resources.end(), plural,
                             [](const Resource& r, std::string_view p) { return r.plural < p; });
  return it != gv.resources.end() && it->plural == plural ? &*it : nullptr;
}

}  // namespace

const Resource* find_resource(std::string_view group, std::string_view version, std::string_view plural) {
  const GroupVersion* gv = find_group_version(group, version);
  return gv ? by_plural(*gv, plural) : nullptr;
}

const Resource* find_resource(std::string_view group, std::string_view plural) {
  const Group* g = find_group(group);
  if (g == nullptr) return nullptr;
  for (const GroupVersion& gv : g->versions) {
    if (const Resource* r = by_plural(gv, plural)) return r;
  }
  return nullptr;
}

const Resource* find_kind(std::string_view group, std::string_view version, std::string_view kind) {
  const GroupVersion* gv = find_group_version(group, version);
  if (gv == nullptr) return nullptr;
  for (const Resource& r : gv->resources) {
    if (r.kind == kind) return &r;
  }
  return nullptr;
}

const Resource* find_kind(std::string_view api_version, std::string_view kind) {
  std::string_view group, version;
  split_api_version(api_version, group, version);
  return find_kind(group, version, kind);
}

const Resource& storage_resource(const Resource& resource) {
  const Resource* stored = find_resource(resource.storage_group, resource.storage_version, resource.plural);
  return stored ? *stored : resource;
}

const schema::Schema* find_schema(std::string_view api_version, std::string_view kind) {
  auto key = [](const tables::KindEntry& e) { return std::pair(e.api_version, e.kind); };
  auto it = std::lower_bound(tables::kKinds.begin(), tables::kKinds.end(), std::pair(api_version, kind),
                             [&](const tables::KindEntry& e, const auto& want) { return key(e) < want; });
  return it != tables::kKinds.end() && key(*it) == std::pair(api_version, kind) ? it->schema : nullptr;
}

const schema::Schema* find_schema_by_name(std::string_view name) {
  auto it = std::lower_bound(tables::kSchemas.begin(), tables::kSchemas.end(), name,
                             [](const schema::Schema* s, std::string_view n) { return s->name < n; });
  return it != tables::kSchemas.end() && (*it)->name == name ? *it : nullptr;
}

void split_api_version(std::string_view api_version, std::string_view& group, std::string_view& version) {
  size_t slash = api_version.find('/');
  if (slash == std::string_view::npos) {
    group = {};
    version = api_version;
  } else {
    group = api_version.substr(0, slash);
    version = api_version.substr(slash + 1);
  }
}

std::string join_api_version(std::string_view group, std::string_view version) {
  if (group.empty()) return std::string(version);
  return std::string(group) + "/" + std::string(version);
}

std::string_view declared_definitions() { return tables::kDeclared; }

std::string_view openapi_v3(std::string_view group, std::string_view version) {
  for (const tables::OpenApiDocument& d : tables::kOpenApi) {
    if (d.group == group && d.version == version) return {d.begin, static_cast<size_t>(d.end - d.begin)};
  }
  return {};
}

}  // namespace engenho::catalog
