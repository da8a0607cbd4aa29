#include <rocksdb/iterator.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "database.h"
#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "engenho/datastore/errors.h"
#include "etcd.pb.h"
#include "snapshot_read.h"

namespace engenho::datastore {

namespace {

// A lease that the snapshot no longer knew ended while it was taken: so do its keys, soon.
constexpr int64_t kOrphanSeconds = 60;

// Builds rows as the writer would have: one batch a revision.
class Restorer {
 public:
  explicit Restorer(Database& database) : database_(database) {}

  Status add(const Version& version, Revision compacted) {
    const KeyValue& kv = version.kv;
    if (kv.mod_revision != revision_) {
      ENGENHO_RETURN_IF_ERROR(commit());
      revision_ = kv.mod_revision;
    }
    std::string live;
    const rocksdb::Status got = database_.db().Get(rocksdb::ReadOptions(), database_.live(), kv.key, &live);
    if (!got.ok() && !got.IsNotFound()) return database_.status(got, "read a key");
    RowView before;
    if (got.ok() && !decode_row(live, before)) return damaged_error("a row just written is malformed");
    Revision ended = 0;
    // Up to the compacted revision only the last one counts; after it, every version that something may still read.
    if (got.ok() && kv.mod_revision > compacted) {
      ended = before.header.mod_revision;
      batch_.Put(database_.past(), past_key(kv.key, ended), encode_past_row(kv.mod_revision, before.header, before.value));
    }
    if (version.deleted) {
      batch_.Delete(database_.live(), kv.key);
    } else {
      const RowHeader header{kv.create_revision, kv.mod_revision, kv.version, kv.lease, kv.sub_revision};
      batch_.Put(database_.live(), kv.key, encode_row(header, *kv.value));
    }
    if (kv.mod_revision >= compacted) append_change(log_, version.deleted, ended, kv.key);
    keys_ += (version.deleted ? 0 : 1) - (got.ok() ? 1 : 0);
    return {};
  }

  Status finish(const BoltReader& file, SnapshotInfo& info) {
    ENGENHO_RETURN_IF_ERROR(commit());
    // The log begins with the compacted revision, also when none of its changes are left.
    std::string row;
    const Revision first = std::max<Revision>(2, info.compacted_revision);
    if (first <= info.revision && database_.db().Get(rocksdb::ReadOptions(), database_.log(), log_key(first), &row).IsNotFound())
      batch_.Put(database_.log(), log_key(first), "");
    std::set<LeaseId> known;
    ENGENHO_RETURN_IF_ERROR(file.scan("lease", [&](std::string_view key, std::string_view value) -> Status {
      etcdserverpb::LeaseCheckpoint lease;  // the same fields as leasepb.Lease
      if (key.size() != 8 || !lease.ParseFromArray(value.data(), static_cast<int>(value.size())) || lease.remaining_ttl() < 1 ||
          static_cast<uint64_t>(lease.id()) != get_be64(key.data()))
        return damaged_error("the snapshot " + info.path + " is damaged: a lease is malformed");
      grant(lease.id(), lease.remaining_ttl());
      known.insert(lease.id());
      return {};
    }));
    std::unique_ptr<rocksdb::Iterator> it(database_.db().NewIterator(rocksdb::ReadOptions(), database_.live()));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      RowView live;
      if (!decode_row(view(it->value()), live)) return damaged_error("a row just written is malformed");
      if (live.header.lease == 0) continue;
      batch_.Put(database_.meta(), attachment_key(live.header.lease, view(it->key())), "");
      if (known.insert(live.header.lease).second) grant(live.header.lease, kOrphanSeconds);
    }
    ENGENHO_RETURN_IF_ERROR(database_.status(it->status(), "read what was restored"));
    info.keys = keys_;
    batch_.Put(database_.meta(), slice(kMetaState), encode_state({info.revision, keys_}));
    batch_.Put(database_.meta(), slice(kMetaCompacted), encode_int(info.compacted_revision));
    batch_.Put(database_.meta(), slice(kMetaScrubbed), encode_int(info.compacted_revision));
    return database_.commit(batch_, true);
  }

 private:
  void grant(LeaseId id, int64_t ttl) {
    GrantRow row;
    row.ttl_seconds = ttl;
    row.kept_alive = true;  // the whole time again at the next start
    batch_.Put(database_.meta(), grant_key(id), encode_grant(row));
  }
  Status commit() {
    if (!log_.empty()) batch_.Put(database_.log(), log_key(revision_), log_);
    log_.clear();
    if (batch_.Count() == 0) return {};
    ENGENHO_RETURN_IF_ERROR(database_.commit(batch_, false));
    batch_.Clear();
    return {};
  }

  Database& database_;
  rocksdb::WriteBatch batch_;
  std::string log_;
  Revision revision_ = 0;
  int64_t keys_ = 0;
};

Result<SnapshotInfo> restore(const std::string& path, const BoltReader& file, const RocksdbOptions& options) {
  ENGENHO_ASSIGN(const auto database, Database::open(options));
  Restorer restorer(*database);
  ENGENHO_ASSIGN(SnapshotInfo info, read_snapshot(path, file, [&](const Version& version, Revision compacted) {
    return restorer.add(version, compacted);
  }));
  ENGENHO_TRY(restorer.finish(file, info));
  ENGENHO_TRY(database->write_watermark(info.revision));
  return info;
}

}  // namespace

Result<SnapshotInfo> restore_snapshot(const std::string& path, RocksdbOptions options) {
  BoltReader file;
  ENGENHO_TRY(file.open(path));
  std::error_code error;
  const std::string target = options.dir;
  if (path_exists(target) && !std::filesystem::is_empty(target, error))
    return err(bad_request(target + " exists and is not empty; restore into a new directory, and keep the old one until the new one is in use"));
  // Beside it first: a restore that fails or is killed leaves no half of a database at the place where one is looked for.
  options.dir = target + ".restoring-" + random_name_suffix(6);
  if (!options.clock) options.clock = &Clock::real();
  auto info = restore(path, file, options);
  if (info) {
    // Opened once as a server would, with all its checks.
    if (auto checked = Database::open(options); !checked) info = err(checked.error());
  }
  if (info) {
    ::rmdir(target.c_str());
    if (::rename(options.dir.c_str(), target.c_str()) != 0) info = err(errno_error("rename " + options.dir, errno));
  }
  if (!info) std::filesystem::remove_all(options.dir, error);
  return info;
}

}  // namespace engenho::datastore
