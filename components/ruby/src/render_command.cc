#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/yaml.h"
#include "engenho/ruby/evaluator.h"
#include "render.h"

namespace engenho::ruby {

namespace {

constexpr const char* kRenderUsage =
    "engenho pangea render FILE|-|<provider>::<component>::<profile> [flags]: the Terraform JSON of a template, offline\n\n"
    "  --var NAME=VALUE      a variable; VALUE is JSON where it reads as such (3, true, [1]), else text\n"
    "  --var-file FILE       variables from a YAML or JSON object; --var goes before\n"
    "  --template NAME       which `template :name`, or an architecture's name\n"
    "  --gem NAME=DIR        a gem's tree, such as a clone of pangea-aws; several times\n"
    "  --tree DIR            the template's source tree; FILE is relative to it (default: FILE alone)\n"
    "  --timeout SECONDS     30 unless given\n";

}  // namespace

Status RenderArguments::take(const std::string& flag, const std::string& value) {
  if (flag == "--var") {
    const size_t equals = value.find('=');
    if (equals == std::string::npos || equals == 0) return bad_request("--var takes NAME=VALUE, was given \"" + value + "\"");
    const std::string text = value.substr(equals + 1);
    auto parsed = json::parse(text);
    given.set(value.substr(0, equals), parsed && !parsed->is_string() ? std::move(*parsed) : json::Value(text));
  } else if (flag == "--var-file") {
    ENGENHO_ASSIGN_OR_RETURN(const std::string text, read_file(value));
    auto parsed = yaml::parse(text);
    if (!parsed) return parsed.error().with_context(value);
    if (!parsed->value.is_object()) return bad_request(value + ": an object of variables is expected");
    for (const auto& [name, variable] : parsed->value.as_object()) from_files.set(name, variable);
  } else if (flag == "--template") {
    request.template_name = value;
  } else if (flag == "--gem") {
    const size_t equals = value.find('=');
    if (equals == std::string::npos) return bad_request("--gem takes NAME=DIR, was given \"" + value + "\"");
    char* real = realpath(value.c_str() + equals + 1, nullptr);
    if (real == nullptr) return bad_request("--gem " + value + ": no such directory");
    request.gems.push_back({value.substr(0, equals), real, ""});
    free(real);
  } else if (flag == "--tree") {
    char* real = realpath(value.c_str(), nullptr);
    if (real == nullptr) return bad_request("--tree " + value + ": no such directory");
    request.tree = real;
    free(real);
  } else if (flag == "--timeout") {
    int64_t seconds = 0;
    if (!parse_int(value, seconds) || seconds < 1) return bad_request("--timeout takes a number of seconds, was given \"" + value + "\"");
    options.deadline = std::chrono::seconds(seconds);
  } else {
    return bad_request("unknown flag \"" + flag + "\"");
  }
  return {};
}

bool RenderArguments::takes(const std::string& flag) {
  for (const char* known : {"--var", "--var-file", "--template", "--gem", "--tree", "--timeout"}) {
    if (flag == known) return true;
  }
  return false;
}

Status RenderArguments::source(const std::string& file) {
  request.variables = from_files;
  for (const auto& [name, value] : given) request.variables.set(name, value);
  if (file.find("::") != std::string::npos) {
    request.template_name = file;
  } else if (!request.tree.empty()) {
    request.path = file;
  } else if (file == "-") {
    request.source.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  } else {
    ENGENHO_ASSIGN_OR_RETURN(request.source, read_file(file));
  }
  if (request.path.empty() && request.template_name.find("::") == std::string::npos && trim(request.source).empty()) {
    return bad_request(file + " is empty");
  }
  return {};
}

Evaluated<CompileResult> RenderArguments::render() const {
  if (const std::string_view text = trim(request.source); text.starts_with('{')) {  // Terraform JSON already
    auto parsed = json::parse(text);
    if (parsed) return CompileResult{std::move(*parsed), {}};
    EvaluationError error;
    error.kind = Failure::kSyntax;
    error.message = parsed.error().message();
    return std::unexpected(error);
  }
  Evaluator evaluator(options);
  return evaluator.compile(request);
}

int render_command(const std::vector<std::string>& arguments) {
  RenderArguments render;
  std::string file;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string word = arguments[i];
    if (word == "--help" || word == "-h") {
      std::cout << kRenderUsage;
      return 0;
    }
    Status status;
    if (!word.starts_with("--")) {
      if (!file.empty()) status = bad_request("one FILE is enough: \"" + file + "\" and \"" + word + "\"");
      file = word;
    } else {
      const size_t equals = word.find('=');
      const std::string flag = word.substr(0, equals);
      if (!RenderArguments::takes(flag))
        status = bad_request("unknown flag \"" + flag + "\"");
      else if (equals != std::string::npos)
        status = render.take(flag, word.substr(equals + 1));
      else if (i + 1 < arguments.size())
        status = render.take(flag, arguments[++i]);
      else
        status = bad_request(flag + " takes a value");
    }
    if (!status.ok()) {
      std::cerr << "engenho pangea render: " << status.message() << "\n";
      return 2;
    }
  }
  if (file.empty()) {
    std::cerr << kRenderUsage;
    return 2;
  }
  if (Status status = render.source(file); !status.ok()) {
    std::cerr << "engenho pangea render: " << status.message() << "\n";
    return 1;
  }
  auto result = render.render();
  if (!result) {
    std::cerr << "engenho pangea render: " << result.error().to_string() << "\n";
    for (const std::string& line : result.error().backtrace) std::cerr << "    " << line << "\n";
    if (!result.error().output.empty()) std::cerr << "output of the template:\n" << result.error().output << "\n";
    return 1;
  }
  for (const std::string& warning : result->warnings) std::cerr << "warning: " << warning << "\n";
  std::cout << json::dump_pretty(result->config) << "\n";
  return std::cout.flush() ? 0 : 1;
}

}  // namespace engenho::ruby
