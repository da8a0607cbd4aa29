// `pangea render` and `pangea test` as people call them.
#include "engenho/base/process.h"
#include "support.h"

namespace engenho::ruby {

namespace {

ProcessOutput run(std::vector<std::string> arguments, const std::string& input = "") {
  ProcessOptions options;
  options.argv = {RUBY_TOOL};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.stdin_text = input;
  auto output = run_process(options, std::chrono::seconds(60));
  REQUIRE(output);
  return *output;
}

const std::string kData = RUBY_TEST_DATA;

}  // namespace

TEST_CASE("render: a file, stdin, variables, an architecture") {
  Folder folder;
  folder.write("t.rb", "template(:t) { output(:o) { value $pangea_variables } }");
  folder.write("v.yaml", "a: 1\nb: [x]\nc: from the file\n");
  auto output = run({"render", folder.path() + "/t.rb", "--var-file", folder.path() + "/v.yaml", "--var", "c=text", "--var", "d={\"e\":true}", "--var=f=007"});
  INFO(output.err);
  CHECK(output.exit_code == 0);
  auto parsed = json::parse(output.out);
  REQUIRE(parsed);
  CHECK(json::dump(*parsed->at({"output", "o", "value"})) == R"({"a":1,"b":["x"],"c":"text","d":{"e":true},"f":"007"})");
  output = run({"render", "-"}, "template(:t) { output(:o) { value 1 } }");
  CHECK(output.exit_code == 0);
  output = run({"render", "-"}, "  {\"output\": {}}");  // Terraform JSON already: no Ruby is needed
  CHECK(output.exit_code == 0);
  CHECK(output.out == "{\n  \"output\": {}\n}\n");
  output = run({"render", "aws::vpc::production", "--var", "region=x"});
  CHECK(output.exit_code == 1);
  CHECK(contains(output.err, "the variable cidr is needed"));
  output = run({"render", "-"}, "template(:t) { puts 'hm'; raise 'no' }");
  CHECK(output.exit_code == 1);
  CHECK(contains(output.err, "template.rb:1: RuntimeError: no"));
  CHECK(contains(output.err, "hm"));
  CHECK(output.out.empty());
  CHECK(run({"render"}).exit_code == 2);
  CHECK(run({"render", "x", "y"}).exit_code == 2);
  CHECK(run({"render", "x", "--nonsense"}).exit_code == 2);
  CHECK(run({"render", "/nonexistent"}).exit_code == 1);
}

TEST_CASE("test: what is right passes, each wrong expectation is named") {
  auto output = run({"test", kData + "/suite/good.yaml"});
  INFO(output.out << output.err);
  CHECK(output.exit_code == 0);
  CHECK(contains(output.out, "4 passed, 0 failed"));
  output = run({"test", kData + "/suite/bad.yaml"});
  INFO(output.out << output.err);
  CHECK(output.exit_code == 1);
  CHECK(contains(output.out, "0 passed, 4 failed"));
  for (const char* line :
       {"resource.aws_vpc.main.cidr_block is \"10.0.0.0/16\", expected \"10.0.0.0/8\"", "resource.aws_subnet has 3 members, expected 4",
        "does not contain \"s9\"", "does not match \"^x\"", "resource.aws_nat_gateway is not there", "\"near\" is no check",
        "resources.aws_vpc: rendered 1, expected 2", "golden/other.json.output.vpc_id.value: rendered \"${aws_vpc.main.id}\", expected \"x\"",
        "rendered, though it is expected to fail", "RuntimeError: no", "unknown key \"sauce\""}) {
    INFO(line);
    CHECK(contains(output.out, line));
  }
  CHECK(run({"test"}).exit_code == 2);
  CHECK(run({"test", "/nonexistent.yaml"}).exit_code == 2);
}

TEST_CASE("test: --update writes golden files") {
  Folder folder;
  folder.write("t.yaml", "tests:\n- name: a\n  source: 'template(:t) { output(:o) { value 1 } }'\n  golden: deep/g.json\n");
  CHECK(run({"test", folder.path() + "/t.yaml"}).exit_code == 1);
  CHECK(run({"test", folder.path() + "/t.yaml", "--update"}).exit_code == 0);
  CHECK(run({"test", folder.path() + "/t.yaml"}).exit_code == 0);
  folder.write("t.yaml", "tests:\n- name: a\n  source: 'template(:t) { output(:o) { value 2 } }'\n  golden: deep/g.json\n");
  CHECK(run({"test", folder.path() + "/t.yaml"}).exit_code == 1);
}

}  // namespace engenho::ruby
