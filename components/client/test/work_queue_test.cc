#include "engenho/client/work_queue.h"

#include <thread>

#include "engenho/client/informer.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using client::WorkQueue;

TEST_CASE("a key is in the queue once, and comes back when added while worked on", "[queue]") {
  WorkQueue q;
  q.add("a");
  q.add("a");
  q.add("b");
  REQUIRE(q.get() == "a");
  q.add("a");
  REQUIRE(q.get() == "b");
  q.done("b");
  q.done("a");
  REQUIRE(q.get() == "a");
  q.done("a");
  q.shut_down();
  CHECK_FALSE(q.get());
}

TEST_CASE("delays: the earliest wins; failures double", "[queue]") {
  FakeClock clock;
  WorkQueue q(clock, {std::chrono::seconds(1), std::chrono::seconds(4)});
  q.add_after("a", std::chrono::seconds(10));
  q.add_after("a", std::chrono::seconds(2));
  clock.advance(std::chrono::seconds(2));
  REQUIRE(q.get() == "a");
  q.done("a");
  for (int seconds : {1, 2, 4, 4}) {
    q.add_rate_limited("a");
    CHECK(q.size() == 1);
    clock.advance(std::chrono::seconds(seconds));
    REQUIRE(q.get() == "a");
    q.done("a");
  }
}

TEST_CASE("no key is worked on by two workers, none is lost", "[queue]") {
  WorkQueue q;
  TaskGroup group("t");
  std::mutex mutex;
  std::map<std::string, int> active, done;
  std::condition_variable cv;
  bool twice = false;
  client::run_workers(group, "t", q, 4, [&](const std::string& key) {
    {
      std::lock_guard lock(mutex);
      twice = twice || active[key]++ > 0;
    }
    std::this_thread::yield();
    std::lock_guard lock(mutex);
    --active[key];
    ++done[key];
    cv.notify_all();
    return Status();
  });
  for (int i = 0; i < 2000; ++i) q.add("k" + std::to_string(i % 17));
  {
    std::unique_lock lock(mutex);
    REQUIRE(cv.wait_for(lock, std::chrono::seconds(20), [&] { return done.size() == 17; }));
  }
  group.stop();
  CHECK_FALSE(twice);
}

TEST_CASE("keys split into namespace and name", "[informer]") {
  std::string ns, name;
  client::split_key("a/b", ns, name);
  CHECK((ns == "a" && name == "b"));
  client::split_key("node", ns, name);
  CHECK((ns.empty() && name == "node"));
}
