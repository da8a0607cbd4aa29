// create, update, patch, delete and deletecollection, for objects and for the subresources that are views of them.
#include <algorithm>
#include <iterator>
#include <map>

#include "custom_resources.h"
#include "decode_body.h"
#include "encode.h"
#include "engenho/base/bytes.h"
#include "engenho/base/yaml.h"
#include "engenho/catalog/convert.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/go_values.h"
#include "engenho/schema/managed_fields.h"
#include "engenho/schema/patch.h"
#include "field_selectors.h"
#include "handlers.h"
#include "warnings.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr size_t kMaxRequest = 3u << 20;

bool body_fits(Context& context) {
  if (!context.request().body_too_large && context.request().body.size() <= kMaxRequest) return true;
  send_status(context, Status(413, reason::kRequestEntityTooLarge,
                              "Request entity too large: limit is " + std::to_string(kMaxRequest)));
  return false;
}

// What a write through this subresource ("": the object itself) cannot change, so nobody comes to own it by trying.
const schema::FieldSet* unwritable_fields(const ResourceDef& resource, std::string_view subresource) {
  static const schema::FieldSet status = [] {
    schema::FieldSet s;
    s.insert({"f:status"});
    return s;
  }();
  static const schema::FieldSet spec = [] {
    schema::FieldSet s;
    s.insert({"f:spec"});
    return s;
  }();
  static const schema::FieldSet all_but_status = [] {
    schema::FieldSet s;
    s.insert({"f:spec"});
    for (const char* member : {"f:labels", "f:annotations", "f:finalizers", "f:ownerReferences"}) s.insert({"f:metadata", member});
    return s;
  }();
  static const schema::FieldSet spec_and_labels = [] {
    schema::FieldSet s;
    s.insert({"f:spec"});
    s.insert({"f:metadata", "f:labels"});
    return s;
  }();
  if (subresource.empty()) return has_status(resource) ? &status : nullptr;
  if (subresource != "status") return nullptr;
  if (resource.custom != nullptr) return &all_but_status;
  return resource.group == "apps" && resource.plural == "deployments" ? &spec_and_labels : &spec;
}

schema::ManagerContext manager_context(const Context& context, Rest& rest, const WriteOptions& options, bool reset) {
  schema::ManagerContext out;
  out.schema = context.resource->schema;
  out.api_version = context.resource->api_version();
  out.subresource = context.info.subresource;
  out.manager = options.field_manager;
  out.now = rest.clock().wall();
  out.reset = reset;
  out.ignore = unwritable_fields(*context.resource, context.info.subresource);
  return out;
}

// The result of a write is in storage version.
void send_written(Context& context, int code, Value object) {
  if (!context.resource->stored_as_served()) {
    if (Status s = context.resource->to_served(object); !s.ok()) return send_status(context, s);
  }
  send_value(context, code, object);
}

Status check_name_and_namespace(const Context& context, Value& object, bool update) {
  json::Object& metadata = object["metadata"].make_object();
  const std::string_view ns = object.str_at({"metadata", "namespace"});
  if (context.resource->namespaced) {
    if (!ns.empty() && ns != context.info.namespace_) {
      return bad_request("the namespace of the provided object does not match the namespace sent on the request");
    }
    if (ns.empty()) metadata.set("namespace", context.info.namespace_);
  } else {
    metadata.erase("namespace");
  }
  if (update) {
    const std::string name(object.str_at({"metadata", "name"}));
    if (name.empty()) {
      return bad_request("the name of the object (" + context.info.name + " based on URL) was undeterminable: name must be provided");
    }
    if (name != context.info.name) {
      return bad_request("the name of the object (" + name + ") does not match the name on the URL (" + context.info.name + ")");
    }
  }
  return {};
}

// What the converter of applied configurations says where the JSON decoder names the field.
std::string unstructured_text(const std::string& message) {
  constexpr std::string_view kNumber = "json: cannot unmarshal number ", kField = " into Go struct field ";
  const size_t field = message.find(kField);
  if (!message.starts_with(kNumber) || field == std::string::npos) return message;
  const size_t type = message.rfind(' ');
  const std::string number = message.substr(kNumber.size(), field - kNumber.size());
  const std::string_view path = std::string_view(message).substr(field);
  // IntOrString decodes itself.
  if (path.find("maxSurge") != std::string_view::npos || path.find("maxUnavailable") != std::string_view::npos || path.find("Port") != std::string_view::npos) {
    return std::string(kNumber) + number + " into Go value of type" + message.substr(type);
  }
  if (number.find('.') != std::string::npos) return "cannot convert float64 to" + message.substr(type);
  return message;
}

// Where a patch has been: what its library has taken apart it writes with sorted names, the rest as it was.
struct Touched {
  std::map<std::string, Touched, std::less<>> members;
};
void touch(const Value& merge, Touched& at) {
  for (const auto& [name, v] : merge.members()) {
    if (v.is_object()) touch(v, at.members[name]);
  }
}
void touch_pointer(std::string_view pointer, Touched& root) {
  Touched* at = &root;
  const auto parts = split(pointer, '/');
  for (size_t i = 1; i + 1 < parts.size(); ++i) at = &at->members[std::string(parts[i])];
}
void write_patched(const schema::Schema* schema, const Value& v, const Touched& at, std::string& out) {
  out += v.is_array() ? '[' : '{';
  bool first = true;
  auto item = [&](const std::string* name, std::string_view step, const Value& inner, const schema::Schema* type) {
    if (!first) out += ',';
    first = false;
    if (name != nullptr) {
      json::dump_string_to(*name, out);
      out += ':';
    }
    auto below = at.members.find(step);
    if (below != at.members.end() && (inner.is_object() || inner.is_array())) write_patched(type, inner, below->second, out);
    else out += type == nullptr ? json::dump(inner) : schema::go_json(*type, inner);
  };
  for (const auto& [name, inner] : v.members()) {
    const schema::Field* field = schema != nullptr && schema->kind == schema::Kind::kObject ? schema->field(name) : nullptr;
    item(&name, name, inner, field != nullptr ? field->schema : schema != nullptr ? schema->element : nullptr);
  }
  for (size_t i = 0; i < v.items().size(); ++i) item(nullptr, std::to_string(i), v.items()[i], schema != nullptr ? schema->element : nullptr);
  out += v.is_array() ? ']' : '}';
}
std::string patched_text(const schema::Schema& schema, const Value& document, const Value& patch) {
  if (!document.is_object()) return json::dump(document);
  Touched root;
  touch(patch, root);
  for (const Value& operation : patch.items()) {
    touch_pointer(operation.str_at({"path"}), root);
    if (operation.get("from") != nullptr) touch_pointer(operation.str_at({"from"}), root);
  }
  std::string out;
  write_patched(&schema, document, root, out);
  return out;
}

// Patches in the form of their media type.
enum class PatchKind { kJson, kMerge, kStrategic, kApply };

Result<PatchKind> patch_kind(const Context& context) {
  const std::string type = to_lower(trim(context.request().headers.get("Content-Type").substr(
      0, context.request().headers.get("Content-Type").find(';'))));
  if (type == "application/json-patch+json") return PatchKind::kJson;
  if (type == "application/merge-patch+json") return PatchKind::kMerge;
  if (type == "application/strategic-merge-patch+json" && context.resource->custom == nullptr) return PatchKind::kStrategic;
  if (type == "application/apply-patch+yaml") return PatchKind::kApply;
  if (context.resource->custom != nullptr) {
    return err(Status(415, reason::kUnsupportedMediaType,
                      "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
                      "application/merge-patch+json, application/apply-patch+yaml"));
  }
  StatusDetails details;
  details.causes.emplace_back();
  return err(Status(415, reason::kUnsupportedMediaType, "415: Unsupported Media Type", std::move(details)));
}

}  // namespace

void handle_create(const std::shared_ptr<Context>& context, Services& services) {
  if (!body_fits(*context)) return;
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto options = write_options(*context, "CreateOptions");
  if (!options) return fail(options.error());
  auto body = resource.custom != nullptr ? decode_custom(*context, resource)
                                         : decode_body(*context, resource.group, resource.version, resource.kind, *resource.schema);
  if (!body) return fail(body.error());
  if (Status s = check_name_and_namespace(*context, body->object, false); !s.ok()) return fail(s);
  // Said only of what is stored.
  std::vector<std::string> said = warnings_of(resource, context->info.subresource, body->object, true);
  if (auto complete = strategy_of(resource).complete) complete(body->object, nullptr);
  schema::track_update(manager_context(*context, services.rest, *options, body->reset_managed), nullptr, body->object);
  auto created = services.rest.create(*context, resource, std::move(body->object), *options);
  if (!created) return fail(created.error());
  std::move(said.begin(), said.end(), std::back_inserter(context->warnings));
  send_written(*context, 201, std::move(*created));
}

void handle_update(const std::shared_ptr<Context>& context, Services& services) {
  if (!body_fits(*context)) return;
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto options = write_options(*context, "UpdateOptions");
  if (!options) return fail(options.error());
  auto body = resource.custom != nullptr ? decode_custom(*context, resource)
                                         : decode_body(*context, resource.group, resource.version, resource.kind, *resource.schema);
  if (!body) return fail(body.error());
  if (Status s = check_name_and_namespace(*context, body->object, true); !s.ok()) return fail(s);
  const Strategy& strategy = strategy_of(resource);
  const bool may_create = strategy.create_on_update && context->info.subresource.empty();
  auto updated = services.rest.update(
      *context, resource, context->info.name, context->info.subresource,
      [&](const Value* current) -> Result<Value> {
        Value object = body->object;
        if (current != nullptr) {
          const std::string_view uid = object.str_at({"metadata", "uid"});
          const std::string_view have = current->str_at({"metadata", "uid"});
          if (!uid.empty() && uid != have) {
            return err(schema::conflict({resource.group, resource.plural}, context->info.name,
                                        "StorageError: invalid object, Code: 4, Key: " +
                                            resource.store_key(context->info.namespace_, context->info.name) +
                                            ", ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: " +
                                            std::string(uid) + ", UID in object meta: " + std::string(have)));
          }
        }
        if (strategy.complete != nullptr && context->info.subresource.empty()) strategy.complete(object, current);
        schema::track_update(manager_context(*context, services.rest, *options, body->reset_managed), current, object);
        return object;
      },
      *options, may_create);
  if (!updated) return fail(updated.error());
  std::vector<std::string> said = warnings_of(resource, context->info.subresource, updated->object, updated->created);
  std::move(said.begin(), said.end(), std::back_inserter(context->warnings));
  send_written(*context, updated->created ? 201 : 200, std::move(updated->object));
}

void handle_patch(const std::shared_ptr<Context>& context, Services& services) {
  if (!body_fits(*context)) return;
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto kind = patch_kind(*context);
  if (!kind) return fail(kind.error());
  auto options = write_options(*context, "PatchOptions");
  if (!options) return fail(options.error());
  const bool apply = *kind == PatchKind::kApply;
  const bool force = context->query.flag("force");
  schema::FieldErrors option_errors;
  if (apply) {
    if (context->query.get("fieldManager").empty()) option_errors.required("fieldManager", "is required for apply patch");
  } else if (context->query.contains("force")) {
    option_errors.forbidden("force", "may not be specified for non-apply patch");
  }
  if (Status s = option_errors.to_status("meta.k8s.io", "PatchOptions", ""); !s.ok()) return fail(s);
  auto mode = field_validation(*context);
  if (!mode) return fail(mode.error());

  std::vector<std::string> strict;
  Value patch;
  if (apply) {
    auto parsed = yaml::parse(context->request().body);
    if (!parsed) return fail(bad_request("error decoding YAML: error converting YAML to JSON: " + parsed.error().message()));
    patch = std::move(parsed->value);
    if (!patch.is_object() && !patch.is_null()) {
      const std::string what = patch.is_number() ? "number" : std::string(json::type_name(patch.type()));
      return fail(bad_request("error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal " + what +
                              " into Go value of type map[string]interface {}"));
    }
    for (const std::string& path : parsed->duplicate_keys) {
      const std::string key = path.substr(path.rfind('.') + 1);
      if (*mode == FieldValidation::kStrict) {
        return fail(bad_request("error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \"" +
                                key + "\" already set in map"));
      }
      strict.push_back("line 1: key \"" + key + "\" already set in map");
    }
    const std::string version(patch.str_at({"apiVersion"})), k(patch.str_at({"kind"}));
    if (version != resource.api_version() || k != resource.kind) {
      const std::string gv = version.find('/') == std::string::npos ? "/" + version : version;
      return fail(bad_request("invalid object type: " + (version.empty() && k.empty() ? std::string("/") : gv) + ", Kind=" + k));
    }
    // The configuration keeps its own words: an absent namespace stays absent in what is owned and in errors.
    Value checked = patch;
    if (Status s = check_name_and_namespace(*context, checked, true); !s.ok()) return fail(s);
  }
  auto parse_patch = [&]() -> Status {
    if (apply) return {};
    auto parsed = json::parse_with_duplicates(context->request().body);
    if (!parsed) return bad_request("error decoding patch: " + parsed.error().message());
    patch = std::move(parsed->value);
    for (const std::string& path : parsed->duplicate_keys) strict.push_back("duplicate field \"" + path + "\"");
    if (*kind == PatchKind::kMerge && patch.is_null()) return bad_request("Invalid JSON Patch");
    if (*kind != PatchKind::kJson && !patch.is_object() && !patch.is_null()) {
      return bad_request("error decoding patch: json: cannot unmarshal " + std::string(patch.is_number() ? "number" : json::type_name(patch.type())) +
                         " into Go value of type map[string]interface {}");
    }
    return {};
  };

  if (!apply) {
    // Whether there is anything to patch is asked before what the patch says.
    auto present = services.rest.read(resource, context->info.namespace_, context->info.name);
    if (!present) return fail(present.error());
  }
  if (Status s = parse_patch(); !s.ok()) return fail(s);
  const size_t own_warnings = context->warnings.size();
  auto updated = services.rest.update(
      *context, resource, context->info.name, context->info.subresource,
      [&](const Value* current) -> Result<Value> {
        context->warnings.resize(own_warnings);  // an earlier try's are said again
        if (apply) {
          auto manager = manager_context(*context, services.rest, *options, false);
          auto merged = schema::apply(manager, current, patch, force);
          if (!merged) return err(merged.error());
          Value document = std::move(*merged);
          const Value managed = document.at({"metadata", "managedFields"}) ? *document.at({"metadata", "managedFields"}) : Value();
          if (const std::string_view rv = patch.str_at({"metadata", "resourceVersion"}); !rv.empty()) {
            document["metadata"]["resourceVersion"] = rv;
          }
          if (resource.namespaced) document["metadata"]["namespace"] = context->info.namespace_;
          if (resource.custom == nullptr) {
            Value typed = document;
            if (Status s = schema::decode(*resource.schema, typed); !s.ok()) {
              return err(Status(500, "",
                                "failed to convert new object (" + std::string(patch.str_at({"metadata", "namespace"})) + "/" + context->info.name + "; " +
                                    (resource.group.empty() ? "/" : resource.group + "/") + resource.version + ", Kind=" + resource.kind +
                                    ") to proper version: unable to convert unstructured object to " +
                                    (resource.group.empty() ? "/" : resource.group + "/") + resource.version + ", Kind=" + resource.kind +
                                    ": " + unstructured_text(s.message())));
            }
          }
          auto decode = resource.custom != nullptr ? decode_patched_custom : decode_patched;
          auto decoded = decode(*context, resource, std::move(document), strict, [] { return std::string(); });
          if (!decoded) return err(decoded.error());
          if (!managed.is_null()) decoded->object["metadata"]["managedFields"] = managed;
          return std::move(decoded->object);
        }
        if (current == nullptr) return err(schema::not_found({resource.group, resource.plural}, context->info.name));
        Value document = *current;
        Status patched;
        switch (*kind) {
          case PatchKind::kJson: patched = schema::apply_json_patch(document, patch); break;
          case PatchKind::kMerge: schema::apply_merge_patch(document, patch); break;
          default: patched = schema::apply_strategic_merge_patch(*resource.schema, document, patch); break;
        }
        if (!patched.ok()) return err(patched);
        const Value result = document;
        auto decode = resource.custom != nullptr ? decode_patched_custom : decode_patched;
        auto decoded = decode(*context, resource, std::move(document), strict, [&] {
          if (resource.custom != nullptr) return json::dump(result);
          return *kind == PatchKind::kStrategic ? schema::go_map_text(patch) : patched_text(*resource.schema, result, patch);
        });
        if (!decoded) return err(decoded.error());
        if (Status s = check_name_and_namespace(*context, decoded->object, true); !s.ok()) return err(s);
        // A patch that does not speak of the version applies to whatever is there.
        const Value* named = patch.at({"metadata", "resourceVersion"});
        if (named == nullptr && *kind != PatchKind::kJson) decoded->object["metadata"].as_object().erase("resourceVersion");
        if (*kind == PatchKind::kJson && decoded->object.str_at({"metadata", "resourceVersion"}) == current->str_at({"metadata", "resourceVersion"})) {
          decoded->object["metadata"].as_object().erase("resourceVersion");
        }
        if (decoded->object.str_at({"metadata", "resourceVersion"}).empty()) {
          decoded->object["metadata"]["resourceVersion"] = current->str_at({"metadata", "resourceVersion"});
        }
        if (auto complete = strategy_of(resource).complete; complete != nullptr && context->info.subresource.empty()) {
          complete(decoded->object, current);
        }
        schema::track_update(manager_context(*context, services.rest, *options, decoded->reset_managed), current, decoded->object);
        return std::move(decoded->object);
      },
      *options, apply && context->info.subresource.empty());
  if (!updated) return fail(updated.error());
  std::vector<std::string> said = warnings_of(resource, context->info.subresource, updated->object, updated->created);
  std::move(said.begin(), said.end(), std::back_inserter(context->warnings));
  send_written(*context, updated->created ? 201 : 200, std::move(updated->object));
}

namespace {

Value deleted_status(const ResourceDef& resource, const Value& object) {
  Value out = json::Object();
  out["kind"] = "Status";
  out["apiVersion"] = "v1";
  out["metadata"] = json::Object();
  out["status"] = "Success";
  Value& details = out["details"];
  details["name"] = object.str_at({"metadata", "name"});
  if (!resource.group.empty()) details["group"] = resource.group;
  details["kind"] = resource.plural;
  details["uid"] = object.str_at({"metadata", "uid"});
  return out;
}

void warn_orphans(Context& context, const DeleteOptions& options) {
  const Strategy& strategy = strategy_of(*context.resource);
  if (strategy.warn_default_orphan && options.propagation.empty() && !options.orphan_dependents) {
    context.warnings.push_back("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
                               "set propagationPolicy=Orphan to suppress this warning");
  }
}

}  // namespace

void handle_delete(const std::shared_ptr<Context>& context, Services& services) {
  if (!body_fits(*context)) return;
  const ResourceDef& resource = *context->resource;
  auto options = delete_options(*context);
  if (!options) return send_status(*context, options.error());
  warn_orphans(*context, *options);
  auto deleted = services.rest.remove(*context, resource, context->info.namespace_, context->info.name, *options);
  if (!deleted) return send_status(*context, deleted.error());
  const Strategy& strategy = strategy_of(resource);
  if (!deleted->gone || strategy.delete_returns_object) return send_written(*context, 200, std::move(deleted->object));
  context->accepted.transform = Transform::kNone;
  send_document(*context, 200, deleted_status(resource, deleted->object));
}

void handle_delete_collection(const std::shared_ptr<Context>& context, Services& services) {
  if (!body_fits(*context)) return;
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto options = delete_options(*context);
  if (!options) return fail(options.error());
  auto filter = filter_of(resource, context->query.get("labelSelector"), context->query.get("fieldSelector"));
  if (!filter) return fail(filter.error());
  int64_t limit = 0;
  if (const std::string* text = context->query.find("limit"); text != nullptr && !parse_int(*text, limit)) {
    return fail(bad_request("strconv.ParseInt: parsing \"" + *text + "\": invalid syntax"));
  }
  warn_orphans(*context, *options);
  Hub& hub = services.rest.hub();
  if (Status s = hub.wait_for(hub.store().revision(), std::chrono::seconds(3)); !s.ok()) return fail(s);
  std::string prefix = resource.store_prefix;
  if (resource.namespaced && !context->info.namespace_.empty()) prefix += context->info.namespace_ + "/";
  if (Status s = check_list_options(*context); !s.ok()) return fail(s);
  ListMeta meta;
  std::vector<ObjectPtr> chosen;
  int64_t left = 0;
  for (const ObjectPtr& object : resource.cacher->list(prefix, hub.revision_ref(), &meta.revision)) {
    if (!filter->matches(resource, *object)) continue;
    if (limit > 0 && static_cast<int64_t>(chosen.size()) == limit) ++left;
    else chosen.push_back(object);
  }
  if (left > 0) {
    meta.continue_token = continue_after(*context, meta.revision, *chosen.back());
    if (filter->everything()) meta.remaining = left;
  }
  for (const ObjectPtr& object : chosen) {
    auto deleted = services.rest.remove(*context, resource, object->namespace_name(), object->name(), *options);
    if (!deleted && !deleted.error().not_found()) return fail(deleted.error());
  }
  send_list(*context, chosen, meta);
}

}  // namespace engenho::apiserver
