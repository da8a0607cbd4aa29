#include "zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engenho/base/bytes.h"

namespace engenho::ruby {

namespace {

constexpr size_t kKeptOutput = 8 << 10;
constexpr int kStartMilliseconds = 20000;
constexpr auto kKillGrace = std::chrono::seconds(5);

int milliseconds_until(MonoTime when) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(when - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left + 1, 0, 1 << 30));
}

EvaluationError plain_error(Failure kind, std::string message) {
  EvaluationError error;
  error.kind = kind;
  error.message = std::move(message);
  return error;
}

// Reads what is there; false at the end.
bool drain(int fd, std::string& into) {
  char buffer[64 << 10];
  const ssize_t n = read(fd, buffer, sizeof(buffer));
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  into.append(buffer, static_cast<size_t>(n));
  return n > 0;
}

struct Pipe {
  Descriptor read_end, write_end;
  Status open() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return errno_error("pipe", errno);
    read_end = Descriptor(fds[0]);
    write_end = Descriptor(fds[1]);
    return {};
  }
};

}  // namespace

struct ZygoteClient::Places {
  std::mutex mutex;
  std::condition_variable free;
  std::vector<bool> taken;
};

ZygoteClient::ZygoteClient(const EvaluatorOptions& options) : options_(options), places_(std::make_shared<Places>()) {
  places_->taken.resize(std::max<size_t>(1, options_.max_concurrent));
}

class ZygoteClient::Place {
 public:
  static Evaluated<Place> take(const std::shared_ptr<Places>& places, const StopToken& stop) {
    // What is called when stopped may outlive this call: it holds the places itself.
    const uint64_t id = stop.on_stop([places] {
      std::lock_guard lock(places->mutex);
      places->free.notify_all();
    });
    std::unique_lock lock(places->mutex);
    auto free = places->taken.end();
    places->free.wait(lock, [&] {
      free = std::find(places->taken.begin(), places->taken.end(), false);
      return free != places->taken.end() || stop.stopped();
    });
    const bool stopped = stop.stopped();
    const size_t index = static_cast<size_t>(free - places->taken.begin());
    if (!stopped) places->taken[index] = true;
    lock.unlock();
    stop.remove(id);
    if (stopped) return std::unexpected(plain_error(Failure::kCancelled, "cancelled before it began"));
    return Place(places, index);
  }
  Place(Place&&) noexcept = default;
  ~Place() {
    if (places_ == nullptr) return;
    std::lock_guard lock(places_->mutex);
    places_->taken[index_] = false;
    places_->free.notify_one();
  }
  size_t index() const { return index_; }

 private:
  Place(std::shared_ptr<Places> places, size_t index) : places_(std::move(places)), index_(index) {}
  std::shared_ptr<Places> places_;
  size_t index_;
};

Result<std::string> ZygoteClient::start_locked() {
  control_.reset();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return err(errno_error("evaluator's socket", errno));
  Descriptor ours(pair[0]), theirs(pair[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kControlDescriptor);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::vector<std::string> words = options_.worker;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // Nothing of this process's environment.
  const char* environment[] = {"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/scratch", "TMPDIR=/scratch", "PATH=/nonexistent", nullptr};
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), const_cast<char**>(environment));
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  theirs.reset();
  if (failed != 0) return err(errno_error("start of the evaluator " + words[0], failed));

  json::Array libraries;
  for (const std::string& directory : options_.library_directories) libraries.emplace_back(directory);
  const json::Value settings = json::Object{{"libraries", std::move(libraries)},
                                            {"idle_ms", static_cast<int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(options_.idle).count())}};
  Status sent = send_packet(ours.get(), json::dump(settings));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }  // it forks and ends at once
  ENGENHO_TRY(sent);
  pollfd wait_for{ours.get(), POLLIN, 0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kStartMilliseconds);
  int ready;
  do ready = poll(&wait_for, 1, milliseconds_until(deadline));
  while (ready < 0 && errno == EINTR);
  if (ready == 0) return err(timeout_error("the evaluator did not start within 20 s"));
  ENGENHO_ASSIGN(Packet packet, receive_packet(ours.get()));
  if (packet.text.empty()) return err(unavailable("the evaluator ended while it started"));
  ENGENHO_ASSIGN(json::Value hello, json::parse(packet.text));
  if (hello.get("error") != nullptr) return err(unavailable(std::string(hello.str_at({"error"}))));
  control_ = std::move(ours);
  version_ = hello.str_at({"ready"});
  return version_;
}

Result<std::string> ZygoteClient::ensure_started_locked() {
  if (control_.open()) {
    pollfd wait_for{control_.get(), POLLIN, 0};
    if (poll(&wait_for, 1, 0) == 0) return version_;  // after the first message it says nothing; readable means that it has ended
  }
  return start_locked();
}

void ZygoteClient::close() {
  std::lock_guard lock(mutex_);
  control_.reset();
}

Evaluated<std::string> ZygoteClient::version(StopToken) {
  std::lock_guard lock(mutex_);
  auto started = ensure_started_locked();
  if (!started) return std::unexpected(plain_error(Failure::kUnavailable, started.error().message()));
  return *started;
}

Evaluated<CallOutcome> ZygoteClient::call(const json::Value& request, const std::vector<GemTree>& gems, const std::string& tree, StopToken stop) {
  auto place = Place::take(places_, stop);
  if (!place) return std::unexpected(place.error());
  const std::string text = json::dump(request);
  Descriptor body(memfd_create("pangea-request", MFD_CLOEXEC));
  if (!body.open() || write(body.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return std::unexpected(plain_error(Failure::kUnavailable, errno_error("the request", errno).message()));
  }
  json::Array trees;
  for (const GemTree& gem : gems) trees.push_back(json::Object{{"name", gem.name}, {"dir", gem.dir}});
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options_.deadline).count();
  const std::string header = json::dump(json::Object{{"gems", std::move(trees)},
                                                     {"tree", tree},
                                                     {"memory", static_cast<int64_t>(options_.memory_bytes)},
                                                     {"cpu_seconds", static_cast<int64_t>(seconds + 2)},
                                                     {"slot", static_cast<int64_t>(place->index())}});
  for (int attempt = 0;; ++attempt) {
    CallOutcome outcome;
    Status unavailable;
    lseek(body.get(), 0, SEEK_SET);
    if (try_call(header, body.get(), stop, outcome, unavailable)) return outcome;
    if (!unavailable.ok()) return std::unexpected(plain_error(Failure::kUnavailable, unavailable.message()));
    if (attempt == 2) return std::unexpected(plain_error(Failure::kUnavailable, "the evaluator ends as soon as it is started"));
  }
}

bool ZygoteClient::try_call(const std::string& header, int body, const StopToken& stop, CallOutcome& outcome, Status& unavailable) {
  Pipe reply, output;
  int pair[2] = {-1, -1};
  unavailable = reply.open();
  if (unavailable.ok()) unavailable = output.open();
  if (unavailable.ok() && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) unavailable = errno_error("socket", errno);
  if (!unavailable.ok()) return false;
  Descriptor status(pair[0]), their_status(pair[1]);
  {
    std::lock_guard lock(mutex_);
    auto started = ensure_started_locked();
    if (!started) {
      unavailable = started.error();
      return false;
    }
    if (Status sent = send_packet(control_.get(), header, {body, reply.write_end.get(), output.write_end.get(), their_status.get()}); !sent.ok()) {
      control_.reset();
      if (sent.code() == 400) unavailable = sent;
      return false;
    }
  }
  reply.write_end.reset();
  output.write_end.reset();
  their_status.reset();
  bool began = false;
  wait_for_end(reply.read_end.get(), output.read_end.get(), status.get(), stop, outcome, began);
  return began || outcome.end == CallOutcome::End::kCancelled || outcome.end == CallOutcome::End::kTimeout;
}

void ZygoteClient::wait_for_end(int reply, int output, int status, const StopToken& stop, CallOutcome& outcome, bool& started) {
  using End = CallOutcome::End;
  const auto wake = std::make_shared<Descriptor>(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const uint64_t id = stop.on_stop([wake] {
    const uint64_t one = 1;
    (void)!write(wake->get(), &one, sizeof(one));
  });
  MonoTime deadline = std::chrono::steady_clock::now() + options_.deadline;
  bool reply_open = true, output_open = true, ended = false, killed = false;
  auto end_it = [&](End why) {
    outcome.end = why;
    killed = true;
    deadline = std::chrono::steady_clock::now() + kKillGrace;
    (void)send_packet(status, "kill");
  };
  while (!ended || reply_open) {
    pollfd wait_for[4] = {
        {reply_open ? reply : -1, POLLIN, 0}, {output_open ? output : -1, POLLIN, 0}, {ended ? -1 : status, POLLIN, 0}, {killed ? -1 : wake->get(), POLLIN, 0}};
    const int ready = poll(wait_for, 4, milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) break;
    if (ready == 0) {
      if (!killed) {
        end_it(End::kTimeout);
        continue;
      }
      close();  // it does not even answer a kill: the watcher outside ends it, and all calls with it
      break;
    }
    if (ready < 0) continue;
    if (wait_for[0].revents != 0) {
      reply_open = drain(reply, outcome.reply);
      if (outcome.reply.size() > options_.output_bytes + (1 << 20) && !killed) end_it(End::kTooLarge);
      if (killed) outcome.reply.clear();
    }
    if (wait_for[1].revents != 0) {
      output_open = drain(output, outcome.output);
      if (outcome.output.size() > kKeptOutput) outcome.output.erase(0, outcome.output.size() - kKeptOutput);
    }
    if (wait_for[2].revents != 0) {
      auto packet = receive_packet(status);
      int64_t code = 0;
      if (!packet || packet->text.empty()) {
        if (!killed) outcome.end = End::kLost;
        ended = true;
        reply_open = reply_open && !killed;
      } else if (packet->text == "started") {
        started = true;
      } else if (parse_int(packet->text, code)) {
        outcome.wait_status = static_cast<int>(code);
        ended = true;
      }
    }
    if (wait_for[3].revents != 0 && !killed) end_it(End::kCancelled);
  }
  while (output_open) {  // what it had written before it ended
    pollfd wait_for{output, POLLIN, 0};
    if (poll(&wait_for, 1, 0) <= 0 || !drain(output, outcome.output)) break;
    if (outcome.output.size() > kKeptOutput) outcome.output.erase(0, outcome.output.size() - kKeptOutput);
  }
  stop.remove(id);
}

}  // namespace engenho::ruby
