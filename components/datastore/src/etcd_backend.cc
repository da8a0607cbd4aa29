#include "etcd_backend.h"

#include "codec.h"
#include "crc32c.h"
#include "etcd_convert.h"

namespace engenho::datastore {

std::string backend_revision(Revision main, int32_t sub) {
  std::string out;
  put_be64(out, static_cast<uint64_t>(main));
  out.push_back('_');
  put_be64(out, static_cast<uint64_t>(sub));
  return out;
}

std::string backend_key(const Version& version) {
  std::string out = backend_revision(version.kv.mod_revision, version.kv.sub_revision);
  if (version.deleted) out.push_back('t');
  return out;
}

std::string backend_value(const Version& version) {
  mvccpb::KeyValue kv;
  if (version.deleted) kv.set_key(version.kv.key);
  else to_pb(version.kv, &kv);
  return kv.SerializeAsString();
}

Result<uint32_t> backend_hash(Store& store, Revision revision, Revision& compacted) {
  VersionsRequest request{revision, revision};
  ListRequest any;
  any.revision = revision;
  any.count_only = true;
  any.limit = 1;
  ENGENHO_ASSIGN(const ListResult found, store.list(any));
  // With no key left there is nothing that etcd would pick from the versions up to the compaction; it hashes them all then.
  if (found.count == 0 && store.compacted_revision() > 0) request.visible_at = store.compacted_revision();
  uint32_t crc = crc32c(0, "key");
  Revision base = store.compacted_revision();
  auto visit = [&](const Version& version) -> Status {
    // Older etcds drop the tombstone at the compacted revision, so newer ones leave it out of the hash.
    if (version.deleted && version.kv.mod_revision <= base) return {};
    crc = crc32c(crc32c(crc, backend_key(version)), backend_value(version));
    return {};
  };
  ENGENHO_ASSIGN(compacted, store.versions(request, visit));
  if (compacted != base) return backend_hash(store, revision, compacted);  // compacted meanwhile
  return crc;
}

}  // namespace engenho::datastore
