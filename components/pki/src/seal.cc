#include "engenho/pki/seal.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <memory>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::pki {

namespace {

constexpr std::string_view kMagic = "engenho-sealed-1:";
constexpr size_t kSalt = 16, kNonce = 12, kTag = 16, kKey = 32;
constexpr uint64_t kCost = 1 << 15, kBlock = 8, kParallel = 1, kMemory = 64u << 20;  // about 0.1 s and 32 MB

unsigned char* bytes(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }
const unsigned char* bytes(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }

std::string derive(std::string_view passphrase, std::string_view salt) {
  std::string key(kKey, 0);
  const int ok = EVP_PBE_scrypt(passphrase.data(), passphrase.size(), bytes(salt), salt.size(), kCost, kBlock, kParallel, kMemory, bytes(key), key.size());
  return ok == 1 ? key : "";
}

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

}  // namespace

std::string seal(std::string_view text, std::string_view passphrase) {
  const std::string salt = random_bytes(kSalt), nonce = random_bytes(kNonce), key = derive(passphrase, salt);
  std::string out(text.size(), 0), tag(kTag, 0);
  const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes(key), bytes(nonce));
  EVP_EncryptUpdate(cipher.get(), bytes(out), &length, bytes(text), static_cast<int>(text.size()));
  EVP_EncryptFinal_ex(cipher.get(), bytes(out) + length, &length);
  EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, tag.data());
  return std::string(kMagic) + base64_encode(salt + nonce + tag + out);
}

Result<std::string> unseal(std::string_view sealed, std::string_view passphrase) {
  if (!sealed.starts_with(kMagic)) return err(bad_request("not a sealed text"));
  auto raw = base64_decode(sealed.substr(kMagic.size()));
  if (!raw || raw->size() < kSalt + kNonce + kTag) return err(bad_request("a sealed text that was cut"));
  const std::string_view all(*raw);
  const std::string key = derive(passphrase, all.substr(0, kSalt));
  const std::string nonce(all.substr(kSalt, kNonce));
  std::string tag(all.substr(kSalt + kNonce, kTag));
  const std::string_view text = all.substr(kSalt + kNonce + kTag);
  std::string out(text.size(), 0);
  const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0, rest = 0;
  const bool ok = EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes(key), bytes(nonce)) == 1 &&
                  EVP_DecryptUpdate(cipher.get(), bytes(out), &length, bytes(text), static_cast<int>(text.size())) == 1 &&
                  EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1 &&
                  EVP_DecryptFinal_ex(cipher.get(), bytes(out) + length, &rest) == 1;
  if (!ok) return err(Status(401, reason::kUnauthorized, "another passphrase, or a changed text"));
  return out;
}

}  // namespace engenho::pki
