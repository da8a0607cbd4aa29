#include <openssl/crypto.h>

#include <algorithm>

#include "engenho/base/random.h"
#include "engenho/pki/certificate.h"
#include "openssl_util.h"

namespace engenho::pki {
namespace {

constexpr Duration kBackdate = std::chrono::minutes(5);

bool set_times(X509* x509, WallTime begin, WallTime end) {
  auto seconds = [](WallTime t) {
    return static_cast<time_t>(std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count());
  };
  return ASN1_TIME_set(X509_getm_notBefore(x509), seconds(begin)) &&
         ASN1_TIME_set(X509_getm_notAfter(x509), seconds(end));
}

// 126 random bits: positive, and never the same again.
bool set_serial(X509* x509) {
  std::string bytes = random_bytes(16);
  bytes[0] = static_cast<char>((static_cast<unsigned char>(bytes[0]) & 0x3f) | 0x40);
  BnPtr number(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x509));
}

bool add_basic_constraints(X509* x509, bool ca) {
  Owned<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free> value(BASIC_CONSTRAINTS_new());
  if (!value) return false;
  value->ca = ca ? 0xff : 0;
  return X509_add1_ext_i2d(x509, NID_basic_constraints, value.get(), 1, X509V3_ADD_DEFAULT) == 1;
}

bool add_usages(X509* x509, unsigned usages) {
  Owned<ASN1_BIT_STRING, ASN1_BIT_STRING_free> bits(ASN1_BIT_STRING_new());
  if (!bits) return false;
  bool ok = true;
  if (usages & kUsageDigitalSignature) ok = ok && ASN1_BIT_STRING_set_bit(bits.get(), 0, 1);
  if (usages & kUsageKeyEncipherment) ok = ok && ASN1_BIT_STRING_set_bit(bits.get(), 2, 1);
  if (usages & kUsageCertSign) {
    ok = ok && ASN1_BIT_STRING_set_bit(bits.get(), 5, 1) && ASN1_BIT_STRING_set_bit(bits.get(), 6, 1);
  }
  constexpr unsigned kKeyUsages = kUsageDigitalSignature | kUsageKeyEncipherment | kUsageCertSign;
  if (usages & kKeyUsages) ok = ok && X509_add1_ext_i2d(x509, NID_key_usage, bits.get(), 1, X509V3_ADD_DEFAULT) == 1;

  Owned<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free> extended(EXTENDED_KEY_USAGE_new());
  if (!extended) return false;
  // Objects of the static table need no free.
  if (usages & kUsageServerAuth) ok = ok && sk_ASN1_OBJECT_push(extended.get(), OBJ_nid2obj(NID_server_auth)) > 0;
  if (usages & kUsageClientAuth) ok = ok && sk_ASN1_OBJECT_push(extended.get(), OBJ_nid2obj(NID_client_auth)) > 0;
  if (usages & kUsageCodeSigning) ok = ok && sk_ASN1_OBJECT_push(extended.get(), OBJ_nid2obj(NID_code_sign)) > 0;
  if (sk_ASN1_OBJECT_num(extended.get()) > 0)
    ok = ok && X509_add1_ext_i2d(x509, NID_ext_key_usage, extended.get(), 0, X509V3_ADD_DEFAULT) == 1;
  return ok;
}

bool add_key_identifiers(X509* x509, X509* issuer) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, x509, nullptr, nullptr, 0);
  for (auto [nid, value] : {std::pair{NID_subject_key_identifier, "hash"}, {NID_authority_key_identifier, "keyid:always"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    bool ok = extension && X509_add_ext(x509, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    if (!ok) return false;
  }
  return true;
}

}  // namespace

Result<Certificate> self_sign(const PrivateKey& key, const std::string& common_name, WallTime now) {
  X509Ptr x509(X509_new());
  Names names;
  names.common_name = common_name;
  bool ok = key && x509 && X509_set_version(x509.get(), X509_VERSION_3) && set_serial(x509.get()) &&
            set_times(x509.get(), now - kBackdate, now + std::chrono::hours(24 * 3650)) &&
            write_subject(X509_get_subject_name(x509.get()), names) &&
            X509_set_issuer_name(x509.get(), X509_get_subject_name(x509.get())) &&
            X509_set_pubkey(x509.get(), key.handle()) && add_basic_constraints(x509.get(), true) &&
            add_usages(x509.get(), kUsageDigitalSignature | kUsageKeyEncipherment | kUsageCertSign) &&
            add_key_identifiers(x509.get(), x509.get()) &&
            X509_sign(x509.get(), key.handle(), digest_for(key.handle())) > 0;
  if (!ok) return err(openssl_error("cannot make a CA certificate"));
  return Certificate::adopt(x509.release());
}

Result<Authority> Authority::make(const std::string& common_name, WallTime now, KeyType type) {
  ENGENHO_ASSIGN(auto key, PrivateKey::generate(type));
  ENGENHO_ASSIGN(auto certificate, self_sign(key, common_name, now));
  return Authority(std::move(certificate), std::move(key));
}

Result<Certificate> Authority::issue(const CertificateTemplate& what, const PublicKey& subject_key, WallTime now) const {
  if (!certificate_ || !key_) return err(internal_error("the authority has no key"));
  if (!subject_key) return err(internal_error("no key to certify"));
  WallTime end = std::min(now + what.validity, certificate_.not_after());
  if (end <= now) return err(internal_error("the authority's certificate has expired"));
  X509* issuer = certificate_.handle();
  X509Ptr x509(X509_new());
  bool ok = x509 && X509_set_version(x509.get(), X509_VERSION_3) && set_serial(x509.get()) &&
            set_times(x509.get(), std::max(now - kBackdate, certificate_.not_before()), end) &&
            write_subject(X509_get_subject_name(x509.get()), what.names) &&
            X509_set_issuer_name(x509.get(), X509_get_subject_name(issuer)) &&
            X509_set_pubkey(x509.get(), subject_key.handle()) &&
            add_basic_constraints(x509.get(), (what.usages & kUsageCertSign) != 0) &&
            add_usages(x509.get(), what.usages) && add_key_identifiers(x509.get(), issuer);
  if (!ok) return err(openssl_error("cannot issue a certificate"));
  auto alt_names = make_alt_names(what.names);
  if (!alt_names) return err(bad_request("a subject alternative name is not valid"));
  if (sk_GENERAL_NAME_num(alt_names.get()) > 0 &&
      X509_add1_ext_i2d(x509.get(), NID_subject_alt_name, alt_names.get(), 0, X509V3_ADD_DEFAULT) != 1)
    return err(openssl_error("cannot issue a certificate"));
  if (X509_sign(x509.get(), key_.handle(), digest_for(key_.handle())) <= 0)
    return err(openssl_error("cannot sign a certificate"));
  return Certificate::adopt(x509.release());
}

Result<KeyPair> issue_key_pair(const Authority& authority, const CertificateTemplate& what, WallTime now) {
  ENGENHO_ASSIGN(auto key, PrivateKey::generate());
  ENGENHO_ASSIGN(auto certificate, authority.issue(what, key.public_key(), now));
  return KeyPair{std::move(certificate), std::move(key)};
}

CertificateTemplate server_template(std::string common_name, std::vector<std::string> dns_names,
                                    std::vector<std::string> ip_addresses) {
  CertificateTemplate out;
  out.names.common_name = std::move(common_name);
  out.names.dns_names = std::move(dns_names);
  out.names.ip_addresses = std::move(ip_addresses);
  return out;
}

CertificateTemplate client_template(std::string user, std::vector<std::string> groups) {
  CertificateTemplate out;
  out.names.common_name = std::move(user);
  out.names.organizations = std::move(groups);
  out.usages = kUsageDigitalSignature | kUsageKeyEncipherment | kUsageClientAuth;
  return out;
}

Result<std::string> make_signing_request_pem(const PrivateKey& key, const Names& names) {
  ReqPtr req(X509_REQ_new());
  if (!key || !req || X509_REQ_set_version(req.get(), 0) != 1 ||
      !write_subject(X509_REQ_get_subject_name(req.get()), names) || X509_REQ_set_pubkey(req.get(), key.handle()) != 1)
    return err(openssl_error("cannot make a certificate request"));
  auto alt_names = make_alt_names(names);
  if (!alt_names) return err(bad_request("a subject alternative name is not valid"));
  if (sk_GENERAL_NAME_num(alt_names.get()) > 0) {
    STACK_OF(X509_EXTENSION)* raw = nullptr;
    bool ok = X509V3_add1_i2d(&raw, NID_subject_alt_name, alt_names.get(), 0, X509V3_ADD_DEFAULT) == 1;
    Owned<STACK_OF(X509_EXTENSION), free_extensions> extensions(raw);
    if (!ok || X509_REQ_add_extensions(req.get(), extensions.get()) != 1)
      return err(openssl_error("cannot make a certificate request"));
  }
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (X509_REQ_sign(req.get(), key.handle(), digest_for(key.handle())) <= 0 || !bio ||
      PEM_write_bio_X509_REQ(bio.get(), req.get()) != 1)
    return err(openssl_error("cannot sign a certificate request"));
  return drain(bio.get());
}

}  // namespace engenho::pki
