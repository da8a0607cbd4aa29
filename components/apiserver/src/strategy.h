// What differs from kind to kind on the write path. Everything else is the same code for all of them.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/names.h"
#include "resource_table.h"

namespace engenho::apiserver {

enum class GenerationRule {
  kNone,          // never set
  kSpec,          // bumped when spec changes
  kSpecOrAnnotations,
  kAllButMeta,    // bumped when anything outside metadata and status changes
  kAllWithStatus, // the same, status too
  kAllAndLabels,  // the same, or labels
  kFixed,         // 1 for ever
};

struct Strategy {
  bool create_on_update = false;
  bool unconditional_update = true;
  bool delete_returns_object = false;
  bool delete_default_orphan = false;   // dependents are orphaned unless the client says otherwise
  bool warn_default_orphan = false;
  bool keeps_status = false;            // a create may bring it
  bool any_finalizer = false;           // names without a domain only bring a warning
  GenerationRule generation = GenerationRule::kNone;
  schema::Messages (*name_rule)(std::string_view) = nullptr;

  // Brings a new object into the form in which it is stored: status reset, server-set fields. `object` is in storage version.
  void (*prepare_create)(json::Value& object, WallTime now) = nullptr;
  void (*prepare_update)(json::Value& object, const json::Value& old, std::string_view subresource, WallTime now) = nullptr;
  // A deletion that is only announced: marks the object and returns true; somebody else takes it away when all is done.
  bool (*begin_delete)(json::Value& object, WallTime now) = nullptr;
  // Before ownership is recorded: what upstream's conversion adds, so that the client owns it. `old` is null for a create.
  void (*complete)(json::Value& object, const json::Value* old) = nullptr;
};

const Strategy& strategy_of(const ResourceDef& resource);

// Whether a create clears status, and an update keeps the old one: kinds with a status subresource.
bool has_status(const ResourceDef& resource);

// What a write through a subresource may change: `object` as sent, the rest of `old` kept. "status" takes the status,
// "finalize" the finalizers, "approval" the conditions, "ephemeralcontainers" and "resize" their part of the pod's spec,
// "binding" and "scale" come from the server itself and pass as they are.
json::Value restrict_to_subresource(const ResourceDef& resource, std::string_view subresource, const json::Value& object,
                                    const json::Value& old);

// The rules that schemas cannot say. Paths as upstream's errors have them. Both get objects in storage version after
// defaulting and preparation.
void validate_create(const ResourceDef& resource, const json::Value& object, schema::FieldErrors& errors);
void validate_update(const ResourceDef& resource, std::string_view subresource, const json::Value& object, const json::Value& old,
                     schema::FieldErrors& errors);

// metadata's own rules.
void validate_object_meta(const json::Value& object, bool namespaced, const Strategy& strategy, schema::FieldErrors& errors);
void validate_object_meta_update(const json::Value& object, const json::Value& old, schema::FieldErrors& errors);

}  // namespace engenho::apiserver
