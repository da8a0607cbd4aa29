#include "runtime_config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"

namespace engenho::kubelet {

namespace {

void set_namespaces(const Pod& pod, rt::NamespaceOption& out) {
  out.set_network(pod.spec.host_network ? rt::NODE : rt::POD);
  out.set_ipc(pod.spec.host_ipc ? rt::NODE : rt::POD);
  out.set_pid(pod.spec.host_pid ? rt::NODE : pod.spec.share_process_namespace.value_or(false) ? rt::POD : rt::CONTAINER);
}

void set_seccomp(const core_v1::SeccompProfile* profile, rt::SecurityProfile& out) {
  out.set_profile_type(rt::SecurityProfile::Unconfined);
  if (profile == nullptr) return;
  if (profile->type == "RuntimeDefault") out.set_profile_type(rt::SecurityProfile::RuntimeDefault);
  if (profile->type == "Localhost") {
    out.set_profile_type(rt::SecurityProfile::Localhost);
    out.set_localhost_ref(profile->localhost_profile.value_or(""));
  }
}

std::string host_name(const Pod& pod) {
  if (pod.spec.hostname_override) return *pod.spec.hostname_override;
  if (!pod.spec.hostname.empty()) return pod.spec.hostname;
  std::string name = pod.metadata.name.substr(0, 63);
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  return name;
}

void add_unique(google::protobuf::RepeatedPtrField<std::string>& list, const std::string& value) {
  if (!value.empty() && std::find(list.begin(), list.end(), value) == list.end()) *list.Add() = value;
}

void host_dns(const NodeFacts& facts, rt::DNSConfig& out) {
  auto text = read_file(facts.resolv_conf);
  if (!text) return;
  for (std::string_view line : split(*text, '\n')) {
    std::vector<std::string> words;
    std::string word;
    for (char c : std::string(trim(line)) + " ") {
      if (c != ' ' && c != '\t') word += c;
      else if (!word.empty()) words.push_back(std::exchange(word, ""));
    }
    if (words.size() < 2) continue;
    if (words[0] == "nameserver") out.add_servers(words[1]);
    if (words[0] == "search") {
      out.clear_searches();
      for (size_t i = 1; i < words.size(); ++i) out.add_searches(words[i]);
    }
    if (words[0] == "options") {
      for (size_t i = 1; i < words.size(); ++i) out.add_options(words[i]);
    }
  }
}

void set_dns(const NodeFacts& facts, const Pod& pod, rt::DNSConfig& out) {
  std::string policy = pod.spec.dns_policy.empty() ? "ClusterFirst" : pod.spec.dns_policy;
  if (policy == "ClusterFirst" && pod.spec.host_network) policy = "Default";
  if (policy == "Default") {
    host_dns(facts, out);
  } else if (policy != "None") {
    rt::DNSConfig host;
    host_dns(facts, host);
    out.add_servers(facts.cluster_dns);
    out.add_searches(pod.metadata.namespace_ + ".svc." + facts.cluster_domain);
    out.add_searches("svc." + facts.cluster_domain);
    out.add_searches(facts.cluster_domain);
    for (const std::string& s : host.searches()) add_unique(*out.mutable_searches(), s);
    out.add_options("ndots:5");
  }
  if (pod.spec.dns_config) {
    for (const std::string& s : pod.spec.dns_config->nameservers) add_unique(*out.mutable_servers(), s);
    for (const std::string& s : pod.spec.dns_config->searches) add_unique(*out.mutable_searches(), s);
    for (const auto& o : pod.spec.dns_config->options) {
      // Ours wins over what the policy gave under the same name.
      auto* options = out.mutable_options();
      for (int i = options->size() - 1; i >= 0; --i) {
        if (options->Get(i).substr(0, options->Get(i).find(':')) == o.name) options->DeleteSubrange(i, 1);
      }
      out.add_options(o.value && !o.value->empty() ? o.name + ":" + *o.value : o.name);
    }
  }
}

std::string cgroup_parent(const Pod& pod) {
  const std::string qos = qos_class(pod);
  return "/kubepods/" + (qos == "Guaranteed" ? std::string() : to_lower(qos) + "/") + "pod" + pod.metadata.uid;
}

int64_t quantity(const std::map<std::string, k8s::Quantity>& map, const char* name, bool milli, bool& set) {
  auto it = map.find(name);
  set = it != map.end();
  return !set ? 0 : milli ? it->second.milli_value() : it->second.value();
}

void set_resources(const NodeFacts& facts, const Pod& pod, const core_v1::Container& c, rt::LinuxContainerResources& out) {
  bool has_request = false, has_limit = false, has_memory = false, has_memory_request = false;
  const int64_t limit = quantity(c.resources.limits, "cpu", true, has_limit);
  int64_t request = quantity(c.resources.requests, "cpu", true, has_request);
  if (!has_request && has_limit) request = limit;
  out.set_cpu_shares(std::clamp<int64_t>(request * 1024 / 1000, 2, 262144));
  if (has_limit && limit > 0) {
    out.set_cpu_period(100'000);
    out.set_cpu_quota(std::max<int64_t>(limit * 100, 1000));
  }
  const int64_t memory = quantity(c.resources.limits, "memory", false, has_memory);
  if (has_memory && memory > 0) out.set_memory_limit_in_bytes(memory);
  // The score by which the kernel chooses whom to end when memory is short, by class; never below zero here (restrict_oom_score_adj).
  const std::string qos = qos_class(pod);
  int64_t score = 1000;
  if (qos == "Guaranteed") score = 0;
  else if (qos == "Burstable") {
    const int64_t bytes = quantity(c.resources.requests, "memory", false, has_memory_request);
    score = facts.memory_capacity > 0 ? std::clamp<int64_t>(1000 - 1000 * bytes / facts.memory_capacity, 3, 999) : 999;
  }
  out.set_oom_score_adj(score);
}

Status set_security(const ContainerInputs& in, rt::LinuxContainerSecurityContext& out) {
  static const core_v1::SecurityContext kNone;
  static const core_v1::PodSecurityContext kPodNone;
  const auto& s = in.container.security_context ? *in.container.security_context : kNone;
  const auto& p = in.pod.spec.security_context ? *in.pod.spec.security_context : kPodNone;
  set_namespaces(in.pod, *out.mutable_namespace_options());
  if (!in.target_id.empty()) {
    out.mutable_namespace_options()->set_pid(rt::TARGET);
    out.mutable_namespace_options()->set_target_id(in.target_id);
  }
  const bool privileged = s.privileged.value_or(false);
  out.set_privileged(privileged);
  const auto user = s.run_as_user ? s.run_as_user : p.run_as_user;
  const auto group = s.run_as_group ? s.run_as_group : p.run_as_group;
  if (user) out.mutable_run_as_user()->set_value(*user);
  else if (in.image != nullptr && in.image->has_uid()) out.mutable_run_as_user()->set_value(in.image->uid().value());
  else if (in.image != nullptr && !in.image->username().empty()) out.set_run_as_username(in.image->username());
  if (group) out.mutable_run_as_group()->set_value(*group);
  const bool non_root = s.run_as_non_root ? *s.run_as_non_root : p.run_as_non_root.value_or(false);
  if (non_root) {
    if (user ? *user == 0 : in.image != nullptr && (in.image->has_uid() ? in.image->uid().value() == 0 : in.image->username().empty())) {
      return bad_request(user ? "container's runAsUser breaks non-root policy" : "container has runAsNonRoot and image will run as root");
    }
    if (!user && in.image != nullptr && !in.image->has_uid() && !in.image->username().empty()) {
      return bad_request("container has runAsNonRoot and image has non-numeric user (" + in.image->username() + "), cannot verify user is non-root");
    }
  }
  for (int64_t g : p.supplemental_groups) out.add_supplemental_groups(g);
  if (p.fs_group) out.add_supplemental_groups(*p.fs_group);
  out.set_readonly_rootfs(s.read_only_root_filesystem.value_or(false));
  if (s.capabilities) {
    for (const std::string& c : s.capabilities->add) out.mutable_capabilities()->add_add_capabilities(c);
    for (const std::string& c : s.capabilities->drop) out.mutable_capabilities()->add_drop_capabilities(c);
  }
  out.set_no_new_privs(s.allow_privilege_escalation && !*s.allow_privilege_escalation);
  if (privileged) set_seccomp(nullptr, *out.mutable_seccomp());
  else set_seccomp(s.seccomp_profile ? s.seccomp_profile.get() : p.seccomp_profile.get(), *out.mutable_seccomp());
  if (!privileged && s.proc_mount.value_or("Default") != "Unmasked") {
    for (const char* path : {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                             "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}) {
      out.add_masked_paths(path);
    }
    for (const char* path : {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) out.add_readonly_paths(path);
  }
  return {};
}

// The path below `volume` that subPath names, made when it is not there. A symbolic link that leads out of the volume is refused: a
// container could have planted it.
Result<std::string> sub_path(const std::string& volume, const std::string& sub) {
  if (sub.front() == '/') return err(bad_request("subPath must be relative: " + sub));
  for (std::string_view part : split(sub, '/')) {
    if (part == "..") return err(bad_request("subPath must not contain \"..\": " + sub));
  }
  char real_root[PATH_MAX], real[PATH_MAX];
  if (realpath(volume.c_str(), real_root) == nullptr) return err(errno_error("subPath " + sub, errno));
  const std::string root = real_root, path = root + "/" + sub;
  // Makes one directory at a time and looks where each has led.
  std::string at = root;
  for (std::string_view part : split(sub, '/')) {
    if (part.empty()) continue;
    at += "/" + std::string(part);
    if (realpath(at.c_str(), real) == nullptr) {
      if (errno != ENOENT) return err(errno_error("subPath " + sub, errno));
      if (mkdir(at.c_str(), 0750) != 0) return err(errno_error("subPath " + sub, errno));
      struct stat st {};
      if (stat(root.c_str(), &st) == 0 && (chmod(at.c_str(), st.st_mode & 07777) != 0 || chown(at.c_str(), st.st_uid, st.st_gid) != 0)) {
        return err(errno_error("subPath " + sub, errno));
      }
      if (realpath(at.c_str(), real) == nullptr) return err(errno_error("subPath " + sub, errno));
    }
    at = real;
    if (at != root && !at.starts_with(root + "/")) return err(bad_request("subPath " + sub + " leads out of its volume"));
  }
  return at;
}

Status set_mounts(const NodeFacts& facts, const ContainerInputs& in, const std::map<std::string, std::string>& env, rt::ContainerConfig& out) {
  bool own_hosts = true;
  for (const auto& m : in.container.volume_mounts) {
    auto volume = in.volumes.host_paths.find(m.name);
    if (volume == in.volumes.host_paths.end()) return bad_request("volume " + m.name + " is not there");
    rt::Mount& mount = *out.add_mounts();
    std::string path = volume->second;
    const std::string sub = m.sub_path_expr.empty() ? m.sub_path : expand_variables(m.sub_path_expr, env);
    if (sub.find("$(") != std::string::npos && !m.sub_path_expr.empty()) return bad_request("subPathExpr " + m.sub_path_expr + " refers to a variable that is not there");
    if (!sub.empty()) {
      ENGENHO_ASSIGN_OR_RETURN(path, sub_path(path, sub));
    }
    mount.set_host_path(path);
    mount.set_container_path(m.mount_path.starts_with("/") ? m.mount_path : "/" + m.mount_path);
    mount.set_readonly(m.read_only);
    const std::string propagation = m.mount_propagation.value_or("None");
    mount.set_propagation(propagation == "Bidirectional" ? rt::PROPAGATION_BIDIRECTIONAL
                          : propagation == "HostToContainer" ? rt::PROPAGATION_HOST_TO_CONTAINER : rt::PROPAGATION_PRIVATE);
    if (m.mount_path == "/etc/hosts") own_hosts = false;
  }
  const std::string pod_dir = facts.pods_dir + "/" + in.pod.metadata.uid;
  if (own_hosts) {
    const std::string path = pod_dir + "/etc-hosts";
    std::string text = hosts_file(in.pod, in.addresses.pod_ip, facts.cluster_domain);
    if (in.pod.spec.host_network) {
      auto host = read_file("/etc/hosts");
      text = (host ? *host : "") + (in.pod.spec.host_aliases.empty() ? "" : text.substr(text.find("\n# Entries added by HostAliases")));
    }
    ENGENHO_RETURN_IF_ERROR(make_dirs(pod_dir));
    // Written in place when it is there: other containers of the pod have it mounted.
    if (auto now = read_file(path); !now || *now != text) {
      const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
      if (fd < 0) return errno_error("write " + path, errno);
      const bool good = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
      close(fd);
      if (!good) return errno_error("write " + path, errno);
    }
    rt::Mount& mount = *out.add_mounts();
    mount.set_host_path(path);
    mount.set_container_path("/etc/hosts");
  }
  const std::string message_path = in.container.termination_message_path.empty() ? "/dev/termination-log" : in.container.termination_message_path;
  const std::string file = message_file(facts, in.pod, in.container.name, in.attempt);
  ENGENHO_RETURN_IF_ERROR(make_dirs(std::filesystem::path(file).parent_path()));
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return errno_error("create " + file, errno);
  fchmod(fd, 0666);  // whoever the container runs as may write it
  close(fd);
  rt::Mount& mount = *out.add_mounts();
  mount.set_host_path(file);
  mount.set_container_path(message_path);
  return {};
}

}  // namespace

std::string pod_log_dir(const NodeFacts& facts, const Pod& pod) {
  return facts.logs_dir + "/" + pod.metadata.namespace_ + "_" + pod.metadata.name + "_" + pod.metadata.uid;
}
std::string log_path(const NodeFacts& facts, const Pod& pod, const std::string& container, uint32_t attempt) {
  return pod_log_dir(facts, pod) + "/" + container + "/" + std::to_string(attempt) + ".log";
}
std::string message_file(const NodeFacts& facts, const Pod& pod, const std::string& container, uint32_t attempt) {
  return facts.pods_dir + "/" + pod.metadata.uid + "/containers/" + container + "/" + std::to_string(attempt);
}

rt::PodSandboxConfig sandbox_config(const NodeFacts& facts, const Pod& pod, uint32_t attempt) {
  rt::PodSandboxConfig out;
  auto& meta = *out.mutable_metadata();
  meta.set_name(pod.metadata.name);
  meta.set_namespace_(pod.metadata.namespace_);
  meta.set_uid(pod.metadata.uid);
  meta.set_attempt(attempt);
  if (!pod.spec.host_network) out.set_hostname(host_name(pod));
  out.set_log_directory(pod_log_dir(facts, pod));
  set_dns(facts, pod, *out.mutable_dns_config());
  for (const auto* list : {&pod.spec.init_containers, &pod.spec.containers}) {
    for (const auto& c : *list) {
      for (const auto& p : c.ports) {
        if (p.host_port <= 0 || pod.spec.host_network) continue;
        rt::PortMapping& m = *out.add_port_mappings();
        m.set_protocol(p.protocol == "UDP" ? rt::UDP : p.protocol == "SCTP" ? rt::SCTP : rt::TCP);
        m.set_container_port(p.container_port);
        m.set_host_port(p.host_port);
        m.set_host_ip(p.host_ip);
      }
    }
  }
  auto& labels = *out.mutable_labels();
  for (const auto& [k, v] : pod.metadata.labels) labels[k] = v;
  labels[kLabelPodName] = pod.metadata.name;
  labels[kLabelPodNamespace] = pod.metadata.namespace_;
  labels[kLabelPodUid] = pod.metadata.uid;
  for (const auto& [k, v] : pod.metadata.annotations) (*out.mutable_annotations())[k] = v;
  auto& linux_part = *out.mutable_linux();
  linux_part.set_cgroup_parent(cgroup_parent(pod));
  auto& security = *linux_part.mutable_security_context();
  set_namespaces(pod, *security.mutable_namespace_options());
  security.mutable_seccomp()->set_profile_type(rt::SecurityProfile::RuntimeDefault);
  if (pod.spec.security_context) {
    const auto& s = *pod.spec.security_context;
    if (s.run_as_user) security.mutable_run_as_user()->set_value(*s.run_as_user);
    if (s.run_as_group && s.run_as_user) security.mutable_run_as_group()->set_value(*s.run_as_group);
    for (int64_t g : s.supplemental_groups) security.add_supplemental_groups(g);
    if (s.fs_group) security.add_supplemental_groups(*s.fs_group);
    for (const auto& sysctl : s.sysctls) (*linux_part.mutable_sysctls())[sysctl.name] = sysctl.value;
  }
  for (const auto* list : {&pod.spec.init_containers, &pod.spec.containers}) {
    for (const auto& c : *list) {
      if (c.security_context && c.security_context->privileged.value_or(false)) security.set_privileged(true);
    }
  }
  return out;
}

std::string container_hash(const core_v1::Container& container) { return sha256_hex(container.name + "\n" + container.image).substr(0, 16); }

std::string hosts_file(const Pod& pod, const std::string& pod_ip, const std::string& cluster_domain) {
  std::string out =
      "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
  const std::string name = host_name(pod);
  if (!pod_ip.empty()) {
    if (!pod.spec.subdomain.empty()) out += pod_ip + "\t" + name + "." + pod.spec.subdomain + "." + pod.metadata.namespace_ + ".svc." + cluster_domain + "\t" + name + "\n";
    else out += pod_ip + "\t" + name + "\n";
  }
  if (!pod.spec.host_aliases.empty()) {
    out += "\n# Entries added by HostAliases.\n";
    for (const auto& a : pod.spec.host_aliases) out += a.ip + "\t" + join(a.hostnames, "\t") + "\n";
  }
  return out;
}

Result<rt::ContainerConfig> container_config(const NodeFacts& facts, const ContainerInputs& in) {
  const auto& c = in.container;
  std::map<std::string, std::string> env;
  rt::ContainerConfig out;
  for (const auto& [k, v] : in.environment) {
    env[k] = v;
    auto& e = *out.add_envs();
    e.set_key(k);
    e.set_value(v);
  }
  out.mutable_metadata()->set_name(c.name);
  out.mutable_metadata()->set_attempt(in.attempt);
  out.mutable_image()->set_image(in.image_ref);
  out.mutable_image()->set_user_specified_image(c.image);
  for (const std::string& s : c.command) out.add_command(expand_variables(s, env));
  for (const std::string& s : c.args) out.add_args(expand_variables(s, env));
  out.set_working_dir(c.working_dir);
  auto& labels = *out.mutable_labels();
  labels[kLabelPodName] = in.pod.metadata.name;
  labels[kLabelPodNamespace] = in.pod.metadata.namespace_;
  labels[kLabelPodUid] = in.pod.metadata.uid;
  labels[kLabelContainerName] = c.name;
  auto& annotations = *out.mutable_annotations();
  annotations[kAnnotationHash] = container_hash(c);
  annotations[kAnnotationRestarts] = std::to_string(in.attempt);
  annotations[kAnnotationMessagePath] = c.termination_message_path;
  annotations[kAnnotationMessagePolicy] = c.termination_message_policy;
  annotations[kAnnotationGrace] = std::to_string(in.pod.spec.termination_grace_period_seconds.value_or(30));
  out.set_log_path(c.name + "/" + std::to_string(in.attempt) + ".log");
  ENGENHO_TRY(make_dirs(pod_log_dir(facts, in.pod) + "/" + c.name));
  out.set_stdin(c.stdin);
  out.set_stdin_once(c.stdin_once);
  out.set_tty(c.tty);
  ENGENHO_TRY(set_security(in, *out.mutable_linux()->mutable_security_context()));
  set_resources(facts, in.pod, c, *out.mutable_linux()->mutable_resources());
  ENGENHO_TRY(set_mounts(facts, in, env, out));
  return out;
}

}  // namespace engenho::kubelet
