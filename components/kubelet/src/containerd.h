// A containerd of our own: started with a configuration of its own, restarted when it ends, adopted when one from before our
// restart still answers. Its containers outlive it and us: their shims do not hang on either.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "cri.h"
#include "engenho/base/process.h"
#include "engenho/base/threads.h"

namespace engenho::kubelet {

struct ContainerdLayout {
  std::string base;       // <data-dir>/agent/containerd
  std::string config, root, state, socket, pid_file, log_file, imported;
};
ContainerdLayout containerd_layout(const std::string& data_dir);

class Containerd {
 public:
  Containerd(std::string data_dir, std::string cni_bin_dir, std::string cni_conf_dir);
  // Starts or adopts it and waits until CRI answers (30 s at most); then a thread of `group` watches over it.
  Status start(TaskGroup& group);
  const std::string& socket() const { return layout_.socket; }
  // The pause image and <data-dir>/agent/images/*.tar, unless imported before.
  Status import_images();

 private:
  Status launch();
  Status wait_ready(const StopToken& stop);
  bool alive();
  std::string config_text() const;
  const std::string data_dir_, cni_bin_dir_, cni_conf_dir_;
  const ContainerdLayout layout_;
  std::string snapshotter_ = "overlayfs";
  std::unique_ptr<Process> process_;   // null when adopted
  pid_t pid_ = 0;
};

}  // namespace engenho::kubelet
