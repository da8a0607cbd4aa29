#include <atomic>
#include <chrono>

#include "engenho/magma/state_store.h"
#include "support.h"

using namespace engenho;
using namespace engenho::magma;
using namespace engenho::magma::testing;

namespace {

// A store whose disk is full after some writes.
class FullStore final : public StateStore {
 public:
  explicit FullStore(int writes) : left_(writes) {}
  Result<std::string> read() override { return inner_->read(); }
  Status write(const std::string& d, uint64_t serial, const std::string& lineage, uint64_t token) override {
    return left_-- > 0 ? inner_->write(d, serial, lineage, token) : internal_error("no space left on device");
  }
  Result<std::vector<std::string>> read_cursor() override { return inner_->read_cursor(); }
  Status append_cursor(const std::string& line, uint64_t token) override { return inner_->append_cursor(line, token); }
  Status clear_cursor(uint64_t token) override { return inner_->clear_cursor(token); }
  Result<uint64_t> lock(const LockInfo& info) override { return inner_->lock(info); }
  Status unlock(uint64_t token) override { return inner_->unlock(token); }

 private:
  std::unique_ptr<StateStore> inner_ = make_memory_state();
  std::atomic<int> left_;
};

std::string document(uint64_t serial, const std::string& lineage) {
  State s;
  s.serial = serial;
  s.lineage = lineage;
  return dump_state(s);
}

}  // namespace

TEST_CASE("the local state is compared before it is replaced, and locked") {
  TempDir dir;
  auto one = make_local_state(dir.path("s")), two = make_local_state(dir.path("s"));
  auto token = one->lock({.operation = "apply", .who = "me"});
  REQUIRE(token);
  auto other = two->lock({});
  REQUIRE_FALSE(other);
  CHECK(other.error().conflict());
  CHECK(other.error().message().find("\"Who\":\"me\"") != std::string::npos);
  CHECK(two->write(document(1, "l"), 0, "", 1).conflict());
  REQUIRE(one->write(document(1, "l"), 0, "", *token).ok());
  CHECK(one->write(document(2, "l"), 0, "", *token).conflict());      // another serial
  CHECK(one->write(document(2, "l"), 1, "m", *token).conflict());     // another lineage
  CHECK(one->write(document(2, "l"), 1, "l", *token + 1).conflict()); // another's lock
  REQUIRE(one->write(document(2, "l"), 1, "l", *token).ok());
  CHECK((std::filesystem::status(dir.path("s")).permissions() & std::filesystem::perms::all) == (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  REQUIRE(one->append_cursor("{\"begin\":\"a\"}", *token).ok());
  { std::ofstream(dir.path("s.cursor"), std::ios::app) << "{\"begin\":"; }   // cut short by a crash
  CHECK(one->read_cursor()->size() == 1);
  REQUIRE(one->unlock(*token).ok());
  CHECK(one->write(document(3, "l"), 2, "l", *token).conflict());
  auto second = two->lock({});
  REQUIRE(second);
  REQUIRE(two->write(document(3, "l"), 2, "l", *second).ok());
  CHECK(parse_state(*read_file(dir.path("s.backup")))->serial == 2);
}

TEST_CASE("a state that cannot be stored is handed back whole") {
  Engine engine;
  FullStore store(1);
  auto plan = engine.plan(request(R"({"resource": {"terraform_data": {"a": {}, "b": {"input": "${terraform_data.a.id}"}, "c": {"input": "${terraform_data.b.id}"}}}})"), store);
  REQUIRE(plan);
  auto result = engine.apply(*plan, store);
  REQUIRE(result);
  CHECK_FALSE(result->ok);
  CHECK(result->status().message().find("no space left") != std::string::npos);
  REQUIRE_FALSE(result->unsaved_state.empty());
  auto unsaved = parse_state(result->unsaved_state);
  REQUIRE(unsaved);
  CHECK(unsaved->resources.size() == 2);    // a is stored, b was made and could not be, c was not begun
  CHECK(unsaved->serial == 2);
}

TEST_CASE("states that are not understood are refused, not cut") {
  CHECK_FALSE(parse_state("{"));
  CHECK_FALSE(parse_state(R"({"version": 3})"));
  CHECK_FALSE(parse_state(R"({"version": 4, "resources": [{"module": "module.m", "mode": "managed", "type": "a", "name": "b"}]})"));
  auto s = parse_state(R"({"version": 4, "serial": 7, "lineage": "x", "resources": [{"mode": "managed", "type": "t", "name": "n", "provider": "provider[\"a/b/c\"].west", "instances": [
     {"index_key": "k", "attributes": {"p": {"q": ["s"]}}, "sensitive_attributes": [[{"type": "get_attr", "value": "p"}, {"type": "index", "value": {"value": "q", "type": "string"}}, {"type": "index", "value": {"value": 0, "type": "number"}}]], "private": "YQ==", "dependencies": ["x.y"]},
     {"index_key": "k", "deposed": "01234567", "status": "tainted", "attributes": {}}]}]})");
  REQUIRE(s);
  auto again = parse_state(dump_state(*s));
  REQUIRE(again);
  CHECK(again->same_content(*s));
  CHECK(path_to_string(s->current({{false, "t", "n"}, std::string("k")})->sensitive[0]) == ".p[\"q\"][0]");
  CHECK(s->resources.begin()->second.instances.begin()->second.deposed.at("01234567").tainted);
}

TEST_CASE("a thousand small templates", "[.bench]") {
  Engine engine;
  const PlanRequest r = request(R"({"resource": {"null_resource": {"n": {"triggers": {"a": "b"}}}, "terraform_data": {"x": {"input": "${null_resource.n.id}"}}}, "output": {"o": {"value": "${terraform_data.x.output}"}}})");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) {
    auto state = make_memory_state();
    converge(engine, *state, r);
  }
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
  WARN("1000 plans and applies of two resources, in memory: " << ms << " ms");
}
