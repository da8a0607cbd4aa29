#include "digest.h"

#include <crypt.h>
#include <openssl/evp.h>

#include <memory>

#include "engenho/base/random.h"

namespace engenho::magma {

std::string digest(const char* name, std::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)> md(EVP_MD_fetch(nullptr, name, nullptr), EVP_MD_free);
  if (!md || EVP_Digest(bytes.data(), bytes.size(), out, &length, md.get(), nullptr) != 1) return "";
  return std::string(reinterpret_cast<char*>(out), length);
}

Result<std::string> bcrypt(const std::string& password, int cost) {
  const std::string random = random_bytes(16);
  char salt[CRYPT_GENSALT_OUTPUT_SIZE];
  if (crypt_gensalt_rn("$2a$", static_cast<unsigned long>(cost), random.data(), static_cast<int>(random.size()), salt, sizeof salt) == nullptr) {
    return err(internal_error("bcrypt is not available in this machine's libcrypt"));
  }
  auto data = std::make_unique<crypt_data>();
  const char* hash = crypt_r(password.substr(0, 72).c_str(), salt, data.get());
  if (hash == nullptr || hash[0] == '*') return err(internal_error("bcrypt failed"));
  return std::string(hash);
}

}  // namespace engenho::magma
