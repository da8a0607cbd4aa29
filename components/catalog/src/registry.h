// What the generated registry consists of.
#pragma once

#include "engenho/catalog/resources.h"

namespace engenho::catalog::tables {

using schema::Schema;

struct KindEntry {
  std::string_view api_version, kind;
  const Schema* schema;
};
struct OpenApiDocument {
  std::string_view group, version;
  const char* begin;
  const char* end;
};

extern const std::span<const Group> kGroups;
extern const std::span<const GroupVersion> kGroupVersions;
extern const std::span<const KindEntry> kKinds;
extern const std::span<const Schema* const> kSchemas;
extern const std::span<const OpenApiDocument> kOpenApi;
extern const std::string_view kDeclared;

}  // namespace engenho::catalog::tables
