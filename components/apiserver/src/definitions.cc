#include "definitions.h"

#include <algorithm>

#include "custom_resources.h"
#include "engenho/base/log.h"
#include "engenho/catalog/convert.h"
#include "engenho/catalog/defaulting.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/managed_fields.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr std::string_view kFinalizer = "customresourcecleanup.apiextensions.k8s.io";
constexpr const char* kAutomanaged = "kube-aggregator.kubernetes.io/automanaged";

Value condition(std::string_view type, bool status, std::string_view reason, std::string_view message) {
  Value out = json::Object();
  out["type"] = type;
  out["status"] = status ? "True" : "False";
  out["reason"] = reason;
  out["message"] = message;
  return out;
}

// Sets it; its time is that of the last change of its status.
void set_condition(Value& object, Value wanted, WallTime now) {
  json::Array& conditions = object["status"]["conditions"].make_array();
  wanted["lastTransitionTime"] = format_rfc3339(now);
  for (Value& c : conditions) {
    if (c.str_at({"type"}) != wanted.str_at({"type"})) continue;
    if (c.str_at({"status"}) == wanted.str_at({"status"})) wanted["lastTransitionTime"] = c.str_at({"lastTransitionTime"});
    c = std::move(wanted);
    return;
  }
  conditions.push_back(std::move(wanted));
}

bool deleting(const Value& definition) { return definition.at({"metadata", "deletionTimestamp"}) != nullptr; }

std::vector<std::string> texts(const Value* list) {
  std::vector<std::string> out;
  if (list != nullptr) {
    for (const Value& v : list->items()) out.emplace_back(v.str());
  }
  return out;
}

}  // namespace

Definitions::Definitions(Rest& rest) : rest_(rest), definitions_(rest.resources().find("apiextensions.k8s.io", "v1", "customresourcedefinitions")) {
  context_.user.name = "system:apiserver";
  context_.user.groups = {std::string(kMasters)};
  definitions_->cacher->on_change([this](const CacheEvent& event) { mark(event.object->name()); });
}
Definitions::~Definitions() { stop(); }

void Definitions::mark(const std::string& name) {
  std::lock_guard lock(mutex_);
  dirty_.insert(name);
  wake_.notify_all();
}

Status Definitions::load() {
  ENGENHO_ASSIGN_OR_RETURN(const Value declared, json::parse(catalog::declared_definitions()));
  for (const Value& definition : declared.items()) ENGENHO_RETURN_IF_ERROR(serve(definition));
  datastore::ListRequest request;
  request.range = datastore::KeyRange::prefix(definitions_->store_prefix);
  auto page = rest_.hub().store().list(request);
  if (!page) return page.error();
  for (const datastore::KeyValue& kv : page->kvs) {
    auto definition = json::parse(*kv.value);
    if (definition) ENGENHO_RETURN_IF_ERROR(serve(*definition));
  }
  return {};
}

void Definitions::start() {
  tasks_.spawn("keep", [this](const StopToken& stop) { run(stop); });
}

void Definitions::stop() {
  {
    std::lock_guard lock(mutex_);
    tasks_.token().request_stop();
    wake_.notify_all();
  }
  tasks_.stop();
}

void Definitions::run(const StopToken& stop) {
  while (!stop.stopped()) {
    std::set<std::string> now;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop.stopped() || !dirty_.empty(); });
      now.swap(dirty_);
    }
    bool failed = false;
    for (const std::string& name : now) {
      if (stop.stopped()) return;
      if (Status s = reconcile(name); !s.ok()) {
        log::warn("apiserver", "definition {}: {}", name, s.message());
        mark(name);
        failed = true;
      }
    }
    if (Status s = keep_api_services(); !s.ok()) {
      log::warn("apiserver", "API services of custom resources: {}", s.message());
      mark(*now.begin());
      failed = true;
    }
    if (failed) stop.wait_for(std::chrono::seconds(1));
  }
}

Value Definitions::document(const std::string& name) const {
  ObjectPtr object = definitions_->cacher->get(definitions_->store_key("", name));
  return object == nullptr ? Value() : object->value();
}

Status Definitions::reconcile(const std::string& name) {
  const Value definition = document(name);
  if (definition.is_null()) {
    auto it = served_.find(name);
    if (it == served_.end()) return {};
    const auto [group, plural] = it->second;
    rest_.resources().set_custom(group, plural, {});
    served_.erase(it);
    // Its names are free again.
    std::atomic<Revision> unused{0};
    for (const ObjectPtr& other : definitions_->cacher->list(definitions_->store_prefix, unused)) {
      if (other->value().str_at({"spec", "group"}) == group) mark(other->name());
    }
    return {};
  }
  if (!deleting(definition)) ENGENHO_RETURN_IF_ERROR(accept_names(definition));
  const Value now = document(name);
  if (now.is_null()) return {};
  ENGENHO_RETURN_IF_ERROR(serve(now));
  return deleting(now) ? empty(now) : Status();
}

Status Definitions::set_status(const std::string& name, const std::function<void(Value&)>& change) {
  context_.resource = definitions_;
  context_.warnings.clear();
  auto updated = rest_.update(
      context_, *definitions_, name, "status",
      [&](const Value* current) -> Result<Value> {
        if (current == nullptr) return err(not_found_error("the definition is gone"));
        Value next = *current;
        change(next);
        schema::ManagerContext manager;
        manager.schema = definitions_->schema;
        manager.api_version = definitions_->api_version();
        manager.subresource = "status";
        manager.manager = "kube-apiserver";
        manager.now = rest_.clock().wall();
        schema::track_update(manager, current, next);
        return next;
      },
      {}, false);
  if (!updated && !updated.error().not_found()) return updated.error();
  // What comes next reads the cache: it has seen this.
  return rest_.hub().wait_for(rest_.hub().store().revision(), std::chrono::seconds(5));
}

Status Definitions::accept_names(const Value& definition) {
  const std::string name(definition.str_at({"metadata", "name"})), group(definition.str_at({"spec", "group"}));
  std::set<std::string> resources, kinds;
  std::atomic<Revision> unused{0};
  for (const ObjectPtr& other : definitions_->cacher->list(definitions_->store_prefix, unused)) {
    if (other->name() == name) continue;
    const Value value = other->value();
    const Value* names = value.at({"status", "acceptedNames"});
    if (names == nullptr || value.str_at({"spec", "group"}) != group) continue;
    for (const char* member : {"plural", "singular"}) resources.emplace(names->str_at({member}));
    for (const std::string& s : texts(names->get("shortNames"))) resources.insert(s);
    for (const char* member : {"kind", "listKind"}) kinds.emplace(names->str_at({member}));
  }
  const Value* wanted = definition.at({"spec", "names"});
  const Value* had = definition.at({"status", "acceptedNames"});
  if (wanted == nullptr) return {};
  Value accepted = had == nullptr ? Value(json::Object()) : *had;
  Value verdict = condition("NamesAccepted", true, "NoConflicts", "no conflicts found");
  auto refuse = [&](const char* reason, const std::string& message) { verdict = condition("NamesAccepted", false, reason, message); };
  auto take = [&](const char* member, const std::set<std::string>& used, const char* reason) {
    const std::string text(wanted->str_at({member}));
    if (text != accepted.str_at({member}) && used.contains(text)) return refuse(reason, json::dump(text) + " is already in use");
    accepted[member] = text;
  };
  take("plural", resources, "PluralConflict");
  take("singular", resources, "SingularConflict");
  const std::vector<std::string> mine = texts(accepted.get("shortNames"));
  std::vector<std::string> clashes;
  for (const std::string& s : texts(wanted->get("shortNames"))) {
    if (std::find(mine.begin(), mine.end(), s) == mine.end() && resources.contains(s)) clashes.push_back(json::dump(s) + " is already in use");
  }
  if (clashes.empty()) {
    if (const Value* list = wanted->get("shortNames")) accepted["shortNames"] = *list;
    else accepted.as_object().erase("shortNames");
  } else {
    std::string all;
    for (const std::string& c : clashes) all += (all.empty() ? "" : ", ") + c;
    refuse("ShortNamesConflict", clashes.size() > 1 ? "[" + all + "]" : all);
  }
  take("kind", kinds, "KindConflict");
  take("listKind", kinds, "ListKindConflict");
  if (const Value* list = wanted->get("categories")) accepted["categories"] = *list;
  else accepted.as_object().erase("categories");
  for (const char* member : {"singular", "listKind"}) {
    if (accepted.str_at({member}).empty()) accepted.as_object().erase(member);
  }

  const bool good = verdict.str_at({"status"}) == "True";
  const bool established = condition_is(definition, "Established", "True");
  const bool same = had != nullptr && *had == accepted && condition_is(definition, "NamesAccepted", verdict.str_at({"status"})) && (established || !good);
  if (same) return {};
  const bool renamed = had == nullptr || !(*had == accepted);
  ENGENHO_RETURN_IF_ERROR(set_status(name, [&](Value& object) {
    object["status"]["acceptedNames"] = accepted;
    const WallTime now = rest_.clock().wall();
    set_condition(object, verdict, now);
    if (established) return;
    set_condition(object, good ? condition("Established", true, "InitialNamesAccepted", "the initial names have been accepted")
                               : condition("Established", false, "NotAccepted", "not all names are accepted"), now);
  }));
  if (!renamed) return {};
  for (const ObjectPtr& other : definitions_->cacher->list(definitions_->store_prefix, unused)) {
    if (other->name() != name && other->value().str_at({"spec", "group"}) == group) mark(other->name());
  }
  return {};
}

Status Definitions::serve(const Value& definition) {
  const std::string name(definition.str_at({"metadata", "name"}));
  const std::string group(definition.str_at({"spec", "group"})), plural(definition.str_at({"spec", "names", "plural"}));
  // Never in the place of a built-in resource.
  if (catalog::find_resource(group, plural) != nullptr && !is_declared(definition)) return {};
  auto made = resources_of(definition);
  const bool declared = is_declared(definition);
  std::vector<ResourcePtr> versions;
  for (auto& def : made) {
    auto cacher = rest_.hub().add_cacher(def->store_prefix, [this, name, declared](const CacheEvent& event) {
      // The last object of a definition that is being deleted is what it waits for.
      if (!declared && event.type == EventType::kDeleted) mark(name);
    });
    if (!cacher) return cacher.error();
    def->cacher = *cacher;
    versions.push_back(std::move(def));
  }
  if (!versions.empty() && !declared) served_[name] = {group, plural};
  rest_.resources().set_custom(group, plural, std::move(versions));
  return {};
}

Status Definitions::empty(const Value& definition) {
  const std::string name(definition.str_at({"metadata", "name"}));
  auto has_finalizer = [](const Value& d) {
    const Value* list = d.at({"metadata", "finalizers"});
    return list != nullptr && std::find(list->items().begin(), list->items().end(), Value(kFinalizer)) != list->items().end();
  };
  if (!has_finalizer(definition)) return {};
  auto served = served_.find(name);
  if (served != served_.end()) {
    auto resource = rest_.resources().find_storage(served->second.first, served->second.second);
    if (resource != nullptr) {
      std::atomic<Revision> unused{0};
      Context context = context_;
      context.resource = resource;
      for (const ObjectPtr& object : resource->cacher->list(resource->store_prefix, unused)) {
        context.info.namespace_ = object->namespace_name();
        auto removed = rest_.remove(context, *resource, object->namespace_name(), object->name(), {});
        if (!removed && !removed.error().not_found()) return removed.error();
      }
      ENGENHO_RETURN_IF_ERROR(rest_.hub().wait_for(rest_.hub().store().revision(), std::chrono::seconds(5)));
      if (!resource->cacher->list(resource->store_prefix, unused).empty()) {
        if (condition_is(definition, "Terminating", "True") && definition.at({"status", "conditions"}) != nullptr) {
          for (const Value& c : definition.at({"status", "conditions"})->items()) {
            if (c.str_at({"type"}) == "Terminating" && c.str_at({"reason"}) == "InstanceDeletionInProgress") return {};
          }
        }
        return set_status(name, [&](Value& object) {
          set_condition(object, condition("Terminating", true, "InstanceDeletionInProgress", "CustomResource deletion is in progress"), rest_.clock().wall());
        });
      }
    }
  }
  return set_status(name, [&](Value& object) {
    set_condition(object, condition("Terminating", false, "InstanceDeletionCompleted", "removed all instances"), rest_.clock().wall());
    json::Array& finalizers = object["metadata"]["finalizers"].make_array();
    std::erase(finalizers, Value(kFinalizer));
    if (finalizers.empty()) object["metadata"].as_object().erase("finalizers");
  });
}

// One APIService for each custom group version, and none for those that are gone.
Status Definitions::keep_api_services() {
  auto services = rest_.resources().find("apiregistration.k8s.io", "v1", "apiservices");
  std::map<std::string, std::pair<std::string, std::string>> wanted;
  for (const auto& [group, versions] : rest_.resources().custom_groups()) {
    for (const std::string& version : versions) wanted[version + "." + group] = {group, version};
  }
  Context context = context_;
  context.resource = services;
  std::atomic<Revision> unused{0};
  for (const ObjectPtr& present : services->cacher->list(services->store_prefix, unused)) {
    const std::string* label = present->label(kAutomanaged);
    if (wanted.erase(present->name()) > 0 || label == nullptr || *label != "true") continue;
    auto removed = rest_.remove(context, *services, "", present->name(), {});
    if (!removed && !removed.error().not_found()) return removed.error();
  }
  for (const auto& [name, gv] : wanted) {
    Value object = json::Object();
    object["apiVersion"] = "apiregistration.k8s.io/v1";
    object["kind"] = "APIService";
    object["metadata"]["name"] = name;
    object["metadata"]["labels"][kAutomanaged] = "true";
    object["spec"]["group"] = gv.first;
    object["spec"]["version"] = gv.second;
    object["spec"]["groupPriorityMinimum"] = 1000;
    object["spec"]["versionPriority"] = 100;
    ENGENHO_RETURN_IF_ERROR(schema::decode(*services->schema, object));
    auto created = rest_.create(context, *services, std::move(object), {});
    if (!created && !created.error().already_exists()) return created.error();
    auto updated = rest_.update(
        context, *services, name, "status",
        [&](const Value* current) -> Result<Value> {
          if (current == nullptr) return err(not_found_error("the definition is gone"));
          Value next = *current;
          set_condition(next, condition("Available", true, "Local", "Local APIServices are always available"), rest_.clock().wall());
          return next;
        },
        {}, false);
    if (!updated && !updated.error().not_found()) return updated.error();
  }
  return {};
}

}  // namespace engenho::apiserver
