// RocksDB opened, locked, checked and sized for us. Nothing here knows what the rows mean beyond the checks at open.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "codec.h"
#include "engenho/base/status.h"
#include "engenho/datastore/rocksdb_store.h"

namespace engenho::datastore {

class LogRelay;

// Thread-safe, as rocksdb::DB is.
class Database {
 public:
  static Result<std::unique_ptr<Database>> open(const RocksdbOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  rocksdb::DB& db() { return *db_; }
  rocksdb::ColumnFamilyHandle* meta() { return families_[0]; }
  rocksdb::ColumnFamilyHandle* live() { return families_[1]; }
  rocksdb::ColumnFamilyHandle* past() { return families_[2]; }
  rocksdb::ColumnFamilyHandle* log() { return families_[3]; }

  // What was on disk when opened.
  const MetaState& state() const { return state_; }
  Revision compacted() const { return compacted_; }
  Revision scrubbed() const { return scrubbed_; }
  uint64_t cluster_id() const { return cluster_id_; }
  uint64_t member_id() const { return member_id_; }

  Result<MetaState> read_state(const rocksdb::Snapshot* snapshot = nullptr);

  // Applies all of the batch or nothing. Synced batches are on disk when this returns.
  Status commit(rocksdb::WriteBatch& batch, bool sync);
  // After commit() failed: leaves RocksDB's read-only state if what caused it is gone.
  Status resume();

  // Says what RocksDB says; damage and full disks become our own errors.
  Status status(const rocksdb::Status& status, std::string_view what) const;
  uint64_t size_bytes();
  // Remembers outside the database how far it has come, so that a database that went back is noticed at open.
  Status write_watermark(Revision revision);

 private:
  Database() = default;
  Status lock();
  Status open_rocksdb(const RocksdbOptions& options);
  Status check(const RocksdbOptions& options);
  Status initialise();
  Result<std::string> read_meta(std::string_view name, bool& found);

  std::string dir_;
  bool fsync_ = true;
  uint64_t needed_free_bytes_ = 0;  // on the file system, to recover from a full one
  int lock_fd_ = -1;
  std::shared_ptr<LogRelay> relay_;
  rocksdb::DB* db_ = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  MetaState state_;
  Revision compacted_ = 0, scrubbed_ = 0;
  uint64_t cluster_id_ = 0, member_id_ = 0;
};

inline rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace engenho::datastore
