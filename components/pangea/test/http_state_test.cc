#include "engenho/pangea/http_state.h"

#include <iostream>

#include "engenho/base/bytes.h"
#include "engenho/base/process.h"
#include "engenho/http/client.h"
#include "state_listener.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

std::string document(uint64_t serial, const std::string& lineage = "l", const std::string& more = "") {
  return R"({"version": 4, "serial": )" + std::to_string(serial) + R"(, "lineage": ")" + lineage + R"(", "outputs": {)" + more + R"(}, "resources": []})";
}
std::string lock_body(const std::string& id, const std::string& who = "me@here") {
  return R"({"ID":")" + id + R"(","Operation":"OperationTypeApply","Info":"i","Who":")" + who +
         R"(","Version":"1.11.4","Created":"2026-01-02T03:04:05.6Z","Path":""})";
}
StateRequest request(const std::string& method, const std::string& body = "", const std::string& id = "") {
  StateRequest out;
  out.method = method;
  out.body = body;
  out.lock_id = id;
  return out;
}

// What holds over any store.
void protocol(const std::function<HttpState&()>& backend) {
  CHECK(backend().handle(request("GET")).status == 404);
  CHECK(backend().handle(request("PATCH")).status == 405);
  CHECK(backend().handle(request("LOCK", "{}")).status == 400);
  CHECK(backend().handle(request("LOCK", lock_body("A"))).status == 200);
  CHECK(backend().handle(request("LOCK", lock_body("A"))).status == 200);  // its answer was lost
  const StateAnswer refused = backend().handle(request("LOCK", lock_body("B")));
  CHECK(refused.status == 423);
  CHECK(parse_json(refused.body).str_at({"ID"}) == "A");
  CHECK(parse_json(refused.body).str_at({"Who"}) == "me@here");
  CHECK(parse_json(refused.body).str_at({"Operation"}) == "OperationTypeApply");
  CHECK(backend().handle(request("POST", document(1), "B")).status == 423);
  CHECK(backend().handle(request("POST", document(1))).status == 423);
  CHECK(backend().handle(request("POST", document(1), "A")).status == 200);
  CHECK(backend().handle(request("POST", document(1), "A")).status == 200);  // the same again
  CHECK(backend().handle(request("POST", document(1, "l", R"("x": {"value": 1, "type": "number"})"), "A")).status == 409);
  CHECK(backend().handle(request("POST", document(5), "A")).status == 200);
  CHECK(backend().handle(request("POST", document(4), "A")).status == 409);
  CHECK(backend().handle(request("POST", document(6, "other"), "A")).status == 409);
  for (const char* bad : {"", "x", "[]", R"({"version": 3, "serial": 9, "lineage": "l"})"}) CHECK(backend().handle(request("POST", bad, "A")).status == 400);
  StateRequest damaged = request("POST", document(6), "A");
  damaged.content_md5 = "AAAAAAAAAAAAAAAAAAAAAA==";
  CHECK(backend().handle(damaged).status == 400);
  CHECK(backend().handle(request("UNLOCK", lock_body("B"))).status == 423);
  CHECK(backend().handle(request("UNLOCK", "not JSON")).status == 400);
  CHECK(backend().handle(request("UNLOCK", "{}")).status == 400);
  CHECK(backend().handle(request("UNLOCK", lock_body("A"))).status == 200);
  CHECK(backend().handle(request("UNLOCK", lock_body("A"))).status == 200);
  CHECK(backend().handle(request("POST", document(6), "A")).status == 409);  // the lock is not held any more
  CHECK(backend().handle(request("POST", document(6))).status == 200);       // terraform -lock=false
  CHECK(backend().handle(request("LOCK", lock_body("C"))).status == 200);
  CHECK(backend().handle(request("UNLOCK")).status == 200);  // broken by force
  CHECK(backend().handle(request("POST", document(7), "C")).status == 409);
  CHECK(backend().handle(request("LOCK", lock_body("D"))).status == 200);
  const StateAnswer got = backend().handle(request("GET"));
  CHECK(got.status == 200);
  CHECK(got.body == document(6));
  CHECK(got.content_md5.size() == 24);
  StateRequest good = request("POST", got.body, "D");
  good.content_md5 = got.content_md5;
  CHECK(backend().handle(good).status == 200);
}

}  // namespace

TEST_CASE("terraform's http backend over any store") {
  auto state = magma::make_memory_state();
  HttpState backend(*state);
  protocol([&]() -> HttpState& { return backend; });
  CHECK(backend.handle(request("DELETE", "", "D")).status == 405);
}

TEST_CASE("terraform's http backend over the cluster, a new instance for each request") {
  Cluster cluster;
  auto client = cluster.client();
  ClusterStateOptions options;
  options.renew = false;
  options.lease = HttpState::kClientLease;
  std::unique_ptr<ClusterState> state;
  std::unique_ptr<HttpState> backend;
  protocol([&]() -> HttpState& {
    backend.reset();
    state = std::make_unique<ClusterState>(client, StateName{"dev", "default", "web"}, options);
    backend = std::make_unique<HttpState>(*state);
    return *backend;
  });
  CHECK(backend->handle(request("DELETE")).status == 423);
  CHECK(backend->handle(request("DELETE", "", "D")).status == 200);
  CHECK(backend->handle(request("GET")).status == 404);
  CHECK((*state->versions())[0].serial == 6);
}

TEST_CASE("the listener wants its password") {
  auto state = magma::make_memory_state(document(1));
  auto listener = StateListener::start(*state, 0, "open sesame");
  REQUIRE(listener);
  http::Client client;
  auto ask = [&](const std::string& url, const std::string& password) {
    http::ClientRequest r;
    r.url = url;
    if (!password.empty()) r.headers.add("Authorization", "Basic " + base64_encode("pangea:" + password));
    auto answer = client.send(r);
    REQUIRE(answer);
    return *answer;
  };
  CHECK(ask((*listener)->url(), "").status == 401);
  CHECK(ask((*listener)->url(), "wrong").status == 401);
  CHECK(ask((*listener)->url() + "x", "open sesame").status == 404);
  CHECK(ask((*listener)->url() + "?ID=x", "open sesame").body == document(1));
  // The same port is not to be had twice: another one is taken.
  auto second = StateListener::start(*state, (*listener)->port(), "x");
  REQUIRE(second);
  CHECK((*second)->port() != (*listener)->port());
}

TEST_CASE("terraform itself, from outside: init, plan, apply, a lock that another holds, force-unlock") {
  const std::string program = !find_program("terraform").empty() ? find_program("terraform") : find_program("tofu");
  if (program.empty()) {
    std::cout << "SKIPPED: neither terraform nor tofu is in PATH\n";
    return;
  }
  Cluster cluster;
  TempDir dir;
  ClusterStateOptions options;
  options.renew = false;
  options.lease = HttpState::kClientLease;
  ClusterState state(cluster.client(), StateName{"dev", "default", "web"}, options);
  auto listener = StateListener::start(state, 0, "open sesame");
  REQUIRE(listener);
  write_text(dir.path("w/main.tf.json"),
             R"({"terraform": {"backend": {"http": {}}}, "variable": {"v": {"default": "1"}}, "resource": {"terraform_data": {"a": {"input": "${var.v}"}}}})");
  write_text(dir.path("rc"), "disable_checkpoint = true\n");
  const std::string url = (*listener)->url();
  auto terraform = [&](std::vector<std::string> arguments) {
    ProcessOptions child;
    child.argv = {program};
    child.argv.insert(child.argv.end(), arguments.begin(), arguments.end());
    child.cwd = dir.path("w");
    child.env = {"PATH=/usr/bin:/bin",           "HOME=" + dir.path(),          "TF_CLI_CONFIG_FILE=" + dir.path("rc"), "TF_IN_AUTOMATION=1",
                 "TF_HTTP_ADDRESS=" + url,       "TF_HTTP_LOCK_ADDRESS=" + url, "TF_HTTP_UNLOCK_ADDRESS=" + url,        "TF_HTTP_USERNAME=pangea",
                 "TF_HTTP_PASSWORD=open sesame", "TF_HTTP_RETRY_MAX=0"};
    auto out = run_process(child, std::chrono::seconds(60));
    REQUIRE(out);
    return *out;
  };
  REQUIRE(terraform({"init", "-input=false", "-no-color"}).exit_code == 0);
  REQUIRE(terraform({"plan", "-input=false", "-no-color", "-out=p"}).exit_code == 0);
  REQUIRE(terraform({"apply", "-input=false", "-no-color", "p"}).exit_code == 0);
  CHECK(terraform({"state", "list"}).out == "terraform_data.a\n");
  CHECK(state.current()->serial == 1);
  CHECK_FALSE(state.holder()->has_value());
  // Another one has it, and died.
  magma::LockInfo info;
  info.who = "somebody else";
  info.operation = "apply";
  auto token = ClusterState(cluster.client(), StateName{"dev", "default", "web"}, options).lock(info);
  REQUIRE(token);
  auto refused = terraform({"apply", "-input=false", "-no-color", "-auto-approve", "-var=v=2"});
  INFO(refused.err);
  CHECK(refused.exit_code == 1);
  CHECK(refused.err.find("Error acquiring the state lock") != std::string::npos);
  CHECK(refused.err.find("ID=" + (*state.holder())->id) != std::string::npos);  // whoever holds it
  CHECK(classify_failure(refused.err).kind == FailureKind::kStateLocked);
  const std::string id = (*state.holder())->id;
  REQUIRE(terraform({"force-unlock", "-force", "-no-color", id}).exit_code == 0);
  CHECK_FALSE(state.holder()->has_value());
  CHECK(terraform({"apply", "-input=false", "-no-color", "-auto-approve", "-var=v=2"}).exit_code == 0);
  CHECK(state.current()->serial == 2);
  CHECK(state.versions()->size() == 2);
  // Going back by hand is refused.
  write_text(dir.path("w/old.tfstate"), *state.read_version(1));
  auto back = terraform({"state", "push", "-force", "old.tfstate"});
  CHECK(back.exit_code == 1);
  CHECK(state.current()->serial == 2);
  // And magma reads what terraform wrote.
  Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"a": {"input": "2"}}}})", "m");
  CHECK((*make_executor("magma", {}))->plan(w, state, {}, {})->model.empty());
}
