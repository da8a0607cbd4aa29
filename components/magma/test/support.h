#pragma once

#include <filesystem>
#include <fstream>
#include <random>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "engenho/magma/engine.h"
#include "engenho/testing/catch.h"
#include "expr.h"
#include "state.h"

namespace engenho::magma::testing {

class TempDir {
 public:
  TempDir() : path_(std::filesystem::temp_directory_path() / ("magma-test-" + hex_encode(random_bytes(6)))) { std::filesystem::create_directories(path_); }
  ~TempDir() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }
  std::string path(const std::string& name = "") const { return name.empty() ? path_.string() : (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline json::Value parse_json(std::string_view text) {
  auto parsed = json::parse(text);
  INFO(text);
  REQUIRE(parsed);
  return *parsed;
}

inline PlanRequest request(std::string_view config) {
  PlanRequest r;
  r.config = parse_json(config);
  return r;
}

// A scope in which a few names mean something.
class TestScope final : public Scope {
 public:
  std::map<std::string, Value> names;
  bool is_applying = false;
  Result<Value> resolve(const std::vector<std::string>& steps, size_t& used) const override {
    used = 1;
    auto at = names.find(steps[0]);
    if (at == names.end()) return err(bad_request("no \"" + steps[0] + "\""));
    return at->second;
  }
  const std::string& module_dir() const override {
    static const std::string dir = ".";
    return dir;
  }
  WallTime plan_time() const override { return WallTime(std::chrono::seconds(1'700'000'000)); }
  bool applying() const override { return is_applying; }
};

// Plans and applies; the plan must be possible and the apply good.
inline ApplyResult converge(Engine& engine, StateStore& state, const PlanRequest& r) {
  auto plan = engine.plan(r, state);
  INFO((plan ? "" : plan.error().message()));
  REQUIRE(plan);
  auto result = engine.apply(*plan, state);
  INFO((result ? result->status().message() : result.error().message()));
  REQUIRE(result);
  REQUIRE(result->ok);
  return *result;
}

inline std::map<std::string, std::string> actions(const Plan& plan) {
  std::map<std::string, std::string> out;
  for (const PlannedChange& c : plan.changes()) out[c.address] = c.action;
  return out;
}

inline State stored(StateStore& store) {
  auto state = parse_state(*store.read());
  REQUIRE(state);
  return *state;
}

}  // namespace engenho::magma::testing
