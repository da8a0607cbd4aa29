// Hooks, pull credentials, and the end of a log: what the pod worker needs beside CRI.
#pragma once

#include <string>
#include <vector>

#include "cluster.h"
#include "cri.h"
#include "engenho/base/threads.h"

namespace engenho::kubelet {

Status run_hook(Cri& cri, const std::string& container_id, const core_v1::LifecycleHandler& hook, const core_v1::Container& container,
                const std::string& pod_ip, Duration timeout, const StopToken& stop);
// From the pod's imagePullSecrets, those that fit the image's registry. Empty: pull without.
std::vector<rt::AuthConfig> pull_credentials(Cluster& cluster, const Pod& pod, const std::string& image);
// At most `lines` lines and `bytes` bytes of a CRI log's end, without the prefixes.
std::string last_log_lines(const std::string& path, size_t lines, size_t bytes);

}  // namespace engenho::kubelet
