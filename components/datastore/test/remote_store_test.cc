// The store over etcd's protocol, against our own face of it: what comes back is what the store behind says, and members may go.
#include "engenho/datastore/remote_store.h"

#include "engenho/datastore/etcd_server.h"
#include "support.h"

using namespace engenho;
using namespace engenho::datastore;

namespace {

// A member: a face on a socket over a store that outlives it.
struct Face {
  Face(Store& store, const std::string& path) {
    EtcdServer::Options options;
    options.listen = {"unix://" + path};
    options.scratch_dir = path + ".scratch";
    server = must(EtcdServer::start(store, options));
  }
  std::unique_ptr<EtcdServer> server;
};

std::unique_ptr<Store> connect(std::vector<std::string> endpoints) {
  RemoteOptions options;
  options.endpoints = std::move(endpoints);
  options.call_timeout = std::chrono::seconds(3);
  return must(open_remote_store(options));
}

Bytes bytes(const char* text) { return make_bytes(text); }

}  // namespace

TEST_CASE("remote: writes with expectations, reads, ranges and transactions") {
  TempDir dir;
  auto behind = open_store(test_options(dir.path() + "/db"));
  Face face(*behind, dir.path() + "/s");
  auto store = connect({"unix://" + dir.path() + "/s"});

  const auto made = must(store->create("a", bytes("1")));
  REQUIRE(made.succeeded);
  CHECK(made.revision == behind->revision());
  CHECK(store->revision() == behind->revision());
  const auto again = must(store->create("a", bytes("2")));
  CHECK_FALSE(again.succeeded);
  REQUIRE(again.current);
  CHECK(*again.current->value == "1");
  const auto wrong = must(store->update("a", bytes("2"), made.revision + 7));
  CHECK_FALSE(wrong.succeeded);
  CHECK(wrong.current->mod_revision == made.revision);
  const auto updated = must(store->update("a", bytes("2"), made.revision));
  REQUIRE(updated.succeeded);
  CHECK(*updated.previous->value == "1");
  CHECK_FALSE(must(store->update("none", bytes("x"), kAnyRevision)).succeeded);
  CHECK(must(store->update("a", bytes("3"), kAnyRevision)).succeeded);
  CHECK(*must(store->get("a", made.revision)).kv->value == "1");
  CHECK_FALSE(must(store->get("none")).kv);

  for (const char* key : {"p/1", "p/2", "p/3"}) must(store->create(key, bytes(key)));
  ListRequest list;
  list.range = KeyRange::prefix("p/");
  list.limit = 2;
  list.want_count = true;
  auto page = must(store->list(list));
  CHECK(page.kvs.size() == 2);
  CHECK(page.more);
  CHECK(page.count == 3);
  list.range = KeyRange::all();
  list.limit = 0;
  CHECK(must(store->list(list)).kvs.size() == 4);

  TxnRequest txn;
  Compare compare;
  compare.range = KeyRange::key("p/1");
  compare.target = Compare::Target::kValue;
  compare.value = "p/1";
  txn.compares = {compare};
  txn.then_ops = {PutOp{.key = "q", .value = bytes("q")}, DeleteOp{.range = KeyRange::prefix("p/"), .prev_kv = true}};
  auto done = must(store->txn(txn));
  CHECK(done.succeeded);
  CHECK(std::get<DeleteResult>(done.results.at(1)).deleted == 3);
  CHECK(std::get<DeleteResult>(done.results.at(1)).previous.size() == 3);

  const auto removed = must(store->remove("a"));
  REQUIRE(removed.succeeded);
  CHECK(*removed.previous->value == "3");
  must(store->compact(removed.revision));
  CHECK(is_compacted(store->get("a", made.revision).error()));
  CHECK(is_future_revision(store->get("a", 1'000'000).error()));
  CHECK(store->defragment().code() == 400);
}

TEST_CASE("remote: leases") {
  TempDir dir;
  auto behind = open_store(test_options(dir.path() + "/db"));
  Face face(*behind, dir.path() + "/s");
  auto store = connect({"unix://" + dir.path() + "/s"});
  const auto lease = must(store->lease_grant(60));
  must(store->create("leased", bytes("1"), lease.id));
  CHECK(must(store->lease_keep_alive(lease.id)) == 60);
  CHECK(must(store->lease_time_to_live(lease.id, true)).keys == std::vector<std::string>{"leased"});
  CHECK(must(store->leases()) == std::vector<LeaseId>{lease.id});
  must(store->lease_revoke(lease.id));
  CHECK_FALSE(must(store->get("leased")).kv);
  CHECK(is_lease_not_found(store->lease_keep_alive(lease.id).error()));
}

TEST_CASE("remote: a watch goes on at another member, without a gap or a repetition, while writers go on") {
  TempDir dir;
  auto behind = open_store(test_options(dir.path() + "/db"));
  auto one = std::make_unique<Face>(*behind, dir.path() + "/1"), two = std::make_unique<Face>(*behind, dir.path() + "/2");
  auto store = connect({"unix://" + dir.path() + "/1", "unix://" + dir.path() + "/2"});
  RecordingSink sink;
  WatchRequest request;
  request.range = KeyRange::all();
  request.from_revision = store->revision() + 1;
  auto watch = must(store->watch(request, &sink));
  const int kWrites = 300;
  int failed = 0;
  for (int i = 0; i < kWrites; ++i) {
    if (i == 100) one.reset();
    if (i == 200) {
      one = std::make_unique<Face>(*behind, dir.path() + "/1");
      two.reset();
    }
    // A member's death may cost the answer of what is under way, never an acknowledged write.
    auto written = store->create("k" + std::to_string(i), bytes("v"));
    if (!written) ++failed;
  }
  CHECK(failed <= 4);
  const Revision last = behind->revision();
  REQUIRE(sink.wait_through(*watch, last));
  const auto events = sink.events();
  for (size_t i = 1; i < events.size(); ++i) CHECK(events[i]->kv.mod_revision == events[i - 1]->kv.mod_revision + 1);
  CHECK(events.size() >= static_cast<size_t>(kWrites - failed));
}

TEST_CASE("remote: a watch from a compacted revision ends and says so; nobody there is an error, not a hang") {
  TempDir dir;
  auto behind = open_store(test_options(dir.path() + "/db"));
  auto face = std::make_unique<Face>(*behind, dir.path() + "/s");
  auto store = connect({"unix://" + dir.path() + "/s"});
  for (int i = 0; i < 5; ++i) must(store->create("k" + std::to_string(i), bytes("v")));
  must(store->compact(4));
  RecordingSink sink;
  WatchRequest request;
  request.range = KeyRange::all();
  request.from_revision = 2;
  auto watch = must(store->watch(request, &sink));
  REQUIRE(sink.wait_end());
  CHECK(is_compacted(sink.end()->status));
  CHECK(sink.end()->compact_revision == 4);
  face.reset();
  CHECK(store->create("x", bytes("y")).error().code() == 503);
  CHECK(store->revision() == INT64_MAX);
  CHECK(open_remote_store({.endpoints = {"unix://" + dir.path() + "/s"}, .call_timeout = std::chrono::milliseconds(300)}).error().code() == 503);
  CHECK(open_remote_store({.endpoints = {"localhost:2379"}}).error().code() == 400);
}
