#include "compiled_cache.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

namespace engenho::ruby {

int CompiledCache::use(const std::string& gems, const std::function<pid_t(int file)>& make) {
  auto set = std::find_if(sets_.begin(), sets_.end(), [&](const Set& s) { return s.gems == gems; });
  if (set == sets_.end()) {
    if (sets_.size() >= kSets) drop_oldest();
    sets_.emplace_back().gems = gems;
    sets_.back().last_use = ++uses_;
    return -1;
  }
  set->last_use = ++uses_;
  if (!set->begun) begin(*set, make);
  return set->usable ? set->file.get() : -1;
}

void CompiledCache::begin(Set& set, const std::function<pid_t(int file)>& make) {
  set.begun = true;
  set.file = Descriptor(memfd_create("pangea-compiled", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!set.file.open()) return;
  set.pid = make(set.file.get());
  if (set.pid > 0) set.process = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, set.pid, 0)));
}

void CompiledCache::finish(Set& set) {
  int status = -1;
  const bool ended_well = waitpid(set.pid, &status, 0) == set.pid && status == 0;
  set.pid = -1;
  set.process.reset();
  struct stat info;
  // Sealed: the calls that read it cannot change it for those after them.
  set.usable = ended_well && fcntl(set.file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 &&
               fstat(set.file.get(), &info) == 0 && info.st_size > 4;
  if (!set.usable) set.file.reset();
}

void CompiledCache::drop_oldest() {
  auto oldest = std::min_element(sets_.begin(), sets_.end(), [](const Set& a, const Set& b) { return a.last_use < b.last_use; });
  if (oldest->pid > 0) {
    kill(oldest->pid, SIGKILL);
    finish(*oldest);
  }
  sets_.erase(oldest);
}

void CompiledCache::add_to(std::vector<pollfd>& wait_for) const {
  for (const Set& set : sets_) wait_for.push_back({set.process.get(), POLLIN, 0});  // -1 is not waited for
}

void CompiledCache::polled(const std::vector<pollfd>& wait_for, size_t first) {
  for (size_t i = 0; i < sets_.size(); ++i) {
    if (wait_for[first + i].revents != 0) finish(sets_[i]);
  }
}

}  // namespace engenho::ruby
