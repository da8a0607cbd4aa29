#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

#include "sandbox.h"

namespace engenho::ruby {

namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the seccomp filter knows x86_64 and aarch64"
#endif

// Whatever their arguments.
constexpr int kAllowed[] = {
    // memory
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    // descriptors that are open
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_lseek,
    SYS_close,
    SYS_close_range,
    SYS_dup,
    SYS_dup3,
    SYS_fcntl,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_ftruncate,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_ppoll,
    SYS_pselect6,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_fadvise64,
    SYS_fallocate,
    // files, as far as the read-only root and the scratch directory have them
    SYS_openat,
    SYS_newfstatat,
    SYS_fstat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_chdir,
    SYS_fchdir,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_renameat2,
    SYS_symlinkat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_umask,
    SYS_utimensat,
    SYS_truncate,
    // time
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_times,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_timer_gettime,
    SYS_timer_delete,
    SYS_timer_getoverrun,
    SYS_setitimer,
    // itself
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getpgid,
    SYS_getsid,
    SYS_getgroups,
    SYS_getresuid,
    SYS_getresgid,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_getrandom,
    SYS_exit,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_futex,
    SYS_membarrier,
    SYS_set_robust_list,
    SYS_set_tid_address,
    SYS_rseq,
    SYS_restart_syscall,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_rt_sigtimedwait,
    SYS_rt_sigsuspend,
    SYS_sigaltstack,
#if defined(__x86_64__)
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_getdents,
    SYS_mkdir,
    SYS_rmdir,
    SYS_unlink,
    SYS_rename,
    SYS_symlink,
    SYS_chmod,
    SYS_dup2,
    SYS_pipe,
    SYS_poll,
    SYS_select,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_time,
    SYS_getpgrp,
    SYS_arch_prctl,
    SYS_getrlimit,
    SYS_renameat,
#endif
};

constexpr uint32_t kArgument0 = offsetof(seccomp_data, args[0]), kArgument1 = offsetof(seccomp_data, args[1]);

class Program {
 public:
  void load(uint32_t offset) { add(BPF_LD | BPF_W | BPF_ABS, offset); }
  void result(uint32_t action) { add(BPF_RET | BPF_K, action); }
  // The next `skip` instructions are for equal values only.
  void unless_equal(uint32_t value, uint8_t skip) { code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)); }
  void refuse_unless_equal(uint32_t value) {
    code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
    result(SECCOMP_RET_KILL_PROCESS);
  }
  void unless_set(uint32_t bits, uint8_t skip) { code_.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, skip)); }
  void allow(uint32_t number) {
    unless_equal(number, 1);
    result(SECCOMP_RET_ALLOW);
  }
  // Allowed when argument `offset` (its low half) is one of `values`.
  void allow_with(uint32_t number, uint32_t offset, const std::vector<uint32_t>& values) {
    unless_equal(number, static_cast<uint8_t>(2 + 2 * values.size()));
    load(offset);
    for (uint32_t value : values) allow(value);
    result(SECCOMP_RET_ERRNO | EPERM);
  }
  Status install() {
    sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return errno_error("seccomp filter", errno);
    return {};
  }

 private:
  void add(uint16_t code, uint32_t k) { code_.push_back(BPF_STMT(code, k)); }
  std::vector<sock_filter> code_;
};

}  // namespace

Status install_filter() {
  const uint32_t self = static_cast<uint32_t>(getpid());
  Program program;
  program.load(offsetof(seccomp_data, arch));
  program.refuse_unless_equal(kArchitecture);
  program.load(offsetof(seccomp_data, nr));
  for (int number : kAllowed) program.allow(static_cast<uint32_t>(number));
  // The interpreter's own signals (abort, a thread's), never another process's.
  program.allow_with(SYS_kill, kArgument0, {self});
  program.allow_with(SYS_tgkill, kArgument0, {self});
  program.allow_with(SYS_ioctl, kArgument1, {TCGETS, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX});
  program.allow_with(SYS_prctl, kArgument0, {PR_SET_NAME, PR_GET_NAME, 0x53564d41 /* PR_SET_VMA */});
  program.allow_with(SYS_prlimit64, kArgument0, {0, self});
  // Threads, not processes; clone3 hides its flags in memory, and the C library then falls back to clone.
  program.unless_equal(SYS_clone3, 1);
  program.result(SECCOMP_RET_ERRNO | ENOSYS);
  program.unless_equal(SYS_clone, 4);
  program.load(kArgument0);
  program.unless_set(CLONE_THREAD, 1);
  program.result(SECCOMP_RET_ALLOW);
  program.result(SECCOMP_RET_ERRNO | EPERM);
  program.result(SECCOMP_RET_ERRNO | EPERM);
  return program.install();
}

}  // namespace engenho::ruby
