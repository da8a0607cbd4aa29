// Keeps one pod of a DaemonSet on every node that takes it. The scheduler binds it: the pod's affinity names the node.
#include "engenho/client/placement.h"
#include "engenho/client/work_queue.h"
#include "revisions.h"

namespace engenho::controllers {

namespace {

using client::key_of;

constexpr size_t kBurst = 250;

// One look at a DaemonSet.
struct Look {
  std::string key;
  std::shared_ptr<const apps_v1::DaemonSet> set;
  PodOwner owner;
  std::string hash;
  std::vector<std::shared_ptr<const core_v1::Node>> nodes;
  std::map<std::string, std::vector<PodPtr>> pods;  // by node; oldest first
  WallTime now;
  Duration wait{0};  // until the next pod becomes available by the mere passing of time

  bool available(const core_v1::Pod& p) { return is_available(p, set->spec.min_ready_seconds, now, &wait); }
  bool updated(const core_v1::Pod& p) const {
    auto it = p.metadata.labels.find(kRevisionLabel);
    return it != p.metadata.labels.end() && it->second == hash;
  }
};

// The node that a pod is on or is meant for; "" when it names none.
std::string node_of(const core_v1::Pod& pod) {
  if (!pod.spec.node_name.empty()) return pod.spec.node_name;
  if (!pod.spec.affinity || !pod.spec.affinity->node_affinity) return "";
  const auto& required = pod.spec.affinity->node_affinity->required_during_scheduling_ignored_during_execution;
  if (!required) return "";
  for (const auto& term : required->node_selector_terms) {
    for (const auto& r : term.match_fields) {
      if (r.key == "metadata.name" && r.operator_ == "In" && r.values.size() == 1) return r.values[0];
    }
  }
  return "";
}

// What every daemon bears: a node that is sick is where it is needed.
void add_tolerations(core_v1::PodSpec& spec) {
  auto add = [&](const char* key, const char* effect) {
    core_v1::Toleration t;
    t.key = key;
    t.operator_ = "Exists";
    t.effect = effect;
    auto it = std::find_if(spec.tolerations.begin(), spec.tolerations.end(), [&](const auto& have) {
      return have.key == t.key && have.effect == t.effect && have.operator_ == t.operator_ && have.value == t.value;
    });
    if (it != spec.tolerations.end())
      *it = t;
    else
      spec.tolerations.push_back(t);
  };
  for (const char* key : {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}) add(key, "NoExecute");
  for (const char* key :
       {"node.kubernetes.io/disk-pressure", "node.kubernetes.io/memory-pressure", "node.kubernetes.io/pid-pressure", "node.kubernetes.io/unschedulable"}) {
    add(key, "NoSchedule");
  }
  if (spec.host_network) add("node.kubernetes.io/network-unavailable", "NoSchedule");
}

class DaemonSetController final : public Controller {
 public:
  explicit DaemonSetController(Environment& e) : e_(e), queue_(*e.options.clock), expectations_(*e.options.clock) {}
  std::string_view name() const override { return "daemonset"; }

  void prepare() override {
    auto& sets = e_.informers.get<apps_v1::DaemonSet>();
    sets.on_change([this](const apps_v1::DaemonSet& d) { queue_.add(key_of(d.metadata.namespace_, d.metadata.name)); });
    e_.informers.get<apps_v1::ControllerRevision>().on_change([this](const apps_v1::ControllerRevision& r) {
      const auto* owner = controller_of(r.metadata);
      if (owner != nullptr && owner->kind == "DaemonSet") queue_.add(key_of(r.metadata.namespace_, owner->name));
    });
    auto every = [this] {
      for (const auto& d : e_.informers.get<apps_v1::DaemonSet>().list()) queue_.add(key_of(d->metadata.namespace_, d->metadata.name));
    };
    e_.informers.get<core_v1::Node>().add_handler({[every](const auto&) { every(); },
                                                   [every](const auto& before, const auto& now) {
                                                     if (before->metadata.labels != now->metadata.labels || !(before->spec == now->spec)) every();
                                                   },
                                                   [every](const auto&) { every(); }});
    watch_pods(
        e_, "DaemonSet",
        [this](const std::string& key, const core_v1::Pod& pod, bool deleted) {
          expectations_.observe(key, pod, deleted);
          queue_.add(key);
        },
        [this](const core_v1::Pod& pod) {
          for (const auto& d : e_.informers.get<apps_v1::DaemonSet>().list(pod.metadata.namespace_)) {
            if (matches(d->spec.selector, pod.metadata.labels)) queue_.add(key_of(d->metadata.namespace_, d->metadata.name));
          }
        });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "daemonset", queue_, 2, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  Status reconcile(const std::string& key) {
    Look look;
    look.key = key;
    look.set = e_.informers.get<apps_v1::DaemonSet>().get(key);
    if (look.set == nullptr) {
      expectations_.forget(key);
      std::lock_guard lock(mutex_);
      std::erase_if(failures_, [&](const auto& f) { return f.first.first == key; });
      return {};
    }
    const apps_v1::DaemonSet& set = *look.set;
    if (!set.metadata.deletion_timestamp.is_zero()) return {};  // its history may be gone before its pods
    look.owner = pod_owner(e_, set);
    look.owner.adopts_finished = true;
    look.now = e_.options.clock->wall();
    ENGENHO_ASSIGN_OR_RETURN(const History history, history_of(e_, look.owner, set, kDaemonSetHashLabel));
    if (auto it = history.current.metadata.labels.find(kDaemonSetHashLabel); it != history.current.metadata.labels.end()) look.hash = it->second;
    const bool settled = expectations_.settled(key);
    ENGENHO_ASSIGN_OR_RETURN(const auto claimed, claim_pods(e_, look.owner));
    look.nodes = e_.informers.get<core_v1::Node>().list();
    std::set<std::string> live;
    for (const PodPtr& p : claimed) {
      if (auto it = p->metadata.labels.find(kRevisionLabel); it != p->metadata.labels.end()) live.insert(set.metadata.name + "-" + it->second);
      if (is_finished(*p) && !p->metadata.deletion_timestamp.is_zero()) continue;  // as good as gone
      if (const std::string node = node_of(*p); !node.empty()) look.pods[node].push_back(p);
    }
    for (auto& [node, pods] : look.pods) {
      std::stable_sort(pods.begin(), pods.end(), [](const PodPtr& a, const PodPtr& b) {
        // One that the scheduler has bound comes before one that it has not.
        return std::tuple(a->spec.node_name.empty(), a->metadata.creation_timestamp.value_or(WallTime()), a->metadata.name) <
               std::tuple(b->spec.node_name.empty(), b->metadata.creation_timestamp.value_or(WallTime()), b->metadata.name);
      });
    }
    Status acted;
    if (settled) {
      acted = manage(look);
      if (acted.ok() && set.spec.update_strategy.type == "RollingUpdate" && expectations_.settled(key)) acted = roll(look);
      if (acted.ok()) acted = trim_history(e_, history.old, set.spec.revision_history_limit.value_or(10), live);
    }
    ENGENHO_RETURN_IF_ERROR(write_status(look, settled, history.collisions));
    return acted;
  }

  struct Fit {
    bool should_run = false, may_stay = false;
  };
  static Fit fit(const apps_v1::DaemonSet& set, const core_v1::Node& node) {
    core_v1::PodSpec spec = set.spec.template_.spec;
    add_tolerations(spec);
    if ((!spec.node_name.empty() && spec.node_name != node.metadata.name) || !client::affinity_holds(spec, node)) return {};
    Fit out{true, true};
    for (const core_v1::Taint& t : node.spec.taints) {
      if ((t.effect != "NoSchedule" && t.effect != "NoExecute") || client::tolerates(spec.tolerations, t)) continue;
      out.should_run = false;
      if (t.effect == "NoExecute") out.may_stay = false;
    }
    return out;
  }

  // How many pods more than one, and how many nodes without an available one, an update may bring.
  static std::pair<int, int> limits(const apps_v1::DaemonSet& set, int desired) {
    if (set.spec.update_strategy.type != "RollingUpdate" || !set.spec.update_strategy.rolling_update) return {0, 0};
    const auto& r = *set.spec.update_strategy.rolling_update;
    auto scaled = [&](const std::optional<k8s::IntOrString>& v) { return v ? static_cast<int>(v->scaled(desired, true).value_or(0)) : 0; };
    const int surge = scaled(r.max_surge), unavailable = scaled(r.max_unavailable);
    return {surge, surge == 0 && unavailable == 0 ? 1 : unavailable};
  }

  // One pod on each node that should have one, none where it should not.
  Status manage(Look& look) {
    std::vector<std::string> create;
    std::vector<PodPtr> remove;
    const bool surges = limits(*look.set, 1).first > 0;
    std::set<std::string> known;
    for (const auto& node : look.nodes) {
      known.insert(node->metadata.name);
      const Fit f = fit(*look.set, *node);
      auto it = look.pods.find(node->metadata.name);
      if (it == look.pods.end()) {
        if (f.should_run) create.push_back(node->metadata.name);
        continue;
      }
      std::vector<PodPtr> running;
      for (const PodPtr& p : it->second) {
        if (!p->metadata.deletion_timestamp.is_zero()) continue;
        if (!f.may_stay)
          remove.push_back(p);
        else if (!is_finished(*p))
          running.push_back(p);
        else if (may_delete_finished(look, *p, node->metadata.name))
          remove.push_back(p);
      }
      if (!f.may_stay) continue;
      if (!surges) {
        for (size_t i = 1; i < running.size(); ++i) remove.push_back(running[i]);
      } else if (running.empty()) {
        if (f.should_run) create.push_back(node->metadata.name);
      } else if (running.size() > 1) {
        PodPtr fresh, stale;
        for (const PodPtr& p : running) {
          PodPtr& slot = look.updated(*p) ? fresh : stale;
          if (slot == nullptr)
            slot = p;
          else
            remove.push_back(p);
        }
        if (fresh != nullptr && stale != nullptr && (!is_ready(*stale) || look.available(*fresh))) remove.push_back(stale);
      }
    }
    // Meant for a node that is no more: nobody would ever bind them.
    for (const auto& [node, pods] : look.pods) {
      for (const PodPtr& p : pods) {
        if (p->spec.node_name.empty() && !known.contains(node) && p->metadata.deletion_timestamp.is_zero()) remove.push_back(p);
      }
    }
    return apply(look, create, remove);
  }

  // A daemon that ended is replaced. One that keeps failing is so ever later: its kubelet may be refusing it.
  bool may_delete_finished(Look& look, const core_v1::Pod& p, const std::string& node) {
    const std::string what = p.metadata.namespace_ + "/" + p.metadata.name + " on node " + node;
    if (p.status.phase == "Succeeded") {
      e_.events.event(look.owner.about, "Normal", "SucceededDaemonPod", "Found succeeded daemon pod " + what + ", will try to delete it");
      return true;
    }
    {
      std::lock_guard lock(mutex_);
      Failure& f = failures_[{look.key, node}];
      if (f.delay > Duration(0) && look.now - f.last < f.delay) {
        queue_.add_after(look.key, f.delay - (look.now - f.last));
        return false;
      }
      constexpr Duration kFirst = std::chrono::seconds(1), kLongest = std::chrono::minutes(15);
      f.delay = f.delay == Duration(0) || look.now - f.last > 2 * kLongest ? kFirst : std::min(f.delay * 2, kLongest);
      f.last = look.now;
    }
    e_.events.event(look.owner.about, "Warning", "FailedDaemonPod", "Found failed daemon pod " + what + ", will try to kill it");
    return true;
  }

  Status roll(Look& look) {
    int desired = 0;
    std::map<std::string, Fit> fits;
    for (const auto& node : look.nodes) {
      const Fit f = fits[node->metadata.name] = fit(*look.set, *node);
      if (!f.should_run) continue;
      ++desired;
      look.pods.try_emplace(node->metadata.name);
    }
    const auto [surge, unavailable] = limits(*look.set, desired);
    std::vector<PodPtr> remove, candidates, misplaced;
    std::vector<std::string> create, candidate_nodes;
    int busy = 0, available = 0;  // nodes that are under way; nodes that have a working pod
    for (const auto& [node, pods] : look.pods) {
      PodPtr fresh, stale;
      bool clear = true;
      for (const PodPtr& p : pods) {
        if (!p->metadata.deletion_timestamp.is_zero()) continue;
        PodPtr& slot = look.updated(*p) ? fresh : stale;
        clear = clear && slot == nullptr;
        slot = p;
      }
      if (!clear) {  // manage() prunes it
        ++busy;
        continue;
      }
      if (const PodPtr& serving = stale != nullptr ? stale : fresh; serving != nullptr && look.available(*serving)) ++available;
      if (surge == 0) {
        if ((fresh == nullptr) == (stale == nullptr))
          ++busy;
        else if (fresh != nullptr)
          busy += !look.available(*fresh);
        else if (look.available(*stale))
          candidates.push_back(stale);
        else
          ++busy, remove.push_back(stale);  // it does not work: replacing it costs nothing
        continue;
      }
      if (stale == nullptr) continue;
      if (fresh != nullptr) {
        if (look.available(*fresh))
          remove.push_back(stale);
        else
          ++busy;
      } else if (!fits[node].should_run) {
        (look.available(*stale) ? misplaced : remove).push_back(stale);
      } else {
        (look.available(*stale) ? candidate_nodes : create).push_back(node);
      }
    }
    for (int i = 0; i < std::min<int>(unavailable - busy, static_cast<int>(candidates.size())); ++i) remove.push_back(candidates[static_cast<size_t>(i)]);
    for (int i = 0; i < std::min<int>(surge - busy, static_cast<int>(candidate_nodes.size())); ++i) create.push_back(candidate_nodes[static_cast<size_t>(i)]);
    for (int i = 0; i < std::min<int>(available - desired, static_cast<int>(misplaced.size())); ++i) remove.push_back(misplaced[static_cast<size_t>(i)]);
    return apply(look, create, remove);
  }

  Status apply(Look& look, const std::vector<std::string>& create, const std::vector<PodPtr>& remove) {
    Status failed;
    for (size_t i = 0; i < std::min(create.size(), kBurst) && failed.ok(); ++i) {
      core_v1::Pod pod = pod_of_template(look.set->spec.template_, look.owner);
      pod.metadata.generate_name = look.set->metadata.name.substr(0, 57) + "-";
      pod.metadata.labels[kRevisionLabel] = look.hash;
      if (auto it = look.set->metadata.annotations.find("deprecated.daemonset.template.generation"); it != look.set->metadata.annotations.end()) {
        pod.metadata.labels["pod-template-generation"] = it->second;
      }
      add_tolerations(pod.spec);
      core_v1::NodeSelectorRequirement here;
      here.key = "metadata.name";
      here.operator_ = "In";
      here.values = {create[i]};
      core_v1::NodeSelectorTerm term;
      term.match_fields = {here};
      // The set's own terms hold for this node already.
      pod.spec.affinity.ensure().node_affinity.ensure().required_during_scheduling_ignored_during_execution.ensure().node_selector_terms = {term};
      auto made = create_pod(e_, expectations_, look.key, look.owner, pod);
      if (!made)
        failed = made.error();
      else if (!*made)
        return {};
    }
    for (size_t i = 0; i < std::min(remove.size(), kBurst); ++i) {
      if (Status s = delete_pod(e_, expectations_, look.key, look.owner, *remove[i]); !s.ok()) failed = s;
    }
    return failed;
  }

  Status write_status(Look& look, bool observed, int32_t collisions) {
    apps_v1::DaemonSetStatus status = look.set->status;
    status.desired_number_scheduled = status.current_number_scheduled = status.number_misscheduled = status.number_ready = 0;
    status.updated_number_scheduled = status.number_available = 0;
    for (const auto& node : look.nodes) {
      auto it = look.pods.find(node->metadata.name);
      const bool scheduled = it != look.pods.end() && !it->second.empty();
      if (!fit(*look.set, *node).should_run) {
        status.number_misscheduled += scheduled;
        continue;
      }
      ++status.desired_number_scheduled;
      if (!scheduled) continue;
      const core_v1::Pod& p = *it->second.front();
      ++status.current_number_scheduled;
      status.number_ready += is_ready(p);
      status.number_available += look.available(p);
      status.updated_number_scheduled += look.updated(p);
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    if (observed) status.observed_generation = look.set->metadata.generation;
    if (collisions > 0) status.collision_count = collisions;
    if (look.wait > Duration(0)) queue_.add_after(look.key, look.wait);
    if (status == look.set->status) return {};
    apps_v1::DaemonSet next = *look.set;
    next.status = std::move(status);
    auto written = e_.client.update_status(next);
    return written || written.error().not_found() ? Status() : written.error();
  }

  struct Failure {
    Duration delay{0};
    WallTime last;
  };
  Environment& e_;
  client::WorkQueue queue_;
  Expectations expectations_;
  std::mutex mutex_;                                                 // guards what follows
  std::map<std::pair<std::string, std::string>, Failure> failures_;  // by the set's key and the node
};

}  // namespace

std::unique_ptr<Controller> daemonset_controller(Environment& e) {
  return std::make_unique<DaemonSetController>(e);
}

}  // namespace engenho::controllers
