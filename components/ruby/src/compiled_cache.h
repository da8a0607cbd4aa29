// The compiled files of the gem sets in use. Each is a sealed file in memory: the zygote never reads it, and a call gets only the one of its own gems.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "protocol.h"

namespace engenho::ruby {

class CompiledCache {
 public:
  // The file for these gems, or -1. The second call with the same gems has it made (`make` forks a process that writes it), and does not wait.
  int use(const std::string& gems, const std::function<pid_t(int file)>& make);
  // What to poll for: the processes that are at work. After poll, with the same place of the same vector.
  void add_to(std::vector<pollfd>& wait_for) const;
  void polled(const std::vector<pollfd>& wait_for, size_t first);
  // In a forked process: forgets everything.
  void close_all() { sets_.clear(); }

 private:
  static constexpr size_t kSets = 4;
  struct Set {
    std::string gems;
    Descriptor file;
    pid_t pid = -1;
    Descriptor process;  // pidfd
    bool begun = false, usable = false;
    uint64_t last_use = 0;
  };
  void begin(Set& set, const std::function<pid_t(int file)>& make);
  void finish(Set& set);
  void drop_oldest();
  std::vector<Set> sets_;
  uint64_t uses_ = 0;
};

}  // namespace engenho::ruby
