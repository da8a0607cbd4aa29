// Every version that is left, in the order of revisions: what etcd's backend holds in its bucket "key". For hashes and snapshots.
#include <rocksdb/iterator.h>

#include <algorithm>

#include "engenho/datastore/errors.h"
#include "reader.h"

namespace engenho::datastore {

namespace {

// A version up to the compacted revision. Its key stands in one long string, because there may be millions.
struct Old {
  Revision revision;
  int32_t sub;
  bool deleted;
  uint32_t length;
  size_t offset;
};

KeyValue tombstone(std::string_view key, Revision revision, int32_t sub) {
  KeyValue kv;
  kv.key = std::string(key);
  kv.value = empty_bytes();
  kv.mod_revision = revision;
  kv.sub_revision = sub;
  return kv;
}

}  // namespace

Result<Revision> Reader::versions(const VersionsRequest& request, const Store::VersionVisitor& visit) {
  At at(*this, request.visible_at);
  // Loaded after the snapshot was taken, so that the snapshot still has all that is needed from there on.
  const Revision compacted = progress_.compacted.load();
  ENGENHO_TRY(at.check());

  rocksdb::ReadOptions read;
  read.snapshot = at.snapshot();
  read.fill_cache = false;
  std::vector<Change> changes;

  if (compacted > 0) {
    std::string keys;
    std::vector<Old> old;
    ENGENHO_TRY(at.scan(KeyRange::all(), false, [&](std::string_view key, const RowView& row) {
      if (row.header.mod_revision > compacted) return true;
      old.push_back({row.header.mod_revision, row.header.sub_revision, false, static_cast<uint32_t>(key.size()), keys.size()});
      keys.append(key);
      return true;
    }));
    // The log still has the compacted revision itself, and so its deletions.
    std::string row;
    const rocksdb::Status got = database_.db().Get(read, database_.log(), log_key(compacted), &row);
    if (!got.ok() && !got.IsNotFound()) return err(database_.status(got, "read the revision log"));
    if (got.ok() && !decode_changes(row, changes)) return err(damaged_error("revision " + std::to_string(compacted) + " of the log is malformed"));
    if (got.ok()) {
      for (size_t i = 0; i < changes.size(); ++i) {
        if (!changes[i].deleted) continue;
        old.push_back({compacted, static_cast<int32_t>(i), true, static_cast<uint32_t>(changes[i].key.size()), keys.size()});
        keys.append(changes[i].key);
      }
    }
    std::sort(old.begin(), old.end(), [](const Old& a, const Old& b) {
      return a.revision != b.revision ? a.revision < b.revision : a.sub < b.sub;
    });
    // Rows of the older format do not know their place; any order will do for them, but each needs one of its own.
    for (size_t i = 1; i < old.size(); ++i)
      if (old[i].revision == old[i - 1].revision && old[i].sub <= old[i - 1].sub) old[i].sub = old[i - 1].sub + 1;
    for (const Old& one : old) {
      const std::string_view key = std::string_view(keys).substr(one.offset, one.length);
      if (one.deleted) {
        ENGENHO_TRY(visit({tombstone(key, one.revision, one.sub), true}));
        continue;
      }
      ENGENHO_ASSIGN(auto kv, at.get(key));
      if (!kv) return err(damaged_error("the key " + std::string(key) + " was listed and cannot be read"));
      kv->sub_revision = one.sub;
      ENGENHO_TRY(visit({std::move(*kv), false}));
    }
  }

  std::unique_ptr<rocksdb::Iterator> it(database_.db().NewIterator(read, database_.log()));
  Revision next = std::max<Revision>(compacted + 1, 2);  // revision 1 is the empty store
  for (it->Seek(log_key(next)); next <= request.through; ++next, it->Next()) {
    ENGENHO_TRY(database_.status(it->status(), "read the revision log"));
    if (!it->Valid() || it->key().size() != 8 || static_cast<Revision>(get_be64(it->key().data())) != next ||
        !decode_changes(view(it->value()), changes))
      return err(damaged_error("revision " + std::to_string(next) + " is missing in the log"));
    int32_t sub = 0;
    for (const Change& change : changes) {
      Version version{tombstone(change.key, next, sub), change.deleted};
      if (!change.deleted) ENGENHO_TRY(exact(read, change.key, next, version.kv));
      version.kv.sub_revision = sub++;
      ENGENHO_TRY(visit(version));
    }
  }
  return compacted;
}

}  // namespace engenho::datastore
