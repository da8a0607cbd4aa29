#include "hostport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/process.h"

namespace engenho::cni {

namespace {

Status nft(const std::string& script) {
  ProcessOptions options;
  options.argv = {"nft", "-f", "-"};
  options.stdin_text = script;
  auto out = run_process(options, std::chrono::seconds(20));
  if (!out) return out.error();
  if (out->exit_code != 0) return internal_error("nft: " + std::string(trim(out->err)));
  return {};
}

Status render_all(const std::string& directory) {
  std::vector<std::pair<std::string, std::vector<HostPort>>> records;
  if (DIR* dir = opendir(directory.c_str())) {
    while (const dirent* entry = readdir(dir)) {
      const std::string name = entry->d_name;
      if (!name.ends_with(".json")) continue;
      auto text = read_file(directory + "/" + name);
      if (!text) continue;
      auto record = json::parse(*text);
      if (!record) continue;
      const json::Value* ports = record->get("ports");
      records.emplace_back(std::string(record->str_at({"ip"})), ports ? host_ports(*ports) : std::vector<HostPort>());
    }
    closedir(dir);
  }
  return nft(render_host_ports(records));
}

std::string record_path(const std::string& directory, const std::string& owner) {
  return directory + "/" + sha256_hex(owner).substr(0, 32) + ".json";
}

// Serialises record changes and rendering; null when it could not be taken.
struct Lock {
  explicit Lock(const std::string& directory) : fd(open((directory + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd >= 0) flock(fd, LOCK_EX);
  }
  ~Lock() {
    if (fd >= 0) close(fd);
  }
  int fd;
};

}  // namespace

std::vector<HostPort> host_ports(const json::Value& mappings) {
  std::vector<HostPort> out;
  for (const json::Value& m : mappings.items()) {
    HostPort p;
    // containerd writes the names with a capital letter ("HostPort"), others as the specification has them.
    for (const auto& [name, value] : m.members()) {
      const std::string key = to_lower(name);
      if (key == "protocol") p.protocol = to_lower(value.str("tcp"));
      else if (key == "hostport") p.host_port = static_cast<int>(value.int_or(0));
      else if (key == "containerport") p.container_port = static_cast<int>(value.int_or(0));
      else if (key == "hostip") p.host_ip = value.str();
    }
    if (p.protocol.empty()) p.protocol = "tcp";
    if (p.host_port > 0 && p.container_port > 0) out.push_back(std::move(p));
  }
  return out;
}

std::string render_host_ports(const std::vector<std::pair<std::string, std::vector<HostPort>>>& records) {
  std::string rules, self;
  for (const auto& [ip, ports] : records) {
    if (!ports.empty()) self += "    ct status dnat ip saddr " + ip + " ip daddr " + ip + " masquerade\n";
    for (const HostPort& p : ports) {
      const bool any = p.host_ip.empty() || p.host_ip == "0.0.0.0" || p.host_ip == "::";
      if (!any && p.host_ip.find(':') != std::string::npos) continue;  // pods have IPv4 addresses
      rules += "    " + (any ? std::string("fib daddr type local ") : "ip daddr " + p.host_ip + " ") + p.protocol + " dport " +
               std::to_string(p.host_port) + " dnat ip to " + ip + ":" + std::to_string(p.container_port) + "\n";
    }
  }
  // The first lines make the chains exist, so that flushing them cannot fail; all of it is one transaction. Connections from the
  // host itself to a local address come with a source that the pod may not be able to answer (127.0.0.1), and a pod that
  // reaches itself through the host must not see its own address: both are masqueraded.
  std::string out = "add table inet engenho\n";
  for (const char* chain : {"hostport", "hostport_pre { type nat hook prerouting priority -101; }",
                            "hostport_out { type nat hook output priority -101; }",
                            "hostport_post { type nat hook postrouting priority 99; }"}) {
    out += std::string("add chain inet engenho ") + chain + "\n";
  }
  for (const char* chain : {"hostport", "hostport_pre", "hostport_out", "hostport_post"}) {
    out += std::string("flush chain inet engenho ") + chain + "\n";
  }
  out += "table inet engenho {\n  chain hostport {\n" + rules + "  }\n";
  if (!rules.empty()) {
    out += "  chain hostport_pre { jump hostport; }\n  chain hostport_out { jump hostport; }\n"
           "  chain hostport_post {\n    ct status dnat ip saddr 127.0.0.0/8 masquerade\n" +
           self + "  }\n";
  }
  return out + "}\n";
}

Status set_host_ports(const std::string& directory, const std::string& owner, const std::string& pod_ip, const std::vector<HostPort>& ports) {
  ENGENHO_RETURN_IF_ERROR(make_dirs(directory, 0700));
  const Lock lock(directory);
  json::Value record = json::Object();
  record["ip"] = pod_ip;
  json::Array list;
  for (const HostPort& p : ports) {
    json::Value v = json::Object();
    v["protocol"] = p.protocol;
    v["hostPort"] = p.host_port;
    v["containerPort"] = p.container_port;
    v["hostIP"] = p.host_ip;
    list.push_back(std::move(v));
  }
  record["ports"] = std::move(list);
  ENGENHO_RETURN_IF_ERROR(write_file_atomic(record_path(directory, owner), json::dump(record), 0600));
  return render_all(directory);
}

Status clear_host_ports(const std::string& directory, const std::string& owner) {
  const std::string path = record_path(directory, owner);
  if (!path_exists(path)) return {};
  const Lock lock(directory);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove " + path, errno);
  return render_all(directory);
}

Status remove_host_port_table() {
  return nft("add table inet engenho\ndelete table inet engenho\n");   // the first line: so that the second cannot fail
}

}  // namespace engenho::cni
