#include "engenho/base/fs.h"
#include "support.h"

namespace engenho::datastore {

using std::chrono::seconds;

TEST_CASE("leases: grant, keep alive, revoke, list") {
  TempDir dir;
  FakeClock clock;
  auto store = open_store(test_options(dir.path(), &clock));
  const auto grant = must(store->lease_grant(60, 7));
  REQUIRE(grant.id == 7);
  REQUIRE(store->lease_grant(60, 7).error().message() == "etcdserver: lease already exists");
  REQUIRE(store->lease_grant(9'000'000'001).error().message() == "etcdserver: too large lease TTL");
  const auto other = must(store->lease_grant(0));
  REQUIRE(other.id > 0);
  REQUIRE(other.ttl_seconds == 1);
  must(store->create("/a", make_bytes("1"), 7));
  must(store->create("/b", make_bytes("1"), 7));
  must(store->create("/c", make_bytes("1"), 7));
  must(store->update("/b", make_bytes("2"), 3));  // without the lease: detached
  REQUIRE(is_lease_not_found(store->create("/d", make_bytes("1"), 8).error()));
  clock.advance(seconds(20));
  auto info = must(store->lease_time_to_live(7, true));
  REQUIRE(info.remaining_seconds == 40);
  REQUIRE(info.granted_ttl_seconds == 60);
  REQUIRE(info.keys == std::vector<std::string>{"/a", "/c"});
  REQUIRE(must(store->lease_keep_alive(7)) == 60);
  REQUIRE(must(store->lease_time_to_live(7, false)).remaining_seconds == 60);
  must(store->lease_revoke(7));
  REQUIRE(store->revision() == 6);  // both keys in one revision
  REQUIRE(!must(store->get("/a")).kv);
  REQUIRE(must(store->get("/b")).kv);
  REQUIRE(is_lease_not_found(store->lease_revoke(7)));
  REQUIRE(is_lease_not_found(store->lease_keep_alive(7).error()));
  REQUIRE(is_lease_not_found(store->lease_time_to_live(7, false).error()));
}

TEST_CASE("an expired lease deletes its keys as a revision of its own") {
  TempDir dir;
  FakeClock clock;
  auto store = open_store(test_options(dir.path(), &clock));
  must(store->lease_grant(10, 1));
  must(store->lease_grant(30, 2));
  must(store->create("/short", make_bytes("1"), 1));
  must(store->create("/short2", make_bytes("1"), 1));
  must(store->create("/long", make_bytes("1"), 2));
  RecordingSink sink;
  auto watch = must(store->watch({}, &sink));
  clock.advance(seconds(9));
  must(store->lease_keep_alive(1));
  clock.advance(seconds(9));
  REQUIRE(must(store->get("/short")).kv);
  clock.advance(seconds(2));
  REQUIRE(sink.wait_events(2));
  REQUIRE(sink.events()[0]->type == Event::Type::kDelete);
  REQUIRE(sink.events()[1]->kv.mod_revision == sink.events()[0]->kv.mod_revision);
  REQUIRE(must(store->leases()) == std::vector<LeaseId>{2});
  clock.advance(seconds(11));
  REQUIRE(sink.wait_events(3));
  REQUIRE(sink.events()[2]->kv.key == "/long");
}

TEST_CASE("expiry survives a restart") {
  TempDir dir;
  FakeClock clock;
  {
    auto store = open_store(test_options(dir.path(), &clock));
    must(store->lease_grant(100, 1));
    must(store->lease_grant(100, 2));
    must(store->lease_grant(1000, 3));
    must(store->create("/1", make_bytes(""), 1));
    must(store->create("/2", make_bytes(""), 2));
    must(store->create("/3", make_bytes(""), 3));
    must(store->lease_keep_alive(2));
  }
  clock.advance(seconds(60));
  auto store = open_store(test_options(dir.path(), &clock));
  REQUIRE(must(store->lease_time_to_live(1, false)).remaining_seconds == 40);
  REQUIRE(must(store->lease_time_to_live(2, false)).remaining_seconds == 100);  // its client gets time to come back
  REQUIRE(must(store->lease_time_to_live(3, true)).keys == std::vector<std::string>{"/3"});
  RecordingSink sink;
  WatchRequest request;
  request.from_revision = store->revision() + 1;
  auto watch = must(store->watch(request, &sink));
  clock.advance(seconds(50));
  REQUIRE(sink.wait_events(1));
  REQUIRE(sink.events()[0]->kv.key == "/1");
  store.reset();
  clock.advance(seconds(900));
  RecordingSink later;
  request.from_revision = 0;
  store = open_store(test_options(dir.path(), &clock));
  // Due since long: gone without anybody asking, at whichever revision comes next.
  request.from_revision = 6;
  watch = must(store->watch(request, &later));
  REQUIRE(later.wait_events(1));
  REQUIRE(later.events()[0]->kv.key == "/3");
}

TEST_CASE("compaction in time keeps between one and two intervals") {
  TempDir dir;
  FakeClock clock;
  RocksdbOptions options = test_options(dir.path(), &clock);
  options.compaction_interval = std::chrono::minutes(5);
  auto store = open_store(options);
  for (int i = 0; i < 9; ++i) must(store->create("/" + std::to_string(i), make_bytes("")));
  REQUIRE(store->revision() == 10);
  clock.advance(std::chrono::minutes(5));
  // Each interval also marks the revision beside the database.
  const auto mark = [&] { return must(read_file(dir.path() + "/revision")); };
  REQUIRE(eventually([&] { return mark() == "10\n"; }));
  REQUIRE(store->compacted_revision() == 0);
  must(store->create("/last", make_bytes("")));
  clock.advance(std::chrono::minutes(5));
  REQUIRE(eventually([&] { return store->compacted_revision() == 10; }));
}

TEST_CASE("the bound on history compacts by itself") {
  TempDir dir;
  RocksdbOptions options = test_options(dir.path());
  options.compaction_max_history = 100;
  auto store = open_store(options);
  for (int i = 0; i < 500; ++i) must(store->update("/a", make_bytes(std::to_string(i)), i == 0 ? 0 : i + 1));
  REQUIRE(store->compacted_revision() >= 501 - 100 - 8);
  REQUIRE(store->compacted_revision() <= 401);
  REQUIRE(*must(store->get("/a", 450)).kv->value == "448");
  REQUIRE(is_compacted(store->get("/a", 300).error()));
}

}  // namespace engenho::datastore
