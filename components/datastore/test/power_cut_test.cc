// The machine loses power in the middle of writes, or the disk fails: nothing that was acknowledged is lost, nothing comes back twice.
// ENGENHO_TEST_ROUNDS makes the loops longer (make soak).
#include <cstdlib>
#include <random>

#include "engenho/base/bytes.h"
#include "fault_env.h"
#include "support.h"

namespace engenho::datastore {

namespace {

int rounds(int usual) {
  const char* given = std::getenv("ENGENHO_TEST_ROUNDS");
  int64_t number = 0;
  return given != nullptr && parse_int(given, number) ? static_cast<int>(number) : usual;
}

struct Faulty {
  Faulty() : system(std::make_shared<FaultFileSystem>()), env(rocksdb::NewCompositeEnv(system)) {}
  RocksdbOptions options(const std::string& dir) const {
    RocksdbOptions options;
    options.dir = dir;
    options.env = env.get();
    options.write_buffer_bytes = 256 << 10;  // flushes and compactions happen, too
    options.compaction_interval = Duration(0);
    return options;
  }
  std::shared_ptr<FaultFileSystem> system;
  std::unique_ptr<rocksdb::Env> env;
};

// What clients were told.
class Ledger {
 public:
  void acknowledged(Revision revision, const std::string& key, const std::string& value) {
    std::lock_guard lock(mutex_);
    const bool once = told_.emplace(revision, std::pair(key, value)).second;
    if (!once) twice_ = revision;
  }
  void compacted(Revision revision) {
    std::lock_guard lock(mutex_);
    compacted_ = std::max(compacted_, revision);
  }
  // Every acknowledged write is in the log, with its value, and the state is what the log makes.
  void check(Store& store) {
    std::lock_guard lock(mutex_);
    REQUIRE(twice_ == 0);
    if (!told_.empty()) REQUIRE(store.revision() >= told_.rbegin()->first);
    REQUIRE(store.compacted_revision() >= compacted_);
    RecordingSink sink;
    WatchRequest request;
    request.from_revision = std::max<Revision>(2, store.compacted_revision());
    request.prev_kv = true;
    auto watch = must(store.watch(request, &sink));
    REQUIRE(sink.wait_through(*watch, store.revision()));
    std::map<std::string, std::string> state;
    const Revision base = request.from_revision - 1;
    if (base > store.compacted_revision() && base >= 1)
      for (const KeyValue& kv : must(store.list({KeyRange::all(), 0, base})).kvs) state[kv.key] = *kv.value;
    const bool whole = base > store.compacted_revision() || store.compacted_revision() == 0;
    std::map<Revision, EventPtr> log;
    Revision next = request.from_revision;
    for (const EventPtr& event : sink.events()) {
      REQUIRE(event->kv.mod_revision == next++);  // one change each, without a gap
      log[event->kv.mod_revision] = event;
      if (whole) {
        const auto before = state.find(event->kv.key);
        REQUIRE((event->previous ? *event->previous->value : "") == (before == state.end() ? "" : before->second));
      }
      if (event->type == Event::Type::kDelete) state.erase(event->kv.key);
      else state[event->kv.key] = *event->kv.value;
    }
    REQUIRE(next == store.revision() + 1);
    for (const auto& [revision, written] : told_) {
      if (revision < request.from_revision) continue;
      REQUIRE(log.contains(revision));
      REQUIRE(log[revision]->kv.key == written.first);
      REQUIRE(*log[revision]->kv.value == written.second);
    }
    if (!whole) return;
    std::map<std::string, std::string> now;
    for (const KeyValue& kv : must(store.list({KeyRange::all()})).kvs) now[kv.key] = *kv.value;
    REQUIRE(now == state);
    REQUIRE(must(store.status()).keys == static_cast<int64_t>(now.size()));
  }

 private:
  std::mutex mutex_;
  std::map<Revision, std::pair<std::string, std::string>> told_;
  Revision twice_ = 0, compacted_ = 0;
};

// Several clients that write until the store takes no more (or all have written enough).
void load(Store& store, Ledger& ledger, uint64_t seed, bool compact, int writes = 2000) {
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(c));
      for (int i = 0; i < writes; ++i) {
        const std::string key = "/" + std::to_string(c) + "/" + std::to_string(random() % 40);
        const std::string value = std::to_string(seed) + "." + std::to_string(i) + std::string(random() % 800, '.');
        auto result = random() % 5 == 0 ? store.remove(key) : store.update(key, make_bytes(value), kAnyRevision, 0);
        if (result && !result->succeeded) result = store.create(key, make_bytes(value));
        if (!result) return;
        if (result->succeeded) {
          const auto kv = store.get(key, result->revision);
          ledger.acknowledged(result->revision, key, kv && kv->kv ? *kv->kv->value : "");
        }
        if (compact && c == 0 && i % 60 == 59 && store.compact(store.revision() - 30, i % 2 == 0).ok())
          ledger.compacted(store.compacted_revision());
      }
    });
  }
  for (auto& client : clients) client.join();
}

}  // namespace

TEST_CASE("power cuts: what was acknowledged is there, revisions go on, the log has no gap") {
  std::mt19937_64 random(engenho::testing::seed());
  for (const bool compact : {false, true}) {
    TempDir dir;
    Faulty faulty;
    Ledger ledger;
    for (int round = 0; round < rounds(5); ++round) {
      {
        // The first of all may be cut while it makes the database; that is no store yet.
        faulty.system->cut_after(round == 0 ? 0 : static_cast<int64_t>(1 + random() % 60));
        auto opened = open_rocksdb_store(faulty.options(dir.path() + "/store"));
        if (opened) {
          if (!faulty.system->is_cut()) faulty.system->cut_after(static_cast<int64_t>(1 + random() % 2500));
          load(**opened, ledger, random(), compact);
        } else {
          INFO(opened.error().message());
          REQUIRE(faulty.system->is_cut());
        }
      }
      faulty.system->lose_unsynced(random);
      INFO("round " << round);
      auto opened = open_rocksdb_store(faulty.options(dir.path() + "/store"));
      INFO((opened ? "" : opened.error().message()));
      REQUIRE(opened);
      ledger.check(**opened);
    }
  }
}

TEST_CASE("writes that fail are not acknowledged, and what was before is there after the disk works again") {
  std::mt19937_64 random(engenho::testing::seed());
  TempDir dir;
  Faulty faulty;
  Ledger ledger;
  for (int round = 0; round < rounds(4); ++round) {
    {
      auto store = open_store(faulty.options(dir.path() + "/store"));
      faulty.system->fail_writes(static_cast<int>(50 + random() % 500));
      load(*store, ledger, random(), false);
      // Reads go on.
      REQUIRE(store->list({KeyRange::all()}));
      faulty.system->fail_writes(0);
    }
    auto store = open_store(faulty.options(dir.path() + "/store"));
    ledger.check(*store);
  }
}

TEST_CASE("a read that fails is an error, never a wrong answer") {
  std::mt19937_64 random(engenho::testing::seed());
  TempDir dir;
  Faulty faulty;
  RocksdbOptions options = faulty.options(dir.path() + "/store");
  options.block_cache_bytes = 64 << 10;
  std::map<std::string, std::string> model;
  {
    auto store = open_store(options);
    for (int i = 0; i < 3000; ++i) {
      const std::string key = "/" + std::to_string(i);
      model[key] = std::to_string(random()) + std::string(200, 'x');
      must(store->create(key, make_bytes(model[key])));
    }
  }
  auto store = open_store(options);
  faulty.system->fail_reads(7);
  int failed = 0, good = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string key = "/" + std::to_string(random() % 3000);
    auto got = store->get(key);
    if (!got) {
      ++failed;
      REQUIRE(got.error().message().find(".sst") != std::string::npos);  // names the file
      continue;
    }
    ++good;
    REQUIRE(got->kv);
    REQUIRE(*got->kv->value == model[key]);
    if (i % 100 == 0) {
      if (auto listed = store->list({KeyRange::all()})) REQUIRE(listed->kvs.size() == model.size());
      // A write that must know what it replaces fails with the read; it takes no revision.
      (void)store->update(key, make_bytes(model[key]), kAnyRevision, 0);
    }
  }
  REQUIRE(failed > 0);
  REQUIRE(good > 0);
  faulty.system->fail_reads(0);
  for (const auto& [key, value] : model) REQUIRE(*must(store->get(key)).kv->value == value);
}

}  // namespace engenho::datastore
