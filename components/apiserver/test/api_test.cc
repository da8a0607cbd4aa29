// The whole server over a real store, driven through the handler interface: no sockets.
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "engenho/apiserver/server.h"
#include "engenho/base/bytes.h"
#include "engenho/base/json.h"
#include "engenho/base/random.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/pki/certificate.h"
#include "engenho/testing/catch.h"

using namespace engenho;

namespace {

class Call final : public http::Exchange {
 public:
  Call(std::string method, std::string target, std::string body, std::string type) {
    request_.method = std::move(method);
    request_.target = std::move(target);
    request_.body = std::move(body);
    request_.headers.add("Content-Type", std::move(type));
    request_.headers.add("Accept", "application/json");
    request_.headers.add("User-Agent", "test/1");
    request_.connection = std::make_shared<http::ConnectionInfo>();
  }
  void respond(int status, http::Headers headers, http::Body body) override {
    std::lock_guard lock(mutex_);
    code = status;
    text = body.to_string();
    answer_headers = std::move(headers);
    done_ = true;
    cv_.notify_all();
  }
  void start(int status, http::Headers) override {
    std::lock_guard lock(mutex_);
    code = status;
  }
  bool write(http::Body body) override {
    std::lock_guard lock(mutex_);
    text += body.to_string();
    cv_.notify_all();
    return !done_;
  }
  size_t queued_bytes() const override { return 0; }
  void on_drain(size_t, std::function<void()> fn) override { fn(); }
  void finish() override {
    std::lock_guard lock(mutex_);
    done_ = true;
    cv_.notify_all();
  }
  void abort() override { finish(); }
  void on_close(std::function<void()> fn) override { close_ = std::move(fn); }
  bool closed() const override { return done_; }
  Result<std::unique_ptr<http::Stream>> upgrade(http::Headers) override { return err(bad_request("no")); }

  void wait() {
    std::unique_lock lock(mutex_);
    REQUIRE(cv_.wait_for(lock, std::chrono::seconds(20), [&] { return done_.load(); }));
  }
  // Until the stream has that many lines.
  std::vector<json::Value> lines(size_t count) {
    std::unique_lock lock(mutex_);
    auto have = [&] { return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')); };
    REQUIRE(cv_.wait_for(lock, std::chrono::seconds(20), [&] { return have() >= count; }));
    std::vector<json::Value> out;
    size_t from = 0, end;
    while ((end = text.find('\n', from)) != std::string::npos) {
      out.push_back(*json::parse(std::string_view(text).substr(from, end - from)));
      from = end + 1;
    }
    return out;
  }
  void leave() {
    done_ = true;
    if (close_) close_();
  }
  int code = 0;
  std::string text;
  http::Headers answer_headers;

 private:
  std::mutex mutex_;
  std::condition_variable cv_;
  std::atomic<bool> done_{false};
  std::function<void()> close_;
};

struct Answer {
  int code;
  json::Value body;
  std::vector<std::string> warnings;
};

class Fixture {
 public:
  Fixture() : dir_((std::filesystem::temp_directory_path() / ("engenho-api-" + random_name_suffix(8))).string()) {
    datastore::RocksdbOptions store_options;
    store_options.dir = dir_;
    store_options.fsync = false;
    auto store = datastore::open_rocksdb_store(store_options);
    REQUIRE(store);
    store_ = std::move(*store);
    user_.name = "tester";
    user_.groups = {"system:masters"};
    start();
  }
  // On the store as it is: a second time is a restart.
  void start() {
    if (server_) server_->stop();
    server_.reset();
    apiserver::Options options;
    options.store = store_.get();
    options.service_account_key = *pki::PrivateKey::generate();
    options.advertise_address = "192.0.2.1";
    auto server = apiserver::ApiServer::create(std::move(options));
    REQUIRE(server);
    server_ = std::move(*server);
    REQUIRE(server_->start().ok());
  }
  // Asks until the answer has this code.
  Answer until(int code, const std::string& method, const std::string& target, const std::string& body = "") {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (;;) {
      Answer answer = call(method, target, body);
      if (answer.code == code || std::chrono::steady_clock::now() > deadline) return answer;
      std::this_thread::yield();
    }
  }
  ~Fixture() {
    server_->stop();
    server_.reset();
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  Answer call(const std::string& method, const std::string& target, const std::string& body = "", const std::string& type = "application/json") {
    auto c = std::make_shared<Call>(method, target, body, type);
    server_->handle_as(c, user_);
    c->wait();
    auto parsed = json::parse(c->text);
    Answer out{c->code, parsed ? *parsed : json::Value(c->text), {}};
    for (std::string_view w : c->answer_headers.all("Warning")) out.warnings.emplace_back(w);
    return out;
  }
  std::shared_ptr<Call> open(const std::string& target) {
    auto c = std::make_shared<Call>("GET", target, "", "");
    server_->handle_as(c, user_);
    return c;
  }
  apiserver::UserInfo user_;

 private:
  std::string dir_;
  std::unique_ptr<datastore::Store> store_;
  std::unique_ptr<apiserver::ApiServer> server_;
};

constexpr char kMaps[] = "/api/v1/namespaces/default/configmaps";
std::string map(const std::string& name, const std::string& value) {
  return R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":")" + name + R"("},"data":{"k":")" + value + "\"}}";
}

}  // namespace

TEST_CASE("create, read, update, conflict, delete", "[api]") {
  Fixture api;
  const Answer created = api.call("POST", kMaps, map("a", "1"));
  REQUIRE(created.code == 201);
  CHECK(created.body.str_at({"metadata", "uid"}).size() == 36);
  CHECK(api.call("POST", kMaps, map("a", "1")).body.str_at({"reason"}) == "AlreadyExists");
  const Answer got = api.call("GET", std::string(kMaps) + "/a");
  CHECK(got.code == 200);
  CHECK(got.body == created.body);
  json::Value next = got.body;
  next["data"]["k"] = "2";
  const Answer updated = api.call("PUT", std::string(kMaps) + "/a", json::dump(next));
  CHECK(updated.code == 200);
  const Answer same = api.call("PUT", std::string(kMaps) + "/a", json::dump(updated.body));  // nothing to change: nothing is written
  CHECK(same.body.str_at({"metadata", "resourceVersion"}) == updated.body.str_at({"metadata", "resourceVersion"}));
  next["data"]["k"] = "3";
  const Answer stale = api.call("PUT", std::string(kMaps) + "/a", json::dump(next));
  CHECK(stale.code == 409);
  CHECK(stale.body.str_at({"reason"}) == "Conflict");
  CHECK(api.call("DELETE", std::string(kMaps) + "/a").body.str_at({"status"}) == "Success");
  CHECK(api.call("GET", std::string(kMaps) + "/a").code == 404);
  CHECK(api.call("DELETE", std::string(kMaps) + "/a").code == 404);
}

TEST_CASE("bad input gets an error that says what is wrong", "[api]") {
  Fixture api;
  CHECK(api.call("POST", kMaps, "{\"kind\":").code == 400);
  CHECK(api.call("POST", kMaps, "[]").code == 400);
  CHECK(api.call("POST", kMaps, map("a/b", "1")).code == 422);
  const std::string unknown = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"u"},"dat":{}})";
  const Answer strict = api.call("POST", std::string(kMaps) + "?fieldValidation=Strict", unknown);
  CHECK(strict.code == 400);
  CHECK(strict.body.str_at({"message"}).find("unknown field \"dat\"") != std::string_view::npos);
  const Answer warned = api.call("POST", kMaps, unknown);
  CHECK(warned.code == 201);
  REQUIRE(warned.warnings.size() == 1);
  CHECK(warned.warnings[0].find("unknown field") != std::string::npos);
  CHECK(api.call("POST", std::string(kMaps) + "?fieldValidation=Ignore&dryRun=All",
                 R"({"metadata":{"name":"i"},"dat":{}})").warnings.empty());
  CHECK(api.call("POST", kMaps, "metadata: {name: y}\ndata: {a: b, a: c}\n", "application/yaml").warnings.size() == 1);
  CHECK(api.call("POST", "/apis/apps/v1/namespaces/default/deployments",
                 R"({"metadata":{"name":"d"},"spec":{"replicas":"three"}})").code == 400);
  CHECK(api.call("POST", kMaps, map("big", std::string(4 << 20, 'x'))).code == 413);
  CHECK(api.call("GET", "/api/v1/namespaces/default/nothings").code == 404);
  CHECK(api.call("POST", kMaps, map("t", "1"), "text/plain").code == 415);
}

TEST_CASE("lists page over one snapshot", "[api]") {
  Fixture api;
  for (int i = 0; i < 7; ++i) REQUIRE(api.call("POST", kMaps, map("m" + std::to_string(i), "1")).code == 201);
  Answer page = api.call("GET", std::string(kMaps) + "?limit=3");
  CHECK(page.body.get("items")->items().size() == 3);
  const std::string version(page.body.str_at({"metadata", "resourceVersion"}));
  // What is written between the pages is not in them.
  REQUIRE(api.call("POST", kMaps, map("m9", "1")).code == 201);
  REQUIRE(api.call("DELETE", std::string(kMaps) + "/m6").code == 200);
  size_t seen = 3;
  bool last = false;
  while (true) {
    const std::string token(page.body.str_at({"metadata", "continue"}));
    if (token.empty()) break;
    page = api.call("GET", std::string(kMaps) + "?limit=3&continue=" + token);
    REQUIRE(page.code == 200);
    CHECK(page.body.str_at({"metadata", "resourceVersion"}) == version);
    for (const json::Value& item : page.body.get("items")->items()) last = last || item.str_at({"metadata", "name"}) == "m6";
    seen += page.body.get("items")->items().size();
  }
  CHECK(seen == 7);
  CHECK(last);
  CHECK(api.call("GET", std::string(kMaps) + "?continue=bm9wZQ").code == 400);
}

TEST_CASE("a watch shows every change once, in order", "[api]") {
  Fixture api;
  const Answer list = api.call("GET", kMaps);
  auto watch = api.open(std::string(kMaps) + "?watch=true&resourceVersion=" + std::string(list.body.str_at({"metadata", "resourceVersion"})));
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 25; ++i) {
        const std::string name = "w" + std::to_string(w) + "-" + std::to_string(i);
        api.call("POST", kMaps, map(name, "1"));
        api.call("PATCH", std::string(kMaps) + "/" + name, R"({"data":{"k":"2"}})", "application/merge-patch+json");
        api.call("DELETE", std::string(kMaps) + "/" + name);
      }
    });
  }
  for (std::thread& t : writers) t.join();
  const auto events = watch->lines(300);
  REQUIRE(events.size() == 300);
  int64_t before = 0;
  std::map<std::string, std::string> state;
  for (const json::Value& e : events) {
    const int64_t revision = std::stoll(std::string(e.str_at({"object", "metadata", "resourceVersion"})));
    CHECK(revision > before);
    before = revision;
    const std::string name(e.str_at({"object", "metadata", "name"}));
    const std::string type(e.str_at({"type"}));
    const std::string expected = state[name].empty() ? "ADDED" : state[name] == "ADDED" ? "MODIFIED" : "DELETED";
    CHECK(type == expected);
    state[name] = type;
  }
  watch->leave();
}

TEST_CASE("server-side apply keeps owners apart", "[api]") {
  Fixture api;
  const std::string path = std::string(kMaps) + "/s?fieldManager=";
  const std::string type = "application/apply-patch+yaml";
  CHECK(api.call("PATCH", path + "a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {x: '1', y: '1'}\n", type).code == 201);
  const Answer conflict = api.call("PATCH", path + "b", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {x: '2'}\n", type);
  CHECK(conflict.code == 409);
  CHECK(conflict.body.str_at({"message"}) == "Apply failed with 1 conflict: conflict with \"a\": .data.x");
  CHECK(api.call("PATCH", path + "b&force=true", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {x: '2'}\n", type).code == 200);
  // What a manager no longer applies goes, unless somebody else owns it.
  const Answer pruned = api.call("PATCH", path + "a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {z: '1'}\n", type);
  REQUIRE(pruned.code == 200);
  CHECK(json::dump(*pruned.body.get("data")) == R"({"x":"2","z":"1"})");
}

TEST_CASE("rights: nothing without a role, subresources apart", "[api]") {
  Fixture api;
  api.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
           R"({"metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["serviceaccounts"],"verbs":["create"]}]})");
  api.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
           R"({"metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"alice","apiGroup":"rbac.authorization.k8s.io"}]})");
  api.call("GET", kMaps);  // reads see the writes before them
  api.user_ = {"alice", "", {"system:authenticated"}, {}};
  CHECK(api.call("GET", kMaps).code == 403);
  CHECK(api.call("POST", "/api/v1/namespaces/default/serviceaccounts", R"({"metadata":{"name":"sa"}})").code == 201);
  CHECK(api.call("POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", R"({"spec":{}})").code == 403);
  CHECK(api.call("POST", "/api/v1/namespaces/default/serviceaccounts/sa%2Ftoken", R"({"spec":{}})").code != 201);
}

TEST_CASE("nobody gives away rights that he does not have", "[api]") {
  Fixture api;
  const std::string rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/";
  api.call("POST", rbac + "roles", R"({"metadata":{"name":"writer"},"rules":[{"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles","rolebindings"],"verbs":["create","update"]},{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}]})");
  api.call("POST", rbac + "rolebindings", R"({"metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"writer"},"subjects":[{"kind":"User","name":"mallory","apiGroup":"rbac.authorization.k8s.io"}]})");
  api.call("GET", kMaps);  // reads see the writes before them
  api.user_ = {"mallory", "", {"system:authenticated"}, {}};
  CHECK(api.call("POST", rbac + "roles", R"({"metadata":{"name":"all"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]})").code == 403);
  CHECK(api.call("POST", rbac + "roles", R"({"metadata":{"name":"own"},"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}]})").code == 201);
  CHECK(api.call("POST", rbac + "rolebindings", R"({"metadata":{"name":"up"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","name":"mallory","apiGroup":"rbac.authorization.k8s.io"}]})").code == 403);
}

namespace {

constexpr char kDefinitions[] = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
constexpr char kThings[] = "/apis/acme.example/v1/namespaces/default/things";
std::string things(const std::string& spec) {
  return R"({"metadata":{"name":"things.acme.example"},"spec":{"group":"acme.example","scope":"Namespaced","names":{"plural":"things","kind":"Thing"},
    "versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},
    "schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":)" + spec + R"(},
    "status":{"type":"object","properties":{"n":{"type":"integer"}}}}}}}]}})";
}
std::string thing(const std::string& name, const std::string& spec) {
  return R"({"apiVersion":"acme.example/v1","kind":"Thing","metadata":{"name":")" + name + R"("},"spec":)" + spec + "}";
}

}  // namespace

TEST_CASE("a definition makes its objects served, checked and watched", "[api][crd]") {
  Fixture api;
  REQUIRE(api.call("POST", kDefinitions, things(R"({"n":{"type":"integer","maximum":5,"default":1},"s":{"type":"string"}})")).code == 201);
  const Answer made = api.until(201, "POST", kThings, thing("a", R"({"s":"x","odd":1})"));
  REQUIRE(made.code == 201);
  CHECK(json::dump(*made.body.get("spec")) == R"({"n":1,"s":"x"})");
  CHECK(made.warnings == std::vector<std::string>{"299 - \"unknown field \\\"spec.odd\\\"\""});
  CHECK(api.call("POST", kThings, thing("b", R"({"n":6})")).code == 422);
  CHECK(api.call("PATCH", std::string(kThings) + "/a", R"({"spec":{"s":5}})", "application/merge-patch+json").code == 422);
  CHECK(api.call("PATCH", std::string(kThings) + "/a/scale", R"({"spec":{"replicas":3}})", "application/merge-patch+json").code == 200);
  CHECK(api.call("PATCH", std::string(kThings) + "/a/status", R"({"spec":{"n":2},"status":{"n":3}})", "application/merge-patch+json").code == 200);
  const Answer now = api.call("GET", std::string(kThings) + "/a");
  CHECK(json::dump(*now.body.get("spec")) == R"({"n":3,"s":"x"})");
  CHECK(json::dump(*now.body.get("status")) == R"({"n":3})");
  CHECK(now.body.at({"metadata", "generation"})->int_or(0) == 2);
  auto watch = api.open(std::string(kThings) + "?watch=1&resourceVersion=" + std::string(now.body.str_at({"metadata", "resourceVersion"})));
  REQUIRE(api.call("DELETE", std::string(kThings) + "/a").code == 200);
  CHECK(watch->lines(1)[0].str_at({"type"}) == "DELETED");
  watch->leave();
  const Answer groups = api.call("GET", "/apis/acme.example");
  CHECK(groups.body.str_at({"preferredVersion", "version"}) == "v1");
  const Answer openapi = api.call("GET", "/openapi/v3/apis/acme.example/v1");
  REQUIRE(openapi.code == 200);
  CHECK(openapi.body.at({"components", "schemas", "example.acme.v1.Thing", "properties", "spec", "properties", "n"}) != nullptr);
  CHECK(openapi.body.at({"paths", "/apis/acme.example/v1/namespaces/{namespace}/things/{name}", "patch"}) != nullptr);
}

TEST_CASE("custom resources outlive a restart and see new defaults", "[api][crd]") {
  Fixture api;
  REQUIRE(api.call("POST", kDefinitions, things(R"({"s":{"type":"string"}})")).code == 201);
  REQUIRE(api.until(201, "POST", kThings, thing("a", R"({"s":"x"})")).code == 201);
  api.start();
  CHECK(api.call("GET", std::string(kThings) + "/a").code == 200);  // at once: the definitions are loaded before the first request
  REQUIRE(api.call("PATCH", std::string(kDefinitions) + "/things.acme.example",
                   R"([{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/n","value":{"type":"integer","default":7}}])",
                   "application/json-patch+json").code == 200);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Answer got;
  do {
    got = api.call("GET", std::string(kThings) + "/a");
  } while (got.body.at({"spec", "n"}) == nullptr && std::chrono::steady_clock::now() < deadline);
  CHECK(json::dump(*got.body.get("spec")) == R"({"n":7,"s":"x"})");
}

TEST_CASE("a definition goes after its objects", "[api][crd]") {
  Fixture api;
  REQUIRE(api.call("POST", kDefinitions, things(R"({"s":{"type":"string"}})")).code == 201);
  REQUIRE(api.until(201, "POST", kThings, thing("a", "{}")).code == 201);
  json::Value held = *json::parse(thing("held", "{}"));
  held["metadata"]["finalizers"] = json::Array{"example.com/f"};
  REQUIRE(api.call("POST", kThings, json::dump(held)).code == 201);
  const std::string definition = std::string(kDefinitions) + "/things.acme.example";
  CHECK(api.call("DELETE", definition).body.at({"metadata", "deletionTimestamp"}) != nullptr);
  CHECK(api.until(404, "GET", std::string(kThings) + "/a").code == 404);
  CHECK(api.until(403, "POST", kThings, thing("new", "{}")).code == 403);
  CHECK(api.call("GET", definition).code == 200);
  CHECK(api.call("PATCH", std::string(kThings) + "/held", R"({"metadata":{"finalizers":null}})", "application/merge-patch+json").code == 200);
  CHECK(api.until(404, "GET", definition).code == 404);
  CHECK(api.until(404, "GET", kThings).code == 404);
}

TEST_CASE("a definition that makes no sense is refused", "[api][crd]") {
  Fixture api;
  const Answer ruled = api.call("POST", std::string(kDefinitions) + "?dryRun=All", things(R"({"a":{"type":"string","x-kubernetes-validations":[{"rule":"self != ''"}]}})"));
  CHECK(ruled.code == 201);
  REQUIRE(ruled.warnings.size() == 1);  // nobody may believe that rules hold which nobody checks
  CHECK(ruled.warnings[0].find("not evaluated") != std::string::npos);
  CHECK(api.call("POST", kDefinitions, things(R"({"a":{"type":"array"}})")).code == 422);            // items are missing
  CHECK(api.call("POST", kDefinitions, things(R"({"a":{"type":"integer","default":"x"}})")).code == 422);
  CHECK(api.call("POST", kDefinitions, things(R"({"a":{"type":"string","pattern":"("}})")).code == 422);
  CHECK(api.call("POST", kDefinitions, R"({"metadata":{"name":"x"},"spec":{}})").code == 422);
}

TEST_CASE("kubectl create token: no bound object is no object", "[api]") {
  Fixture api;
  REQUIRE(api.call("POST", "/api/v1/namespaces/default/serviceaccounts", R"({"metadata":{"name":"sa"}})").code == 201);
  const Answer made = api.call("POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", R"({"spec":{"boundObjectRef":null}})");
  REQUIRE(made.code == 201);
  CHECK_FALSE(made.body.str_at({"status", "token"}).empty());
}

TEST_CASE("limits: what is missing is filled in, what is too much is refused", "[api][admission]") {
  Fixture api;
  REQUIRE(api.call("POST", "/api/v1/namespaces/default/serviceaccounts", R"({"metadata":{"name":"default"}})").code == 201);
  REQUIRE(api.call("POST", "/api/v1/namespaces/default/limitranges", R"({"metadata":{"name":"l"},"spec":{"limits":[
    {"type":"Container","default":{"cpu":"500m"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"1"}},{"type":"Pod","max":{"cpu":"1500m"}}]}})").code == 201);
  auto pod = [](const std::string& name, const std::string& containers) {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{"containers":[)" + containers + "]}}";
  };
  const std::string plain = R"({"name":"c","image":"x"})";
  const Answer made = api.call("POST", "/api/v1/namespaces/default/pods", pod("a", plain));
  REQUIRE(made.code == 201);
  CHECK(json::dump(*made.body.at({"spec", "containers"})->items()[0].get("resources")) == R"({"limits":{"cpu":"500m"},"requests":{"cpu":"100m"}})");
  CHECK(made.body.str_at({"status", "qosClass"}) == "Burstable");
  const Answer much = api.call("POST", "/api/v1/namespaces/default/pods", pod("b", R"({"name":"c","image":"x","resources":{"limits":{"cpu":"2"}}})"));
  CHECK(much.code == 403);
  CHECK(much.body.str_at({"message"}).find("maximum cpu usage per Container is 1, but limit is 2") != std::string_view::npos);
  const std::string four = R"({"name":"1","image":"x"},{"name":"2","image":"x"},{"name":"3","image":"x"},{"name":"4","image":"x"})";
  CHECK(api.call("POST", "/api/v1/namespaces/default/pods", pod("c", four)).body.str_at({"message"}).find("maximum cpu usage per Pod is 1500m, but limit is 2") !=
        std::string_view::npos);
  CHECK(api.call("POST", "/api/v1/namespaces/default/limitranges", R"({"metadata":{"name":"m"},"spec":{"limits":[{"type":"Container","min":{"cpu":"2"},"max":{"cpu":"1"}}]}})").code == 422);
}

TEST_CASE("the newest class that is marked so is the default one", "[api][admission]") {
  Fixture api;
  REQUIRE(api.call("POST", "/apis/storage.k8s.io/v1/storageclasses",
                   R"({"metadata":{"name":"fast","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}},"provisioner":"p.example"})").code == 201);
  const std::string claims = "/api/v1/namespaces/default/persistentvolumeclaims";
  const std::string rest = R"("accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}})";
  CHECK(api.call("POST", claims, R"({"metadata":{"name":"a"},"spec":{)" + rest).body.str_at({"spec", "storageClassName"}) == "fast");
  CHECK(api.call("POST", claims, R"({"metadata":{"name":"b"},"spec":{"storageClassName":"",)" + rest).body.str_at({"spec", "storageClassName"}, "-").empty());
}

TEST_CASE("who asks for a certificate is who is asking", "[api][rights]") {
  Fixture api;
  const std::string requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
  auto body = [](const std::string& name, const std::string& signer, const pki::Names& names) {
    const std::string pem = *pki::make_signing_request_pem(*pki::PrivateKey::generate(), names);
    json::Value v = *json::parse(R"({"spec":{"username":"forged","groups":["system:masters"],"usages":["client auth"]}})");
    v["metadata"]["name"] = name;
    v["spec"]["signerName"] = signer;
    v["spec"]["request"] = base64_encode(pem);
    return json::dump(v);
  };
  pki::Names masters;
  masters.common_name = "eve";
  masters.organizations = {"system:masters"};
  CHECK(api.call("POST", requests, body("m", "kubernetes.io/kube-apiserver-client", masters)).code == 403);
  pki::Names alice;
  alice.common_name = "alice";
  REQUIRE(api.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                   R"({"metadata":{"name":"r"},"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["certificatesigningrequests","certificatesigningrequests/approval"],"verbs":["*"]}]})").code == 201);
  REQUIRE(api.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                   R"({"metadata":{"name":"r"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"alice","apiGroup":"rbac.authorization.k8s.io"}]})").code == 201);
  api.call("GET", kMaps);  // reads see the writes before them
  api.user_ = {"alice", "7", {"system:authenticated"}, {}};
  const Answer made = api.call("POST", requests, body("a", "example.com/s", alice));
  REQUIRE(made.code == 201);
  CHECK(made.body.str_at({"spec", "username"}) == "alice");
  CHECK(json::dump(*made.body.at({"spec", "groups"})) == R"(["system:authenticated"])");
  const std::string approve = R"({"status":{"conditions":[{"type":"Approved","status":"True"}]}})";
  CHECK(api.call("PATCH", requests + "/a/approval", approve, "application/merge-patch+json").code == 403);  // not for this signer
  const Answer changed = api.call("PATCH", requests + "/a", R"({"spec":{"signerName":"example.com/t"}})", "application/merge-patch+json");
  CHECK(changed.body.str_at({"spec", "signerName"}) == "example.com/s");
  api.user_ = {"admin", "", {"system:masters"}, {}};
  CHECK(api.call("PATCH", requests + "/a/approval", approve, "application/merge-patch+json").code == 200);
  CHECK(api.call("PATCH", requests + "/a/approval", R"({"status":{"conditions":null}})", "application/merge-patch+json").code == 422);
}

TEST_CASE("a pod that goes at once is seen going", "[api]") {
  Fixture api;
  REQUIRE(api.call("POST", "/api/v1/namespaces/default/serviceaccounts", R"({"metadata":{"name":"default"}})").code == 201);
  const Answer made = api.call("POST", "/api/v1/namespaces/default/pods", R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"x"}]}})");
  REQUIRE(made.code == 201);
  auto watch = api.open("/api/v1/namespaces/default/pods?watch=1&resourceVersion=" + std::string(made.body.str_at({"metadata", "resourceVersion"})));
  CHECK(api.call("DELETE", "/api/v1/namespaces/default/pods/p").body.at({"metadata", "deletionGracePeriodSeconds"})->int_or(-1) == 0);
  const auto events = watch->lines(2);
  CHECK(events[0].str_at({"type"}) == "MODIFIED");
  CHECK(events[1].str_at({"type"}) == "DELETED");
  watch->leave();
}

TEST_CASE("a quota lets in what is left, also when many come at once", "[api][admission]") {
  Fixture api;
  const std::string quotas = "/api/v1/namespaces/default/resourcequotas";
  REQUIRE(api.call("POST", quotas, R"({"metadata":{"name":"q"},"spec":{"hard":{"configmaps":"5"}}})").code == 201);
  REQUIRE(api.call("PATCH", quotas + "/q/status", R"({"status":{"hard":{"configmaps":"5"},"used":{"configmaps":"0"}}})", "application/merge-patch+json").code == 200);
  CHECK(api.call("POST", std::string(kMaps) + "?dryRun=All", map("dry", "1")).code == 201);  // takes nothing
  std::atomic<int> made{0}, refused{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 4; ++i) {
        const Answer answer = api.call("POST", kMaps, map("m" + std::to_string(t) + "-" + std::to_string(i), "1"));
        if (answer.code == 201) ++made;
        else if (answer.body.str_at({"message"}).find("exceeded quota: q, requested: configmaps=1, used: configmaps=5, limited: configmaps=5") != std::string_view::npos) ++refused;
      }
    });
  }
  for (std::thread& t : clients) t.join();
  CHECK(made == 5);
  CHECK(refused == 11);
  CHECK(api.call("GET", quotas + "/q").body.str_at({"status", "used", "configmaps"}) == "5");
}

TEST_CASE("a token ends with what it stands for", "[api][rights]") {
  Fixture api;
  const std::string accounts = "/api/v1/namespaces/default/serviceaccounts", reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
  REQUIRE(api.call("POST", accounts, R"({"metadata":{"name":"sa"}})").code == 201);
  const Answer made = api.call("POST", accounts + "/sa/token", R"({"spec":{}})");
  REQUIRE(made.code == 201);
  const std::string review = R"({"spec":{"token":")" + std::string(made.body.str_at({"status", "token"})) + "\"}}";
  api.call("GET", accounts);  // reads see the writes before them
  REQUIRE(api.call("POST", reviews, review).body.at({"status", "authenticated"}) != nullptr);
  REQUIRE(api.call("DELETE", accounts + "/sa").code == 200);
  api.call("GET", accounts);
  const Answer after = api.call("POST", reviews, review);
  CHECK(after.body.at({"status", "authenticated"}) == nullptr);
  CHECK(after.body.str_at({"status", "error"}) == "[invalid bearer token, service account token has been invalidated]");
}
