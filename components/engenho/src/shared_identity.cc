#include "shared_identity.h"

#include <unistd.h>

#include <map>

#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/datastore/encryption.h"
#include "engenho/pki/seal.h"
#include "engenho/pki/store.h"

namespace engenho {

namespace {

constexpr std::string_view kKey = "/engenho/identity";
constexpr const char* kFiles[] = {"tls/server-ca.crt", "tls/server-ca.key", "tls/client-ca.crt", "tls/client-ca.key", "tls/service-account.key", "encryption-keys"};

using Files = std::map<std::string, std::string>;

Files read_files(const std::string& dir) {
  Files out;
  for (const char* name : kFiles) {
    if (auto text = read_file(dir + "/" + name)) out[name] = *text;
  }
  return out;
}

Status adopt(const std::string& dir, const Files& have, const json::Value& shared) {
  for (const char* name : kFiles) {
    const std::string text(shared.str_at({name}));
    if (text.empty()) return internal_error(std::string("the cluster's identity in the datastore lacks ") + name);
    auto mine = have.find(name);
    if (mine == have.end()) ENGENHO_RETURN_IF_ERROR(write_file_atomic(dir + "/" + name, text, 0600));
    else if (mine->second != text) return bad_request(dir + "/" + name + " is not that of the cluster in the datastore: this data directory belongs to another cluster");
  }
  return {};
}

}  // namespace

Status share_identity(datastore::Store& store, const std::string& server_dir, const std::string& token) {
  const std::string tls_dir = server_dir + "/tls";
  ENGENHO_RETURN_IF_ERROR(make_dirs(tls_dir, 0700));
  const Files have = read_files(server_dir);
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto found = store.get(kKey);
    if (!found) return found.error();
    if (found->kv) {
      auto text = pki::unseal(*found->kv->value, token);
      if (!text) return bad_request("the cluster's identity in the datastore does not open with this --token (" + text.error().message() + ")");
      ENGENHO_ASSIGN_OR_RETURN(const json::Value shared, json::parse(*text));
      return adopt(server_dir, have, shared);
    }
    const WallTime now = Clock::real().wall();
    for (const char* name : {"server-ca", "client-ca"}) {
      auto made = pki::load_or_make_authority(tls_dir, name, std::string("engenho-") + name, now);
      if (!made) return made.error();
    }
    if (auto made = pki::load_or_make_key(tls_dir, "service-account", pki::KeyType::kRsa2048); !made) return made.error();
    if (auto made = datastore::KeyRing::open(server_dir + "/encryption-keys"); !made) return made.error();
    json::Value shared = json::Object();
    for (const auto& [name, text] : read_files(server_dir)) shared[name] = text;
    auto written = store.create(std::string(kKey), datastore::make_bytes(pki::seal(json::dump(shared), token)));
    if (!written) return written.error();
    if (written->succeeded) return {};
    // Another server was first: what was made just now goes, and what it made is taken.
    for (const char* name : kFiles) {
      if (!have.contains(name)) unlink((server_dir + "/" + name).c_str());
    }
  }
  return internal_error("the cluster's identity in the datastore comes and goes");
}

}  // namespace engenho
