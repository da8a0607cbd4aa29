// What may not change once an object is there, kind by kind: fields without any rule besides.
#include "engenho/schema/go_values.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

struct Fixed {
  std::string_view kind;
  std::initializer_list<std::string_view> path;
  const char* shown;    // the field in the error
};

const Value* find(const Value& object, std::initializer_list<std::string_view> path) { return object.at(path); }

}  // namespace

void immutable_fields(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value& old) {
  static const Fixed kFixed[] = {
      {"RuntimeClass", {"handler"}, "handler"},
      {"ControllerRevision", {"data"}, "data"},
      {"EndpointSlice", {"addressType"}, "addressType"},
      {"CSIStorageCapacity", {"storageClassName"}, "storageClassName"},
      {"CSIStorageCapacity", {"nodeTopology"}, "nodeTopology"},
      {"ResourceQuota", {"spec", "scopes"}, "spec.scopes"},
      {"CSIDriver", {"spec", "attachRequired"}, "spec.attachedRequired"},
      {"CSIDriver", {"spec", "volumeLifecycleModes"}, "spec.volumeLifecycleModes"},
      {"VolumeAttachment", {"spec"}, "spec"},
  };
  // Events of the new group describe one occurrence.
  static const Fixed kEvent[] = {
      {"Event", {"involvedObject"}, "involvedObject"}, {"Event", {"reason"}, "reason"},   {"Event", {"message"}, "message"},
      {"Event", {"source"}, "source"},                 {"Event", {"count"}, "count"},     {"Event", {"type"}, "type"},
      {"Event", {"reportingComponent"}, "reportingController"},                           {"Event", {"reportingInstance"}, "reportingInstance"},
      {"Event", {"reason"}, "reason"},                 {"Event", {"action"}, "action"},  // the reason is told twice, as upstream does
      {"Event", {"related"}, "related"}, {"Event", {"eventTime"}, "eventTime"},
  };
  for (const Fixed& f : kFixed) {
    if (f.kind == resource.kind) immutable(errors, f.shown, find(object, f.path), find(old, f.path));
  }
  if (resource.kind == "Event" && resource.group == "events.k8s.io") {
    for (const Fixed& f : kEvent) immutable(errors, f.shown, find(object, f.path), find(old, f.path));
  }
  auto changed = [&](std::initializer_list<std::string_view> path) {
    const Value *a = object.at(path), *b = old.at(path);
    return (a == nullptr) != (b == nullptr) || (a != nullptr && !(*a == *b));
  };
  if (resource.kind == "VolumeAttributesClass") {
    if (changed({"driverName"})) errors.forbidden("driverName", "updates to driverName are forbidden.");
    if (changed({"parameters"})) errors.forbidden("parameters", "updates to parameters are forbidden.");
  }
  if (resource.kind == "Node" && !old.str_at({"spec", "providerID"}).empty() && changed({"spec", "providerID"})) {
    errors.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
  }
}

}  // namespace engenho::apiserver::validation
