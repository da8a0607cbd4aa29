#include "stateful_claims.h"

namespace engenho::controllers {

namespace apps_v1 = k8s::apps_v1;

namespace {

std::string claim_name(const apps_v1::StatefulSet& set, const core_v1::PersistentVolumeClaim& t, int64_t ordinal) {
  return t.metadata.name + "-" + set.metadata.name + "-" + std::to_string(ordinal);
}

}  // namespace

void StatefulClaims::prepare() {
  e_.informers.get<core_v1::PersistentVolumeClaim>();
}

Status StatefulClaims::make(const apps_v1::StatefulSet& set, int64_t ordinal, const std::string& pod_name) {
  for (const core_v1::PersistentVolumeClaim& t : set.spec.volume_claim_templates) {
    core_v1::PersistentVolumeClaim claim = t;
    claim.metadata.name = claim_name(set, t, ordinal);
    claim.metadata.namespace_ = set.metadata.namespace_;
    if (auto there = e_.informers.get<core_v1::PersistentVolumeClaim>().get(claim.metadata.namespace_, claim.metadata.name)) {
      if (there->metadata.deletion_timestamp.is_zero()) continue;
      return unavailable("pvc " + claim.metadata.name + " is being deleted");
    }
    if (set.spec.selector) {
      for (const auto& [k, v] : set.spec.selector->match_labels) claim.metadata.labels[k] = v;
    }
    claim.status = {};
    auto created = e_.client.create(claim);
    if (!created && (created.error().already_exists() || namespace_is_going(created.error()))) continue;
    const std::string what = "Create Claim " + claim.metadata.name;
    if (!created) {
      e_.events.event(client::reference_to(set), "Warning", "FailedCreate",
                      what + " for Pod " + pod_name + " in StatefulSet " + set.metadata.name + " failed error: " + created.error().message());
      return created.error();
    }
    e_.events.event(client::reference_to(set), "Normal", "SuccessfulCreate", what + " Pod " + pod_name + " in StatefulSet " + set.metadata.name + " success");
  }
  return {};
}

void StatefulClaims::mount(const apps_v1::StatefulSet& set, int64_t ordinal, core_v1::PodSpec& pod) const {
  std::vector<core_v1::Volume> volumes;
  for (const core_v1::PersistentVolumeClaim& t : set.spec.volume_claim_templates) {
    core_v1::Volume v;
    v.name = t.metadata.name;
    v.persistent_volume_claim.ensure().claim_name = claim_name(set, t, ordinal);
    std::erase_if(pod.volumes, [&](const core_v1::Volume& other) { return other.name == v.name; });
    volumes.push_back(std::move(v));
  }
  pod.volumes.insert(pod.volumes.begin(), volumes.begin(), volumes.end());
}

Status StatefulClaims::own(const apps_v1::StatefulSet& set, int64_t ordinal, const core_v1::Pod* pod, bool scaled_down) {
  if (pod == nullptr) return {};
  const auto& policy = set.spec.persistent_volume_claim_retention_policy;
  const bool when_scaled = policy && policy->when_scaled == "Delete", when_deleted = policy && policy->when_deleted == "Delete";
  for (const core_v1::PersistentVolumeClaim& t : set.spec.volume_claim_templates) {
    auto claim = e_.informers.get<core_v1::PersistentVolumeClaim>().get(set.metadata.namespace_, claim_name(set, t, ordinal));
    if (claim == nullptr) continue;
    bool stale = false, foreign = false;
    std::vector<meta_v1::OwnerReference> refs;
    for (const meta_v1::OwnerReference& r : claim->metadata.owner_references) {
      const bool set_ref = r.api_version == apps_v1::StatefulSet::kApiVersion && r.kind == apps_v1::StatefulSet::kKind && r.name == set.metadata.name;
      const bool pod_ref = r.api_version == core_v1::Pod::kApiVersion && r.kind == core_v1::Pod::kKind && r.name == pod->metadata.name;
      if (set_ref || pod_ref) {
        stale = stale || r.uid != (set_ref ? set.metadata.uid : pod->metadata.uid);
        continue;
      }
      foreign = foreign || r.controller.value_or(false);
      refs.push_back(r);
    }
    if (stale) continue;  // of an earlier set or pod: the garbage collector's
    if (foreign && (when_scaled || when_deleted)) {
      e_.events.event(client::reference_to(set), "Warning", "ConflictingController",
                      "PersistentVolumeClaim " + claim->metadata.name +
                          " has a conflicting OwnerReference that acts as a managing controller, the retention policy is ignored for this claim");
    } else if (when_scaled && scaled_down) {
      refs.push_back(owner_reference(*pod));
    } else if (when_deleted) {
      refs.push_back(owner_reference(set));
    }
    if (refs == claim->metadata.owner_references) continue;
    core_v1::PersistentVolumeClaim next = *claim;
    next.metadata.owner_references = std::move(refs);
    auto updated = e_.client.update(next);
    if (!updated && !updated.error().not_found()) return updated.error();
  }
  return {};
}

Result<bool> StatefulClaims::stale(const apps_v1::StatefulSet& set, int64_t ordinal) {
  const auto& policy = set.spec.persistent_volume_claim_retention_policy;
  if (!policy || policy->when_scaled != "Delete") return false;
  const std::string pod_name = set.metadata.name + "-" + std::to_string(ordinal);
  for (const core_v1::PersistentVolumeClaim& t : set.spec.volume_claim_templates) {
    // The cache may lag behind the deletion: a pod must not be given a claim that is about to go.
    auto claim = e_.client.get<core_v1::PersistentVolumeClaim>(set.metadata.namespace_, claim_name(set, t, ordinal));
    if (!claim) {
      if (claim.error().not_found()) continue;
      return err(claim.error());
    }
    for (const meta_v1::OwnerReference& r : claim->metadata.owner_references) {
      if (r.kind == core_v1::Pod::kKind && r.name == pod_name) return true;
    }
  }
  return false;
}

}  // namespace engenho::controllers
