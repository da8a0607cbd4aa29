// The PersistentVolumeClaims of a StatefulSet's pods: one of each template for each ordinal, kept or deleted as the retention policy says.
// Binding them to volumes is somebody else's work.
#pragma once

#include <string>

#include "engenho/catalog/apps_v1.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

class StatefulClaims {
 public:
  explicit StatefulClaims(Environment& e) : e_(e) {}
  void prepare();
  // Makes those that are missing; an error when one is being deleted.
  Status make(const k8s::apps_v1::StatefulSet& set, int64_t ordinal, const std::string& pod_name);
  // Puts the pod's volumes of these names in their place.
  void mount(const k8s::apps_v1::StatefulSet& set, int64_t ordinal, core_v1::PodSpec& pod) const;
  // Makes the set or the pod their owner, or none, as the retention policy says.
  Status own(const k8s::apps_v1::StatefulSet& set, int64_t ordinal, const core_v1::Pod* pod, bool scaled_down);
  // One of them still belongs to an earlier pod of this name and goes with it.
  Result<bool> stale(const k8s::apps_v1::StatefulSet& set, int64_t ordinal);

 private:
  Environment& e_;
};

}  // namespace engenho::controllers
