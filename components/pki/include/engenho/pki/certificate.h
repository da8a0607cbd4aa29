// X.509 certificates and signing requests: reading, issuing, verifying. Values that share immutable state; thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/pki/keys.h"

struct x509_st;
struct X509_req_st;

namespace engenho::pki {

// Subject and alternative names, as they are asked for in a request and found in a certificate.
struct Names {
  std::string common_name;                  // Kubernetes: the user
  std::vector<std::string> organizations;   // Kubernetes: the groups
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;    // text form, "10.43.0.1", "fd00::1"
  std::vector<std::string> uris;
  std::vector<std::string> emails;
};

// Bits of CertificateTemplate::usages.
inline constexpr unsigned kUsageDigitalSignature = 1;
inline constexpr unsigned kUsageKeyEncipherment = 2;
inline constexpr unsigned kUsageServerAuth = 4;
inline constexpr unsigned kUsageClientAuth = 8;
inline constexpr unsigned kUsageCertSign = 16;
inline constexpr unsigned kUsageCodeSigning = 32;

class Certificate {
 public:
  Certificate() = default;
  static Result<Certificate> from_pem(std::string_view pem);  // the first of the text
  static Result<std::vector<Certificate>> all_from_pem(std::string_view pem);
  static Result<Certificate> from_der(std::string_view der);

  explicit operator bool() const { return x509_ != nullptr; }
  const Names& names() const { return info_->names; }
  const std::string& serial() const { return info_->serial; }     // hexadecimal, lower case
  const std::string& issuer_common_name() const { return info_->issuer; }
  WallTime not_before() const { return info_->not_before; }
  WallTime not_after() const { return info_->not_after; }
  bool is_ca() const { return info_->is_ca; }
  std::string pem() const;
  std::string der() const;
  PublicKey public_key() const;
  x509_st* handle() const { return x509_.get(); }  // borrowed

  static Result<Certificate> adopt(x509_st* x509);  // takes the reference, also when it fails

 private:
  struct Info {
    Names names;
    std::string serial, issuer;
    WallTime not_before, not_after;
    bool is_ca = false;
  };
  std::shared_ptr<x509_st> x509_;
  std::shared_ptr<const Info> info_;
};

// A PKCS#10 request whose own signature has been checked.
class SigningRequest {
 public:
  static Result<SigningRequest> from_pem(std::string_view pem);
  const Names& names() const { return names_; }
  const PublicKey& public_key() const { return public_key_; }

 private:
  Names names_;
  PublicKey public_key_;
};
Result<std::string> make_signing_request_pem(const PrivateKey& key, const Names& names);

struct CertificateTemplate {
  Names names;
  unsigned usages = kUsageDigitalSignature | kUsageKeyEncipherment | kUsageServerAuth;
  Duration validity = std::chrono::hours(365 * 24);  // cut to the authority's own end
};

// A CA: certificate and key.
class Authority {
 public:
  Authority() = default;
  Authority(Certificate certificate, PrivateKey key) : certificate_(std::move(certificate)), key_(std::move(key)) {}
  // Self-signed, valid for ten years from five minutes before `now`.
  static Result<Authority> make(const std::string& common_name, WallTime now, KeyType type = KeyType::kEcdsaP256);

  const Certificate& certificate() const { return certificate_; }
  const PrivateKey& key() const { return key_; }
  // not_before is five minutes before `now`, for clocks that lag.
  Result<Certificate> issue(const CertificateTemplate& what, const PublicKey& subject_key, WallTime now) const;

 private:
  Certificate certificate_;
  PrivateKey key_;
};

struct KeyPair {
  Certificate certificate;
  PrivateKey key;
};
// A fresh ECDSA P-256 key with a certificate of `authority`.
Result<KeyPair> issue_key_pair(const Authority& authority, const CertificateTemplate& what, WallTime now);
CertificateTemplate server_template(std::string common_name, std::vector<std::string> dns_names,
                                    std::vector<std::string> ip_addresses);
CertificateTemplate client_template(std::string user, std::vector<std::string> groups);

enum class Purpose { kClientAuth, kServerAuth };
// Checks the chain certificate -> intermediates -> one of `roots`, the times at `now` and the extended key usage.
// Error: Unauthorized, with OpenSSL's reason.
Status verify_chain(const Certificate& certificate, const std::vector<Certificate>& intermediates,
                    const std::vector<Certificate>& roots, Purpose purpose, WallTime now);
// Whether a server certificate is for that DNS name or IP address (wildcards as in RFC 6125).
bool matches_host(const Certificate& certificate, const std::string& host);

}  // namespace engenho::pki
