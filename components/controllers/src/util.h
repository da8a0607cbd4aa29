// What several controllers need.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/meta_v1.h"
#include "engenho/client/client.h"

namespace engenho::controllers {

namespace core_v1 = k8s::core_v1;
namespace meta_v1 = k8s::meta_v1;
using Labels = std::map<std::string, std::string>;

bool matches(const meta_v1::LabelSelector& selector, const Labels& labels);
inline bool matches(const k8s::Box<meta_v1::LabelSelector>& selector, const Labels& labels) {
  return selector && matches(*selector, labels);
}
bool matches_map(const Labels& selector, const Labels& labels);  // every pair; an empty selector matches nothing

const meta_v1::OwnerReference* controller_of(const meta_v1::ObjectMeta& metadata);
template <typename T>
meta_v1::OwnerReference owner_reference(const T& owner) {
  meta_v1::OwnerReference out;
  out.api_version = T::kApiVersion;
  out.kind = T::kKind;
  out.name = owner.metadata.name;
  out.uid = owner.metadata.uid;
  out.controller = true;
  out.block_owner_deletion = true;
  return out;
}

// A suffix for names that depends on a text and on how many times it collided.
std::string name_hash(const std::string& text, int32_t collisions);

// The error of a create in a namespace that is going: it takes nothing new, and that is no failure.
bool namespace_is_going(const Status& status);

const core_v1::PodCondition* find_condition(const core_v1::Pod& pod, std::string_view type);
bool is_ready(const core_v1::Pod& pod);
bool is_active(const core_v1::Pod& pod);      // neither finished nor being deleted
bool is_finished(const core_v1::Pod& pod);
// Ready for at least `min_ready_seconds`; `wait` is how long until it would be, when it is not yet.
bool is_available(const core_v1::Pod& pod, int32_t min_ready_seconds, WallTime now, Duration* wait = nullptr);

}  // namespace engenho::controllers
