// Bodies of custom resources: no Go type, a schema of their own. Metadata is typed as everywhere; the rest is pruned and defaulted here and
// validated later (validation_custom.cc).
#include "custom_resources.h"
#include "decode_body.h"
#include "engenho/base/bytes.h"
#include "engenho/base/yaml.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/defaults.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr std::string_view kUnknown = "unknown field \"";

// Brings the document into the form that is stored; appends the strict errors.
Status shape(const ResourceDef& resource, Value& document, std::vector<std::string>& strict) {
  const schema::Schema& root = resource.custom->schema->root();
  const schema::Field* metadata = root.field("metadata");
  Value& meta = document["metadata"];
  if (meta.is_null()) meta = json::Object();
  std::vector<std::string> unknown;
  ENGENHO_RETURN_IF_ERROR(schema::decode(*metadata->schema, meta, &unknown));
  // An empty struct's members that Go always writes have no place in an object without Go type.
  if (const Value* created = meta.get("creationTimestamp"); created != nullptr && created->is_null()) meta.as_object().erase("creationTimestamp");
  for (std::string& u : unknown) strict.push_back(std::string(kUnknown) + "metadata." + u.substr(kUnknown.size()));
  schema::drop_forbidden_nulls(root, document);
  schema::prune(root, document, &strict);
  schema::apply_defaults(root, document);
  return {};
}

}  // namespace

Result<DecodedBody> decode_custom(Context& context, const ResourceDef& resource) {
  ENGENHO_ASSIGN(const Media media, content_media(context.request().headers.get("Content-Type")));
  if (media == Media::kProtobuf) {
    return err(Status(415, reason::kUnsupportedMediaType,
                      "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml"));
  }
  ENGENHO_ASSIGN(const FieldValidation mode, field_validation(context));
  const std::string& body = context.request().body;
  const std::string prefix = resource.kind + " in version \"" + resource.version + "\" cannot be handled as a " + resource.kind + ": ";
  const std::string unrecognized = "the object provided is unrecognized (must be of type " + resource.kind + "): ";
  auto parsed = read_document(context, media);
  if (!parsed) return err(bad_request(unrecognized + "couldn't get version/kind; json parse error: " + parsed.error().message() + " (" + quoted_body(body) + ")"));
  Value& document = parsed->value;
  if (document.is_null()) document = json::Object();
  if (!document.is_object()) return err(bad_request(unrecognized + "couldn't get version/kind; json parse error: " + not_an_object(document) + " (" + quoted_body(body) + ")"));
  const std::string_view version = document.str_at({"apiVersion"}), kind = document.str_at({"kind"});
  if (kind.empty()) {
    return err(bad_request(unrecognized + "Object 'Kind' is missing in '" + body + "' (" + quoted_body(body) + ")"));
  }
  if (version != resource.api_version()) {
    return err(bad_request("the API version in the data (" + std::string(version) + ") does not match the expected API version (" + resource.api_version() + ")"));
  }
  DecodedBody out;
  out.reset_managed = is_managed_reset(document);
  std::vector<std::string> strict;
  for (const std::string& path : parsed->duplicate_keys) strict.push_back("duplicate field \"" + path + "\"");
  if (Status s = shape(resource, document, strict); !s.ok()) return err(bad_request(prefix + s.message()));
  ENGENHO_TRY(report_strict(context, mode, prefix, strict));
  out.object = std::move(document);
  return out;
}

Result<DecodedBody> decode_patched_custom(Context& context, const ResourceDef& resource, Value document, std::vector<std::string> strict,
                                          const std::function<std::string()>& shown) {
  ENGENHO_ASSIGN(const FieldValidation mode, field_validation(context));
  const auto refused = [&](std::string why) { return err(refused_patch(shown(), std::move(why))); };
  DecodedBody out;
  out.reset_managed = is_managed_reset(document);
  if (!document.is_object()) return refused(not_an_object(document));
  if (Status s = shape(resource, document, strict); !s.ok()) return refused(s.message());
  if (mode == FieldValidation::kStrict && !strict.empty()) return refused("strict decoding error: " + join(strict, ", "));
  ENGENHO_TRY(report_strict(context, mode, "", strict));
  out.object = std::move(document);
  return out;
}

}  // namespace engenho::apiserver
