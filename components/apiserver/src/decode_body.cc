#include "decode_body.h"

#include "engenho/base/bytes.h"
#include "engenho/base/yaml.h"
#include "engenho/catalog/defaulting.h"
#include "engenho/catalog/transcode.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/protobuf.h"

namespace engenho::apiserver {

namespace {

using json::Value;

std::string gv_text(std::string_view group, std::string_view version) {
  return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
}

// The Go package of a group's internal types: "authentication" of authentication.k8s.io.
std::string go_package(std::string_view group) { return group.empty() ? "core" : std::string(group.substr(0, group.find('.'))); }

void apply_defaults_of(std::string_view group, std::string_view version, std::string_view kind, Value& object) {
  if (const catalog::Resource* r = catalog::find_kind(group, version, kind)) catalog::apply_all_defaults(*r, object);
}

}  // namespace

std::string quoted_body(std::string_view body) {
  // What does not look like JSON is shown as hexadecimal; long texts are cut.
  constexpr size_t kShown = 30;
  const std::string text = body.starts_with("{") ? std::string(body.substr(0, kShown)) : hex_encode(body.substr(0, kShown));
  return body.size() > kShown ? text + " ..." : text;
}

std::string not_an_object(const Value& document) {
  const std::string what = document.is_number() ? "number" : std::string(json::type_name(document.type()));
  return "json: cannot unmarshal " + what + " into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string "
         "\"json:\\\"kind,omitempty\\\"\" }";
}

Result<json::Parsed> read_document(Context& context, Media media) {
  const std::string& body = context.request().body;
  switch (media) {
    case Media::kJson: return json::parse_with_duplicates(body);
    case Media::kYaml: return yaml::parse(body);
    case Media::kProtobuf: {
      auto value = catalog::decode_protobuf(body);
      if (!value) return err(value.error());
      return json::Parsed{std::move(*value), {}};
    }
  }
  return err(bad_request("unknown media type"));
}

bool is_managed_reset(const Value& document) {
  const Value* managed = document.at({"metadata", "managedFields"});
  if (managed == nullptr || !managed->is_array()) return false;
  if (managed->as_array().empty()) return true;
  return managed->as_array().size() == 1 && managed->as_array()[0].is_object() && managed->as_array()[0].as_object().empty();
}

Result<FieldValidation> field_validation(const Context& context) {
  const std::string_view mode = context.query.get("fieldValidation");
  if (mode.empty() || mode == "Warn") return FieldValidation::kWarn;
  if (mode == "Ignore") return FieldValidation::kIgnore;
  if (mode == "Strict") return FieldValidation::kStrict;
  const std::string_view kind = context.info.verb == "create" ? "CreateOptions" : context.info.verb == "update" ? "UpdateOptions" : "PatchOptions";
  schema::FieldErrors errors;
  errors.not_supported("fieldValidation", mode, {"", "Ignore", "Strict", "Warn"});
  return err(errors.to_status("meta.k8s.io", kind, ""));
}

Status report_strict(Context& context, FieldValidation mode, std::string_view prefix, const std::vector<std::string>& errors) {
  if (errors.empty() || mode == FieldValidation::kIgnore) return {};
  if (mode == FieldValidation::kWarn) {
    for (const std::string& e : errors) context.warnings.push_back(e);
    return {};
  }
  return bad_request(std::string(prefix) + "strict decoding error: " + join(errors, ", "));
}

Result<DecodedBody> decode_body(Context& context, std::string_view group, std::string_view version, std::string_view kind,
                                const schema::Schema& schema) {
  ENGENHO_ASSIGN(const Media media, content_media(context.request().headers.get("Content-Type")));
  ENGENHO_ASSIGN(const FieldValidation mode, field_validation(context));
  const std::string prefix = std::string(kind) + " in version \"" + std::string(version) + "\" cannot be handled as a " + std::string(kind) + ": ";
  auto parsed = read_document(context, media);
  if (!parsed) {
    if (media == Media::kProtobuf) return err(parsed.error());
    std::string message = "the object provided is unrecognized (must be of type " + std::string(kind) +
                          "): couldn't get version/kind; json parse error: " + parsed.error().message();
    if (media == Media::kYaml) message = "error converting YAML to JSON: " + parsed.error().message();
    else message += " (" + quoted_body(context.request().body) + ")";
    return err(bad_request(std::move(message)));
  }
  Value& document = parsed->value;
  if (document.is_null()) document = json::Object();
  if (!document.is_object()) {
    return err(bad_request("the object provided is unrecognized (must be of type " + std::string(kind) + "): couldn't get version/kind; json parse error: " +
                           not_an_object(document) + " (" + quoted_body(context.request().body) + ")"));
  }
  for (const char* member : {"apiVersion", "kind"}) {
    const Value* v = document.get(member);
    if (v == nullptr || v->is_string() || v->is_null() || media == Media::kProtobuf) continue;
    const std::string what = v->is_number() ? "number" : std::string(json::type_name(v->type()));
    return err(bad_request("the object provided is unrecognized (must be of type " + std::string(kind) + "): couldn't get version/kind; json parse error: json: cannot unmarshal " +
                           what + " into Go struct field ." + member + " of type string (" + quoted_body(context.request().body) + ")"));
  }
  const std::string wanted_version = gv_text(group, version);
  const std::string have_version(document.str_at({"apiVersion"}));
  const std::string have_kind(document.str_at({"kind"}));
  if ((!have_version.empty() && have_version != wanted_version) || (!have_kind.empty() && have_kind != kind)) {
    // A kind that nobody knows is told apart from a known one in the wrong place.
    std::string_view g, v;
    catalog::split_api_version(have_version.empty() ? wanted_version : have_version, g, v);
    const std::string_view k = have_kind.empty() ? kind : std::string_view(have_kind);
    if (catalog::find_schema(have_version.empty() ? wanted_version : have_version, k) == nullptr) {
      return err(bad_request(std::string(k) + " in version \"" + std::string(v) + "\" cannot be handled as a " + std::string(kind) +
                             ": no kind \"" + std::string(k) + "\" is registered for version \"" +
                             (have_version.empty() ? wanted_version : have_version) + "\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""));
    }
    if (!have_version.empty() && have_version != wanted_version && (have_kind.empty() || have_kind == kind)) {
      return err(bad_request("the API version in the data (" + have_version + ") does not match the expected API version (" +
                             wanted_version + ")"));
    }
    return err(bad_request(std::string(k) + " in version \"" + std::string(v) + "\" cannot be handled as a " + std::string(kind) +
                           ": converting (" + std::string(v) + "." + std::string(k) + ") to (" + go_package(group) + "." +
                           std::string(kind) + "): unknown conversion"));
  }
  DecodedBody out;
  out.reset_managed = is_managed_reset(document);
  std::vector<std::string> strict, unknown;
  if (Status s = schema::decode(schema, document, &unknown); !s.ok()) return err(bad_request(prefix + s.message()));
  if (media == Media::kJson) {
    strict = schema::strict_errors_in_order(context.request().body, unknown, parsed->duplicate_keys);
  } else {
    for (const std::string& path : parsed->duplicate_keys) strict.push_back("duplicate field \"" + path + "\"");
    for (std::string& u : unknown) strict.push_back(std::move(u));
  }
  ENGENHO_TRY(report_strict(context, mode, prefix, strict));
  document["apiVersion"] = wanted_version;
  document["kind"] = kind;
  apply_defaults_of(group, version, kind, document);
  out.object = std::move(document);
  return out;
}

Status refused_patch(const std::string& shown, std::string why) {
  schema::FieldErrors errors;
  errors.add(schema::FieldErrorType::kInvalid, "patch", shown, std::move(why));
  return errors.to_status("", "", "");
}

Result<DecodedBody> decode_patched(Context& context, const ResourceDef& resource, Value document, std::vector<std::string> strict,
                                   const std::function<std::string()>& shown) {
  ENGENHO_ASSIGN(const FieldValidation mode, field_validation(context));
  const auto refused = [&](std::string why) { return err(refused_patch(shown(), std::move(why))); };
  DecodedBody out;
  out.reset_managed = is_managed_reset(document);
  std::vector<std::string> unknown;
  if (Status s = schema::decode(*resource.schema, document, &unknown); !s.ok()) return refused(s.message());
  for (std::string& u : unknown) strict.push_back(std::move(u));
  if (mode == FieldValidation::kStrict && !strict.empty()) return refused("strict decoding error: " + join(strict, ", "));
  ENGENHO_TRY(report_strict(context, mode, "", strict));
  document["apiVersion"] = resource.api_version();
  document["kind"] = resource.kind;
  apply_defaults_of(resource.group, resource.version, resource.kind, document);
  out.object = std::move(document);
  return out;
}

std::string manager_name(const Context& context) {
  const std::string_view given = context.query.get("fieldManager");
  if (!given.empty()) return std::string(given);
  // The part of the user agent before the first slash, printable characters, at most 128 bytes.
  std::string_view agent = context.request().headers.get("User-Agent");
  agent = agent.substr(0, agent.find('/'));
  std::string out;
  for (char c : agent) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) continue;
    if (out.size() >= 128) break;
    out += c;
  }
  return out;
}

Result<WriteOptions> write_options(const Context& context, std::string_view options_kind) {
  WriteOptions out;
  schema::FieldErrors errors;
  const std::vector<std::string> dry_runs = context.query.all("dryRun");
  json::Array shown;
  bool bad = false;
  for (const std::string& d : dry_runs) {
    shown.push_back(d);
    if (d == "All") out.dry_run = true;
    else bad = true;
  }
  if (bad) errors.not_supported("dryRun", Value(std::move(shown)), {"All"});
  const std::string_view manager = context.query.get("fieldManager");
  if (manager.size() > 128) errors.too_long("fieldManager", 128);
  for (unsigned char c : manager) {
    if (c < 0x20 || c == 0x7F) {
      errors.invalid("fieldManager", manager, "should only contain printable characters");
      break;
    }
  }
  ENGENHO_TRY(errors.to_status("meta.k8s.io", options_kind, ""));
  out.field_manager = manager_name(context);
  return out;
}

Result<DeleteOptions> delete_options(Context& context) {
  DeleteOptions out;
  Value document;
  const std::string& body = context.request().body;
  if (!body.empty()) {
    ENGENHO_ASSIGN(const Media media, content_media(context.request().headers.get("Content-Type")));
    auto parsed = read_document(context, media);
    const std::string unreadable = media == Media::kProtobuf ? "" : "couldn't get version/kind; json parse error: ";
    if (!parsed) return err(bad_request(unreadable + parsed.error().message()));
    document = std::move(parsed->value);
    if (document.is_null()) document = json::Object();
    if (!document.is_object()) return err(bad_request(unreadable + not_an_object(document)));
    const std::string_view kind = document.str_at({"kind"});
    if (!kind.empty() && kind != "DeleteOptions") {
      return err(bad_request("no kind \"" + std::string(kind) + "\" is registered for version \"" + std::string(document.str_at({"apiVersion"}, "v1")) +
                             "\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""));
    }
    const schema::Schema* schema = catalog::find_schema("v1", "DeleteOptions");
    if (schema != nullptr) {
      if (Status s = schema::decode(*schema, document); !s.ok()) {
        return err(bad_request(s.message()));
      }
    }
  } else {
    document = json::Object();
    for (const char* name : {"gracePeriodSeconds", "orphanDependents", "propagationPolicy", "dryRun"}) {
      const std::string* v = context.query.find(name);
      if (v == nullptr) continue;
      if (std::string_view(name) == "gracePeriodSeconds") {
        int64_t seconds;
        if (!parse_int(*v, seconds)) {
          return err(bad_request("strconv.ParseInt: parsing \"" + *v + "\": invalid syntax"));
        }
        document[name] = seconds;
      } else if (std::string_view(name) == "orphanDependents") {
        document[name] = context.query.flag(name);
      } else if (std::string_view(name) == "dryRun") {
        json::Array items;
        for (const std::string& d : context.query.all(name)) items.push_back(d);
        document[name] = std::move(items);
      } else {
        document[name] = *v;
      }
    }
  }
  schema::FieldErrors errors;
  if (const Value* grace = document.get("gracePeriodSeconds"); grace != nullptr && grace->is_int()) out.grace_period_seconds = grace->as_int();
  if (const Value* orphan = document.get("orphanDependents"); orphan != nullptr && orphan->is_bool()) out.orphan_dependents = orphan->as_bool();
  out.propagation = document.str_at({"propagationPolicy"});
  const bool has_policy = document.get("propagationPolicy") != nullptr;
  if (has_policy && out.orphan_dependents) {
    errors.invalid("propagationPolicy", out.propagation, "orphanDependents and deletionPropagation cannot be both set");
  }
  if (has_policy && out.propagation != "Orphan" && out.propagation != "Background" && out.propagation != "Foreground") {
    errors.add(schema::FieldErrorType::kNotSupported, "propagationPolicy", out.propagation,
               "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"");
  }
  if (const Value* dry = document.get("dryRun")) {
    for (const Value& d : dry->items()) {
      if (d.str() == "All") out.dry_run = true;
      else {
        errors.not_supported("dryRun", *dry, {"All"});
        break;
      }
    }
  }
  ENGENHO_TRY(errors.to_status("meta.k8s.io", "DeleteOptions", ""));
  out.precondition_uid = document.str_at({"preconditions", "uid"});
  out.precondition_revision = document.str_at({"preconditions", "resourceVersion"});
  return out;
}

}  // namespace engenho::apiserver
