// Ruby templates to Terraform JSON. CRuby is never loaded into this process: the evaluator starts the same executable as a sandboxed child (a
// "zygote": libruby and the DSL loaded once), and each call is a fork of it, so nothing leaks from one call to the next and a crash harms
// nobody. The child is started on first use and ends by itself after an idle time. components/ruby/README.md has the sandbox's rules.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/base/threads.h"

namespace engenho::ruby {

// A gem's tree (a clone at one commit), read only for the template. Two calls may use two versions of one gem at the same time.
struct GemTree {
  std::string name;    // "pangea-aws": [A-Za-z0-9._-], also what is required ("pangea-aws", else "pangea/aws")
  std::string dir;     // absolute path on this machine; dir/lib goes on the load path, dir/vendor/bundle's pure-Ruby gems after all of them
  std::string commit;  // for messages; may be empty
};

struct CompileRequest {
  // Where the template is: `source`, or `path` inside `tree`, or neither when `template_name` names an architecture of the gems.
  std::string source;         // Ruby text; errors call it "template.rb"
  std::string path;           // relative to `tree`, "workspaces/edge/main.rb"
  std::string tree;           // absolute path of a read-only directory (a clone); it and tree/lib go on the load path
  std::string template_name;  // which `template :name`, or `<provider>::<component>::<profile>`; empty: the only one there is
  json::Object variables;     // $pangea_variables, $pangea_inputs and, as text, ENV
  std::vector<GemTree> gems;
};

struct CompileResult {
  json::Value config;                 // Terraform JSON
  std::vector<std::string> warnings;  // what the author should know but what changes nothing
};

enum class Failure {
  kSyntax,       // the Ruby text does not parse
  kLoad,         // a file or gem that is required is not there
  kName,         // unknown template, architecture, constant, function
  kArgument,     // wrong arguments: unknown or missing attributes, a value too many
  kConstraint,   // an attribute's value has the wrong type
  kTemplate,     // any other exception of the template
  kTimeout,      // did not end in time, and was killed
  kMemory,       // wanted more memory than it may have
  kStack,        // recursion too deep
  kOutput,       // the result is larger than allowed
  kForbidden,    // tried what the sandbox does not allow: network, processes, files outside its own
  kExit,         // the template ended the process (exit, exit!, abort)
  kCrash,        // the interpreter died of a signal
  kCancelled,    // the StopToken was stopped
  kRequest,      // the request itself makes no sense
  kUnavailable,  // no libruby on this machine, or the sandbox cannot be set up
};
std::string_view failure_name(Failure failure);  // "SyntaxError", "EvaluatorUnavailable", ...: fit for a condition's reason

struct EvaluationError {
  Failure kind = Failure::kTemplate;
  std::string error_class;  // Ruby's, "Dry::Types::ConstraintError"; may be empty
  std::string message;
  std::string file;  // relative to the source root: "template.rb", "main.rb", "pangea-aws/lib/x.rb"; may be empty
  int line = 0;
  std::vector<std::string> backtrace;  // at most 20, relative as well
  std::string output;                  // the last 8 KiB of what it wrote to stdout and stderr
  std::string to_string() const;       // one line: "template.rb:3: NameError: ..."
};
template <typename T>
using Evaluated = std::expected<T, EvaluationError>;

struct LoadedClasses {
  std::vector<std::string> architectures;     // classes and modules below Pangea::Architectures, and names of registered architectures
  std::vector<std::string> present, missing;  // of `expected`
};

// What a smoke test builds: an architecture name (`aws::vpc::dev`), or a class (`Pangea::Architectures::Network`), or a template name.
struct SmokeRequest {
  std::vector<GemTree> gems;
  std::string target;
  json::Object inputs;  // keys written ":name" or ":name:" count as name
};

struct GemInfo {
  std::string name, version;          // of the gemspec
  std::string required_ruby_version;  // ">= 3.3.0"; informational
  std::string summary;
  std::vector<std::string> dependencies;  // "dry-types ~> 1.7"
};

struct EvaluatorOptions {
  std::vector<std::string> worker = {"/proc/self/exe", "pangea-eval-worker"};  // a program that calls worker_main()
  size_t max_concurrent = 4;                                                   // further calls wait
  Duration deadline = std::chrono::seconds(30);                                // of one call, from the fork to the answer
  Duration idle = std::chrono::seconds(60);                                    // then the child ends
  uint64_t memory_bytes = 1ull << 30;                                          // address space of one call beyond what the zygote has
  size_t output_bytes = 16u << 20;                                             // of the result
  std::vector<std::string> library_directories;                                // where libruby is looked for; empty: the system's
};

// Thread-safe. Construction costs nothing.
class Evaluator {
 public:
  explicit Evaluator(EvaluatorOptions options = {});
  ~Evaluator();  // ends what runs

  Evaluated<CompileResult> compile(const CompileRequest& request, StopToken stop = {});
  Evaluated<LoadedClasses> list_classes(const std::vector<GemTree>& gems, const std::vector<std::string>& expected, StopToken stop = {});
  // The rendered result; an empty one is an error.
  Evaluated<CompileResult> smoke(const SmokeRequest& request, StopToken stop = {});
  Evaluated<GemInfo> inspect(const GemTree& gem, StopToken stop = {});

  // The interpreter that would be used, "3.1.2 (/usr/lib/.../libruby-3.1.so.3.1)"; kUnavailable with the reason when there is none.
  Evaluated<std::string> version(StopToken stop = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `engenho pangea-eval-worker`: what the evaluator starts. Speaks on the descriptors that it was given, never by hand.
int worker_main(const std::vector<std::string>& arguments);

// `engenho pangea render FILE|- [--var k=v]... [--var-file F] [--template NAME] [--gem NAME=DIR]...`: prints Terraform JSON, offline. The
// process's exit code: 0 good, 1 failed, 2 wrong usage.
int render_command(const std::vector<std::string>& arguments);
// `engenho pangea test FILE`: checks a rendered template against assertions and golden files.
int test_command(const std::vector<std::string>& arguments);

}  // namespace engenho::ruby
