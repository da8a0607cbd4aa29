// Snapshots: what they hold, and that damage is found.
#include <atomic>
#include <fstream>
#include <random>

#include "bolt_file.h"
#include "engenho/base/fs.h"
#include "engenho/datastore/snapshot.h"
#include "etcd_backend.h"
#include "support.h"

namespace engenho::datastore {

namespace {

// A store with history: updates, deletions, transactions of several keys, leases, compacted somewhere in the middle.
std::unique_ptr<Store> filled(const std::string& dir, std::mt19937_64& random, bool compact) {
  auto store = open_store(test_options(dir));
  must(store->lease_grant(500, 7));
  for (int i = 0; i < 400; ++i) {
    TxnRequest txn;
    for (uint64_t n = 0; n < 1 + random() % 4; ++n) {
      const std::string key = "/" + std::to_string(i % 5) + std::string(n, 'x') + std::to_string(random() % 30);
      if (random() % 4 == 0) {
        txn.then_ops.emplace_back(DeleteOp{KeyRange::key(key), false});
      } else {
        PutOp put;
        put.key = key;
        put.value = make_bytes(std::string(random() % 3000, static_cast<char>('a' + random() % 26)));
        put.lease = random() % 6 == 0 ? 7 : 0;
        txn.then_ops.emplace_back(put);
      }
    }
    (void)store->txn(std::move(txn));  // some name a key twice and are refused
    if (compact && i % 150 == 100) must(store->compact(store->revision() - static_cast<Revision>(random() % 40), i > 200));
  }
  return store;
}

uint32_t hash(Store& store, Revision revision) {
  Revision compacted = 0;
  return must(backend_hash(store, revision, compacted));
}

std::vector<std::string> events(Store& store) {
  RecordingSink sink;
  WatchRequest request;
  request.from_revision = std::max<Revision>(2, store.compacted_revision() + 1);
  request.prev_kv = true;
  auto watch = must(store.watch(request, &sink));
  REQUIRE(sink.wait_through(*watch, store.revision()));
  std::vector<std::string> out;
  for (const EventPtr& event : sink.events())
    out.push_back(event->kv.key + " " + std::to_string(event->kv.mod_revision) + " " + *event->kv.value + " " +
                  (event->previous ? *event->previous->value : "none"));
  return out;
}

}  // namespace

TEST_CASE("a restored snapshot is the store, with history, leases and revisions") {
  std::mt19937_64 random(engenho::testing::seed());
  TempDir dir;
  for (const bool compact : {false, true}) {
    const std::string base = dir.path() + (compact ? "/c" : "/n");
    auto store = filled(base, random, compact);
    const std::string file = base + ".db";
    const SnapshotInfo saved = must(write_snapshot(*store, file));
    REQUIRE(saved.revision == store->revision());
    REQUIRE(must(inspect_snapshot(file)).versions == saved.versions);
    const SnapshotInfo info = must(restore_snapshot(file, test_options(base + "-restored")));
    auto restored = open_store(test_options(base + "-restored"));
    REQUIRE(restored->revision() == store->revision());
    REQUIRE(restored->compacted_revision() == store->compacted_revision());
    const StoreStatus a = must(store->status()), b = must(restored->status());
    REQUIRE(a.keys == b.keys);
    REQUIRE(info.keys == a.keys);
    REQUIRE(a.cluster_id != b.cluster_id);
    for (Revision at = std::max<Revision>(1, store->compacted_revision()); at <= store->revision(); at += 7)
      REQUIRE(hash(*store, at) == hash(*restored, at));
    REQUIRE(events(*store) == events(*restored));
    REQUIRE(must(store->lease_time_to_live(7, true)).keys == must(restored->lease_time_to_live(7, true)).keys);
    // It goes on from there, and forgets as it should.
    must(restored->create("/new", make_bytes("1")));
    REQUIRE(restored->revision() == store->revision() + 1);
    must(restored->lease_revoke(7));
    must(restored->compact(restored->revision(), true));
    REQUIRE(must(restored->get("/new")).kv);
    // A snapshot of what was restored is the same again, but for the leases' order of making.
    REQUIRE(must(write_snapshot(*restored, base + ".2.db")).revision == restored->revision());
  }
}

TEST_CASE("a damaged or cut snapshot is refused, with the place, and nothing is left behind") {
  std::mt19937_64 random(engenho::testing::seed());
  TempDir dir;
  auto store = filled(dir.path() + "/store", random, true);
  const std::string file = dir.path() + "/s.db";
  must(write_snapshot(*store, file));
  const std::string whole = must(read_file(file));
  const std::string broken = dir.path() + "/broken.db";
  const auto refusal = [&](const std::string& bytes) {
    std::ofstream(broken, std::ios::binary | std::ios::trunc) << bytes;
    const auto info = restore_snapshot(broken, test_options(dir.path() + "/target"));
    REQUIRE(!info);
    REQUIRE(!path_exists(dir.path() + "/target"));
    for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
      REQUIRE(entry.path().string().find("restoring") == std::string::npos);
    return info.error().message();
  };
  for (int round = 0; round < 60; ++round) {
    std::string bytes = whole;
    const size_t at = random() % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    const std::string error = refusal(bytes);
    INFO("byte " << at << " of " << bytes.size() << ": " << error);
    REQUIRE(error.find(broken) != std::string::npos);
    // Where the chunks of 64 KiB are, the text names the one.
    const size_t from = error.find("between byte ");
    if (from != std::string::npos) {
      const size_t first = std::stoull(error.substr(from + 13));
      REQUIRE(at >= first);
      REQUIRE(at < first + kChunkPages * kBoltPage);
    }
  }
  for (int round = 0; round < 30; ++round) {
    const std::string error = refusal(whole.substr(0, random() % whole.size()));
    INFO(error);
    REQUIRE((error.find("cut off") != std::string::npos || error.find("damaged") != std::string::npos));
  }
  REQUIRE(refusal("").find("cut off") != std::string::npos);
  // What is there already is not overwritten.
  std::filesystem::create_directory(dir.path() + "/full");
  std::ofstream(dir.path() + "/full/file") << "1";
  REQUIRE(restore_snapshot(file, test_options(dir.path() + "/full")).error().message().find("not empty") != std::string::npos);
}

TEST_CASE("a snapshot under load is one revision") {
  TempDir dir;
  auto store = open_store(test_options(dir.path() + "/store"));
  std::atomic<bool> stop{false};
  std::thread load([&] {
    for (int i = 0; !stop; ++i) {
      PutOp one, two;
      one.key = "/a";
      two.key = "/b";
      one.value = two.value = make_bytes(std::to_string(i));
      TxnRequest txn;
      txn.then_ops = {one, two};
      must(store->txn(std::move(txn)));
      if (i % 100 == 99) must(store->compact(store->revision() - 20));
    }
  });
  for (int i = 0; i < 5; ++i) {
    const std::string name = dir.path() + "/s" + std::to_string(i);
    const Revision before = store->revision();
    const SnapshotInfo info = must(write_snapshot(*store, name + ".db"));
    REQUIRE(info.revision >= before);
    must(restore_snapshot(name + ".db", test_options(name)));
    auto restored = open_store(test_options(name));
    REQUIRE(restored->revision() == info.revision);
    if (info.revision > 1) REQUIRE(*must(restored->get("/a")).kv->value == *must(restored->get("/b")).kv->value);
  }
  stop = true;
  load.join();
}

TEST_CASE("old snapshots go, the newest stay") {
  TempDir dir;
  const std::string where = dir.path() + "/snapshots";
  REQUIRE(must(list_snapshots(where)).empty());
  std::filesystem::create_directory(where);
  FakeClock clock;
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) {
    names.push_back(where + "/" + snapshot_name(100 - i, clock.wall()));
    std::ofstream(names.back()) << i;
    clock.advance(std::chrono::seconds(90));
  }
  std::ofstream(where + "/other.txt") << "not ours";
  REQUIRE(must(list_snapshots(where)) == names);
  REQUIRE(must(prune_snapshots(where, 2)) == std::vector<std::string>(names.begin(), names.begin() + 3));
  REQUIRE(must(list_snapshots(where)).size() == 2);
  REQUIRE(path_exists(where + "/other.txt"));
}

}  // namespace engenho::datastore
