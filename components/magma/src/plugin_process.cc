#include "plugin_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

extern char** environ;

namespace engenho::magma {

// A fixed value by which a provider knows that it was started by such an engine, and not by hand.
constexpr const char* kMagicCookie = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
constexpr size_t kMaxLine = 64 << 10;

struct PluginProcess::Shared {
  std::mutex mutex;   // guards what follows
  std::condition_variable changed;
  std::string first_line, panic;
  Status start_failed;
  bool handshake_seen = false, ended = false;
  int exit_code = -1;
  pid_t pid = -1;
  Handshake handshake;
};

Result<Handshake> parse_handshake(std::string_view line) {
  const auto parts = split(trim(line), '|');
  auto bad = [&](const std::string& what) { return err(bad_request("the provider's handshake is not understood: " + what)); };
  if (parts.size() < 5) return bad("expected CORE|APP|NETWORK|ADDRESS|PROTOCOL");
  if (parts[0] != "1") return bad("core protocol version " + std::string(parts[0]).substr(0, 20));
  Handshake h;
  int64_t version = 0;
  if (!parse_int(parts[1], version) || (version != 5 && version != 6)) return bad("plugin protocol version " + std::string(parts[1]).substr(0, 20) + "; 5 and 6 are supported");
  h.protocol = static_cast<int>(version);
  if (parts[2] == "unix") h.target = "unix://" + std::string(parts[3]);
  else if (parts[2] == "tcp") h.target = parts[3];
  else return bad("network \"" + std::string(parts[2]).substr(0, 20) + "\"");
  if (parts[2] == "tcp" && !parts[3].starts_with("127.0.0.1:") && !parts[3].starts_with("localhost:") && !parts[3].starts_with("[::1]:")) return bad("its address is not of this machine");
  if (parts[4] != "grpc") return bad("it speaks \"" + std::string(parts[4]).substr(0, 20) + "\", not grpc");
  if (parts.size() > 5 && !parts[5].empty()) {
    std::string text(parts[5]);
    while (text.size() % 4 != 0) text += '=';   // it is written without padding
    ENGENHO_ASSIGN(const std::string der, base64_decode(text));
    const std::string body = base64_encode(der);
    h.server_cert = "-----BEGIN CERTIFICATE-----\n";
    for (size_t i = 0; i < body.size(); i += 64) h.server_cert += body.substr(i, 64) + "\n";
    h.server_cert += "-----END CERTIFICATE-----\n";
  }
  return h;
}

PluginProcess::PluginProcess(std::shared_ptr<Shared> shared) : shared_(std::move(shared)), thread_(std::make_unique<TaskGroup>("provider")) {}

PluginProcess::~PluginProcess() {
  kill();
  thread_->stop();
}

Result<std::unique_ptr<PluginProcess>> PluginProcess::start(const std::string& path, const std::string& client_cert, const std::vector<std::string>& env, const std::string& scratch_dir, Duration timeout) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return err(errno_error("pipe", errno));
  ProcessOptions options;
  options.argv = {path};
  options.env = env;
  if (options.env.empty()) {
    for (char** e = environ; *e != nullptr; ++e) options.env.emplace_back(*e);
  }
  options.env.push_back(std::string("TF_PLUGIN_MAGIC_COOKIE=") + kMagicCookie);
  options.env.push_back("PLUGIN_PROTOCOL_VERSIONS=5,6");
  options.env.push_back("PLUGIN_MIN_PORT=10000");
  options.env.push_back("PLUGIN_MAX_PORT=25000");
  if (!client_cert.empty()) options.env.push_back("PLUGIN_CLIENT_CERT=" + client_cert);
  if (!scratch_dir.empty()) options.env.push_back("TMPDIR=" + scratch_dir), options.env.push_back("PLUGIN_UNIX_SOCKET_DIR=" + scratch_dir);
  options.die_with_parent = true;
  // Standard output and standard error come together; the handshake is the first line of its form.
  options.log_file = "/proc/self/fd/" + std::to_string(fds[1]);

  auto shared = std::make_shared<Shared>();
  std::unique_ptr<PluginProcess> plugin(new PluginProcess(shared));
  // A child that is to die with its parent dies with the thread that started it: this one stays as long as the child.
  plugin->thread_->spawn("log", [shared, options, fds](StopToken) {
    auto process = Process::start(options);
    close(fds[1]);
    {
      std::lock_guard lock(shared->mutex);
      if (!process) shared->start_failed = process.error(), shared->ended = true;
      else shared->pid = process->pid();
      shared->changed.notify_all();
    }
    std::string line;
    bool skipping = false;
    auto take = [&] {
      std::lock_guard lock(shared->mutex);
      if (!shared->handshake_seen && line.starts_with("1|")) {
        shared->handshake_seen = true;
        shared->first_line = line;
        shared->changed.notify_all();
      } else if (shared->panic.empty() && (line.starts_with("panic: ") || line.starts_with("fatal error: "))) {
        shared->panic = line.substr(0, 200);
      }
      line.clear();
    };
    char buffer[16384];
    while (process) {
      const ssize_t n = read(fds[0], buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      for (ssize_t i = 0; i < n; ++i) {
        if (buffer[i] == '\n') {
          if (!skipping) take();
          skipping = false;
          line.clear();
        } else if (line.size() < kMaxLine) {
          line += buffer[i];
        } else {
          skipping = true;
        }
      }
    }
    close(fds[0]);
    if (process) process->stop(std::chrono::seconds(2));   // its output is closed: it ended, or is about to
    std::lock_guard lock(shared->mutex);
    shared->ended = true;
    shared->exit_code = process ? process->exit_code() : -1;
    shared->changed.notify_all();
  });

  std::unique_lock lock(shared->mutex);
  shared->changed.wait_for(lock, timeout, [&] { return shared->handshake_seen || shared->ended; });
  if (!shared->start_failed.ok()) return err(shared->start_failed);
  if (!shared->handshake_seen) {
    const bool ended = shared->ended;
    lock.unlock();
    if (ended) return err(unavailable("the provider " + path + " ended before its handshake: " + plugin->end_reason()));
    return err(timeout_error("the provider " + path + " gave no handshake within " + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(timeout).count()) + " s"));
  }
  ENGENHO_ASSIGN(shared->handshake, parse_handshake(shared->first_line));
  lock.unlock();
  return plugin;
}

const Handshake& PluginProcess::handshake() const { return shared_->handshake; }

bool PluginProcess::running() const {
  std::lock_guard lock(shared_->mutex);
  return !shared_->ended;
}

bool PluginProcess::wait_ended(Duration timeout) const {
  std::unique_lock lock(shared_->mutex);
  return shared_->changed.wait_for(lock, timeout, [&] { return shared_->ended; });
}

std::string PluginProcess::end_reason() const {
  std::lock_guard lock(shared_->mutex);
  if (!shared_->panic.empty()) return "it panicked: " + shared_->panic;
  if (!shared_->ended) return "it is still running";
  return shared_->exit_code > 128 ? "it was ended by signal " + std::to_string(shared_->exit_code - 128) : "it exited with code " + std::to_string(shared_->exit_code);
}

void PluginProcess::kill() {
  std::lock_guard lock(shared_->mutex);
  if (shared_->pid > 0 && !shared_->ended) ::kill(-shared_->pid, SIGKILL);
}

}  // namespace engenho::magma
