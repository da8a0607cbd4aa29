#include "engenho/pki/store.h"

#include <openssl/evp.h>

#include <algorithm>

#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "openssl_util.h"

namespace engenho::pki {
namespace {

std::string file(const std::string& directory, const std::string& name, const char* suffix) {
  return directory + "/" + name + suffix;
}

bool key_matches(const Certificate& certificate, const PrivateKey& key) {
  PublicKey certified = certificate.public_key();
  return certified && key && EVP_PKEY_eq(certified.handle(), key.handle()) == 1;
}

// The key goes first: a certificate without its key is useless, a key without certificate is certified again.
Status write_pair(const std::string& directory, const std::string& name, const Certificate& certificate,
                  const PrivateKey& key) {
  ENGENHO_RETURN_IF_ERROR(make_dirs(directory));
  ENGENHO_RETURN_IF_ERROR(write_file_atomic(file(directory, name, ".key"), key.pem(), 0600));
  return write_file_atomic(file(directory, name, ".crt"), certificate.pem(), 0644);
}

bool covers(std::vector<std::string> have, const std::vector<std::string>& want) {
  return std::all_of(want.begin(), want.end(),
                     [&](const std::string& one) { return std::find(have.begin(), have.end(), one) != have.end(); });
}

// Addresses compare by value: "fd00:0::1" is the certificate's "fd00::1".
std::vector<std::string> canonical(const std::vector<std::string>& addresses) {
  Names in, out;
  in.ip_addresses = addresses;
  if (auto san = make_alt_names(in)) read_alt_names(san.get(), out);
  return out.ip_addresses;
}

Result<KeyPair> load_pair(const std::string& directory, const std::string& name) {
  ENGENHO_ASSIGN(auto certificate_pem, read_file(file(directory, name, ".crt")));
  ENGENHO_ASSIGN(auto key_pem, read_file(file(directory, name, ".key")));
  ENGENHO_ASSIGN(auto certificate, Certificate::from_pem(certificate_pem));
  ENGENHO_ASSIGN(auto key, PrivateKey::from_pem(key_pem));
  if (!key_matches(certificate, key)) return err(internal_error("the key does not belong to the certificate"));
  return KeyPair{std::move(certificate), std::move(key)};
}

// Why a loaded pair has to be replaced; empty when it is good.
std::string objection(const KeyPair& pair, const Authority& authority, const CertificateTemplate& what, WallTime now) {
  const Certificate& c = pair.certificate;
  // A short-lived template is renewed in its last third; the usual year 120 days ahead.
  Duration ahead = std::min<Duration>(kRenewBefore, what.validity / 3);
  if (c.not_after() - now < ahead && c.not_after() < authority.certificate().not_after()) return "it is about to expire";
  if (c.names().common_name != what.names.common_name) return "its name is another";
  auto sorted = [](std::vector<std::string> v) {
    std::sort(v.begin(), v.end());
    return v;
  };
  if (sorted(c.names().organizations) != sorted(what.names.organizations)) return "its organisations are others";
  if (!covers(c.names().dns_names, what.names.dns_names) ||
      !covers(c.names().ip_addresses, canonical(what.names.ip_addresses)))
    return "it lacks a name or an address";
  for (auto [bit, purpose] : {std::pair{kUsageServerAuth, Purpose::kServerAuth}, {kUsageClientAuth, Purpose::kClientAuth}}) {
    if (!(what.usages & bit)) continue;
    if (Status s = verify_chain(c, {}, {authority.certificate()}, purpose, now); !s.ok()) return s.message();
  }
  return {};
}

}  // namespace

Result<Authority> load_or_make_authority(const std::string& directory, const std::string& name,
                                         const std::string& common_name, WallTime now) {
  bool has_certificate = path_exists(file(directory, name, ".crt"));
  bool has_key = path_exists(file(directory, name, ".key"));
  if (has_certificate) {
    auto pair = load_pair(directory, name);
    if (!pair) return err(pair.error().with_context("the CA in " + file(directory, name, ".{crt,key}") + " is damaged"));
    if (pair->certificate.not_after() <= now)
      return err(internal_error("the CA in " + file(directory, name, ".crt") + " has expired"));
    return Authority(std::move(pair->certificate), std::move(pair->key));
  }
  PrivateKey key;
  if (has_key) {  // a crash came between the two files
    ENGENHO_ASSIGN(auto pem, read_file(file(directory, name, ".key")));
    ENGENHO_ASSIGN(key, PrivateKey::from_pem(pem));
  } else {
    ENGENHO_ASSIGN(key, PrivateKey::generate());
  }
  ENGENHO_ASSIGN(auto certificate, self_sign(key, common_name, now));
  ENGENHO_TRY(write_pair(directory, name, certificate, key));
  log::info("pki", "made the certificate authority {} in {}", common_name, directory);
  return Authority(std::move(certificate), std::move(key));
}

Result<KeyPair> load_or_issue(const std::string& directory, const std::string& name, const Authority& authority,
                              const CertificateTemplate& what, WallTime now) {
  if (path_exists(file(directory, name, ".crt"))) {
    auto pair = load_pair(directory, name);
    std::string why = pair ? objection(*pair, authority, what, now) : pair.error().message();
    if (why.empty()) return pair;
    log::info("pki", "issuing {} anew: {}", file(directory, name, ".crt"), why);
  }
  ENGENHO_ASSIGN(auto pair, issue_key_pair(authority, what, now));
  ENGENHO_TRY(write_pair(directory, name, pair.certificate, pair.key));
  return pair;
}

Result<PrivateKey> load_or_make_key(const std::string& directory, const std::string& name, KeyType type) {
  const std::string path = file(directory, name, ".key");
  PrivateKey key;
  if (path_exists(path)) {
    ENGENHO_ASSIGN(auto pem, read_file(path));
    auto loaded = PrivateKey::from_pem(pem);
    if (!loaded) return err(loaded.error().with_context(path));
    key = std::move(*loaded);
    if (path_exists(file(directory, name, ".pub"))) return key;
  } else {
    ENGENHO_ASSIGN(key, PrivateKey::generate(type));
    ENGENHO_TRY(make_dirs(directory));
    ENGENHO_TRY(write_file_atomic(path, key.pem(), 0600));
  }
  ENGENHO_TRY(write_file_atomic(file(directory, name, ".pub"), key.public_key().pem(), 0644));
  return key;
}

}  // namespace engenho::pki
