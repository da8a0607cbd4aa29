#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/ipv4.h"
#include "engenho/base/json.h"
#include "engenho/cni/cni.h"
#include "hostport.h"
#include "ipam.h"
#include "netlink.h"

namespace engenho::cni {

namespace {

constexpr const char* kVersions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0"};
// Error codes of the CNI specification.
constexpr int kIncompatibleVersion = 1, kInvalidEnvironment = 4, kDecodingFailure = 6, kInvalidConfig = 7,
              kTryLater = 11, kGeneric = 100;

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int fail(const std::string& version, int code, const std::string& message) {
  json::Value out = json::Object();
  out["cniVersion"] = version.empty() ? "1.0.0" : version;
  out["code"] = code;
  out["msg"] = message;
  std::cout << json::dump(out) << "\n" << std::flush;
  return 1;
}

struct Call {
  std::string version, container_id, interface, netns_path;
  std::string owner() const { return container_id + " " + interface; }
  json::Value config;
  std::string bridge, state_dir;
  Subnet subnet;
  int mtu = 1500;
};

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Best effort: a sysctl that the kernel has not is not worth failing a pod for.
void sysctl(const std::string& name, const char* value) {
  const Fd fd(open(("/proc/sys/net/" + name).c_str(), O_WRONLY | O_CLOEXEC));
  if (fd.get() >= 0 && write(fd.get(), value, 1) != 1) return;
}

Status enter(const std::string& netns) {
  const Fd fd(open(netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return errno_error("open " + netns, errno);
  if (setns(fd.get(), CLONE_NEWNET) != 0) return errno_error("enter " + netns, errno);
  return {};
}

std::string host_interface(const Call& call) { return "veth" + sha256_hex(call.owner()).substr(0, 10); }

Status ensure_bridge(Netlink& host, const Call& call, int& index) {
  ENGENHO_RETURN_IF_ERROR(host.add_bridge(call.bridge, call.mtu));
  ENGENHO_ASSIGN_OR_RETURN(index, host.index_of(call.bridge));
  if (index == 0) return internal_error("bridge " + call.bridge + " is not there after it was made");
  ENGENHO_RETURN_IF_ERROR(host.add_address(index, call.subnet.gateway(), call.subnet.prefix));
  ENGENHO_RETURN_IF_ERROR(host.set_up(index));
  sysctl("ipv4/ip_forward", "1");
  // Pods route to each other through this bridge's address, by intention (see README): no "go there directly" messages.
  sysctl("ipv4/conf/" + call.bridge + "/send_redirects", "0");
  // Answers of DNATed connections from 127.0.0.1 (host ports) come back in here.
  sysctl("ipv4/conf/" + call.bridge + "/route_localnet", "1");
  return {};
}

Result<json::Value> add(const Call& call) {
  ENGENHO_ASSIGN(Netlink host, Netlink::open());
  int bridge = 0;
  ENGENHO_TRY(ensure_bridge(host, call, bridge));
  const std::string name = host_interface(call);
  ENGENHO_ASSIGN(int old, host.index_of(name));
  if (old != 0) ENGENHO_TRY(host.remove(old));  // half of an earlier attempt
  Ipam ipam(call.state_dir + "/addresses", call.subnet);
  ENGENHO_ASSIGN(uint32_t address, ipam.reserve(call.owner()));
  {
    const Fd netns(open(call.netns_path.c_str(), O_RDONLY | O_CLOEXEC));
    if (netns.get() < 0) return err(errno_error("open " + call.netns_path, errno));
    ENGENHO_TRY(host.add_veth(name, call.interface, netns.get(), call.mtu));
  }
  ENGENHO_ASSIGN(int veth, host.index_of(name));
  if (veth == 0) return err(internal_error("interface " + name + " is not there after it was made"));
  ENGENHO_TRY(host.set_master(veth, bridge));
  ENGENHO_TRY(host.set_hairpin(veth));
  ENGENHO_TRY(host.set_up(veth));

  const json::Value* mappings = call.config.at({"runtimeConfig", "portMappings"});
  const std::vector<HostPort> ports = mappings ? host_ports(*mappings) : std::vector<HostPort>();
  if (!ports.empty()) ENGENHO_TRY(set_host_ports(call.state_dir + "/hostports", call.owner(), ipv4_text(address), ports));

  ENGENHO_TRY(enter(call.netns_path));
  ENGENHO_ASSIGN(Netlink pod, Netlink::open());
  ENGENHO_ASSIGN(int eth, pod.index_of(call.interface));
  ENGENHO_ASSIGN(int lo, pod.index_of("lo"));
  sysctl("ipv4/conf/all/accept_redirects", "0");
  sysctl("ipv4/conf/" + call.interface + "/accept_redirects", "0");
  ENGENHO_TRY(pod.add_address(eth, address, 32));
  ENGENHO_TRY(pod.set_up(eth));
  ENGENHO_TRY(pod.set_up(lo));
  ENGENHO_TRY(pod.add_link_route(eth, call.subnet.gateway(), 32));
  ENGENHO_TRY(pod.add_default_route(eth, call.subnet.gateway()));

  json::Value out = json::Object();
  out["cniVersion"] = call.version;
  json::Array interfaces;
  for (const auto& [n, sandbox] : {std::pair{call.bridge, std::string()}, {name, std::string()}, {call.interface, call.netns_path}}) {
    json::Value i = json::Object();
    i["name"] = n;
    if (!sandbox.empty()) i["sandbox"] = sandbox;
    interfaces.push_back(std::move(i));
  }
  out["interfaces"] = std::move(interfaces);
  json::Value ip = json::Object();
  if (!call.version.starts_with("1.")) ip["version"] = "4";
  ip["address"] = ipv4_text(address) + "/32";
  ip["gateway"] = ipv4_text(call.subnet.gateway());
  ip["interface"] = 2;
  out["ips"] = json::Array{ip};
  json::Value route = json::Object();
  route["dst"] = "0.0.0.0/0";
  route["gw"] = ipv4_text(call.subnet.gateway());
  out["routes"] = json::Array{route};
  out["dns"] = json::Object();
  return out;
}

// Everything that can be removed is, also when the namespace is gone already; an error means: try again.
Status del(const Call& call) {
  ENGENHO_ASSIGN_OR_RETURN(Netlink host, Netlink::open());
  ENGENHO_ASSIGN_OR_RETURN(int veth, host.index_of(host_interface(call)));
  if (veth != 0) {
    if (Status s = host.remove(veth); !s.ok() && host.index_of(host_interface(call)).value_or(0) != 0) return s;
  }
  ENGENHO_RETURN_IF_ERROR(clear_host_ports(call.state_dir + "/hostports", call.owner()));
  return Ipam(call.state_dir + "/addresses", call.subnet).release(call.owner());
}

Status check(const Call& call) {
  ENGENHO_ASSIGN_OR_RETURN(Netlink host, Netlink::open());
  ENGENHO_ASSIGN_OR_RETURN(int veth, host.index_of(host_interface(call)));
  if (veth == 0) return internal_error("interface " + host_interface(call) + " is gone");
  ENGENHO_ASSIGN_OR_RETURN(uint32_t address, Ipam(call.state_dir + "/addresses", call.subnet).find(call.owner()));
  if (address == 0) return internal_error("no address is reserved for container " + call.container_id);
  ENGENHO_RETURN_IF_ERROR(enter(call.netns_path));
  ENGENHO_ASSIGN_OR_RETURN(Netlink pod, Netlink::open());
  ENGENHO_ASSIGN_OR_RETURN(int eth, pod.index_of(call.interface));
  return eth == 0 ? internal_error("interface " + call.interface + " is gone from " + call.netns_path) : Status();
}

Result<json::Value> loopback_add(const Call& call) {
  ENGENHO_TRY(enter(call.netns_path));
  ENGENHO_ASSIGN(Netlink pod, Netlink::open());
  ENGENHO_ASSIGN(int lo, pod.index_of("lo"));
  ENGENHO_TRY(pod.set_up(lo));
  json::Value out = json::Object();
  out["cniVersion"] = call.version;
  json::Value i = json::Object();
  i["name"] = "lo";
  i["sandbox"] = call.netns_path;
  out["interfaces"] = json::Array{i};
  json::Value ip = json::Object();
  if (!call.version.starts_with("1.")) ip["version"] = "4";
  ip["address"] = "127.0.0.1/8";
  ip["interface"] = 0;
  out["ips"] = json::Array{ip};
  return out;
}

}  // namespace

bool called_as_plugin() { return std::getenv("CNI_COMMAND") != nullptr; }

int cni_main() {
  const std::string command = env("CNI_COMMAND");
  const std::string input((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  if (command == "VERSION") {
    json::Value out = json::Object();
    json::Array versions;
    for (const char* v : kVersions) versions.emplace_back(v);
    out["cniVersion"] = "1.0.0";
    out["supportedVersions"] = std::move(versions);
    std::cout << json::dump(out) << "\n";
    return std::cout.flush() ? 0 : 1;
  }
  auto config = json::parse(input);
  if (!config) return fail("", kDecodingFailure, "network configuration: " + config.error().message());
  Call call;
  call.version = config->str_at({"cniVersion"}, "0.3.1");
  if (std::find(std::begin(kVersions), std::end(kVersions), call.version) == std::end(kVersions)) {
    return fail("", kIncompatibleVersion, "CNI version " + call.version + " is not supported");
  }
  call.container_id = env("CNI_CONTAINERID");
  call.interface = env("CNI_IFNAME");
  call.netns_path = env("CNI_NETNS");
  if (call.container_id.empty() || call.interface.empty() || call.interface.size() > 15 || call.interface.find('/') != std::string::npos) {
    return fail(call.version, kInvalidEnvironment, "CNI_CONTAINERID and CNI_IFNAME must be set");
  }
  if (command != "DEL" && call.netns_path.empty()) return fail(call.version, kInvalidEnvironment, "CNI_NETNS must be set");
  const std::string type(config->str_at({"type"}));
  call.config = std::move(*config);

  Result<json::Value> result = json::Value();
  if (type == "loopback") {
    // The namespace goes away with the sandbox, and its loopback with it: DEL and CHECK have nothing to do.
    if (command == "ADD") result = loopback_add(call);
  } else {
    auto subnet = parse_subnet(std::string(call.config.str_at({"subnet"})));
    if (!subnet) return fail(call.version, kInvalidConfig, subnet.error().message());
    call.subnet = *subnet;
    call.bridge = call.config.str_at({"bridge"}, "engenho0");
    call.state_dir = call.config.str_at({"stateDir"});
    if (call.state_dir.empty()) return fail(call.version, kInvalidConfig, "stateDir is missing in the network configuration");
    if (const json::Value* mtu = call.config.get("mtu")) call.mtu = static_cast<int>(mtu->int_or(1500));
    if (command == "ADD") {
      result = add(call);
    } else if (command == "DEL") {
      if (Status s = del(call); !s.ok()) result = err(s);
    } else if (command == "CHECK") {
      if (Status s = check(call); !s.ok()) result = err(s);
    } else {
      return fail(call.version, kInvalidEnvironment, "unknown CNI_COMMAND \"" + command + "\"");
    }
  }
  if (!result) return fail(call.version, result.error().code() == 503 ? kTryLater : kGeneric, result.error().message());
  if (command == "ADD") std::cout << json::dump(*result) << "\n";
  return std::cout.flush() ? 0 : 1;
}

Layout layout(const std::string& data_dir) {
  const std::string base = data_dir + "/agent/cni";
  return {base + "/bin", base + "/conf", base + "/state"};
}

Status install(const std::string& data_dir, const std::string& executable, const NetworkOptions& options) {
  const Layout where = layout(data_dir);
  ENGENHO_RETURN_IF_ERROR(make_dirs(where.bin_dir));
  ENGENHO_RETURN_IF_ERROR(make_dirs(where.conf_dir));
  ENGENHO_RETURN_IF_ERROR(make_dirs(where.state_dir, 0700));
  if (auto subnet = parse_subnet(options.subnet); !subnet) return subnet.error();
  for (const char* name : {"engenho", "loopback"}) {
    const std::string link = where.bin_dir + "/" + name, fresh = link + ".new";
    unlink(fresh.c_str());
    if (symlink(executable.c_str(), fresh.c_str()) != 0 || rename(fresh.c_str(), link.c_str()) != 0) return errno_error("symlink " + link, errno);
  }
  json::Value plugin = json::Object();
  plugin["type"] = "engenho";
  plugin["bridge"] = options.bridge;
  plugin["subnet"] = options.subnet;
  plugin["mtu"] = options.mtu;
  plugin["stateDir"] = where.state_dir;
  plugin["capabilities"]["portMappings"] = true;
  json::Value list = json::Object();
  list["cniVersion"] = "1.0.0";
  list["name"] = "engenho";
  list["plugins"] = json::Array{plugin};
  const std::string path = where.conf_dir + "/10-engenho.conflist", text = json::dump_pretty(list) + "\n";
  if (auto now = read_file(path); now && *now == text) return {};
  return write_file_atomic(path, text, 0644);
}

Status remove_all(const std::string& data_dir, const std::string& bridge) {
  std::error_code ignored;  // what is not there is fine
  std::filesystem::remove_all(data_dir + "/agent/cni", ignored);
  Status first;
  if (auto host = Netlink::open()) {
    const int index = host->index_of(bridge).value_or(0);
    // With ports left it is in use by pods that are not ours (another cluster on this machine): taking it would cut them off.
    std::error_code ec;
    const auto ports = std::filesystem::directory_iterator("/sys/class/net/" + bridge + "/brif", ec);
    if (index != 0 && !ec && ports != std::filesystem::directory_iterator()) {
      return internal_error("bridge " + bridge + " still has interfaces attached: it and the host port rules are left as they are");
    }
    if (index != 0) first = host->remove(index);
  }
  if (Status s = remove_host_port_table(); !s.ok() && first.ok()) first = s;
  return first;
}

}  // namespace engenho::cni
