#include "database.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

// RocksDB's own messages: errors go to our log as warnings, the rest as debug lines; the last ones are kept, because they name the file that an error
// status of a damaged write-ahead log does not.
class LogRelay final : public rocksdb::Logger {
 public:
  LogRelay() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* format, va_list ap) override { Logv(rocksdb::InfoLogLevel::WARN_LEVEL, format, ap); }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list ap) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    char text[512];
    vsnprintf(text, sizeof(text), format, ap);
    if (level >= rocksdb::InfoLogLevel::ERROR_LEVEL) log::warn("datastore", "rocksdb: {}", trim(text));
    else log::debug("datastore", "rocksdb: {}", trim(text));
    std::lock_guard lock(mutex_);
    lines_.emplace_back(trim(text));
    if (lines_.size() > 4) lines_.pop_front();
  }
  std::string lines() {
    std::lock_guard lock(mutex_);
    std::string out;
    for (const std::string& line : lines_) out += (out.empty() ? "" : "; ") + line;
    return out;
  }

 private:
  std::mutex mutex_;
  std::deque<std::string> lines_;
};

namespace {

// After an error RocksDB waits for us: the writer asks for recovery when there is something to write, and so sees at once
// that there is space again, not at RocksDB's next look in five seconds.
class ManualRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* automatic) override {
    *automatic = false;
  }
};

constexpr const char* kFamilies[] = {"default", "live", "past", "log"};

rocksdb::ColumnFamilyOptions family_options(const RocksdbOptions& options,
                                            const std::shared_ptr<rocksdb::Cache>& cache, bool bloom) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 8 << 10;
  table.cache_index_and_filter_blocks = true;  // so that the cache's size bounds them, too
  table.format_version = 5;
  if (bloom) table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  rocksdb::ColumnFamilyOptions family;
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  family.write_buffer_size = options.write_buffer_bytes / 2;
  family.arena_block_size = 64 << 10;
  family.max_write_buffer_number = 3;
  family.target_file_size_base = 8 << 20;
  family.max_bytes_for_level_base = 32 << 20;
  family.compression = rocksdb::kLZ4Compression;
  return family;
}

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const RocksdbOptions& options) {
  std::unique_ptr<Database> database(new Database);
  database->dir_ = options.dir;
  database->fsync_ = options.fsync;
  database->needed_free_bytes_ = 2 * options.write_buffer_bytes + (512 << 10);
  ENGENHO_TRY(make_dirs(options.dir, 0700));
  ENGENHO_TRY(make_dirs(options.dir + "/db", 0700));
  ENGENHO_TRY(database->lock());
  ENGENHO_TRY(database->open_rocksdb(options));
  ENGENHO_TRY(database->check(options));
  return database;
}

Database::~Database() {
  for (auto* family : families_) db_->DestroyColumnFamilyHandle(family);
  if (db_) {
    db_->Close().PermitUncheckedError();
    delete db_;
  }
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Status Database::lock() {
  const std::string path = dir_ + "/lock";
  lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return errno_error("datastore: " + path, errno);
  char pid[32] = {};
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("datastore: lock " + path, errno);
    const ssize_t got = ::pread(lock_fd_, pid, sizeof(pid) - 1, 0);
    return unavailable("datastore: the directory " + dir_ + " is in use by process " +
                       (got > 0 ? std::string(trim(pid)) : "(unknown)"));
  }
  const int size = snprintf(pid, sizeof(pid), "%d\n", static_cast<int>(::getpid()));
  // Only for the message above; the lock itself is the kernel's.
  if (::ftruncate(lock_fd_, 0) != 0 || ::pwrite(lock_fd_, pid, size, 0) != size)
    return errno_error("datastore: " + path, errno);
  return {};
}

Status Database::open_rocksdb(const RocksdbOptions& options) {
  relay_ = std::make_shared<LogRelay>();
  rocksdb::LRUCacheOptions cache_options;
  cache_options.capacity = options.block_cache_bytes;
  cache_options.num_shard_bits = 2;
  auto cache = rocksdb::NewLRUCache(cache_options);

  rocksdb::DBOptions db;
  if (options.env) db.env = options.env;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.info_log = relay_;
  db.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  db.listeners.push_back(std::make_shared<ManualRecovery>());
  db.paranoid_checks = true;
  // A torn last record is a write that was never acknowledged; damage before it is refused, not skipped.
  db.wal_recovery_mode = options.recover_damaged_log ? rocksdb::WALRecoveryMode::kPointInTimeRecovery
                                                     : rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db.track_and_verify_wals_in_manifest = true;  // a missing log file is noticed
  db.max_open_files = options.max_open_files;
  db.max_file_opening_threads = 1;
  db.max_background_jobs = 2;
  db.db_write_buffer_size = options.write_buffer_bytes;
  db.max_total_wal_size = 4 * options.write_buffer_bytes;
  db.max_manifest_file_size = 4 << 20;
  db.bytes_per_sync = 1 << 20;
  db.allow_concurrent_memtable_write = false;  // there is one writer
  db.enable_write_thread_adaptive_yield = false;
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  db.skip_stats_update_on_db_open = true;

  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (int i = 0; i < 4; ++i)
    descriptors.emplace_back(kFamilies[i], family_options(options, cache, i == 1 || i == 2));
  const rocksdb::Status opened = rocksdb::DB::Open(db, dir_ + "/db", descriptors, &families_, &db_);
  if (opened.ok()) return {};
  if (opened.IsCorruption()) {
    std::string text = "the data in " + dir_ + "/db is damaged and was left untouched: " + opened.ToString();
    // For a missing table RocksDB names the last thing it tried, LevelDB's old suffix.
    for (size_t at; (at = text.find(".ldb")) != std::string::npos;) text.replace(at, 4, ".sst");
    if (const std::string lines = relay_->lines(); !lines.empty()) text += " (" + lines + ")";
    return damaged_error(std::move(text));
  }
  return status(opened, "open " + dir_ + "/db");
}

Result<std::string> Database::read_meta(std::string_view name, bool& found) {
  std::string value;
  const rocksdb::Status got = db_->Get(rocksdb::ReadOptions(), meta(), slice(name), &value);
  found = got.ok();
  if (!got.ok() && !got.IsNotFound()) return err(status(got, "read " + std::string(name)));
  return value;
}

Result<MetaState> Database::read_state(const rocksdb::Snapshot* snapshot) {
  rocksdb::ReadOptions read;
  read.snapshot = snapshot;
  rocksdb::PinnableSlice value;
  const rocksdb::Status got = db_->Get(read, meta(), slice(kMetaState), &value);
  if (!got.ok()) return err(status(got, "read the state row"));
  MetaState state;
  if (!decode_state(view(value), state)) return err(damaged_error("the state row is malformed"));
  return state;
}

Status Database::initialise() {
  // A directory with other data in it is not ours to begin anew.
  for (auto* family : families_) {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions(), family));
    it->SeekToFirst();
    if (it->Valid()) return damaged_error(dir_ + "/db has data but no format row");
    if (!it->status().ok()) return status(it->status(), "read " + dir_ + "/db");
  }
  rocksdb::WriteBatch batch;
  cluster_id_ = random_u64();
  member_id_ = random_u64();
  std::string ids;
  put_be64(ids, cluster_id_);
  put_be64(ids, member_id_);
  batch.Put(meta(), slice(kMetaFormat), slice(kFormatName));
  batch.Put(meta(), slice(kMetaState), encode_state(state_));
  batch.Put(meta(), slice(kMetaCompacted), encode_int(0));
  batch.Put(meta(), slice(kMetaScrubbed), encode_int(0));
  batch.Put(meta(), slice(kMetaCluster), ids);
  return commit(batch, true);
}

Status Database::check(const RocksdbOptions& options) {
  bool found = false;
  ENGENHO_ASSIGN_OR_RETURN(const std::string format, read_meta(kMetaFormat, found));
  const std::string watermark_path = dir_ + "/revision";
  int64_t watermark = 0;
  if (path_exists(watermark_path)) {
    ENGENHO_ASSIGN_OR_RETURN(const std::string text, read_file(watermark_path));
    if (!parse_int(trim(text), watermark)) return damaged_error(watermark_path + " is malformed");
  }
  if (!found) {
    if (watermark > 0)
      return damaged_error(dir_ + "/db is empty, but was at revision " + std::to_string(watermark) +
                           " before (" + watermark_path + "): data is missing");
    return initialise();
  }
  if (format == kOlderFormatName) {
    // An older program must not meet rows that it does not know.
    rocksdb::WriteBatch batch;
    batch.Put(meta(), slice(kMetaFormat), slice(kFormatName));
    ENGENHO_RETURN_IF_ERROR(commit(batch, true));
  } else if (format != kFormatName)
    return damaged_error(dir_ + "/db has the format \"" + format + "\"; this version reads \"" +
                         std::string(kFormatName) + "\"");

  ENGENHO_ASSIGN_OR_RETURN(state_, read_state());
  ENGENHO_ASSIGN_OR_RETURN(const std::string compacted, read_meta(kMetaCompacted, found));
  ENGENHO_ASSIGN_OR_RETURN(const std::string scrubbed, read_meta(kMetaScrubbed, found));
  ENGENHO_ASSIGN_OR_RETURN(const std::string ids, read_meta(kMetaCluster, found));
  if (!decode_int(compacted, compacted_) || !decode_int(scrubbed, scrubbed_) || ids.size() != 16 ||
      scrubbed_ > compacted_ || compacted_ > state_.revision)
    return damaged_error(dir_ + "/db: the meta rows are malformed");
  cluster_id_ = get_be64(ids.data());
  member_id_ = get_be64(ids.data() + 8);

  // The last change of the log is the store's revision: state and log are written together or not at all.
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions(), log()));
  it->SeekToLast();
  if (!it->status().ok()) return status(it->status(), "read the revision log of " + dir_ + "/db");
  const Revision last =
      it->Valid() && it->key().size() == 8 ? static_cast<int64_t>(get_be64(it->key().data())) : 1;
  if (last != state_.revision)
    return damaged_error(dir_ + "/db: the revision log ends at " + std::to_string(last) +
                         " but the state is at " + std::to_string(state_.revision));
  if (watermark > state_.revision && !options.recover_damaged_log)
    return damaged_error(dir_ + "/db is at revision " + std::to_string(state_.revision) + ", but was at " +
                         std::to_string(watermark) + " before (" + watermark_path + "): data is missing");
  // And it begins where compaction has removed up to.
  const Revision first = std::max<Revision>(scrubbed_, 2);
  it->Seek(log_key(first));
  if (first <= last && (!it->Valid() || it->key() != log_key(first)))
    return damaged_error(dir_ + "/db: revision " + std::to_string(first) + " is missing in the log");
  it.reset();

  if (size_bytes() <= options.verify_limit_bytes) {
    if (const rocksdb::Status verified = db_->VerifyChecksum(); !verified.ok())
      return damaged_error("the data in " + dir_ + "/db is damaged: " + verified.ToString());
  }
  return {};
}

Status Database::commit(rocksdb::WriteBatch& batch, bool sync) {
  rocksdb::WriteOptions write;
  write.sync = sync && fsync_;
  const rocksdb::Status written = db_->Write(write, &batch);
  return written.ok() ? Status() : status(written, "write to " + dir_ + "/db");
}

Status Database::resume() {
  // RocksDB (7.8) recovers by flushing what is in memory, and can wait for ever for a flush that finds no space again. So
  // there must be plenty before it may try.
  struct statvfs disk{};
  if (::statvfs(dir_.c_str(), &disk) != 0) return errno_error("statvfs " + dir_, errno);
  if (static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize < needed_free_bytes_) return no_space_error();
  const rocksdb::Status resumed = db_->Resume();
  return resumed.ok() ? Status() : status(resumed, "write to " + dir_ + "/db");
}

Status Database::status(const rocksdb::Status& status, std::string_view what) const {
  if (status.ok()) return {};
  if (status.IsNoSpace()) return no_space_error();
  return damaged_error(std::string(what) + ": " + status.ToString());
}

uint64_t Database::size_bytes() {
  uint64_t total = 0;
  for (auto* family : families_) {
    uint64_t size = 0;
    if (db_->GetIntProperty(family, rocksdb::DB::Properties::kTotalSstFilesSize, &size)) total += size;
    if (db_->GetIntProperty(family, rocksdb::DB::Properties::kCurSizeAllMemTables, &size)) total += size;
  }
  return total;
}

Status Database::write_watermark(Revision revision) {
  return write_file_atomic(dir_ + "/revision", std::to_string(revision) + "\n", 0600);
}

}  // namespace engenho::datastore
