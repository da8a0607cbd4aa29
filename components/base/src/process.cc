#include "engenho/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "engenho/base/bytes.h"

extern char** environ;

namespace engenho {

namespace {

constexpr size_t kMaxOutput = 4u << 20;

struct Pipe {
  int read = -1, write = -1;
  ~Pipe() {
    if (read >= 0) close(read);
    if (write >= 0) close(write);
  }
  void close_write() {
    if (write >= 0) close(write);
    write = -1;
  }
  Status open() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return errno_error("pipe", errno);
    read = fds[0];
    write = fds[1];
    return {};
  }
};

// The guard between a parent that may die and a child that shall then be told so once: the kernel's own signal comes again for each thread that the parent
// had, and the second one often means "at once". Runs in a forked process: async-signal-safe calls only.
volatile pid_t guarded = 0;
volatile int guard_signal = 0;
void tell_guarded(int) {
  if (guard_signal != 0) kill(guarded, guard_signal);
  guard_signal = 0;
}
[[noreturn]] void guard(pid_t child) {
  // Nothing of the parent's is held: no lock, no socket.
  if (syscall(SYS_close_range, 0u, ~0u, 0u) != 0) {
    for (int fd = 0; fd < 65536; ++fd) close(fd);
  }
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) sigaction(s, &ignore, nullptr);   // those to the group are the child's
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// fork and exec; -1 for an end that the child should find closed (it gets /dev/null).
Result<pid_t> spawn(const ProcessOptions& options, int in, int out, int error, const std::vector<int>& keep_open = {}) {
  if (options.argv.empty()) return err(internal_error("start of a process without a program"));
  const std::string program = find_program(options.argv[0]);
  if (program.empty()) return err(not_found_error(options.argv[0] + ": program not found in PATH"));
  std::vector<char*> argv, env;
  for (const std::string& arg : options.argv) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  for (const std::string& variable : options.env) env.push_back(const_cast<char*>(variable.c_str()));
  env.push_back(nullptr);
  char** const envp = options.env.empty() ? environ : env.data();
  Pipe failed;
  ENGENHO_TRY(failed.open());
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return err(errno_error("fork", errno));
  if (pid == 0) {
    // Only async-signal-safe calls from here on.
    setpgid(0, 0);
    if (options.die_with_parent && options.death_signal == SIGKILL) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(127);
    } else if (options.die_with_parent) {
      // Blocked until it is known whom to tell.
      sigset_t usr1;
      sigemptyset(&usr1);
      sigaddset(&usr1, SIGUSR1);
      sigprocmask(SIG_BLOCK, &usr1, nullptr);
      struct sigaction tell {};
      tell.sa_handler = tell_guarded;
      sigaction(SIGUSR1, &tell, nullptr);
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      if (getppid() != parent) _exit(127);
      const pid_t child = fork();
      if (child != 0) {
        const int number = errno;
        if (child < 0) (void)!write(failed.write, &number, sizeof number);
        close(failed.write);
        if (child < 0) _exit(127);
        guarded = child;
        guard_signal = options.death_signal;
        guard(child);
      }
      signal(SIGUSR1, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    dup2(in >= 0 ? in : null, 0);
    dup2(out >= 0 ? out : null, 1);
    dup2(error >= 0 ? error : null, 2);
    if (null > 2) close(null);
    for (const int fd : keep_open) fcntl(fd, F_SETFD, 0);
    if (options.cwd.empty() || chdir(options.cwd.c_str()) == 0) execve(program.c_str(), argv.data(), envp);
    const int number = errno;
    (void)!write(failed.write, &number, sizeof number);
    _exit(127);
  }
  failed.close_write();
  int number = 0;
  ssize_t n;
  do {
    n = read(failed.read, &number, sizeof number);
  } while (n < 0 && errno == EINTR);
  if (n == sizeof number) {
    waitpid(pid, nullptr, 0);
    return err(errno_error("start " + program, number));
  }
  return pid;
}

int decode_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = getenv("PATH");
  for (std::string_view directory : split(path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ':')) {
    std::string candidate = std::string(directory) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

Result<ProcessOutput> run_process(const ProcessOptions& options, Duration timeout) {
  Pipe in, out, error;
  ENGENHO_TRY(in.open());
  ENGENHO_TRY(out.open());
  ENGENHO_TRY(error.open());
  ENGENHO_ASSIGN(const pid_t pid, spawn(options, in.read, out.write, error.write));
  out.close_write();
  error.close_write();
  close(in.read);
  in.read = -1;
  fcntl(in.write, F_SETFL, O_NONBLOCK);
  ProcessOutput result;
  std::string_view input = options.stdin_text;
  if (input.empty()) in.close_write();
  const MonoTime deadline = std::chrono::steady_clock::now() + timeout;
  bool out_open = true, error_open = true, late = false;
  while (out_open || error_open) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      late = true;
      break;
    }
    pollfd fds[3] = {{out_open ? out.read : -1, POLLIN, 0}, {error_open ? error.read : -1, POLLIN, 0}, {in.write, POLLOUT, 0}};
    if (poll(fds, 3, static_cast<int>(std::min<int64_t>(left.count() + 1, 60'000))) < 0 && errno != EINTR) break;
    auto drain = [](int fd, std::string& into, bool& open) {
      char buffer[16384];
      const ssize_t n = read(fd, buffer, sizeof buffer);
      if (n > 0 && into.size() < kMaxOutput) into.append(buffer, static_cast<size_t>(n));
      if (n == 0) open = false;
    };
    if (fds[0].revents) drain(out.read, result.out, out_open);
    if (fds[1].revents) drain(error.read, result.err, error_open);
    if (fds[2].revents && in.write >= 0) {
      const ssize_t n = (fds[2].revents & POLLOUT) ? write(in.write, input.data(), input.size()) : -1;
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      if (input.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) in.close_write();
    }
  }
  if (late) kill(-pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (late) {
    return err(timeout_error(options.argv[0] + " did not finish within " +
                             std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()) + " ms"));
  }
  result.exit_code = decode_status(status);
  return result;
}

Result<ProcessEnd> run_process(const ProcessOptions& options, const ProcessRun& run) {
  constexpr size_t kMaxLine = 256u << 20;
  Pipe in, out, error;
  const auto wake = std::make_shared<Pipe>();   // the hook may be running while it is removed: the descriptor must outlive it
  ENGENHO_TRY(in.open());
  ENGENHO_TRY(out.open());
  ENGENHO_TRY(error.open());
  ENGENHO_TRY(wake->open());
  const uint64_t hook = run.stop.on_stop([wake] { (void)!write(wake->write, "s", 1); });
  // Should this process die before it: a pipe without a reader would kill it at its next word. It keeps the reading ends itself, with room for its last words.
  std::vector<int> keep;
  if (options.die_with_parent && options.death_signal != SIGKILL) {
    keep = {out.read, error.read};
    for (const int fd : keep) (void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
  }
  auto started = spawn(options, in.read, out.write, error.write, keep);
  if (!started) {
    run.stop.remove(hook);
    return err(started.error());
  }
  const pid_t pid = *started;
  const int end = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  out.close_write();
  error.close_write();
  close(in.read);
  in.read = -1;
  fcntl(in.write, F_SETFL, O_NONBLOCK);
  ProcessEnd result;
  std::string_view input = options.stdin_text;
  if (input.empty()) in.close_write();
  std::string line;
  auto take = [&](std::string_view bytes) {
    if (!run.on_line) {
      if (result.out.size() < kMaxOutput) result.out.append(bytes);
      return;
    }
    for (size_t at; (at = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(at + 1)) {
      if (line.size() < kMaxLine) line.append(bytes.substr(0, at));
      run.on_line(line);
      line.clear();
    }
    if (line.size() < kMaxLine) line.append(bytes);
  };
  MonoTime deadline = std::chrono::steady_clock::now() + run.timeout;
  bool out_open = true, error_open = true, ended = false;
  enum { kRunning, kTold, kKilled } stage = kRunning;
  while (out_open || error_open || (!ended && end >= 0)) {
    const auto now = std::chrono::steady_clock::now();
    if (stage == kRunning && (run.stop.stopped() || now >= deadline)) {
      result.stopped = run.stop.stopped();
      result.timed_out = !result.stopped;
      kill(-pid, SIGTERM);
      stage = kTold;
      deadline = now + run.grace;
    }
    // What it left running in its group holds the pipes open: it has a moment to end by itself.
    if ((stage == kTold || ended) && now >= deadline) {
      if (!ended) result.killed = true;
      kill(-pid, SIGKILL);
      if (stage == kKilled) break;   // somebody outside the group has them
      stage = kKilled;
      deadline = now + std::chrono::seconds(2);
    }
    pollfd fds[5] = {{out_open ? out.read : -1, POLLIN, 0}, {error_open ? error.read : -1, POLLIN, 0}, {in.write, POLLOUT, 0}, {stage == kRunning ? wake->read : -1, POLLIN, 0}, {ended ? -1 : end, POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (poll(fds, 5, static_cast<int>(std::clamp<int64_t>(left.count() + 1, 1, 60'000))) < 0 && errno != EINTR) break;
    char buffer[65536];
    if (fds[0].revents) {
      const ssize_t n = read(out.read, buffer, sizeof buffer);
      if (n > 0) take({buffer, static_cast<size_t>(n)});
      if (n == 0) out_open = false;
    }
    if (fds[1].revents) {
      const ssize_t n = read(error.read, buffer, sizeof buffer);
      if (n > 0 && result.err.size() < kMaxOutput) result.err.append(buffer, static_cast<size_t>(n));
      if (n == 0) error_open = false;
    }
    if (fds[2].revents && in.write >= 0) {
      const ssize_t n = (fds[2].revents & POLLOUT) ? write(in.write, input.data(), input.size()) : -1;
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      if (input.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) in.close_write();
    }
    if (fds[4].revents && !ended) {
      ended = true;
      deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    }
  }
  if (run.on_line && !line.empty()) run.on_line(line);
  run.stop.remove(hook);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (end >= 0) close(end);
  result.exit_code = decode_status(status);
  return result;
}

Result<Process> Process::start(const ProcessOptions& options) {
  int log = -1;
  if (!options.log_file.empty()) {
    log = open(options.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log < 0) return err(errno_error("open " + options.log_file, errno));
  }
  auto pid = spawn(options, -1, log, log);
  if (log >= 0) close(log);
  if (!pid) return err(pid.error());
  return Process(*pid);
}

Process::Process(Process&& other) noexcept : pid_(other.pid_), exit_code_(other.exit_code_) { other.pid_ = -1; }
Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    if (pid_ > 0) stop(Duration(0));
    pid_ = other.pid_;
    exit_code_ = other.exit_code_;
    other.pid_ = -1;
  }
  return *this;
}
Process::~Process() {
  if (pid_ > 0) stop(Duration(0));
}
bool Process::running() {
  if (pid_ <= 0) return false;
  int status;
  const pid_t n = waitpid(pid_, &status, WNOHANG);
  if (n == 0) return true;
  if (n == pid_) exit_code_ = decode_status(status);
  pid_ = -1;
  return false;
}
void Process::signal(int signal_number) {
  if (pid_ > 0) kill(-pid_, signal_number);
}
void Process::stop(Duration grace) {
  if (!running()) return;
  if (grace.count() > 0) {
    signal(SIGTERM);
    // A pidfd tells of the end without polling.
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    if (fd >= 0) {
      pollfd p{fd, POLLIN, 0};
      poll(&p, 1, static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(grace).count()));
      close(fd);
    }
    if (!running()) return;
  }
  signal(SIGKILL);
  int status;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  exit_code_ = decode_status(status);
  pid_ = -1;
}

}  // namespace engenho
