// `engenho encryption`: keys of encryption at rest, beside a running server or without one.
#include <filesystem>
#include <iostream>
#include <map>

#include "engenho/base/fs.h"
#include "engenho/datastore/encryption.h"
#include "engenho/datastore/remote_store.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/engenho/commands.h"
#include "engenho/engenho/config.h"
#include "flags.h"

namespace engenho {

namespace {

constexpr std::string_view kMark = "k8s:enc:aesgcm:v1:";

// The store itself, or the running server's by its socket.
Result<std::unique_ptr<datastore::Store>> open_store(const ServerConfig& config) {
  datastore::RocksdbOptions options;
  options.dir = config.data_dir + "/server/db";
  if (!path_exists(options.dir)) return err(bad_request("there is no datastore in " + options.dir));
  auto store = datastore::open_rocksdb_store(options);
  if (store || store.error().message().find("in use by process") == std::string::npos) return store;
  datastore::RemoteOptions remote;
  remote.endpoints = {"unix://" + std::filesystem::absolute(config.data_dir).string() + "/server/etcd.sock"};
  remote.compaction_interval = Duration(0);
  return datastore::open_remote_store(remote);
}

// How many values there are under each key, by name; "" for those that are not encrypted.
Result<std::map<std::string, size_t>> count(datastore::Store& store, const std::vector<std::string>& prefixes) {
  std::map<std::string, size_t> found;
  for (const std::string& prefix : prefixes) {
    datastore::ListRequest request;
    request.range = datastore::KeyRange::prefix(prefix);
    request.limit = 500;
    for (bool more = true; more;) {
      ENGENHO_ASSIGN(const auto page, store.list(request));
      more = page.more;
      for (const auto& kv : page.kvs) {
        const bool sealed = kv.value->starts_with(kMark);
        ++found[sealed ? kv.value->substr(kMark.size(), kv.value->find(':', kMark.size()) - kMark.size()) : ""];
      }
      if (!page.kvs.empty()) request.range.start = page.kvs.back().key + '\0';
    }
  }
  return found;
}

Status run(const std::string& verb, const ServerConfig& config, bool forget) {
  if (verb != "status" && verb != "rotate") return bad_request("unknown verb \"" + verb + "\"; expected status or rotate");
  ENGENHO_ASSIGN_OR_RETURN(const auto store, open_store(config));
  ENGENHO_ASSIGN_OR_RETURN(const auto keys, datastore::KeyRing::open(config.encryption_key_path()));
  const datastore::EncryptionOptions options{keys, config.encrypted_prefixes()};
  if (verb == "rotate") {
    ENGENHO_RETURN_IF_ERROR(keys->add_key());
    size_t written = 0;
    // A running server notices the new key with its next write; what it wrote under the old one until then is found in the second round.
    for (size_t round = 1; round > 0;) {
      ENGENHO_ASSIGN_OR_RETURN(round, datastore::encrypt_anew(*store, options));
      written += round;
    }
    // The one before still opens older revisions, until they are compacted.
    ENGENHO_RETURN_IF_ERROR(keys->keep(forget ? 1 : 2));
    std::cout << written << " values are now under " << keys->names()[0] << "\n";
  }
  ENGENHO_ASSIGN_OR_RETURN(const auto found, count(*store, options.prefixes));
  bool first = true;
  for (const std::string& name : keys->names()) {
    std::cout << name << (first ? " (encrypts)" : " (only decrypts)") << ": " << (found.contains(name) ? found.at(name) : 0) << " values\n";
    first = false;
  }
  if (found.contains("")) std::cout << "not encrypted: " << found.at("") << " values\n";
  return {};
}

}  // namespace

int encryption_command(const Arguments& arguments) {
  ServerConfig config;
  bool help = false, forget = false;
  const std::vector<Flag> flags = {
      {"data-dir", "DIR", "the cluster's directory (default /var/lib/engenho)", set_text(config.data_dir)},
      {"encrypt-resources", "RESOURCE", "as the server has it (default secrets)", add_text(config.encrypt_resources)},
      {"forget-old", "", "rotate: drop the key before the new one at once; what only history holds under it is then unreadable", set_switch(forget)},
      {"help", "", "this list", set_switch(help)},
  };
  auto words = parse_flags(flags, arguments);
  if (words && !help && words->size() != 1) words = err(bad_request("expected status or rotate"));
  if (!words) {
    std::cerr << "engenho encryption: " << words.error().message() << "; see engenho encryption --help\n";
    return 2;
  }
  if (help) {
    std::cout << "engenho encryption status | rotate\n\n" << flags_help(flags)
              << "\nThe keys are in <data-dir>/server/encryption-keys. Snapshots do not hold them: keep a copy of that file elsewhere.\n";
    return 0;
  }
  if (const Status status = run(words->front(), config, forget); !status.ok()) {
    std::cerr << "engenho encryption: " << status.message() << "\n";
    return status.code() == 400 ? 2 : 1;
  }
  return 0;
}

}  // namespace engenho
