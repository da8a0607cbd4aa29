#include "engenho/datastore/snapshot.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <map>

#include "bolt_file.h"
#include "codec.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/datastore/errors.h"
#include "etcd.pb.h"
#include "etcd_backend.h"
#include "snapshot_read.h"

namespace engenho::datastore {

namespace {

// etcd's buckets and the rows of them that mean something here.
constexpr const char* kClusterVersion = "3.5.0";
constexpr const char* kScheduledCompaction = "scheduledCompactRev";
constexpr const char* kFinishedCompaction = "finishedCompactRev";

std::string be64(uint64_t value) {
  std::string out;
  put_be64(out, value);
  return out;
}

// leasepb.Lease has an id as field 1 and a TTL as field 2, as this message does.
std::string lease_row(LeaseId id, int64_t ttl) {
  etcdserverpb::LeaseCheckpoint lease;
  lease.set_id(id);
  lease.set_remaining_ttl(ttl);
  return lease.SerializeAsString();
}

Status add_leases(Store& store, std::map<LeaseId, int64_t>& leases) {
  ENGENHO_ASSIGN_OR_RETURN(const auto ids, store.leases());
  for (const LeaseId id : ids)
    if (auto info = store.lease_time_to_live(id, false)) leases[id] = info->granted_ttl_seconds;
  return {};
}

Result<SnapshotInfo> write(Store& store, const std::string& path) {
  SnapshotInfo info;
  info.path = path;
  // Before and after the revision is chosen, so that those of its keys are among them.
  std::map<LeaseId, int64_t> leases;
  ENGENHO_TRY(add_leases(store, leases));
  info.revision = store.revision();
  ENGENHO_TRY(add_leases(store, leases));
  ENGENHO_ASSIGN(const StoreStatus status, store.status());

  BoltWriter file;
  ENGENHO_TRY(file.open(path));
  file.begin_bucket("alarm");
  ENGENHO_TRY(file.end_bucket());
  for (const char* bucket : {"auth", "authRoles", "authUsers"}) {
    file.begin_bucket(bucket);
    ENGENHO_TRY(file.end_bucket());
  }
  file.begin_bucket("cluster");
  ENGENHO_TRY(file.add("clusterVersion", kClusterVersion));
  ENGENHO_TRY(file.end_bucket());
  file.begin_bucket("key");
  const Revision compacted = store.compacted_revision();
  VersionsRequest request{info.revision, compacted > 0 ? compacted : info.revision};
  ENGENHO_ASSIGN(info.compacted_revision, store.versions(request, [&](const Version& version) {
    ++info.versions;
    return file.add(backend_key(version), backend_value(version));
  }));
  if (info.compacted_revision != compacted) return err(compacted_error());
  ENGENHO_TRY(file.end_bucket());
  file.begin_bucket("lease");
  for (const auto& [id, ttl] : leases) ENGENHO_TRY(file.add(be64(static_cast<uint64_t>(id)), lease_row(id, ttl)));
  ENGENHO_TRY(file.end_bucket());
  for (const char* bucket : {"members", "members_removed"}) {
    file.begin_bucket(bucket);
    ENGENHO_TRY(file.end_bucket());
  }
  file.begin_bucket("meta");
  ENGENHO_TRY(file.add("consistent_index", be64(static_cast<uint64_t>(info.revision))));
  if (compacted > 0) {
    ENGENHO_TRY(file.add(kFinishedCompaction, backend_revision(compacted, 0)));
    ENGENHO_TRY(file.add(kScheduledCompaction, backend_revision(compacted, 0)));
  }
  ENGENHO_TRY(file.add("term", be64(1)));
  ENGENHO_TRY(file.end_bucket());
  ENGENHO_TRY(file.finish(true));
  info.keys = status.keys;
  info.bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  return info;
}

Status malformed(const std::string& path, const std::string& what) {
  return damaged_error("the snapshot " + path + " is damaged: " + what);
}

bool parse_revision(std::string_view bytes, Revision& main, int64_t& sub) {
  if (bytes.size() < 17 || bytes[8] != '_') return false;
  main = static_cast<int64_t>(get_be64(bytes.data()));
  sub = static_cast<int64_t>(get_be64(bytes.data() + 9));
  return main > 0 && sub >= 0;
}

}  // namespace

Result<SnapshotInfo> write_snapshot(Store& store, const std::string& path) {
  for (int attempt = 0;; ++attempt) {
    auto info = write(store, path);
    if (info) return info;
    if (info.error().message().find("File exists") == std::string::npos) ::unlink(path.c_str());
    // A compaction came between: once more. They are minutes apart.
    if (attempt == 3 || !is_compacted(info.error())) return info;
  }
}

// Calls `visit` for each version in order, with what is known before.
Result<SnapshotInfo> read_snapshot(const std::string& path, const BoltReader& file, const std::function<Status(const Version&, Revision compacted)>& visit) {
  SnapshotInfo info;
  info.path = path;
  info.bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  int64_t sub = 0;
  bool is_etcd = false;
  ENGENHO_TRY(file.scan("meta", [&](std::string_view key, std::string_view value) -> Status {
    is_etcd = true;
    if (key != kScheduledCompaction && key != kFinishedCompaction) return {};
    Revision revision = 0;
    if (!parse_revision(value, revision, sub)) return malformed(path, "the row " + std::string(key) + " is malformed");
    info.compacted_revision = std::max(info.compacted_revision, revision);
    return {};
  }));
  if (!is_etcd) return err(bad_request(path + " is a database, but not etcd's: it has no bucket \"meta\""));
  info.revision = std::max<Revision>(1, info.compacted_revision);
  Revision last = 0;
  int64_t last_sub = -1;
  ENGENHO_TRY(file.scan("key", [&](std::string_view key, std::string_view value) -> Status {
    Version version;
    Revision main = 0;
    const bool whole = parse_revision(key, main, sub);
    version.deleted = key.size() == 18 && key[17] == 't';
    mvccpb::KeyValue kv;
    if (!whole || key.size() > 18 || (key.size() == 18 && !version.deleted) || sub > INT32_MAX || main < last || (main == last && sub <= last_sub) ||
        !kv.ParseFromArray(value.data(), static_cast<int>(value.size())))
      return malformed(path, "the row of revision " + std::to_string(main) + " is malformed");
    // etcd marks a revision that it has raised by hand with an empty row.
    const bool mark = value.empty() && main == info.compacted_revision;
    if (!mark && (kv.key().empty() || (!version.deleted && (kv.mod_revision() != main || kv.create_revision() < 1 || kv.create_revision() > main || kv.version() < 1))))
      return malformed(path, "the row of revision " + std::to_string(main) + " contradicts itself");
    if (main > info.compacted_revision && main > std::max(last, std::max<Revision>(1, info.compacted_revision)) + 1)
      return malformed(path, "revision " + std::to_string(main - 1) + " is missing");
    last = main;
    last_sub = sub;
    info.revision = std::max(info.revision, main);
    ++info.versions;
    if (mark) return {};
    version.kv.key = kv.key();
    version.kv.value = make_bytes(std::move(*kv.mutable_value()));
    version.kv.create_revision = kv.create_revision();
    version.kv.mod_revision = main;
    version.kv.version = kv.version();
    version.kv.lease = kv.lease();
    version.kv.sub_revision = static_cast<int32_t>(sub);
    return visit(version, info.compacted_revision);
  }));
  return info;
}

Result<SnapshotInfo> inspect_snapshot(const std::string& path) {
  BoltReader file;
  ENGENHO_TRY(file.open(path));
  return read_snapshot(path, file, [](const Version&, Revision) { return Status(); });
}

std::string snapshot_name(Revision revision, WallTime now) {
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof(text), "snapshot-%Y%m%dT%H%M%SZ-", &parts);
  return text + std::to_string(revision) + ".db";
}

Result<std::vector<std::string>> list_snapshots(const std::string& dir) {
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.starts_with("snapshot-") && name.ends_with(".db")) found.push_back(it->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) return err(errno_error(dir, error.value()));
  std::sort(found.begin(), found.end());  // the time in the name
  return found;
}

Result<std::vector<std::string>> prune_snapshots(const std::string& dir, size_t keep) {
  ENGENHO_ASSIGN(auto found, list_snapshots(dir));
  if (found.size() <= keep) return std::vector<std::string>();
  found.resize(found.size() - keep);
  for (const std::string& path : found)
    if (::unlink(path.c_str()) != 0) return err(errno_error("remove " + path, errno));
  return found;
}

}  // namespace engenho::datastore
