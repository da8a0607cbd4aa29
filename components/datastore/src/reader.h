// Reads of one revision, all of it, while writes and compaction go on. No locks: RocksDB's snapshots and the row format
// (live rows carry their mod_revision, past rows the interval in which they were visible) do it.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "database.h"
#include "engenho/datastore/store.h"
#include "progress.h"

namespace engenho::datastore {

Bytes empty_bytes();
KeyValue to_key_value(std::string_view key, const RowView& row, bool keys_only = false);

// Called in key order; false ends the scan.
using RowVisitor = std::function<bool(std::string_view key, const RowView& row)>;

struct HistoryRequest {
  const KeyRange* range = nullptr;
  Revision from = 0, to = 0;  // both included
  bool prev_kv = false, no_put = false, no_delete = false;
  size_t max_bytes = 1 << 20;
};
struct History {
  std::vector<EventPtr> events;  // whole revisions
  Revision through = 0;          // how far it has come; less than `to` when a limit cut it
};

class Reader {
 public:
  Reader(Database& database, const Progress& progress) : database_(database), progress_(progress) {}

  Result<GetResult> get(std::string_view key, Revision revision);
  Result<ListResult> list(const ListRequest& request);
  Result<History> history(const HistoryRequest& request);
  Result<std::vector<std::string>> attached_keys(LeaseId lease);
  Result<Revision> versions(const VersionsRequest& request, const Store::VersionVisitor& visit);
  Revision compacted() const { return progress_.compacted.load(); }

  // The newest value, whatever its revision. Only for the writer, who knows that nobody else writes.
  Result<std::optional<KeyValue>> newest(std::string_view key);

  // A view of one revision, kept for several reads. Holds back RocksDB's garbage collection: keep it short.
  class At {
   public:
    const rocksdb::Snapshot* snapshot() const { return snapshot_; }
    At(Reader& reader, Revision revision);
    ~At();
    At(const At&) = delete;
    At& operator=(const At&) = delete;
    Status check() const;  // compacted_error() or future_revision_error() when this revision can not be read
    Result<std::optional<KeyValue>> get(std::string_view key);
    Status scan(const KeyRange& range, bool fill_cache, const RowVisitor& visit);
    Result<ListResult> list(const ListRequest& request);

   private:
    Status scan_past(const KeyRange& range, bool fill_cache, const RowVisitor& visit);
    Reader& reader_;
    const Revision revision_;
    const rocksdb::Snapshot* snapshot_;
  };

 private:
  bool outrun(const Status& status, Revision asked, Revision& now) const;
  Status build_event(const rocksdb::ReadOptions& read, const Change& change, Revision revision, bool prev_kv,
                     Event& out);
  // The version of `key` written at exactly `revision`.
  Status exact(const rocksdb::ReadOptions& read, std::string_view key, Revision revision, KeyValue& out);

  Database& database_;
  const Progress& progress_;
};

// Cuts and counts what a scan visits, as a ListRequest asks.
class ListBuilder {
 public:
  ListBuilder(const ListRequest& request, ListResult& result) : request_(request), result_(result) {}
  bool add(std::string_view key, const RowView& row);
  bool add(const KeyValue& kv);
  void finish() { result_.count = stopped_ ? -1 : count_; }

 private:
  const ListRequest& request_;
  ListResult& result_;
  int64_t count_ = 0;
  bool stopped_ = false;
};

}  // namespace engenho::datastore
