// What is around a template: layers of variables, outputs of others, credentials, repositories, gems and ConfigMaps that come and go; adoption.
#include "gem_version.h"
#include "gate.h"
#include "operator_fixture.h"
#include "template_work.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
using namespace std::chrono_literals;

namespace {

json::Value merged(const std::string& below, const std::string& above) {
  json::Value out = parse_json(below);
  deep_merge(out, parse_json(above));
  return out;
}

core_v1::Secret secret(const std::string& name, std::map<std::string, std::string> data) {
  core_v1::Secret s;
  s.metadata.namespace_ = "default";
  s.metadata.name = name;
  s.data = std::move(data);
  return s;
}

std::string message(const OperatorFixture& f, const std::string& name, const std::string& condition) {
  for (const auto& c : f.get(name).status.conditions) {
    if (c.type == condition) return c.message;
  }
  return "";
}

class GitRepository {
 public:
  GitRepository() { git("init -q -b main"); }
  void commit(const std::string& file, const std::string& text) {
    write_text(dir.path(file), text);
    git("add -A");
    git("-c user.name=t -c user.email=t@localhost commit -q -m change");
  }
  void git(const std::string& arguments) { REQUIRE(std::system(("git -C " + dir.path() + " " + arguments + " >/dev/null 2>&1").c_str()) == 0); }
  TempDir dir;
};

}  // namespace

TEST_CASE("variables: objects merge at every depth, everything else is replaced") {
  CHECK(merged(R"({"a": {"x": 1, "y": {"p": 1}}, "l": [1, 2, 3], "s": "old"})", R"({"a": {"y": {"q": 2}}, "l": [9], "s": null, "n": {"z": 1}})") ==
        parse_json(R"({"a": {"x": 1, "y": {"p": 1, "q": 2}}, "l": [9], "s": null, "n": {"z": 1}})"));
  CHECK(merged(R"({"a": {"x": 1}})", R"({"a": 7})") == parse_json(R"({"a": 7})"));
  CHECK(merged(R"({"a": 7})", R"({"a": {"x": 1}})") == parse_json(R"({"a": {"x": 1}})"));
}

TEST_CASE("variables: namespace, workspace, template, and a credential fills only what is open") {
  OperatorFixture f;
  f.place("dev", R"(, "defaultVariables": {"m": {"a": "n", "b": "n", "c": "n"}, "l": ["n", "n"], "api_token": "from the namespace"})");
  f.create("WorkspaceCatalog", "edge", R"({"variables": {"m": {"b": "w", "c": "w"}, "l": ["w"]}})");
  REQUIRE(f.client->create(secret("cf", {{"api_token", "tok-en-of-cloudflare"}, {"extra", "filled-from-secret"}})));
  f.apply(
      "t",
      R"({"variable": {"m": {}, "l": {}, "api_token": {}, "extra": {"sensitive": true}}, "output": {"m": {"value": "${var.m}"}, "l": {"value": "${var.l}"}, "t": {"value": "${var.api_token}"},
               "e": {"value": "${var.extra}", "sensitive": true}}})",
      R"("defaultDecision": "autoApply")", R"("variables": {"m": {"c": "t"}}, "providerCredentials": {"cloudflare": {"secretRef": {"name": "cf"}}})", "default",
      R"({"pangea.pleme.io/workspace": "edge"})");
  REQUIRE(f.applied("t"));
  const auto outputs = f.get("t").status.outputs;
  CHECK(outputs.at("m") == parse_json(R"({"a": "n", "b": "w", "c": "t"})"));
  CHECK(outputs.at("l") == parse_json(R"(["w"])"));
  CHECK(outputs.at("t") == json::Value("from the namespace"));
  CHECK(f.get("t").status.sensitive_outputs == std::vector<std::string>{"e"});
}

TEST_CASE("outputs of others: the real one, else the mock that is never applied, else waiting") {
  OperatorFixture f;
  f.place();
  const std::string uses =
      R"({"variable": {"id": {}}, "resource": {"terraform_data": {"a": {"input": "${var.id}"}}}, "output": {"got": {"value": "${terraform_data.a.output}"}}})";
  const std::string reference = R"("templateRef": {"name": "producer"}, "outputKey": "id")";
  f.apply("waits", uses, R"("defaultDecision": "autoApply")", R"("variableRefs": {"id": {)" + reference + "}}");
  f.apply("mocks", uses, R"("defaultDecision": "autoApply")", R"("variableRefs": {"id": {)" + reference + R"(, "mockOutput": "mock"}})");
  f.apply("other-key", uses, R"("defaultDecision": "autoApply")", R"("variableRefs": {"id": {"templateRef": {"name": "producer"}, "outputKey": "absent"}})");
  REQUIRE(f.has_reason("waits", "Verified", "WaitingForOutputs"));
  REQUIRE(f.has_reason("mocks", "Verified", "MockOutputsUsed"));
  // A mock reaches no apply, not by an approval, either.
  CHECK(f.get("mocks").status.pending_plan_hash.empty());
  for (int i = 0; i < 10; ++i) f.clock.advance(1min);
  CHECK(f.get("mocks").status.last_applied_at.is_zero());
  f.apply("producer",
          R"({"resource": {"random_password": {"p": {"length": 24}}}, "output": {"id": {"value": "${random_password.p.result}", "sensitive": true}}})");
  REQUIRE(f.applied("producer"));
  CHECK(f.applied("waits"));
  CHECK(f.applied("mocks"));
  CHECK(f.get("mocks").status.outputs == f.get("waits").status.outputs);
  CHECK(f.get("mocks").status.outputs.at("got").as_string().size() == 24);
  CHECK(f.has_reason("other-key", "Verified", "WaitingForOutputs"));
}

TEST_CASE("credentials: other names of keys, a GitHub App all or none, no known key, no such provider") {
  OperatorFixture f;
  f.place();
  REQUIRE(f.client->create(secret("alias", {{"CF_API_TOKEN", "tok-en-of-cloudflare"}})));
  REQUIRE(f.client->create(secret("app-part", {{"app_id", "1"}, {"private_key", "pem-pem-pem"}})));
  REQUIRE(f.client->create(secret("app", {{"app_id", "1"}, {"installation_id", "2"}, {"private_key", "pem-pem-pem"}})));
  REQUIRE(f.client->create(secret("nothing", {{"unknown", "value-of-nothing"}})));
  const std::string policy = R"("defaultDecision": "autoApply")";
  f.apply("alias", kNothing, policy, R"("providerCredentials": {"cloudflare": {"secretRef": {"name": "alias"}}})");
  f.apply("app", kNothing, policy, R"("providerCredentials": {"github": {"secretRef": {"name": "app"}}})");
  f.apply("app-part", kNothing, policy, R"("providerCredentials": {"github": {"secretRef": {"name": "app-part"}}})");
  f.apply("nothing", kNothing, policy, R"("providerCredentials": {"datadog": {"secretRef": {"name": "nothing"}}})");
  f.apply("absent", kNothing, policy, R"("providerCredentials": {"datadog": {"secretRef": {"name": "absent"}}})");
  CHECK(f.applied("alias"));
  CHECK(f.applied("app"));
  for (const auto& [name, says] : {std::pair("app-part", "missing: installation_id"), {"nothing", "none of the keys"}, {"absent", "not found"}}) {
    INFO(name);
    REQUIRE(f.becomes(name, "Failed"));
    CHECK(f.get(name).status.failure_kind == "WorkspaceInvalid");
    CHECK(f.get(name).status.last_error.find(says) != std::string::npos);
    CHECK(f.get(name).status.last_error.find("pem-pem") == std::string::npos);
  }
  // Nothing is dropped in silence: an unknown provider or executor is told of (strict), or refused by the schema.
  auto made = f.client->request(
      "POST", "/apis/pangea.pleme.io/v1/namespaces/default/infrastructuretemplates?fieldValidation=Strict", "application/json",
      R"({"apiVersion": "pangea.pleme.io/v1", "kind": "InfrastructureTemplate", "metadata": {"name": "strange"}, "spec": {"pangeaNamespace": "dev", "source": {"inline": "{}"},
                                "providerCredentials": {"hetzner": {"secretRef": {"name": "x"}}}}})");
  REQUIRE_FALSE(made);
  CHECK(made.error().message().find("hetzner") != std::string::npos);
  made = f.client->request(
      "POST", "/apis/pangea.pleme.io/v1/namespaces/default/infrastructuretemplates", "application/json",
      R"({"apiVersion": "pangea.pleme.io/v1", "kind": "InfrastructureTemplate", "metadata": {"name": "strange"}, "spec": {"pangeaNamespace": "dev", "source": {"inline": "{}"}, "executor": "pulumi"}})");
  REQUIRE_FALSE(made);
  CHECK(made.error().message().find("pulumi") != std::string::npos);
}

TEST_CASE("version constraints, as RubyGems means them") {
  struct Case {
    const char *version, *constraint;
    bool good;
  };
  for (const Case& c : {Case{"1.2.3", "", true},
                        {"1.2.3", "1.2.3", true},
                        {"1.2.3", "= 1.2", false},
                        {"1.2.0", "= 1.2", true},
                        {"1.2.3", ">= 1.0, < 2", true},
                        {"2.0", ">= 1.0, < 2", false},
                        {"1.9", "~> 1.2", true},
                        {"2.0", "~> 1.2", false},
                        {"1.2.9", "~> 1.2.3", true},
                        {"1.3.0", "~> 1.2.3", false},
                        {"1.2.2", "~> 1.2.3", false},
                        {"1.10", "> 1.9", true},
                        {"1.0.rc1", ">= 1.0", false},
                        {"1.0.rc1", "< 1.0", true},
                        {"1.0", "!= 1.0", false},
                        {"3", "~> 2", false},
                        {"2.9", "~> 2", true}}) {
    INFO(c.version << " " << c.constraint);
    auto good = version_satisfies(c.version, c.constraint);
    REQUIRE(good);
    CHECK(*good == c.good);
  }
  for (const char* bad : {"latest", ">= ", "=> 1", ">= 1.0 < 2", "~>"}) {
    INFO(bad);
    CHECK_FALSE(version_satisfies("1.0", bad));
  }
}

TEST_CASE("the gate: template, catalog, controller, global; the first that says something") {
  // Each level is silent, stops or lets through; what the first that speaks says is done.
  for (int n = 0; n < 3 * 3 * 3 * 2; ++n) {
    const int of_template = n % 3, of_catalog = n / 3 % 3, of_controller = n / 9 % 3;
    const bool of_all = n / 27 == 1;
    INFO(of_template << of_catalog << of_controller << of_all);
    static const char* const states[] = {"inherit", "paused", "active"};
    pangea_v1::OperatorPolicy policy;
    policy.spec.global_suspend = of_all;
    auto& own = policy.spec.workspace_suspend.ensure();
    own.templates["ns/t"].state = states[of_template];
    own.templates["ns/t"].reason = "why";
    own.catalogs["edge"].state = states[of_catalog];
    if (of_controller > 0) policy.spec.controller_suspend.ensure().template_ = of_controller == 1;
    const Gate g = gate(&policy, "template", "ns/t", "edge");
    const int first = of_template != 0 ? of_template : of_catalog != 0 ? of_catalog : of_controller != 0 ? of_controller : of_all ? 1 : 2;
    CHECK(g.run == (first == 2));
    if (!g.run) CHECK(g.source == (of_template == 1 ? "template" : of_catalog == 1 ? "catalog" : of_controller == 1 ? "controller" : "global"));
    // A template of another name, or in no workspace, is not meant.
    const Gate stranger = gate(&policy, "template", "ns/u", "");
    CHECK(stranger.run == (of_controller != 0 ? of_controller == 2 : !of_all));
    // Another controller hears of its own and of the global word alone.
    CHECK(gate(&policy, "architectureGem", "t", "").run == !of_all);
  }
  CHECK(gate(nullptr, "template", "ns/t", "").run);
}

TEST_CASE("a repository that moves on, is out of reach, and is not where templates may have theirs") {
  OperatorFixture f(false);
  GitRepository repository, elsewhere;
  f.options.template_repositories = {repository.dir.path()};
  f.start();
  f.place();
  repository.commit("main.tf.json", R"({"resource": {"terraform_data": {"a": {"input": "1"}}}, "output": {"o": {"value": "${terraform_data.a.output}"}}})");
  elsewhere.commit("main.tf.json", kNothing);
  auto of = [&](const std::string& name, const std::string& source) {
    f.create("InfrastructureTemplate", name,
             R"({"pangeaNamespace": "dev", "source": )" + source +
                 R"(, "policy": {"defaultDecision": "autoApply", "destroyProtection": false, "reconcileInterval": "1m"}})",
             "default");
  };
  of("t", R"({"git": "file://)" + repository.dir.path() + R"(", "path": "main.tf.json"})");
  REQUIRE(f.applied("t"));
  const std::string first = f.get("t").status.compiled_revision;
  CHECK(first.size() == 40);
  CHECK(f.reason("t", "SourceFresh") == "AtHead");
  // Another commit: rendered and applied anew.
  repository.commit("main.tf.json", R"({"resource": {"terraform_data": {"a": {"input": "2"}}}, "output": {"o": {"value": "${terraform_data.a.output}"}}})");
  REQUIRE(f.until([&] { return f.get("t").status.outputs.at("o") == json::Value("2"); }, 1s));
  REQUIRE(f.becomes("t", "Ready"));
  CHECK(f.get("t").status.compiled_revision != first);
  CHECK(f.get("t").status.last_applied_revision == f.get("t").status.compiled_revision);
  CHECK(f.events("t", "SourceStale") >= 1);
  // Out of reach: what was rendered goes on, drift and all, and an event tells.
  std::filesystem::rename(repository.dir.path(".git"), repository.dir.path("away"));
  const auto checked = f.get("t").status.last_drift_check_at;
  REQUIRE(f.until([&] { return f.events("t", "SourceUnobservable") >= 1; }, 1s));
  CHECK(f.until([&] { return f.get("t").status.last_drift_check_at != checked; }, 1s));
  CHECK(f.get("t").status.phase == "Ready");
  std::filesystem::rename(repository.dir.path("away"), repository.dir.path(".git"));
  // From elsewhere, by any spelling, and by a way out of the tree.
  of("outside", R"({"git": "file://)" + elsewhere.dir.path() + R"(", "path": "main.tf.json"})");
  of("plain", R"({"git": ")" + elsewhere.dir.path() + R"(", "path": "main.tf.json"})");
  of("dots", R"({"git": "file://)" + repository.dir.path() + "/../" + std::filesystem::path(elsewhere.dir.path()).filename().string() +
                 R"(", "path": "main.tf.json"})");
  for (const char* name : {"outside", "plain", "dots"}) {
    INFO(name);
    CHECK(f.until([&] { return f.get(name).status.last_error.find("not in a directory that file sources may be in") != std::string::npos; }));
    CHECK(f.get(name).status.last_applied_at.is_zero());
  }
  write_text(f.dir.path("outside.json"), kNothing);
  of("path", R"({"git": "file://)" + repository.dir.path() + R"(", "path": "../../../../../../)" + f.dir.path("outside.json") + R"("})");
  CHECK(f.until([&] { return f.get("path").status.consecutive_compile_failures > 0; }));
  CHECK(f.get("path").status.last_applied_at.is_zero());
}

TEST_CASE("a stale rendering is never settled") {
  OperatorFixture f(false);
  GitRepository repository;
  f.options.template_repositories = {repository.dir.path()};
  f.start();
  f.place();
  repository.commit("main.tf.json", f.files(1));
  f.create("InfrastructureTemplate", "t",
           R"({"pangeaNamespace": "dev", "source": {"git": "file://)" + repository.dir.path() +
               R"(", "path": "main.tf.json"}, "policy": {"defaultDecision": "requireApproval",
           "destroyProtection": false, "reconcileInterval": "1m"}})",
           "default");
  REQUIRE(f.approve("t", f.pending("t")).ok());
  REQUIRE(f.applied("t"));
  std::filesystem::remove(f.file(0));
  REQUIRE(f.becomes("t", "Drifted", 2s));
  CHECK(f.truth("t", "Settled") == "False");
  // In one moment the drift is gone, and the source has moved on.
  const std::string stale = f.get("t").status.compiled_revision;
  f.stop();
  write_text(f.file(0), "text of f0");
  repository.commit("other.json", "{}");
  f.start();
  REQUIRE(f.until(
      [&] {
        const auto t = f.get("t");
        const bool settled = f.truth("t", "Settled") == "True";
        if (settled) CHECK(t.status.compiled_revision != stale);
        return settled;
      },
      2s));
}

TEST_CASE("what goes away under a template's feet: its ConfigMap, its place, its gem") {
  OperatorFixture f;
  f.place();
  core_v1::ConfigMap map;
  map.metadata.namespace_ = "default";
  map.metadata.name = "source";
  map.data["main"] = R"({"output": {"o": {"value": "1"}}, "resource": {"null_resource": {"a": {}}}})";
  REQUIRE(f.client->create(map));
  f.create(
      "InfrastructureTemplate", "t",
      R"({"pangeaNamespace": "dev", "source": {"configMapRef": {"name": "source", "key": "main"}}, "policy": {"defaultDecision": "autoApply", "reconcileInterval": "1m"}})",
      "default");
  REQUIRE(f.applied("t"));
  // Gone: what was rendered goes on being looked after.
  REQUIRE(f.client->remove<core_v1::ConfigMap>("default", "source").ok());
  const auto checked = f.get("t").status.last_drift_check_at;
  CHECK(f.until([&] { return f.get("t").status.last_drift_check_at != checked; }, 1s));
  CHECK(f.get("t").status.phase == "Ready");
  // Asked for anew it cannot be rendered, says so, and heals when the ConfigMap is there again.
  f.command("t", "reconcile");
  REQUIRE(f.until([&] { return f.get("t").status.last_error.find("SourceUnavailable") != std::string::npos; }));
  map.data["main"] = R"({"output": {"o": {"value": "2"}}, "resource": {"null_resource": {"a": {}}}})";
  REQUIRE(f.client->create(map));
  CHECK(f.until([&] { return f.get("t").status.phase == "Ready" && f.get("t").status.outputs.at("o") == json::Value("2"); }, 1s));

  // A gem that goes: the template that was rendered with it waits, and says for what.
  f.patch("t", R"({"requiredGem": "absent"})");
  REQUIRE(f.has_reason("t", "Verified", "GemNotFound"));
  CHECK(message(f, "t", "Verified") == "there is no ArchitectureGem absent");
  CHECK_FALSE(f.get("t").status.last_applied_at.is_zero());
}

TEST_CASE("adoption: by a hint, after a conflict, and never without being part of the plan") {
  OperatorFixture f;
  f.place();
  const std::string there = R"({"id": "$", "name": "$", "mode": "exists", "secret": null, "serial": 1, "size": 5, "zone": null, "rule": []})";
  auto exists = [&](const std::string& name) {
    std::string text = there;
    for (size_t at = text.find('$'); at != std::string::npos; at = text.find('$')) text.replace(at, 1, name);
    write_text(f.provider.cloud() + "/" + name + ".json", text);
  };
  for (const char* name : {"hinted", "met", "unknown", "asked"}) exists(name);
  auto thing = [&](const std::string& name) { return f.things("\"a\": {\"name\": \"" + name + R"(", "mode": "exists", "size": 5})"); };
  const std::string policy = R"("defaultDecision": "autoApply", "destroyProtection": false)";
  f.apply("hinted", thing("hinted"), policy, R"("variables": {"who": "hinted"}, "importHints": {"test_thing.a": "{{ .who }}"})");
  REQUIRE(f.applied("hinted"));
  auto made = [&] {
    const auto log = f.provider.log();
    return std::count_if(log.begin(), log.end(), [](const std::string& line) { return !line.starts_with("update "); });
  };
  CHECK(made() == 0);
  REQUIRE_FALSE(f.receipts("hinted").empty());
  INFO(json::dump(k8s::to_json(f.receipts("hinted")[0])));
  CHECK(f.receipts("hinted")[0].spec.summary->imported + f.receipts("hinted")[0].spec.summary->updated == 1);

  f.apply("met", thing("met"), policy, R"("importPolicy": {"autoOnConflict": true, "naturalIds": {"test_thing": "{{ .planned.name }}"}})");
  REQUIRE(f.applied("met"));
  CHECK(f.get("met").status.adopt == std::map<std::string, std::string>{{"test_thing.a", "met"}});
  CHECK(made() == 0);

  // Without the permission it is a failure with a name; with it and no way to the id, too.
  f.apply("unknown", thing("unknown"), policy);
  REQUIRE(f.becomes("unknown", "Failed"));
  CHECK(f.get("unknown").status.failure_kind == "ObjectExistsUntracked");
  f.patch("unknown", R"({"importPolicy": {"autoOnConflict": true}})");
  CHECK(f.until([&] { return f.events("unknown", "ImportIdUnknown") >= 1; }));

  // The plan with the adoption is another plan: it is asked about again.
  f.apply("asked", thing("asked"), R"("defaultDecision": "requireApproval", "destroyProtection": false)",
          R"("importPolicy": {"autoOnConflict": true, "naturalIds": {"test_thing": "{{ .planned.name }}"}})");
  const std::string first = f.pending("asked");
  REQUIRE(f.approve("asked", first).ok());
  const std::string second = f.pending("asked", first);
  CHECK_FALSE(second.empty());
  CHECK(f.get("asked").status.last_applied_at.is_zero());
  REQUIRE(f.approve("asked", second).ok());
  CHECK(f.applied("asked"));
  // A hint at what the configuration does not have is named.
  f.apply("wrong", thing("hinted"), policy, R"("importHints": {"test_thing.b": "x"})");
  REQUIRE(f.becomes("wrong", "Failed"));
  CHECK(f.get("wrong").status.last_error.find("test_thing.b") != std::string::npos);
}

TEST_CASE("an adoption that would replace or delete is asked about, or refused, like any other change") {
  OperatorFixture f;
  f.place();
  write_text(f.provider.cloud() + "/eks.json",
             R"({"id": "eks", "name": "eks", "mode": null, "secret": null, "serial": 1, "size": null, "zone": "old", "rule": []})");
  f.apply("t", f.things(R"("a": {"name": "eks", "zone": "new"})"), R"("defaultDecision": "autoApply")", R"("importHints": {"test_thing.a": "eks"})");
  REQUIRE(f.becomes("t", "Failed"));
  CHECK(f.get("t").status.failure_kind == "DestroyBlocked");
  CHECK(f.provider.log().empty());
}
