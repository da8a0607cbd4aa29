#include "engenho/ruby/evaluator.h"

#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "engenho/base/bytes.h"
#include "zygote.h"

namespace engenho::ruby {

namespace {

struct Kind {
  Failure failure;
  const char* word;  // in the child's answer
  std::string_view name;
};
constexpr Kind kKinds[] = {
    {Failure::kSyntax, "syntax", "SyntaxError"},
    {Failure::kLoad, "load", "LoadError"},
    {Failure::kName, "name", "UnknownName"},
    {Failure::kArgument, "argument", "InvalidArgument"},
    {Failure::kConstraint, "constraint", "ConstraintViolated"},
    {Failure::kTemplate, "template", "TemplateError"},
    {Failure::kTimeout, "timeout", "EvaluationTimeout"},
    {Failure::kMemory, "memory", "OutOfMemory"},
    {Failure::kStack, "stack", "StackOverflow"},
    {Failure::kOutput, "output", "OutputTooLarge"},
    {Failure::kForbidden, "forbidden", "ForbiddenBySandbox"},
    {Failure::kExit, "exit", "TemplateExited"},
    {Failure::kCrash, "crash", "EvaluatorCrashed"},
    {Failure::kCancelled, "cancelled", "Cancelled"},
    {Failure::kRequest, "request", "InvalidRequest"},
    {Failure::kUnavailable, "unavailable", "EvaluatorUnavailable"},
};

EvaluationError error_of(Failure kind, std::string message) {
  EvaluationError error;
  error.kind = kind;
  error.message = std::move(message);
  return error;
}

std::vector<std::string> strings(const json::Value* list) {
  std::vector<std::string> out;
  if (list != nullptr) {
    for (const json::Value& item : list->items()) out.emplace_back(item.str());
  }
  return out;
}

EvaluationError error_from(const json::Value& answer) {
  EvaluationError error;
  const std::string_view word = answer.str_at({"kind"});
  for (const Kind& kind : kKinds) {
    if (word == kind.word) error.kind = kind.failure;
  }
  error.error_class = answer.str_at({"class"});
  error.message = answer.str_at({"message"});
  error.file = answer.str_at({"file"});
  if (const json::Value* line = answer.get("line")) error.line = static_cast<int>(line->int_or(0));
  error.backtrace = strings(answer.get("backtrace"));
  return error;
}

std::string seconds_text(Duration duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  std::string text;
  json::dump_double_to(seconds, text);
  return text + " s";
}

// What the process's end says when there is no answer to read.
EvaluationError error_of_end(const CallOutcome& outcome) {
  if (outcome.output.find("failed to allocate memory") != std::string::npos) {
    return error_of(Failure::kMemory, "the template wants more memory than it may have");
  }
  const int status = outcome.wait_status;
  if (WIFEXITED(status)) return error_of(Failure::kExit, "the template ended the process with exit!, status " + std::to_string(WEXITSTATUS(status)));
  const int signal = WTERMSIG(status);
  switch (signal) {
    case SIGKILL:
      return error_of(Failure::kMemory, "the process was killed from outside, most likely because the machine is short of memory");
    case SIGXCPU:
      return error_of(Failure::kTimeout, "the template used up its processor time");
    case SIGXFSZ:
      return error_of(Failure::kForbidden, "the template wrote a file larger than the sandbox allows");
    case SIGSYS:
      return error_of(Failure::kForbidden, "the template made a system call that the sandbox does not know");
    default:
      return error_of(Failure::kCrash, "the interpreter died of signal " + std::to_string(signal));
  }
}

bool gem_name_ok(std::string_view name) {
  return !name.empty() && name.size() <= 128 && name[0] != '.' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == std::string_view::npos;
}

// The directory without symbolic links: inside the sandbox they would lead elsewhere.
Evaluated<std::string> real_directory(const std::string& dir, const std::string& what) {
  char resolved[PATH_MAX];
  struct stat info;
  if (dir.empty() || dir[0] != '/' || realpath(dir.c_str(), resolved) == nullptr || stat(resolved, &info) != 0 || !S_ISDIR(info.st_mode)) {
    return std::unexpected(error_of(Failure::kLoad, what + " is not there"));
  }
  return std::string(resolved);
}

}  // namespace

std::string_view failure_name(Failure failure) {
  for (const Kind& kind : kKinds) {
    if (kind.failure == failure) return kind.name;
  }
  return "TemplateError";
}

std::string EvaluationError::to_string() const {
  std::string text;
  if (!file.empty()) text += file + (line > 0 ? ":" + std::to_string(line) : "") + ": ";
  text += error_class.empty() ? std::string(failure_name(kind)) : error_class;
  return text + ": " + message;
}

struct Evaluator::Impl {
  explicit Impl(EvaluatorOptions given) : options(std::move(given)), zygote(options) {}

  // The answer's "ok", or why there is none.
  Evaluated<json::Value> ask(json::Object request, std::vector<GemTree> gems, std::string tree, const StopToken& stop) {
    json::Array mounted;
    std::map<std::string, bool> seen;
    for (GemTree& gem : gems) {
      if (!gem_name_ok(gem.name)) return std::unexpected(error_of(Failure::kRequest, "\"" + gem.name + "\" is no gem name"));
      if (std::exchange(seen[gem.name], true)) return std::unexpected(error_of(Failure::kRequest, "gem " + gem.name + " is named twice"));
      auto dir = real_directory(gem.dir, "the tree of gem " + gem.name);
      if (!dir) return std::unexpected(dir.error());
      gem.dir = *dir;
      mounted.push_back(json::Object{{"name", gem.name}, {"dir", "/gems/" + gem.name}});
    }
    if (!tree.empty()) {
      auto dir = real_directory(tree, "the template's source tree");
      if (!dir) return std::unexpected(dir.error());
      tree = *dir;
    }
    request.set("gems", std::move(mounted));
    auto outcome = zygote.call(std::move(request), gems, tree, stop);
    if (!outcome) return std::unexpected(outcome.error());
    auto answer = read_answer(*outcome);
    if (!answer) answer.error().output = std::move(outcome->output);
    return answer;
  }

  Evaluated<json::Value> read_answer(const CallOutcome& outcome) {
    using End = CallOutcome::End;
    const std::string limit = std::to_string(options.output_bytes >> 20) + " MiB";
    switch (outcome.end) {
      case End::kTimeout:
        return std::unexpected(error_of(Failure::kTimeout, "the template did not end within " + seconds_text(options.deadline)));
      case End::kCancelled:
        return std::unexpected(error_of(Failure::kCancelled, "cancelled"));
      case End::kTooLarge:
        return std::unexpected(error_of(Failure::kOutput, "the result is larger than " + limit));
      case End::kLost:
        return std::unexpected(error_of(Failure::kCrash, "the evaluator's process ended in the middle of the call"));
      case End::kAnswered:
        break;
    }
    if (outcome.reply.empty() || outcome.wait_status != 0) return std::unexpected(error_of_end(outcome));
    if (outcome.reply.size() > options.output_bytes) return std::unexpected(error_of(Failure::kOutput, "the result is larger than " + limit));
    auto answer = json::parse(outcome.reply);
    if (answer && answer->get("ok") != nullptr) return std::move(*answer->get("ok"));
    if (answer && answer->get("error") != nullptr) return std::unexpected(error_from(*answer->get("error")));
    return std::unexpected(error_of(Failure::kCrash, "the answer cannot be read: something else was written in its place"));
  }

  const EvaluatorOptions options;
  ZygoteClient zygote;
};

Evaluator::Evaluator(EvaluatorOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Evaluator::~Evaluator() = default;

Evaluated<CompileResult> Evaluator::compile(const CompileRequest& request, StopToken stop) {
  if (!request.source.empty() && !request.path.empty()) return std::unexpected(error_of(Failure::kRequest, "both source and path are given"));
  json::Object body{{"do", "compile"}, {"variables", request.variables}, {"template_name", request.template_name}, {"tree", !request.tree.empty()}};
  if (!request.source.empty()) {
    body.set("source", request.source);
  } else if (!request.path.empty()) {
    if (request.tree.empty()) return std::unexpected(error_of(Failure::kRequest, "path without tree"));
    if (request.path[0] == '/') return std::unexpected(error_of(Failure::kRequest, "path is relative to the source's root"));
    for (std::string_view part : split(request.path, '/')) {
      if (part == "..") return std::unexpected(error_of(Failure::kRequest, "path leads out of the source's root"));
    }
    body.set("path", request.path);
  } else if (request.template_name.find("::") == std::string::npos) {
    return std::unexpected(
        error_of(Failure::kRequest, "neither source nor path nor the name of an architecture (<provider>::<component>::<profile>) is given"));
  }
  auto answer = impl_->ask(std::move(body), request.gems, request.tree, stop);
  if (!answer) return std::unexpected(answer.error());
  return CompileResult{std::move((*answer)["config"]), strings(answer->get("warnings"))};
}

Evaluated<LoadedClasses> Evaluator::list_classes(const std::vector<GemTree>& gems, const std::vector<std::string>& expected, StopToken stop) {
  json::Array names;
  for (const std::string& name : expected) names.emplace_back(name);
  auto answer = impl_->ask({{"do", "classes"}, {"expected", std::move(names)}}, gems, "", stop);
  if (!answer) return std::unexpected(answer.error());
  return LoadedClasses{strings(answer->get("architectures")), strings(answer->get("present")), strings(answer->get("missing"))};
}

Evaluated<CompileResult> Evaluator::smoke(const SmokeRequest& request, StopToken stop) {
  json::Object inputs;
  for (const auto& [key, value] : request.inputs) {  // YAML written with Ruby's symbols
    std::string_view name = key;
    if (name.starts_with(':')) name.remove_prefix(1);
    if (name.size() < key.size() && name.ends_with(':')) name.remove_suffix(1);
    inputs.set(name, value);
  }
  json::Object body{{"do", "compile"}, {"smoke", true}, {"variables", std::move(inputs)}, {"template_name", request.target}, {"tree", false}};
  auto answer = impl_->ask(std::move(body), request.gems, "", stop);
  if (!answer) return std::unexpected(answer.error());
  return CompileResult{std::move((*answer)["config"]), strings(answer->get("warnings"))};
}

Evaluated<GemInfo> Evaluator::inspect(const GemTree& gem, StopToken stop) {
  auto answer = impl_->ask({{"do", "inspect"}}, {gem}, "", stop);
  if (!answer) return std::unexpected(answer.error());
  return GemInfo{std::string(answer->str_at({"name"})), std::string(answer->str_at({"version"})), std::string(answer->str_at({"required_ruby_version"})),
                 std::string(answer->str_at({"summary"})), strings(answer->get("dependencies"))};
}

Evaluated<std::string> Evaluator::version(StopToken stop) {
  return impl_->zygote.version(stop);
}

}  // namespace engenho::ruby
