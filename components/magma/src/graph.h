// Runs work in the order of its dependencies, several at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engenho/base/threads.h"

namespace engenho::magma {

class Graph {
 public:
  using Id = size_t;
  // `work` answers whether it succeeded. When something it depends on did not, `skipped` is called instead, and it counts as failed.
  Id add(std::function<bool()> work, std::function<void()> skipped = {});
  void after(Id later, Id earlier);
  // The calling thread works too. False when a cycle keeps nodes from ever starting (they are skipped), true otherwise.
  // After a stop nothing more is begun; what was not is skipped.
  bool run(int parallelism, const StopToken& stop);

 private:
  struct Node {
    std::function<bool()> work;
    std::function<void()> skipped;
    std::vector<Id> dependents;
    size_t waits_for = 0;
    bool poisoned = false, finished = false;
  };
  std::vector<Node> nodes_;
};

// Calls fn(0) … fn(count - 1), up to `parallelism` at once.
void parallel_for(size_t count, int parallelism, const std::function<void(size_t)>& fn);

}  // namespace engenho::magma
