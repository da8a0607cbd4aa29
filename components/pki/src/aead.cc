#include "engenho/pki/aead.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <memory>

#include "engenho/base/log.h"
#include "engenho/base/random.h"

namespace engenho::pki {

namespace {

constexpr size_t kNonceBytes = 12, kTagBytes = 16;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype([](EVP_CIPHER_CTX* p) { EVP_CIPHER_CTX_free(p); })>;

unsigned char* bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }
const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

}  // namespace

std::string aead_seal(std::string_view key, std::string_view authenticated, std::string_view text) {
  const Cipher cipher(EVP_CIPHER_CTX_new());
  std::string out = random_bytes(kNonceBytes);
  const std::string nonce = out;
  out.resize(kNonceBytes + text.size() + kTagBytes);
  int length = 0, more = 0;
  const bool good = key.size() == kAeadKeyBytes && EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes(key), bytes(nonce)) == 1 &&
                    EVP_EncryptUpdate(cipher.get(), nullptr, &length, bytes(authenticated), static_cast<int>(authenticated.size())) == 1 &&
                    EVP_EncryptUpdate(cipher.get(), bytes(out) + kNonceBytes, &length, bytes(text), static_cast<int>(text.size())) == 1 &&
                    EVP_EncryptFinal_ex(cipher.get(), bytes(out) + kNonceBytes + length, &more) == 1 &&
                    EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, bytes(out) + kNonceBytes + text.size()) == 1;
  if (!good) {  // no memory, or a key of another length: nothing may be written in the clear instead
    log::error("pki", "AES-GCM failed");
    std::abort();
  }
  return out;
}

std::optional<std::string> aead_open(std::string_view key, std::string_view authenticated, std::string_view sealed) {
  if (key.size() != kAeadKeyBytes || sealed.size() < kNonceBytes + kTagBytes) return std::nullopt;
  const std::string_view nonce = sealed.substr(0, kNonceBytes);
  const std::string_view text = sealed.substr(kNonceBytes, sealed.size() - kNonceBytes - kTagBytes);
  std::string tag(sealed.substr(sealed.size() - kTagBytes)), out(text.size(), '\0');
  const Cipher cipher(EVP_CIPHER_CTX_new());
  int length = 0, more = 0;
  const bool good = EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes(key), bytes(nonce)) == 1 &&
                    EVP_DecryptUpdate(cipher.get(), nullptr, &length, bytes(authenticated), static_cast<int>(authenticated.size())) == 1 &&
                    EVP_DecryptUpdate(cipher.get(), bytes(out), &length, bytes(text), static_cast<int>(text.size())) == 1 &&
                    EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, bytes(tag)) == 1 &&
                    EVP_DecryptFinal_ex(cipher.get(), bytes(out) + length, &more) == 1;
  if (!good) return std::nullopt;
  return out;
}

}  // namespace engenho::pki
