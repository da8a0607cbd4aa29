// `engenho pangea test`: what a template renders, beside what its author expects.
#include <re2/re2.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/yaml.h"
#include "engenho/ruby/evaluator.h"

namespace engenho::ruby {

namespace {

constexpr const char* kTestUsage =
    "engenho pangea test FILE... [--update] [--gem NAME=DIR]...: renders templates offline and checks the result\n\n"
    "  --update           writes the golden files instead of comparing with them\n"
    "  --gem NAME=DIR     a gem's tree, in place of the one that FILE names\n\n"
    "FILE is YAML or JSON; its paths are relative to it:\n"
    "  tests:\n"
    "  - name: network                    # what is printed\n"
    "    template: main.rb                # or source: \"...\", or architecture: aws::vpc::dev\n"
    "    tree: .                          # then template is a path in it, and require_relative works\n"
    "    templateName: vpc\n"
    "    variables: {region: us-east-1}\n"
    "    gems: {pangea-aws: ../pangea-aws}\n"
    "    golden: golden/network.json      # the whole document\n"
    "    resources: {aws_vpc: 1}          # all the types there are, and how many of each\n"
    "    expect:                          # path, and equals, exists, count, matches (RE2) or contains\n"
    "    - {path: resource.aws_vpc.main.cidr_block, equals: 10.0.0.0/16}\n"
    "    error: {kind: UnknownName, message: no template}   # it must fail so\n";

struct Suite {
  std::filesystem::path folder;
  std::map<std::string, std::string> gems;  // of --gem
  bool update = false;
};

std::string short_text(const json::Value& value) {
  std::string text = json::dump(value);
  return text.size() > 300 ? text.substr(0, 300) + "..." : text;
}

// "resource.aws_vpc.main.tags.Name", "output.list.value.0"; a part that holds dots is written in double quotes.
const json::Value* walk(const json::Value& document, std::string_view path) {
  const json::Value* at = &document;
  while (!path.empty() && at != nullptr) {
    std::string_view part;
    if (path[0] == '"') {
      const size_t end = path.find('"', 1);
      part = path.substr(1, end == std::string_view::npos ? end : end - 1);
      path = end == std::string_view::npos ? std::string_view() : path.substr(end + 1);
      if (path.starts_with('.')) path.remove_prefix(1);
    } else {
      const size_t dot = path.find('.');
      part = path.substr(0, dot);
      path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
    }
    int64_t index = 0;
    if (at->is_array() && parse_int(part, index)) {
      at = index >= 0 && static_cast<size_t>(index) < at->items().size() ? &at->items()[static_cast<size_t>(index)] : nullptr;
    } else {
      at = at->get(part);
    }
  }
  return at;
}

// Where two documents differ first, as a path with both sides; empty when they are equal.
std::string difference(const json::Value& expected, const json::Value& got, const std::string& path) {
  if (expected == got) return "";
  if (expected.is_object() && got.is_object()) {
    for (const auto& [key, value] : expected.as_object()) {
      const json::Value* other = got.get(key);
      if (other == nullptr) return path + "." + key + ": not rendered, expected " + short_text(value);
      if (std::string inner = difference(value, *other, path + "." + key); !inner.empty()) return inner;
    }
    for (const auto& [key, value] : got.as_object()) {
      if (expected.get(key) == nullptr) return path + "." + key + ": rendered as " + short_text(value) + ", not expected";
    }
  }
  return path + ": rendered " + short_text(got) + ", expected " + short_text(expected);
}

void check_expectation(const json::Value& expectation, const json::Value& document, std::vector<std::string>& failures) {
  const std::string path(expectation.str_at({"path"}));
  const json::Value* found = walk(document, path);
  if (path.empty()) failures.push_back("an expectation without a path: " + short_text(expectation));
  for (const auto& [verb, wanted] : expectation.members()) {
    std::string why;
    if (verb == "path") continue;
    if (verb == "exists") {
      if (wanted.bool_or(true) != (found != nullptr)) why = found != nullptr ? "is there" : "is not there";
    } else if (found == nullptr) {
      why = "is not there";
    } else if (verb == "equals") {
      if (!(*found == wanted)) why = "is " + short_text(*found) + ", expected " + short_text(wanted);
    } else if (verb == "count") {
      const size_t count = found->is_object() ? found->as_object().size() : found->is_array() ? found->items().size() : 0;
      if (static_cast<int64_t>(count) != wanted.int_or(-1)) why = "has " + std::to_string(count) + " members, expected " + short_text(wanted);
    } else if (verb == "matches") {
      const RE2 pattern(std::string(wanted.str()), RE2::Quiet);
      if (!pattern.ok())
        why = "cannot be matched: " + pattern.error();
      else if (!RE2::PartialMatch(found->is_string() ? found->as_string() : json::dump(*found), pattern))
        why = "is " + short_text(*found) + ", does not match " + short_text(wanted);
    } else if (verb == "contains") {
      const bool there = found->is_string()   ? found->as_string().find(wanted.str()) != std::string::npos
                         : found->is_object() ? found->get(wanted.str()) != nullptr
                                              : std::find(found->items().begin(), found->items().end(), wanted) != found->items().end();
      if (!there) why = "is " + short_text(*found) + ", does not contain " + short_text(wanted);
    } else {
      why = "\"" + verb + "\" is no check; there are equals, exists, count, matches, contains";
    }
    if (!why.empty()) failures.push_back(path + " " + why);
  }
}

void check_resources(const json::Value& wanted, const json::Value& document, std::vector<std::string>& failures) {
  json::Object counted;
  if (const json::Value* resources = document.get("resource")) {
    for (const auto& [type, instances] : resources->members()) counted.set(type, static_cast<int64_t>(instances.members().size()));
  }
  if (std::string where = difference(wanted, counted, "resources"); !where.empty()) failures.push_back(where);
}

void check_golden(const Suite& suite, const std::string& name, const json::Value& document, std::vector<std::string>& failures) {
  const std::string path = (suite.folder / name).string();
  if (suite.update) {
    Status status = make_dirs(std::filesystem::path(path).parent_path().string());
    if (status.ok()) status = write_file_atomic(path, json::dump_pretty(document) + "\n", 0644);
    if (!status.ok()) failures.push_back(status.message());
    return;
  }
  auto text = read_file(path);
  auto golden = text ? json::parse(*text) : Result<json::Value>(err(text.error()));
  if (!golden)
    failures.push_back("golden file " + name + ": " + golden.error().message() + " (--update writes it)");
  else if (std::string where = difference(*golden, document, name); !where.empty())
    failures.push_back(where);
}

void check_error(const json::Value& wanted, const EvaluationError& error, std::vector<std::string>& failures) {
  const std::string_view kind = wanted.str_at({"kind"}), part = wanted.str_at({"message"});
  if (!kind.empty() && kind != failure_name(error.kind)) failures.push_back("failed as " + std::string(failure_name(error.kind)) + ": " + error.to_string());
  if (error.message.find(part) == std::string::npos) failures.push_back("failed with \"" + error.message + "\", expected \"" + std::string(part) + "\"");
}

Status read_case(const Suite& suite, const json::Value& test, CompileRequest& request) {
  static constexpr std::string_view kKeys[] = {"name",      "template", "source", "architecture", "tree",   "templateName",
                                               "variables", "gems",     "golden", "resources",    "expect", "error"};
  for (const auto& [key, value] : test.members()) {
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys)) return bad_request("unknown key \"" + key + "\"");
  }
  auto directory = [&](const std::string& name) -> Result<std::string> {
    std::error_code code;
    const auto real = std::filesystem::canonical(suite.folder / name, code);
    if (code) return err(bad_request(name + ": " + code.message()));
    return real.string();
  };
  request.template_name = test.str_at({"architecture"}, test.str_at({"templateName"}));
  request.source = test.str_at({"source"});
  if (const json::Value* variables = test.get("variables")) request.variables = variables->is_object() ? variables->as_object() : json::Object();
  const std::string file(test.str_at({"template"}));
  if (test.get("tree") != nullptr) {
    ENGENHO_ASSIGN_OR_RETURN(request.tree, directory(std::string(test.str_at({"tree"}))));
    request.path = file;
  } else if (!file.empty()) {
    ENGENHO_ASSIGN_OR_RETURN(request.source, read_file((suite.folder / file).string()));
  }
  if (const json::Value* gems = test.get("gems")) {
    for (const auto& [name, dir] : gems->members()) {
      auto given = suite.gems.find(name);
      ENGENHO_ASSIGN_OR_RETURN(std::string real,
                               directory(given != suite.gems.end() ? std::filesystem::absolute(given->second).string() : std::string(dir.str())));
      request.gems.push_back({name, std::move(real), ""});
    }
  }
  return {};
}

std::vector<std::string> run_case(const Suite& suite, const json::Value& test, Evaluator& evaluator) {
  std::vector<std::string> failures;
  CompileRequest request;
  if (Status status = read_case(suite, test, request); !status.ok()) return {status.message()};
  const json::Value* error = test.get("error");
  auto result = evaluator.compile(request);
  if (!result) {
    if (error != nullptr)
      check_error(*error, result.error(), failures);
    else
      failures.push_back(result.error().to_string());
    return failures;
  }
  if (error != nullptr) return {"rendered, though it is expected to fail"};
  if (const json::Value* expect = test.get("expect")) {
    for (const json::Value& expectation : expect->items()) check_expectation(expectation, result->config, failures);
  }
  if (const json::Value* resources = test.get("resources")) check_resources(*resources, result->config, failures);
  if (const std::string_view golden = test.str_at({"golden"}); !golden.empty()) check_golden(suite, std::string(golden), result->config, failures);
  return failures;
}

}  // namespace

int test_command(const std::vector<std::string>& arguments) {
  Suite suite;
  std::vector<std::string> files;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--help" || word == "-h") {
      std::cout << kTestUsage;
      return 0;
    }
    if (word == "--update") {
      suite.update = true;
    } else if (word == "--gem" && i + 1 < arguments.size() && arguments[i + 1].find('=') != std::string::npos) {
      const std::string& value = arguments[++i];
      suite.gems[value.substr(0, value.find('='))] = value.substr(value.find('=') + 1);
    } else if (word.starts_with("--")) {
      std::cerr << "engenho pangea test: unexpected \"" << word << "\"\n";
      return 2;
    } else {
      files.push_back(word);
    }
  }
  if (files.empty()) {
    std::cerr << kTestUsage;
    return 2;
  }
  Evaluator evaluator;
  size_t passed = 0, failed = 0;
  for (const std::string& file : files) {
    auto text = read_file(file);
    auto suite_document = text ? yaml::parse(*text) : Result<json::Parsed>(err(text.error()));
    if (!suite_document || suite_document->value.get("tests") == nullptr || suite_document->value.get("tests")->items().empty()) {
      std::cerr << "engenho pangea test: " << file << ": " << (suite_document ? "has no tests" : suite_document.error().message()) << "\n";
      return 2;
    }
    suite.folder = std::filesystem::absolute(file).parent_path();
    for (const json::Value& test : suite_document->value.get("tests")->items()) {
      const auto failures = run_case(suite, test, evaluator);
      std::cout << (failures.empty() ? "ok    " : "FAIL  ") << test.str_at({"name"}, "(no name)") << "\n";
      for (const std::string& failure : failures) std::cout << "      " << failure << "\n";
      ++(failures.empty() ? passed : failed);
    }
  }
  std::cout << passed << " passed, " << failed << " failed\n";
  return failed == 0 ? 0 : 1;
}

}  // namespace engenho::ruby
