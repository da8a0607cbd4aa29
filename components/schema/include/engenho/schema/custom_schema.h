// The schema of a custom resource, built at run time from the openAPIV3Schema of its definition, and the checks that only such
// schemas ask for. Specified by https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

// Owns every node of one version's schema. Immutable once built; any thread may read it.
class CustomSchema {
 public:
  ~CustomSchema();
  CustomSchema(const CustomSchema&) = delete;
  CustomSchema& operator=(const CustomSchema&) = delete;

  // `openapi`: a JSONSchemaProps document; null keeps whatever comes. `object_meta`: the type of metadata, which must outlive the result.
  // Never fails: what the definition's validation lets pass and this does not know is kept as any JSON.
  static std::shared_ptr<const CustomSchema> build(const json::Value* openapi, const Schema& object_meta);

  // The same for a schema within a definition, which is no resource of its own.
  static std::shared_ptr<const CustomSchema> build_part(const json::Value& openapi, const Schema& object_meta);

  const Schema& root() const { return *root_; }
  bool has_defaults() const { return has_defaults_; }
  bool has_rules() const { return has_rules_; }  // x-kubernetes-validations anywhere: they are not evaluated yet

 private:
  friend class CustomSchemaBuilder;
  struct Arena;
  CustomSchema();
  std::unique_ptr<Arena> arena_;
  const Schema* root_ = nullptr;
  bool has_rules_ = false, has_defaults_ = false;
};

// What defaulting leaves behind: nulls where the schema does not allow null.
void drop_forbidden_nulls(const Schema& schema, json::Value& document);

// Checks `value` against a custom resource's schema: types, limits, formats, enums, patterns, list types, allOf and friends. `field` is the path in
// the errors, `body` the one in their texts (without what stands before the part that is checked; both are "" for a whole object).
void validate_custom(const Schema& schema, const json::Value& value, const std::string& field, const std::string& body, FieldErrors& errors);

// Whether `pattern` is a regular expression as Go knows them. Error: BadRequest with Go's text.
Status check_pattern(std::string_view pattern);

}  // namespace engenho::schema
