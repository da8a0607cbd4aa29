#include "engenho/catalog/convert.h"

#include "convert_internal.h"
#include "engenho/catalog/resources.h"
#include "engenho/schema/decode.h"

namespace engenho::catalog {

namespace conversion {

namespace {

constexpr std::pair<std::string_view, std::string_view> kEventNames[] = {  // core/v1, events.k8s.io/v1
    {"involvedObject", "regarding"},        {"message", "note"},
    {"source", "deprecatedSource"},         {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"}, {"count", "deprecatedCount"},
    {"reportingComponent", "reportingController"}};

constexpr std::string_view kExactFields[] = {"deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"};

template <typename F>
void each(json::Value* list, F f) {
  if (list == nullptr || !list->is_array()) return;
  for (json::Value& item : list->as_array()) f(item);
}

json::Value* device_requests(json::Value& object) {
  json::Value* direct = object.at({"spec", "devices", "requests"});
  return direct ? direct : object.at({"spec", "spec", "devices", "requests"});  // ResourceClaimTemplate
}

}  // namespace

void event_core_to_events(json::Value& object) {
  for (const auto& [core, events] : kEventNames) rename(object, core, events);
}
void event_events_to_core(json::Value& object) {
  for (const auto& [core, events] : kEventNames) rename(object, events, core);
}

void resource_v1beta1_to_v1(json::Value& object) {
  each(device_requests(object), [](json::Value& request) {
    json::Value exactly;
    for (std::string_view name : kExactFields) {
      if (json::Value* value = request.get(name)) {
        exactly[name] = std::move(*value);
        request.as_object().erase(name);
      }
    }
    // v1beta1 always writes deviceClassName, so "" alone does not count.
    if (exactly.is_object() && exactly.str_at({"deviceClassName"}).empty()) {
      exactly.as_object().erase("deviceClassName");
      if (!exactly.as_object().empty()) exactly["deviceClassName"] = "";
    }
    if (exactly.is_object() && !exactly.as_object().empty()) request["exactly"] = std::move(exactly);
  });
  if (json::Value* spec = object.get("spec"); spec && spec->is_object()) {
    each(spec->get("devices"), [](json::Value& device) {
      json::Value* basic = device.get("basic");
      if (basic == nullptr) return;
      json::Value content = std::move(*basic);
      device.as_object().erase("basic");
      for (auto& [name, value] : content.make_object()) device[name] = std::move(value);
    });
  }
}

void resource_v1_to_v1beta1(json::Value& object) {
  each(device_requests(object), [](json::Value& request) {
    json::Value* exactly = request.get("exactly");
    if (exactly == nullptr) return;
    json::Value content = std::move(*exactly);
    request.as_object().erase("exactly");
    for (auto& [name, value] : content.make_object()) request[name] = std::move(value);
  });
  if (object.str_at({"kind"}) != "ResourceSlice") return;
  each(object.at({"spec", "devices"}), [](json::Value& device) {
    json::Value basic = json::Object();
    for (auto it = device.make_object().begin(); it != device.as_object().end();) {
      if (it->first == "name") {
        ++it;
      } else {
        basic[it->first] = std::move(it->second);
        it = device.as_object().erase(it);
      }
    }
    device["basic"] = std::move(basic);
  });
}

}  // namespace conversion

Status convert(json::Value& object, std::string_view group, std::string_view version) {
  const std::string from_api(object.str_at({"apiVersion"})), kind(object.str_at({"kind"}));
  std::string_view from_group, from_version;
  split_api_version(from_api, from_group, from_version);
  if (from_group == group && from_version == version) return {};
  const std::string to_api = join_api_version(group, version);

  // A list converts its items, whether or not they name their kind.
  if (kind.ends_with("List") && object.get("items") != nullptr) {
    const std::string item_kind = kind.substr(0, kind.size() - 4);
    if (json::Value* items = object.get("items"); items->is_array()) {
      for (json::Value& item : items->as_array()) {
        const bool named = item.get("kind") != nullptr;
        if (!named) {
          item["apiVersion"] = from_api;
          item["kind"] = item_kind;
        }
        ENGENHO_RETURN_IF_ERROR(convert(item, group, version));
        if (!named) {
          item.as_object().erase("apiVersion");
          item.as_object().erase("kind");
        }
      }
    }
    object["apiVersion"] = to_api;
    return {};
  }

  const schema::Schema* target = find_schema(to_api, kind);
  if (target == nullptr || find_schema(from_api, kind) == nullptr) {
    return bad_request("no conversion of kind " + kind + " from " + from_api + " to " + to_api);
  }
  if (group == "pangea.pleme.io" && from_group == group) {
    if (version == "v1") conversion::pangea_v1alpha1_to_v1(object);
    else conversion::pangea_v1_to_v1alpha1(object);
    object["apiVersion"] = to_api;
    return {};
  }
  if (kind == "Event" && from_group != group) {
    if (group == "events.k8s.io" && from_group.empty()) {
      conversion::event_core_to_events(object);
    } else if (group.empty() && from_group == "events.k8s.io") {
      conversion::event_events_to_core(object);
    } else {
      return bad_request("no conversion of kind Event from " + from_api + " to " + to_api);
    }
  } else if (from_group != group) {
    return bad_request("no conversion of kind " + kind + " from " + from_api + " to " + to_api);
  } else if (group == "autoscaling" && kind == "HorizontalPodAutoscaler") {
    if (version == "v1") {
      conversion::hpa_v2_to_v1(object);
    } else {
      conversion::hpa_v1_to_v2(object);
    }
  } else if (group == "resource.k8s.io") {
    if (from_version == "v1beta1") {
      conversion::resource_v1beta1_to_v1(object);
    } else if (version == "v1beta1") {
      conversion::resource_v1_to_v1beta1(object);
    }
  }
  object["apiVersion"] = to_api;
  schema::normalize(*target, object);
  return {};
}

}  // namespace engenho::catalog
