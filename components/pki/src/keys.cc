#include "engenho/pki/keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "engenho/base/bytes.h"
#include "openssl_util.h"

namespace engenho::pki {
namespace {

std::shared_ptr<EVP_PKEY> own(EVP_PKEY* key) { return {key, EVP_PKEY_free}; }

int refuse_password(char*, int, int, void*) { return -1; }

// The PEM block of the text that begins at or after `at`: its label and whole text. False when there is none.
bool next_block(std::string_view text, size_t& at, std::string_view& label, std::string_view& block) {
  constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ", kDashes = "-----";
  size_t begin = text.find(kBegin, at);
  if (begin == std::string_view::npos) return false;
  size_t label_end = text.find(kDashes, begin + kBegin.size());
  if (label_end == std::string_view::npos) return false;
  label = text.substr(begin + kBegin.size(), label_end - begin - kBegin.size());
  size_t end = text.find(kEnd, label_end);
  if (end == std::string_view::npos) return false;
  end = text.find(kDashes, end + kEnd.size());
  if (end == std::string_view::npos) return false;
  at = end + kDashes.size();
  block = text.substr(begin, at - begin);
  return true;
}

EVP_PKEY* read_public(std::string_view label, std::string_view block) {
  BioPtr bio = memory_bio(block);
  if (!bio) return nullptr;
  if (label == "CERTIFICATE") {
    X509Ptr x509(PEM_read_bio_X509(bio.get(), nullptr, refuse_password, nullptr));
    return x509 ? X509_get_pubkey(x509.get()) : nullptr;
  }
  if (label == "PUBLIC KEY") return PEM_read_bio_PUBKEY(bio.get(), nullptr, refuse_password, nullptr);
  if (label == "RSA PUBLIC KEY") {
    // PKCS#1: the block's bytes are an RSAPublicKey, not a SubjectPublicKeyInfo.
    char* name = nullptr;
    char* header = nullptr;
    unsigned char* data = nullptr;
    long size = 0;
    if (PEM_read_bio(bio.get(), &name, &header, &data, &size) != 1) return nullptr;
    const unsigned char* p = data;
    EVP_PKEY* key = d2i_PublicKey(EVP_PKEY_RSA, nullptr, &p, size);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    return key;
  }
  if (label.ends_with("PRIVATE KEY")) return PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_password, nullptr);
  return nullptr;
}

}  // namespace

Result<std::vector<PublicKey>> PublicKey::all_from_pem(std::string_view pem) {
  std::vector<PublicKey> keys;
  std::string_view label, block;
  for (size_t at = 0; next_block(pem, at, label, block);) {
    if (label == "EC PARAMETERS") continue;
    EVP_PKEY* key = read_public(label, block);
    if (!key) return err(openssl_error("cannot read a public key from \"" + std::string(label) + "\""));
    keys.push_back(PublicKey(own(key)));
  }
  if (keys.empty()) return err(internal_error("no public key in the PEM text"));
  return keys;
}

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  ENGENHO_ASSIGN(auto keys, all_from_pem(pem));
  return keys.front();
}

KeyType PublicKey::type() const {
  if (!key_) return KeyType::kOther;
  if (EVP_PKEY_get_base_id(key_.get()) == EVP_PKEY_RSA)
    return EVP_PKEY_get_bits(key_.get()) >= 2048 ? KeyType::kRsa2048 : KeyType::kOther;
  if (EVP_PKEY_get_base_id(key_.get()) == EVP_PKEY_EC) {
    char group[64] = {};
    size_t size = 0;
    if (EVP_PKEY_get_group_name(key_.get(), group, sizeof group, &size) == 1 &&
        OBJ_sn2nid(group) == NID_X9_62_prime256v1)
      return KeyType::kEcdsaP256;
  }
  return KeyType::kOther;
}

std::string PublicKey::der() const {
  if (!key_) return {};
  unsigned char* data = nullptr;
  int size = i2d_PUBKEY(key_.get(), &data);
  if (size <= 0) return {};
  std::string out(reinterpret_cast<char*>(data), static_cast<size_t>(size));
  OPENSSL_free(data);
  return out;
}

std::string PublicKey::pem() const {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!key_ || !bio || PEM_write_bio_PUBKEY(bio.get(), key_.get()) != 1) return {};
  return drain(bio.get());
}

std::string PublicKey::key_id() const { return key_ ? base64url_encode(sha256(der())) : std::string(); }

Result<PrivateKey> PrivateKey::generate(KeyType type) {
  EVP_PKEY* key = nullptr;
  if (type == KeyType::kEcdsaP256) key = EVP_EC_gen("P-256");
  if (type == KeyType::kRsa2048) key = EVP_RSA_gen(2048);
  if (!key) return err(openssl_error("cannot generate a key"));
  return PrivateKey(own(key));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  BioPtr bio = memory_bio(pem);
  EVP_PKEY* key = bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_password, nullptr) : nullptr;
  if (!key) return err(openssl_error("cannot read a private key"));
  return PrivateKey(own(key));
}

std::string PrivateKey::pem() const {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!key_ || !bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return {};
  return drain(bio.get());
}

bool constant_time_equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace engenho::pki
