// Waiting in tests for what has no notification of its own.
#pragma once

#include <chrono>
#include <thread>

namespace engenho::testing {

// Gives the other threads turns until `condition` holds. False when it still does not after `limit`.
template <typename Condition>
bool eventually(Condition condition, std::chrono::nanoseconds limit = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace engenho::testing
