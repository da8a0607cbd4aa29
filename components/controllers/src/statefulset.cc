// Keeps the pods of a StatefulSet: each has a name, and with it claims, that stay; they come, change and go in order.
#include "engenho/base/bytes.h"
#include "engenho/client/work_queue.h"
#include "revisions.h"
#include "stateful_claims.h"

namespace engenho::controllers {

namespace {

using client::key_of;

constexpr int kBurst = 500;  // pods made or deleted at once where they need no order
constexpr char kPodName[] = "statefulset.kubernetes.io/pod-name", kPodIndex[] = "apps.kubernetes.io/pod-index";

// One look at a StatefulSet.
struct Look {
  std::string key;
  std::shared_ptr<const apps_v1::StatefulSet> set;
  PodOwner owner;
  History history;
  apps_v1::ControllerRevision current;  // what status.currentRevision names
  std::vector<PodPtr> pods;
  std::map<int64_t, PodPtr> replicas;   // by ordinal, those in range
  std::map<int64_t, PodPtr> condemned;  // by ordinal, the others
  WallTime now;
  Duration wait{0};
  int acted = 0;

  int64_t start() const { return set->spec.ordinals ? set->spec.ordinals->start : 0; }
  int64_t wanted() const { return set->spec.replicas.value_or(1); }
  bool ordered() const { return set->spec.pod_management_policy != "Parallel"; }
  bool available(const core_v1::Pod& p) { return is_available(p, set->spec.min_ready_seconds, now, &wait); }
  bool working(const core_v1::Pod& p) { return available(p) && p.metadata.deletion_timestamp.is_zero(); }
};

std::optional<int64_t> ordinal_of(const std::string& set, const std::string& pod) {
  int64_t n = 0;
  if (pod.size() <= set.size() + 1 || !pod.starts_with(set) || pod[set.size()] != '-') return std::nullopt;
  const std::string_view digits = std::string_view(pod).substr(set.size() + 1);
  if (digits.find_first_not_of("0123456789") != digits.npos || !parse_int(digits, n) || n > INT32_MAX) return std::nullopt;
  return std::to_string(n) == digits ? std::optional(n) : std::nullopt;
}

std::string revision_of(const core_v1::Pod& p) {
  auto it = p.metadata.labels.find(kRevisionLabel);
  return it == p.metadata.labels.end() ? "" : it->second;
}
bool is_running_and_ready(const core_v1::Pod& p) {
  return p.status.phase == "Running" && is_ready(p);
}

class StatefulSetController final : public Controller {
 public:
  explicit StatefulSetController(Environment& e) : e_(e), queue_(*e.options.clock), expectations_(*e.options.clock), claims_(e) {}
  std::string_view name() const override { return "statefulset"; }

  void prepare() override {
    e_.informers.get<apps_v1::StatefulSet>().on_change([this](const apps_v1::StatefulSet& s) { queue_.add(key_of(s.metadata.namespace_, s.metadata.name)); });
    e_.informers.get<apps_v1::ControllerRevision>();
    claims_.prepare();
    watch_pods(
        e_, "StatefulSet",
        [this](const std::string& key, const core_v1::Pod& pod, bool deleted) {
          expectations_.observe(key, pod, deleted);
          queue_.add(key);
        },
        [this](const core_v1::Pod& pod) {
          for (const auto& s : e_.informers.get<apps_v1::StatefulSet>().list(pod.metadata.namespace_)) {
            if (matches(s->spec.selector, pod.metadata.labels)) queue_.add(key_of(s->metadata.namespace_, s->metadata.name));
          }
        });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "statefulset", queue_, 2, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  Status reconcile(const std::string& key) {
    Look look;
    look.key = key;
    look.set = e_.informers.get<apps_v1::StatefulSet>().get(key);
    if (look.set == nullptr) return expectations_.forget(key), Status();
    const apps_v1::StatefulSet& set = *look.set;
    look.now = e_.options.clock->wall();
    look.owner = pod_owner(e_, set);
    look.owner.adopts_finished = true;
    look.owner.stateful_set = set.metadata.name;
    look.owner.also = [&](const core_v1::Pod& p) { return ordinal_of(set.metadata.name, p.metadata.name).has_value(); };
    const bool settled = expectations_.settled(key);
    ENGENHO_ASSIGN_OR_RETURN(look.pods, claim_pods(e_, look.owner));
    if (look.owner.going) return {};  // the garbage collector's now, and its history may be gone already
    ENGENHO_ASSIGN_OR_RETURN(look.history, history_of(e_, look.owner, set, kStatefulSetHashLabel));
    look.current = look.history.current;
    std::set<std::string> live = {look.current.metadata.name};
    for (const auto& r : look.history.old) {
      if (r.metadata.name == set.status.current_revision) look.current = r;
    }
    live.insert(look.current.metadata.name);
    for (const PodPtr& p : look.pods) {
      const int64_t n = *ordinal_of(set.metadata.name, p->metadata.name);
      (n >= look.start() && n < look.start() + look.wanted() ? look.replicas : look.condemned)[n] = p;
      live.insert(revision_of(*p));
    }
    Status acted;
    if (settled) acted = act(look);
    Status written = write_status(look);
    if (acted.ok() && written.ok()) acted = trim_history(e_, look.history.old, set.spec.revision_history_limit.value_or(10), live);
    return acted.ok() ? written : acted;
  }

  Status act(Look& look) {
    // A set may ask for more replicas than anyone has memory for: what is missing is never listed.
    for (int64_t n = look.start(); n < look.start() + look.wanted(); ++n) {
      ENGENHO_ASSIGN_OR_RETURN(const bool go_on, keep(look, n));
      if (!go_on || look.acted >= kBurst) return {};
    }
    for (const auto& [n, pod] : look.condemned) ENGENHO_RETURN_IF_ERROR(claims_.own(*look.set, n, pod.get(), true));
    // The highest goes first; in order, only when all others work.
    const core_v1::Pod* sick = nullptr;
    for (const auto& [n, pod] : look.condemned) {
      if (sick == nullptr && !look.working(*pod)) sick = pod.get();
    }
    for (auto it = look.condemned.rbegin(); it != look.condemned.rend() && look.acted < kBurst; ++it) {
      const core_v1::Pod& pod = *it->second;
      const bool going = !pod.metadata.deletion_timestamp.is_zero();
      if (look.ordered() && (going || ((!is_running_and_ready(pod) || !look.available(pod)) && &pod != sick))) return {};
      if (going) continue;
      ENGENHO_RETURN_IF_ERROR(remove(look, pod));
      if (look.ordered()) return {};
    }
    return look.set->spec.update_strategy.type == "OnDelete" ? Status() : roll(look);
  }

  // Makes or mends the replica `n`. False: the ones after it have to wait.
  Result<bool> keep(Look& look, int64_t n) {
    auto it = look.replicas.find(n);
    if (it == look.replicas.end()) {
      ENGENHO_ASSIGN(const bool stale, claims_.stale(*look.set, n));
      if (stale) return !look.ordered();  // the claim of its predecessor is about to go
      ENGENHO_TRY(create(look, n));
      return !look.ordered();
    }
    const core_v1::Pod& pod = *it->second;
    const bool going = !pod.metadata.deletion_timestamp.is_zero();
    if (is_finished(pod)) {
      if (!going) ENGENHO_TRY(remove(look, pod));
      return !look.ordered();
    }
    if (pod.status.phase == "Pending") ENGENHO_TRY(claims_.make(*look.set, n, pod.metadata.name));
    if (look.ordered() && (going || !is_running_and_ready(pod) || !look.available(pod))) return false;
    ENGENHO_TRY(claims_.own(*look.set, n, &pod, false));
    if (auto label = pod.metadata.labels.find(kPodName); label == pod.metadata.labels.end() || label->second != pod.metadata.name) {
      core_v1::Pod next = pod;
      name_pod(next, n);
      auto updated = e_.client.update(next);
      if (!updated && !updated.error().not_found()) return err(updated.error());
    }
    return true;
  }

  static void name_pod(core_v1::Pod& pod, int64_t n) {
    pod.metadata.labels[kPodName] = pod.metadata.name;
    pod.metadata.labels[kPodIndex] = std::to_string(n);
  }

  Status create(Look& look, int64_t n) {
    const apps_v1::StatefulSet& set = *look.set;
    const auto& rolling = set.spec.update_strategy.rolling_update;
    const bool keeps_old =
        set.spec.update_strategy.type == "RollingUpdate" && n < look.start() + (rolling ? rolling->partition.value_or(0) : set.status.current_replicas);
    const auto& revision = keeps_old ? look.current : look.history.current;
    ENGENHO_ASSIGN_OR_RETURN(const core_v1::PodTemplateSpec t, template_of(revision));
    core_v1::Pod pod = pod_of_template(t, look.owner);
    pod.metadata.name = pod.spec.hostname = set.metadata.name + "-" + std::to_string(n);
    pod.spec.subdomain = set.spec.service_name;
    name_pod(pod, n);
    pod.metadata.labels[kRevisionLabel] = revision.metadata.name;
    claims_.mount(set, n, pod.spec);
    ENGENHO_RETURN_IF_ERROR(claims_.make(set, n, pod.metadata.name));
    ++look.acted;
    ENGENHO_ASSIGN_OR_RETURN(const auto made, create_pod(e_, expectations_, look.key, look.owner, pod));
    return made ? claims_.own(set, n, &*made, false) : Status();
  }
  Status remove(Look& look, const core_v1::Pod& pod) {
    ++look.acted;
    return delete_pod(e_, expectations_, look.key, look.owner, pod);
  }

  // Replaces those of an older revision, the highest first, one at a time: maxUnavailable is behind a gate that is closed upstream, too.
  Status roll(Look& look) {
    const auto& rolling = look.set->spec.update_strategy.rolling_update;
    const int64_t first = look.start() + (rolling ? rolling->partition.value_or(0) : 0);
    int64_t n = look.start() + look.wanted();
    for (auto it = look.replicas.rbegin(); --n >= first; ++it) {
      if (it == look.replicas.rend() || it->first != n) return {};  // not there yet: as good as one that does not work
      const core_v1::Pod& pod = *it->second;
      if (revision_of(pod) != look.history.current.metadata.name && pod.metadata.deletion_timestamp.is_zero()) return remove(look, pod);
      if (!look.working(pod)) return {};
    }
    return {};
  }

  Status write_status(Look& look) {
    const apps_v1::StatefulSet& set = *look.set;
    apps_v1::StatefulSetStatus status = set.status;
    status.observed_generation = set.metadata.generation;
    status.current_revision = look.current.metadata.name;
    status.update_revision = look.history.current.metadata.name;
    status.collision_count = look.history.collisions;
    status.replicas = status.ready_replicas = status.available_replicas = status.current_replicas = status.updated_replicas = 0;
    for (const PodPtr& p : look.pods) {
      ++status.replicas;
      if (is_running_and_ready(*p)) {
        ++status.ready_replicas;
        status.available_replicas += look.available(*p);
      }
      if (!p->metadata.deletion_timestamp.is_zero()) continue;
      status.current_replicas += revision_of(*p) == status.current_revision;
      status.updated_replicas += revision_of(*p) == status.update_revision;
    }
    if (look.wait > Duration(0)) queue_.add_after(look.key, look.wait);
    const int64_t wanted = look.wanted();
    if (set.spec.update_strategy.type == "RollingUpdate" && status.updated_replicas == wanted && status.ready_replicas == wanted && status.replicas == wanted) {
      status.current_replicas = status.updated_replicas;
      status.current_revision = status.update_revision;
    }
    if (status == set.status) return {};
    apps_v1::StatefulSet next = set;
    next.status = std::move(status);
    auto written = e_.client.update_status(next);
    return written || written.error().not_found() ? Status() : written.error();
  }

  Environment& e_;
  client::WorkQueue queue_;
  Expectations expectations_;
  StatefulClaims claims_;
};

}  // namespace

std::unique_ptr<Controller> statefulset_controller(Environment& e) {
  return std::make_unique<StatefulSetController>(e);
}

}  // namespace engenho::controllers
