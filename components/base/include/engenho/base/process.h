// Child processes: started with a clean signal mask, in a process group of their own, never through a shell.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"

namespace engenho {

struct ProcessOptions {
  std::vector<std::string> argv;       // argv[0] is looked up in PATH unless it holds a slash
  std::vector<std::string> env;        // "NAME=value"; empty: inherit
  std::string cwd;                     // empty: inherit
  std::string stdin_text;              // given to it, then closed
  std::string log_file;                // stdout and stderr are appended there instead of captured
  bool die_with_parent = false;        // PR_SET_PDEATHSIG: when the thread that started it ends
  int death_signal = 9;                // which signal then; SIGKILL, unless it can end in order (its output does not break then)
};

struct ProcessOutput {
  int exit_code = 0;                   // 128 + signal when killed by one
  std::string out, err;                // each at most 4 MiB; the rest is dropped
};

// Runs to its end; on timeout the whole process group is killed and the error says so.
Result<ProcessOutput> run_process(const ProcessOptions& options, Duration timeout);

// The same for work that takes long: read line by line, told to end, given time for it.
struct ProcessRun {
  Duration timeout = std::chrono::hours(24);
  Duration grace{0};                   // from SIGTERM to SIGKILL, both to the whole process group
  StopToken stop;
  std::function<void(std::string_view line)> on_line;   // each line of stdout, without its end; ProcessOutput::out stays empty. Lines over 256 MiB are cut
};
struct ProcessEnd : ProcessOutput {
  bool stopped = false, timed_out = false, killed = false;   // killed: it did not end within the grace
};
Result<ProcessEnd> run_process(const ProcessOptions& options, const ProcessRun& run);

// The path of a program by PATH, as the others here look it up; empty when there is none.
std::string find_program(const std::string& name);

// A long-running child. The destructor kills and reaps it unless detach() was called.
class Process {
 public:
  static Result<Process> start(const ProcessOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();
  pid_t pid() const { return pid_; }
  bool running();                      // reaps when it has ended
  int exit_code() const { return exit_code_; }
  void signal(int signal_number);      // to the process group
  void stop(Duration grace);           // SIGTERM, then SIGKILL after `grace`; waits
  void detach() { pid_ = -1; }

 private:
  explicit Process(pid_t pid) : pid_(pid) {}
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

}  // namespace engenho
