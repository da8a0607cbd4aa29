// Request bodies and options: from bytes to a decoded, defaulted document, with the errors clients know.
#pragma once

#include <functional>
#include <string>

#include "context.h"
#include "engenho/base/json.h"
#include "rest.h"

namespace engenho::apiserver {

enum class FieldValidation { kIgnore, kWarn, kStrict };

struct DecodedBody {
  json::Value object;           // normal form, defaulted
  bool reset_managed = false;   // managedFields: [] or [{}] was sent
};

// The body of a POST or PUT as the given kind. Unknown and duplicate fields become an error or warnings as fieldValidation says.
// `api_version`, `kind`, `schema`: what is expected (the resource's own, or a subresource's body).
Result<DecodedBody> decode_body(Context& context, std::string_view group, std::string_view version, std::string_view kind,
                                const schema::Schema& schema);
// A document that a patch has produced, likewise. `shown`: how a refusal quotes it.
Result<DecodedBody> decode_patched(Context& context, const ResourceDef& resource, json::Value document,
                                   std::vector<std::string> strict_errors, const std::function<std::string()>& shown);

// The same for custom resources.
Result<DecodedBody> decode_custom(Context& context, const ResourceDef& resource);
Result<DecodedBody> decode_patched_custom(Context& context, const ResourceDef& resource, json::Value document, std::vector<std::string> strict_errors,
                                          const std::function<std::string()>& shown);
// Parts of their errors: the body as errors quote it, and what Go says of a body that is no object.
std::string quoted_body(std::string_view body);
std::string not_an_object(const json::Value& document);
Status refused_patch(const std::string& shown, std::string why);

Result<FieldValidation> field_validation(const Context& context);
Status report_strict(Context& context, FieldValidation mode, std::string_view prefix, const std::vector<std::string>& errors);

// dryRun, fieldManager (or what stands for it).
Result<WriteOptions> write_options(const Context& context, std::string_view options_kind);
std::string manager_name(const Context& context);
Result<DeleteOptions> delete_options(Context& context);

// Reads the whole body as JSON in any accepted media type, without schema.
Result<json::Parsed> read_document(Context& context, Media media);
bool is_managed_reset(const json::Value& document);

}  // namespace engenho::apiserver
