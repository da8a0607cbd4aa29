#include "pod_control.h"

#include "engenho/client/informer.h"

namespace engenho::controllers {

using client::key_of;

namespace {

constexpr auto kExpectationTimeout = std::chrono::minutes(5);

// What an event says of a creation or deletion.
std::string told(const PodOwner& owner, bool create, const std::string& pod, const Status& failed) {
  if (!owner.stateful_set.empty()) {
    return std::string(create ? "Create" : "Delete") + " Pod " + pod + " in StatefulSet " + owner.stateful_set +
           (failed.ok() ? " successful" : " failed error: " + failed.message());
  }
  if (!failed.ok()) return (create ? "Error creating: " : "Error deleting: ") + failed.message();
  return (create ? "Created pod: " : "Deleted pod: ") + pod;
}

}  // namespace

void Expectations::created(const std::string& key, const std::string& uid) {
  std::lock_guard lock(mutex_);
  Expectation& x = expectations_[key];
  x.since = clock_.mono();
  x.creations.insert(uid);
}
void Expectations::deleting(const std::string& key, const std::string& uid) {
  std::lock_guard lock(mutex_);
  Expectation& x = expectations_[key];
  x.since = clock_.mono();
  x.deletions.insert(uid);
}
void Expectations::not_deleted(const std::string& key, const std::string& uid) {
  std::lock_guard lock(mutex_);
  if (auto it = expectations_.find(key); it != expectations_.end()) it->second.deletions.erase(uid);
}

void Expectations::observe(const std::string& key, const core_v1::Pod& pod, bool deleted) {
  std::lock_guard lock(mutex_);
  const std::string& uid = pod.metadata.uid;
  if (auto it = expectations_.find(key); it != expectations_.end()) {
    it->second.creations.erase(uid);
    if (deleted || !pod.metadata.deletion_timestamp.is_zero()) it->second.deletions.erase(uid);
  }
  if (deleted)
    seen_.erase(uid);
  else
    seen_.insert(uid);
}

bool Expectations::settled(const std::string& key) {
  std::lock_guard lock(mutex_);
  auto it = expectations_.find(key);
  if (it == expectations_.end()) return true;
  std::erase_if(it->second.creations, [&](const std::string& uid) { return seen_.contains(uid); });
  const bool all = it->second.creations.empty() && it->second.deletions.empty();
  if (!all && clock_.mono() - it->second.since <= kExpectationTimeout) return false;
  expectations_.erase(it);
  return true;
}

void Expectations::forget(const std::string& key) {
  std::lock_guard lock(mutex_);
  expectations_.erase(key);
}

void watch_pods(Environment& e, std::string kind, std::function<void(const std::string&, const core_v1::Pod&, bool)> changed,
                std::function<void(const core_v1::Pod&)> orphan) {
  auto tell = [kind = std::move(kind), changed = std::move(changed), orphan = std::move(orphan)](const core_v1::Pod& pod, bool deleted) {
    if (const meta_v1::OwnerReference* owner = controller_of(pod.metadata)) {
      if (owner->kind == kind) changed(key_of(pod.metadata.namespace_, owner->name), pod, deleted);
    } else if (!deleted) {
      orphan(pod);
    }
  };
  e.informers.get<core_v1::Pod>().add_handler({[tell](const PodPtr& p) { tell(*p, false); },
                                               [tell](const PodPtr& before, const PodPtr& now) {
                                                 const auto* was = controller_of(before->metadata);
                                                 const auto* is = controller_of(now->metadata);
                                                 if (was != nullptr && (is == nullptr || is->uid != was->uid)) tell(*before, false);
                                                 tell(*now, false);
                                               },
                                               [tell](const PodPtr& p) { tell(*p, true); }});
}

Result<std::vector<PodPtr>> claim_pods(Environment& e, const PodOwner& owner) {
  std::vector<PodPtr> out;
  std::optional<bool> may_adopt;
  for (const PodPtr& pod : e.informers.get<core_v1::Pod>().list(owner.namespace_name)) {
    const meta_v1::OwnerReference* now = controller_of(pod->metadata);
    const bool match = matches(*owner.selector, pod->metadata.labels) && (!owner.also || owner.also(*pod));
    if (now != nullptr) {
      if (now->uid != owner.reference.uid) continue;
      if (match) {
        out.push_back(pod);
      } else if (!owner.going) {
        core_v1::Pod next = *pod;
        std::erase_if(next.metadata.owner_references, [&](const auto& o) { return o.uid == owner.reference.uid; });
        if (!owner.finalizer.empty()) std::erase(next.metadata.finalizers, owner.finalizer);
        auto released = e.client.update(next);
        if (!released && !released.error().not_found()) return err(released.error());
      }
      continue;
    }
    if (!match || owner.going || !pod->metadata.deletion_timestamp.is_zero() || (!owner.adopts_finished && is_finished(*pod))) continue;
    if (!may_adopt) {
      ENGENHO_ASSIGN(const bool there, owner.still_there());
      may_adopt = there;
    }
    if (!*may_adopt) continue;
    core_v1::Pod next = *pod;
    next.metadata.owner_references.push_back(owner.reference);
    auto& finalizers = next.metadata.finalizers;
    if (!owner.finalizer.empty() && std::find(finalizers.begin(), finalizers.end(), owner.finalizer) == finalizers.end()) {
      finalizers.push_back(owner.finalizer);
    }
    auto adopted = e.client.update(next);
    if (!adopted) {
      if (adopted.error().not_found()) continue;
      return err(adopted.error());
    }
    out.push_back(std::make_shared<const core_v1::Pod>(std::move(*adopted)));
  }
  return out;
}

core_v1::Pod pod_of_template(const core_v1::PodTemplateSpec& t, const PodOwner& owner) {
  core_v1::Pod pod;
  pod.metadata.namespace_ = owner.namespace_name;
  pod.metadata.labels = t.metadata.labels;
  pod.metadata.annotations = t.metadata.annotations;
  pod.metadata.finalizers = t.metadata.finalizers;
  pod.metadata.owner_references.push_back(owner.reference);
  pod.spec = t.spec;
  return pod;
}

Result<std::optional<core_v1::Pod>> create_pod(Environment& e, Expectations& expectations, const std::string& key, const PodOwner& owner,
                                               const core_v1::Pod& pod) {
  auto created = e.client.create(pod);
  if (!created) {
    if (namespace_is_going(created.error())) return std::nullopt;
    e.events.event(owner.about, "Warning", "FailedCreate", told(owner, true, pod.metadata.name, created.error()));
    return err(created.error());
  }
  expectations.created(key, created->metadata.uid);
  e.events.event(owner.about, "Normal", "SuccessfulCreate", told(owner, true, created->metadata.name, {}));
  return std::move(*created);
}

Status delete_pod(Environment& e, Expectations& expectations, const std::string& key, const PodOwner& owner, const core_v1::Pod& pod) {
  expectations.deleting(key, pod.metadata.uid);
  client::DeleteOptions options;
  options.uid = pod.metadata.uid;
  Status s = e.client.remove<core_v1::Pod>(pod.metadata.namespace_, pod.metadata.name, options);
  if (!s.ok()) {
    expectations.not_deleted(key, pod.metadata.uid);
    if (s.not_found()) return {};
    e.events.event(owner.about, "Warning", "FailedDelete", told(owner, false, pod.metadata.name, s));
    return s;
  }
  e.events.event(owner.about, "Normal", "SuccessfulDelete", told(owner, false, pod.metadata.name, {}));
  return {};
}

void sort_for_deletion(std::vector<PodPtr>& pods) {
  std::map<std::string, int> on_node;
  for (const auto& p : pods) ++on_node[p->spec.node_name];
  auto rank = [&](const core_v1::Pod& p) {
    const int phase = p.status.phase == "Pending" ? 0 : p.status.phase.empty() || p.status.phase == "Unknown" ? 1 : 2;
    int64_t cost = 0;
    if (auto it = p.metadata.annotations.find("controller.kubernetes.io/pod-deletion-cost"); it != p.metadata.annotations.end()) {
      cost = std::strtoll(it->second.c_str(), nullptr, 10);
    }
    const core_v1::PodCondition* ready = find_condition(p, "Ready");
    const WallTime since = ready != nullptr ? ready->last_transition_time.value_or(WallTime()) : WallTime();
    const WallTime born = p.metadata.creation_timestamp.value_or(WallTime());
    return std::tuple(!p.spec.node_name.empty(), phase, is_ready(p), cost, -on_node[p.spec.node_name], -since.time_since_epoch().count(),
                      -born.time_since_epoch().count());
  };
  std::stable_sort(pods.begin(), pods.end(), [&](const auto& a, const auto& b) { return rank(*a) < rank(*b); });
}

}  // namespace engenho::controllers
