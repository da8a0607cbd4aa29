// The patch formats of the API: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386) and Kubernetes' strategic merge patch.
// All work in place on a document; a failed patch leaves it unspecified.
#pragma once

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

// Errors: BadRequest (400) for a patch that is not a list of operations, Invalid (422, with the API server's fixed text) for an
// operation that fails, RequestEntityTooLarge (413) for more than 10,000 operations.
Status apply_json_patch(json::Value& document, const json::Value& patch);

// null deletes a member; anything but an object replaces the whole.
void apply_merge_patch(json::Value& document, const json::Value& patch);

// Lists with patch strategy "merge" merge by their key, "$patch", "$retainKeys", "$deleteFromPrimitiveList/…" and
// "$setElementOrder/…" are obeyed. `schema` is the document's. Errors are upstream's, mostly InternalError (500).
Status apply_strategic_merge_patch(const Schema& schema, json::Value& document, const json::Value& patch);

}  // namespace engenho::schema
