// The evaluator's processes and descriptors: when they come, and that they go.
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "engenho/base/process.h"
#include "support.h"

namespace engenho::ruby {

namespace {

size_t open_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

// Processes that run this very file.
size_t processes_of(const std::filesystem::path& program) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::error_code code;
    if (std::filesystem::read_symlink(entry.path() / "exe", code) == program) ++count;
  }
  return count;
}

// The zygote: process 1 of a pid namespace.
pid_t first_of_its_namespace(const std::filesystem::path& program) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::error_code code;
    if (std::filesystem::read_symlink(entry.path() / "exe", code) != program) continue;
    std::ifstream status(entry.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("NSpid:") && line.ends_with("\t1")) return std::stoi(entry.path().filename().string());
    }
  }
  return -1;
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 400; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return false;
}

// A copy of the tool under a name of its own, so that its processes can be told from others'.
struct OwnTool {
  OwnTool() : program(std::filesystem::canonical(folder.path()) / "tool") { std::filesystem::copy_file(RUBY_TOOL, program); }
  Folder folder;
  std::filesystem::path program;
};

}  // namespace

TEST_CASE("no process before the first call, none after the idle time") {
  OwnTool tool;
  EvaluatorOptions options = test_options();
  options.worker = {tool.program.string(), "pangea-eval-worker"};
  options.idle = std::chrono::milliseconds(200);
  Evaluator evaluator(options);
  CHECK(processes_of(tool.program) == 0);
  CompileRequest request;
  request.source = "template(:t) { }";
  CHECK(evaluator.compile(request));
  CHECK(eventually([&] { return processes_of(tool.program) == 0; }));
  CHECK(evaluator.compile(request));
}

TEST_CASE("the evaluator's end is the end of its processes") {
  OwnTool tool;
  EvaluatorOptions options = test_options();
  options.worker = {tool.program.string(), "pangea-eval-worker"};
  {
    Evaluator evaluator(options);
    CHECK(evaluator.version());
    CHECK(processes_of(tool.program) > 0);
  }
  CHECK(eventually([&] { return processes_of(tool.program) == 0; }));
}

TEST_CASE("a killed host leaves nothing behind") {
  OwnTool tool;
  tool.folder.write("t.rb", "template(:t) { loop {} }");
  ProcessOptions options;
  options.argv = {tool.program.string(), "render", tool.folder.path() + "/t.rb"};
  auto process = Process::start(options);
  REQUIRE(process);
  // The host, the watcher outside, the zygote and the call.
  CHECK(eventually([&] { return processes_of(tool.program) == 4; }));
  process->signal(SIGKILL);
  CHECK(eventually([&] { return processes_of(tool.program) == 0; }));
}

TEST_CASE("a zygote that dies or hangs in the middle of a call") {
  OwnTool tool;
  EvaluatorOptions options = test_options(std::chrono::seconds(2));
  options.worker = {tool.program.string(), "pangea-eval-worker"};
  Evaluator evaluator(options);
  CompileRequest good, slow;
  good.source = "template(:t) { output(:o) { value 1 } }";
  slow.source = "template(:t) { sleep 60 }";
  for (const int signal : {SIGKILL, SIGSTOP}) {
    CHECK(evaluator.compile(good));
    Evaluated<CompileResult> result;
    std::thread call([&] { result = evaluator.compile(slow); });
    CHECK(eventually([&] { return processes_of(tool.program) == 3; }));
    const pid_t zygote = first_of_its_namespace(tool.program);
    CHECK(zygote > 0);
    if (zygote > 0) kill(zygote, signal);
    call.join();
    REQUIRE_FALSE(result);
    CHECK(failure_name(result.error().kind) == (signal == SIGKILL ? "EvaluatorCrashed" : "EvaluationTimeout"));
    CHECK(evaluator.compile(good));
    CHECK(eventually([&] { return processes_of(tool.program) == 2; }));  // the old ones are gone
  }
}

TEST_CASE("calls at once: bounded, and nothing is left open") {
  Evaluator evaluator(test_options());
  CompileRequest request;
  request.source = "template(:t) { output(:o) { value $pangea_variables['n'] } }";
  CHECK(evaluator.version());
  const size_t before = open_descriptors();
  std::vector<std::thread> threads;
  std::vector<std::string> wrong(16);
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 8; ++i) {
        CompileRequest mine = request;
        mine.variables = {{"n", t * 100 + i}};
        auto result = evaluator.compile(mine);
        if (!result || result->config.at({"output", "o", "value"})->int_or(-1) != t * 100 + i) wrong[static_cast<size_t>(t)] += show(result);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : wrong) CHECK(text.empty());
  CHECK(open_descriptors() == before);
}

}  // namespace engenho::ruby
