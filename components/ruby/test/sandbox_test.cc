// What a hostile template can do: nothing, and it is told so; the next compile is unharmed.
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "support.h"

namespace engenho::ruby {

namespace {

struct Attack {
  const char* name;
  const char* source;
  Failure failure;
  const char* message;
};

const Attack kAttacks[] = {
    {"infinite loop", "template(:t) { loop {} }", Failure::kTimeout, "did not end within 2 s"},
    {"a loop that rescues everything", "template(:t) { loop { begin; sleep; rescue Exception; end } }", Failure::kTimeout, "did not end within 2 s"},
    {"one large allocation", "template(:t) { 'x' * (10 * 1024**3) }", Failure::kMemory, "more memory"},
    {"many small allocations", "template(:t) { a = []; loop { a << ('y' * 1_000_000) } }", Failure::kMemory, "more memory"},
    {"fork bomb", "template(:t) { loop { fork {} } }", Failure::kForbidden, "sandbox"},
    {"a command", "template(:t) { system('id') || raise($?.inspect) }", Failure::kTemplate, ""},
    {"a command by backticks", "template(:t) { `id` }", Failure::kForbidden, "sandbox"},
    {"exec", "template(:t) { Process.exec('/usr/bin/id') }", Failure::kForbidden, "sandbox"},
    {"the environment of the process", "template(:t) { File.read('/proc/self/environ') }", Failure::kForbidden, "/proc/self/environ"},
    {"the machine's users", "template(:t) { File.read('/etc/passwd') }", Failure::kForbidden, "/etc/passwd"},
    {"the machine's root", "template(:t) { File.read('/.host/root/etc/passwd') }", Failure::kForbidden, "sandbox"},
    {"sysfs", "template(:t) { Dir.children('/sys') }", Failure::kForbidden, "/sys"},
    {"a socket", "require 'socket'\ntemplate(:t) { TCPSocket.new('127.0.0.1', 80) }", Failure::kForbidden, "socket"},
    {"a unix socket", "require 'socket'\ntemplate(:t) { UNIXSocket.new('/run/containerd/containerd.sock') }", Failure::kForbidden, "sandbox"},
    {"a name server", "require 'socket'\ntemplate(:t) { Addrinfo.getaddrinfo('example.com', 80) }", Failure::kForbidden, "sandbox"},
    {"a write outside of scratch", "template(:t) { File.write('/usr/lib/x', 'y') }", Failure::kForbidden, "Read-only file system"},
    {"a write to the DSL", "template(:t) { File.write('/engenho/lib/engenho/runner.rb', 'y') }", Failure::kForbidden, "Read-only file system"},
    {"a large file", "template(:t) { File.write('/scratch/x', 'y' * 30_000_000) }", Failure::kForbidden, "larger than"},
    {"exit!", "template(:t) { exit!(3) }", Failure::kExit, "exit!, status 3"},
    {"exit! that looks like success", "template(:t) { exit!(0) }", Failure::kExit, "exit!, status 0"},
    {"exit", "template(:t) { exit }", Failure::kExit, "ended the process with status 0"},
    {"abort", "template(:t) { abort 'bye' }", Failure::kExit, "bye"},
    {"a crash", "template(:t) { Process.kill(:SEGV, Process.pid) }", Failure::kCrash, "died of signal"},
    {"a crash inside the interpreter", "require 'fiddle'\ntemplate(:t) { Fiddle::Pointer.new(8)[0] }", Failure::kCrash, "died of signal"},
    {"SIGKILL", "template(:t) { Process.kill(:KILL, Process.pid) }", Failure::kMemory, "killed"},
    {"a kill of the zygote", "template(:t) { Process.kill(:KILL, 1) }", Failure::kForbidden, "sandbox"},
    {"a kill of everything", "template(:t) { Process.kill(:KILL, -1) }", Failure::kForbidden, "sandbox"},
    {"stack overflow", "def f(x) = f(x + 1)\ntemplate(:t) { f(1) }", Failure::kStack, "calls itself without end"},
    {"a huge result", "template(:t) { output(:o) { value 'x' * 20_000_000 } }", Failure::kOutput, "larger than 16 MiB"},
    {"a forged answer", "template(:t) { IO.for_fd(3, 'w').tap { |io| io.sync = true }.write('{') }", Failure::kCrash, "something else was written"},
    {"an endless answer", "template(:t) { io = IO.for_fd(3, 'w'); io.sync = true; loop { io.write('x' * 65536) } }", Failure::kOutput, "larger than 16 MiB"},
    {"endless output", "template(:t) { loop { $stdout.write('x' * 65536); $stderr.write('y' * 65536) } }", Failure::kTimeout, "did not end"},
    {"threads without end", "template(:t) { loop { Thread.new { sleep } } }", Failure::kTemplate, "can't create Thread"},
    {"an unlimited limit", "template(:t) { Process.setrlimit(:AS, Process::RLIM_INFINITY) }", Failure::kForbidden, "sandbox"},
    {"another user",
     "template(:t) { Process::Sys.setuid(0); output(:o) { value Process.uid } ; raise 'became root' if Process.uid == 0 && File.writable?('/usr') }",
     Failure::kForbidden, "sandbox"},
    {"a chroot", "template(:t) { Dir.chroot('/scratch') }", Failure::kForbidden, "sandbox"},
    {"a device", "template(:t) { File.mkfifo('/scratch/f') }", Failure::kForbidden, "sandbox"},
};

EvaluatorOptions short_options() {
  EvaluatorOptions options = test_options(std::chrono::seconds(2));
  options.max_concurrent = 1;
  options.memory_bytes = 256u << 20;
  return options;
}

void check_unharmed(Evaluator& evaluator) {
  CompileRequest request;
  request.source = "template(:ok) { output(:o) { value [ENV['LEAK'], $pangea_variables, Dir.children('/scratch'), defined?(Leak)] } }";
  auto result = evaluator.compile(request);
  INFO(show(result));
  REQUIRE(result);
  CHECK(json::dump(result->config) == R"({"output":{"o":{"value":[null,{},[],null]}}})");
}

}  // namespace

TEST_CASE("hostile templates") {
  Evaluator evaluator(short_options());
  for (const Attack& attack : kAttacks) {
    INFO(attack.name);
    CompileRequest request;
    request.source = attack.source;
    request.variables = {{"LEAK", "yes"}};
    auto result = evaluator.compile(request);
    INFO(show(result));
    REQUIRE_FALSE(result);
    CHECK(failure_name(result.error().kind) == failure_name(attack.failure));
    CHECK(contains(result.error().message, attack.message));
    CHECK(result.error().output.size() <= 8192);
    check_unharmed(evaluator);
  }
}

TEST_CASE("what is written to stdout is no answer") {
  Evaluator evaluator(short_options());
  CompileRequest request;
  request.source = "template(:t) { puts '{\"ok\":{}}' * 1000; $stderr.puts 'careful'; output(:o) { value 1 } }";
  auto result = evaluator.compile(request);
  REQUIRE(result);
  CHECK(json::dump(result->config) == R"({"output":{"o":{"value":1}}})");
  request.source = "template(:t) { $stdout.puts 'x' * 20000; $stdout.flush; warn 'the end'; raise 'no' }";
  result = evaluator.compile(request);
  REQUIRE_FALSE(result);
  CHECK(result.error().output.size() == 8192);
  CHECK(result.error().output.ends_with("the end\n"));
}

TEST_CASE("the sandbox from inside") {
  Evaluator evaluator(short_options());
  CompileRequest request;
  request.source = R"(template(:t) do
    output(:environment) { value ENV.to_h }
    output(:pid) { value Process.pid }
    output(:groups) { value Process.groups }
    output(:descriptors) { value((3..60).select { |n| IO.for_fd(n, autoclose: false) rescue next }.size) }
    output(:hostname) { require 'socket'; value Socket.gethostname }
    output(:limits) { value [Process.getrlimit(:CORE), Process.getrlimit(:NOFILE), Process.getrlimit(:FSIZE)] }
    output(:uid) { value Process.uid }
    output(:zone) { value [Time.now.zone, Encoding.default_external.to_s] }
  end)";
  setenv("ENGENHO_SECRET", "hunter2", 1);
  auto result = evaluator.compile(request);
  INFO(show(result));
  REQUIRE(result);
  CHECK(show(result).find("hunter2") == std::string::npos);
  auto value = [&](const char* name) { return json::dump(*result->config.at({"output", name, "value"})); };
  CHECK(value("environment") == R"({"HOME":"/scratch","LANG":"C.UTF-8","LC_ALL":"C.UTF-8","PATH":"/nonexistent","TMPDIR":"/scratch","TZ":"UTC"})");
  CHECK(value("hostname") == "\"pangea\"");
  CHECK(value("limits") == "[[0,0],[64,64],[16777216,16777216]]");
  CHECK(value("zone") == "[\"UTC\",\"UTF-8\"]");
  if (geteuid() == 0) CHECK(value("uid") != "0");
}

TEST_CASE("without privileges") {
  if (geteuid() != 0) return;  // then every other test is this one
  for (std::filesystem::path path = RUBY_TOOL; path != path.root_path(); path = path.parent_path()) {
    if ((std::filesystem::status(path).permissions() & std::filesystem::perms::others_exec) == std::filesystem::perms::none) {
      WARN("skipped: another user cannot reach " << path);
      return;
    }
  }
  EvaluatorOptions options = short_options();
  options.worker = {"/usr/bin/setpriv",    "--reuid=65534",   "--regid=65534", "--clear-groups",
                    "--bounding-set=-all", "--inh-caps=-all", RUBY_TOOL,       "pangea-eval-worker"};
  Evaluator evaluator(options);
  check_unharmed(evaluator);
  for (const Attack& attack : kAttacks) {
    if (std::string_view(attack.name).starts_with("a ") == false && attack.failure != Failure::kForbidden) continue;
    INFO(attack.name);
    CompileRequest request;
    request.source = attack.source;
    auto result = evaluator.compile(request);
    INFO(show(result));
    REQUIRE_FALSE(result);
    // The C library itself aborts when its threads are answered differently.
    if (std::string_view(attack.name) != "another user") CHECK(failure_name(result.error().kind) == failure_name(attack.failure));
  }
  check_unharmed(evaluator);
}

TEST_CASE("a dead zygote is started again") {
  EvaluatorOptions options = short_options();
  options.idle = std::chrono::milliseconds(1);
  Evaluator evaluator(options);
  for (int i = 0; i < 20; ++i) check_unharmed(evaluator);  // it may end at any moment between two calls, and in the middle of their begin
}

TEST_CASE("cancelling") {
  EvaluatorOptions options = test_options(std::chrono::seconds(60));
  options.max_concurrent = 1;
  Evaluator evaluator(options);
  check_unharmed(evaluator);
  StopToken stop;
  CompileRequest request;
  request.source = "template(:t) { loop {} }";
  std::thread canceller([&] {
    while (stop.wait_for(std::chrono::milliseconds(300)) == false) stop.request_stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  auto result = evaluator.compile(request, stop);
  canceller.join();
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kCancelled);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
  result = evaluator.compile(request, stop);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kCancelled);
  check_unharmed(evaluator);
}

TEST_CASE("no libruby") {
  EvaluatorOptions options = short_options();
  Folder empty;
  options.library_directories = {empty.path()};
  Evaluator evaluator(options);
  CompileRequest request;
  request.source = "template(:t) { }";
  auto result = evaluator.compile(request);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kUnavailable);
  CHECK(failure_name(result.error().kind) == "EvaluatorUnavailable");
  CHECK(contains(result.error().message, "no libruby"));
}

TEST_CASE("requests that make no sense") {
  Folder folder;
  const std::string absent = folder.path() + "/absent";
  CompileRequest request;
  auto failure = [&] {
    auto result = shared_evaluator().compile(request);
    return result ? Failure::kTemplate : result.error().kind;
  };
  CHECK(failure() == Failure::kRequest);
  request.path = "x.rb";
  CHECK(failure() == Failure::kRequest);
  request.tree = "/";
  request.path = "../x.rb";
  CHECK(failure() == Failure::kRequest);
  request.path = "x.rb";
  request.tree = absent;
  CHECK(failure() == Failure::kLoad);
  request = {};
  request.source = "template(:t) { }";
  request.gems = {{"../x", "/tmp", ""}};
  CHECK(failure() == Failure::kRequest);
  request.gems = {{"x", absent, ""}};
  CHECK(failure() == Failure::kLoad);
}

}  // namespace engenho::ruby
