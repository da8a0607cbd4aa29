#include "engenho/pki/seal.h"

#include <openssl/evp.h>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "engenho/pki/aead.h"

namespace engenho::pki {

namespace {

constexpr std::string_view kMagic = "engenho-sealed-1:";
constexpr size_t kSalt = 16;
constexpr uint64_t kCost = 1 << 15, kBlock = 8, kParallel = 1, kMemory = 64u << 20;  // about 0.1 s and 32 MB

unsigned char* bytes(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }
const unsigned char* bytes(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }

std::string derive(std::string_view passphrase, std::string_view salt) {
  std::string key(kAeadKeyBytes, 0);
  const int ok = EVP_PBE_scrypt(passphrase.data(), passphrase.size(), bytes(salt), salt.size(), kCost, kBlock, kParallel, kMemory, bytes(key), key.size());
  return ok == 1 ? key : "";
}

}  // namespace

std::string seal(std::string_view text, std::string_view passphrase) {
  const std::string salt = random_bytes(kSalt);
  return std::string(kMagic) + base64_encode(salt + aead_seal(derive(passphrase, salt), "", text));
}

Result<std::string> unseal(std::string_view sealed, std::string_view passphrase) {
  if (!sealed.starts_with(kMagic)) return err(bad_request("not a sealed text"));
  auto raw = base64_decode(sealed.substr(kMagic.size()));
  if (!raw || raw->size() < kSalt) return err(bad_request("a sealed text that was cut"));
  const std::string_view all(*raw);
  auto text = aead_open(derive(passphrase, all.substr(0, kSalt)), "", all.substr(kSalt));
  if (!text) return err(Status(401, reason::kUnauthorized, "another passphrase, or a changed text"));
  return std::move(*text);
}

}  // namespace engenho::pki
