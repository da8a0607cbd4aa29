// `engenho check` and `engenho reset`: what this machine lacks, and how to leave it as it was.
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/process.h"
#include "engenho/cni/cni.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/engenho/commands.h"
#include "engenho/engenho/config.h"
#include "engenho/kubelet/kubelet.h"
#include "engenho/proxy/proxy.h"
#include "engenho/ruby/evaluator.h"

extern char** environ;

namespace engenho {

namespace {

Result<ServerConfig> config_of(const Arguments& arguments) {
  std::vector<std::string> env;
  for (char** e = environ; *e != nullptr; ++e) env.emplace_back(*e);
  return parse_server_config(arguments, env);
}

bool in_path(const std::string& program) {
  const char* path = getenv("PATH");
  for (std::string_view directory : split(path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':')) {
    if (access((std::string(directory) + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

bool file_holds(const char* path, std::string_view word) {
  auto text = read_file(path);
  return text && text->find(word) != std::string::npos;
}

}  // namespace

int check_command(const Arguments& arguments) {
  auto config = config_of(arguments);
  if (!config) {
    std::cerr << "engenho check: " << config.error().message() << "\n";
    return 2;
  }
  int lacking = 0;
  auto tell = [&](bool good, const std::string& what, const std::string& cure) {
    std::cout << (good ? "  good     " : "  LACKING  ") << what;
    if (!good) {
      std::cout << ": " << cure;
      ++lacking;
    }
    std::cout << "\n";
  };
  utsname system{};
  uname(&system);
  std::cout << "kernel " << system.release << "\n";
  tell(geteuid() == 0, "running as root", "start engenho as root, or with --disable-agent for the API alone");
  const bool own_runtime = config->container_runtime_endpoint.empty();
  if (own_runtime) {
    tell(in_path("containerd"), "containerd", "install the package containerd, or name a CRI socket with --container-runtime-endpoint");
    tell(in_path("runc"), "runc", "install the package runc");
  } else {
    tell(path_exists(config->container_runtime_endpoint.starts_with("unix://") ? config->container_runtime_endpoint.substr(7)
                                                                               : config->container_runtime_endpoint),
         "the CRI socket " + config->container_runtime_endpoint, "start the container runtime");
  }
  tell(in_path("nft"), "nft", "install the package nftables");
  tell(path_exists("/sys/fs/cgroup/cgroup.controllers") || path_exists("/sys/fs/cgroup/memory"), "cgroups (v1 or v2) below /sys/fs/cgroup",
       "mount cgroup2 there");
  tell(file_holds("/proc/filesystems", "overlay"), "overlayfs", "load the kernel module overlay");
  tell(path_exists("/proc/sys/net/ipv4/ip_forward"), "IPv4 forwarding can be switched on", "mount /proc writable");
  tell(path_exists("/proc/sys/net/bridge/bridge-nf-call-iptables"), "packets of bridges pass the filter (br_netfilter)",
       "load the kernel module br_netfilter; without it traffic between pods of one node through a Service loses its source address");
  for (const char* file : {"/etc/hosts", "/etc/resolv.conf"}) tell(path_exists(file), std::string(file), "make it, be it empty: containerd builds those of pods from it");
  struct statfs disk {};
  std::string place = config->data_dir;
  while (place.size() > 1 && statfs(place.c_str(), &disk) != 0) place = std::filesystem::path(place).parent_path();
  const uint64_t free_mib = static_cast<uint64_t>(disk.f_bavail) * static_cast<uint64_t>(disk.f_bsize) >> 20;
  tell(free_mib >= 2048, std::to_string(free_mib) + " MiB free below " + config->data_dir, "2 GiB are wanted for images and data");
  // Only templates in Ruby want it.
  if (auto version = ruby::Evaluator().version()) std::cout << "  good     Ruby for infrastructure templates: " << *version << "\n";
  else std::cout << "  without  Ruby for infrastructure templates: " << version.error().message << "\n";
  std::cout << (lacking == 0 ? "nothing is lacking\n" : std::to_string(lacking) + " things are lacking\n");
  return lacking == 0 ? 0 : 1;
}

int reset_command(const Arguments& arguments) {
  auto config = config_of(arguments);
  if (!config) {
    std::cerr << "engenho reset: " << config.error().message() << "\n";
    return 2;
  }
  auto fail = [](const Status& s) {
    std::cerr << "engenho reset: " << s.message() << "\n";
    return 1;
  };
  const std::string database = config->data_dir + "/server/db";
  if (path_exists(database)) {
    datastore::RocksdbOptions options;
    options.dir = database;
    auto store = datastore::open_rocksdb_store(options);
    // Damage is no reason to keep it; a running server is.
    if (!store && store.error().message().find("in use") != std::string::npos) {
      return fail(bad_request("the server that uses " + config->data_dir + " still runs; stop it first"));
    }
  }
  if (Status s = kubelet::reset(config->data_dir); !s.ok()) return fail(s);
  if (Status s = proxy::remove_rules(); !s.ok()) return fail(s);
  if (Status s = cni::remove_all(config->data_dir); !s.ok()) return fail(s);
  if (file_holds("/proc/mounts", config->data_dir + "/")) {
    return fail(internal_error("something is still mounted below " + config->data_dir + "; nothing was deleted there"));
  }
  // Images that somebody put there are theirs.
  std::error_code error;
  std::filesystem::remove_all(config->data_dir + "/server", error);
  for (const auto& entry : std::filesystem::directory_iterator(config->data_dir + "/agent", std::filesystem::directory_options(), error)) {
    if (entry.path().filename() != "images") std::filesystem::remove_all(entry.path(), error);
    if (error) return fail(internal_error("cannot remove " + entry.path().string() + ": " + error.message()));
  }
  std::cout << "engenho reset: nothing is left of the cluster in " << config->data_dir << "\n";
  return 0;
}

}  // namespace engenho
