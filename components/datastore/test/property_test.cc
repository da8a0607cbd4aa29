// Random requests against the model: every answer, every revision, every event, over restarts and compactions.
#include <set>

#include "model.h"

namespace engenho::datastore {
namespace {

class Driver {
 public:
  Driver(const std::string& dir, unsigned long seed) : random_(seed), options_(test_options(dir)) {
    options_.compaction_interval = Duration(0);
    options_.ring_bytes = 4096;  // most watches must read from disk
    options_.write_buffer_bytes = 256 << 10;
    store_ = open_store(options_);
  }

  Store& store() { return *store_; }
  Model& model() { return model_; }
  Revision compacted() const { return compacted_; }
  size_t below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  std::string key() {
    // Few keys, with prefixes of each other and zero bytes among them.
    static const std::string parts[] = {"a", "b", std::string(1, '\0'), "/", "\xff", "\x01"};
    std::string key;
    for (size_t n = 1 + below(3); n > 0; --n) key += parts[below(6)];
    return key;
  }
  std::string value() { return std::string(below(200), static_cast<char>('a' + below(26))); }
  KeyRange range() {
    switch (below(4)) {
      case 0: return KeyRange::all();
      case 1: return KeyRange::prefix(key());
      case 2: return KeyRange::key(key());
      default: return {key(), key()};
    }
  }

  void step() {
    switch (below(12)) {
      case 0: case 1: return create();
      case 2: case 3: case 4: return update();
      case 5: return remove();
      case 6: case 7: return txn();
      case 8: return read();
      case 9: return read_past();
      case 10: if (below(10) == 0) return restart(); return read();
      default: if (below(10) == 0) return compact(); return read_past();
    }
  }

  void restart() {
    store_.reset();
    store_ = open_store(options_);
    REQUIRE(store_->revision() == model_.revision());
    REQUIRE(store_->compacted_revision() == compacted_);
    REQUIRE(must(store_->status()).keys == static_cast<int64_t>(model_.now().size()));
  }

 private:
  const ModelKey* find(const std::string& key) {
    const auto it = model_.now().find(key);
    return it == model_.now().end() ? nullptr : &it->second;
  }
  void check_failed(const WriteResult& result, const std::string& key) {
    REQUIRE(!result.succeeded);
    REQUIRE(result.revision == model_.revision());
    const ModelKey* row = find(key);
    REQUIRE(result.current.has_value() == (row != nullptr));
    if (row) check_same(*result.current, key, *row);
  }
  void create() {
    const std::string key = this->key(), value = this->value();
    const auto result = must(store_->create(key, make_bytes(value)));
    if (find(key)) return check_failed(result, key);
    REQUIRE(result.succeeded);
    model_.apply({{key, value, 0}}, {});
    REQUIRE(result.revision == model_.revision());
  }
  Revision expectation(const ModelKey* row) {
    switch (below(4)) {
      case 0: return kAnyRevision;
      case 1: return 1 + static_cast<Revision>(below(model_.revision()));
      default: return row ? row->mod : 0;
    }
  }
  void update() {
    const std::string key = this->key(), value = this->value();
    const ModelKey* row = find(key);
    const Revision expected = expectation(row);
    const auto result = must(store_->update(key, make_bytes(value), expected));
    if (expected == kAnyRevision ? !row : expected != (row ? row->mod : 0)) return check_failed(result, key);
    REQUIRE(result.succeeded);
    REQUIRE(result.previous.has_value() == (row != nullptr));
    if (row) check_same(*result.previous, key, *row);
    model_.apply({{key, value, 0}}, {});
    REQUIRE(result.revision == model_.revision());
  }
  void remove() {
    const std::string key = this->key();
    const ModelKey* row = find(key);
    const Revision expected = expectation(row);
    const auto result = must(store_->remove(key, expected));
    if (!row || (expected != kAnyRevision && expected != row->mod)) return check_failed(result, key);
    REQUIRE(result.succeeded);
    check_same(*result.previous, key, *row);
    model_.apply({}, {key});
    REQUIRE(result.revision == model_.revision());
  }
  void txn() {
    TxnRequest request;
    const std::string checked = key();
    const ModelKey* row = find(checked);
    Compare compare;
    compare.range = KeyRange::key(checked);
    compare.target = Compare::Target::kVersion;
    compare.op = Compare::Op::kGreater;
    request.compares.push_back(compare);
    std::vector<std::tuple<std::string, std::string, LeaseId>> puts;
    std::set<std::string> put_keys;
    for (size_t n = below(5); n > 0; --n) {
      PutOp put;
      put.key = key();
      if (!put_keys.insert(put.key).second) continue;
      const std::string text = value();
      put.value = make_bytes(text);
      puts.emplace_back(put.key, text, 0);
      (row ? request.then_ops : request.else_ops).emplace_back(put);
    }
    DeleteOp remove;
    remove.range = range();
    std::vector<std::string> deletes;
    for (const auto& [name, unused] : model_.now())
      if (remove.range.contains(name)) deletes.push_back(name);
    bool overlaps = false;
    for (const auto& name : put_keys) overlaps = overlaps || remove.range.contains(name);
    if (!overlaps) (row ? request.then_ops : request.else_ops).emplace_back(remove);
    else deletes.clear();
    ListRequest list;
    list.range = KeyRange::all();
    (row ? request.then_ops : request.else_ops).emplace_back(list);
    const auto result = must(store_->txn(request));
    REQUIRE(result.succeeded == (row != nullptr));
    model_.apply(puts, deletes);
    REQUIRE(result.revision == model_.revision());
    const auto& listed = std::get<ListResult>(result.results.back());
    REQUIRE(listed.kvs.size() == model_.now().size());
    size_t i = 0;
    for (const auto& [name, kept] : model_.now()) check_same(listed.kvs[i++], name, kept);
  }
  void read() {
    const std::string key = this->key();
    const auto got = must(store_->get(key));
    REQUIRE(got.revision == model_.revision());
    const ModelKey* row = find(key);
    REQUIRE(got.kv.has_value() == (row != nullptr));
    if (row) check_same(*got.kv, key, *row);
    check_list(*store_, model_.now(), range(), 0, static_cast<int64_t>(below(4)));
  }
  void read_past() {
    const Revision lowest = std::max<Revision>(compacted_, 1);
    const Revision revision =
        lowest + static_cast<Revision>(below(static_cast<size_t>(model_.revision() - lowest + 1)));
    check_list(*store_, model_.at(revision), range(), revision, static_cast<int64_t>(below(4)));
    const std::string key = this->key();
    const auto got = must(store_->get(key, revision));
    const auto it = model_.at(revision).find(key);
    REQUIRE(got.kv.has_value() == (it != model_.at(revision).end()));
    if (got.kv) check_same(*got.kv, key, it->second);
  }
  void compact() {
    const Revision revision = 1 + static_cast<Revision>(below(static_cast<size_t>(model_.revision())));
    const Status status = store_->compact(revision, below(2) == 0);
    if (revision <= compacted_) {
      REQUIRE(is_compacted(status));
      return;
    }
    must(status);
    compacted_ = revision;
    if (revision > 1) REQUIRE(is_compacted(store_->get("a", revision - 1).error()));
    REQUIRE(is_future_revision(store_->get("a", model_.revision() + 1).error()));
  }

  std::mt19937_64 random_;
  RocksdbOptions options_;
  std::unique_ptr<Store> store_;
  Model model_;
  Revision compacted_ = 0;
};

}  // namespace

TEST_CASE("random requests agree with the model, at every revision, over restarts and compactions") {
  for (unsigned long round = 0; round < 4; ++round) {
    TempDir dir;
    Driver driver(dir.path(), engenho::testing::seed() + round);
    for (int i = 0; i < 1500; ++i) driver.step();
    driver.restart();
    // Every event from the compacted revision on, in one watch from disk.
    const Revision from = std::max<Revision>(driver.compacted(), 1);
    RecordingSink sink;
    WatchRequest request;
    request.from_revision = from;
    request.prev_kv = true;
    request.max_batch_bytes = 2000;
    auto watch = must(driver.store().watch(request, &sink));
    REQUIRE(sink.wait_through(*watch, driver.model().revision()));
    check_events(sink.events(), driver.model(), from, KeyRange::all(), true);
    if (from > 1) {
      request.from_revision = from - 1;
      REQUIRE(is_compacted(driver.store().watch(request, &sink).error()));
    }
  }
}

TEST_CASE("watches that come, pause and go while requests run miss nothing and repeat nothing") {
  TempDir dir;
  Driver driver(dir.path(), engenho::testing::seed());
  struct Running {
    std::unique_ptr<RecordingSink> sink = std::make_unique<RecordingSink>();
    std::unique_ptr<Watch> watch;
    Revision from;
    KeyRange range;
  };
  std::vector<std::unique_ptr<Running>> running;  // by pointer: a sink must not move or go before its watch
  const auto finish = [&](Running& one) {
    one.sink->set_pause(false);
    one.watch->resume();
    REQUIRE(one.sink->wait_through(*one.watch, driver.model().revision()));
    check_events(one.sink->events(), driver.model(), one.from, one.range, true);
    Revision last = 0;
    for (const auto& batch : one.sink->batches()) {
      REQUIRE(batch.events.front()->kv.mod_revision > last);  // no revision is split
      last = batch.through;
      REQUIRE(batch.events.back()->kv.mod_revision <= last);
    }
  };
  for (int i = 0; i < 1500; ++i) {
    const size_t dice = driver.below(10);
    if (dice == 0 && running.size() < 20) {
      auto made = std::make_unique<Running>();
      Running& one = *made;
      one.from = std::max<Revision>({1, driver.compacted(),
                                     driver.model().revision() + 2 - static_cast<Revision>(driver.below(60))});
      one.range = driver.range();
      WatchRequest request;
      request.range = one.range;
      request.from_revision = one.from;
      request.prev_kv = true;
      request.max_batch_bytes = 1 + driver.below(2000);
      one.sink->set_pause(driver.below(3) == 0);
      one.watch = must(driver.store().watch(request, one.sink.get()));
      running.push_back(std::move(made));
    } else if (dice == 1 && !running.empty()) {
      const size_t which = driver.below(running.size());
      running[which]->watch->resume();
      if (driver.below(4) == 0) {
        finish(*running[which]);
        running.erase(running.begin() + static_cast<long>(which));
      }
    } else {
      // Neither restart nor compaction while watches run.
      const size_t writes = 1 + driver.below(3);
      for (size_t n = 0; n < writes; ++n) {
        const std::string key = driver.key(), value = driver.value();
        PutOp put;
        put.key = key;
        put.value = make_bytes(value);
        TxnRequest txn;
        if (driver.below(3) == 0) {
          txn.then_ops.emplace_back(DeleteOp{KeyRange::prefix(key), false});
          std::vector<std::string> deletes;
          for (const auto& [name, row] : driver.model().now())
            if (name.starts_with(key)) deletes.push_back(name);
          driver.model().apply({}, deletes);
        } else {
          txn.then_ops.emplace_back(put);
          driver.model().apply({{key, value, 0}}, {});
        }
        must(driver.store().txn(txn));
      }
    }
  }
  for (auto& one : running) finish(*one);
}

}  // namespace engenho::datastore
