// Keeps the stored state up with an apply: each change is durable before it counts as done. Changes that come together are stored
// together.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

#include "engenho/magma/state_store.h"
#include "state.h"

namespace engenho::magma {

class StateSaver {
 public:
  // `stored`: what the store has now. `working`: what it is to become.
  StateSaver(StateStore& store, uint64_t token, const State& stored, State working)
      : store_(store), token_(token), serial_(stored.serial), lineage_(stored.lineage), stored_(stored), state_(std::move(working)) {}

  // Changes the state and returns when that is stored. After an error everything later fails too, and state() has what is not stored.
  Status update(const std::function<void(State&)>& change);
  // Reads under the lock.
  template <typename Fn>
  auto look(Fn&& fn) {
    std::lock_guard lock(mutex_);
    return fn(static_cast<const State&>(state_));
  }
  Status append_cursor(const std::string& line) { return store_.append_cursor(line, token_); }
  uint64_t serial() const { return serial_; }
  std::string lineage() const { return lineage_; }

 private:
  StateStore& store_;
  const uint64_t token_;
  std::mutex mutex_;   // guards what follows
  std::condition_variable written_;
  uint64_t serial_;
  std::string lineage_;
  State stored_;
  State state_;
  uint64_t version_ = 0, durable_ = 0;   // counts of changes made, and of those that are stored
  bool writing_ = false;
  Status failed_;
};

}  // namespace engenho::magma
