// Custom resources: what a CustomResourceDefinition says, turned into resources that the server serves like its own. A version's schema, columns and
// names live as long as anybody uses them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/catalog/resources.h"
#include "engenho/schema/custom_schema.h"
#include "engenho/schema/json_path.h"
#include "resource_table.h"

namespace engenho::apiserver {

struct CustomColumn {
  std::string name, type, format, description;
  int priority = 0;
  std::optional<schema::JsonPath> path;  // none when it does not parse: the cell stays empty
};

struct ScalePaths {
  std::vector<std::string> spec_replicas, status_replicas, label_selector;  // names from the root; the last may be empty
};

// One version of a custom resource.
struct CustomVersion {
  std::shared_ptr<const schema::CustomSchema> schema;
  json::Value openapi;                         // the same as the definition has it; null: none
  catalog::Resource facts;                     // its strings belong to the definition
  std::vector<CustomColumn> columns;           // after Name
  std::vector<std::string> selectable_fields;  // "spec.colour"
  std::optional<ScalePaths> scale;
  bool has_status = false;
  std::string warning;                         // "" unless the version is deprecated
  std::string storage_api_version;
  int64_t generation = 0;                      // of the definition
  bool terminating = false;                    // no new objects
  bool declared = false;                       // a kind of our own: its versions are converted by the catalog
  bool immutable = false;                      // its spec never changes
};

// The resources that `definition` (a CustomResourceDefinition, decoded) serves, without cachers; empty unless it is established.
std::vector<std::shared_ptr<ResourceDef>> resources_of(const json::Value& definition);

// Whether it comes from the catalog (catalog::declared_definitions) and not from a client.
bool is_declared(const json::Value& definition);

// Where the objects of a definition live.
std::string custom_store_prefix(const json::Value& definition);

bool condition_is(const json::Value& definition, std::string_view type, std::string_view status);

// Brings an object from the store into the form of `custom`'s version: its apiVersion and the defaults that came after it was stored.
void to_served(const CustomVersion& custom, std::string_view api_version, json::Value& object);

// The cells of a Table's row after Name.
json::Array custom_cells(const CustomVersion& custom, const json::Value& object, WallTime now);

}  // namespace engenho::apiserver
