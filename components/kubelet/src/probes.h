// Probes and the actions that probes and lifecycle hooks share.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "cluster.h"
#include "cri.h"
#include "engenho/base/threads.h"

namespace engenho::kubelet {

// OK, or what went wrong, in the words of an event.
Status run_exec(Cri& cri, const std::string& container_id, const std::vector<std::string>& command, int64_t timeout_seconds);
// `hook`: any answer counts; else 200 to 399 is success.
Status run_http_get(const core_v1::HTTPGetAction& action, const core_v1::Container& container, const std::string& pod_ip, Duration timeout, bool hook);
Status run_tcp(const core_v1::TCPSocketAction& action, const core_v1::Container& container, const std::string& pod_ip, Duration timeout);
// grpc.health.v1.Health/Check in plain text: SERVING is success.
Status run_grpc_health(const std::string& address, const std::string& service, Duration timeout);
// A number, or the container's port of that name; 0: none.
int port_number(const k8s::IntOrString& port, const core_v1::Container& container);

struct ProbeState {
  bool started = true;          // the startup probe has passed, or there is none
  bool ready = true;            // the readiness probe's last result, or there is none
  bool must_restart = false;    // the liveness or startup probe has failed for good
  std::string message;
};

// Runs the probes of running containers. Each probe is one job at a time on a bounded pool, planned by a timer.
class Probes {
 public:
  using Changed = std::function<void(const std::string& pod_uid)>;
  using Event = std::function<void(const PodPtr& pod, const std::string& container, const std::string& type, const std::string& reason, const std::string& message)>;
  Probes(Cri& cri, Changed changed, Event event);
  ~Probes();
  void stop();
  // Begins probing `container_id`, unless it is probed already; what was probed under that pod and name before is dropped.
  void watch(const PodPtr& pod, const core_v1::Container& container, const std::string& container_id, const std::string& pod_ip, WallTime started_at);
  void forget(const std::string& pod_uid);
  void forget(const std::string& pod_uid, const std::string& container);
  // Of a container that is not watched: ready unless it has probes.
  ProbeState state(const std::string& pod_uid, const core_v1::Container& container, const std::string& container_id) const;

 private:
  enum Kind { kStartup, kLiveness, kReadiness };
  struct Watched {
    PodPtr pod;
    core_v1::Container container;
    std::string id, ip;
    WallTime started_at;
    ProbeState state;
    int successes[3] = {}, failures[3] = {};
    bool stopped = false;
  };
  using WatchedPtr = std::shared_ptr<Watched>;
  void plan(const WatchedPtr& watched, Kind kind, Duration delay);
  void run(const WatchedPtr& watched, Kind kind);
  void result(const WatchedPtr& watched, Kind kind, const Status& outcome);
  const core_v1::Probe* probe(const Watched& watched, Kind kind) const;

  Cri& cri_;
  const Changed changed_;
  const Event event_;
  mutable std::mutex mutex_;    // guards watched_ and what it points to
  std::map<std::string, std::map<std::string, WatchedPtr>> watched_;  // pod UID, container name
  ThreadPool pool_{"probe", 16, 2000};
  Timers timers_;
};

}  // namespace engenho::kubelet
