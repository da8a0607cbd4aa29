// Provider executables: the test provider in both protocol versions, behaving and not.
#include <signal.h>
#include <sys/wait.h>

#include "engenho/base/process.h"
#include "plugin.h"
#include "plugin_process.h"
#include "support.h"

using namespace engenho;
using namespace engenho::magma;
using namespace engenho::magma::testing;

extern char** environ;

namespace {

// A directory that holds the provider as an installation would, and its cloud.
struct Setup {
  explicit Setup(const std::string& protocol = "6", const std::string& start = "") {
    const std::string place = dir.path("plugins/example.com/test/test/1.2.3/"
#if defined(__aarch64__)
                                       "linux_arm64"
#else
                                       "linux_amd64"
#endif
    );
    std::filesystem::create_directories(place);
    std::filesystem::create_symlink(MAGMA_TEST_PROVIDER, place + "/terraform-provider-test_v1.2.3");
    std::filesystem::create_directories(dir.path("cloud"));
    options.plugin_dirs = {dir.path("plugins")};
    options.scratch_dir = dir.path();
    options.start_timeout = std::chrono::seconds(20);
    for (char** e = environ; *e != nullptr; ++e) options.provider_env.emplace_back(*e);
    options.provider_env.push_back("TEST_PROVIDER_PROTOCOL=" + protocol);
    options.provider_env.push_back("TEST_PROVIDER_CLOUD=" + dir.path("cloud"));
    options.provider_env.push_back("TEST_PROVIDER_START=" + start);
  }
  PlanRequest request(const std::string& things, const std::string& more = "") const {
    return engenho::magma::testing::request(R"({"terraform": {"required_providers": {"test": {"source": "example.com/test/test", "version": "~> 1.2"}}}, "resource": {"test_thing": {)" + things + "}}" + more + "}");
  }
  std::vector<std::string> log() const {
    std::vector<std::string> lines;
    std::ifstream in(dir.path("cloud/log"));
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  TempDir dir;
  EngineOptions options;
};

std::string failure(Engine& engine, StateStore& state, const PlanRequest& r) {
  auto plan = engine.plan(r, state);
  if (!plan) return "plan: " + plan.error().message();
  auto result = engine.apply(*plan, state);
  if (!result) return "apply: " + result.error().message();
  return result->ok ? "" : result->status().message();
}

}  // namespace

TEST_CASE("a provider executable, protocol 5 and 6") {
  const std::string protocol = GENERATE("5", "6");
  const Setup setup(protocol);
  Engine engine(setup.options);
  auto state = make_memory_state();
  const PlanRequest r = setup.request(R"("a": {"name": "a", "size": 1, "zone": "z1", "secret": "sesame-open", "rule": [{"port": 80}, {"port": "443", "note": "tls"}]}, "b": {"count": 3, "name": "b${count.index}-${test_thing.a.serial}"})",
                                      R"(, "data": {"test_lookup": {"l": {"name": "${test_thing.a.id}"}}}, "output": {"v": {"value": "${data.test_lookup.l.value}"}})");
  auto plan = engine.plan(r, *state);
  INFO((plan ? "" : plan.error().message()));
  REQUIRE(plan);
  CHECK(plan->counts().add == 4);
  const json::Value document = plan->document();
  const json::Value& a = document.get("resource_changes")->items()[1];
  CHECK(json::dump(*a.at({"change", "after_sensitive"})).find("secret") != std::string::npos);
  const auto result = converge(engine, *state, r);
  CHECK(setup.log().size() == 4);
  CHECK(result.outputs.find("v")->str_at({"value"}).starts_with("value of thing-"));
  CHECK_FALSE(engine.plan(r, *state)->has_changes());
  const State now = stored(*state);
  CHECK(now.current({{false, "test_thing", "a"}, {}})->schema_version == 1);
  CHECK(now.current({{false, "test_thing", "a"}, {}})->private_data == "private");
  CHECK(now.resources.at({false, "test_thing", "a"}).provider == "provider[\"example.com/test/test\"]");

  // In place, replaced, gone behind our back, deleted.
  const PlanRequest changed = setup.request(R"("a": {"name": "a", "size": 2, "zone": "z1"}, "b": {"count": 2, "name": "b", "zone": "z9"})");
  auto next = engine.plan(changed, *state);
  REQUIRE(next);
  const auto now_actions = actions(*next);
  CHECK(now_actions.at("test_thing.a") == "update");
  CHECK(now_actions.at("test_thing.b[0]") == "replace");
  CHECK(now_actions.at("test_thing.b[2]") == "delete");
  converge(engine, *state, changed);
  const std::string id(stored(*state).current({{false, "test_thing", "a"}, {}})->attributes.str_at({"id"}));
  std::filesystem::remove(setup.dir.path("cloud/" + id + ".json"));
  auto drifted = engine.plan(changed, *state);
  REQUIRE(drifted);
  CHECK(drifted->drift().size() == 1);
  CHECK(actions(*drifted) == std::map<std::string, std::string>{{"test_thing.a", "create"}});
  PlanRequest destroy = changed;
  destroy.destroy = true;
  converge(engine, *state, destroy);
  CHECK(stored(*state).resources.empty());

  // Adopted, and an old state brought up to date.
  { std::ofstream(setup.dir.path("cloud/thing-x.json")) << R"({"id":"thing-x","name":"found","mode":null,"secret":null,"serial":4,"size":null,"zone":null,"rule":[]})"; }
  const PlanRequest found = setup.request(R"("f": {"name": "found"})");
  REQUIRE(engine.import(found, *state, "test_thing.f", "thing-x").ok());
  CHECK_FALSE(engine.plan(found, *state)->has_changes());
  CHECK(engine.import(found, *make_memory_state(), "test_thing.f", "thing-none").not_found());
  auto old = make_memory_state(R"({"version":4,"serial":3,"lineage":"l","resources":[{"mode":"managed","type":"test_thing","name":"f","provider":"provider[\"example.com/test/test\"]",
    "instances":[{"schema_version":0,"attributes":{"id":"thing-x","title":"found","mode":null,"secret":null,"serial":4,"size":null,"zone":null,"rule":[]}}]}]})");
  auto upgraded = engine.plan(found, *old);
  INFO((upgraded ? "" : upgraded.error().message()));
  REQUIRE(upgraded);
  CHECK_FALSE(upgraded->has_changes());
}

TEST_CASE("a provider that crashes, hangs or lies is a clear error, and what exists is kept") {
  const std::string protocol = GENERATE("5", "6");
  Setup setup(protocol);
  setup.options.apply_timeout = std::chrono::milliseconds(700);
  Engine engine(setup.options);
  auto run = [&](const std::string& mode, StateStore& state) { return failure(engine, state, setup.request(R"("t": {"name": "t", "secret": "sesame-open", "mode": ")" + mode + "\"}")); };
  auto object = [](StateStore& state) { const State s = stored(state); const ObjectState* o = s.current({{false, "test_thing", "t"}, {}}); return o != nullptr ? std::optional(*o) : std::nullopt; };
  auto has = [](const std::string& text, const char* part) { INFO(text); CHECK(text.find(part) != std::string::npos); };
  {
    auto state = make_memory_state();
    has(run("crash_plan", *state), "crashed during PlanResourceChange: it panicked: panic: runtime error");
    has(run("lie_plan", *state), "invalid plan: .name");
    const std::string crash = run("crash_apply", *state);
    has(crash, "crashed during ApplyResourceChange");
    CHECK(crash.find("hunter") == std::string::npos);   // what it printed is not repeated
    CHECK_FALSE(object(*state));
  }
  {
    auto state = make_memory_state();
    has(run("hang_apply", *state), "did not answer ApplyResourceChange within 700 ms");
  }
  {
    auto state = make_memory_state();
    const std::string lie = run("lie_apply", *state);
    has(lie, "inconsistent result after apply: .size: was null, but now is not");
    REQUIRE(object(*state));
    CHECK(object(*state)->tainted);
  }
  {
    auto state = make_memory_state();
    has(run("unknown_apply", *state), "unknown");
    REQUIRE(object(*state));
    CHECK(object(*state)->tainted);
  }
  {
    auto state = make_memory_state();
    has(run("fail_after_create", *state), "created, but not healthy");
    REQUIRE(object(*state));
    CHECK(object(*state)->tainted);
    // It exists and is not right: replaced, not made a second time.
    auto plan = engine.plan(setup.request(R"("t": {"name": "t"})"), *state);
    REQUIRE(plan);
    CHECK(actions(*plan) == std::map<std::string, std::string>{{"test_thing.t", "replace"}});
  }
  {
    auto state = make_memory_state();
    has(run("fail_create", *state), "cannot be created");
    CHECK_FALSE(object(*state));
    const std::string leak = run("leak", *state);
    has(leak, "refused: the secret (sensitive value) is too short");
    CHECK(leak.find("sesame") == std::string::npos);
  }
  {
    auto state = make_memory_state();
    CHECK(run("fail_delete", *state) == "");
    has(failure(engine, *state, setup.request("")), "cannot be deleted");
    REQUIRE(object(*state));
  }
  {
    auto state = make_memory_state();
    has(failure(engine, *state, setup.request(R"("t": {"name": "invalid"})")), "name: name is invalid");
    const std::string config = failure(engine, *state, setup.request(R"("t": {"name": "x"})", R"(, "provider": {"test": {"endpoint": "unreachable", "token": "tok-1234"}})"));
    has(config, "cannot reach the endpoint");
    CHECK(config.find("tok-1234") == std::string::npos);
  }
}

TEST_CASE("a stop ends a provider that does not heed it") {
  Setup setup;
  setup.options.stop_grace = std::chrono::milliseconds(300);
  Engine engine(setup.options);
  auto state = make_memory_state();
  auto plan = engine.plan(setup.request(R"("t": {"name": "t", "mode": "hang_apply"}, "u": {"name": "u", "zone": "${test_thing.t.id}"})"), *state);
  REQUIRE(plan);
  StopToken stop;
  // Once the cursor says that the creation was begun.
  std::thread stopper([&] {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (state->read_cursor()->empty() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    stop.request_stop();
  });
  auto result = engine.apply(*plan, *state, {}, {}, stop);
  stopper.join();
  REQUIRE(result);
  CHECK_FALSE(result->ok);
  REQUIRE(result->outcomes.size() == 2);
  CHECK(result->outcomes[0].message.find("after it was asked to stop") != std::string::npos);
  CHECK(result->outcomes[1].result == Outcome::Result::kSkipped);
  // Whether it was made is open: it is not made again unasked.
  auto again = engine.apply(*plan, *state);
  REQUIRE(again);
  CHECK(again->outcomes[0].result == Outcome::Result::kInterrupted);
}

TEST_CASE("a provider that does not start") {
  auto start = [](const std::string& how) {
    Setup setup("6", how);
    setup.options.start_timeout = std::chrono::milliseconds(how == "silent" ? 500 : 10000);
    Engine engine(setup.options);
    auto state = make_memory_state();
    return failure(engine, *state, setup.request(R"("t": {"name": "t"})"));
  };
  CHECK(start("die").find("ended before its handshake: it exited with code 7") != std::string::npos);
  CHECK(start("silent").find("no handshake within") != std::string::npos);
  CHECK(start("garbage").find("plugin protocol version 9") != std::string::npos);
  CHECK(start("plain") == "");   // a provider may do without TLS
}

TEST_CASE("versions and handshakes") {
  CHECK(version_matches("5.100.0", "~> 5.0"));
  CHECK_FALSE(version_matches("6.0.0", "~> 5.0"));
  CHECK(version_matches("1.2.9", "~> 1.2.3"));
  CHECK_FALSE(version_matches("1.3.0", "~> 1.2.3"));
  CHECK(version_matches("1.10.0", ">= 1.9, < 2.0.0, != 1.9.5"));
  CHECK_FALSE(version_matches("1.9.5", ">= 1.9, != 1.9.5"));
  CHECK(version_matches("1.0.0", ""));
  CHECK(parse_handshake("1|6|unix|/tmp/x|grpc|")->target == "unix:///tmp/x");
  CHECK(parse_handshake("1|5|tcp|127.0.0.1:1234|grpc")->target == "127.0.0.1:1234");
  for (const char* bad : {"", "1|6|unix|/x", "2|6|unix|/x|grpc|", "1|4|unix|/x|grpc|", "1|6|tcp|10.0.0.1:5|grpc|", "1|6|unix|/x|netrpc|", "1|6|unix|/x|grpc|!!!"}) CHECK_FALSE(parse_handshake(bad));
}

TEST_CASE("kill -9 in the middle of an apply: nothing twice, nothing lost") {
  const Setup setup;
  constexpr int kThings = 200;
  { std::ofstream(setup.dir.path("main.tf.json")) << R"({"terraform": {"required_providers": {"test": {"source": "example.com/test/test"}}}, "resource": {"test_thing": {"t": {"count": )" + std::to_string(kThings) + R"(, "name": "t${count.index}", "mode": "slow"}}}})"; }
  ProcessOptions options;
  options.env = setup.options.provider_env;
  options.env.push_back("MAGMA_PROVIDER_DIR=" + setup.dir.path("plugins"));
  options.env.push_back("TMPDIR=" + setup.dir.path());
  auto tool = [&](std::vector<std::string> arguments) {
    options.argv = {MAGMA_TOOL, "--chdir", setup.dir.path()};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    return options;
  };
  REQUIRE(run_process(tool({"plan", "-out", "p.plan"}), std::chrono::seconds(60))->exit_code == 0);

  std::mt19937_64 rng(engenho::testing::seed());
  int kills = 0;
  std::string last;
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> arguments = {"apply"};
    // What was being created when the process died may or may not exist. Here we can look: so as the message asks, it is imported or retried.
    auto cursor = make_local_state(setup.dir.path("terraform.tfstate"))->read_cursor();
    REQUIRE(cursor);
    auto found = read_file(setup.dir.path("terraform.tfstate"));
    const State now = found ? *parse_state(*found) : State();
    std::map<std::string, bool> open;
    for (const std::string& line : *cursor) {
      auto entry = json::parse(line);
      REQUIRE(entry);
      if (entry->str_at({"action"}) == "create") open[std::string(entry->str_at({"begin"}))] = true;
      if (entry->get("end") != nullptr) open.erase(std::string(entry->str_at({"end"})));
    }
    std::map<std::string, std::string> ids;   // name -> id, of what the cloud has
    for (const auto& file : std::filesystem::directory_iterator(setup.dir.path("cloud"))) {
      if (file.path().extension() != ".json") continue;
      auto thing = json::parse(*read_file(file.path().string()));
      if (thing) ids[std::string(thing->str_at({"name"}))] = thing->str_at({"id"});
    }
    for (const auto& [address, yes] : open) {
      const std::string name = "t" + address.substr(address.find('[') + 1, address.size() - address.find('[') - 2);
      int64_t index = 0;
      REQUIRE(parse_int(std::string_view(name).substr(1), index));
      if (now.current({{false, "test_thing", "t"}, index}) != nullptr) continue;
      if (ids.contains(name)) {
        // Without help it is refused, by name, and not made again.
        if (kills == 4) {
          auto refused = run_process(tool({"apply", "p.plan"}), std::chrono::seconds(60));
          REQUIRE(refused);
          CHECK(refused->exit_code == 1);
          CHECK(refused->err.find("it may exist") != std::string::npos);
        }
        REQUIRE(run_process(tool({"import", address, ids[name]}), std::chrono::seconds(60))->exit_code == 0);
      } else {
        arguments.push_back("-retry-interrupted");
        arguments.push_back(address);
      }
    }
    arguments.push_back("p.plan");
    auto process = Process::start([&] { auto o = tool(arguments); o.log_file = setup.dir.path("out"); return o; }());
    REQUIRE(process);
    const size_t before = setup.log().size();
    const size_t until = before + 5 + rng() % 40;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (process->running() && setup.log().size() < until && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    if (!process->running()) {
      last = *read_file(setup.dir.path("out"));
      if (process->exit_code() == 0) break;
      continue;
    }
    process->signal(SIGKILL);
    while (process->running()) std::this_thread::yield();
    ++kills;
  }
  INFO(last);
  INFO("kills " << kills);
  CHECK(kills >= 3);
  const auto log = setup.log();
  CHECK(std::set<std::string>(log.begin(), log.end()).size() == log.size());   // nothing twice
  // A thing that was made just before its provider was killed may lack its line; the cloud itself has each once.
  std::multiset<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(setup.dir.path("cloud"))) {
    if (file.path().extension() == ".json") names.emplace(json::parse(*read_file(file.path().string()))->str_at({"name"}));
  }
  CHECK(names.size() == kThings);
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == kThings);
  const State state = *parse_state(*read_file(setup.dir.path("terraform.tfstate")));
  REQUIRE(state.resources.size() == 1);
  CHECK(state.resources.begin()->second.instances.size() == kThings);             // nothing lost
  CHECK(state.applying.empty());
  CHECK(run_process(tool({"plan", "-detailed-exitcode"}), std::chrono::seconds(60))->exit_code == 0);
}
