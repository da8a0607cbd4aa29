#include "engenho/datastore/rocksdb_store.h"

#include "engenho/base/log.h"
#include "engenho/datastore/errors.h"
#include "janitor.h"
#include "writer.h"

namespace engenho::datastore {

namespace {

// A revision of the past as a transaction's state: for those that write nothing.
class ReadOnlyState final : public TxnState {
 public:
  ReadOnlyState(Reader& reader, Revision revision)
      : reader_(reader), revision_(revision), at_(reader, revision) {}
  Status check() const { return at_.check(); }
  Revision revision() const override { return revision_; }
  Result<std::optional<KeyValue>> get(const std::string& key) override { return at_.get(key); }
  Status scan(const KeyRange& range, const std::function<bool(const KeyValue&)>& visit) override {
    return at_.scan(range, true, [&](std::string_view key, const RowView& row) {
      return visit(to_key_value(key, row));
    });
  }
  Result<ListResult> list(const ListRequest& request) override {
    if (request.revision <= 0) return at_.list(request);
    auto result = reader_.list(request);
    if (result) result->revision = revision_;
    return result;
  }
  Status check_revision(Revision revision) const override {
    if (revision < 0 && reader_.compacted() == 0) return revision < -1 ? compacted_error() : Status();
    return Reader::At(reader_, revision).check();
  }
  bool lease_exists(LeaseId) const override { return false; }
  Result<PutResult> put(const PutOp&) override { return err(internal_error("a read-only transaction")); }
  Result<DeleteResult> remove(const DeleteOp&) override {
    return err(internal_error("a read-only transaction"));
  }

 private:
  Reader& reader_;
  const Revision revision_;
  Reader::At at_;
};

class RocksdbStore final : public Store {
 public:
  RocksdbStore(RocksdbOptions options, std::unique_ptr<Database> database)
      : options_(std::move(options)),
        database_(std::move(database)),
        reader_(*database_, progress_),
        leases_(*options_.clock),
        hub_(std::make_shared<WatchHub>(reader_, progress_, options_.ring_bytes)),
        writer_(options_, *database_, reader_, leases_, progress_, *hub_),
        janitor_(options_, *database_, progress_, leases_, writer_) {
    progress_.revision = progress_.assigned = database_->state().revision;
    progress_.keys = database_->state().keys;
    progress_.compacted = database_->compacted();
    progress_.scrubbed = database_->scrubbed();
  }

  ~RocksdbStore() override {
    janitor_.stop();
    writer_.stop();
    hub_->stop();
    if (Status status = database_->write_watermark(progress_.revision.load()); !status.ok())
      log::warn("datastore", "{}", status.message());
  }

  Status start() {
    ENGENHO_RETURN_IF_ERROR(writer_.load());
    ENGENHO_RETURN_IF_ERROR(database_->write_watermark(progress_.revision.load()));
    writer_.on_compacted = [this] { janitor_.wake(); };
    hub_->start();
    writer_.start();
    janitor_.start();
    return {};
  }

  Revision revision() const override { return progress_.revision.load(); }
  Revision compacted_revision() const override { return progress_.compacted.load(); }

  Result<GetResult> get(std::string_view key, Revision revision) override {
    if (key.empty()) return err(empty_key_error());
    return reader_.get(key, revision);
  }
  Result<ListResult> list(const ListRequest& request) override { return reader_.list(request); }

  void create_async(std::string key, Bytes value, LeaseId lease, Done<WriteResult> done) override {
    write({WriteRequest::Kind::kCreate, std::move(key), std::move(value), 0, lease, std::move(done)});
  }
  void update_async(std::string key, Bytes value, Revision expected, LeaseId lease,
                    Done<WriteResult> done) override {
    write({WriteRequest::Kind::kUpdate, std::move(key), std::move(value), expected, lease, std::move(done)});
  }
  void remove_async(std::string key, Revision expected, Done<WriteResult> done) override {
    write({WriteRequest::Kind::kRemove, std::move(key), nullptr, expected, 0, std::move(done)});
  }

  void txn_async(TxnRequest request, Done<TxnResult> done) override {
    if (Status status = check_txn(request, options_.max_request_bytes); !status.ok())
      return done(err(std::move(status)));
    if (writes(request)) {
      const size_t bytes = txn_bytes(request);
      return writer_.submit(TxnWork{std::move(request), std::move(done)}, bytes);
    }
    for (;;) {
      ReadOnlyState state(reader_, progress_.revision.load());
      if (!state.check().ok()) continue;  // outrun by a compaction: take the newest again
      return done(run_txn(state, request));
    }
  }

  void compact_async(Revision revision, bool physical, Done<Revision> done) override {
    CompactRequest request{revision, std::move(done)};
    if (physical) {
      request.done = [this, revision, done = std::move(request.done)](Result<Revision> result) mutable {
        if (result) janitor_.after_scrub(revision, std::move(done));
        else done(std::move(result));
      };
    }
    writer_.submit(std::move(request), 64);
  }

  void lease_grant_async(int64_t ttl_seconds, LeaseId id, Done<LeaseGrant> done) override {
    GrantRequest request{ttl_seconds, id, nullptr};
    request.done = [this, done = std::move(done)](Result<LeaseGrant> result) mutable {
      janitor_.wake();  // its deadline may be the next
      done(std::move(result));
    };
    writer_.submit(std::move(request), 64);
  }
  void lease_revoke_async(LeaseId id, Done<Revision> done) override {
    writer_.submit(RevokeRequest{id, false, std::move(done)}, 64);
  }
  Result<int64_t> lease_keep_alive(LeaseId id) override {
    const auto renewal = leases_.renew(id);
    if (!renewal) return err(lease_not_found_error());
    if (renewal->first) writer_.submit(RenewRequest{id}, 64);
    return renewal->ttl_seconds;
  }
  Result<LeaseInfo> lease_time_to_live(LeaseId id, bool keys) override {
    auto info = leases_.info(id);
    if (!info) return err(lease_not_found_error());
    if (keys) {
      ENGENHO_ASSIGN(info->keys, reader_.attached_keys(id));
    }
    return std::move(*info);
  }
  Result<std::vector<LeaseId>> leases() override { return leases_.ids(); }

  Result<std::unique_ptr<Watch>> watch(WatchRequest request, WatchSink* sink) override {
    return hub_->watch(std::move(request), sink);
  }

  Result<StoreStatus> status() override {
    StoreStatus status;
    status.revision = revision();
    status.compacted_revision = compacted_revision();
    status.keys = progress_.keys.load();
    uint64_t live = 0;
    for (auto* family : {database_->meta(), database_->live(), database_->past(), database_->log()}) {
      uint64_t size = 0;
      if (database_->db().GetIntProperty(family, rocksdb::DB::Properties::kEstimateLiveDataSize, &size))
        live += size;
      if (database_->db().GetIntProperty(family, rocksdb::DB::Properties::kCurSizeAllMemTables, &size))
        live += size;
    }
    status.db_size_bytes = static_cast<int64_t>(database_->size_bytes());
    status.db_size_in_use_bytes = std::min(status.db_size_bytes, static_cast<int64_t>(live));
    status.leases = static_cast<int64_t>(leases_.size());
    status.watches = static_cast<int64_t>(hub_->watches());
    status.cluster_id = database_->cluster_id();
    status.member_id = database_->member_id();
    status.alarm = writer_.alarm();
    status.alarms = writer_.alarms();
    status.quota_bytes = options_.quota_bytes;
    return status;
  }

  void alarm_async(Alarm alarm, bool active, Done<std::optional<Alarm>> done) override {
    if (alarm.type != Alarm::Type::kNoSpace && alarm.type != Alarm::Type::kCorrupt) return done(std::optional<Alarm>());
    writer_.submit(AlarmRequest{alarm, active, std::move(done)}, 64);
  }
  Result<Revision> versions(const VersionsRequest& request, const VersionVisitor& visit) override {
    return reader_.versions(request, visit);
  }

  Status defragment() override {
    rocksdb::CompactRangeOptions range;
    range.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    range.exclusive_manual_compaction = false;
    for (auto* family : {database_->meta(), database_->live(), database_->past(), database_->log()}) {
      const rocksdb::Status done = database_->db().CompactRange(range, family, nullptr, nullptr);
      if (!done.ok()) return database_->status(done, "defragment");
    }
    return {};
  }

 private:
  void write(WriteRequest request) {
    Status refused;
    const size_t bytes = request.key.size() + (request.value ? request.value->size() : 0) + 64;
    if (request.key.empty()) refused = empty_key_error();
    else if (request.kind != WriteRequest::Kind::kRemove && !request.value)
      refused = bad_request("a write without a value");
    else if (bytes > options_.max_request_bytes) refused = request_too_large_error();
    if (!refused.ok()) return request.done(err(std::move(refused)));
    writer_.submit(std::move(request), bytes);
  }

  const RocksdbOptions options_;
  std::unique_ptr<Database> database_;
  Progress progress_;
  Reader reader_;
  LeaseBook leases_;
  std::shared_ptr<WatchHub> hub_;
  Writer writer_;
  Janitor janitor_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_rocksdb_store(RocksdbOptions options) {
  if (!options.clock) options.clock = &Clock::real();
  ENGENHO_ASSIGN(auto database, Database::open(options));
  auto store = std::make_unique<RocksdbStore>(std::move(options), std::move(database));
  ENGENHO_TRY(store->start());
  return store;
}

}  // namespace engenho::datastore
