#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/base/random.h"
#include "engenho/pangea/executor.h"
#include "engenho/testing/catch.h"
#include "in_process.h"

namespace engenho::pangea::testing {

class TempDir {
 public:
  TempDir() : path_(std::filesystem::temp_directory_path() / ("pangea-test-" + random_name_suffix(10))) { std::filesystem::create_directories(path_); }
  ~TempDir() {
    std::error_code code;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_, code)) {
      if (entry.is_directory() && !entry.is_symlink())
        std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all, std::filesystem::perm_options::add, code);
    }
    std::filesystem::remove_all(path_, code);
  }
  std::string path(const std::string& name = "") const { return name.empty() ? path_.string() : (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline json::Value parse_json(std::string_view text) {
  INFO(text);
  auto parsed = json::parse(text);
  REQUIRE(parsed);
  return *parsed;
}

inline void write_text(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

inline bool eventually(const std::function<bool()>& condition, Duration limit = std::chrono::seconds(30)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// An API server in this process, without sockets. restart() is what a kill leaves: a new server on the same data.
class Cluster {
 public:
  Cluster() : server_(std::make_unique<InProcess>(dir_.path("data"))) {}
  std::shared_ptr<client::Client> client() const { return server_->client(); }
  apiserver::ApiServer& server() const { return server_->server(); }
  void restart() {
    server_.reset();
    server_ = std::make_unique<InProcess>(dir_.path("data"));
  }

 private:
  TempDir dir_;
  std::unique_ptr<InProcess> server_;
};

inline Workspace workspace(const TempDir& dir, std::string_view config, const std::string& name = "web") {
  Workspace w;
  w.pangea_namespace = "dev-state";
  w.namespace_name = "default";
  w.name = name;
  w.directory = dir.path(name);
  w.config = parse_json(config);
  return w;
}

// The test provider, installed as a provider would be, and its cloud: a directory with one file an object and a log.
class TestProvider {
 public:
  TestProvider() {
    const std::string place = dir_.path(
        "plugins/example.com/test/test/1.2.3/"
#if defined(__aarch64__)
        "linux_arm64"
#else
        "linux_amd64"
#endif
    );
    std::filesystem::create_directories(place);
    std::filesystem::create_symlink(MAGMA_TEST_PROVIDER, place + "/terraform-provider-test_v1.2.3");
    std::filesystem::create_directories(dir_.path("cloud"));
  }
  ExecutorOptions options() const {
    ExecutorOptions out;
    out.plugin_dirs = {dir_.path("plugins")};
    out.registries = false;
    return out;
  }
  Workspace workspace(const TempDir& dir, const std::string& things, const std::string& name = "web", const std::string& more = "") const {
    Workspace w = engenho::pangea::testing::workspace(
        dir,
        R"({"terraform": {"required_providers": {"test": {"source": "example.com/test/test"}}}, "resource": {"test_thing": {)" + things + "}}" + more + "}",
        name);
    w.environment["TEST_PROVIDER_CLOUD"] = dir_.path("cloud");
    return w;
  }
  std::string cloud() const {
    return dir_.path("cloud");
  }
  std::vector<std::string> log() const {
    std::vector<std::string> lines;
    std::ifstream in(dir_.path("cloud/log"));
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  // name -> id, of what the cloud has.
  std::multimap<std::string, std::string> things() const {
    std::multimap<std::string, std::string> out;
    for (const auto& file : std::filesystem::directory_iterator(dir_.path("cloud"))) {
      if (file.path().extension() != ".json") continue;
      auto text = read_file(file.path().string());
      auto thing = text ? json::parse(*text) : err(text.error());
      if (thing) out.emplace(thing->str_at({"name"}), thing->str_at({"id"}));
    }
    return out;
  }

 private:
  TempDir dir_;
};

}  // namespace engenho::pangea::testing
