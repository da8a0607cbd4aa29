// `engenho reset`, the node's part.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "containerd.h"
#include "cri.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/kubelet/kubelet.h"
#include "volumes.h"

namespace engenho::kubelet {

namespace fs = std::filesystem;

namespace {

// Processes whose command line holds `needle` as one whole argument.
std::vector<pid_t> with_argument(const std::string& needle) {
  std::vector<pid_t> out;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator("/proc", ec)) {
    int64_t pid = 0;
    if (!parse_int(entry.path().filename().string(), pid) || pid == getpid()) continue;
    auto text = read_file(entry.path().string() + "/cmdline");
    if (!text) continue;
    for (std::string_view argument : split(*text, '\0')) {
      if (argument == needle) {
        out.push_back(static_cast<pid_t>(pid));
        break;
      }
    }
  }
  return out;
}

// The cgroup directories of a pod, in every hierarchy.
std::vector<std::string> pod_cgroups(const std::string& uid) {
  std::vector<std::string> out;
  std::error_code ec;
  std::vector<std::string> roots = {"/sys/fs/cgroup"};
  for (const auto& entry : fs::directory_iterator("/sys/fs/cgroup", ec)) {
    if (entry.is_directory(ec)) roots.push_back(entry.path());
  }
  for (const std::string& root : roots) {
    for (const char* qos : {"", "burstable/", "besteffort/"}) {
      const std::string path = root + "/kubepods/" + qos + "pod" + uid;
      if (path_exists(path)) out.push_back(path);
    }
  }
  return out;
}

void kill_cgroup(const std::string& path) {
  std::error_code ec;
  for (auto it = fs::recursive_directory_iterator(path, ec); !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    if (it->path().filename() != "cgroup.procs") continue;
    std::ifstream in(it->path());
    for (pid_t pid; in >> pid;) {
      if (pid > 1) kill(pid, SIGKILL);
    }
  }
}

void remove_cgroup(const std::string& path) {
  std::error_code ec;
  std::vector<std::string> dirs = {path};
  for (auto it = fs::recursive_directory_iterator(path, ec); !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    if (it->is_directory(ec)) dirs.push_back(it->path());
  }
  std::sort(dirs.rbegin(), dirs.rend());
  for (const std::string& d : dirs) rmdir(d.c_str());
}

}  // namespace

Status reset(const std::string& data_dir) {
  const ContainerdLayout layout = containerd_layout(data_dir);
  const std::string pods = data_dir + "/agent/kubelet/pods";
  std::vector<std::string> uids;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(pods, ec)) uids.push_back(entry.path().filename());
  if (path_exists(layout.config)) {
    // The orderly way first: the runtime knows networks, mounts and cgroups.
    TaskGroup group("reset");
    Containerd containerd(data_dir, data_dir + "/agent/cni/bin", data_dir + "/agent/cni/conf");
    if (Status s = containerd.start(group); !s.ok()) {
      log::warn("kubelet", "reset: {}", s.message());
    } else {
      Cri cri(layout.socket);
      if (auto sandboxes = cri.list_sandboxes()) {
        for (const auto& sandbox : *sandboxes) {
          if (Status st = cri.stop_sandbox(sandbox.id()); !st.ok()) log::warn("kubelet", "reset: {}", st.message());
          if (Status st = cri.remove_sandbox(sandbox.id()); !st.ok()) log::warn("kubelet", "reset: {}", st.message());
        }
      }
    }
    group.stop();
  }
  // Ours are those that were started with our files: no other containerd is touched.
  for (const auto& [needle, signal_number] : {std::pair{layout.config, SIGTERM}, {layout.socket, SIGKILL}}) {
    const std::vector<pid_t> found = with_argument(needle);
    for (pid_t pid : found) kill(pid, signal_number);
    StopToken never;
    for (int i = 0; i < 100 && !with_argument(needle).empty(); ++i) never.wait_for(std::chrono::milliseconds(50));
    for (pid_t pid : with_argument(needle)) kill(pid, SIGKILL);
  }
  for (const std::string& uid : uids) {
    for (const std::string& path : pod_cgroups(uid)) {
      kill_cgroup(path);
      remove_cgroup(path);
    }
  }
  Status first;
  for (const char* sub : {"/agent/kubelet", "/agent/containerd", "/agent/pod-logs"}) {
    if (!path_exists(data_dir + sub)) continue;
    if (Status s = unmount_and_remove(data_dir + sub); !s.ok() && first.ok()) first = s;
  }
  if (layout.socket.starts_with("/run/engenho/")) unlink(layout.socket.c_str());
  return first;
}

}  // namespace engenho::kubelet
