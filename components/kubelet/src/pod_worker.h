// One pod: a thread that compares what its specification wants with what the runtime has, and acts. Everything it decides follows from
// those two (and from back-offs that may be forgotten): a restart of engenho continues where it was.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cluster.h"
#include "cri.h"
#include "engenho/base/threads.h"
#include "engenho/client/events.h"
#include "probes.h"
#include "runtime_config.h"
#include "volumes.h"

namespace engenho::kubelet {

// What all workers share.
struct Machinery {
  Cri& cri;
  client::Client& client;
  Cluster& cluster;
  VolumeManager& volumes;
  Probes& probes;
  client::EventRecorder& events;
  const NodeFacts& facts;
  StopToken stop;
};

// A pod's containers as the runtime has them.
struct RuntimePod {
  std::vector<rt::PodSandbox> sandboxes;          // newest first
  std::vector<rt::ContainerStatus> containers;    // newest first
  std::map<std::string, std::string> sandbox_of;  // container id -> sandbox id
  const rt::PodSandbox* ready_sandbox() const;
  const rt::ContainerStatus* newest(const std::string& name, const std::string& sandbox = "") const;
};

struct Waiting {
  std::string reason, message;
};

// The status of a pod, from specification and runtime. Pure: tested without a runtime.
struct StatusInputs {
  const Pod& pod;
  const RuntimePod& runtime;
  const NodeFacts& facts;
  const std::map<std::string, Waiting>& waiting;   // why a container is not running, where it is known
  std::function<ProbeState(const core_v1::Container&, const std::string& id)> probe;
  std::function<std::string(const rt::ContainerStatus&)> message;   // termination message
  std::string pod_ip;
  bool terminating = false;      // deleted, or ended: what is not running will not run again
  std::string failed_reason, failed_message;   // not empty: the pod has failed for this
  WallTime now;
};
core_v1::PodStatus make_status(const StatusInputs& in);
bool is_terminal(const std::string& phase);

class PodWorker {
 public:
  // `finished` is called once, on the worker's thread, when the pod is gone everywhere.
  PodWorker(Machinery& machinery, std::string uid, PodPtr pod, std::function<void(const std::string& uid)> finished);
  ~PodWorker();
  void update(PodPtr pod);         // a newer object
  void orphaned();                 // the object is gone: end what runs, remove everything
  void wake();
  const std::string& uid() const { return uid_; }
  bool done();

 private:
  struct Backoff {
    Duration delay{0};
    MonoTime until{};
  };
  void run();
  Status sync(const PodPtr& pod, bool orphan);
  Status terminate(const PodPtr& pod, bool orphan);
  Status stop_everything(const PodPtr& pod, const RuntimePod& runtime, int64_t grace);
  Result<RuntimePod> read_runtime();
  Status ensure_sandbox(const PodPtr& pod, RuntimePod& runtime);
  // Starts what may start. Sets wake-ups by later().
  Status run_containers(const PodPtr& pod, RuntimePod& runtime, const std::string& sandbox);
  // True when `container` is to be left alone for now.
  bool start_or_back_off(const PodPtr& pod, const core_v1::Container& container, const RuntimePod& runtime, const std::string& sandbox);
  Status start_container(const PodPtr& pod, const core_v1::Container& container, const RuntimePod& runtime, const std::string& sandbox);
  Result<std::string> ensure_image(const PodPtr& pod, const core_v1::Container& container, rt::Image& image);
  void kill_container(const PodPtr& pod, const rt::ContainerStatus& status, int64_t grace, const std::string& why);
  void collect_dead(const RuntimePod& runtime);
  Status write_status(const PodPtr& pod, const core_v1::PodStatus& status);
  void event(const PodPtr& pod, const std::string& container, const char* type, const char* reason, std::string message);
  void later(Duration delay);
  std::string termination_message(const Pod& pod, const rt::ContainerStatus& status) const;
  core_v1::PodStatus status_of(const Pod& pod, const RuntimePod& runtime, bool terminating);

  Machinery& m_;
  const std::string uid_;
  const std::function<void(const std::string&)> finished_;

  std::mutex mutex_;               // guards what follows, up to thread_
  std::condition_variable wake_;
  PodPtr pod_;
  bool orphaned_ = false, woken_ = true, stopped_ = false, done_ = false;

  // Used by the worker's thread alone.
  MonoTime next_ = MonoTime::max();
  MonoTime refresh_volumes_at_{};
  std::map<std::string, Backoff> restart_backoff_, image_backoff_;
  std::map<std::string, Waiting> waiting_;
  std::map<std::string, rt::ContainerStatus> ended_;   // statuses of exited containers do not change
  Volumes volumes_;
  std::string pod_ip_;
  rt::PodSandboxConfig sandbox_config_;
  std::string failed_reason_, failed_message_;
  std::string last_written_, last_version_;
  std::map<std::string, bool> post_started_;
  bool sandbox_failed_ = false;

  std::thread thread_;
};

}  // namespace engenho::kubelet
