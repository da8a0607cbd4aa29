// pangea.pleme.io: what its schemas (openapi/pangea/kinds.yaml) cannot say. Both versions come here as the client wrote them.
#include "engenho/schema/custom_schema.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

const Value* member(const Value* object, std::string_view name) { return object == nullptr ? nullptr : object->get(name); }

void one_source(FieldErrors& errors, const std::string& path, const Value* source, bool required) {
  if (source == nullptr) return;
  std::string seen;
  int count = 0;
  for (const char* name : {"inline", "configMapRef", "git", "gitRepository"}) {
    if (source->get(name) == nullptr) continue;
    ++count;
    seen += (seen.empty() ? "" : ", ") + std::string(name);
  }
  if (count > 1) errors.invalid(path, seen, "may have only one of inline, configMapRef and a git repository");
  if (count == 0 && required) errors.required(path, "one of inline, configMapRef and a git repository must be there");
  if (source->get("git") == nullptr && source->get("inline") == nullptr && source->get("configMapRef") == nullptr) {
    for (const char* name : {"ref", "secretRef"}) {
      if (source->get(name) != nullptr) errors.invalid(path / name, *source->get(name), "has no meaning without a git repository");
    }
  }
}

void rules(FieldErrors& errors, const std::string& path, const Value* list) {
  if (list == nullptr) return;
  size_t i = 0;
  for (const Value& rule : list->items()) {
    const Value* patterns = rule.at({"match", "addressPatterns"});
    size_t k = 0;
    for (const Value& pattern : patterns == nullptr ? json::Array() : patterns->items()) {
      if (Status s = schema::check_pattern(pattern.str()); !s.ok()) {
        errors.invalid(at(at(path, i) / "match" / "addressPatterns", k), pattern, "is no regular expression: " + s.message());
      }
      ++k;
    }
    ++i;
  }
}

void infrastructure_template(FieldErrors& errors, const Value& spec) {
  const Value* source = spec.get("source");
  one_source(errors, "spec.source", source, true);
  if (source == nullptr && spec.str_at({"templateName"}).empty()) errors.required("spec.source", "without a source, templateName must name a template of a required gem");
  const bool gems = !spec.str_at({"requiredGem"}).empty() || !list(spec, "requiredGems").empty();
  if (source == nullptr && !gems) errors.required("spec.requiredGem", "without a source, a gem must be named that has the template");
  rules(errors, "spec.policy.rules", spec.at({"policy", "rules"}));
  rules(errors, "spec.policies", spec.get("policies"));
}

void pangea_namespace(FieldErrors& errors, const Value& spec) {
  const Value* backend = spec.get("backend");
  const std::string_view type = backend == nullptr ? "" : backend->str_at({"type"});
  for (const char* part : {"pg", "s3"}) {
    const bool there = member(backend, part) != nullptr;
    if (type == part && !there) errors.required(std::string("spec.backend.") + part, "a backend of this type needs it");
    if (type != part && there) errors.invalid(std::string("spec.backend.") + part, type, "is for backends of type " + std::string(part) + " alone");
  }
  // The states of templates are found by this prefix.
  if (const Value* prefix = spec.at({"backend", "pg", "schemaPrefix"}); prefix != nullptr && prefix->str().empty()) {
    errors.invalid("spec.backend.pg.schemaPrefix", *prefix, "must not be empty");
  }
}

}  // namespace

void pangea(FieldErrors& errors, const ResourceDef& resource, const Value& object) {
  const Value* spec = object.get("spec");
  if (spec == nullptr || !spec->is_object()) return;
  if (resource.kind == "ArchitectureGem" || resource.kind == "WorkspaceCatalog") one_source(errors, "spec.source", spec->get("source"), false);
  if (resource.kind == "InfrastructureTemplate") infrastructure_template(errors, *spec);
  if (resource.kind == "PangeaNamespace") pangea_namespace(errors, *spec);
  if (resource.kind == "OperatorPolicy" && object.str_at({"metadata", "name"}) != "default") {
    errors.invalid("metadata.name", object.str_at({"metadata", "name"}), "there is one OperatorPolicy, and its name is default");
  }
}

}  // namespace engenho::apiserver::validation
