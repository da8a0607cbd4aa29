#include "probes.h"

#include <random>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "engenho/http/client.h"

namespace engenho::kubelet {

int port_number(const k8s::IntOrString& port, const core_v1::Container& container) {
  if (!port.is_string()) return port.int_value();
  for (const auto& p : container.ports) {
    if (p.name == port.str()) return p.container_port;
  }
  int64_t n = 0;
  return parse_int(port.str(), n) && n > 0 && n < 65536 ? static_cast<int>(n) : 0;
}

Status run_exec(Cri& cri, const std::string& container_id, const std::vector<std::string>& command, int64_t timeout_seconds) {
  auto r = cri.exec_sync(container_id, command, timeout_seconds);
  if (!r) return r.error().code() == 504 ? timeout_error("command timed out: \"" + join(command, " ") + "\" timed out after " + std::to_string(timeout_seconds) + "s") : r.error();
  if (r->exit_code() == 0) return {};
  std::string out = r->stdout() + r->stderr();
  if (out.size() > 10240) out.resize(10240);
  return internal_error(out.empty() ? "command exited with " + std::to_string(r->exit_code()) : out);
}

Status run_http_get(const core_v1::HTTPGetAction& action, const core_v1::Container& container, const std::string& pod_ip, Duration timeout, bool hook) {
  const int port = port_number(action.port, container);
  if (port == 0) return bad_request("unknown port " + action.port.to_string());
  http::ClientOptions options;
  options.tls.insecure_skip_verify = true;   // as upstream: a probe asks whether it answers, not who it is
  options.connect_timeout = timeout;
  options.header_timeout = timeout;
  options.max_response_bytes = 64 << 10;
  options.max_redirects = hook ? 0 : 10;
  options.redirects_stay = true;   // a pod does not send the node to other machines
  http::Client client(options);
  http::ClientRequest request;
  const std::string host = action.host.empty() ? pod_ip : action.host;
  const bool https = action.scheme == "HTTPS";
  request.url = std::string(https ? "https" : "http") + "://" + host + ":" + std::to_string(port) + (action.path.starts_with("/") ? "" : "/") + action.path;
  request.timeout = timeout;
  request.headers.add("User-Agent", hook ? "kube-lifecycle/1.36" : "kube-probe/1.36");
  request.headers.add("Accept", "*/*");
  for (const auto& h : action.http_headers) request.headers.set(h.name, h.value);
  auto response = client.send(request);
  if (!response) {
    // A body that is too long for us is still an answer.
    return internal_error("Get \"" + request.url + "\": " + response.error().message());
  }
  if (hook || (response->status >= 200 && response->status < 400)) return {};
  return internal_error("HTTP probe failed with statuscode: " + std::to_string(response->status));
}

Status run_tcp(const core_v1::TCPSocketAction& action, const core_v1::Container& container, const std::string& pod_ip, Duration timeout) {
  const int port = port_number(action.port, container);
  if (port == 0) return bad_request("unknown port " + action.port.to_string());
  const std::string host = action.host.empty() ? pod_ip : action.host;
  auto stream = http::dial_tcp(host, static_cast<uint16_t>(port), http::deadline_in(timeout));
  return stream ? Status() : internal_error("dial tcp " + host + ":" + std::to_string(port) + ": " + stream.error().message());
}

Probes::Probes(Cri& cri, Changed changed, Event event) : cri_(cri), changed_(std::move(changed)), event_(std::move(event)) {}
Probes::~Probes() { stop(); }
void Probes::stop() {
  {
    std::lock_guard lock(mutex_);
    for (auto& [uid, by_name] : watched_) {
      for (auto& [name, w] : by_name) w->stopped = true;
    }
  }
  timers_.stop();
  pool_.stop();
}

const core_v1::Probe* Probes::probe(const Watched& w, Kind kind) const {
  const auto& box = kind == kStartup ? w.container.startup_probe : kind == kLiveness ? w.container.liveness_probe : w.container.readiness_probe;
  return box.get();
}

ProbeState Probes::state(const std::string& pod_uid, const core_v1::Container& container, const std::string& container_id) const {
  {
    std::lock_guard lock(mutex_);
    auto pod = watched_.find(pod_uid);
    if (pod != watched_.end()) {
      auto it = pod->second.find(container.name);
      if (it != pod->second.end() && it->second->id == container_id) return it->second->state;
    }
  }
  ProbeState out;
  out.started = !container.startup_probe;
  out.ready = out.started && !container.readiness_probe;
  return out;
}

void Probes::watch(const PodPtr& pod, const core_v1::Container& container, const std::string& container_id, const std::string& pod_ip, WallTime started_at) {
  if (!container.startup_probe && !container.liveness_probe && !container.readiness_probe) return;
  auto w = std::make_shared<Watched>();
  {
    std::lock_guard lock(mutex_);
    WatchedPtr& slot = watched_[pod->metadata.uid][container.name];
    if (slot != nullptr && slot->id == container_id) return;
    if (slot != nullptr) slot->stopped = true;
    w->pod = pod;
    w->container = container;
    w->id = container_id;
    w->ip = pod_ip;
    w->started_at = started_at;
    w->state.started = !container.startup_probe;
    w->state.ready = w->state.started && !container.readiness_probe;
    // A container that was ready before a restart of ours is ready until a probe says otherwise.
    for (const auto* list : {&pod->status.container_statuses, &pod->status.init_container_statuses}) {
      for (const auto& c : *list) {
        if (c.name != container.name || c.container_id != "containerd://" + container_id) continue;
        if (c.started.value_or(false)) w->state.started = true;
        if (c.ready) w->state.ready = true;
      }
    }
    slot = w;
  }
  // After a restart of ours all probes begin at once: spread over their first period then.
  const WallTime now = Clock::real().wall();
  for (Kind kind : {kStartup, kLiveness, kReadiness}) {
    const core_v1::Probe* p = probe(*w, kind);
    if (p == nullptr) continue;
    const Duration since = now - started_at, initial = std::chrono::seconds(p->initial_delay_seconds);
    plan(w, kind, since < initial ? initial - since : Duration(std::chrono::milliseconds(random_u64() % 100)));
  }
}

void Probes::forget(const std::string& pod_uid) {
  std::lock_guard lock(mutex_);
  auto it = watched_.find(pod_uid);
  if (it == watched_.end()) return;
  for (auto& [name, w] : it->second) w->stopped = true;
  watched_.erase(it);
}

void Probes::forget(const std::string& pod_uid, const std::string& container) {
  std::lock_guard lock(mutex_);
  auto it = watched_.find(pod_uid);
  if (it == watched_.end()) return;
  auto w = it->second.find(container);
  if (w == it->second.end()) return;
  w->second->stopped = true;
  it->second.erase(w);
}

void Probes::plan(const WatchedPtr& w, Kind kind, Duration delay) {
  timers_.after(delay, [this, w, kind] {
    if (!pool_.submit([this, w, kind] { run(w, kind); })) plan(w, kind, std::chrono::seconds(1));
  });
}

void Probes::run(const WatchedPtr& w, Kind kind) {
  {
    std::lock_guard lock(mutex_);
    if (w->stopped || w->state.must_restart) return;
    const bool waits = kind != kStartup && !w->state.started;
    if (kind == kStartup && w->state.started) return;
    if (waits) {
      plan(w, kind, std::chrono::seconds(1));
      return;
    }
  }
  const core_v1::Probe& p = *probe(*w, kind);
  const Duration timeout = std::chrono::seconds(std::max(1, p.timeout_seconds));
  Status outcome;
  if (p.exec) outcome = run_exec(cri_, w->id, p.exec->command, std::max(1, p.timeout_seconds));
  else if (p.http_get) outcome = run_http_get(*p.http_get, w->container, w->ip, timeout, false);
  else if (p.tcp_socket) outcome = run_tcp(*p.tcp_socket, w->container, w->ip, timeout);
  else if (p.grpc) outcome = run_grpc_health(w->ip + ":" + std::to_string(p.grpc->port), p.grpc->service.value_or(""), timeout);
  else return;   // validation lets none through
  if (cri_.cancelled()) return;
  result(w, kind, outcome);
  plan(w, kind, std::chrono::seconds(std::max(1, p.period_seconds)));
}

void Probes::result(const WatchedPtr& w, Kind kind, const Status& outcome) {
  const core_v1::Probe& p = *probe(*w, kind);
  bool changed = false;
  {
    std::lock_guard lock(mutex_);
    if (w->stopped) return;
    if (outcome.ok()) {
      w->failures[kind] = 0;
      ++w->successes[kind];
      if (w->successes[kind] >= std::max(1, p.success_threshold)) {
        if (kind == kStartup && !w->state.started) {
          w->state.started = changed = true;
          if (!w->container.readiness_probe) w->state.ready = true;
        }
        if (kind == kReadiness && !w->state.ready) w->state.ready = changed = true;
      }
    } else {
      w->successes[kind] = 0;
      ++w->failures[kind];
      if (w->failures[kind] >= std::max(1, p.failure_threshold)) {
        if (kind == kReadiness && w->state.ready) {
          w->state.ready = false;
          changed = true;
        }
        if (kind != kReadiness) {
          w->state.must_restart = changed = true;
          w->state.message = kind == kLiveness ? "failed liveness probe" : "failed startup probe";
        }
      }
    }
  }
  if (!outcome.ok()) {
    const char* name = kind == kStartup ? "Startup" : kind == kLiveness ? "Liveness" : "Readiness";
    event_(w->pod, w->container.name, "Warning", "Unhealthy", std::string(name) + " probe failed: " + outcome.message());
  }
  if (changed) changed_(w->pod->metadata.uid);
}

}  // namespace engenho::kubelet
