// The sandbox of the evaluator's child. Three steps: enter() gives the zygote namespaces and a root of its own; confine() gives the process of
// one call its gems, its scratch directory, its limits, and takes everything else away. The zygote runs only trusted code; templates and gems
// run after confine().
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::ruby {

struct SandboxState {
  bool user_namespace = true;
  bool own_uids = false;  // uids 1..kUids are mapped to ids that own nothing; else the evaluator's own, without its capabilities
};
constexpr unsigned kUids = 64;
constexpr const char* kHostRoot = "/.host/root";

// Forks into new namespaces; returns in the child (process 1 of its own pid namespace). The parent stays behind: it waits, and ends with the child or when
// `control` hangs up. A machine without namespaces is an error: there is no weaker sandbox.
Result<SandboxState> enter_namespaces(int control);

// Builds the root and moves into it: the system's libraries and Ruby's, read only, the files of the DSL in /engenho/lib, and /src, /gems and /scratch, which
// are empty yet. The machine's root stays at kHostRoot for the zygote alone.
Status build_root(const std::string& libruby);

struct Confinement {
  struct Gem {
    std::string name, dir;
  };
  std::vector<Gem> gems;
  std::string tree;
  uint64_t memory_bytes = 0;  // on top of what is mapped already
  uint64_t cpu_seconds = 0;
  unsigned slot = 0;  // which of the uids
};
// In the process of one call. Afterwards: no capabilities but that to read what is mounted, no other process's memory, no network, no new processes, a
// read-only root.
Status confine(const Confinement& confinement, const SandboxState& state);

// The seccomp filter: what an interpreter needs to compute and to read files; all else is EPERM.
Status install_filter();

}  // namespace engenho::ruby
