// What the DSL makes of each form: the notes' table of the public gem's behaviour, and beside it what we do where that drops something silently.
#include "support.h"

namespace engenho::ruby {

namespace {

struct Form {
  const char* name;
  const char* body;      // of a template
  const char* expected;  // the document without terraform.required_providers, or nullptr
  Failure failure = Failure::kTemplate;
  const char* message = "";
};

const Form kForms[] = {
    {"fields and a list with a hash", "resource(:a, :b) { x 1; y [1, {z: 2}] }", R"({"resource":{"a":{"b":{"x":1,"y":[1,{"z":2}]}}}})"},
    {"nested block", "resource(:a, :b) { lifecycle { prevent_destroy true } }", R"({"resource":{"a":{"b":{"lifecycle":{"prevent_destroy":true}}}}})"},
    {"three levels, then a sibling", "resource(:a, :b) { l { m { n 1 }; o 2 }; q 3 }", R"({"resource":{"a":{"b":{"l":{"m":{"n":1},"o":2},"q":3}}}})"},
    {"a resource opened twice", "resource(:a, :b) { x 1 }; resource('a', 'b') { y 2 }", R"({"resource":{"a":{"b":{"x":1,"y":2}}}})"},
    {"a block given twice", "resource(:a, :b) { ingress { port 1 }; ingress { port 2 }; ingress { port 3 } }",
     R"({"resource":{"a":{"b":{"ingress":[{"port":1},{"port":2},{"port":3}]}}}})"},
    {"a list and a block", "resource(:a, :b) { ingress [{ port: 1 }]; ingress { port 2 } }", R"({"resource":{"a":{"b":{"ingress":[{"port":1},{"port":2}]}}}})"},
    {"a block that exists once, twice", "resource(:a, :b) { lifecycle { x 1 }; lifecycle { y 2 } }", R"({"resource":{"a":{"b":{"lifecycle":{"x":1,"y":2}}}}})"},
    {"a scalar and a block", "resource(:a, :b) { x 1; x { y 2 } }", nullptr, Failure::kArgument, "a.b.x has the value 1"},
    {"positional hash", "resource :a, :b, {x: 1}", R"({"resource":{"a":{"b":{"x":1}}}})"},
    {"keywords", "resource :a, :b, x: 1, y: {z: 2}", R"({"resource":{"a":{"b":{"x":1,"y":{"z":2}}}}})"},
    {"keywords and a block", "resource(:a, :b, x: 1) { y 2 }", R"({"resource":{"a":{"b":{"x":1,"y":2}}}})"},
    {"provider in keyword form", "provider :aws, region: 'x'", R"({"provider":{"aws":{"region":"x"}}})"},
    {"provider twice with aliases", "provider(:aws) { region 'x' }; provider(:aws) { region 'y'; self.alias 'w' }",
     R"({"provider":{"aws":[{"region":"x"},{"alias":"w","region":"y"}]}})"},
    {"two values", "resource(:a, :b) { x 1, 2 }", nullptr, Failure::kArgument, "takes one value, was given 2"},
    {"a bare field", "resource(:a, :b) { x }", nullptr, Failure::kArgument, "resource.a.b.x: \"x\" is a field without a value"},
    {"a bare name outside", "vpc_id", nullptr, Failure::kName, "undefined name `vpc_id`"},
    {"an empty block", "resource(:a, :b) { }", R"({"resource":{"a":{"b":{}}}})"},
    {"no block at all", "resource :a, :b", R"({"resource":{"a":{"b":{}}}})"},
    {"a provider without anything", "provider :aws", R"({"provider":{"aws":{}}})"},
    {"a resource without a name", "resource :a", nullptr, Failure::kArgument, "resource a: 2 names are needed"},
    {"nil and false", "resource(:a, :b) { x nil; y false }", R"({"resource":{"a":{"b":{"x":null,"y":false}}}})"},
    {"labelled block", "resource(:a, :b) { provisioner(:'local-exec') { command 'true' } }",
     R"({"resource":{"a":{"b":{"provisioner":{"local-exec":{"command":"true"}}}}}})"},
    {"two labelled blocks", "resource(:a, :b) { provisioner('local-exec') { command 'x' }; provisioner('remote-exec', inline: ['y']) }",
     R"({"resource":{"a":{"b":{"provisioner":[{"local-exec":{"command":"x"}},{"remote-exec":{"inline":["y"]}}]}}}})"},
    {"dynamic", "resource(:a, :b) { dynamic('setting') { for_each '${var.s}'; content { name 'n' } } }",
     R"({"resource":{"a":{"b":{"dynamic":{"setting":{"content":{"name":"n"},"for_each":"${var.s}"}}}}}})"},
    {"unknown keyword", "moved { from 'a' }", nullptr, Failure::kName, "terraform, provider, resource, variable, locals, output, data"},
    {"unknown function", "gizmo :a, x: 1", nullptr, Failure::kName, "gizmo is no function of the gems"},
    {"a near miss", "null_resorce :a", nullptr, Failure::kName, "(null_resource?)"},
    {"resource in a resource", "resource(:a, :b) { resource(:c, :d) { x 1 } }", nullptr, Failure::kArgument, "inside resource a b"},
    {"function in a resource", "resource(:a, :b) { null_resource(:c, { triggers: {} }) }", nullptr, Failure::kArgument, "inside resource a b"},
    {"too many names", "resource(:a, :b, :c) { x 1 }", nullptr, Failure::kArgument, "takes 2 names"},
    {"a name that is none", "resource(:a, 3) { x 1 }", nullptr, Failure::kArgument, "a name is a Symbol or a String, was given 3"},
    {"names of Ruby's methods as fields",
     "resource(:a, :b) { p 1; test 't'; format 'f'; system 's'; open true; select ['x']; display 'd'; method 'GET'; hash 'h'; print 'q'; freeze 1; trap 2 }",
     R"({"resource":{"a":{"b":{"display":"d","format":"f","freeze":1,"hash":"h","method":"GET","open":true,"p":1,"print":"q","select":["x"],"system":"s","test":"t","trap":2}}}})"},
    {"names of Ruby's methods as blocks", "resource(:a, :b) { exec { command ['x'] }; test { x 1 }; template { spec { y 2 } }; manifest({ k: 1 }) }",
     R"({"resource":{"a":{"b":{"exec":{"command":["x"]},"manifest":{"k":1},"template":{"spec":{"y":2}},"test":{"x":1}}}}})"},
    {"Ruby's own format stays", "resource(:a, :b) { x format('%s-%d', 'a', 3) }", R"({"resource":{"a":{"b":{"x":"a-3"}}}})"},
    {"keywords as fields", "resource(:a, :b) { provider 'aws.w'; data({ k: 'v' }); output 1; resource 'r'; variable { x 1 } }",
     R"({"resource":{"a":{"b":{"data":{"k":"v"},"output":1,"provider":"aws.w","resource":"r","variable":{"x":1}}}}})"},
    {"required_providers as blocks", "terraform { required_providers { aws { source 'hashicorp/aws'; version '~> 5' } } }",
     R"({"terraform":{"required_providers":{"aws":{"source":"hashicorp/aws","version":"~> 5"}}}})"},
    {"required_providers as a hash", "terraform { required_providers({ aws: { source: 'x/aws' } }) }; terraform { required_version '>= 1' }",
     R"({"terraform":{"required_providers":{"aws":{"source":"x/aws"}},"required_version":">= 1"}})"},
    {"backend", "terraform { backend(:s3) { bucket 'b' } }", R"({"terraform":{"backend":{"s3":{"bucket":"b"}}}})"},
    {"locals, variable, output, data",
     "locals { a 1 }; locals(b: 2); variable(:v) { type 'string'; default 'd' }; output(:o) { value '${local.a}'; sensitive true }; data(:t, :n) { x 1 }",
     R"({"data":{"t":{"n":{"x":1}}},"locals":{"a":1,"b":2},"output":{"o":{"sensitive":true,"value":"${local.a}"}},"variable":{"v":{"default":"d","type":"string"}}})"},
    {"names as blocks", "data(:t) { one { x 1 } }; data(:t) { two { y 2 } }; resource(:a) { b { x 1 } }",
     R"({"data":{"t":{"one":{"x":1},"two":{"y":2}}},"resource":{"a":{"b":{"x":1}}}})"},
    {"references",
     "vpc = resource(:t_vpc, :main) { x 1 }; resource(:t_subnet, :a) { vpc_id vpc.id; c vpc[:cidr]; d vpc.ref(:e); i vpc[0].id; whole vpc; depends_on [vpc] }",
     R"({"resource":{"t_subnet":{"a":{"c":"${t_vpc.main.cidr}","d":"${t_vpc.main.e}","depends_on":["t_vpc.main"],"i":"${t_vpc.main[0].id}","vpc_id":"${t_vpc.main.id}","whole":"${t_vpc.main}"}},"t_vpc":{"main":{"x":1}}}})"},
    {"a data source's reference", "ami = data(:t_ami, :u) { x 1 }; output(:o) { value \"#{ami.id}/x\" }",
     R"({"data":{"t_ami":{"u":{"x":1}}},"output":{"o":{"value":"${data.t_ami.u.id}/x"}}})"},
    {"a typed function",
     "n = null_resource(:n, { triggers: { a: 1 }, lifecycle: { prevent_destroy: true }, depends_on: ['t_x.y'], count: 2 }); output(:o) { value n.id }",
     R"({"output":{"o":{"value":"${null_resource.n.id}"}},"resource":{"null_resource":{"n":{"count":2,"depends_on":["t_x.y"],"lifecycle":{"prevent_destroy":true},"triggers":{"a":1}}}}})"},
    {"a typed function with a block", "random_password(:p) { length 12; special false }",
     R"({"resource":{"random_password":{"p":{"length":12,"special":false}}}})"},
    {"a typed function without attributes", "null_resource :n", R"({"resource":{"null_resource":{"n":{}}}})"},
    {"an unknown attribute", "null_resource :n, trigger: {}", nullptr, Failure::kArgument, "unknown attributes [:trigger]; valid are [:triggers]"},
    {"a missing attribute", "random_password :p, special: true", nullptr, Failure::kArgument, "missing required attributes [:length]"},
    {"a wrong type", "random_password :p, length: 'many'", nullptr, Failure::kConstraint, "attribute :length must be a :number, is \"many\""},
    {"a reference has any type", "random_password :p, length: '${var.n}'", R"({"resource":{"random_password":{"p":{"length":"${var.n}"}}}})"},
    {"a data function", "data_local_file(:f, filename: 'x')", R"({"data":{"local_file":{"f":{"filename":"x"}}}})"},
    {"a definition in the template",
     "m = Module.new { include Pangea::Resources::ResourceBuilder; define_resource :t_x, required: { a: :string, l: [:number] }, outputs: { name: :a } }; "
     "extend m; "
     "r = t_x(:n, a: 's', l: [1]); output(:o) { value r.name }",
     R"({"output":{"o":{"value":"${t_x.n.a}"}},"resource":{"t_x":{"n":{"a":"s","l":[1]}}}})"},
    {"a value that is none", "resource(:a, :b) { x Object }", nullptr, Failure::kArgument, "resource.a.b.x: Class is no value"},
    {"not a number", "resource(:a, :b) { x Float::NAN }", nullptr, Failure::kArgument, "NaN is no JSON number"},
    {"helpers", "output(:o) { value [ref(:t_x, :n, :id), data_ref(:t_y, :m, :id), var(:v), local(:l)] }",
     R"({"output":{"o":{"value":["${t_x.n.id}","${data.t_y.m.id}","${var.v}","${local.l}"]}}})"},
    {"fields named like helpers", "resource(:a, :b) { ref 'main'; var({ x: 1 }); local [1] }",
     R"({"resource":{"a":{"b":{"local":[1],"ref":"main","var":{"x":1}}}}})"},
    {"outputs in categories",
     "suppress_display_outputs!; data_output(:a) { value 1 }; display_output(:b) { value 2 }; pangea_output(:c, category: :data) { value 3 }",
     R"({"output":{"a":{"value":1},"c":{"value":3}}})"},
    {"jsonencode", "output(:o) { value jsonencode({ a: :b }) }", R"({"output":{"o":{"value":"{\"a\":\"b\"}"}}})"},
};

// The document without the providers that are added, but for those that the template names itself.
std::string without_added_providers(json::Value config) {
  json::Value* required = config.at({"terraform", "required_providers"});
  if (required != nullptr) {
    json::Object& all = required->as_object();
    for (auto it = all.begin(); it != all.end();) {
      const bool added = it->second.is_object() && it->second.as_object().size() == 1 && it->second.str_at({"source"}).starts_with("hashicorp/");
      it = added ? all.erase(it) : it + 1;
    }
    if (all.empty()) config["terraform"].as_object().erase("required_providers");
    if (config["terraform"].as_object().empty()) config.as_object().erase("terraform");
  }
  return json::dump(config);
}

}  // namespace

TEST_CASE("forms of the DSL") {
  for (const Form& form : kForms) {
    INFO(form.name << ": " << form.body);
    auto result = compile(std::string("template(:t) do\n") + form.body + "\nend\n");
    INFO(show(result));
    if (form.expected != nullptr) {
      REQUIRE(result);
      auto expected = json::parse(form.expected);
      REQUIRE(expected);
      CHECK(without_added_providers(result->config) == json::dump(*expected));
    } else {
      REQUIRE_FALSE(result);
      CHECK(failure_name(result.error().kind) == failure_name(form.failure));
      CHECK(contains(result.error().message, form.message));
      CHECK(result.error().file == "template.rb");
      CHECK(result.error().line == 2);
    }
  }
}

TEST_CASE("the notes' example") {
  auto result = compile(R"(
template :hello do
  resource :null_resource, :probe do
    triggers({ who: $pangea_variables["who"] })
  end
end
)",
                        {{"who", "world"}});
  INFO(show(result));
  REQUIRE(result);
  CHECK(json::dump(result->config) ==
        R"({"resource":{"null_resource":{"probe":{"triggers":{"who":"world"}}}},"terraform":{"required_providers":{"null":{"source":"hashicorp/null"}}}})");
}

TEST_CASE("a field set twice is a warning") {
  auto result = compile("template(:t) { resource(:a, :b) { x 1; x 2 } }");
  REQUIRE(result);
  REQUIRE(result->warnings.size() == 1);
  CHECK(result->warnings[0] == "resource.a.b.x is set more than once; the last value counts");
}

TEST_CASE("providers that are used are required") {
  auto result = compile(R"(template(:t) do
    terraform { required_providers { aws { source 'mine/aws' } } }
    provider(:github) { owner 'x' }
    resource(:aws_vpc, :a) { x 1 }
    resource(:cloudflare_zone, :z) { provider 'edge.west' }
    data(:hcloud_image, :i) { x 1 }
    terraform_data :d
  end)");
  INFO(show(result));
  REQUIRE(result);
  CHECK(
      json::dump(*result->config.at({"terraform", "required_providers"})) ==
      R"({"aws":{"source":"mine/aws"},"edge":{"source":"hashicorp/edge"},"github":{"source":"integrations/github"},"hcloud":{"source":"hetznercloud/hcloud"}})");
}

TEST_CASE("two templates in one file") {
  CompileRequest request;
  request.source = "template(:one) { output(:o) { value 1 } }\ntemplate(:two) { output(:o) { value 2 } }\n";
  auto result = shared_evaluator().compile(request);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kName);
  CHECK(contains(result.error().message, "one, two"));
  request.template_name = "two";
  result = shared_evaluator().compile(request);
  REQUIRE(result);
  CHECK(json::dump(result->config) == R"({"output":{"o":{"value":2}}})");
  request.template_name = "three";
  result = shared_evaluator().compile(request);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kName);
  CHECK(result.error().message == "no template \"three\" in template.rb; it has one, two");
  CHECK_FALSE(compile("template(:one) { }\ntemplate(:one) { }\n"));
  result = compile("x = 1\n");
  REQUIRE_FALSE(result);
  CHECK(result.error().message == "no `template :name do ... end` in template.rb");
}

TEST_CASE("syntax errors say where") {
  auto result = compile("template(:t) do\n  x = \nend )\n");
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kSyntax);
  CHECK(result.error().file == "template.rb");
  CHECK(result.error().line == 3);
}

TEST_CASE("equal requests give equal bytes") {
  const std::string source = "template(:t) { { 'b' => 1, a: 2 }.each { |k, v| output(k) { value v } }; locals(z: [3, 1], a: { y: 1, x: 2 }) }";
  const std::string first = show(compile(source));
  for (int i = 0; i < 5; ++i) CHECK(show(compile(source)) == first);
}

TEST_CASE("aws::vpc::dev without a gem") {
  CompileRequest request;
  request.template_name = "aws::vpc::dev";
  request.variables = {{"region", "us-east-1"}, {"cidr", "10.0.0.0/16"}};
  auto result = shared_evaluator().compile(request);
  INFO(show(result));
  REQUIRE(result);
  std::ifstream golden(std::string(RUBY_TEST_DATA) + "/aws_vpc_dev.json");
  const std::string expected((std::istreambuf_iterator<char>(golden)), std::istreambuf_iterator<char>());
  CHECK(json::dump_pretty(result->config) + "\n" == expected);
  request.template_name = "aws::vpc::nightly";
  result = shared_evaluator().compile(request);
  REQUIRE_FALSE(result);
  CHECK(contains(result.error().message, "dev, staging, production"));
  request.template_name = "aws::gizmo::dev";
  result = shared_evaluator().compile(request);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == Failure::kName);
  CHECK(contains(result.error().message, "known are aws::vpc::dev"));
}

}  // namespace engenho::ruby
