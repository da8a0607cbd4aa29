// Encryption at rest.
#include <sys/stat.h>

#include <fstream>

#include "engenho/base/fs.h"
#include "engenho/datastore/encryption.h"
#include "support.h"

namespace engenho::datastore {

namespace {

constexpr const char* kSecret = "/registry/secrets/default/one";

struct Fixture {
  Fixture() {
    under = open_store(test_options(dir.path() + "/store"));
    open();
  }
  void open() {
    options.keys = must(KeyRing::open(dir.path() + "/keys"));
    options.prefixes = {"/registry/secrets/"};
    store = encrypted_store(*under, options);
  }
  std::string raw(const std::string& key) { return *must(under->get(key)).kv->value; }
  TempDir dir;
  std::unique_ptr<Store> under, store;
  EncryptionOptions options;
};

}  // namespace

TEST_CASE("encryption: what lies on disk is not what is read") {
  Fixture f;
  struct stat have{};
  REQUIRE(::stat((f.dir.path() + "/keys").c_str(), &have) == 0);
  REQUIRE((have.st_mode & 0777) == 0600);
  RecordingSink sink, raw;
  WatchRequest watching;
  watching.prev_kv = true;
  auto watch = must(f.store->watch(watching, &sink));
  auto watch_raw = must(f.under->watch(watching, &raw));
  REQUIRE(must(f.store->create(kSecret, make_bytes("swordfish"))).succeeded);
  REQUIRE(must(f.store->create("/registry/pods/default/one", make_bytes("plain"))).succeeded);
  REQUIRE(f.raw(kSecret).starts_with("k8s:enc:aesgcm:v1:key"));
  REQUIRE(f.raw(kSecret).find("swordfish") == std::string::npos);
  REQUIRE(f.raw("/registry/pods/default/one") == "plain");
  REQUIRE(*must(f.store->get(kSecret)).kv->value == "swordfish");
  REQUIRE(*must(f.store->list({KeyRange::prefix("/registry/")})).kvs[1].value == "swordfish");
  auto refused = must(f.store->create(kSecret, make_bytes("again")));
  REQUIRE(!refused.succeeded);
  REQUIRE(*refused.current->value == "swordfish");
  const auto updated = must(f.store->update(kSecret, make_bytes("swordfish"), kAnyRevision));
  REQUIRE(*updated.previous->value == "swordfish");
  PutOp put;
  put.key = kSecret;
  put.value = make_bytes("marlin");
  put.prev_kv = true;
  TxnRequest inner, outer;
  inner.then_ops = {put};
  outer.then_ops = {std::make_shared<const TxnRequest>(inner)};
  const auto result = must(f.store->txn(outer));
  const auto& nested = std::get<std::shared_ptr<const TxnResult>>(result.results[0]);
  REQUIRE(*std::get<PutResult>(nested->results[0]).previous->value == "swordfish");
  REQUIRE(f.raw(kSecret).find("marlin") == std::string::npos);
  Compare compare;
  compare.range = KeyRange::all();
  compare.target = Compare::Target::kValue;
  outer.compares = {compare};
  REQUIRE(f.store->txn(outer).error().message() == "values that are encrypted cannot be compared");
  must(f.store->remove(kSecret));
  REQUIRE(sink.wait_events(5));
  REQUIRE(raw.wait_events(5));
  REQUIRE(*sink.events()[0]->kv.value == "swordfish");
  REQUIRE(*sink.events()[3]->previous->value == "swordfish");
  REQUIRE(*sink.events()[4]->previous->value == "marlin");
  REQUIRE(raw.events()[0]->kv.value->starts_with("k8s:enc:"));
}

TEST_CASE("encryption: moved, changed and foreign values are refused") {
  Fixture f;
  must(f.store->create(kSecret, make_bytes("swordfish")));
  const std::string sealed = f.raw(kSecret);
  must(f.under->create("/registry/secrets/default/two", make_bytes(sealed)));
  REQUIRE(f.store->get("/registry/secrets/default/two").error().message().find("does not decrypt") != std::string::npos);
  for (size_t at = sealed.find(':', 20) + 1; at < sealed.size(); ++at) {
    std::string broken = sealed;
    broken[at] = static_cast<char>(broken[at] ^ 1);
    must(f.under->update(kSecret, make_bytes(broken), kAnyRevision, 0));
    REQUIRE(!f.store->get(kSecret));
  }
  REQUIRE(!f.store->list({KeyRange::prefix("/registry/secrets/")}));
  // A watch ends and says why, rather than leave something out.
  RecordingSink sink;
  auto watch = must(f.store->watch({}, &sink));
  must(f.under->update(kSecret, make_bytes("k8s:enc:aesgcm:v1:nobody:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), kAnyRevision, 0));
  REQUIRE(sink.wait_end());
  REQUIRE(sink.end()->status.message().find("\"nobody\"") != std::string::npos);
  // A write over it goes through.
  REQUIRE(must(f.store->update(kSecret, make_bytes("new"), kAnyRevision, 0)).succeeded);
}

TEST_CASE("encryption: a new key, while others write; then the old one goes") {
  Fixture f;
  must(f.under->create("/registry/secrets/default/from-before", make_bytes("plain")));
  for (int i = 0; i < 450; ++i) must(f.store->create("/registry/secrets/default/" + std::to_string(i), make_bytes(std::to_string(i))));
  const std::string first = f.options.keys->names()[0];
  // As another process would: the store notices.
  EncryptionOptions rotating = f.options;
  rotating.keys = must(KeyRing::open(f.dir.path() + "/keys"));
  must(rotating.keys->add_key());
  std::thread writer([&] {
    for (int i = 0; i < 300; ++i) must(f.store->update("/registry/secrets/default/" + std::to_string(i), make_bytes("w" + std::to_string(i)), kAnyRevision, 0));
  });
  const size_t count = must(encrypt_anew(*f.under, rotating));
  writer.join();
  REQUIRE(count > 0);
  REQUIRE(must(encrypt_anew(*f.under, rotating)) == 0);
  must(rotating.keys->keep(1));
  REQUIRE(rotating.keys->names().size() == 1);
  REQUIRE(rotating.keys->names()[0] != first);
  f.open();
  for (const KeyValue& kv : must(f.under->list({KeyRange::prefix("/registry/secrets/")})).kvs)
    REQUIRE(kv.value->starts_with("k8s:enc:aesgcm:v1:" + rotating.keys->names()[0] + ":"));
  REQUIRE(*must(f.store->get("/registry/secrets/default/from-before")).kv->value == "plain");
  for (int i = 0; i < 450; ++i)
    REQUIRE(*must(f.store->get("/registry/secrets/default/" + std::to_string(i))).kv->value == (i < 300 ? "w" : "") + std::to_string(i));
}

TEST_CASE("encryption: a key file that others can read, or that is none, is refused") {
  TempDir dir;
  const std::string path = dir.path() + "/keys";
  must(KeyRing::open(path));
  ::chmod(path.c_str(), 0640);
  REQUIRE(KeyRing::open(path).error().message().find("0600") != std::string::npos);
  ::chmod(path.c_str(), 0600);
  std::ofstream(path) << "key c2hvcnQ=\n";
  REQUIRE(KeyRing::open(path).error().message().find("line 1") != std::string::npos);
  std::ofstream(path) << "\n";
  REQUIRE(!KeyRing::open(path));
}

}  // namespace engenho::datastore
