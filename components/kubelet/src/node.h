// The Node object and its lease.
#pragma once

#include <atomic>
#include <string>

#include "cri.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/client/client.h"
#include "engenho/client/events.h"
#include "engenho/kubelet/kubelet.h"

namespace engenho::kubelet {

class NodeAgent {
 public:
  NodeAgent(const Options& options, client::Client& client, Cri& cri, client::EventRecorder& events);
  // Creates the node, or takes over the one that is there: labels, taints and fields that others set stay. Blocks until the API server has
  // it or `stop`.
  Status register_node(const StopToken& stop);
  Status update_status();
  Status renew_lease();
  // The pod CIDR that the node has (the one that was asked for, unless it had another before).
  const std::string& pod_cidr() const { return pod_cidr_; }
  int64_t memory_capacity() const { return memory_; }
  int64_t milli_cpu() const { return milli_cpu_; }

 private:
  void fill(k8s::core_v1::Node& node);
  void set_condition(k8s::core_v1::Node& node, const char* type, bool value, const std::string& reason, const std::string& message);
  const Options& options_;
  client::Client& client_;
  Cri& cri_;
  client::EventRecorder& events_;
  std::string pod_cidr_, runtime_version_;
  int64_t memory_ = 0, milli_cpu_ = 0;
  bool told_ready_ = false;
};

}  // namespace engenho::kubelet
