#include "engenho/pki/ed25519.h"

#include <openssl/evp.h>

#include "openssl_util.h"

namespace engenho::pki {

namespace {

struct ContextFree {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, ContextFree>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
bool is_ed25519(EVP_PKEY* key) {
  return key != nullptr && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
}

}  // namespace

Result<PrivateKey> generate_ed25519() {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  if (key == nullptr) return err(openssl_error("cannot make an Ed25519 key"));
  return PrivateKey(std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free));
}

Result<std::string> sign_ed25519(const PrivateKey& key, std::string_view message) {
  if (!is_ed25519(key.handle())) return err(internal_error("the signing key is not of type Ed25519"));
  const Context context(EVP_MD_CTX_new());
  std::string out(64, '\0');
  size_t size = out.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.handle()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size, bytes_of(message), message.size()) != 1 || size != out.size()) {
    return err(openssl_error("cannot sign"));
  }
  return out;
}

bool verify_ed25519(const PublicKey& key, std::string_view message, std::string_view signature) {
  if (!is_ed25519(key.handle()) || signature.size() != 64) return false;
  const Context context(EVP_MD_CTX_new());
  return context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.handle()) == 1 &&
         EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message), message.size()) == 1;
}

}  // namespace engenho::pki
