// Snapshots: all that a store holds, history since the last compaction included, in one file of etcd's own snapshot format. etcd restores
// ours (`etcdutl snapshot restore`), and we restore etcd's. Ours carry checksums by chunk besides, so that damage is found where it is.
#pragma once

#include <string>
#include <vector>

#include "engenho/datastore/rocksdb_store.h"
#include "engenho/datastore/store.h"

namespace engenho::datastore {

struct SnapshotInfo {
  std::string path;
  int64_t bytes = 0;
  Revision revision = 0, compacted_revision = 0;
  int64_t keys = 0;       // live ones
  int64_t versions = 0;   // with history and tombstones
};

// Writes the store as it is now to a new file, synced. Reads and writes go on meanwhile. A file that failed is removed.
Result<SnapshotInfo> write_snapshot(Store& store, const std::string& path);
// Reads all of a file and checks it. A damaged or cut one is refused with the place of the damage.
Result<SnapshotInfo> inspect_snapshot(const std::string& path);
// Makes a new data directory `options.dir`, which must not exist or be empty, from a file; nothing is left there when that fails. Keys, values,
// revisions and leases are those of the file; leases begin their whole time anew; cluster and member get new ids.
Result<SnapshotInfo> restore_snapshot(const std::string& path, RocksdbOptions options);

// Where a running server is asked for a snapshot.
struct SnapshotSource {
  std::string endpoint;                             // unix:///path, http://host:port or https://host:port
  std::string ca_pem, certificate_pem, key_pem;     // for https
};
// The same file, from a server of etcd's API: ours or etcd itself.
Result<SnapshotInfo> fetch_snapshot(const SnapshotSource& source, const std::string& path);

// The directory of scheduled snapshots: files "snapshot-<UTC time>-<revision>.db".
std::string snapshot_name(Revision revision, WallTime now);
Result<std::vector<std::string>> list_snapshots(const std::string& dir);  // paths, the oldest first; none when there is no such directory
// Removes the oldest until `keep` are left; answers what was removed.
Result<std::vector<std::string>> prune_snapshots(const std::string& dir, size_t keep);

}  // namespace engenho::datastore
