#include "pod_worker.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "lifecycle.h"
#include "logs.h"

namespace engenho::kubelet {

namespace {

constexpr Duration kFirstBackoff = std::chrono::seconds(10), kMaxBackoff = std::chrono::minutes(5);
// A container that ran this long before it ended begins its back-off anew.
constexpr Duration kBackoffReset = std::chrono::minutes(10);
constexpr Duration kConfigRetry = std::chrono::seconds(2);
constexpr Duration kVolumeRefresh = std::chrono::seconds(60);

MonoTime now() { return std::chrono::steady_clock::now(); }

std::string duration_text(Duration d) {
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(d).count();
  return s < 60 ? std::to_string(s) + "s" : std::to_string(s / 60) + "m" + std::to_string(s % 60) + "s";
}

bool should_restart(const Pod& pod, const core_v1::Container& c, int exit_code, bool init) {
  if (init) return is_sidecar(c) || (exit_code != 0 && pod.spec.restart_policy != "Never");
  if (c.restart_policy) return *c.restart_policy == "Always" || (*c.restart_policy == "OnFailure" && exit_code != 0);
  return pod.spec.restart_policy == "Always" || (pod.spec.restart_policy == "OnFailure" && exit_code != 0);
}

bool is_init(const Pod& pod, const std::string& name) {
  return std::any_of(pod.spec.init_containers.begin(), pod.spec.init_containers.end(), [&](const auto& c) { return c.name == name; });
}

}  // namespace

PodWorker::PodWorker(Machinery& machinery, std::string uid, PodPtr pod, std::function<void(const std::string&)> finished)
    : m_(machinery), uid_(std::move(uid)), finished_(std::move(finished)), pod_(std::move(pod)) {
  thread_ = std::thread([this] { run(); });
}

PodWorker::~PodWorker() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void PodWorker::update(PodPtr pod) {
  if (pod->metadata.deletion_timestamp) m_.cri.cancel_pulls(uid_);
  std::lock_guard lock(mutex_);
  pod_ = std::move(pod);
  woken_ = true;
  wake_.notify_all();
}
void PodWorker::orphaned() {
  m_.cri.cancel_pulls(uid_);
  std::lock_guard lock(mutex_);
  orphaned_ = true;
  woken_ = true;
  wake_.notify_all();
}
void PodWorker::wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  wake_.notify_all();
}
bool PodWorker::done() {
  std::lock_guard lock(mutex_);
  return done_;
}

void PodWorker::later(Duration delay) { next_ = std::min(next_, now() + delay); }

void PodWorker::run() {
  set_thread_name("pod-" + uid_.substr(0, 8));
  Duration retry = std::chrono::milliseconds(500);
  while (true) {
    PodPtr pod;
    bool orphan = false;
    {
      std::unique_lock lock(mutex_);
      while (!woken_ && !stopped_ && now() < next_) {
        if (next_ == MonoTime::max()) wake_.wait(lock);
        else wake_.wait_until(lock, next_);
      }
      if (stopped_) return;
      woken_ = false;
      pod = pod_;
      orphan = orphaned_;
    }
    next_ = MonoTime::max();
    const Status status = sync(pod, orphan);
    if (!status.ok() && m_.stop.stopped()) continue;
    if (!status.ok()) {
      log::warn("kubelet", "pod {}/{}: {}", pod->metadata.namespace_, pod->metadata.name, status.message());
      later(retry);
      retry = std::min<Duration>(retry * 2, std::chrono::seconds(30));
    } else {
      retry = std::chrono::milliseconds(500);
    }
    bool over = false;
    {
      std::lock_guard lock(mutex_);
      over = done_;
    }
    if (over) {
      finished_(uid_);
      return;
    }
  }
}

void PodWorker::event(const PodPtr& pod, const std::string& container, const char* type, const char* reason, std::string message) {
  auto about = client::reference_to(*pod);
  if (!container.empty()) {
    const bool ephemeral = !is_init(*pod, container) && find_container(*pod, container) == nullptr;
    about.field_path = std::string(is_init(*pod, container) ? "spec.initContainers{" : ephemeral ? "spec.ephemeralContainers{" : "spec.containers{") + container + "}";
  }
  m_.events.event(about, type, reason, std::move(message));
}

Result<RuntimePod> PodWorker::read_runtime() {
  RuntimePod out;
  ENGENHO_ASSIGN(out.sandboxes, m_.cri.list_sandboxes(uid_));
  std::sort(out.sandboxes.begin(), out.sandboxes.end(), [](const auto& a, const auto& b) { return a.created_at() > b.created_at(); });
  ENGENHO_ASSIGN(auto containers, m_.cri.list_containers(uid_));
  std::map<std::string, rt::ContainerStatus> still;
  for (const rt::Container& c : containers) {
    out.sandbox_of[c.id()] = c.pod_sandbox_id();
    auto known = ended_.find(c.id());
    if (known != ended_.end()) {
      out.containers.push_back(known->second);
    } else {
      auto status = m_.cri.container_status(c.id());
      if (!status && status.error().not_found()) continue;
      if (!status) return err(status.error());
      out.containers.push_back(std::move(*status));
    }
    if (out.containers.back().state() == rt::CONTAINER_EXITED) still[c.id()] = out.containers.back();
  }
  ended_ = std::move(still);
  std::sort(out.containers.begin(), out.containers.end(), [](const auto& a, const auto& b) {
    return a.metadata().attempt() != b.metadata().attempt() && a.metadata().name() == b.metadata().name() ? a.metadata().attempt() > b.metadata().attempt()
                                                                                                      : a.created_at() > b.created_at();
  });
  return out;
}

std::string PodWorker::termination_message(const Pod& pod, const rt::ContainerStatus& status) const {
  auto text = read_file(message_file(m_.facts, pod, status.metadata().name(), status.metadata().attempt()));
  std::string out = text ? std::move(*text) : std::string();
  if (out.size() > 4096) out = out.substr(out.size() - 4096);
  auto policy = status.annotations().find(kAnnotationMessagePolicy);
  if (out.empty() && status.exit_code() != 0 && policy != status.annotations().end() && policy->second == "FallbackToLogsOnError") {
    out = last_log_lines(log_path(m_.facts, pod, status.metadata().name(), status.metadata().attempt()), 80, 2048);
  }
  return out;
}

core_v1::PodStatus PodWorker::status_of(const Pod& pod, const RuntimePod& runtime, bool terminating) {
  StatusInputs in{pod, runtime, m_.facts, waiting_, {}, {}, pod_ip_, terminating, failed_reason_, failed_message_, Clock::real().wall()};
  in.probe = [&](const core_v1::Container& c, const std::string& id) { return m_.probes.state(uid_, c, id); };
  in.message = [&](const rt::ContainerStatus& s) { return termination_message(pod, s); };
  return make_status(in);
}

Status PodWorker::write_status(const PodPtr& pod, const core_v1::PodStatus& status) {
  json::Value now_status = k8s::to_json(status), was = k8s::to_json(pod->status);
  if (now_status == was) return {};
  const std::string text = json::dump(now_status);
  // The informer has not brought back yet what was written last.
  if (text == last_written_ && pod->metadata.resource_version == last_version_) return {};
  json::Value patch = json::Object();
  patch["metadata"]["uid"] = uid_;
  if (json::Value* ips = now_status.get("podIPs"); ips != nullptr && ips->is_array()) {
    json::Value replace = json::Object();   // the list merges by address: a new address would be added to the old one
    replace["$patch"] = "replace";
    ips->as_array().insert(ips->as_array().begin(), replace);
  }
  for (const char* field : {"message", "reason"}) {
    if (now_status.get(field) == nullptr && was.get(field) != nullptr) now_status[field] = nullptr;
  }
  // Conditions merge by type: what is empty now must be said to be.
  if (json::Value* conditions = now_status.get("conditions"); conditions != nullptr && conditions->is_array()) {
    for (json::Value& c : conditions->as_array()) {
      for (const char* field : {"message", "reason"}) {
        if (c.get(field) == nullptr) c[field] = nullptr;
      }
    }
  }
  patch["status"] = std::move(now_status);
  auto written = m_.client.patch<Pod>(pod->metadata.namespace_, pod->metadata.name, client::PatchType::kStrategic, json::dump(patch), "status");
  if (!written) return written.error().not_found() || written.error().conflict() ? Status() : written.error();
  last_written_ = text;
  last_version_ = pod->metadata.resource_version;
  return {};
}

Status PodWorker::sync(const PodPtr& pod, bool orphan) {
  const bool deleted = orphan || bool(pod->metadata.deletion_timestamp);
  if (deleted || is_terminal(pod->status.phase) || !failed_reason_.empty()) return terminate(pod, orphan);
  if (pod->spec.active_deadline_seconds && pod->status.start_time) {
    const Duration left = *pod->status.start_time + std::chrono::seconds(*pod->spec.active_deadline_seconds) - Clock::real().wall();
    if (left <= Duration(0)) {
      failed_reason_ = "DeadlineExceeded";
      failed_message_ = "Pod was active on the node longer than the specified deadline";
      event(pod, "", "Normal", "DeadlineExceeded", failed_message_);
      return terminate(pod, orphan);
    }
    later(left);
  }
  ENGENHO_ASSIGN_OR_RETURN(RuntimePod runtime, read_runtime());

  Status failure = ensure_sandbox(pod, runtime);
  const rt::PodSandbox* sandbox = runtime.ready_sandbox();
  if (failure.ok() && sandbox != nullptr) {
    failure = run_containers(pod, runtime, sandbox->id());
    auto fresh = read_runtime();
    if (fresh) runtime = std::move(*fresh);
    collect_dead(runtime);
  }
  if (m_.stop.stopped()) return unavailable("stopped");   // what failed now says nothing
  // A container that ended while we looked gets its turn now and not at the next relist.
  const core_v1::PodStatus status = status_of(*pod, runtime, false);
  if (is_terminal(status.phase)) {
    // Nothing will run again: what is left (sidecars, the sandbox) ends before the phase is told.
    return terminate(pod, orphan);
  }
  if (Status s = write_status(pod, status); !s.ok() && failure.ok()) failure = s;
  return failure;
}

Status PodWorker::ensure_sandbox(const PodPtr& pod, RuntimePod& runtime) {
  const rt::PodSandbox* sandbox = runtime.ready_sandbox();
  if (sandbox == nullptr) {
    // A pod all of whose containers have ended for good needs no new sandbox (its status will be terminal).
    bool all_over = !pod->spec.containers.empty();
    for (const auto& c : pod->spec.containers) {
      const auto* s = runtime.newest(c.name);
      all_over &= s != nullptr && s->state() == rt::CONTAINER_EXITED && !should_restart(*pod, c, s->exit_code(), false);
    }
    if (all_over) return {};
    // What an earlier sandbox still holds must be gone before its successor takes the names.
    for (const auto& c : runtime.containers) {
      if (c.state() == rt::CONTAINER_RUNNING) kill_container(pod, c, 5, "sandbox changed");
    }
    for (const auto& s : runtime.sandboxes) ENGENHO_RETURN_IF_ERROR(m_.cri.stop_sandbox(s.id()));
  }
  if (pod_ip_.empty() || sandbox == nullptr || now() >= refresh_volumes_at_) {
    if (sandbox != nullptr && pod_ip_.empty()) {
      ENGENHO_ASSIGN_OR_RETURN(auto status, m_.cri.sandbox_status(sandbox->id()));
      pod_ip_ = pod->spec.host_network ? m_.facts.node_address : status.network().ip();
    }
    if (sandbox == nullptr) pod_ip_.clear();
    auto volumes = m_.volumes.ensure(*pod, {m_.facts.node_address, pod_ip_});
    if (!volumes) {
      event(pod, "", "Warning", "FailedMount", volumes.error().message());
      if (sandbox == nullptr) return volumes.error();   // running containers are left as they are
    } else {
      volumes_ = std::move(*volumes);
    }
    // A token that is due before the next look is renewed when it is; one that could not be renewed is asked for at the next look.
    Duration refresh = kVolumeRefresh;
    if (const Duration due = volumes_.renew_at - Clock::real().wall(); due > Duration(0)) refresh = std::min(refresh, due);
    refresh_volumes_at_ = now() + refresh;
  }
  later(refresh_volumes_at_ - now());
  uint32_t attempt = runtime.sandboxes.empty() ? 0 : runtime.sandboxes.front().metadata().attempt() + 1;
  if (sandbox != nullptr) attempt = sandbox->metadata().attempt();
  sandbox_config_ = sandbox_config(m_.facts, *pod, attempt);
  if (sandbox != nullptr) return {};

  if (!runtime.sandboxes.empty()) event(pod, "", "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
  ENGENHO_RETURN_IF_ERROR(make_dirs(pod_log_dir(m_.facts, *pod)));
  auto id = m_.cri.run_sandbox(sandbox_config_);
  if (!id) {
    event(pod, "", "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: " + id.error().message());
    return id.error();
  }
  ENGENHO_ASSIGN_OR_RETURN(auto status, m_.cri.sandbox_status(*id));
  pod_ip_ = pod->spec.host_network ? m_.facts.node_address : status.network().ip();
  // Old sandboxes go once the new one stands; the containers of old ones are kept for their logs and restart counts... by containerd's
  // rule they go with their sandbox, so the sandbox before this one is kept until the next.
  for (size_t i = 1; i < runtime.sandboxes.size(); ++i) (void)m_.cri.remove_sandbox(runtime.sandboxes[i].id());
  ENGENHO_ASSIGN_OR_RETURN(runtime, read_runtime());
  return {};
}

Status PodWorker::run_containers(const PodPtr& pod, RuntimePod& runtime, const std::string& sandbox) {
  // Ends what its specification or its probes no longer want. True: `status` counts as ended now.
  auto check_running = [&](const core_v1::Container& c, const rt::ContainerStatus& status) {
    m_.probes.watch(pod, c, status.id(), pod_ip_, WallTime(std::chrono::nanoseconds(status.started_at())));
    const ProbeState probe = m_.probes.state(uid_, c, status.id());
    auto hash = status.annotations().find(kAnnotationHash);
    std::string why;
    if (hash != status.annotations().end() && hash->second != container_hash(c)) why = "Container " + c.name + " definition changed, will be restarted";
    else if (probe.must_restart) why = "Container " + c.name + " " + probe.message + (should_restart(*pod, c, 1, is_init(*pod, c.name)) ? ", will be restarted" : "");
    if (why.empty()) return false;
    int64_t grace = pod->spec.termination_grace_period_seconds.value_or(30);
    if (probe.must_restart) {
      const auto& p = probe.message.find("startup") != std::string::npos ? c.startup_probe : c.liveness_probe;
      if (p && p->termination_grace_period_seconds) grace = *p->termination_grace_period_seconds;
    }
    kill_container(pod, status, grace, why);
    m_.probes.forget(uid_, c.name);
    later(Duration(0));
    return true;
  };

  bool any_regular = false;
  for (const auto& c : pod->spec.containers) any_regular |= runtime.newest(c.name, sandbox) != nullptr;
  for (const auto& c : pod->spec.init_containers) {
    const auto* status = runtime.newest(c.name, sandbox);
    const bool sidecar = is_sidecar(c);
    if (any_regular && !sidecar) continue;
    if (status != nullptr && status->state() == rt::CONTAINER_RUNNING) {
      waiting_.erase(c.name);
      if (!sidecar) return {};   // its end wakes us
      check_running(c, *status);
      if (!any_regular && !m_.probes.state(uid_, c, status->id()).started) return {};
      continue;
    }
    if (status != nullptr && status->state() == rt::CONTAINER_EXITED && !sidecar) {
      if (status->exit_code() == 0) {
        waiting_.erase(c.name);
        continue;
      }
      if (!should_restart(*pod, c, status->exit_code(), true)) return {};   // the pod has failed
    }
    if (!start_or_back_off(pod, c, runtime, sandbox)) {
      if (any_regular) continue;
      return {};
    }
    later(Duration(0));
    if (!any_regular) return {};   // the next one in the next round
  }
  for (const auto& c : pod->spec.containers) {
    const auto* status = runtime.newest(c.name, sandbox);
    if (status != nullptr && status->state() == rt::CONTAINER_RUNNING) {
      waiting_.erase(c.name);
      check_running(c, *status);
      continue;
    }
    if (status != nullptr && status->state() == rt::CONTAINER_EXITED && !should_restart(*pod, c, status->exit_code(), false)) {
      waiting_.erase(c.name);
      continue;
    }
    start_or_back_off(pod, c, runtime, sandbox);
  }
  for (const auto& e : pod->spec.ephemeral_containers) {
    // Once, and never again.
    if (runtime.newest(e.name) != nullptr) continue;
    start_or_back_off(pod, as_container(e), runtime, sandbox);
  }
  return {};
}

bool PodWorker::start_or_back_off(const PodPtr& pod, const core_v1::Container& c, const RuntimePod& runtime, const std::string& sandbox) {
  const auto* last = runtime.newest(c.name, sandbox);
  Backoff& back = restart_backoff_[c.name];
  if (last != nullptr && last->state() == rt::CONTAINER_EXITED) {
    const Duration ran(last->finished_at() - last->started_at());
    if (ran >= kBackoffReset) back = {};
    // Measured from the container's end, so that it also holds after a restart of ours.
    const Duration since = Clock::real().wall() - WallTime(std::chrono::nanoseconds(last->finished_at()));
    if (back.delay > Duration(0) && since < back.delay) {
      const std::string text = "back-off " + duration_text(back.delay) + " restarting failed container=" + c.name + " pod=" + pod->metadata.name + "_" +
                               pod->metadata.namespace_ + "(" + uid_ + ")";
      if (waiting_[c.name].reason != "CrashLoopBackOff") event(pod, c.name, "Warning", "BackOff", "Back-off restarting failed container " + c.name + " in pod " + pod->metadata.name + "_" + pod->metadata.namespace_ + "(" + uid_ + ")");
      waiting_[c.name] = {"CrashLoopBackOff", text};
      later(back.delay - since);
      return false;
    }
  }
  Backoff& image = image_backoff_[c.name];
  if (image.delay > Duration(0) && now() < image.until) {
    later(image.until - now());
    return false;
  }
  Status s = start_container(pod, c, runtime, sandbox);
  if (!s.ok()) {
    log::debug("kubelet", "container {} of {}/{}: {}", c.name, pod->metadata.namespace_, pod->metadata.name, s.message());
    const std::string& why = waiting_[c.name].reason;
    if (why == "RunContainerError") {   // it has ended as soon as it began
      back.delay = std::clamp<Duration>(back.delay * 2, kFirstBackoff, kMaxBackoff);
    } else if (why == "ErrImagePull" || why == "ImagePullBackOff") {
      image.delay = std::clamp<Duration>(image.delay * 2, kFirstBackoff, kMaxBackoff);
      image.until = now() + image.delay;
      later(image.delay);
    } else {
      later(kConfigRetry);   // an object that it needs may come at any time
    }
    return false;
  }
  image = {};
  if (last != nullptr) back.delay = std::clamp<Duration>(back.delay * 2, kFirstBackoff, kMaxBackoff);
  return true;
}

Result<std::string> PodWorker::ensure_image(const PodPtr& pod, const core_v1::Container& c, rt::Image& image) {
  const std::string policy = !c.image_pull_policy.empty() ? c.image_pull_policy : c.image.find(':') == std::string::npos || c.image.ends_with(":latest") ? "Always" : "IfNotPresent";
  ENGENHO_ASSIGN(image, m_.cri.image_status(c.image));
  const bool there = !image.id().empty();
  if (there && policy != "Always") {
    event(pod, c.name, "Normal", "Pulled", "Container image \"" + c.image + "\" already present on machine");
    return image.id();
  }
  if (policy == "Never") {
    waiting_[c.name] = {"ErrImageNeverPull", "Container image \"" + c.image + "\" is not present with pull policy of Never"};
    event(pod, c.name, "Warning", "ErrImageNeverPull", waiting_[c.name].message);
    return err(bad_request(waiting_[c.name].message));
  }
  event(pod, c.name, "Normal", "Pulling", "Pulling image \"" + c.image + "\"");
  const auto begin = now();
  std::vector<rt::AuthConfig> credentials = pull_credentials(m_.cluster, *pod, c.image);
  Result<std::string> pulled = err(internal_error("not tried"));
  if (credentials.empty()) pulled = m_.cri.pull_image(c.image, nullptr, sandbox_config_);
  for (const auto& auth : credentials) {
    pulled = m_.cri.pull_image(c.image, &auth, sandbox_config_);
    if (pulled) break;
  }
  if (!pulled) {
    event(pod, c.name, "Warning", "Failed", "Failed to pull image \"" + c.image + "\": " + pulled.error().message());
    event(pod, c.name, "Warning", "Failed", "Error: ErrImagePull");
    const bool again = image_backoff_[c.name].delay > Duration(0);
    waiting_[c.name] = again ? Waiting{"ImagePullBackOff", "Back-off pulling image \"" + c.image + "\": ErrImagePull: " + pulled.error().message()}
                             : Waiting{"ErrImagePull", pulled.error().message()};
    if (again) event(pod, c.name, "Normal", "BackOff", "Back-off pulling image \"" + c.image + "\"");
    return err(pulled.error());
  }
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now() - begin).count();
  event(pod, c.name, "Normal", "Pulled", "Successfully pulled image \"" + c.image + "\" in " + std::to_string(ms) + "ms");
  ENGENHO_ASSIGN(image, m_.cri.image_status(*pulled));
  return *pulled;
}

Status PodWorker::start_container(const PodPtr& pod, const core_v1::Container& c, const RuntimePod& runtime, const std::string& sandbox) {
  rt::Image image;
  ENGENHO_ASSIGN_OR_RETURN(std::string image_ref, ensure_image(pod, c, image));
  auto config_error = [&](const char* reason, const Status& s) {
    waiting_[c.name] = {reason, s.message()};
    event(pod, c.name, "Warning", "Failed", "Error: " + s.message());
    return s;
  };
  uint32_t attempt = 0;
  if (const auto* last = runtime.newest(c.name)) {
    attempt = last->metadata().attempt() + 1;
  } else {
    for (const auto* list : {&pod->status.init_container_statuses, &pod->status.container_statuses}) {
      for (const auto& s : *list) {
        if (s.name == c.name && !s.container_id.empty()) attempt = static_cast<uint32_t>(s.restart_count) + 1;
      }
    }
  }
  const PodAddresses addresses{m_.facts.node_address, pod_ip_};
  auto environment = make_environment(*pod, c, addresses, m_.cluster);
  if (!environment) return config_error("CreateContainerConfigError", environment.error());
  ContainerInputs in{*pod, c, attempt, image_ref, &image, std::move(*environment), addresses, volumes_, ""};
  for (const auto& e : pod->spec.ephemeral_containers) {
    if (e.name != c.name || e.target_container_name.empty()) continue;
    if (const auto* target = runtime.newest(e.target_container_name, sandbox)) in.target_id = target->id();
  }
  auto config = container_config(m_.facts, in);
  if (!config) return config_error("CreateContainerConfigError", config.error());
  // A container that was made but never started (we were interrupted) would hold the name.
  for (const auto& s : runtime.containers) {
    if (s.metadata().name() == c.name && s.state() == rt::CONTAINER_CREATED) (void)m_.cri.remove_container(s.id());
  }
  auto id = m_.cri.create_container(sandbox, *config, sandbox_config_);
  if (!id) return config_error("CreateContainerError", id.error());
  event(pod, c.name, "Normal", "Created", "Container created");
  if (Status s = m_.cri.start_container(*id); !s.ok()) {
    (void)config_error("RunContainerError", s);
    // It stays as an ended container: its exit counts, and the restart back-off applies.
    return s;
  }
  event(pod, c.name, "Normal", "Started", "Container started");
  waiting_.erase(c.name);
  if (c.lifecycle && c.lifecycle->post_start) {
    Status s = run_hook(m_.cri, *id, *c.lifecycle->post_start, c, pod_ip_, std::chrono::minutes(10), m_.stop);
    if (!s.ok()) {
      event(pod, c.name, "Warning", "FailedPostStartHook", "PostStartHook failed: " + s.message());
      if (auto status = m_.cri.container_status(*id)) kill_container(pod, *status, pod->spec.termination_grace_period_seconds.value_or(30), "FailedPostStartHook");
    }
  }
  return {};
}

void PodWorker::kill_container(const PodPtr& pod, const rt::ContainerStatus& status, int64_t grace, const std::string& why) {
  const std::string& name = status.metadata().name();
  event(pod, name, "Normal", "Killing", why.empty() ? "Stopping container " + name : why);
  const MonoTime begin = now();
  const core_v1::Container* c = find_container(*pod, name);
  if (c != nullptr && c->lifecycle && c->lifecycle->pre_stop && grace > 0) {
    Status s = run_hook(m_.cri, status.id(), *c->lifecycle->pre_stop, *c, pod_ip_, std::chrono::seconds(grace), m_.stop);
    if (!s.ok()) event(pod, name, "Warning", "FailedPreStopHook", "PreStopHook failed: " + s.message());
    grace -= std::chrono::duration_cast<std::chrono::seconds>(now() - begin).count();
    grace = std::max<int64_t>(grace, 2);   // the least that TERM is given after a hook
  }
  if (Status s = m_.cri.stop_container(status.id(), grace); !s.ok()) log::warn("kubelet", "stop container {}: {}", name, s.message());
}

void PodWorker::collect_dead(const RuntimePod& runtime) {
  // The newest ended container of each name is kept: for its logs and for lastState.
  std::map<std::string, int> kept;
  for (const auto& c : runtime.containers) {
    if (c.state() != rt::CONTAINER_EXITED) continue;
    if (++kept[c.metadata().name()] > 1) {
      if (m_.cri.remove_container(c.id()).ok()) remove_log(c.log_path());
    }
  }
}

Status PodWorker::stop_everything(const PodPtr& pod, const RuntimePod& runtime, int64_t grace) {
  std::vector<const rt::ContainerStatus*> sidecars;
  std::vector<std::thread> threads;
  for (const auto& c : runtime.containers) {
    if (c.state() != rt::CONTAINER_RUNNING) continue;
    const core_v1::Container* spec = find_container(*pod, c.metadata().name());
    if (spec != nullptr && is_init(*pod, spec->name) && is_sidecar(*spec)) sidecars.push_back(&c);
    else threads.emplace_back([this, &pod, &c, grace] { kill_container(pod, c, grace, ""); });
  }
  const MonoTime begin = now();
  for (auto& t : threads) t.join();
  // Sidecars end after those they serve, the last first.
  std::sort(sidecars.begin(), sidecars.end(), [](const auto* a, const auto* b) { return a->created_at() > b->created_at(); });
  for (const auto* c : sidecars) {
    const int64_t left = grace - std::chrono::duration_cast<std::chrono::seconds>(now() - begin).count();
    kill_container(pod, *c, std::max<int64_t>(left, grace > 0 ? 2 : 0), "");
  }
  for (const auto& s : runtime.sandboxes) {
    if (s.state() == rt::SANDBOX_READY) ENGENHO_RETURN_IF_ERROR(m_.cri.stop_sandbox(s.id()));
  }
  return {};
}

Status PodWorker::terminate(const PodPtr& pod, bool orphan) {
  m_.probes.forget(uid_);
  ENGENHO_ASSIGN_OR_RETURN(RuntimePod runtime, read_runtime());
  int64_t grace = pod->metadata.deletion_grace_period_seconds.value_or(pod->spec.termination_grace_period_seconds.value_or(30));
  if (!orphan && pod->metadata.deletion_timestamp) {
    // The grace began when the pod was deleted, not when we heard of it.
    const int64_t left = std::chrono::duration_cast<std::chrono::seconds>(*pod->metadata.deletion_timestamp - Clock::real().wall()).count() + 1;
    grace = std::clamp<int64_t>(left, grace > 0 ? 1 : 0, std::max<int64_t>(grace, 0));
    const bool runs = std::any_of(runtime.containers.begin(), runtime.containers.end(), [](const auto& c) { return c.state() == rt::CONTAINER_RUNNING; });
    // Not ready from the moment on at which it is asked to end, so that no more traffic comes.
    if (runs) {
      if (Status s = write_status(pod, [&] {
            auto status = status_of(*pod, runtime, false);
            return status;
          }());
          !s.ok()) {
        log::debug("kubelet", "status of {}: {}", pod->metadata.name, s.message());
      }
    }
  }
  ENGENHO_RETURN_IF_ERROR(stop_everything(pod, runtime, grace));
  ENGENHO_ASSIGN_OR_RETURN(runtime, read_runtime());
  const bool deleted = orphan || pod->metadata.deletion_timestamp;
  if (!orphan) ENGENHO_RETURN_IF_ERROR(write_status(pod, status_of(*pod, runtime, true)));
  if (!deleted) {
    // Ended, and kept for its logs. Its volumes are not needed any more.
    pod_ip_.clear();
    return unmount_and_remove(m_.volumes.pod_dir(uid_) + "/volumes");
  }
  for (const auto& s : runtime.sandboxes) {
    ENGENHO_RETURN_IF_ERROR(m_.cri.stop_sandbox(s.id()));
    ENGENHO_RETURN_IF_ERROR(m_.cri.remove_sandbox(s.id()));
  }
  ENGENHO_RETURN_IF_ERROR(m_.volumes.remove(uid_));
  std::error_code ec;
  std::filesystem::remove_all(pod_log_dir(m_.facts, *pod), ec);
  if (!orphan) {
    client::DeleteOptions options;
    options.grace_period_seconds = 0;
    options.uid = uid_;
    Status s = m_.client.remove<Pod>(pod->metadata.namespace_, pod->metadata.name, options);
    if (!s.ok() && !s.not_found() && !s.conflict()) return s;
  }
  std::lock_guard lock(mutex_);
  done_ = true;
  return {};
}

}  // namespace engenho::kubelet
