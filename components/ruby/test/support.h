// What the tests share: an evaluator whose child is ruby_tool, and short ways to ask it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "engenho/base/json.h"
#include "engenho/ruby/evaluator.h"
#include "engenho/testing/catch.h"

namespace engenho::ruby {

inline EvaluatorOptions test_options(Duration deadline = std::chrono::seconds(60)) {
  EvaluatorOptions options;
  options.worker = {RUBY_TOOL, "pangea-eval-worker"};
  options.deadline = deadline;
  options.memory_bytes = 512u << 20;
  return options;
}

// One for all tests that need nothing special: its child is started once.
inline Evaluator& shared_evaluator() {
  static Evaluator evaluator(test_options());
  return evaluator;
}

inline Evaluated<CompileResult> compile(const std::string& source, json::Object variables = {}) {
  CompileRequest request;
  request.source = source;
  request.variables = std::move(variables);
  return shared_evaluator().compile(request);
}

inline std::string show(const Evaluated<CompileResult>& result) {
  return result ? json::dump(result->config) : result.error().to_string() + "\n" + result.error().output;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A directory with files, removed with it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "engenho-ruby-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

 private:
  std::string path_;
};

}  // namespace engenho::ruby
