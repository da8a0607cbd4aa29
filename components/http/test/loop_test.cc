#include "loop.h"

#include <thread>

#include "test_server.h"

using namespace engenho;
using namespace engenho::http;

TEST_CASE("loop: no task that is posted gets lost, however posts and turns interleave") {
  Loop loop;
  std::thread thread([&] { loop.run(); });
  constexpr int kRounds = 20'000;
  // Two threads post one task at a time and wait for it: a lost wake-up stands still.
  auto poster = [&] {
    for (int i = 0; i < kRounds; ++i) {
      std::atomic<bool> ran{false};
      std::mutex mutex;
      std::condition_variable changed;
      loop.post([&] {
        std::lock_guard lock(mutex);
        ran = true;
        changed.notify_one();
      });
      std::unique_lock lock(mutex);
      if (!changed.wait_for(lock, std::chrono::seconds(20), [&] { return ran.load(); })) return false;
    }
    return true;
  };
  auto other = std::async(std::launch::async, poster);
  CHECK(poster());
  CHECK(other.get());
  loop.stop();
  thread.join();
}

TEST_CASE("loop: deferred work runs at the end of the turn, once, and again when it asks") {
  struct Work final : Loop::Deferred {
    Loop& loop;
    int runs = 0;
    explicit Work(Loop& l) : loop(l) {}
    bool end_of_turn() override {
      if (++runs == 3) loop.stop();
      return runs < 3;
    }
  };
  Loop loop;
  Work work(loop);
  loop.post([&] {
    loop.defer(&work);
    loop.defer(&work);
  });
  loop.run();
  CHECK(work.runs == 3);
}
