// The watch caches when the store's watch ends under them.
#include "hub.h"

#include <filesystem>

#include "engenho/base/random.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::apiserver;
using datastore::Done;

namespace {

// A store whose watch can be ended, and whose lists can be made to fail.
class Fragile final : public datastore::Store {
 public:
  Fragile() : dir_((std::filesystem::temp_directory_path() / ("engenho-hub-" + random_name_suffix(8))).string()) {
    datastore::RocksdbOptions options;
    options.dir = dir_;
    options.fsync = false;
    auto opened = datastore::open_rocksdb_store(options);
    REQUIRE(opened);
    store_ = std::move(*opened);
  }
  ~Fragile() override {
    store_.reset();
    std::filesystem::remove_all(dir_);
  }

  Result<std::unique_ptr<datastore::Watch>> watch(datastore::WatchRequest request, datastore::WatchSink* sink) override {
    sink_ = sink;
    deaf_ = false;
    return store_->watch(std::move(request), &relay_);
  }
  Result<datastore::ListResult> list(const datastore::ListRequest& request) override {
    if (failures_-- > 0) return err(unavailable("the test says so"));
    return store_->list(request);
  }
  // What is written while `fn` runs is not delivered.
  template <class Fn>
  void break_watch(int failures, Fn fn) {
    failures_ = failures;
    deaf_ = true;
    fn();
    sink_->on_end({});
  }

  Revision revision() const override { return store_->revision(); }
  Revision compacted_revision() const override { return store_->compacted_revision(); }
  Result<datastore::GetResult> get(std::string_view key, Revision at) override { return store_->get(key, at); }
  void create_async(std::string k, Bytes v, datastore::LeaseId l, Done<datastore::WriteResult> d) override { store_->create_async(std::move(k), std::move(v), l, std::move(d)); }
  void update_async(std::string k, Bytes v, Revision e, datastore::LeaseId l, Done<datastore::WriteResult> d) override {
    store_->update_async(std::move(k), std::move(v), e, l, std::move(d));
  }
  void remove_async(std::string k, Revision e, Done<datastore::WriteResult> d) override { store_->remove_async(std::move(k), e, std::move(d)); }
  void txn_async(datastore::TxnRequest r, Done<datastore::TxnResult> d) override { store_->txn_async(std::move(r), std::move(d)); }
  void compact_async(Revision r, bool p, Done<Revision> d) override { store_->compact_async(r, p, std::move(d)); }
  void lease_grant_async(int64_t t, datastore::LeaseId i, Done<datastore::LeaseGrant> d) override { store_->lease_grant_async(t, i, std::move(d)); }
  void lease_revoke_async(datastore::LeaseId i, Done<Revision> d) override { store_->lease_revoke_async(i, std::move(d)); }
  Result<int64_t> lease_keep_alive(datastore::LeaseId i) override { return store_->lease_keep_alive(i); }
  Result<datastore::LeaseInfo> lease_time_to_live(datastore::LeaseId i, bool k) override { return store_->lease_time_to_live(i, k); }
  Result<std::vector<datastore::LeaseId>> leases() override { return store_->leases(); }
  Result<datastore::StoreStatus> status() override { return store_->status(); }
  void alarm_async(datastore::Alarm a, bool on, Done<std::optional<datastore::Alarm>> d) override { store_->alarm_async(a, on, std::move(d)); }
  Result<Revision> versions(const datastore::VersionsRequest& r, const VersionVisitor& v) override { return store_->versions(r, v); }
  Status defragment() override { return store_->defragment(); }

 private:
  // Hands on, unless the watch counts as broken.
  struct Relay final : datastore::WatchSink {
    explicit Relay(Fragile& s) : store(s) {}
    Flow on_events(const datastore::WatchBatch& batch) override { return store.deaf_ ? Flow::kContinue : store.sink_->on_events(batch); }
    void on_progress(Revision at) override {
      if (!store.deaf_) store.sink_->on_progress(at);
    }
    void on_end(const datastore::WatchEnd&) override {}
    Fragile& store;
  };

  std::string dir_;
  std::unique_ptr<datastore::Store> store_;
  datastore::WatchSink* sink_ = nullptr;
  std::atomic<int> failures_{0};
  std::atomic<bool> deaf_{false};
  Relay relay_{*this};
};

Bytes config_map(const std::string& name, const std::string& value) {
  json::Value v;
  v["apiVersion"] = "v1";
  v["kind"] = "ConfigMap";
  v["metadata"]["name"] = name;
  v["data"]["a"] = value;
  return std::make_shared<const std::string>(encode_for_store(v));
}

class Sink final : public EventSink {
 public:
  bool on_event(const CacheEvent&) override { return true; }
  bool on_bookmark(Revision, bool) override { return true; }
  void on_lost() override { lost = true; }
  std::atomic<bool> lost{false};
};

const std::string kPrefix = "/registry/configmaps/";

}  // namespace

TEST_CASE("when the store's watch ends, everything is loaded again: hooks see what was missed, watches end, reads go on") {
  Fragile store;
  Hub hub(store);
  Cacher& cacher = hub.cacher(kPrefix);
  std::mutex mutex;
  std::vector<std::pair<EventType, std::string>> seen;
  cacher.on_change([&](const CacheEvent& e) {
    std::lock_guard lock(mutex);
    seen.emplace_back(e.type, e.object->key().substr(kPrefix.size()));
  });
  auto changed = store.create(kPrefix + "default/changed", config_map("changed", "1"));
  auto gone = store.create(kPrefix + "default/gone", config_map("gone", "1"));
  REQUIRE(store.create(kPrefix + "default/stays", config_map("stays", "1")));
  REQUIRE((changed && gone));
  REQUIRE(hub.start().ok());
  auto sink = std::make_shared<Sink>();
  REQUIRE(cacher.watch(sink, kPrefix, Cacher::Start::kNow, 0, false, hub.revision_ref()).ok());
  {
    std::lock_guard lock(mutex);
    seen.clear();
  }

  Revision last = 0;
  store.break_watch(2, [&] {  // the first two attempts to load fail
    REQUIRE(store.update(kPrefix + "default/changed", config_map("changed", "2"), changed->revision));
    REQUIRE(store.remove(kPrefix + "default/gone", gone->revision));
    auto added = store.create(kPrefix + "default/added", config_map("added", "1"));
    REQUIRE(added);
    last = added->revision;
  });
  REQUIRE(hub.wait_for(last, std::chrono::seconds(10)).ok());
  CHECK(cacher.size() == 3);
  CHECK(cacher.get(kPrefix + "default/gone") == nullptr);
  CHECK(cacher.get(kPrefix + "default/changed")->value().str_at({"data", "a"}) == "2");
  CHECK(sink->lost);
  {
    std::lock_guard lock(mutex);
    CHECK(seen == std::vector<std::pair<EventType, std::string>>{
                      {EventType::kAdded, "default/added"}, {EventType::kModified, "default/changed"}, {EventType::kDeleted, "default/gone"}});
  }
  // A client that comes back with an old revision must begin anew; a new watch sees what comes.
  CHECK(cacher.watch(sink, kPrefix, Cacher::Start::kFrom, gone->revision, false, hub.revision_ref()).is(reason::kExpired));
  auto after = store.create(kPrefix + "default/after", config_map("after", "1"));
  REQUIRE(after);
  REQUIRE(hub.wait_for(after->revision, std::chrono::seconds(10)).ok());
  CHECK(cacher.size() == 4);
  hub.stop();
}
