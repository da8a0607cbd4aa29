#include "sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <grp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core_files.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "protocol.h"

namespace engenho::ruby {

namespace {

// Owns nothing on any machine: far above what systems and container engines hand out.
constexpr unsigned kFirstHostUid = 0x7ffe0000;

Status failed(const std::string& what) {
  return errno_error("sandbox: " + what, errno);
}

Status write_text(const std::string& path, const std::string& text) {
  Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.open() || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return failed(path);
  return {};
}

// From outside: only there may more than one's own id be mapped.
Status map_ids(pid_t child, bool& own_uids) {
  const std::string proc = "/proc/" + std::to_string(child);
  const std::string range = "\n1 " + std::to_string(kFirstHostUid) + " " + std::to_string(kUids) + "\n";
  const std::string uid = "0 " + std::to_string(geteuid()) + " 1", gid = "0 " + std::to_string(getegid()) + " 1";
  own_uids = write_text(proc + "/uid_map", uid + range).ok();
  if (own_uids) return write_text(proc + "/gid_map", gid + range);
  ENGENHO_RETURN_IF_ERROR(write_text(proc + "/uid_map", uid + "\n"));
  ENGENHO_RETURN_IF_ERROR(write_text(proc + "/setgroups", "deny"));
  return write_text(proc + "/gid_map", gid + "\n");
}

// Whether this user namespace (a container's, it may be) has the ids that calls run under.
bool ids_exist_here() {
  auto text = read_file("/proc/self/uid_map");
  if (!text) return false;
  for (std::string_view line : split(*text, '\n')) {
    unsigned inside = 0, outside = 0, count = 0;
    if (sscanf(std::string(line).c_str(), "%u %u %u", &inside, &outside, &count) != 3) continue;
    if (inside <= kFirstHostUid && uint64_t{inside} + count >= uint64_t{kFirstHostUid} + kUids) return true;
  }
  return false;
}

// The process that stays outside: ends with the child, and kills it when the evaluator has gone.
[[noreturn]] void watch(pid_t child, int control) {
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  pollfd wait_for[2] = {{handle, POLLIN, 0}, {control, 0 /* only its end */, 0}};
  while (handle >= 0 && poll(wait_for, 2, -1) < 0 && errno == EINTR) {
  }
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  _exit(0);
}

Status mount_at(const char* what, const std::string& where, const char* type, unsigned long flags, const char* options) {
  if (mount(what, where.c_str(), type, flags, options) != 0) return failed(std::string("mount of ") + what + " at " + where);
  return {};
}

// Attributes of one mount, or of all below it; whatever else it had stays.
Status restrict(const std::string& where, uint64_t attributes, bool below) {
  mount_attr attr{};
  attr.attr_set = attributes;
  if (syscall(SYS_mount_setattr, AT_FDCWD, where.c_str(), below ? AT_RECURSIVE : 0, &attr, sizeof(attr)) != 0) return failed("mount_setattr of " + where);
  return {};
}

constexpr uint64_t kReadOnly = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

// A directory (or file) of the machine, read only, under the same name below `root`.
Status bind_read_only(const std::string& source, const std::string& target, uint64_t attributes) {
  ENGENHO_RETURN_IF_ERROR(mount_at(source.c_str(), target, nullptr, MS_BIND | MS_REC, nullptr));
  return restrict(target, attributes, true);
}

Status copy_system_libraries(const std::string& root, const std::string& libruby) {
  std::vector<std::string> wanted = {"/lib",         "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/ruby", "/usr/share/rubygems-integration",
                                     "/var/lib/gems"};
  const std::string directory = libruby.substr(0, libruby.rfind('/'));
  if (!directory.starts_with("/usr/lib") && !directory.starts_with("/lib")) wanted.push_back(directory);
  for (const std::string& path : wanted) {
    struct stat info;
    if (lstat(path.c_str(), &info) != 0) continue;
    const std::string target = root + path;
    if (S_ISLNK(info.st_mode)) {  // /lib -> usr/lib
      char to[PATH_MAX];
      const ssize_t n = readlink(path.c_str(), to, sizeof(to) - 1);
      if (n <= 0) continue;
      to[n] = 0;
      if (symlink(to, target.c_str()) != 0) return failed("symlink " + path);
    } else if (S_ISDIR(info.st_mode) && !path_exists(target)) {
      ENGENHO_RETURN_IF_ERROR(make_dirs(target));
      ENGENHO_RETURN_IF_ERROR(bind_read_only(path, target, kReadOnly));
    }
  }
  for (const char* file : {"/etc/ld.so.cache", "/dev/null"}) {
    if (!path_exists(file)) continue;
    const std::string target = root + file;
    ENGENHO_RETURN_IF_ERROR(make_dirs(target.substr(0, target.rfind('/'))));
    Descriptor made(open(target.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    // A device must stay one; it is not made read only, as all are meant to write to it.
    ENGENHO_RETURN_IF_ERROR(std::strcmp(file, "/dev/null") == 0 ? mount_at(file, target, nullptr, MS_BIND, nullptr)
                                                                : bind_read_only(file, target, kReadOnly | MOUNT_ATTR_NOEXEC));
  }
  return {};
}

// What is mapped now, found by how much more would go: there is no /proc here.
uint64_t mapped_bytes() {
  constexpr uint64_t kProbe = 1ull << 40;
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  rlimit probe{kProbe, before.rlim_max};
  if (before.rlim_max < kProbe || setrlimit(RLIMIT_AS, &probe) != 0) return 512u << 20;
  uint64_t fits = 0;
  for (uint64_t step = kProbe / 2; step >= (1u << 20); step /= 2) {
    void* at = mmap(nullptr, fits + step, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) continue;
    munmap(at, fits + step);
    fits += step;
  }
  setrlimit(RLIMIT_AS, &before);
  return kProbe - fits;
}

Status limit(int resource, uint64_t value) {
  const rlimit both{value, value};
  if (setrlimit(static_cast<__rlimit_resource>(resource), &both) != 0) return failed("setrlimit");
  return {};
}

Status give_up_privileges(unsigned slot, const SandboxState& state) {
  for (int capability = 0; capability <= 63; ++capability)
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // ends with EINVAL at the last, EPERM without the right
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS, 0, 0, 0);
  uid_t id = 0;
  if (state.own_uids) id = state.user_namespace ? 1 + slot % kUids : kFirstHostUid + slot % kUids;
  if (id != 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0) return failed("change of the user");
  }
  // The trees of gems may be readable for the evaluator's user alone. What is mounted here is all that the process sees, and all of it is meant to be read.
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct kept[2] = {};
  if (id != 0) kept[0].effective = kept[0].permitted = 1u << CAP_DAC_READ_SEARCH;
  if (syscall(SYS_capset, &header, kept) != 0) return failed("capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("no_new_privs");
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  return {};
}

Status mount_call(const Confinement& confinement, uid_t owner) {
  if (unshare(CLONE_NEWNS) != 0) return failed("mount namespace");
  ENGENHO_RETURN_IF_ERROR(mount_at("none", "/gems", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755"));
  for (const auto& gem : confinement.gems) {
    const std::string target = "/gems/" + gem.name;
    if (mkdir(target.c_str(), 0755) != 0) return failed("gem " + gem.name);
    if (Status status = bind_read_only(kHostRoot + gem.dir, target, kReadOnly | MOUNT_ATTR_NOEXEC); !status.ok())
      return not_found_error("the tree of gem " + gem.name + " cannot be used: " + std::strerror(errno));
  }
  ENGENHO_RETURN_IF_ERROR(restrict("/gems", kReadOnly, false));
  if (!confinement.tree.empty()) {
    if (Status status = bind_read_only(kHostRoot + confinement.tree, "/src", kReadOnly | MOUNT_ATTR_NOEXEC); !status.ok())
      return not_found_error(std::string("the template's source tree cannot be used: ") + std::strerror(errno));
  }
  const std::string options = "size=16m,nr_inodes=4096,mode=700,uid=" + std::to_string(owner) + ",gid=" + std::to_string(owner);
  ENGENHO_RETURN_IF_ERROR(mount_at("none", "/scratch", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()));
  if (umount2(kHostRoot, MNT_DETACH) != 0) return failed("leaving the machine's root");
  return restrict("/", kReadOnly, false);
}

}  // namespace

Result<SandboxState> enter_namespaces(int control) {
  SandboxState state;
  int pair[2];
  if (pipe2(pair, O_CLOEXEC) != 0) return err(failed("pipe"));
  Descriptor read_end(pair[0]), write_end(pair[1]);
  constexpr int kNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  auto clone_with = [](int flags) { return static_cast<pid_t>(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0)); };
  pid_t child = clone_with(kNamespaces | CLONE_NEWUSER);
  if (child < 0 && geteuid() == 0) {
    state.user_namespace = false;
    state.own_uids = ids_exist_here();
    child = clone_with(kNamespaces);
  }
  if (child < 0) return err(unavailable(std::string("sandbox: this machine gives no namespaces: ") + std::strerror(errno)));
  if (child > 0) {
    read_end.reset();
    bool own_uids = false;
    Status mapped = state.user_namespace ? map_ids(child, own_uids) : Status();
    const char answer = !mapped.ok() ? 'x' : own_uids ? 'u' : '0';
    if (write(write_end.get(), &answer, 1) != 1) kill(child, SIGKILL);
    watch(child, control);
  }
  write_end.reset();
  char answer = 0;
  if (read(read_end.get(), &answer, 1) != 1 || answer == 'x') return err(unavailable("sandbox: the user namespace's ids cannot be mapped"));
  if (state.user_namespace) state.own_uids = answer == 'u';
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (sethostname("pangea", 6) != 0) return err(failed("sethostname"));
  return state;
}

Status build_root(const std::string& libruby) {
  std::string root;
  ENGENHO_RETURN_IF_ERROR(mount_at("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
  for (const char* directory : {"/tmp", "/run", "/mnt", "/var", "/opt"}) {
    if (mount("none", directory, "tmpfs", MS_NOSUID | MS_NODEV, "size=8m,mode=755") == 0) {
      root = directory;
      break;
    }
  }
  if (root.empty()) return failed("a root of its own");
  for (const char* directory : {"/src", "/gems", "/scratch", "/.host"}) ENGENHO_RETURN_IF_ERROR(make_dirs(root + directory));
  ENGENHO_RETURN_IF_ERROR(make_dirs(root + kHostRoot));
  if (chmod((root + "/.host").c_str(), 0700) != 0) return failed("chmod");
  ENGENHO_RETURN_IF_ERROR(copy_system_libraries(root, libruby));
  for (size_t i = 0; i < kCoreFileCount; ++i) {
    const std::string path = root + "/engenho/lib/" + kCoreFiles[i].path;
    ENGENHO_RETURN_IF_ERROR(make_dirs(path.substr(0, path.rfind('/'))));
    Descriptor file(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    const auto& text = kCoreFiles[i].text;
    if (!file.open() || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return failed(path);
  }
  if (chdir(root.c_str()) != 0 || syscall(SYS_pivot_root, ".", (root + kHostRoot).c_str()) != 0 || chdir("/") != 0) return failed("pivot_root");
  return {};
}

Status confine(const Confinement& confinement, const SandboxState& state) {
  // Namespaces, capabilities and the filter are each thread's own: another thread would keep what this one gives up.
  if (unshare(CLONE_THREAD) != 0) return internal_error("sandbox: the process has threads already");
  setsid();
  const uid_t owner = !state.own_uids ? 0 : state.user_namespace ? 1 + confinement.slot % kUids : kFirstHostUid + confinement.slot % kUids;
  ENGENHO_RETURN_IF_ERROR(mount_call(confinement, owner));
  if (chdir("/scratch") != 0) return failed("chdir");
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_AS, mapped_bytes() + confinement.memory_bytes));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_CPU, confinement.cpu_seconds));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_NOFILE, 64));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_FSIZE, 16u << 20));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_CORE, 0));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_MEMLOCK, 0));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_MSGQUEUE, 0));
  ENGENHO_RETURN_IF_ERROR(give_up_privileges(confinement.slot, state));
  ENGENHO_RETURN_IF_ERROR(limit(RLIMIT_NPROC, 32));  // threads; processes are refused by the filter
  return install_filter();
}

}  // namespace engenho::ruby
