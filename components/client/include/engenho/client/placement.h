// Whether a node takes a pod by its name, labels and taints: what the scheduler asks, and those who must foresee its answer.
#pragma once

#include "engenho/catalog/core_v1.h"

namespace engenho::client {

bool tolerates(const std::vector<k8s::core_v1::Toleration>& tolerations, const k8s::core_v1::Taint& taint);
bool matches_term(const k8s::core_v1::NodeSelectorTerm& term, const k8s::core_v1::Node& node);
// The pod's nodeSelector and required node affinity.
bool affinity_holds(const k8s::core_v1::PodSpec& pod, const k8s::core_v1::Node& node);

}  // namespace engenho::client
