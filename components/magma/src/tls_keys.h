// Private keys and the texts in which they are written.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "engenho/base/status.h"

namespace engenho::magma {

using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// algorithm: RSA, ECDSA, ED25519; curve: P224, P256, P384, P521.
Result<KeyPtr> generate_key(const std::string& algorithm, int rsa_bits, const std::string& curve);
Result<KeyPtr> read_private_key(const std::string& pem);   // PKCS#1, SEC 1, PKCS#8
std::string key_algorithm(EVP_PKEY* key);

struct KeyTexts {
  std::string private_pem;         // PKCS#1 for RSA, SEC 1 for ECDSA, PKCS#8 for Ed25519
  std::string private_pkcs8;
  std::string private_openssh;     // empty for P224, which OpenSSH does not know; so are the next three
  std::string public_openssh, fingerprint_md5, fingerprint_sha256;
  std::string public_pem;
  std::string id;                  // SHA-1 of the public key, hexadecimal
};
KeyTexts key_texts(EVP_PKEY* key);

// "DNS:a,IP:1.2.3.4,URI:…" of the names in a request; others are left out.
std::string general_names_text(const GENERAL_NAMES* names);

}  // namespace engenho::magma
