#include "engenho/pangea/plan_model.h"

#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pangea;

namespace {

json::Value parse(std::string_view text) {
  INFO(text);
  auto parsed = json::parse(text);
  REQUIRE(parsed);
  return *parsed;
}

std::string entry(const std::string& type, const std::string& actions, const std::string& rest = R"("before": null, "after": {})") {
  return R"({"address": ")" + type + R"(.x", "mode": "managed", "type": ")" + type +
         R"(", "name": "x", "provider_name": "registry.terraform.io/hashicorp/aws", "change": {"actions": )" + actions + ", " + rest + "}}";
}

json::Value plan_of(const std::string& entries) {
  return parse(R"({"format_version": "1.2", "resource_changes": [)" + entries + "]}");
}

const Change& find(const PlanModel& model, const std::string& address) {
  for (const Change& c : model.changes) {
    if (c.address == address) return c;
  }
  FAIL("no change of " + address);
  return model.changes[0];
}

}  // namespace

TEST_CASE("the plan of one of each kind: +2 ~1 -2, five in all") {
  auto model =
      read_plan(plan_of(entry("aws_vpc", R"(["create"])") + "," + entry("aws_subnet", R"(["update"])") + "," + entry("aws_security_group", R"(["delete"])") +
                        "," + entry("aws_instance", R"(["delete", "create"])") + "," + entry("aws_s3_bucket", R"(["no-op"])")));
  REQUIRE(model);
  CHECK(model->summary() == "+2 ~1 -2");
  CHECK(model->total == 5);
  REQUIRE(model->changes.size() == 4);  // the one without a change is counted and not listed
  CHECK(model->changes[0].address == "aws_instance.x");
  CHECK(model->changes[0].action == "replace");
  CHECK(model->changes[0].provider == "registry.terraform.io/hashicorp/aws");
  CHECK(find(*model, "aws_vpc.x").risk == "low");
  CHECK(find(*model, "aws_subnet.x").risk == "high");
  CHECK(find(*model, "aws_security_group.x").risk == "high");
}

TEST_CASE("nothing to do") {
  auto model = read_plan(plan_of(entry("aws_vpc", R"(["no-op"])")));
  REQUIRE(model);
  CHECK(model->summary() == "No changes");
  CHECK(model->total == 1);
  CHECK(read_plan(parse(R"({"format_version": "1.0"})"))->empty());
  auto output = read_plan(parse(R"({"format_version": "1.2", "output_changes": {"o": {"actions": ["create"]}, "same": {"actions": ["no-op"]}}})"));
  REQUIRE(output);
  CHECK(output->output_changes);
  CHECK(output->summary() == "+0 ~0 -0");
}

TEST_CASE("data sources are read, not changed; imports, forgets, deposed objects and both replacements") {
  auto model = read_plan(plan_of(
      R"({"address": "data.aws_ami.x", "mode": "data", "type": "aws_ami", "name": "x", "change": {"actions": ["read"], "before": null, "after": {}}},)" +
      entry("a_one", R"(["create", "delete"])", R"("before": {}, "after": {}, "replace_paths": [["tags", "a"], ["name"], ["tags", "b"]])") + "," +
      entry("a_two", R"(["no-op"])", R"("before": {}, "after": {}, "importing": {"id": "i-1"})") + "," + entry("a_three", R"(["forget"])") + "," +
      R"({"address": "a_one.x", "deposed": "abcd", "mode": "managed", "type": "a_one", "name": "x", "change": {"actions": ["delete"], "before": {"id": "1"}, "after": null}})"));
  REQUIRE(model);
  CHECK(model->total == 4);
  CHECK(model->summary() == "+1 ~0 -2");
  REQUIRE(model->changes.size() == 4);
  CHECK(model->changes[0].action == "replace");
  CHECK(model->changes[0].replace_because == std::vector<std::string>{"name", "tags"});
  CHECK(model->changes[1].deposed == "abcd");
  CHECK(find(*model, "a_two.x").action == "import");
  CHECK(find(*model, "a_two.x").import_id == "i-1");
  CHECK(find(*model, "a_three.x").risk == "low");
}

TEST_CASE("attributes: changed, unknown after apply, set at creation, lost at deletion") {
  auto model = read_plan(plan_of(
      entry("t_create", R"(["create"])",
            R"("before": null, "after": {"a": 1, "b": null}, "after_unknown": {"id": true, "c": {"d": [false]}, "e": [{"f": true}]})") +
      "," +
      entry("t_update", R"(["update"])",
            R"("before": {"a": 1, "b": [1], "s": "x"}, "after": {"a": 1, "b": [2], "s": "x"}, "before_sensitive": {}, "after_sensitive": {"s": true})") +
      "," + entry("t_delete", R"(["delete"])", R"("before": {"a": 1, "n": null}, "after": null)")));
  REQUIRE(model);
  CHECK(find(*model, "t_create.x").attributes == std::vector<std::string>{"a", "e", "id"});
  CHECK(find(*model, "t_update.x").attributes == std::vector<std::string>{"b", "s"});
  CHECK(find(*model, "t_delete.x").attributes == std::vector<std::string>{"a"});
}

TEST_CASE("drift is apart from changes") {
  auto model =
      read_plan(parse(R"({"format_version": "1.2", "resource_drift": [)" + entry("aws_vpc", R"(["update"])", R"("before": {"a": 1}, "after": {"a": 2})") + "," +
                      entry("aws_moved", R"(["no-op"])") + "]}"));
  REQUIRE(model);
  CHECK(model->empty());
  REQUIRE(model->drift.size() == 1);
  CHECK(model->drift[0].attributes == std::vector<std::string>{"a"});
}

TEST_CASE("what is not understood is an error") {
  for (const char* text : {"{}", "[]", R"({"format_version": "2.0"})", R"({"format_version": "10.1"})", R"({"format_version": "1.2", "errored": true})",
                           R"({"format_version": "1.2", "resource_changes": [{"mode": "managed"}]})",
                           R"({"format_version": "1.2", "resource_changes": [{"address": "a.b", "mode": "managed"}]})",
                           R"({"format_version": "1.2", "resource_changes": [{"address": "a.b", "change": {"actions": ["explode"]}}]})",
                           R"({"format_version": "1.2", "resource_changes": [{"address": "a.b", "change": {"actions": []}}]})",
                           R"({"format_version": "1.2", "resource_changes": [{"address": "a.b", "mode": "other", "change": {"actions": ["create"]}}]})"}) {
    INFO(text);
    CHECK_FALSE(read_plan(parse(text)));
  }
}

TEST_CASE("risk goes by action and type") {
  CHECK(risk_of("no-op", "aws_vpc") == "none");
  CHECK(risk_of("read", "aws_vpc") == "none");
  CHECK(risk_of("create", "aws_instance") == "low");
  CHECK(risk_of("create", "aws_iam_role") == "medium");
  CHECK(risk_of("update", "aws_instance") == "medium");
  CHECK(risk_of("update", "aws_db_instance") == "high");
  CHECK(risk_of("delete", "aws_instance") == "high");
  CHECK(risk_of("replace", "aws_instance") == "high");
  CHECK(risk_of("replace", "null_resource") == "low");
  CHECK(risk_of("replace", "random_password") == "high");
  CHECK(risk_of("forget", "aws_instance") == "low");
}

TEST_CASE("what is shown holds no sensitive value") {
  const json::Value document = parse(R"({"format_version": "1.2", "prior_state": {"values": "hunter-1"}, "planned_values": "hunter-2",
    "configuration": {"root_module": {"variables": {"open": {}, "pw": {"sensitive": true}}, "resources": "hunter-3"}},
    "variables": {"open": {"value": "fine"}, "pw": {"value": "hunter-4"}, "undeclared": {"value": "hunter-5"}},
    "resource_changes": [{"address": "a.b", "change": {"actions": ["update"], "before": {"x": "hunter-6", "y": "seen"}, "after": {"x": "hunter-7", "l": ["ok", {"p": "hunter-8"}]},
      "before_sensitive": {"x": true}, "after_sensitive": {"x": true, "l": [false, {"p": true}]}}}],
    "output_changes": {"o": {"actions": ["create"], "before": null, "after": "hunter-9", "before_sensitive": false, "after_sensitive": true}}})");
  const std::string shown = json::dump(redact_plan(document));
  CHECK(shown.find("hunter") == std::string::npos);
  for (const char* kept : {"fine", "seen", "ok", "a.b"}) CHECK(shown.find(kept) != std::string::npos);
}
