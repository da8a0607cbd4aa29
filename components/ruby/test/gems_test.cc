// Gems and source trees: load path, versions side by side, names, classes.
#include <thread>

#include "support.h"

namespace engenho::ruby {

namespace {

// A small provider gem in the shape of the public ones.
void write_gem(const Folder& folder, const std::string& version) {
  folder.write("gizmo.gemspec", "Gem::Specification.new do |s|\n  s.name = 'gizmo'\n  s.version = '" + version +
                                    "'\n  s.summary = 'gizmos'\n  s.authors = ['x']\n  s.files = `git ls-files`.split + IO.popen(%w[git ls-files -z], chdir: "
                                    "__dir__, &:readlines)\n  s.required_ruby_version = '>= 3.0'\n  s.add_dependency 'dry-types', '~> 1.7'\nend\n");
  folder.write("lib/gizmo.rb", "require 'pangea-core'\nmodule Gizmo; VERSION = '" + version +
                                   "'; end\nmodule Pangea; module Resources; module Gizmo; end; end; end\n"
                                   "require_relative 'pangea/resources/gizmo_thing/resource'\nrequire_relative 'pangea/resources/gizmo_broken/resource'\n");
  folder.write("lib/pangea/resources/gizmo_thing/resource.rb",
               "require 'pangea/resources/base'\nmodule Pangea::Resources\n  module GizmoThing\n    include Pangea::Resources::ResourceBuilder\n"
               "    define_resource :gizmo_thing, required: { size: :number }, optional: { version: :string }, outputs: { id: :id }\n  end\n"
               "  module Gizmo\n    include GizmoThing\n  end\nend\nPangea::ResourceRegistry.register_module(Pangea::Resources::Gizmo)\n");
  folder.write("lib/pangea/resources/gizmo_broken/resource.rb", "raise 'only what is used may be loaded'\n");
  folder.write(
      "lib/pangea/architectures.rb",
      "module Pangea\n  module Architectures\n    module Gizmo\n      module Pair\n        PROFILES = { dev: { size: 1 }, production: { size: 9 } }.freeze\n"
      "        def self.build(synth, inputs)\n"
      "          same = [inputs['size'], inputs.fetch(:size), inputs.dig('size'), inputs.key?('size') && inputs[:size]].uniq\n"
      "          raise \"not the same: #{same}\" unless same.size == 1 && keywords(**inputs)\n"
      "          one = synth.gizmo_thing(:one, { size: inputs[:size], version: ::Gizmo::VERSION })\n"
      "          synth.output(:one) { synth.value one.id }\n          { one: one }\n        end\n        def self.keywords(size:, **rest) = size\n      end\n  "
      "  end\n  end\nend\n"
      "Pangea.architecture('gizmo::single::dev') { |inputs| gizmo_thing(:single, { size: inputs.fetch('size') }) }\n");
  folder.write("templates/gizmo/trio.rb", "template(:dev) { 3.times { |i| gizmo_thing(:\"t#{i}\", { size: i }) } }\n");
  folder.write("pangea-gem.yaml", "architectures:\n  gizmo::indexed::dev: {file: other/x.rb, template: x}\n  gizmo::outside::dev: {file: ../../etc/passwd}\n");
  folder.write("other/x.rb", "template(:x) { gizmo_thing(:indexed, { size: 5 }) }\ntemplate(:y) { }\n");
}

std::string rendered(Evaluator& evaluator, const GemTree& gem, const std::string& name, json::Object variables = {}) {
  CompileRequest request;
  request.template_name = name;
  request.gems = {gem};
  request.variables = std::move(variables);
  auto result = evaluator.compile(request);
  if (!result) return show(result);
  return json::dump(*result->config.get("resource"));
}

}  // namespace

TEST_CASE("names of architectures") {
  Folder folder;
  write_gem(folder, "1.0.0");
  const GemTree gem{"gizmo", folder.path(), ""};
  Evaluator& evaluator = shared_evaluator();
  CHECK(rendered(evaluator, gem, "gizmo::single::dev", {{"size", 4}}) == R"({"gizmo_thing":{"single":{"size":4}}})");
  CHECK(rendered(evaluator, gem, "gizmo::indexed::dev") == R"({"gizmo_thing":{"indexed":{"size":5}}})");
  CHECK(rendered(evaluator, gem, "gizmo::trio::dev") == R"({"gizmo_thing":{"t0":{"size":0},"t1":{"size":1},"t2":{"size":2}}})");
  CHECK(rendered(evaluator, gem, "gizmo::pair::dev") == R"({"gizmo_thing":{"one":{"size":1,"version":"1.0.0"}}})");
  CHECK(rendered(evaluator, gem, "gizmo::pair::production", {{"size", 7}}) == R"({"gizmo_thing":{"one":{"size":7,"version":"1.0.0"}}})");
  CHECK(rendered(evaluator, gem, "Pangea::Architectures::Gizmo::Pair", {{"size", 2}}) == R"({"gizmo_thing":{"one":{"size":2,"version":"1.0.0"}}})");
  CHECK(contains(rendered(evaluator, gem, "gizmo::pair::nightly"), "has no profile nightly; it has dev, production"));
  CHECK(contains(rendered(evaluator, gem, "gizmo::trio::nightly"), "trio.rb has dev"));
  CHECK(contains(rendered(evaluator, gem, "gizmo::outside::dev"), "outside of the gem"));
  CHECK(contains(rendered(evaluator, gem, "gizmo::nothing::dev"), "known are"));
  CHECK(contains(rendered(evaluator, gem, "gizmo::nothing::dev"), "gizmo::indexed::dev"));
}

TEST_CASE("two versions of one gem at the same time") {
  Folder one, two;
  write_gem(one, "1.0.0");
  write_gem(two, "2.0.0");
  Evaluator& evaluator = shared_evaluator();
  std::vector<std::thread> threads;
  std::vector<std::string> answers(8);
  for (size_t i = 0; i < answers.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = rendered(evaluator, {"gizmo", (i % 2 ? two : one).path(), ""}, "gizmo::pair::dev"); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < answers.size(); ++i) {
    CHECK(answers[i] == std::string(R"({"gizmo_thing":{"one":{"size":1,"version":")") + (i % 2 ? "2.0.0" : "1.0.0") + "\"}}}");
  }
}

TEST_CASE("a gem that requires a provider gem does not load all of it") {
  Folder provider, architectures, empty;
  write_gem(provider, "1.0.0");
  architectures.write("lib/pangea-houses.rb",
                      "require 'gizmo'\nmodule Pangea; module Architectures; module House\n  def self.build(synth, inputs)\n"
                      "    synth.gizmo_thing(:door, { size: inputs[:size] })\n  end\nend; end; end\n");
  CompileRequest request;
  request.template_name = "Pangea::Architectures::House";
  request.variables = {{"size", 8}};
  request.gems = {{"pangea-houses", architectures.path(), ""}, {"gizmo", provider.path(), ""}};
  auto result = shared_evaluator().compile(request);
  INFO(show(result));
  REQUIRE(result);
  CHECK(json::dump(*result->config.get("resource")) == R"({"gizmo_thing":{"door":{"size":8}}})");

  request.gems = {{"pangea-houses", architectures.path(), ""}};
  result = shared_evaluator().compile(request);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kLoad);
  CHECK(contains(result.error().message, "cannot load such file -- gizmo"));

  auto classes = shared_evaluator().list_classes({{"empty", empty.path(), ""}}, {"Pangea::Architectures::House"});
  REQUIRE(classes);
  CHECK(classes->architectures.empty());
  CHECK(classes->missing == std::vector<std::string>{"Pangea::Architectures::House"});
  auto info = shared_evaluator().inspect({"empty", empty.path(), ""});
  REQUIRE_FALSE(info);
  CHECK(info.error().message == "empty has no .gemspec");
}

TEST_CASE("compiled files of gems are used, and a changed file is not") {
  Evaluator evaluator(test_options());
  std::vector<std::unique_ptr<Folder>> folders;
  for (int i = 0; i < 6; ++i) {  // more than are kept
    folders.push_back(std::make_unique<Folder>());
    write_gem(*folders.back(), "1." + std::to_string(i));
    folders.back()->write("lib/gizmo/broken.rb", "def (\n");
  }
  auto state = [&](const Folder& folder) {
    CompileRequest request;
    request.source = "template(:t) { output(:o) { value [RubyVM::InstructionSequence.respond_to?(:load_iseq), Gizmo::VERSION] } }";
    request.gems = {{"gizmo", folder.path(), ""}};
    auto result = evaluator.compile(request);
    return result ? json::dump(*result->config.at({"output", "o", "value"})) : show(result);
  };
  for (const auto& folder : folders) {
    std::string last;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < until && !contains(last, "true")) last = state(*folder);
    CHECK(contains(last, "[true,\"1."));
  }
  CHECK(contains(state(*folders[5]), "[true,\"1.5\"]"));
  write_gem(*folders[5], "2.0");
  CHECK(contains(state(*folders[5]), "\"2.0\""));
}

TEST_CASE("a gem and a source tree that carry the same code") {
  Folder folder;
  write_gem(folder, "1.0.0");
  folder.write("main.rb", "require 'gizmo'\nrequire_relative 'lib/local'\ntemplate(:t) { gizmo_thing(:a, { size: Local::SIZE }) }\n");
  folder.write("lib/local.rb", "module Local; SIZE = File.read('data.txt').to_i; end\n");
  folder.write("data.txt", "12");
  CompileRequest request;
  request.tree = folder.path();
  request.path = "main.rb";
  request.gems = {{"gizmo", folder.path(), ""}};
  for (int i = 0; i < 2; ++i) {
    auto result = shared_evaluator().compile(request);
    INFO(show(result));
    REQUIRE(result);
    CHECK(json::dump(*result->config.get("resource")) == R"({"gizmo_thing":{"a":{"size":12}}})");
  }
}

TEST_CASE("errors name files relative to the source") {
  Folder folder;
  write_gem(folder, "1.0.0");
  folder.write("deep/main.rb", "require_relative 'helper'\ntemplate(:t) do\n  Helper.run(self)\nend\n");
  folder.write("deep/helper.rb", "module Helper\n  def self.run(s)\n    s.gizmo_thing(:x, { size: 'large' })\n  end\nend\n");
  folder.write("bad.rb", "template(:t) do\n  gizmo_broken(:x, {})\nend\n");
  folder.write("missing.rb", "require 'nowhere'\n");
  CompileRequest request;
  request.tree = folder.path();
  request.gems = {{"gizmo", folder.path(), ""}};
  auto failure = [&](const std::string& path) {
    request.path = path;
    auto result = shared_evaluator().compile(request);
    REQUIRE_FALSE(result);
    CHECK(show(result).find(folder.path()) == std::string::npos);
    return result.error();
  };
  auto error = failure("deep/main.rb");
  CHECK(error.kind == Failure::kConstraint);
  CHECK(error.file == "deep/helper.rb");
  CHECK(error.line == 3);
  REQUIRE(error.backtrace.size() >= 2);
  CHECK(error.backtrace[1].starts_with("deep/main.rb:3:"));
  error = failure("bad.rb");
  CHECK(error.message == "only what is used may be loaded");
  CHECK(error.file == "bad.rb");
  CHECK(error.backtrace[0].starts_with("gizmo/lib/pangea/resources/gizmo_broken/resource.rb:1"));
  error = failure("missing.rb");
  CHECK(error.kind == Failure::kLoad);
  CHECK(error.message == "cannot load such file -- nowhere");
  error = failure("absent.rb");
  CHECK(error.kind == Failure::kLoad);
  CHECK(error.message == "absent.rb is not there");
}

TEST_CASE("classes, smoke and inspection") {
  Folder folder;
  write_gem(folder, "1.2.3");
  const GemTree gem{"gizmo", folder.path(), ""};
  auto classes = shared_evaluator().list_classes({gem}, {"Pangea::Architectures::Gizmo::Pair", "Pangea::Architectures::Other", "not a constant"});
  if (!classes) FAIL(classes.error().to_string());
  CHECK(classes->architectures == std::vector<std::string>{"Pangea::Architectures::Gizmo", "Pangea::Architectures::Gizmo::Pair", "gizmo::single::dev"});
  CHECK(classes->present == std::vector<std::string>{"Pangea::Architectures::Gizmo::Pair"});
  CHECK(classes->missing == std::vector<std::string>{"Pangea::Architectures::Other", "not a constant"});

  auto info = shared_evaluator().inspect(gem);
  if (!info) FAIL(info.error().to_string());
  CHECK(info->name == "gizmo");
  CHECK(info->version == "1.2.3");
  CHECK(info->required_ruby_version == ">= 3.0");
  CHECK(info->dependencies == std::vector<std::string>{"dry-types ~> 1.7"});

  SmokeRequest smoke{{gem}, "Pangea::Architectures::Gizmo::Pair", {{":size:", 3}}};
  auto result = shared_evaluator().smoke(smoke);
  INFO(show(result));
  REQUIRE(result);
  CHECK(json::dump(*result->config.get("resource")) == R"({"gizmo_thing":{"one":{"size":3,"version":"1.2.3"}}})");
  smoke.target = "gizmo::nothing::dev";
  CHECK_FALSE(shared_evaluator().smoke(smoke));
}

TEST_CASE("variables are seen and do not leak") {
  auto result =
      compile("template(:t) { output(:o) { value [$pangea_variables['Name'], $pangea_inputs['Name'], ENV['Name'], ENV['n'], ENV['l'], ENV['NAME']] } }",
              {{"Name", "x"}, {"n", 3}, {"l", json::Array{1, 2}}});
  INFO(show(result));
  REQUIRE(result);
  CHECK(json::dump(result->config) == R"({"output":{"o":{"value":["x","x","x","3","[1,2]",null]}}})");
  result = compile("template(:t) { output(:o) { value [$pangea_variables, ENV['Name']] } }");
  REQUIRE(result);
  CHECK(json::dump(result->config) == R"({"output":{"o":{"value":[{},null]}}})");
}

}  // namespace engenho::ruby
