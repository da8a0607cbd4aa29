// The rows of etcd's own database (its backend's buckets), as far as hashes and snapshots show them.
#pragma once

#include <string>

#include "engenho/datastore/store.h"

namespace engenho::datastore {

// Bucket "key": be64 revision, '_', be64 sub revision, and 't' for a tombstone -> mvccpb.KeyValue.
std::string backend_revision(Revision main, int32_t sub);  // 17 bytes
std::string backend_key(const Version& version);
std::string backend_value(const Version& version);

// etcd's HashKV: everything up to `revision` but what a compaction at it would drop from before the last compaction. Sets `compacted` to
// that last compaction. The same history gives the same hash there and here.
Result<uint32_t> backend_hash(Store& store, Revision revision, Revision& compacted);

}  // namespace engenho::datastore
