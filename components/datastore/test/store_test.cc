#include <atomic>
#include <thread>

#include "model.h"

namespace engenho::datastore {

TEST_CASE("ranges") {
  CHECK(KeyRange::key("a").single());
  CHECK(KeyRange::key("a").contains("a"));
  CHECK(!KeyRange::key("a").contains(std::string("a\0", 2)));
  CHECK(KeyRange::prefix("a").end == "b");
  CHECK(KeyRange::prefix("a\xff\xff").end == "b");
  CHECK(KeyRange::prefix("\xff").end.empty());
  CHECK(KeyRange::prefix("").contains("anything"));
  CHECK(KeyRange{"b", "a"}.empty());
  CHECK(!KeyRange::all().empty());
}

TEST_CASE("a key's generations") {
  TempDir dir;
  auto store = open_store(test_options(dir.path()));
  REQUIRE(store->revision() == 1);
  REQUIRE(must(store->create("/a", make_bytes("1"))).revision == 2);
  const auto again = must(store->create("/a", make_bytes("x")));
  REQUIRE(!again.succeeded);
  REQUIRE(*again.current->value == "1");
  REQUIRE(again.revision == 2);
  REQUIRE(must(store->update("/a", make_bytes("2"), 2)).revision == 3);
  const auto stale = must(store->update("/a", make_bytes("x"), 2));
  REQUIRE(!stale.succeeded);
  REQUIRE(stale.current->mod_revision == 3);
  REQUIRE(stale.current->create_revision == 2);
  REQUIRE(stale.current->version == 2);
  REQUIRE(!must(store->remove("/a", 2)).succeeded);
  const auto removed = must(store->remove("/a", 3));
  REQUIRE(removed.revision == 4);
  REQUIRE(*removed.previous->value == "2");
  REQUIRE(!must(store->remove("/a")).succeeded);
  REQUIRE(!must(store->update("/a", make_bytes("x"), kAnyRevision)).succeeded);
  REQUIRE(must(store->update("/a", make_bytes("3"), 0)).revision == 5);
  const auto reborn = must(store->get("/a")).kv;
  REQUIRE(reborn->version == 1);
  REQUIRE(reborn->create_revision == 5);
  REQUIRE(*must(store->get("/a", 3)).kv->value == "2");
  REQUIRE(!must(store->get("/a", 4)).kv);
  REQUIRE(is_future_revision(store->get("/a", 6).error()));
  REQUIRE(store->create("", make_bytes("")).error().message() == "etcdserver: key is not provided");
  REQUIRE(store->create("/b", make_bytes(std::string(2 << 20, 'x'))).error().code() == 413);
}

TEST_CASE("compaction keeps the version at the compacted revision, and its event") {
  TempDir dir;
  auto store = open_store(test_options(dir.path()));
  must(store->create("/a", make_bytes("1")));       // 2
  must(store->update("/a", make_bytes("2"), 2));    // 3
  must(store->create("/b", make_bytes("b")));       // 4
  must(store->remove("/a"));                        // 5
  must(store->update("/b", make_bytes("c"), 4));    // 6
  must(store->compact(5, true));
  REQUIRE(store->compacted_revision() == 5);
  REQUIRE(is_compacted(store->get("/a", 4).error()));
  REQUIRE(is_compacted(store->list({KeyRange::all(), 0, 4}).error()));
  REQUIRE(is_compacted(store->compact(5)));
  REQUIRE(is_future_revision(store->compact(7)));
  REQUIRE(*must(store->get("/b", 5)).kv->value == "b");
  RecordingSink sink;
  WatchRequest request;
  request.from_revision = 5;
  request.prev_kv = true;
  auto watch = must(store->watch(request, &sink));
  REQUIRE(sink.wait_events(2));
  REQUIRE(sink.events()[0]->type == Event::Type::kDelete);
  REQUIRE(*sink.events()[0]->previous->value == "2");
  request.from_revision = 4;
  REQUIRE(is_compacted(store->watch(request, &sink).error()));
  must(store->compact(6, true));
  REQUIRE(*must(store->get("/b", 6)).kv->value == "c");
  must(store->defragment());
  REQUIRE(must(store->status()).keys == 1);
}

TEST_CASE("a slow watch whose place is compacted ends, and says where") {
  TempDir dir;
  RocksdbOptions options = test_options(dir.path());
  options.ring_bytes = 2000;
  auto store = open_store(options);
  RecordingSink sink;
  sink.set_pause(true);
  auto watch = must(store->watch({}, &sink));
  must(store->create("/a", make_bytes("1")));
  REQUIRE(sink.wait_events(1));
  for (int i = 0; i < 50; ++i) must(store->create("/b" + std::to_string(i), make_bytes(std::string(500, 'x'))));
  must(store->compact(30));
  watch->resume();
  REQUIRE(sink.wait_end());
  REQUIRE(is_compacted(sink.end()->status));
  REQUIRE(sink.end()->compact_revision == 30);
  REQUIRE(sink.events().size() == 1);
}

TEST_CASE("watch filters, future revisions, progress and the end of the store") {
  TempDir dir;
  auto store = open_store(test_options(dir.path()));
  RecordingSink puts, deletes, future;
  WatchRequest request;
  request.range = KeyRange::prefix("/a");
  request.no_delete = true;
  auto put_watch = must(store->watch(request, &puts));
  request.no_delete = false;
  request.no_put = true;
  auto delete_watch = must(store->watch(request, &deletes));
  request.no_put = false;
  request.from_revision = 4;
  auto future_watch = must(store->watch(request, &future));
  REQUIRE(puts.wait_through(*put_watch, 1));
  REQUIRE(puts.progress() == std::vector<Revision>{1});
  must(store->create("/a", make_bytes("")));
  must(store->create("/b", make_bytes("")));
  must(store->remove("/a"));
  REQUIRE(puts.wait_through(*put_watch, 4));
  REQUIRE(deletes.wait_through(*delete_watch, 4));
  REQUIRE(future.wait_through(*future_watch, 4));
  REQUIRE(puts.events().size() == 1);
  REQUIRE(deletes.events().size() == 1);
  REQUIRE(future.events().size() == 1);
  REQUIRE(future.events()[0]->kv.mod_revision == 4);
  put_watch.reset();  // ended watches hear nothing more
  store.reset();
  REQUIRE(!puts.end());
  REQUIRE(deletes.end()->status.code() == 503);
}

TEST_CASE("transactions") {
  TempDir dir;
  auto store = open_store(test_options(dir.path()));
  const auto put = [](std::string key, std::string value) {
    PutOp op;
    op.key = std::move(key);
    op.value = make_bytes(std::move(value));
    return op;
  };
  const auto error_of = [&](TxnRequest request) { return store->txn(std::move(request)).error().message(); };

  SECTION("one revision, operations see those before them, nested conditions see the state before") {
    TxnRequest inner;
    Compare absent;
    absent.range = KeyRange::key("/a");
    inner.compares.push_back(absent);  // mod_revision == 0
    inner.then_ops.emplace_back(put("/inner", "then"));
    inner.else_ops.emplace_back(put("/inner", "else"));
    TxnRequest request;
    request.then_ops.emplace_back(put("/a", "1"));
    request.then_ops.emplace_back(std::make_shared<const TxnRequest>(inner));
    request.then_ops.emplace_back(ListRequest{KeyRange::all()});
    const auto result = must(store->txn(request));
    REQUIRE(result.revision == 2);
    const auto& listed = std::get<ListResult>(result.results[2]);
    REQUIRE(listed.kvs.size() == 2);
    REQUIRE(*listed.kvs[1].value == "then");
    REQUIRE(listed.kvs[1].mod_revision == 2);
  }
  SECTION("no change takes no revision") {
    TxnRequest request;
    request.then_ops.emplace_back(DeleteOp{KeyRange::prefix("/nothing"), false});
    REQUIRE(must(store->txn(request)).revision == 1);
    REQUIRE(store->revision() == 1);
  }
  SECTION("a key is not written twice") {
    TxnRequest request;
    request.then_ops = {put("/a", "1"), put("/a", "2")};
    REQUIRE(error_of(request) == "etcdserver: duplicate key given in txn request");
    request.then_ops = {put("/a", "1"), DeleteOp{KeyRange::prefix("/"), false}};
    REQUIRE(error_of(request) == "etcdserver: duplicate key given in txn request");
    TxnRequest inner;
    inner.then_ops = {put("/a", "1")};
    inner.else_ops = {put("/a", "2")};
    request.then_ops = {std::make_shared<const TxnRequest>(inner)};
    must(store->txn(request));
    request.then_ops.emplace_back(put("/a", "3"));
    REQUIRE(error_of(request) == "etcdserver: duplicate key given in txn request");
    request.then_ops.assign(129, ListRequest{KeyRange::all()});
    REQUIRE(error_of(request) == "etcdserver: too many operations in txn request");
  }
  SECTION("a failure changes nothing") {
    TxnRequest request;
    PutOp ignoring = put("/b", "");
    ignoring.ignore_value = true;
    request.then_ops = {put("/a", "1"), ignoring};
    REQUIRE(error_of(request) == "etcdserver: key not found");
    PutOp leased = put("/b", "");
    leased.lease = 7;
    request.then_ops = {put("/a", "1"), leased};
    REQUIRE(error_of(request) == "etcdserver: requested lease not found");
    request.then_ops = {put("/a", "1"), ListRequest{KeyRange::all(), 0, 99}};
    REQUIRE(error_of(request) == "etcdserver: mvcc: required revision is a future revision");
    REQUIRE(store->revision() == 1);
    REQUIRE(!must(store->get("/a")).kv);
  }
  SECTION("conditions on ranges and values") {
    must(store->create("/a", make_bytes("x")));
    must(store->create("/b", make_bytes("y")));
    const auto holds = [&](Compare compare) {
      TxnRequest request;
      request.compares.push_back(std::move(compare));
      return must(store->txn(request)).succeeded;
    };
    using T = Compare::Target;
    using O = Compare::Op;
    CHECK(holds({KeyRange::prefix("/"), T::kVersion, O::kEqual, 1}));
    CHECK(!holds({KeyRange::prefix("/"), T::kMod, O::kEqual, 2}));
    CHECK(holds({KeyRange::prefix("/"), T::kCreate, O::kLess, 4}));
    CHECK(holds({KeyRange::key("/a"), T::kValue, O::kEqual, 0, "x"}));
    CHECK(holds({KeyRange::key("/b"), T::kValue, O::kGreater, 0, "x"}));
    CHECK(!holds({KeyRange::key("/c"), T::kValue, O::kNotEqual, 0, "x"}));
    CHECK(holds({KeyRange::key("/c"), T::kVersion, O::kEqual, 0}));
    CHECK(holds({KeyRange::prefix("/none"), T::kLease, O::kNotEqual, 1}));
  }
}

TEST_CASE("writers, readers and watchers at once") {
  TempDir dir;
  RocksdbOptions options = test_options(dir.path());
  options.ring_bytes = 20000;
  options.write_buffer_bytes = 256 << 10;
  auto store = open_store(options);
  constexpr int kThreads = 8, kWrites = 300;
  RecordingSink early;
  WatchRequest from_first;
  from_first.from_revision = 2;
  from_first.max_batch_bytes = 3000;
  auto watch = must(store->watch(from_first, &early));
  std::atomic<bool> done{false}, wrong{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // Two keys that always change together; and one that is contended.
      for (int i = 0; i < kWrites; ++i) {
        const Bytes value = make_bytes(std::to_string(t) + "/" + std::to_string(i) + std::string(100, '.'));
        TxnRequest request;
        for (const char* name : {"/pair/x", "/pair/y"}) {
          PutOp put;
          put.key = name;
          put.value = value;
          request.then_ops.emplace_back(put);
        }
        if (!store->txn(std::move(request))) wrong = true;
        for (Revision expected = 0;;) {
          auto result = store->update("/count", make_bytes(std::to_string(t)), expected);
          if (!result) wrong = true;
          if (!result || result->succeeded) break;
          expected = result->current->mod_revision;
        }
      }
    });
  }
  std::thread reader([&] {
    Revision last = 0;
    while (!done) {
      auto list = store->list({KeyRange::prefix("/pair/")});
      if (!list || list->revision < last) wrong = true;
      else last = list->revision;
      if (list && !list->kvs.empty() &&
          (list->kvs.size() != 2 || *list->kvs[0].value != *list->kvs[1].value ||
           list->kvs[0].mod_revision != list->kvs[1].mod_revision || list->kvs[0].mod_revision > last))
        wrong = true;
      // The same again, from the past.
      auto again = store->list({KeyRange::prefix("/pair/"), 0, last});
      if (!again || again->kvs.size() != list->kvs.size() ||
          (!again->kvs.empty() && again->kvs[0].mod_revision != list->kvs[0].mod_revision))
        wrong = true;
      auto got = store->get("/count");
      if (!got || (got->kv && got->kv->mod_revision > got->revision)) wrong = true;
    }
  });
  for (auto& thread : threads) thread.join();
  done = true;
  reader.join();
  REQUIRE(!wrong);
  constexpr Revision kLast = 1 + 2 * kThreads * kWrites;
  REQUIRE(store->revision() == kLast);
  REQUIRE(must(store->get("/count")).kv->version == kThreads * kWrites);
  RecordingSink late;
  auto late_watch = must(store->watch(from_first, &late));
  REQUIRE(early.wait_through(*watch, kLast));
  REQUIRE(late.wait_through(*late_watch, kLast));
  for (RecordingSink* sink : {&early, &late}) {
    const auto events = sink->events();
    REQUIRE(events.size() == 3 * kThreads * kWrites);
    Revision expected = 1;
    for (size_t i = 0; i < events.size(); ++i) {
      REQUIRE(events[i]->kv.mod_revision == ++expected);
      if (events[i]->kv.key == "/pair/x") REQUIRE(events[++i]->kv.mod_revision == expected);
    }
  }
}

TEST_CASE("waiting writes are bounded, and every one is answered") {
  TempDir dir;
  RocksdbOptions options = test_options(dir.path());
  options.max_pending_requests = 4;
  auto store = open_store(options);
  std::atomic<int> written{0}, refused{0}, stopped{0};
  constexpr int kCount = 2000;
  for (int i = 0; i < kCount; ++i) {
    store->create_async("/" + std::to_string(i), make_bytes(std::string(1000, 'x')), 0,
                        [&](Result<WriteResult> result) {
                          if (result) ++written;
                          else if (result.error().code() == 429) ++refused;
                          else ++stopped;
                        });
  }
  store.reset();
  REQUIRE(written + refused + stopped == kCount);
  REQUIRE(written > 0);
  REQUIRE(stopped == 0);
}

}  // namespace engenho::datastore
