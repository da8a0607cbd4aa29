// `engenho snapshot`: backups of the datastore, of a running server or of one that is stopped.
#include <filesystem>
#include <iostream>

#include "engenho/base/clock.h"
#include "engenho/base/fs.h"
#include "engenho/datastore/snapshot.h"
#include "engenho/engenho/commands.h"
#include "flags.h"

namespace engenho {

namespace {

using datastore::SnapshotInfo;

struct SnapshotConfig {
  std::string data_dir = "/var/lib/engenho";
  std::string database;      // default: <data-dir>/server/db
  std::string dir;           // default: <data-dir>/server/snapshots
  std::string endpoint, ca_file, certificate_file, key_file;
  int64_t keep = 5;
  bool help = false;
};

std::vector<Flag> flags_of(SnapshotConfig& config) {
  return {
      {"data-dir", "DIR", "the cluster's directory (default /var/lib/engenho)", set_text(config.data_dir)},
      {"database", "DIR", "a datastore's own directory (default <data-dir>/server/db)", set_text(config.database)},
      {"dir", "DIR", "where snapshots are kept (default <data-dir>/server/snapshots)", set_text(config.dir)},
      {"endpoint", "URL", "save: a server of etcd's API (default: the cluster's socket; without a server, its files)", set_text(config.endpoint)},
      {"cacert", "FILE", "save: the authority of an https endpoint", set_text(config.ca_file)},
      {"cert", "FILE", "save: our certificate for it", set_text(config.certificate_file)},
      {"key", "FILE", "save: its key", set_text(config.key_file)},
      {"keep", "COUNT", "prune: how many of the newest stay (default 5)", set_number(config.keep, 1)},
      {"help", "", "this list", set_switch(config.help)},
  };
}

void tell(const SnapshotInfo& info) {
  std::cout << info.path << ": revision " << info.revision << ", compacted " << info.compacted_revision << ", " << info.versions << " versions, "
            << info.bytes << " bytes\n";
}

Result<SnapshotInfo> save(const SnapshotConfig& config, std::string path) {
  std::string temporary;
  if (path.empty()) {
    ENGENHO_TRY(make_dirs(config.dir, 0700));
    temporary = path = config.dir + "/.saving";
    std::filesystem::remove(temporary);
  } else if (path_exists(path)) {
    return err(bad_request(path + " exists"));
  }
  datastore::SnapshotSource source;
  source.endpoint = config.endpoint;
  for (const auto& [file, into] : {std::pair{&config.ca_file, &source.ca_pem}, std::pair{&config.certificate_file, &source.certificate_pem},
                                   std::pair{&config.key_file, &source.key_pem}}) {
    if (file->empty()) continue;
    ENGENHO_ASSIGN(*into, read_file(*file));
  }
  auto info = [&]() -> Result<SnapshotInfo> {
    if (!source.endpoint.empty()) return datastore::fetch_snapshot(source, path);
    // The files are a running server's alone: whoever holds the lock is asked, else they are read.
    datastore::RocksdbOptions options;
    options.dir = config.database;
    if (!path_exists(options.dir)) return err(bad_request("there is no datastore in " + options.dir));
    options.compaction_interval = Duration(0);
    auto store = datastore::open_rocksdb_store(options);
    if (store) return datastore::write_snapshot(**store, path);
    if (store.error().message().find("in use by process") == std::string::npos) return err(store.error());
    for (const std::string& socket : {config.database + "/etcd.sock", config.data_dir + "/server/etcd.sock"}) {
      if (!path_exists(socket)) continue;
      source.endpoint = "unix://" + std::filesystem::absolute(socket).string();
      return datastore::fetch_snapshot(source, path);
    }
    return err(unavailable(store.error().message() + ", which has no socket there; name where it listens with --endpoint"));
  }();
  if (!info || temporary.empty()) return info;
  const std::string name = config.dir + "/" + datastore::snapshot_name(info->revision, Clock::real().wall());
  std::error_code error;
  std::filesystem::rename(temporary, name, error);
  if (error) return err(internal_error("rename " + temporary + ": " + error.message()));
  info->path = name;
  return info;
}

Status run(const std::string& verb, const std::vector<std::string>& words, SnapshotConfig& config) {
  if (config.database.empty()) config.database = config.data_dir + "/server/db";
  if (config.dir.empty()) config.dir = config.data_dir + "/server/snapshots";
  if (verb == "save") {
    if (words.size() > 1) return bad_request("expected one file at most");
    ENGENHO_ASSIGN_OR_RETURN(const SnapshotInfo info, save(config, words.empty() ? "" : words[0]));
    tell(info);
    return {};
  }
  if (verb == "restore") {
    if (words.size() != 1) return bad_request("expected the file to restore");
    ENGENHO_RETURN_IF_ERROR(make_dirs(std::filesystem::absolute(config.database).parent_path().string(), 0700));
    datastore::RocksdbOptions options;
    options.dir = config.database;
    ENGENHO_ASSIGN_OR_RETURN(const SnapshotInfo info, datastore::restore_snapshot(words[0], options));
    tell(info);
    std::cout << "restored into " << config.database << ", " << info.keys << " keys\n";
    return {};
  }
  if (!words.empty()) return bad_request("unexpected argument \"" + words[0] + "\"");
  if (verb == "ls") {
    ENGENHO_ASSIGN_OR_RETURN(const auto paths, datastore::list_snapshots(config.dir));
    Status bad;
    for (const std::string& path : paths) {
      if (auto info = datastore::inspect_snapshot(path)) {
        tell(*info);
      } else {
        std::cout << path << ": DAMAGED\n";
        bad = info.error();
      }
    }
    return bad;
  }
  if (verb == "prune") {
    ENGENHO_ASSIGN_OR_RETURN(const auto removed, datastore::prune_snapshots(config.dir, static_cast<size_t>(config.keep)));
    for (const std::string& path : removed) std::cout << "removed " << path << "\n";
    return {};
  }
  return bad_request("unknown verb \"" + verb + "\"; expected save, restore, ls or prune");
}

}  // namespace

int snapshot_command(const Arguments& arguments) {
  SnapshotConfig config;
  const std::vector<Flag> flags = flags_of(config);
  auto words = parse_flags(flags, arguments);
  if (words && !config.help && words->empty()) words = err(bad_request("expected save, restore, ls or prune"));
  if (!words) {
    std::cerr << "engenho snapshot: " << words.error().message() << "; see engenho snapshot --help\n";
    return 2;
  }
  if (config.help) {
    std::cout << "engenho snapshot save [FILE] | restore FILE | ls | prune\n\n" << flags_help(flags)
              << "\nThe files are etcd's snapshots: etcdutl restores them, and those of etcd are restored.\n";
    return 0;
  }
  const std::string verb = words->front();
  words->erase(words->begin());
  if (const Status status = run(verb, *words, config); !status.ok()) {
    std::cerr << "engenho snapshot: " << status.message() << "\n";
    return status.code() == 400 ? 2 : 1;
  }
  return 0;
}

}  // namespace engenho
