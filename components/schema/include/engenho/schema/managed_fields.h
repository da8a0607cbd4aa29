// Who owns which field: metadata.managedFields, kept on every write, and server-side apply. Specified by
// https://kubernetes.io/docs/reference/using-api/server-side-apply/ and sigs.k8s.io/structured-merge-diff.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/field_set.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

struct ManagerContext {
  const Schema* schema = nullptr;      // of the version in which the request speaks
  std::string api_version;
  std::string subresource;             // "" or "status", ...
  std::string manager;                 // fieldManager, or what stands for it
  WallTime now;
  // The request's managedFields were [] or [{}]: ownership is forgotten.
  bool reset = false;
  // Fields that this request cannot write (status through the object, everything else through status); may be null.
  const FieldSet* ignore = nullptr;
};

// After a create (live is null), an update or a patch: sets updated.metadata.managedFields. Never fails: what cannot be read is
// left out.
void track_update(const ManagerContext& context, const json::Value* live, json::Value& updated);

// Server-side apply of `applied` onto `live` (null: the object does not exist). Returns the merged object with its
// managedFields. Errors: Conflict with a cause per field, or upstream's 500 for documents that the schema cannot type.
Result<json::Value> apply(const ManagerContext& context, const json::Value* live, const json::Value& applied, bool force);

}  // namespace engenho::schema
