#pragma once

#include "engenho/base/json.h"

namespace engenho::catalog::conversion {

// Each changes the body; apiVersion is the caller's.
void hpa_v1_to_v2(json::Value& object);
void hpa_v2_to_v1(json::Value& object);
void event_core_to_events(json::Value& object);
void event_events_to_core(json::Value& object);
// resource.k8s.io: v1 and v1beta2 share their shape.
void resource_v1beta1_to_v1(json::Value& object);
void resource_v1_to_v1beta1(json::Value& object);
// pangea.pleme.io: nothing is lost in either direction.
void pangea_v1_to_v1alpha1(json::Value& object);
void pangea_v1alpha1_to_v1(json::Value& object);

// Moves a member; nothing happens when it is not there.
inline void rename(json::Value& object, std::string_view from, std::string_view to) {
  if (!object.is_object()) return;
  json::Value* value = object.get(from);
  if (value == nullptr) return;
  json::Value moved = std::move(*value);
  object.as_object().erase(from);
  object[to] = std::move(moved);
}

}  // namespace engenho::catalog::conversion
