#include <cmath>

#include "support.h"

using namespace engenho;
using namespace engenho::magma;
using namespace engenho::magma::testing;

namespace {

Result<Value> run(const std::string& text, const TestScope& scope) {
  auto e = parse_expression(text);
  if (!e) return err(e.error());
  return evaluate(**e, scope);
}

std::string shown(const std::string& text, const TestScope& scope = {}) {
  auto v = run(text, scope);
  return v ? json::dump(to_plain_json(*v)) : "error: " + v.error().message();
}

// A random arithmetic expression and what it is.
std::pair<std::string, double> random_sum(std::mt19937_64& rng, int depth) {
  if (depth == 0) {
    const int n = static_cast<int>(rng() % 20);
    return {std::to_string(n), n};
  }
  auto [a, x] = random_sum(rng, depth - 1);
  auto [b, y] = random_sum(rng, depth - 1);
  switch (rng() % 4) {
    case 0: return {"(" + a + " + " + b + ")", x + y};
    case 1: return {"(" + a + "-" + b + ")", x - y};
    case 2: return {a.size() < 40 ? "(" + a + "*" + b + ")" : "(" + a + "+" + b + ")", a.size() < 40 ? x * y : x + y};
    default: return {"(" + a + " > " + b + " ? " + a + " : -" + b + ")", x > y ? x : -y};
  }
}

}  // namespace

TEST_CASE("arithmetic agrees with arithmetic") {
  std::mt19937_64 rng(engenho::testing::seed());
  const TestScope scope;
  for (int i = 0; i < 500; ++i) {
    const auto [text, expected] = random_sum(rng, static_cast<int>(rng() % 5));
    INFO(text);
    auto v = run(text, scope);
    REQUIRE(v);
    REQUIRE(static_cast<double>(v->as_number()) == expected);
  }
}

TEST_CASE("no text crashes the parser") {
  std::mt19937_64 rng(engenho::testing::seed());
  static const std::string kPieces[] = {"${", "}", "%{", "if ", "for ", "x", " in ", "[", "]", "{", "(", ")", ":", "=>", "...", ".", "*", "\"", "\\", "1", "+", "-", "!", "a.b", "?", "==", ",", "\n", "endif", "~", "upper(", "null", "=", "/*", "#"};
  TestScope scope;
  scope.names["x"] = Value::tuple({Value::number(1)});
  scope.names["a"] = Value::object({{"b", Value::string("s")}});
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (int k = static_cast<int>(rng() % 12); k > 0; --k) text += kPieces[rng() % std::size(kPieces)];
    if (auto e = parse_expression(text)) (void)evaluate(**e, scope);
    if (auto e = parse_template(text)) (void)evaluate(**e, scope);
  }
  CHECK(shown(std::string(100000, '(')).starts_with("error"));
  CHECK(shown(std::string(100000, '-') + "1").starts_with("error"));
  CHECK(shown(std::string(100000, '[')).starts_with("error"));
}

TEST_CASE("what templates and JSON strings mean") {
  TestScope scope;
  scope.names["n"] = Value::number(3);
  auto text = [&](const std::string& t) {
    auto e = parse_template(t);
    if (!e) return "error: " + e.error().message();
    auto v = evaluate(**e, scope);
    return v ? json::dump(to_plain_json(*v)) : "error: " + v.error().message();
  };
  CHECK(text("plain") == "\"plain\"");
  CHECK(text("${n}") == "3");                 // one interpolation keeps its type
  CHECK(text("${n} ") == "\"3 \"");
  CHECK(text("$${n} %%{if}") == "\"${n} %{if}\"");
  CHECK(text("$n $ {") == "\"$n $ {\"");
  CHECK(text("a\n  ${~ n ~}  \nb") == "\"a3b\"");
  CHECK(text("%{ if n > 2 }big%{ else }small%{ endif }") == "\"big\"");
  CHECK(text("%{ for i in [1,2] }(${i})%{ endfor }") == "\"(1)(2)\"");
  CHECK(text("${null}x").find("null") != std::string::npos);
  CHECK(text("%{ if true }x").starts_with("error"));
  CHECK(text("${n").starts_with("error"));
  CHECK(text("${missing}") == "error: no \"missing\"");
}

TEST_CASE("unknown and sensitive travel") {
  TestScope scope;
  scope.names["u"] = Value::unknown(Type::string());
  scope.names["s"] = Value::string("hush-hush").marked();
  scope.names["o"] = Value::object({{"s", Value::string("hush-hush").marked()}, {"p", Value::string("plain")}});
  auto value = [&](const std::string& text) {
    auto v = run(text, scope);
    INFO(text << ": " << (v ? "" : v.error().message()));
    REQUIRE(v);
    return *v;
  };
  CHECK_FALSE(value("upper(u)").is_known());
  CHECK(value("upper(u)").type() == Type::string());
  CHECK(value("[u, 1]").is_known());
  CHECK(value("length([u, 1])").as_number() == 2);
  CHECK_FALSE(value("u == \"x\"").is_known());
  CHECK(value("false && u == \"x\"").is_known());
  CHECK(value("upper(s)").sensitive());
  CHECK(value("\"a ${s}\"").sensitive());
  CHECK(value("s == \"x\" ? 1 : 2").sensitive());
  CHECK_FALSE(value("o.p").sensitive());
  CHECK(value("o.s").sensitive());
  CHECK(value("jsonencode(o)").sensitive());
  CHECK_FALSE(value("keys(o)").sensitive());
  CHECK(value("merge(o, {x = 1}).s").sensitive());
  CHECK_FALSE(value("merge(o, {x = 1}).x").sensitive());
  CHECK_FALSE(value("nonsensitive(s)").sensitive());
  CHECK(value("[for v in [s]: v]").contains_sensitive());
  CHECK(value("{for v in [s]: v => 1}").sensitive());
  // No message quotes a sensitive value.
  for (const char* text : {"parseint(s, 10)", "tonumber(s)", "regex(s, \"x\")", "jsondecode(s)", "cidrhost(s, 1)", "timeadd(s, \"1h\")", "s + 1", "{(s) = 1}[\"q\"]", "tolist(o)", "[1][s]", "formatdate(s, s)"}) {
    auto v = run(text, scope);
    INFO(text);
    REQUIRE_FALSE(v);
    CHECK(v.error().message().find("hush") == std::string::npos);
  }
}

TEST_CASE("functions that look at files and time") {
  TempDir dir;
  { std::ofstream(dir.path("t.tpl")) << "hello ${name}%{ for x in list }, ${x}%{ endfor }"; }
  TestScope scope;
  CHECK(shown("templatefile(\"" + dir.path("t.tpl") + "\", {name = \"x\", list = [1, 2]})") == "\"hello x, 1, 2\"");
  CHECK(shown("file(\"" + dir.path("none") + "\")").find("no file exists") != std::string::npos);
  CHECK(shown("fileexists(\"" + dir.path("t.tpl") + "\")") == "true");
  CHECK(shown("fileset(\"" + dir.path() + "\", \"*.tpl\")") == "[\"t.tpl\"]");
  CHECK(shown("timestamp()") == "null");   // unknown until apply
  CHECK(shown("plantimestamp()") == "\"2023-11-14T22:13:20Z\"");
  scope.is_applying = true;
  CHECK(shown("length(uuid())", scope) == "36");
  CHECK(shown("substr(bcrypt(\"x\", 4), 0, 7)", scope) == "\"$2a$04$\"");
  CHECK(shown("nofunction(1)").find("there is no function") != std::string::npos);
  CHECK(shown("uper(\"x\")").find("did you mean \"upper\"") != std::string::npos);
  CHECK(shown("upper()").find("takes 1") != std::string::npos);
}

TEST_CASE("references are found, bound names left out") {
  auto e = parse_expression("[for v in aws_vpc.main[*].id: \"${v}-${var.x}\"] == {(local.k) = data.aws_ami.a[0].id, b = aws_x.y[\"k\"].z}");
  REQUIRE(e);
  std::set<Reference> found;
  collect_references(**e, found);
  std::set<std::string> texts;
  for (const Reference& r : found) texts.insert(r.to_string());
  CHECK(texts == std::set<std::string>{"aws_vpc.main", "var.x", "local.k", "data.aws_ami.a[0].id", "aws_x.y[\"k\"].z"});
}
