#include "rest.h"

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/decode.h"
#include "custom_resources.h"
#include "object.h"
#include "refusal.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using schema::GroupResource;

constexpr std::string_view kModified = "the object has been modified; please apply your changes to the latest version and try again";
constexpr int kMaxAttempts = 100;

GroupResource group_resource(const ResourceDef& r) { return {r.group, r.plural}; }

json::Object& metadata_of(Value& object) {
  Value& metadata = object["metadata"];
  return metadata.make_object();
}

std::string name_of(const Value& object) { return std::string(object.str_at({"metadata", "name"})); }

void set_revision(Value& object, Revision revision) { metadata_of(object).set("resourceVersion", std::to_string(revision)); }

bool same_spec(const Value& a, const Value& b, GenerationRule rule) {
  auto equal = [&](std::string_view member) {
    const Value* x = a.get(member);
    const Value* y = b.get(member);
    return (x == nullptr) == (y == nullptr) && (x == nullptr || *x == *y);
  };
  auto meta_equal = [&](std::string_view member) {
    const Value* x = a.at({"metadata", member});
    const Value* y = b.at({"metadata", member});
    return (x == nullptr) == (y == nullptr) && (x == nullptr || *x == *y);
  };
  switch (rule) {
    case GenerationRule::kSpec: return equal("spec");
    case GenerationRule::kSpecOrAnnotations: return equal("spec") && meta_equal("annotations");
    case GenerationRule::kAllButMeta:
    case GenerationRule::kAllWithStatus:
    case GenerationRule::kAllAndLabels: {
      if (rule == GenerationRule::kAllAndLabels && !meta_equal("labels")) return false;
      for (const auto& [name, v] : a.members()) {
        if (name != "metadata" && (rule == GenerationRule::kAllWithStatus || name != "status") && !equal(name)) return false;
      }
      for (const auto& [name, v] : b.members()) {
        if (name != "metadata" && (rule == GenerationRule::kAllWithStatus || name != "status") && !equal(name)) return false;
      }
      return true;
    }
    default: return true;
  }
}

// Equal but for the times of managedFields entries: then nothing has changed and nothing is written.
bool same_but_times(const Value& a, const Value& b) {
  auto strip = [](const Value& v) {
    Value out = v;
    if (Value* metadata = out.get("metadata"); metadata != nullptr && metadata->is_object()) {
      metadata->as_object().erase("resourceVersion");
      if (Value* managed = metadata->get("managedFields"); managed != nullptr && managed->is_array()) {
        for (Value& entry : managed->as_array()) {
          if (entry.is_object()) entry.as_object().erase("time");
        }
      }
    }
    return out;
  };
  return strip(a) == strip(b);
}

// An object that waits for its end still has the name.
Status exists_already(const ResourceDef& resource, const std::string& name, std::string_view stored) {
  Status status = schema::already_exists(group_resource(resource), name);
  auto present = json::parse(stored);
  if (!present || present->at({"metadata", "deletionTimestamp"}) == nullptr) return status;
  return Status(status.code(), status.reason(), "object is being deleted: " + status.message(), status.details());
}

Status store_error(const Status& status, const ResourceDef& resource) {
  if (status.is(reason::kTimeout)) return schema::server_timeout(group_resource(resource), "update", 1);
  return status;
}

}  // namespace

AdmissionRequest Rest::admission_request(Context& context, const ResourceDef& resource, Operation operation,
                                         std::string_view subresource, std::string_view ns, std::string_view name, bool dry_run) {
  AdmissionRequest request;
  request.operation = operation;
  request.group = resource.group;
  request.version = resource.version;
  request.resource = resource.plural;
  request.kind = resource.kind;
  request.subresource = subresource;
  request.namespace_name = ns;
  request.name = name;
  request.user = &context.user;
  request.dry_run = dry_run;
  request.warnings = &context.warnings;
  return request;
}

Status Rest::run_admission(AdmissionRequest& request, bool mutate) {
  for (const auto& plugin : plugins_) {
    ENGENHO_RETURN_IF_ERROR(mutate ? plugin->mutate(request) : plugin->validate(request));
  }
  return {};
}

Status Rest::admit_connect(Context& context, const ResourceDef& resource, const Value* options) {
  (void)options;
  AdmissionRequest request = admission_request(context, resource, Operation::kConnect, context.info.subresource,
                                               context.info.namespace_, context.info.name, false);
  ENGENHO_RETURN_IF_ERROR(run_admission(request, true));
  return run_admission(request, false);
}

Result<Value> Rest::read(const ResourceDef& resource, std::string_view ns, std::string_view name) {
  auto found = hub_.store().get(resource.store_key(ns, name));
  if (!found) return err(store_error(found.error(), resource));
  if (!found->kv) return err(schema::not_found(group_resource(resource), name));
  ENGENHO_ASSIGN(Value value, json::parse(*found->kv->value));
  set_revision(value, found->kv->mod_revision);
  return value;
}

Result<datastore::LeaseId> Rest::lease_for(const ResourceDef& resource) {
  if (resource.plural != "events") return 0;
  // One lease for a tenth of the time to live: an event lives between one and 1.1 times as long.
  std::lock_guard lock(lease_mutex_);
  const WallTime now = clock_.wall();
  if (event_lease_ == 0 || now - event_lease_made_ > std::chrono::seconds(event_ttl_seconds_ / 10)) {
    auto lease = hub_.store().lease_grant(event_ttl_seconds_ + event_ttl_seconds_ / 10);
    if (!lease) return err(lease.error());
    event_lease_ = lease->id;
    event_lease_made_ = now;
  }
  return event_lease_;
}

Result<Value> Rest::create(Context& context, const ResourceDef& resource, Value object, const WriteOptions& options) {
  const Strategy& strategy = strategy_of(resource);
  const std::string ns = context.info.namespace_;
  const bool dry_run = options.dry_run;
  if (resource.custom != nullptr && resource.custom->terminating) {
    return err(schema::forbidden(group_resource(resource), name_of(object), "create not allowed while custom resource definition is terminating"));
  }

  AdmissionRequest request =
      admission_request(context, resource, Operation::kCreate, context.info.subresource, ns, object.str_at({"metadata", "name"}), dry_run);
  request.object = &object;
  ENGENHO_TRY(run_admission(request, true));

  ENGENHO_TRY(resource.to_storage(object));
  json::Object& metadata = metadata_of(object);
  for (const char* name : {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"}) metadata.erase(name);
  if (resource.namespaced) metadata.set("namespace", ns);
  else metadata.erase("namespace");
  if (const Value* rv = metadata.find("resourceVersion"); rv != nullptr && !rv->str().empty() && rv->str() != "0") {
    return err(Status(500, "", "resourceVersion should not be set on objects to be created"));
  }
  metadata.erase("resourceVersion");
  if (has_status(resource) && !strategy.keeps_status) {
    if (resource.custom != nullptr) {
      object.as_object().erase("status");
    } else if (const schema::Field* status = resource.storage->schema->field("status"); status != nullptr) {
      if (status->omit_zero || status->pointer) object.as_object().erase("status");
      else object["status"] = json::Object();
      schema::normalize(*resource.storage->schema, object);
    }
  }
  switch (strategy.generation) {
    case GenerationRule::kNone: break;
    default: metadata.set("generation", int64_t{1});
  }
  metadata.set("creationTimestamp", format_rfc3339(clock_.wall()));
  metadata.set("uid", random_uuid());
  if (strategy.prepare_create != nullptr) {
    strategy.prepare_create(object, clock_.wall());
    schema::normalize(*resource.storage->schema, object);
  }
  const std::string generate = std::string(object.str_at({"metadata", "generateName"}));
  const bool generated = name_of(object).empty() && !generate.empty();

  for (int attempt = 0;; ++attempt) {
    if (generated) metadata_of(object).set("name", generate.substr(0, 63 - 5) + random_name_suffix(5));
    std::vector<WriteHook*> done;
    auto undo = [&] {
      for (WriteHook* hook : done) hook->undo(resource, object, nullptr);
    };
    for (const auto& hook : hooks_) {
      if (Status s = hook->before(resource, object, nullptr, dry_run); !s.ok()) {
        undo();
        return err(s);
      }
      done.push_back(hook.get());
    }
    schema::FieldErrors errors;
    validate_object_meta(object, resource.namespaced, strategy, errors);
    validate_create(resource, object, errors);
    const std::string name = name_of(object);
    if (Status s = refusal(resource, errors, object, name); !s.ok()) {
      undo();
      return err(s);
    }
    request.name = name;
    if (Status s = run_admission(request, false); !s.ok()) {
      undo();
      return err(s);
    }
    const std::string key = resource.store_key(ns, name);
    if (dry_run) {
      undo();
      auto existing = hub_.store().get(key);
      if (!existing) return err(existing.error());
      if (existing->kv) return err(exists_already(resource, name, *existing->kv->value));
      return object;
    }
    auto lease = lease_for(resource);
    if (!lease) {
      undo();
      return err(lease.error());
    }
    auto written = hub_.store().create(key, datastore::make_bytes(encode_for_store(object)), *lease);
    if (!written) {
      undo();
      return err(store_error(written.error(), resource));
    }
    if (written->succeeded) {
      set_revision(object, written->revision);
      return object;
    }
    undo();
    if (generated && attempt < 7) continue;
    if (generated) return err(schema::server_timeout(group_resource(resource), "POST", 1));
    auto existing = hub_.store().get(key);
    return err(exists_already(resource, name, existing && existing->kv ? std::string_view(*existing->kv->value) : std::string_view()));
  }
}

bool Rest::ready_to_go(const ResourceDef& resource, const Value& object) const {
  // The last finalizer of an object that is being deleted is gone, and no grace period runs.
  if (object.at({"metadata", "deletionTimestamp"}) == nullptr) return false;
  if (const Value* finalizers = object.at({"metadata", "finalizers"}); finalizers != nullptr && !finalizers->items().empty()) return false;
  const Value* grace = object.at({"metadata", "deletionGracePeriodSeconds"});
  if (grace != nullptr && grace->int_or(0) > 0) return false;
  if (resource.group.empty() && resource.plural == "namespaces") {
    const Value* spec = object.at({"spec", "finalizers"});
    if (spec != nullptr && !spec->items().empty()) return false;
  }
  return true;
}

Result<Rest::Updated> Rest::update(Context& context, const ResourceDef& resource, const std::string& name,
                                   std::string_view subresource, const Change& change, const WriteOptions& options,
                                   bool create_when_absent) {
  const Strategy& strategy = strategy_of(resource);
  const std::string ns = context.info.namespace_;
  const std::string key = resource.store_key(ns, name);
  auto found = hub_.store().get(key);
  if (!found) return err(store_error(found.error(), resource));
  std::optional<datastore::KeyValue> current = std::move(found->kv);

  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (!current) {
      if (!create_when_absent) return err(schema::not_found(group_resource(resource), name));
      ENGENHO_ASSIGN(Value wanted, change(nullptr));
      // An update that names a version or a uid means an object that is not there.
      if (std::string_view uid = wanted.str_at({"metadata", "uid"}); !uid.empty()) {
        return err(schema::conflict(group_resource(resource), name,
                                    "uid mismatch: the provided object specified uid " + std::string(uid) +
                                        ", and no existing object was found"));
      }
      metadata_of(wanted).erase("resourceVersion");
      auto created = create(context, resource, std::move(wanted), options);
      if (!created && created.error().already_exists() && attempt + 1 < kMaxAttempts) {
        auto again = hub_.store().get(key);
        if (!again) return err(again.error());
        current = std::move(again->kv);
        continue;
      }
      if (!created) return err(created.error());
      return Updated{std::move(*created), true};
    }

    ENGENHO_ASSIGN(Value old, json::parse(*current->value));
    set_revision(old, current->mod_revision);
    Value old_served = old;
    ENGENHO_TRY(resource.to_served(old_served));
    ENGENHO_ASSIGN(Value object, change(&old_served));

    AdmissionRequest request =
        admission_request(context, resource, Operation::kUpdate, subresource, ns, name, options.dry_run);
    request.object = &object;
    request.old_object = &old_served;
    ENGENHO_TRY(run_admission(request, true));

    ENGENHO_TRY(resource.to_storage(object));
    json::Object& metadata = metadata_of(object);

    // Optimistic concurrency.
    const std::string wanted_revision(object.str_at({"metadata", "resourceVersion"}));
    if (wanted_revision.empty() || wanted_revision == "0") {
      if (!strategy.unconditional_update) {
        schema::FieldErrors errors;
        errors.invalid("metadata.resourceVersion", int64_t{0}, "must be specified for an update");
        Status s = errors.to_status(resource.group, resource.plural, name);
        StatusDetails details = s.details();
        details.causes[0].message = "Invalid value: 0: must be specified for an update";
        return err(Status(s.code(), s.reason(), s.message(), std::move(details)));
      }
    } else {
      int64_t number = 0;
      if (!parse_int(wanted_revision, number) || number < 0) {
        return err(Status(500, "", "strconv.ParseUint: parsing \"" + wanted_revision + "\": invalid syntax"));
      }
      if (number != current->mod_revision) return err(schema::conflict(group_resource(resource), name, kModified));
    }

    // What an update may never change is taken from the present object.
    const json::Object& old_metadata = metadata_of(old);
    for (const char* member : {"generation", "creationTimestamp", "selfLink"}) {
      if (const Value* v = old_metadata.find(member)) metadata.set(member, *v);
      else metadata.erase(member);
    }
    for (const char* member : {"uid", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds"}) {
      // What the server said about an end that is coming, nobody says otherwise.
      const bool fixed = std::string_view(member) == "deletionTimestamp" && old_metadata.contains(member);
      if (fixed || !metadata.contains(member)) {
        if (const Value* v = old_metadata.find(member)) metadata.set(member, *v);
      }
    }
    metadata.set("resourceVersion", std::to_string(current->mod_revision));

    if (!subresource.empty()) {
      object = restrict_to_subresource(resource, subresource, object, old);
    } else if (has_status(resource)) {
      if (const Value* status = old.get("status")) object["status"] = *status;
      else object.as_object().erase("status");
    }
    if (strategy.prepare_update != nullptr) {
      strategy.prepare_update(object, old, subresource, clock_.wall());
    }
    if (strategy.generation != GenerationRule::kNone && strategy.generation != GenerationRule::kFixed && subresource != "status" &&
        subresource != "binding" && !same_spec(object, old, strategy.generation)) {
      const Value* generation = old_metadata.find("generation");
      metadata_of(object).set("generation", (generation ? generation->int_or(0) : 0) + 1);
    }

    schema::FieldErrors errors;
    // Twice, as upstream does for every kind: the causes show it.
    validate_object_meta_update(object, old, errors);
    validate_object_meta_update(object, old, errors);
    validate_update(resource, subresource, object, old, errors);
    ENGENHO_TRY(refusal(resource, errors, object, name));

    std::vector<WriteHook*> done;
    auto undo = [&] {
      for (WriteHook* hook : done) hook->undo(resource, object, &old);
    };
    for (const auto& hook : hooks_) {
      if (Status s = hook->before(resource, object, &old, options.dry_run); !s.ok()) {
        undo();
        return err(s);
      }
      done.push_back(hook.get());
    }
    if (Status s = run_admission(request, false); !s.ok()) {
      undo();
      return err(s);
    }

    if (same_but_times(object, old)) {
      undo();
      return Updated{std::move(old), false};
    }
    if (options.dry_run) {
      undo();
      return Updated{std::move(object), false};
    }
    Result<datastore::WriteResult> written = [&] {
      if (ready_to_go(resource, object)) return hub_.store().remove(key, current->mod_revision);
      return hub_.store().update(key, datastore::make_bytes(encode_for_store(object)), current->mod_revision, current->lease);
    }();
    if (!written) {
      undo();
      return err(store_error(written.error(), resource));
    }
    if (written->succeeded) {
      // The last state of what is gone now keeps its revision.
      set_revision(object, ready_to_go(resource, object) ? current->mod_revision : written->revision);
      return Updated{std::move(object), false};
    }
    undo();
    // Somebody was faster. A request that named its version loses; any other is made again on what is there now.
    if (!wanted_revision.empty() && wanted_revision != "0" && wanted_revision != std::to_string(current->mod_revision)) {
      return err(schema::conflict(group_resource(resource), name, kModified));
    }
    current = std::move(written->current);
  }
  return err(schema::conflict(group_resource(resource), name, kModified));
}

Result<Rest::Deleted> Rest::remove(Context& context, const ResourceDef& resource, const std::string& ns, const std::string& name,
                                   const DeleteOptions& options) {
  const Strategy& strategy = strategy_of(resource);
  const std::string key = resource.store_key(ns, name);
  auto found = hub_.store().get(key);
  if (!found) return err(store_error(found.error(), resource));
  std::optional<datastore::KeyValue> current = std::move(found->kv);
  bool admitted = false;
  std::optional<Value> announced;  // as this request left it, with no time left

  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    // Once its end is announced anybody may take it away, and somebody may make another of its name: either way this deletion is done.
    if (!current && announced) return Deleted{std::move(*announced), true};
    if (!current) return err(schema::not_found(group_resource(resource), name));
    ENGENHO_ASSIGN(Value object, json::parse(*current->value));
    set_revision(object, current->mod_revision);
    const std::string uid(object.str_at({"metadata", "uid"}));
    if (announced && announced->str_at({"metadata", "uid"}) != uid) return Deleted{std::move(*announced), true};
    const GroupResource by_kind{resource.group, resource.kind};
    if (!options.precondition_uid.empty() && options.precondition_uid != uid) {
      if (resource.group.empty() && resource.plural == "namespaces") {
        return err(schema::conflict(group_resource(resource), name,
                                    "Precondition failed: UID in precondition: " + options.precondition_uid + ", UID in object meta: " + uid));
      }
      return err(schema::conflict(by_kind, name,
                                  "the UID in the precondition (" + options.precondition_uid + ") does not match the UID in record (" + uid +
                                      "). The object might have been deleted and then recreated"));
    }
    if (!options.precondition_revision.empty() && options.precondition_revision != std::to_string(current->mod_revision)) {
      return err(schema::conflict(by_kind, name,
                                  "the ResourceVersion in the precondition (" + options.precondition_revision +
                                      ") does not match the ResourceVersion in record (" + std::to_string(current->mod_revision) +
                                      "). The object might have been modified"));
    }
    if (!admitted) {
      AdmissionRequest request = admission_request(context, resource, Operation::kDelete, "", ns, name, options.dry_run);
      request.old_object = &object;
      ENGENHO_TRY(run_admission(request, true));
      ENGENHO_TRY(run_admission(request, false));
      admitted = true;
    }

    Value next = object;
    json::Object& metadata = metadata_of(next);
    const WallTime now = clock_.wall();

    // The garbage collector's finalizers, as the propagation policy asks.
    std::string propagation = options.propagation;
    if (propagation.empty() && options.orphan_dependents) propagation = *options.orphan_dependents ? "Orphan" : "Background";
    if (propagation.empty()) {
      bool has_orphan = false, has_foreground = false;
      if (const Value* finalizers = object.at({"metadata", "finalizers"})) {
        for (const Value& f : finalizers->items()) {
          has_orphan = has_orphan || f.str() == "orphan";
          has_foreground = has_foreground || f.str() == "foregroundDeletion";
        }
      }
      if (has_orphan) propagation = "Orphan";
      else if (has_foreground) propagation = "Foreground";
      else propagation = strategy.delete_default_orphan ? "Orphan" : "Background";
    }
    json::Array finalizers;
    if (const Value* f = metadata.find("finalizers")) {
      for (const Value& v : f->items()) {
        if (v.str() != "orphan" && v.str() != "foregroundDeletion") finalizers.push_back(v);
      }
    }
    if (propagation == "Orphan") finalizers.push_back("orphan");
    if (propagation == "Foreground") finalizers.push_back("foregroundDeletion");
    if (finalizers.empty()) metadata.erase("finalizers");
    else metadata.set("finalizers", finalizers);

    if (strategy.begin_delete != nullptr && strategy.begin_delete(next = object, now)) {
      if (options.dry_run) return Deleted{std::move(next), false};
      auto written = hub_.store().update(key, datastore::make_bytes(encode_for_store(next)), current->mod_revision, current->lease);
      if (!written) return err(store_error(written.error(), resource));
      if (!written->succeeded) {
        current = std::move(written->current);
        continue;
      }
      set_revision(next, written->revision);
      return Deleted{std::move(next), false};
    }
    const bool is_namespace = resource.group.empty() && resource.plural == "namespaces";
    const bool is_pod = resource.group.empty() && resource.plural == "pods";
    bool graceful = false;
    int64_t grace = 0;
    const bool already = object.at({"metadata", "deletionTimestamp"}) != nullptr;
    if (is_pod) {
      if (options.grace_period_seconds) grace = *options.grace_period_seconds;
      else if (const Value* seconds = object.at({"spec", "terminationGracePeriodSeconds"})) grace = seconds->int_or(30);
      const std::string_view phase = object.str_at({"status", "phase"});
      if (object.str_at({"spec", "nodeName"}).empty() || phase == "Succeeded" || phase == "Failed") grace = 0;
      if (grace < 0) grace = 1;
      if (already) {
        // A second request may only shorten the time.
        const Value* had = object.at({"metadata", "deletionGracePeriodSeconds"});
        const int64_t old_grace = had != nullptr ? had->int_or(0) : 0;
        if (old_grace > 0 && !options.grace_period_seconds && grace > 0) grace = old_grace;
        if (grace > old_grace && old_grace > 0) grace = old_grace;
      }
      graceful = grace > 0;
    }
    const Value* holds = object.at({"spec", "finalizers"});
    // The first request only announces the end of a namespace; while its content goes, another changes nothing.
    if (is_namespace && already && holds != nullptr && !holds->items().empty()) return Deleted{std::move(object), false};
    const bool announces = is_namespace && !already;

    if (graceful || !finalizers.empty() || announces || is_pod) {
      if (!already) {
        metadata.set("deletionTimestamp", format_rfc3339(now + std::chrono::seconds(grace)));
        if (!is_namespace) metadata.set("deletionGracePeriodSeconds", grace);
        if (const Value* generation = metadata.find("generation"); generation != nullptr && generation->int_or(0) > 0) {
          metadata.set("generation", generation->as_int() + 1);
        }
      } else if (is_pod) {
        const Value* had = object.at({"metadata", "deletionGracePeriodSeconds"});
        const int64_t old_grace = had != nullptr ? had->int_or(0) : 0;
        if (grace < old_grace) {
          // Shorter: counted from when the first deletion was asked for.
          auto due = parse_rfc3339(object.str_at({"metadata", "deletionTimestamp"}));
          if (due) metadata.set("deletionTimestamp", format_rfc3339(*due - std::chrono::seconds(old_grace - grace)));
          metadata.set("deletionGracePeriodSeconds", grace);
        }
      }
      if (is_namespace) next["status"]["phase"] = "Terminating";
      const bool goes_now = is_pod && !graceful && finalizers.empty();
      if (options.dry_run) return Deleted{std::move(next), goes_now};
      if (!(next == object)) {
        auto written = hub_.store().update(key, datastore::make_bytes(encode_for_store(next)), current->mod_revision, current->lease);
        if (!written) return err(store_error(written.error(), resource));
        if (!written->succeeded) {
          current = std::move(written->current);
          continue;
        }
        set_revision(next, written->revision);
        // Whoever watches a pod sees that it has no time left, then that it is gone.
        if (goes_now) current->mod_revision = written->revision;
        object = std::move(next);
        if (goes_now) announced = object;
      }
      if (!goes_now) return Deleted{std::move(object), false};
    }
    if (options.dry_run) return Deleted{std::move(object), true};
    auto written = hub_.store().remove(key, current->mod_revision);
    if (!written) return err(store_error(written.error(), resource));
    if (written->succeeded) {
      set_revision(object, written->revision);
      return Deleted{std::move(object), true};
    }
    current = std::move(written->current);
  }
  return err(schema::conflict(group_resource(resource), name, kModified));
}

}  // namespace engenho::apiserver
