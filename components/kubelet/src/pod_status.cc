#include <algorithm>

#include "pod_worker.h"

namespace engenho::kubelet {

const rt::PodSandbox* RuntimePod::ready_sandbox() const {
  // Only the newest counts: an older one that is still ready is on its way out.
  return !sandboxes.empty() && sandboxes.front().state() == rt::SANDBOX_READY ? &sandboxes.front() : nullptr;
}
const rt::ContainerStatus* RuntimePod::newest(const std::string& name, const std::string& sandbox) const {
  for (const auto& c : containers) {
    if (c.metadata().name() != name) continue;
    if (!sandbox.empty()) {
      auto it = sandbox_of.find(c.id());
      if (it == sandbox_of.end() || it->second != sandbox) continue;
    }
    return &c;
  }
  return nullptr;
}

bool is_terminal(const std::string& phase) { return phase == "Succeeded" || phase == "Failed"; }

namespace {

k8s::Time time_of(int64_t nanoseconds) {
  if (nanoseconds <= 0) return {};
  return k8s::Time(WallTime(std::chrono::floor<std::chrono::seconds>(std::chrono::nanoseconds(nanoseconds))));
}

core_v1::ContainerStateTerminated terminated_of(const rt::ContainerStatus& c, const StatusInputs& in) {
  core_v1::ContainerStateTerminated t;
  t.exit_code = c.exit_code();
  t.reason = !c.reason().empty() ? c.reason() : c.exit_code() == 0 ? "Completed" : "Error";
  t.message = in.message ? in.message(c) : c.message();
  if (t.message.empty()) t.message = c.message();
  t.started_at = time_of(c.started_at());
  t.finished_at = time_of(c.finished_at());
  t.container_id = "containerd://" + c.id();
  return t;
}

const core_v1::ContainerStatus* find_status(const std::vector<core_v1::ContainerStatus>& list, const std::string& name) {
  for (const auto& s : list) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

core_v1::ContainerStatus one(const core_v1::Container& c, bool init, const core_v1::ContainerStatus* before, const StatusInputs& in, bool initialized) {
  core_v1::ContainerStatus out;
  out.name = c.name;
  out.image = c.image;
  const rt::ContainerStatus* newest = in.runtime.newest(c.name);
  const rt::ContainerStatus* dead = nullptr;   // the newest that has ended, besides `newest`
  for (const auto& s : in.runtime.containers) {
    if (s.metadata().name() == c.name && &s != newest && s.state() == rt::CONTAINER_EXITED) {
      dead = &s;
      break;
    }
  }
  auto wait = in.waiting.find(c.name);
  auto set_waiting = [&](const std::string& fallback) {
    auto& w = out.state.waiting.ensure();
    w.reason = wait != in.waiting.end() ? wait->second.reason : fallback;
    if (wait != in.waiting.end()) w.message = wait->second.message;
  };
  const std::string fallback = !init && !initialized && !in.pod.spec.init_containers.empty() ? "PodInitializing" : "ContainerCreating";
  if (newest == nullptr) {
    set_waiting(fallback);
    out.started = false;
    if (before != nullptr) {
      out.restart_count = before->restart_count;
      out.last_state = before->last_state;
      if (before->state.terminated) {
        // Its record is gone from the runtime, its end is known.
        out.last_state.terminated = before->state.terminated;
        if (in.terminating || (init && initialized)) {
          out.state = before->state;
          out.image_id = before->image_id;
          out.container_id = before->container_id;
          out.ready = before->ready;
        }
      }
    }
    return out;
  }
  if (newest->image().user_specified_image().empty() == false) out.image = newest->image().user_specified_image();
  out.image_id = newest->image_ref();
  out.container_id = "containerd://" + newest->id();
  out.restart_count = static_cast<int32_t>(newest->metadata().attempt());
  if (newest->state() == rt::CONTAINER_RUNNING) {
    out.state.running.ensure().started_at = time_of(newest->started_at());
    const ProbeState probe = in.probe ? in.probe(c, newest->id()) : ProbeState();
    out.started = probe.started && (wait == in.waiting.end() || wait->second.reason != "PostStart");
    out.ready = probe.started && probe.ready && *out.started && (!init || is_sidecar(c));
    if (dead != nullptr) out.last_state.terminated = terminated_of(*dead, in);
  } else if (newest->state() == rt::CONTAINER_EXITED) {
    out.started = false;
    if (wait != in.waiting.end() && !in.terminating) {
      set_waiting("");
      out.last_state.terminated = terminated_of(*newest, in);
    } else {
      out.state.terminated = terminated_of(*newest, in);
      if (dead != nullptr) out.last_state.terminated = terminated_of(*dead, in);
      out.ready = init && !is_sidecar(c) && newest->exit_code() == 0;
    }
  } else {
    set_waiting(newest->state() == rt::CONTAINER_CREATED ? fallback : "Unknown");
    out.started = false;
    if (dead != nullptr) out.last_state.terminated = terminated_of(*dead, in);
  }
  return out;
}

void set_condition(std::vector<core_v1::PodCondition>& list, const std::string& type, bool value, const std::string& reason, const std::string& message,
                   const StatusInputs& in) {
  auto it = std::find_if(list.begin(), list.end(), [&](const auto& c) { return c.type == type; });
  const std::string text = value ? "True" : "False";
  if (it == list.end()) {
    list.emplace_back();
    it = list.end() - 1;
    it->type = type;
  }
  if (it->status != text || !it->last_transition_time) it->last_transition_time = k8s::Time(in.now);
  it->status = text;
  it->reason = reason;
  it->message = message;
  it->observed_generation = in.pod.metadata.generation;
}

std::string names_text(const std::vector<std::string>& names) {
  std::string out = "[";
  for (const std::string& n : names) out += (out.size() > 1 ? " " : "") + n;
  return out + "]";
}

}  // namespace

core_v1::PodStatus make_status(const StatusInputs& in) {
  const auto& spec = in.pod.spec;
  core_v1::PodStatus out = in.pod.status;
  out.observed_generation = in.pod.metadata.generation;
  out.init_container_statuses.clear();
  out.container_statuses.clear();

  // Initialisation is over when every init container has ended well and every sidecar has started; once a regular container exists it
  // is over for good (in this sandbox).
  bool initialized = true, init_failed = false;
  std::vector<std::string> not_initialized;
  bool any_regular = false;
  for (const auto& c : spec.containers) any_regular |= in.runtime.newest(c.name) != nullptr;
  for (const auto& c : spec.init_containers) {
    auto s = one(c, true, find_status(in.pod.status.init_container_statuses, c.name), in, any_regular);
    const auto* ended = s.state.terminated ? s.state.terminated.get() : s.state.waiting && s.last_state.terminated ? s.last_state.terminated.get() : nullptr;
    const bool good = is_sidecar(c) ? s.started.value_or(false) : s.state.terminated && s.state.terminated->exit_code == 0;
    if (!good && !any_regular) {
      initialized = false;
      not_initialized.push_back(c.name);
      if (!is_sidecar(c) && ended != nullptr && ended->exit_code != 0 && spec.restart_policy == "Never") init_failed = true;
    }
    out.init_container_statuses.push_back(std::move(s));
  }
  int running = 0, waiting = 0, stopped = 0, succeeded = 0;
  std::vector<std::string> unready;
  for (const auto& c : spec.containers) {
    auto s = one(c, false, find_status(in.pod.status.container_statuses, c.name), in, initialized);
    if (!s.ready) unready.push_back(c.name);
    const auto* ended = s.state.terminated ? s.state.terminated.get() : s.state.waiting && s.last_state.terminated ? s.last_state.terminated.get() : nullptr;
    if (s.state.running) {
      ++running;
    } else if (ended != nullptr) {
      ++stopped;
      if (ended->exit_code == 0) ++succeeded;
    } else {
      ++waiting;
    }
    out.container_statuses.push_back(std::move(s));
  }
  for (const auto& c : spec.init_containers) {
    const auto* s = find_status(out.init_container_statuses, c.name);
    if (is_sidecar(c) && !(s != nullptr && s->ready)) unready.push_back(c.name);
  }

  out.ephemeral_container_statuses.clear();
  for (const auto& e : spec.ephemeral_containers) {
    auto s = one(as_container(e), false, find_status(in.pod.status.ephemeral_container_statuses, e.name), in, true);
    s.ready = false;
    s.started.reset();
    out.ephemeral_container_statuses.push_back(std::move(s));
  }

  const int total = static_cast<int>(spec.containers.size());
  if (is_terminal(in.pod.status.phase)) {
    out.phase = in.pod.status.phase;   // never left again
  } else if (!in.failed_reason.empty()) {
    out.phase = running > 0 && !in.terminating ? "Running" : "Failed";
  } else if (init_failed) {
    out.phase = "Failed";
  } else if (in.terminating && running == 0) {
    const bool none_ran = stopped == 0 && in.runtime.containers.empty();
    if (none_ran) out.phase = in.pod.metadata.deletion_timestamp ? (out.phase.empty() ? "Pending" : out.phase) : "Failed";
    else out.phase = stopped == total && succeeded == stopped ? "Succeeded" : "Failed";
  } else if (!initialized || waiting > 0) {
    out.phase = "Pending";
  } else if (running > 0) {
    out.phase = "Running";
  } else if (stopped > 0) {
    if (spec.restart_policy == "Always") out.phase = "Running";
    else if (succeeded == stopped) out.phase = "Succeeded";
    else out.phase = spec.restart_policy == "Never" ? "Failed" : "Running";
  } else {
    out.phase = "Pending";
  }
  if (!in.failed_reason.empty()) {
    out.reason = in.failed_reason;
    out.message = in.failed_message;
  }

  out.host_ip = in.facts.node_address;
  out.host_ips.clear();
  out.host_ips.emplace_back();
  out.host_ips.back().ip = in.facts.node_address;
  const std::string ip = spec.host_network ? in.facts.node_address : in.pod_ip;
  if (!ip.empty()) {
    out.pod_ip = ip;
    out.pod_ips.clear();
    out.pod_ips.emplace_back();
    out.pod_ips.back().ip = ip;
  }
  if (!out.start_time) out.start_time = k8s::Time(in.now);
  if (out.qos_class.empty()) out.qos_class = qos_class(in.pod);

  const bool terminal = is_terminal(out.phase);
  const bool completed = out.phase == "Succeeded";
  set_condition(out.conditions, "PodReadyToStartContainers", in.runtime.ready_sandbox() != nullptr && !ip.empty(), "", "", in);
  set_condition(out.conditions, "Initialized", initialized || completed, initialized ? (completed ? "PodCompleted" : "") : "ContainersNotInitialized",
                initialized ? "" : "containers with incomplete status: " + names_text(not_initialized), in);
  const bool containers_ready = unready.empty() && !terminal && initialized;
  const std::string why = containers_ready ? "" : terminal ? (completed ? "PodCompleted" : "PodFailed") : "ContainersNotReady";
  const std::string message = containers_ready || terminal ? "" : "containers with unready status: " + names_text(unready);
  set_condition(out.conditions, "ContainersReady", containers_ready, why, message, in);
  bool gates = true;
  for (const auto& gate : spec.readiness_gates) {
    auto it = std::find_if(out.conditions.begin(), out.conditions.end(), [&](const auto& c) { return c.type == gate.condition_type; });
    gates &= it != out.conditions.end() && it->status == "True";
  }
  set_condition(out.conditions, "Ready", containers_ready && gates, !containers_ready ? why : gates ? "" : "ReadinessGatesNotReady",
                !containers_ready ? message : gates ? "" : "the status of pod readiness gates is not \"True\"", in);
  auto scheduled = std::find_if(out.conditions.begin(), out.conditions.end(), [](const auto& c) { return c.type == "PodScheduled"; });
  if (scheduled == out.conditions.end()) set_condition(out.conditions, "PodScheduled", true, "", "", in);
  return out;
}

}  // namespace engenho::kubelet
