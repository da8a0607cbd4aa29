// The registry of built-in resources: constant data generated from openapi/. Lookups never allocate; everything lives for
// the whole process. All views, all threads.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engenho/schema/schema.h"

namespace engenho::catalog {

struct PrinterColumn {
  std::string_view name, type, format;
  int priority = 0;
};

// A subresource, with the kind of its body (Scale, Eviction, TokenRequest, Binding, ... or the resource's own kind).
struct Subresource {
  std::string_view name;               // "status", "scale", "log", "exec", ...
  std::string_view group, version, kind;
  std::span<const std::string_view> verbs;
  const schema::Schema* schema = nullptr;
};

// One resource in one served group version.
struct Resource {
  std::string_view group, version;     // "" is the core group
  std::string_view plural, singular, kind, list_kind;
  bool namespaced = false;
  std::span<const std::string_view> verbs;        // sorted
  std::span<const std::string_view> short_names, categories;
  std::span<const Subresource> subresources;      // sorted by name
  std::span<const PrinterColumn> columns;         // empty: only Name and Created At
  // Where its objects live: events.k8s.io/events are stored as core v1 events, HPA v1 as autoscaling/v2.
  std::string_view storage_group, storage_version;
  const schema::Schema* schema = nullptr;
  const schema::Schema* list_schema = nullptr;    // null for kinds that are never listed

  std::string_view api_version() const { return api_version_; }  // "v1", "apps/v1"
  std::string_view api_version_;
  bool has_verb(std::string_view verb) const;
  bool persisted() const { return has_verb("get"); }   // reviews and bindings are only created
  const Subresource* subresource(std::string_view name) const;
};

struct GroupVersion {
  std::string_view group, version, api_version;
  std::span<const Resource> resources;            // sorted by plural name
  bool declared = false;                          // kinds of our own (openapi/*/kinds.yaml), served from declared_definitions()
};

struct Group {
  std::string_view name;
  std::span<const GroupVersion> versions;         // preferred first
};

// In the order in which upstream's discovery lists them; the core group ("") first.
std::span<const Group> groups();
std::span<const GroupVersion> group_versions();   // all of them, in group order, preferred version first

const Group* find_group(std::string_view group);
const GroupVersion* find_group_version(std::string_view group, std::string_view version);
const Resource* find_resource(std::string_view group, std::string_view version, std::string_view plural);
// In the preferred version that has it.
const Resource* find_resource(std::string_view group, std::string_view plural);
const Resource* find_kind(std::string_view group, std::string_view version, std::string_view kind);
const Resource* find_kind(std::string_view api_version, std::string_view kind);
// The resource in the version in which it is stored.
const Resource& storage_resource(const Resource& resource);

// The schema of any kind that may be a document of its own: resources, their lists, subresource bodies, and meta/v1 kinds (Status,
// DeleteOptions, Table, ... in "v1", "meta.k8s.io/v1" and, for options and watch events, in every group version). Null: unknown.
const schema::Schema* find_schema(std::string_view api_version, std::string_view kind);
// By OpenAPI name, "io.k8s.api.core.v1.PodTemplateSpec".
const schema::Schema* find_schema_by_name(std::string_view name);

void split_api_version(std::string_view api_version, std::string_view& group, std::string_view& version);
std::string join_api_version(std::string_view group, std::string_view version);

// The OpenAPI v3 document of a group version as served at /openapi/v3/{api/v1|apis/<group>/<version>}: JSON text without our own
// extensions. Empty: unknown.
std::string_view openapi_v3(std::string_view group, std::string_view version);

// JSON array of the CustomResourceDefinitions by which declared kinds are served. Beside what upstream has, each says
// "x-engenho-subresources" (name to verbs) and "x-engenho-immutable" (the spec never changes).
std::string_view declared_definitions();

}  // namespace engenho::catalog
