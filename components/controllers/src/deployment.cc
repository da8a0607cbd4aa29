// Rolls ReplicaSets so that a Deployment's pods become those of its template.
#include <cmath>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/catalog/apps_v1.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

namespace apps_v1 = k8s::apps_v1;
using client::key_of;
using SetPtr = std::shared_ptr<const apps_v1::ReplicaSet>;

constexpr char kHashLabel[] = "pod-template-hash";
constexpr char kRevision[] = "deployment.kubernetes.io/revision";
constexpr char kRevisionHistory[] = "deployment.kubernetes.io/revision-history";
constexpr char kDesired[] = "deployment.kubernetes.io/desired-replicas";
constexpr char kMaxReplicas[] = "deployment.kubernetes.io/max-replicas";
constexpr char kLastApplied[] = "kubectl.kubernetes.io/last-applied-configuration";

// A name suffix that depends on the template and on how many times it collided. Equal templates are found by comparison, never by this
// hash, so that a change of it rolls nothing.
std::string template_hash(const core_v1::PodTemplateSpec& spec, int32_t collisions) { return name_hash(k8s::to_json_text(spec), collisions); }

int replicas_of(const apps_v1::ReplicaSet& rs) { return rs.spec.replicas.value_or(1); }

int64_t revision_of(const apps_v1::ReplicaSet& rs) {
  auto it = rs.metadata.annotations.find(kRevision);
  return it == rs.metadata.annotations.end() ? 0 : std::strtoll(it->second.c_str(), nullptr, 10);
}

class DeploymentController final : public Controller {
 public:
  explicit DeploymentController(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "deployment"; }

  void prepare() override {
    e_.informers.get<apps_v1::Deployment>().on_change(
        [this](const apps_v1::Deployment& d) { queue_.add(key_of(d.metadata.namespace_, d.metadata.name)); });
    e_.informers.get<apps_v1::ReplicaSet>().on_change([this](const apps_v1::ReplicaSet& rs) {
      if (const meta_v1::OwnerReference* owner = controller_of(rs.metadata)) {
        if (owner->kind == "Deployment") queue_.add(key_of(rs.metadata.namespace_, owner->name));
        return;
      }
      for (const auto& d : e_.informers.get<apps_v1::Deployment>().list(rs.metadata.namespace_)) {
        if (matches(d->spec.selector, rs.metadata.labels)) queue_.add(key_of(rs.metadata.namespace_, d->metadata.name));
      }
    });
    // Recreate waits until the last old pod is gone.
    e_.informers.get<core_v1::Pod>().add_handler({nullptr, nullptr, [this](const auto& pod) {
      const meta_v1::OwnerReference* owner = controller_of(pod->metadata);
      if (owner == nullptr || owner->kind != "ReplicaSet") return;
      auto rs = e_.informers.get<apps_v1::ReplicaSet>().get(pod->metadata.namespace_, owner->name);
      if (rs == nullptr) return;
      if (const meta_v1::OwnerReference* d = controller_of(rs->metadata)) queue_.add(key_of(pod->metadata.namespace_, d->name));
    }});
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "deployment", queue_, 4, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  Result<std::vector<SetPtr>> claim(const apps_v1::Deployment& d) {
    std::vector<SetPtr> out;
    for (const SetPtr& rs : e_.informers.get<apps_v1::ReplicaSet>().list(d.metadata.namespace_)) {
      const meta_v1::OwnerReference* owner = controller_of(rs->metadata);
      const bool match = matches(d.spec.selector, rs->metadata.labels);
      if (owner != nullptr) {
        if (owner->uid == d.metadata.uid) out.push_back(rs);
        continue;
      }
      if (!match || !rs->metadata.deletion_timestamp.is_zero() || !d.metadata.deletion_timestamp.is_zero()) continue;
      apps_v1::ReplicaSet next = *rs;
      next.metadata.owner_references.push_back(owner_reference(d));
      auto adopted = e_.client.update(next);
      if (!adopted) return err(adopted.error());
      out.push_back(std::make_shared<const apps_v1::ReplicaSet>(std::move(*adopted)));
    }
    std::sort(out.begin(), out.end(), [](const SetPtr& a, const SetPtr& b) {
      const WallTime x = a->metadata.creation_timestamp.value_or(WallTime()), y = b->metadata.creation_timestamp.value_or(WallTime());
      return x != y ? x < y : a->metadata.name < b->metadata.name;
    });
    return out;
  }

  static bool same_template(const core_v1::PodTemplateSpec& a, const core_v1::PodTemplateSpec& b) {
    core_v1::PodTemplateSpec x = a, y = b;
    x.metadata.labels.erase(kHashLabel);
    y.metadata.labels.erase(kHashLabel);
    return x == y;
  }

  int max_surge(const apps_v1::Deployment& d) const {
    if (d.spec.strategy.type != "RollingUpdate" || !d.spec.strategy.rolling_update) return 0;
    const auto& surge = d.spec.strategy.rolling_update->max_surge;
    return surge ? static_cast<int>(surge->scaled(d.spec.replicas.value_or(1), true).value_or(0)) : 0;
  }
  int max_unavailable(const apps_v1::Deployment& d) const {
    const int wanted = d.spec.replicas.value_or(1);
    if (d.spec.strategy.type != "RollingUpdate" || !d.spec.strategy.rolling_update || wanted == 0) return 0;
    const auto& text = d.spec.strategy.rolling_update->max_unavailable;
    int n = text ? static_cast<int>(text->scaled(wanted, false).value_or(0)) : 0;
    if (n == 0 && max_surge(d) == 0) n = 1;  // otherwise nothing could ever move
    return std::min(n, wanted);
  }

  Status reconcile(const std::string& key) {
    auto found = e_.informers.get<apps_v1::Deployment>().get(key);
    if (found == nullptr) return {};
    const apps_v1::Deployment& d = *found;
    ENGENHO_ASSIGN_OR_RETURN(std::vector<SetPtr> all, claim(d));
    if (!d.metadata.deletion_timestamp.is_zero()) return write_status(key, d, nullptr, all);
    SetPtr newest;
    for (const SetPtr& rs : all) {
      if (newest == nullptr && same_template(rs->spec.template_, d.spec.template_)) newest = rs;
    }
    if (d.spec.paused) {
      ENGENHO_RETURN_IF_ERROR(scale_proportionally(d, newest, all));
      return write_status(key, d, newest, all);
    }
    const bool resized = newest != nullptr && std::any_of(all.begin(), all.end(), [&](const SetPtr& rs) {
      auto it = rs->metadata.annotations.find(kDesired);
      return replicas_of(*rs) > 0 && it != rs->metadata.annotations.end() && it->second != std::to_string(d.spec.replicas.value_or(1));
    });
    if (resized) {
      ENGENHO_RETURN_IF_ERROR(scale_proportionally(d, newest, all));
      return write_status(key, d, newest, all);
    }
    std::vector<SetPtr> old;
    for (const SetPtr& rs : all) {
      if (rs != newest) old.push_back(rs);
    }
    if (d.spec.strategy.type == "Recreate") {
      bool scaled = false;
      for (const SetPtr& rs : old) {
        if (replicas_of(*rs) == 0) continue;
        ENGENHO_RETURN_IF_ERROR(resize(d, *rs, 0));
        scaled = true;
      }
      if (scaled || old_pods_run(d, newest)) return write_status(key, d, newest, all);
      ENGENHO_RETURN_IF_ERROR(ensure_newest(d, newest, all));
      if (newest != nullptr && replicas_of(*newest) != d.spec.replicas.value_or(1)) {
        ENGENHO_RETURN_IF_ERROR(resize(d, *newest, d.spec.replicas.value_or(1)));
      }
    } else {
      ENGENHO_RETURN_IF_ERROR(ensure_newest(d, newest, all));
      ENGENHO_RETURN_IF_ERROR(roll(d, newest, old));
    }
    ENGENHO_RETURN_IF_ERROR(clean_up(d, old));
    return write_status(key, d, newest, all);
  }

  bool old_pods_run(const apps_v1::Deployment& d, const SetPtr& newest) {
    for (const auto& pod : e_.informers.get<core_v1::Pod>().list(d.metadata.namespace_)) {
      if (!matches(d.spec.selector, pod->metadata.labels) || is_finished(*pod)) continue;
      const meta_v1::OwnerReference* owner = controller_of(pod->metadata);
      if (owner == nullptr || owner->kind != "ReplicaSet") continue;
      if (newest == nullptr || owner->uid != newest->metadata.uid) return true;
    }
    return false;
  }

  void copy_annotations(const apps_v1::Deployment& d, apps_v1::ReplicaSet& rs) const {
    for (const auto& [k, v] : d.metadata.annotations) {
      if (k == kLastApplied || k == kRevision || k == kRevisionHistory || k == kDesired || k == kMaxReplicas ||
          k == "deprecated.deployment.rollback.to") continue;
      rs.metadata.annotations[k] = v;
    }
    rs.metadata.annotations[kDesired] = std::to_string(d.spec.replicas.value_or(1));
    rs.metadata.annotations[kMaxReplicas] = std::to_string(d.spec.replicas.value_or(1) + max_surge(d));
  }

  // The ReplicaSet of the present template, made when there is none, and its revision the highest of all.
  Status ensure_newest(const apps_v1::Deployment& d, SetPtr& newest, std::vector<SetPtr>& all) {
    int64_t highest = 0;
    for (const SetPtr& rs : all) {
      if (rs != newest) highest = std::max(highest, revision_of(*rs));
    }
    const std::string revision = std::to_string(highest + 1);
    if (newest != nullptr) {
      apps_v1::ReplicaSet next = *newest;
      copy_annotations(d, next);
      if (revision_of(*newest) < highest + 1) {
        auto& history = next.metadata.annotations[kRevisionHistory];
        const int64_t before = revision_of(*newest);
        if (before != 0) history += (history.empty() ? "" : ",") + std::to_string(before);
        if (history.empty()) next.metadata.annotations.erase(kRevisionHistory);
        next.metadata.annotations[kRevision] = revision;
      }
      next.spec.min_ready_seconds = d.spec.min_ready_seconds;
      if (!(next == *newest)) {
        auto updated = e_.client.update(next);
        if (!updated) return updated.error();
        SetPtr fresh = std::make_shared<const apps_v1::ReplicaSet>(std::move(*updated));
        std::replace(all.begin(), all.end(), newest, fresh);
        newest = fresh;
      }
      return write_revision(d, newest->metadata.annotations.at(kRevision));
    }
    const int32_t collisions = d.status.collision_count.value_or(0);
    const std::string hash = template_hash(d.spec.template_, collisions);
    apps_v1::ReplicaSet rs;
    rs.metadata.name = d.metadata.name.substr(0, 252 - hash.size()) + "-" + hash;
    rs.metadata.namespace_ = d.metadata.namespace_;
    rs.metadata.labels = d.spec.template_.metadata.labels;
    rs.metadata.labels[kHashLabel] = hash;
    rs.metadata.owner_references.push_back(owner_reference(d));
    rs.spec.selector = d.spec.selector;
    rs.spec.selector.ensure().match_labels[kHashLabel] = hash;
    rs.spec.template_ = d.spec.template_;
    rs.spec.template_.metadata.labels[kHashLabel] = hash;
    rs.spec.min_ready_seconds = d.spec.min_ready_seconds;
    copy_annotations(d, rs);
    rs.metadata.annotations[kRevision] = revision;
    int others = 0;
    for (const SetPtr& o : all) others += replicas_of(*o);
    const int wanted = d.spec.replicas.value_or(1);
    rs.spec.replicas = d.spec.strategy.type == "Recreate" ? wanted : std::max(0, std::min(wanted, wanted + max_surge(d) - others));
    auto created = e_.client.create(rs);
    if (!created && created.error().already_exists()) {
      auto there = e_.client.get<apps_v1::ReplicaSet>(d.metadata.namespace_, rs.metadata.name);
      if (!there) return there.error();
      const meta_v1::OwnerReference* owner = controller_of(there->metadata);
      if (owner != nullptr && owner->uid == d.metadata.uid && same_template(there->spec.template_, d.spec.template_)) {
        created = std::move(there);
      } else {
        // Another template has this name: the next try hashes differently.
        apps_v1::Deployment next = d;
        next.status.collision_count = collisions + 1;
        auto counted = e_.client.update_status(next);
        return counted ? internal_error("the name " + rs.metadata.name + " is taken by another template") : counted.error();
      }
    }
    if (!created) {
      if (namespace_is_going(created.error())) return {};
      e_.events.event(client::reference_to(d), "Warning", "ReplicaSetCreateError",
                      "Failed to create new replica set \"" + rs.metadata.name + "\": " + created.error().message());
      return created.error();
    }
    if (replicas_of(*created) > 0) told(d, *created, 0, replicas_of(*created));
    newest = std::make_shared<const apps_v1::ReplicaSet>(std::move(*created));
    all.push_back(newest);
    return write_revision(d, revision);
  }

  Status write_revision(const apps_v1::Deployment& d, const std::string& revision) {
    auto it = d.metadata.annotations.find(kRevision);
    if (it != d.metadata.annotations.end() && it->second == revision) return {};
    json::Value patch = json::Object();
    patch["metadata"]["annotations"][kRevision] = revision;
    auto patched = e_.client.patch<apps_v1::Deployment>(d.metadata.namespace_, d.metadata.name, client::PatchType::kMerge, json::dump(patch));
    return patched ? Status() : patched.error();
  }

  void told(const apps_v1::Deployment& d, const apps_v1::ReplicaSet& rs, int from, int to) {
    e_.events.event(client::reference_to(d), "Normal", "ScalingReplicaSet",
                    std::string("Scaled ") + (to > from ? "up" : "down") + " replica set " + rs.metadata.name + " from " + std::to_string(from) +
                        " to " + std::to_string(to));
  }

  Status resize(const apps_v1::Deployment& d, const apps_v1::ReplicaSet& rs, int replicas) {
    apps_v1::ReplicaSet next = rs;
    next.spec.replicas = replicas;
    next.metadata.annotations[kDesired] = std::to_string(d.spec.replicas.value_or(1));
    next.metadata.annotations[kMaxReplicas] = std::to_string(d.spec.replicas.value_or(1) + max_surge(d));
    if (next == rs) return {};
    auto updated = e_.client.update(next);
    if (!updated) return updated.error();
    if (replicas != replicas_of(rs)) told(d, rs, replicas_of(rs), replicas);
    return {};
  }

  Status roll(const apps_v1::Deployment& d, const SetPtr& newest, const std::vector<SetPtr>& old) {
    if (newest == nullptr) return {};
    const int wanted = d.spec.replicas.value_or(1);
    int total = replicas_of(*newest), old_total = 0;
    for (const SetPtr& rs : old) old_total += replicas_of(*rs);
    total += old_total;
    if (replicas_of(*newest) > wanted) return resize(d, *newest, wanted);
    if (replicas_of(*newest) < wanted) {
      const int room = wanted + max_surge(d) - total;
      if (room > 0) return resize(d, *newest, replicas_of(*newest) + std::min(room, wanted - replicas_of(*newest)));
    }
    if (old_total == 0) return {};
    // How many may go without falling below what must be available.
    const int minimum = wanted - max_unavailable(d);
    const int newest_unavailable = replicas_of(*newest) - newest->status.available_replicas;
    int may_go = total - minimum - newest_unavailable;
    if (may_go <= 0) return {};
    // Pods that do not work cost nothing: first.
    std::map<std::string, int> size;
    for (const SetPtr& rs : old) size[rs->metadata.name] = replicas_of(*rs);
    for (const SetPtr& rs : old) {
      if (may_go <= 0) break;
      int& now = size[rs->metadata.name];
      const int unhealthy = std::max(0, now - rs->status.available_replicas);
      const int take = std::min(may_go, unhealthy);
      now -= take;
      may_go -= take;
    }
    int available = newest->status.available_replicas;
    for (const SetPtr& rs : old) available += rs->status.available_replicas;
    int spare = available - minimum;
    for (const SetPtr& rs : old) {
      if (spare <= 0) break;
      int& now = size[rs->metadata.name];
      const int take = std::min(spare, std::min(now, static_cast<int>(rs->status.available_replicas)));
      now -= take;
      spare -= take;
    }
    for (const SetPtr& rs : old) {
      if (size[rs->metadata.name] != replicas_of(*rs)) ENGENHO_RETURN_IF_ERROR(resize(d, *rs, size[rs->metadata.name]));
    }
    return {};
  }

  // The size changed while a rollout runs, or while paused: every set grows or shrinks by its share.
  Status scale_proportionally(const apps_v1::Deployment& d, const SetPtr& newest, const std::vector<SetPtr>& all) {
    std::vector<SetPtr> active;
    for (const SetPtr& rs : all) {
      if (replicas_of(*rs) > 0) active.push_back(rs);
    }
    const int wanted = d.spec.replicas.value_or(1);
    if (active.size() <= 1) {
      const SetPtr only = active.empty() ? newest : active[0];
      return only == nullptr ? Status() : resize(d, *only, wanted);
    }
    if (newest != nullptr && newest->status.available_replicas == wanted && replicas_of(*newest) == wanted) {
      for (const SetPtr& rs : active) {
        if (rs != newest) ENGENHO_RETURN_IF_ERROR(resize(d, *rs, 0));
      }
      return {};
    }
    if (d.spec.strategy.type != "RollingUpdate") return {};
    int total = 0;
    for (const SetPtr& rs : active) total += replicas_of(*rs);
    const int allowed = wanted > 0 ? wanted + max_surge(d) : 0;
    int to_add = allowed - total;
    // The largest first; of equal ones the newest when growing, the oldest when shrinking.
    std::stable_sort(active.begin(), active.end(), [&](const SetPtr& a, const SetPtr& b) {
      if (replicas_of(*a) != replicas_of(*b)) return replicas_of(*a) > replicas_of(*b);
      const WallTime x = a->metadata.creation_timestamp.value_or(WallTime()), y = b->metadata.creation_timestamp.value_or(WallTime());
      return to_add > 0 ? x > y : x < y;
    });
    int added = 0;
    std::map<std::string, int> size;
    for (const SetPtr& rs : active) {
      int share = 0;
      if (to_add != 0) {
        auto it = rs->metadata.annotations.find(kMaxReplicas);
        const int before = it != rs->metadata.annotations.end() ? std::max(1, std::atoi(it->second.c_str())) : std::max(1, total);
        share = static_cast<int>(std::lround(static_cast<double>(replicas_of(*rs)) * allowed / before)) - replicas_of(*rs);
        const int rest = to_add - added;
        share = to_add > 0 ? std::clamp(share, 0, rest) : std::clamp(share, rest, 0);
      }
      size[rs->metadata.name] = replicas_of(*rs) + share;
      added += share;
    }
    for (size_t i = 0; i < active.size(); ++i) {
      int n = size[active[i]->metadata.name];
      if (i == 0) n += to_add - added;  // what rounding left over
      ENGENHO_RETURN_IF_ERROR(resize(d, *active[i], std::max(0, n)));
    }
    return {};
  }

  Status clean_up(const apps_v1::Deployment& d, const std::vector<SetPtr>& old) {
    if (!d.spec.revision_history_limit) return {};
    std::vector<SetPtr> idle;
    for (const SetPtr& rs : old) {
      if (replicas_of(*rs) == 0 && rs->status.replicas == 0 && rs->metadata.deletion_timestamp.is_zero() &&
          rs->status.observed_generation >= rs->metadata.generation) {
        idle.push_back(rs);
      }
    }
    std::sort(idle.begin(), idle.end(), [](const SetPtr& a, const SetPtr& b) { return revision_of(*a) < revision_of(*b); });
    const int surplus = static_cast<int>(idle.size()) - *d.spec.revision_history_limit;
    for (int i = 0; i < surplus; ++i) {
      Status s = e_.client.remove<apps_v1::ReplicaSet>(d.metadata.namespace_, idle[static_cast<size_t>(i)]->metadata.name);
      if (!s.ok() && !s.not_found()) return s;
    }
    return {};
  }

  static void set_condition(apps_v1::DeploymentStatus& status, const char* type, const char* value, const char* reason,
                            const std::string& message, WallTime now) {
    for (apps_v1::DeploymentCondition& c : status.conditions) {
      if (c.type != type) continue;
      if (c.status == value && c.reason == reason && c.message == message) return;
      if (c.status != value) c.last_transition_time = now;
      c.status = value;
      c.reason = reason;
      c.message = message;
      c.last_update_time = now;
      return;
    }
    apps_v1::DeploymentCondition c;
    c.type = type;
    c.status = value;
    c.reason = reason;
    c.message = message;
    c.last_transition_time = c.last_update_time = now;
    status.conditions.push_back(std::move(c));
  }

  Status write_status(const std::string& key, const apps_v1::Deployment& d, const SetPtr& newest, const std::vector<SetPtr>& all) {
    apps_v1::DeploymentStatus status = d.status;
    status.observed_generation = d.metadata.generation;
    status.replicas = status.ready_replicas = status.available_replicas = 0;
    for (const SetPtr& rs : all) {
      status.replicas += rs->status.replicas;
      status.ready_replicas += rs->status.ready_replicas;
      status.available_replicas += rs->status.available_replicas;
    }
    status.updated_replicas = newest != nullptr ? newest->status.replicas : 0;
    const int wanted = d.spec.replicas.value_or(1);
    int total = 0;
    for (const SetPtr& rs : all) total += replicas_of(*rs);
    status.unavailable_replicas = std::max(0, total - status.available_replicas);
    const WallTime now = e_.options.clock->wall();
    if (status.available_replicas >= wanted - max_unavailable(d)) {
      set_condition(status, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now);
    } else {
      set_condition(status, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now);
    }
    if (d.spec.progress_deadline_seconds && *d.spec.progress_deadline_seconds != INT32_MAX) {
      const std::string what = newest != nullptr ? "ReplicaSet \"" + newest->metadata.name + "\"" : "Deployment \"" + d.metadata.name + "\"";
      const apps_v1::DeploymentCondition* progress = nullptr;
      for (const auto& c : status.conditions) {
        if (c.type == "Progressing") progress = &c;
      }
      const bool complete = status.updated_replicas == wanted && status.replicas == wanted && status.available_replicas == wanted;
      const bool moved = status.updated_replicas > d.status.updated_replicas || status.ready_replicas > d.status.ready_replicas ||
                         status.available_replicas > d.status.available_replicas ||
                         status.replicas - status.updated_replicas < d.status.replicas - d.status.updated_replicas;
      const bool created = newest != nullptr && d.status.observed_generation != d.metadata.generation && progress == nullptr;
      if (d.spec.paused) {
        if (progress == nullptr || progress->reason != "DeploymentPaused") {
          set_condition(status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now);
        }
      } else if (complete) {
        if (progress == nullptr || progress->reason != "NewReplicaSetAvailable" || progress->message.find(what) == std::string::npos) {
          set_condition(status, "Progressing", "True", "NewReplicaSetAvailable", what + " has successfully progressed.", now);
        }
      } else if (created) {
        set_condition(status, "Progressing", "True", "NewReplicaSetCreated", "Created new replica set \"" + newest->metadata.name + "\"", now);
      } else if (moved || progress == nullptr || progress->reason == "NewReplicaSetAvailable" || progress->reason == "DeploymentPaused") {
        for (apps_v1::DeploymentCondition& c : status.conditions) {
          if (c.type == "Progressing") c.last_update_time = now;
        }
        set_condition(status, "Progressing", "True", "ReplicaSetUpdated", what + " is progressing.", now);
      } else if (progress->reason != "ProgressDeadlineExceeded") {
        const Duration left = progress->last_update_time.value_or(now) + std::chrono::seconds(*d.spec.progress_deadline_seconds) - now;
        if (left <= Duration(0)) {
          set_condition(status, "Progressing", "False", "ProgressDeadlineExceeded", what + " has timed out progressing.", now);
        } else {
          queue_.add_after(key, left + std::chrono::seconds(1));
        }
      }
    }
    if (status == d.status) return {};
    apps_v1::Deployment next = d;
    next.status = std::move(status);
    auto written = e_.client.update_status(next);
    if (!written && !written.error().not_found()) return written.error();
    return {};
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> deployment_controller(Environment& e) { return std::make_unique<DeploymentController>(e); }

}  // namespace engenho::controllers
