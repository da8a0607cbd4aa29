// Key pairs. Values: a copy shares the immutable key. Thread-safe. OpenSSL stays inside the .cc files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/status.h"

struct evp_pkey_st;

namespace engenho::pki {

// kRsa2048: RSA of 2048 bits or more. kOther: what JWTs here are not signed with (Ed25519, other curves, short RSA).
enum class KeyType { kEcdsaP256, kRsa2048, kOther };

class PublicKey {
 public:
  PublicKey() = default;  // no key: every use fails
  // "PUBLIC KEY", "RSA PUBLIC KEY", a certificate, or a private key, whose public half it then is.
  static Result<PublicKey> from_pem(std::string_view pem);
  // Every key of a file that may hold several (kube-apiserver's --service-account-key-file).
  static Result<std::vector<PublicKey>> all_from_pem(std::string_view pem);

  explicit operator bool() const { return key_ != nullptr; }
  KeyType type() const;
  std::string der() const;  // SubjectPublicKeyInfo
  std::string pem() const;
  // Key id as Kubernetes derives it: base64url without padding of SHA-256 of der().
  std::string key_id() const;
  evp_pkey_st* handle() const { return key_.get(); }  // borrowed; for code of this floor that includes OpenSSL

  explicit PublicKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}

 private:
  std::shared_ptr<evp_pkey_st> key_;
};

class PrivateKey {
 public:
  PrivateKey() = default;
  static Result<PrivateKey> generate(KeyType type = KeyType::kEcdsaP256);
  static Result<PrivateKey> from_pem(std::string_view pem);  // PKCS#8, "EC PRIVATE KEY", "RSA PRIVATE KEY"

  explicit operator bool() const { return key_ != nullptr; }
  KeyType type() const { return public_key().type(); }
  std::string pem() const;  // PKCS#8, not encrypted
  PublicKey public_key() const { return PublicKey(key_); }
  evp_pkey_st* handle() const { return key_.get(); }

  explicit PrivateKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}

 private:
  std::shared_ptr<evp_pkey_st> key_;
};

// Compares in a time that depends on the lengths only: for tokens and passwords.
bool constant_time_equal(std::string_view a, std::string_view b);

}  // namespace engenho::pki
