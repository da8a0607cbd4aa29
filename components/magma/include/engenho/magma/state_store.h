// Where a state lives: a file here, the cluster's store elsewhere. A state is a JSON document of Terraform's state format 4.
//
// Beside the state stands the cursor of an apply that is under way: lines that tell which changes had been begun, so that an apply that
// was killed goes on where it was and no resource is created twice.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::magma {

struct LockInfo {
  std::string id;          // unique; empty: one is made
  std::string operation;   // "plan", "apply"
  std::string who;
  std::string info;
};

// Thread-safe. What is acknowledged is durable.
class StateStore {
 public:
  virtual ~StateStore() = default;
  // The document; empty when there is none.
  virtual Result<std::string> read() = 0;
  // Replaces the document whose serial and lineage these are (0 and empty: there is none yet). Conflict when another one is there, or
  // when `fencing_token` is not that of the newest lock.
  virtual Status write(const std::string& document, uint64_t expected_serial, const std::string& expected_lineage, uint64_t fencing_token) = 0;
  virtual Result<std::vector<std::string>> read_cursor() = 0;
  virtual Status append_cursor(const std::string& line, uint64_t fencing_token) = 0;   // without line breaks
  virtual Status clear_cursor(uint64_t fencing_token) = 0;
  // A token that grows with every lock. Conflict (with the holder in the message) while another holds it.
  virtual Result<uint64_t> lock(const LockInfo& info) = 0;
  virtual Status unlock(uint64_t fencing_token) = 0;
};

// terraform.tfstate at `path`, mode 0600; the previous document at path.backup; the cursor at path.cursor. The lock is flock() on
// path.lock: it goes with the process that holds it.
std::unique_ptr<StateStore> make_local_state(std::string path);
// In memory, for tests and for trying things out.
std::unique_ptr<StateStore> make_memory_state(std::string document = "");

}  // namespace engenho::magma
