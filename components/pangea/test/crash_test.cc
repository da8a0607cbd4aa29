// Kill -9 of the whole server in the middle of an apply of 200 resources, again and again.
#include <signal.h>

#include <iostream>
#include <random>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/process.h"
#include "engenho/pangea/cluster_state.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

TEST_CASE("kill -9 of server and controller in the middle of an apply of 200: nothing twice, nothing lost") {
  constexpr size_t kThings = 200;
  TempDir dir;
  TestProvider provider;
  const std::string data = dir.path("data"), out = dir.path("out");
  std::filesystem::create_directories(data);
  std::mt19937_64 rng(engenho::testing::seed());
  int kills = 0;
  bool finished = false;
  for (int round = 0; round < 25 && !finished; ++round) {
    ProcessOptions options;
    options.argv = {PANGEA_CRASH_TOOL, data, dir.path("web"), provider.options().plugin_dirs[0], provider.cloud(), std::to_string(kThings), "magma"};
    options.log_file = out;
    auto process = Process::start(options);
    REQUIRE(process);
    // Somewhere in the middle; every other time long before anything is made, so that starting, locking and planning are cut, too.
    const size_t until = provider.log().size() + 15 + rng() % 40;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto early = std::chrono::steady_clock::now() + std::chrono::milliseconds(rng() % 1500);
    while (process->running() && provider.log().size() < until && std::chrono::steady_clock::now() < limit) {
      if (round % 3 == 2 && kills < 8 && std::chrono::steady_clock::now() > early) break;
      std::this_thread::yield();
    }
    if (process->running()) {
      process->signal(SIGKILL);
      while (process->running()) std::this_thread::yield();
      ++kills;
      continue;
    }
    auto text = read_file(out);
    INFO((text ? *text : ""));
    REQUIRE(process->exit_code() == 0);
    finished = true;
  }
  INFO("kills " << kills);
  CHECK(finished);
  CHECK(kills >= 3);
  const auto log = provider.log();
  CHECK(std::set<std::string>(log.begin(), log.end()).size() == log.size());
  const auto things = provider.things();
  std::set<std::string> names;
  for (const auto& [name, id] : things) names.insert(name);
  CHECK(things.size() == kThings);
  CHECK(names.size() == kThings);
  InProcess cluster(data);
  ClusterState state(cluster.client(), {"dev-state", "default", "web"});
  const json::Value document = parse_json(*state.read());
  REQUIRE(document.get("resources")->items().size() == 1);
  CHECK(document.get("resources")->items()[0].get("instances")->items().size() == kThings);
  CHECK(document.get("magma_applying") == nullptr);
  CHECK(state.read_cursor()->empty());
  CHECK_FALSE(state.holder()->has_value());
  auto collected = collect_state_orphans(*cluster.client());
  REQUIRE(collected);
  CHECK(parse_json(*state.read()) == document);
}

TEST_CASE("kill -9 of the server while terraform works for it: its child ends in order, and nothing is made twice") {
  if (find_program("terraform").empty() && find_program("tofu").empty()) {
    std::cout << "SKIPPED: neither terraform nor tofu is in PATH\n";
    return;
  }
  constexpr size_t kThings = 80;
  TempDir dir;
  TestProvider provider;
  const std::string data = dir.path("data"), out = dir.path("out");
  std::filesystem::create_directories(data);
  int kills = 0;
  bool finished = false;
  for (int round = 0; round < 8 && !finished; ++round) {
    ProcessOptions options;
    options.argv = {PANGEA_CRASH_TOOL, data, dir.path("web"), provider.options().plugin_dirs[0], provider.cloud(), std::to_string(kThings), "tofu"};
    options.log_file = out;
    auto process = Process::start(options);
    REQUIRE(process);
    const size_t until = kills < 2 ? provider.log().size() + 12 : kThings * 10;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (process->running() && provider.log().size() < until && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    if (process->running()) {
      kill(process->pid(), SIGKILL);
      while (process->running()) std::this_thread::yield();
      ++kills;
      continue;
    }
    auto text = read_file(out);
    INFO((text ? *text : ""));
    REQUIRE(process->exit_code() == 0);
    finished = true;
  }
  CHECK(finished);
  CHECK(kills == 2);
  const auto things = provider.things();
  std::set<std::string> names;
  for (const auto& [name, id] : things) names.insert(name);
  CHECK(things.size() == kThings);
  CHECK(names.size() == kThings);
  InProcess cluster(data);
  const json::Value document = parse_json(*ClusterState(cluster.client(), {"dev-state", "default", "web"}).read());
  REQUIRE(document.get("resources")->items().size() == 1);
  CHECK(document.get("resources")->items()[0].get("instances")->items().size() == kThings);
}
