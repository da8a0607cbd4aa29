// The history of a DaemonSet's or StatefulSet's template, as ControllerRevisions: what `kubectl rollout history` and `undo` read.
//
// A revision is found by comparing its data, never by its hash: a change of the hash rolls nothing.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "engenho/catalog/apps_v1.h"
#include "pod_control.h"

namespace engenho::controllers {

namespace apps_v1 = k8s::apps_v1;

struct History {
  apps_v1::ControllerRevision current;           // of the template as it is
  std::vector<apps_v1::ControllerRevision> old;  // the others, oldest first
  int32_t collisions = 0;                        // belongs into status.collisionCount
};

// The label of a revision that says its hash.
inline constexpr char kDaemonSetHashLabel[] = "controller-revision-hash", kStatefulSetHashLabel[] = "controller.kubernetes.io/hash";
// The label of a pod that says its revision: the hash for a DaemonSet, the name for a StatefulSet.
inline constexpr char kRevisionLabel[] = "controller-revision-hash";

// Makes, renumbers and adopts revisions as needed. `hash_label`: see above.
Result<History> history_of(Environment& e, const PodOwner& owner, const core_v1::PodTemplateSpec& t, const std::map<std::string, std::string>& annotations,
                           const char* hash_label, int32_t collisions);
template <typename T>
Result<History> history_of(Environment& e, const PodOwner& owner, const T& object, const char* hash_label) {
  return history_of(e, owner, object.spec.template_, object.metadata.annotations, hash_label, object.status.collision_count.value_or(0));
}

// The template of a revision.
Result<core_v1::PodTemplateSpec> template_of(const apps_v1::ControllerRevision& revision);

// Deletes the oldest of those that no pod has (`live`: names), until `keep` are left.
Status trim_history(Environment& e, const std::vector<apps_v1::ControllerRevision>& old, int keep, const std::set<std::string>& live);

}  // namespace engenho::controllers
