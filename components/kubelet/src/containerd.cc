#include "containerd.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/base/log.h"
#include "pause_image.h"
#include "volumes.h"

namespace engenho::kubelet {

namespace {

std::string quoted(const std::string& text) {
  std::string out;
  json::dump_string_to(text, out);  // TOML's basic strings have JSON's escapes
  return out;
}

// containerd's own test needs a mount as well; this one tells us which snapshotter to name in the configuration.
bool overlay_works(const std::string& base) {
  const std::string dir = base + "/overlay-test";
  for (const char* sub : {"/lower", "/upper", "/work", "/merged"}) {
    if (!make_dirs(dir + sub).ok()) return false;
  }
  const std::string data = "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work";
  const bool ok = mount("overlay", (dir + "/merged").c_str(), "overlay", 0, data.c_str()) == 0;
  if (ok) umount2((dir + "/merged").c_str(), MNT_DETACH);
  return ok;
}

// The process of the pid file, if it is a containerd and not another that got its number.
pid_t recorded_pid(const std::string& pid_file) {
  auto text = read_file(pid_file);
  int64_t pid = 0;
  if (!text || !parse_int(trim(*text), pid) || pid <= 1) return 0;
  auto name = read_file("/proc/" + std::to_string(pid) + "/comm");
  return name && trim(*name) == "containerd" ? static_cast<pid_t>(pid) : 0;
}

}  // namespace

ContainerdLayout containerd_layout(const std::string& data_dir) {
  ContainerdLayout l;
  l.base = data_dir + "/agent/containerd";
  l.config = l.base + "/config.toml";
  l.root = l.base + "/root";
  // What is in it holds for one boot (mounts, sockets, processes): another boot, another directory.
  auto boot = read_file("/proc/sys/kernel/random/boot_id");
  l.state = l.base + "/state-" + (boot ? boot->substr(0, 8) : "0");
  l.socket = l.base + "/containerd.sock";
  // sun_path has 108 bytes, and containerd adds ".ttrpc".
  if (l.socket.size() > 96) l.socket = "/run/engenho/" + sha256_hex(data_dir).substr(0, 16) + ".sock";
  l.pid_file = l.base + "/containerd.pid";
  l.log_file = l.base + "/containerd.log";
  l.imported = l.base + "/imported";
  return l;
}

Containerd::Containerd(std::string data_dir, std::string cni_bin_dir, std::string cni_conf_dir)
    : data_dir_(std::move(data_dir)), cni_bin_dir_(std::move(cni_bin_dir)), cni_conf_dir_(std::move(cni_conf_dir)),
      layout_(containerd_layout(data_dir_)) {}

std::string Containerd::config_text() const {
  const std::string cri = "plugins.\"io.containerd.grpc.v1.cri\"";
  return "version = 2\nroot = " + quoted(layout_.root) + "\nstate = " + quoted(layout_.state) +
         "\ndisabled_plugins = [\"io.containerd.internal.v1.opt\", \"io.containerd.snapshotter.v1.aufs\", "
         "\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\"]\n"
         "[grpc]\n  address = " + quoted(layout_.socket) +
         "\n[" + cri + "]\n  sandbox_image = " + quoted(kPauseImage) +
         "\n  restrict_oom_score_adj = " "true"
         "\n  max_container_log_line_size = 16384\n  enable_unprivileged_ports = true\n  enable_unprivileged_icmp = true\n"
         "  stream_server_address = \"127.0.0.1\"\n  stream_server_port = \"0\"\n"
         "[" + cri + ".cni]\n  bin_dir = " + quoted(cni_bin_dir_) + "\n  conf_dir = " + quoted(cni_conf_dir_) +
         "\n  max_conf_num = 1\n"
         "[" + cri + ".containerd]\n  snapshotter = " + quoted(snapshotter_) + "\n  default_runtime_name = \"runc\"\n"
         "[" + cri + ".containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n"
         "[" + cri + ".containerd.runtimes.runc.options]\n  SystemdCgroup = false\n"
         "[" + cri + ".registry]\n  config_path = " + quoted(layout_.base + "/certs.d") + "\n";
}

bool Containerd::alive() {
  if (process_ != nullptr) return process_->running();
  return pid_ > 0 && recorded_pid(layout_.pid_file) == pid_ && kill(pid_, 0) == 0;
}

Status Containerd::launch() {
  ProcessOptions options;
  options.argv = {"containerd", "--config", layout_.config};
  options.log_file = layout_.log_file;
  auto started = Process::start(options);
  if (!started) return started.error().with_context("containerd cannot be started; is it installed?");
  process_ = std::make_unique<Process>(std::move(*started));
  pid_ = process_->pid();
  return write_file_atomic(layout_.pid_file, std::to_string(pid_) + "\n", 0600);
}

Status Containerd::wait_ready(const StopToken& stop) {
  Cri cri(layout_.socket);
  Status last = unavailable("containerd does not answer");
  for (const MonoTime end = std::chrono::steady_clock::now() + std::chrono::seconds(30); std::chrono::steady_clock::now() < end;) {
    if (path_exists(layout_.socket)) {
      auto version = cri.version();
      if (version) return {};
      last = version.error();
    }
    if (!alive()) return internal_error("containerd ended while starting; see " + layout_.log_file);
    if (stop.wait_for(std::chrono::milliseconds(50))) return unavailable("stopped");
  }
  return last.with_context("containerd; see " + layout_.log_file);
}

Status Containerd::start(TaskGroup& group) {
  for (const std::string& dir : {layout_.base, layout_.root, layout_.imported}) ENGENHO_RETURN_IF_ERROR(make_dirs(dir, 0711));
  ENGENHO_RETURN_IF_ERROR(make_dirs(data_dir_ + "/agent/images"));
  if (layout_.socket.starts_with("/run/engenho/")) ENGENHO_RETURN_IF_ERROR(make_dirs("/run/engenho", 0711));
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(layout_.base, ec)) {
    const std::string path = entry.path();
    if (entry.path().filename().string().starts_with("state-") && path != layout_.state && mounts_below(path).empty()) std::filesystem::remove_all(path, ec);
  }
  if (!overlay_works(layout_.base)) snapshotter_ = "native";
  const std::string text = config_text();
  auto before = read_file(layout_.config);
  pid_ = recorded_pid(layout_.pid_file);
  if (pid_ > 0 && (!before || *before != text)) {
    log::info("kubelet", "containerd's configuration has changed: restarting it; containers keep running");
    kill(pid_, SIGTERM);
    for (int i = 0; i < 200 && recorded_pid(layout_.pid_file) == pid_ && !group.token().wait_for(std::chrono::milliseconds(50)); ++i) {
    }
    if (recorded_pid(layout_.pid_file) == pid_) kill(pid_, SIGKILL);
    pid_ = 0;
  }
  if (!before || *before != text) ENGENHO_RETURN_IF_ERROR(write_file_atomic(layout_.config, text, 0600));
  if (pid_ > 0) log::info("kubelet", "containerd of an earlier run is there (pid {})", pid_);
  else ENGENHO_RETURN_IF_ERROR(launch());
  if (Status s = wait_ready(group.token()); !s.ok()) {
    if (process_ == nullptr && pid_ > 0) {  // adopted, and it hangs: its containers do not depend on it
      kill(pid_, SIGKILL);
      ENGENHO_RETURN_IF_ERROR(launch());
      ENGENHO_RETURN_IF_ERROR(wait_ready(group.token()));
    } else {
      return s;
    }
  }
  group.spawn("containerd", [this](StopToken stop) {
    Duration delay = std::chrono::seconds(1);
    while (!stop.wait_for(std::chrono::seconds(1))) {
      if (alive()) {
        delay = std::chrono::seconds(1);
        continue;
      }
      log::warn("kubelet", "containerd has ended; starting it again");
      if (Status s = launch(); !s.ok()) log::error("kubelet", "{}", s.message());
      if (stop.wait_for(delay)) break;
      delay = std::min<Duration>(delay * 2, std::chrono::seconds(30));
    }
    if (process_ != nullptr) process_->detach();
  });
  return {};
}

Status Containerd::import_images() {
  auto import = [this](const std::string& path) -> Status {
    ProcessOptions options;
    options.argv = {"ctr", "--address", layout_.socket, "--namespace", "k8s.io", "images", "import", "--snapshotter", snapshotter_, path};
    auto out = run_process(options, std::chrono::minutes(10));
    if (!out) return out.error();
    if (out->exit_code != 0) return internal_error("import of " + path + ": " + std::string(trim(out->err)));
    return {};
  };
  // A marker for each archive, below containerd's own directory: whoever removes the images removes the markers.
  auto once = [&](const std::string& path, const std::string& marker) -> Status {
    if (path_exists(layout_.imported + "/" + marker)) return {};
    ENGENHO_RETURN_IF_ERROR(import(path));
    log::info("kubelet", "imported the images of {}", path);
    return write_file_atomic(layout_.imported + "/" + marker, "", 0600);
  };
  const std::string pause = pause_image_tar(), pause_marker = "pause-" + sha256_hex(pause).substr(0, 16);
  if (!path_exists(layout_.imported + "/" + pause_marker)) {
    const std::string path = layout_.base + "/pause.tar";
    ENGENHO_RETURN_IF_ERROR(write_file_atomic(path, pause, 0600));
    ENGENHO_RETURN_IF_ERROR(once(path, pause_marker));
    unlink(path.c_str());
  }
  const std::string dir_name = data_dir_ + "/agent/images";
  std::vector<std::string> names;
  if (DIR* dir = opendir(dir_name.c_str())) {
    while (const dirent* entry = readdir(dir)) {
      if (std::string_view(entry->d_name).ends_with(".tar")) names.emplace_back(entry->d_name);
    }
    closedir(dir);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    struct stat st {};
    const std::string path = dir_name + "/" + name;
    if (stat(path.c_str(), &st) != 0) continue;
    // A damaged archive must not keep the node from starting.
    const std::string marker = sha256_hex(name + " " + std::to_string(st.st_size) + " " + std::to_string(st.st_mtim.tv_sec) + " " + std::to_string(st.st_mtim.tv_nsec)).substr(0, 32);
    if (Status s = once(path, marker); !s.ok()) log::error("kubelet", "{}", s.message());
  }
  return {};
}

}  // namespace engenho::kubelet
