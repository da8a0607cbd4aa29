// The evaluator's child: enters the sandbox, starts the interpreter, loads the DSL once, then forks itself for each call.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "compiled_cache.h"
#include "engenho/base/json.h"
#include "engenho/ruby/evaluator.h"
#include "libruby.h"
#include "protocol.h"
#include "sandbox.h"

namespace engenho::ruby {

namespace {

struct Call {
  pid_t pid;
  Descriptor process;  // pidfd: readable when it has ended
  Descriptor status;
};

json::Value failure(std::string_view kind, const std::string& message) {
  return json::Object{{"error", json::Object{{"kind", kind}, {"message", message}}}};
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

std::string read_all(int fd) {
  std::string text;
  char buffer[64 << 10];
  for (;;) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer, static_cast<size_t>(n));
  }
}

// From its beginning, whatever others have read of it: they share its position.
std::string read_sealed(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0 || info.st_size <= 0) return "";
  std::string text(static_cast<size_t>(info.st_size), 0);
  return pread(fd, text.data(), text.size(), 0) == info.st_size ? text : "";
}

Confinement confinement_of(const json::Value& header) {
  Confinement confinement;
  for (const json::Value& gem : header.get("gems")->items()) {
    confinement.gems.push_back({std::string(gem.str_at({"name"})), std::string(gem.str_at({"dir"}))});
  }
  confinement.tree = header.str_at({"tree"});
  confinement.memory_bytes = static_cast<uint64_t>(header.get("memory")->int_or(1 << 30));
  confinement.cpu_seconds = static_cast<uint64_t>(header.get("cpu_seconds")->int_or(60));
  confinement.slot = static_cast<unsigned>(header.get("slot")->int_or(0));
  return confinement;
}

class Zygote {
 public:
  Zygote(Libruby& ruby, SandboxState state, int idle_ms) : ruby_(ruby), state_(state), idle_ms_(idle_ms) {}

  void serve() {
    auto idle_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(idle_ms_);
    for (;;) {
      std::vector<pollfd> wait_for = {{kControlDescriptor, POLLIN, 0}};
      for (const Call& call : calls_) {
        wait_for.push_back({call.process.get(), POLLIN, 0});
        wait_for.push_back({call.status.get(), POLLIN, 0});
      }
      const size_t first_compiled = wait_for.size();
      compiled_.add_to(wait_for);
      const auto now = std::chrono::steady_clock::now();
      if (!calls_.empty()) idle_until = now + std::chrono::milliseconds(idle_ms_);
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(idle_until - now).count();
      if (left <= 0) return;
      const int ready = poll(wait_for.data(), wait_for.size(), calls_.empty() ? static_cast<int>(left) : -1);
      if (ready < 0 && errno != EINTR) return;
      if (ready <= 0) continue;  // time has passed, or the interpreter's timer interrupted
      compiled_.polled(wait_for, first_compiled);
      for (size_t i = calls_.size(); i-- > 0;) {
        if (wait_for[2 + 2 * i].revents != 0) kill(calls_[i].pid, SIGKILL);  // the evaluator wants no more of it
        if (wait_for[1 + 2 * i].revents != 0) finish(i);
      }
      if (wait_for[0].revents != 0 && !accept_call()) return;
    }
  }

 private:
  bool accept_call() {
    auto packet = receive_packet(kControlDescriptor);
    if (!packet || packet->text.empty()) return false;
    auto header = json::parse(packet->text);
    if (!header || packet->descriptors.size() != kJobDescriptors) return false;
    if (!preloaded_ && !header->get("gems")->items().empty()) {
      preloaded_ = true;
      (void)ruby_.evaluate("::Engenho::Gems.preload; ::GC.start; ''");
    }
    int compiled = -1;
    if (!header->get("gems")->items().empty()) {
      compiled = compiled_.use(json::dump(*header->get("gems")), [&](int file) {
        const pid_t pid = ruby_.fork();
        if (pid == 0) run_packing(*header, file);
        return pid;
      });
    }
    const pid_t pid = ruby_.fork();
    if (pid == 0) run_call(*header, packet->descriptors, compiled);
    const int status = packet->descriptors[kStatus].get();
    if (pid < 0) {
      (void)send_packet(status, "fork failed");
      return true;
    }
    (void)send_packet(status, "started");
    calls_.push_back({pid, Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))), std::move(packet->descriptors[kStatus])});
    return true;
  }

  // In a forked process: what the zygote has open for others. The interpreter's own descriptors must stay.
  void forget_others() {
    calls_.clear();
    compiled_.close_all();
  }

  // In the forked process: one call, then the end. No destructor and no at_exit of the template runs.
  [[noreturn]] void run_call(const json::Value& header, std::vector<Descriptor>& descriptors, int compiled) {
    // 0: /dev/null, 1 and 2: captured, 3, until now the zygote's socket: the answer.
    dup2(descriptors[kOutput].get(), 1);
    dup2(descriptors[kOutput].get(), 2);
    dup2(descriptors[kReply].get(), kControlDescriptor);
    const std::string request = read_all(descriptors[kBody].get());
    const std::string gems = compiled >= 0 ? read_sealed(compiled) : "";
    descriptors.clear();
    forget_others();
    signal(SIGPIPE, SIG_IGN);
    if (Status status = confine(confinement_of(header), state_); !status.ok()) {
      write_all(kControlDescriptor, json::dump(failure(status.not_found() ? "load" : "unavailable", status.message())));
      _exit(0);
    }
    ruby_.after_fork();
    if (!gems.empty()) (void)ruby_.evaluate("::Engenho::Compiled.use($engenho_request)", &gems);
    auto answer = ruby_.evaluate("::Engenho::Runner.run($engenho_request)", &request);
    write_all(kControlDescriptor, answer ? *answer : json::dump(failure("template", answer.error().message())));
    _exit(0);
  }

  // In a forked process that runs nothing of the gems: their files, compiled, into `file`.
  [[noreturn]] void run_packing(const json::Value& header, int file) {
    dup2(file, kControlDescriptor);
    forget_others();
    Confinement confinement = confinement_of(header);
    confinement.tree.clear();
    confinement.slot = kUids - 1;
    confinement.cpu_seconds = 20;
    if (!confine(confinement, state_).ok()) _exit(1);
    ruby_.after_fork();
    json::Array gems;
    for (const auto& gem : confinement.gems) gems.push_back(json::Object{{"name", gem.name}, {"dir", "/gems/" + gem.name}});
    const std::string request = json::dump(json::Object{{"gems", std::move(gems)}});
    _exit(ruby_.evaluate("::Engenho::Compiled.pack($engenho_request, 3)", &request) ? 0 : 1);
  }

  void finish(size_t index) {
    int status = 0;
    if (waitpid(calls_[index].pid, &status, 0) < 0) status = 0;
    (void)send_packet(calls_[index].status.get(), std::to_string(status));
    calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  Libruby& ruby_;
  const SandboxState state_;
  const int idle_ms_;
  std::vector<Call> calls_;
  CompiledCache compiled_;
  bool preloaded_ = false;
};

// The first message: {"ready": version} or why not.
Result<std::string> start(Libruby& ruby, const json::Value& settings, SandboxState& state, void* stack) {
  std::vector<std::string> directories;
  for (const json::Value& directory : settings.get("libraries")->items()) directories.emplace_back(directory.str());
  const auto candidates = Libruby::find(directories);
  if (candidates.empty()) return err(unavailable("no libruby of version 3.1 or later on this machine (Debian: apt install libruby)"));
  ENGENHO_ASSIGN(state, enter_namespaces(kControlDescriptor));
  ENGENHO_TRY(build_root(candidates[0]));
  ENGENHO_TRY(ruby.open(candidates[0]));
  ENGENHO_TRY(ruby.start(stack, {"/engenho/lib", "/engenho/lib/facade"}));
  ENGENHO_ASSIGN(const std::string version, ruby.evaluate("require 'engenho/runner'; ::GC.start; ::RUBY_VERSION"));
  return version + " (" + candidates[0] + ")";
}

}  // namespace

int worker_main(const std::vector<std::string>&) {
  struct stat info;
  if (fstat(kControlDescriptor, &info) != 0 || !S_ISSOCK(info.st_mode)) {
    std::fputs("pangea-eval-worker is not for people: the Ruby evaluator starts it\n", stderr);
    return 2;
  }
  // The evaluator reaps its child at once; this process belongs to no one who would have to wait for it.
  if (const pid_t pid = fork(); pid != 0) _exit(pid < 0 ? 1 : 0);
  umask(022);
  syscall(SYS_close_range, kControlDescriptor + 1u, ~0u, 0u);
  const rlimit stack_limit{8u << 20, 8u << 20};
  setrlimit(RLIMIT_STACK, &stack_limit);

  auto first = receive_packet(kControlDescriptor);
  if (!first || first->text.empty()) return 1;
  auto settings = json::parse(first->text);
  if (!settings) return 1;
  Libruby ruby;
  SandboxState state;
  volatile unsigned long stack_bottom = 0;
  auto ready = start(ruby, *settings, state, const_cast<unsigned long*>(&stack_bottom));
  const json::Value hello = ready ? json::Object{{"ready", *ready}} : json::Object{{"error", ready.error().message()}};
  if (!send_packet(kControlDescriptor, json::dump(hello)).ok() || !ready) _exit(1);
  Zygote(ruby, state, static_cast<int>(settings->get("idle_ms")->int_or(60000))).serve();
  _exit(0);  // process 1 of the namespace: whatever still runs in it ends
}

}  // namespace engenho::ruby
