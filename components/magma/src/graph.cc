#include "graph.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace engenho::magma {

Graph::Id Graph::add(std::function<bool()> work, std::function<void()> skipped) {
  Node node;
  node.work = std::move(work);
  node.skipped = std::move(skipped);
  nodes_.push_back(std::move(node));
  return nodes_.size() - 1;
}

void Graph::after(Id later, Id earlier) {
  if (later == earlier) return;
  nodes_[earlier].dependents.push_back(later);
  ++nodes_[later].waits_for;
}

bool Graph::run(int parallelism, const StopToken& stop) {
  std::mutex mutex;   // guards ready, busy and the nodes' counters
  std::condition_variable wake;
  std::deque<Id> ready;
  size_t left = nodes_.size(), busy = 0;
  std::vector<std::thread> threads;
  for (Id id = 0; id < nodes_.size(); ++id) {
    if (nodes_[id].waits_for == 0) ready.push_back(id);
  }
  std::function<void()> loop = [&] {
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return !ready.empty() || left == 0 || busy == 0; });
      if (ready.empty()) {
        wake.notify_all();
        return;   // done, or nothing can ever become ready
      }
      const Id id = ready.front();
      ready.pop_front();
      ++busy;
      // More work is waiting than there are hands: one more, as long as the bound allows it.
      if (!ready.empty() && static_cast<int>(threads.size()) + 1 < parallelism) threads.emplace_back(loop);
      Node& node = nodes_[id];
      const bool skip = node.poisoned || stop.stopped();
      lock.unlock();
      bool good = false;
      if (skip) {
        if (node.skipped) node.skipped();
      } else {
        good = node.work();
      }
      lock.lock();
      node.finished = true;
      --busy;
      --left;
      for (const Id next : node.dependents) {
        if (!good) nodes_[next].poisoned = true;
        if (--nodes_[next].waits_for == 0) ready.push_back(next);
      }
      wake.notify_all();
    }
  };
  loop();
  // Threads may have been added by threads: join until none is left.
  for (;;) {
    std::vector<std::thread> mine;
    {
      std::lock_guard lock(mutex);
      mine.swap(threads);
    }
    if (mine.empty()) break;
    for (std::thread& t : mine) t.join();
  }
  if (left == 0) return true;
  for (Node& node : nodes_) {
    if (!node.finished && node.skipped) node.skipped();
  }
  return false;
}

void parallel_for(size_t count, int parallelism, const std::function<void(size_t)>& fn) {
  if (count <= 1 || parallelism <= 1) {
    for (size_t i = 0; i < count; ++i) fn(i);
    return;
  }
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < count;) fn(i);
  };
  std::vector<std::thread> threads;
  for (size_t t = 1; t < std::min(count, static_cast<size_t>(parallelism)); ++t) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
}

}  // namespace engenho::magma
