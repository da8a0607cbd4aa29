// The engine with its built-in providers, in memory.
#include <atomic>
#include <mutex>

#include "support.h"

using namespace engenho;
using namespace engenho::magma;
using namespace engenho::magma::testing;

namespace {

constexpr const char* kChain = R"({"resource": {"terraform_data": {
  "a": {"input": "1", "triggers_replace": "%"}, "b": {"input": "${terraform_data.a.id}", "triggers_replace": ["${terraform_data.a.id}"]}}}})";

std::string with(std::string text, const std::string& value) {
  text.replace(text.find('%'), 1, value);
  return text;
}

// The order of starts and ends, "start a", "done a".
struct Log {
  std::mutex mutex;
  std::vector<std::string> lines;
  ProgressSink sink() {
    return [this](const Progress& p) {
      std::lock_guard lock(mutex);
      if (p.kind == Progress::Kind::kStart) lines.push_back("start " + p.address);
      if (p.kind == Progress::Kind::kDone) lines.push_back("done " + p.address);
    };
  }
};

}  // namespace

TEST_CASE("create, nothing to do, update, delete") {
  Engine engine;
  auto state = make_memory_state();
  const auto first = converge(engine, *state, request(R"({"resource": {"terraform_data": {"a": {"input": "x"}}}, "output": {"o": {"value": "${terraform_data.a.output}"}}})"));
  CHECK(first.outcomes.size() == 1);
  CHECK(first.outputs.find("o")->str_at({"value"}) == "x");
  const std::string before = *state->read();
  auto same = engine.plan(request(R"({"resource": {"terraform_data": {"a": {"input": "x"}}}, "output": {"o": {"value": "${terraform_data.a.output}"}}})"), *state);
  REQUIRE(same);
  CHECK_FALSE(same->has_changes());
  REQUIRE(engine.apply(*same, *state)->ok);
  CHECK(*state->read() == before);   // nothing changed: not even the serial
  auto update = engine.plan(request(R"({"resource": {"terraform_data": {"a": {"input": "y"}}}})"), *state);
  REQUIRE(update);
  CHECK(actions(*update) == std::map<std::string, std::string>{{"terraform_data.a", "update"}});
  CHECK(update->changes()[0].attributes == std::vector<std::string>{"input", "output"});
  REQUIRE(engine.apply(*update, *state)->ok);
  CHECK(stored(*state).outputs.empty());
  converge(engine, *state, request("{}"));
  CHECK(stored(*state).resources.empty());
}

TEST_CASE("a saved plan is exactly that, or an error") {
  Engine engine;
  auto state = make_memory_state();
  auto plan = engine.plan(request(R"({"resource": {"random_pet": {"p": {}}}})"), *state);
  REQUIRE(plan);
  auto again = Plan::parse(plan->serialize());
  REQUIRE(again);
  CHECK(again->id() == plan->id());
  CHECK(json::dump(again->document()) == json::dump(plan->document()));
  // The same plan made again has the same id; another one has another.
  CHECK(engine.plan(request(R"({"resource": {"random_pet": {"p": {}}}})"), *state)->id() == plan->id());
  CHECK(engine.plan(request(R"({"resource": {"random_pet": {"p": {"length": 3}}}})"), *state)->id() != plan->id());
  // Changed by a byte it is refused.
  std::string bytes = plan->serialize();
  bytes.replace(bytes.find("random_pet"), 10, "random_pot");
  CHECK_FALSE(Plan::parse(bytes));
  CHECK_FALSE(Plan::parse("{}"));
  CHECK_FALSE(Plan::parse(""));
  // The state moved on: refused, and nothing happens.
  converge(engine, *state, request(R"({"resource": {"terraform_data": {"other": {}}}})"));
  auto stale = engine.apply(*again, *state);
  REQUIRE_FALSE(stale);
  CHECK(stale.error().conflict());
  CHECK(stale.error().message().find("stale") != std::string::npos);
  CHECK(stored(*state).resources.size() == 1);
}

TEST_CASE("replacement destroys what depends first and creates it last") {
  Engine engine;
  auto state = make_memory_state();
  converge(engine, *state, request(with(kChain, "1")));
  const std::string old(stored(*state).current({{false, "terraform_data", "a"}, {}})->attributes.str_at({"id"}));
  auto plan = engine.plan(request(with(kChain, "2")), *state);
  REQUIRE(plan);
  CHECK(actions(*plan) == std::map<std::string, std::string>{{"terraform_data.a", "replace"}, {"terraform_data.b", "replace"}});
  CHECK(plan->changes()[0].replace_because == std::vector<std::string>{"triggers_replace"});
  CHECK(plan->counts().add == 2);
  CHECK(plan->counts().destroy == 2);
  Log log;
  REQUIRE(engine.apply(*plan, *state, {}, log.sink())->ok);
  // b is destroyed before a, and created after it.
  CHECK(log.lines == std::vector<std::string>{"start terraform_data.b", "start terraform_data.a", "done terraform_data.a", "done terraform_data.b"});
  CHECK(stored(*state).current({{false, "terraform_data", "a"}, {}})->attributes.str_at({"id"}) != old);
}

TEST_CASE("create_before_destroy reaches what is depended on") {
  Engine engine;
  auto state = make_memory_state();
  const std::string config = R"({"resource": {"terraform_data": {
    "a": {"input": "1", "triggers_replace": "%"}, "b": {"input": "${terraform_data.a.id}", "triggers_replace": ["${terraform_data.a.id}"], "lifecycle": {"create_before_destroy": true}}}}})";
  converge(engine, *state, request(with(config, "1")));
  CHECK(stored(*state).current({{false, "terraform_data", "a"}, {}})->create_before_destroy);
  auto plan = engine.plan(request(with(config, "2")), *state);
  REQUIRE(plan);
  const json::Value document = plan->document();
  for (const json::Value& c : document.get("resource_changes")->items()) CHECK(json::dump(*c.at({"change", "actions"})) == R"(["create","delete"])");
  REQUIRE(engine.apply(*plan, *state)->ok);
  const State now = stored(*state);
  for (const auto& [address, r] : now.resources) CHECK(r.instances.begin()->second.deposed.empty());
}

TEST_CASE("a failure stops what depends on it, and nothing else") {
  Engine engine;
  auto state = make_memory_state();
  TempDir dir;
  { std::ofstream(dir.path("file")) << "not a directory"; }
  const std::string config = R"({"resource": {
    "local_file": {"bad": {"filename": ")" + dir.path("file/below") + R"(", "content": "x"}, "good": {"filename": ")" + dir.path("good") + R"(", "content": "x"}},
    "terraform_data": {"after": {"input": "${local_file.bad.id}"}, "free": {"input": "1"}}}})";
  auto plan = engine.plan(request(config), *state);
  REQUIRE(plan);
  auto result = engine.apply(*plan, *state);
  REQUIRE(result);
  CHECK_FALSE(result->ok);
  std::map<std::string, Outcome::Result> fates;
  for (const Outcome& o : result->outcomes) fates[o.address] = o.result;
  CHECK(fates == std::map<std::string, Outcome::Result>{{"local_file.bad", Outcome::Result::kFailed}, {"local_file.good", Outcome::Result::kDone},
                                                         {"terraform_data.after", Outcome::Result::kSkipped}, {"terraform_data.free", Outcome::Result::kDone}});
  CHECK(stored(*state).resources.size() == 2);
  // The same plan again goes on where it was.
  std::filesystem::remove(dir.path("file"));
  auto again = engine.apply(*plan, *state);
  REQUIRE(again);
  CHECK(again->status().message() == "");
  CHECK(again->ok);
  CHECK(stored(*state).resources.size() == 4);
  CHECK(stored(*state).applying.empty());
  int earlier = 0;
  for (const Outcome& o : again->outcomes) earlier += o.earlier;
  CHECK(earlier == 2);
}

TEST_CASE("drift is found, shown and put right") {
  Engine engine;
  auto state = make_memory_state();
  TempDir dir;
  const std::string config = R"({"resource": {"local_file": {"f": {"filename": ")" + dir.path("f") + R"(", "content": "right"}}}})";
  converge(engine, *state, request(config));
  { std::ofstream(dir.path("f")) << "wrong"; }
  auto plan = engine.plan(request(config), *state);
  REQUIRE(plan);
  REQUIRE(plan->drift().size() == 1);
  CHECK(plan->drift()[0].action == "delete");
  CHECK(actions(*plan) == std::map<std::string, std::string>{{"local_file.f", "create"}});
  PlanRequest blind = request(config);
  blind.refresh = false;
  CHECK_FALSE(engine.plan(blind, *state)->has_changes());
  REQUIRE(engine.apply(*plan, *state)->ok);
  CHECK(*read_file(dir.path("f")) == "right");
}

TEST_CASE("the state alone: taint, move, remove, import") {
  Engine engine;
  auto state = make_memory_state();
  const std::string config = R"({"resource": {"random_string": {"s": {"length": 5}}, "random_uuid": {"u": {}}}})";
  PlanRequest r = request(config);
  REQUIRE(engine.import(r, *state, "random_uuid.u", "6a0b7a4e-0000-4000-8000-000000000000").ok());
  CHECK(engine.import(r, *state, "random_uuid.u", "x").conflict());
  CHECK_FALSE(engine.import(r, *state, "random_uuid.none", "x").ok());
  CHECK(actions(*engine.plan(r, *state)) == std::map<std::string, std::string>{{"random_string.s", "create"}});
  converge(engine, *state, r);
  REQUIRE(engine.taint(*state, "random_string.s").ok());
  auto plan = engine.plan(r, *state);
  CHECK(actions(*plan) == std::map<std::string, std::string>{{"random_string.s", "replace"}});
  CHECK(plan->changes()[0].reason == "replace_because_tainted");
  REQUIRE(engine.taint(*state, "random_string.s", false).ok());
  CHECK_FALSE(engine.plan(r, *state)->has_changes());
  REQUIRE(engine.move_in_state(*state, "random_string.s", "random_string.t").ok());
  CHECK_FALSE(engine.move_in_state(*state, "random_string.s", "random_string.q").ok());
  CHECK(*engine.list_state(*state) == std::vector<std::string>{"random_string.t", "random_uuid.u"});
  REQUIRE(engine.remove_from_state(*state, "random_string.t").ok());
  CHECK_FALSE(engine.remove_from_state(*state, "random_string.t").ok());
}

TEST_CASE("sensitive values are in the document and nowhere else") {
  Engine engine;
  auto state = make_memory_state();
  PlanRequest r = request(R"({"variable": {"pw": {"type": "string", "sensitive": true}}, "resource": {"terraform_data": {"a": {"input": "${var.pw}"}}, "random_password": {"p": {"length": 20}}},
                              "output": {"o": {"value": "${var.pw}", "sensitive": true}}})");
  r.variables.set("pw", "hunter-22");
  auto plan = engine.plan(r, *state);
  REQUIRE(plan);
  CHECK(json::dump(plan->document()).find("hunter-22") != std::string::npos);
  CHECK(json::dump(plan->document(true)).find("hunter-22") == std::string::npos);
  REQUIRE(engine.apply(*plan, *state)->ok);
  const std::string shown = json::dump(*engine.show_state(*state, true));
  const std::string password(stored(*state).current({{false, "random_password", "p"}, {}})->attributes.str_at({"result"}));
  CHECK(password.size() == 20);
  CHECK(shown.find(password) == std::string::npos);
  // An error in a value that is sensitive does not show it.
  r.variables.set("pw", "hunter-23");
  r.config = parse_json(R"({"variable": {"pw": {"type": "string", "sensitive": true}}, "resource": {"random_integer": {"p": {"min": "${var.pw}", "max": 3}}}})");
  auto failed = engine.plan(r, *state);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message().find("hunter") == std::string::npos);
}

TEST_CASE("targets take along what they need") {
  Engine engine;
  auto state = make_memory_state();
  PlanRequest r = request(R"({"resource": {"terraform_data": {"a": {}, "b": {"input": "${terraform_data.a.id}"}, "c": {"input": "${terraform_data.b.id}"}, "d": {}}}})");
  r.targets = {"terraform_data.b"};
  auto plan = engine.plan(r, *state);
  REQUIRE(plan);
  CHECK(actions(*plan) == std::map<std::string, std::string>{{"terraform_data.a", "create"}, {"terraform_data.b", "create"}});
  REQUIRE(engine.apply(*plan, *state)->ok);
  r.targets = {"terraform_data.a"};
  r.destroy = true;
  auto destroy = engine.plan(r, *state);
  REQUIRE(destroy);
  CHECK(actions(*destroy) == std::map<std::string, std::string>{{"terraform_data.a", "delete"}, {"terraform_data.b", "delete"}});
}

TEST_CASE("a thousand instances, in order of their dependencies") {
  EngineOptions options;
  options.parallelism = 8;
  Engine engine(options);
  auto state = make_memory_state();
  const PlanRequest r = request(R"({"resource": {"terraform_data": {"a": {"count": 500, "input": "${count.index}"}, "b": {"count": 500, "input": "${terraform_data.a[count.index].output}"}}}})");
  const auto result = converge(engine, *state, r);
  CHECK(result.outcomes.size() == 1000);
  const State now = stored(*state);
  CHECK(now.current({{false, "terraform_data", "b"}, int64_t{499}})->attributes.at({"output", "value"})->int_or(0) == 499);
  PlanRequest destroy = r;
  destroy.destroy = true;
  converge(engine, *state, destroy);
  CHECK(stored(*state).resources.empty());
}

TEST_CASE("every problem of a configuration is named at once") {
  Engine engine;
  auto state = make_memory_state();
  auto plan = engine.plan(request(R"({"resource": {"terraform_data": {"a": {"input": "${var.nope}"}, "b": {"input": "${local.x}"}, "c": {"count": 1, "for_each": []}, "d": {"provisioner": {"local-exec": {}}}}},
                                      "module": {"m": {"source": "x"}}, "moduel": {}})"), *state);
  REQUIRE_FALSE(plan);
  for (const char* part : {"var", "nope", "local value \"x\"", "exclude each other", "provisioner", "module", "moduel"}) {
    INFO(part);
    CHECK(plan.error().message().find(part) != std::string::npos);
  }
  auto missing = engine.plan(request(R"({"resource": {"acme_rocket": {"r": {}}}})"), *state);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message().find("hashicorp/acme") != std::string::npos);
}

TEST_CASE("two applies at once: one of them is told so") {
  Engine engine;
  auto state = make_memory_state();
  auto slow = engine.plan(request(R"({"resource": {"time_sleep": {"s": {"create_duration": "30s"}}}})"), *state);
  REQUIRE(slow);
  StopToken stop;
  std::atomic<bool> begun{false};
  Result<ApplyResult> first = err(internal_error("not run"));
  std::thread one([&] { first = engine.apply(*slow, *state, {}, [&](const Progress& p) { if (p.kind == Progress::Kind::kStart) begun = true; }, stop); });
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!begun && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  auto second = engine.apply(*slow, *state);
  CHECK_FALSE(second);
  CHECK((second ? std::string() : second.error().message()).find("locked") != std::string::npos);
  stop.request_stop();   // and a stop ends it long before the thirty seconds
  one.join();
  REQUIRE(first);
  CHECK_FALSE(first->ok);
  CHECK(std::chrono::steady_clock::now() < limit);
}
