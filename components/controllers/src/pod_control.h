// What the controllers that own pods share: what the informer has yet to show, adoption and release, creation and deletion with events.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

using PodPtr = std::shared_ptr<const core_v1::Pod>;

// Creations and deletions that the informer has not shown yet, per owner key. Until it has, counting would be wrong: settled() holds the
// owner back, five minutes at most. Thread-safe.
class Expectations {
 public:
  explicit Expectations(Clock& clock) : clock_(clock) {}
  void created(const std::string& key, const std::string& uid);
  void deleting(const std::string& key, const std::string& uid);
  void not_deleted(const std::string& key, const std::string& uid);             // the deletion failed
  void observe(const std::string& key, const core_v1::Pod& pod, bool deleted);  // from the informer, for every pod of this owner
  bool settled(const std::string& key);
  void forget(const std::string& key);

 private:
  struct Expectation {
    std::set<std::string> creations, deletions;  // uids
    MonoTime since;
  };
  Clock& clock_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, Expectation> expectations_;
  std::set<std::string> seen_;  // pods that the informer has shown and that still exist
};

// Tells `changed` of every pod with a controller of `kind`, by the controller's key, and `orphan` of every one without a controller.
// A pod that changes hands is told of under both.
void watch_pods(Environment& e, std::string kind, std::function<void(const std::string& key, const core_v1::Pod& pod, bool deleted)> changed,
                std::function<void(const core_v1::Pod& pod)> orphan);

// Who owns pods.
struct PodOwner {
  client::ObjectReference about;  // for events
  meta_v1::OwnerReference reference;
  std::string namespace_name;
  const k8s::Box<meta_v1::LabelSelector>* selector = nullptr;
  bool going = false;     // is being deleted: adopts and releases nothing
  std::string finalizer;  // given to what is adopted, taken from what is released; "": none
  bool adopts_finished = false;
  std::string stateful_set;  // its name, where events speak of pods as a StatefulSet's do; "": as everyone else's
  std::function<bool(const core_v1::Pod&)> also;  // a further condition on the pods; null: none
  std::function<Result<bool>()> still_there;      // asks the server, once, before the first adoption: false when it went or was replaced
};
template <typename T>
PodOwner pod_owner(Environment& e, const T& owner) {
  PodOwner out;
  out.about = client::reference_to(owner);
  out.reference = owner_reference(owner);
  out.namespace_name = owner.metadata.namespace_;
  out.selector = &owner.spec.selector;
  out.going = !owner.metadata.deletion_timestamp.is_zero();
  out.still_there = [&client = e.client, ns = owner.metadata.namespace_, name = owner.metadata.name, uid = owner.metadata.uid]() -> Result<bool> {
    auto now = client.get<T>(ns, name);
    if (!now) return now.error().not_found() ? Result<bool>(false) : err(now.error());
    return now->metadata.uid == uid && now->metadata.deletion_timestamp.is_zero();
  };
  return out;
}

// Pods of this owner, after adopting orphans that match and releasing those that no longer do.
Result<std::vector<PodPtr>> claim_pods(Environment& e, const PodOwner& owner);

// A pod of the template; the caller gives the name and what else is its own.
core_v1::Pod pod_of_template(const core_v1::PodTemplateSpec& t, const PodOwner& owner);
// Creates one pod and expects to see it. In a namespace that is going it does nothing and says so with nullopt.
Result<std::optional<core_v1::Pod>> create_pod(Environment& e, Expectations& expectations, const std::string& key, const PodOwner& owner,
                                               const core_v1::Pod& pod);
// Deletes one pod and expects to see that. A pod that is gone already is no error.
Status delete_pod(Environment& e, Expectations& expectations, const std::string& key, const PodOwner& owner, const core_v1::Pod& pod);

// Those that are worth least first: not scheduled, not running, not ready, cheap, on crowded nodes, young.
void sort_for_deletion(std::vector<PodPtr>& pods);

}  // namespace engenho::controllers
