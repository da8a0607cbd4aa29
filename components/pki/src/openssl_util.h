// Small helpers around OpenSSL's C interface; for this component's .cc files only.
#pragma once

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "engenho/base/status.h"
#include "engenho/pki/certificate.h"

namespace engenho::pki {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
template <typename T, auto Free>
using Owned = std::unique_ptr<T, Deleter<Free>>;

using BioPtr = Owned<BIO, BIO_free_all>;
using X509Ptr = Owned<X509, X509_free>;
using ReqPtr = Owned<X509_REQ, X509_REQ_free>;
using BnPtr = Owned<BIGNUM, BN_free>;

inline void free_extensions(STACK_OF(X509_EXTENSION) * s) {
  sk_X509_EXTENSION_pop_free(s, X509_EXTENSION_free);
}

inline BioPtr memory_bio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

inline std::string drain(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

// The first error of OpenSSL's queue as text; empties the queue.
inline std::string openssl_reason() {
  unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  const char* text = ERR_reason_error_string(code);
  return text ? text : "error " + std::to_string(code);
}
inline Status openssl_error(std::string_view what) {
  return internal_error(std::string(what) + ": " + openssl_reason());
}

// Ed25519 hashes by itself; everything else is signed over SHA-256.
inline const EVP_MD* digest_for(EVP_PKEY* key) {
  int id = EVP_PKEY_get_base_id(key);
  return id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448 ? nullptr : EVP_sha256();
}

// names.cc
void read_subject(const X509_NAME* name, Names& out);
void read_alt_names(const GENERAL_NAMES* san, Names& out);
bool write_subject(X509_NAME* name, const Names& names);
// Null, with OpenSSL's queue or errno untouched, when a name is not valid; empty stack when there are none.
Owned<GENERAL_NAMES, GENERAL_NAMES_free> make_alt_names(const Names& names);

// issue.cc: a self-signed CA certificate over `key`.
Result<Certificate> self_sign(const PrivateKey& key, const std::string& common_name, WallTime now);

}  // namespace engenho::pki
