// A state that could not be stored, by a run that was cut off from its store: nothing that exists is to be lost. It waits in the workspace directory, under
// the name that terraform gives it, for the next run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engenho/magma/state_store.h"

namespace engenho::pangea {

inline constexpr const char* kUnsavedState = "errored.tfstate";

struct StateId {
  uint64_t serial = 0;
  std::string lineage;  // both empty: there is no state
  bool operator==(const StateId&) const = default;
};
Result<StateId> state_id(std::string_view document);

// Stores what waits in the directory, when it follows what is stored; else it is kept under another name. Returns what happened, for people; empty: nothing
// waited.
Result<std::string> recover_state(const std::string& directory, magma::StateStore& state);

}  // namespace engenho::pangea
