#include "engenho/pki/certificate.h"

#include <openssl/crypto.h>
#include <time.h>

#include "engenho/base/bytes.h"
#include "openssl_util.h"

namespace engenho::pki {
namespace {

int refuse_password(char*, int, int, void*) { return -1; }

WallTime time_of(const ASN1_TIME* time) {
  tm parts{};
  if (!time || ASN1_TIME_to_tm(time, &parts) != 1) return WallTime{};
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

std::string serial_of(X509* x509) {
  BnPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), nullptr));
  char* text = number ? BN_bn2hex(number.get()) : nullptr;
  std::string out = text ? to_lower(text) : std::string();
  OPENSSL_free(text);
  return out;
}

Status unauthorized(std::string message) { return Status(401, reason::kUnauthorized, std::move(message)); }

}  // namespace

Result<Certificate> Certificate::adopt(X509* x509) {
  if (!x509) return err(openssl_error("cannot read a certificate"));
  Certificate out;
  out.x509_ = std::shared_ptr<X509>(x509, X509_free);
  auto info = std::make_shared<Info>();
  read_subject(X509_get_subject_name(x509), info->names);
  Owned<GENERAL_NAMES, GENERAL_NAMES_free> san(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x509, NID_subject_alt_name, nullptr, nullptr)));
  read_alt_names(san.get(), info->names);
  Names issuer;
  read_subject(X509_get_issuer_name(x509), issuer);
  info->issuer = issuer.common_name;
  info->serial = serial_of(x509);
  info->not_before = time_of(X509_get0_notBefore(x509));
  info->not_after = time_of(X509_get0_notAfter(x509));
  info->is_ca = X509_check_ca(x509) == 1;
  out.info_ = std::move(info);
  ERR_clear_error();
  return out;
}

Result<std::vector<Certificate>> Certificate::all_from_pem(std::string_view pem) {
  std::vector<Certificate> out;
  BioPtr bio = memory_bio(pem);
  while (bio) {
    X509* x509 = PEM_read_bio_X509(bio.get(), nullptr, refuse_password, nullptr);
    if (!x509) {
      unsigned long code = ERR_peek_last_error();
      bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
      if (!end) return err(openssl_error("cannot read a certificate"));
      ERR_clear_error();
      break;
    }
    ENGENHO_ASSIGN(auto certificate, adopt(x509));
    out.push_back(std::move(certificate));
  }
  if (out.empty()) return err(internal_error("no certificate in the PEM text"));
  return out;
}

Result<Certificate> Certificate::from_pem(std::string_view pem) {
  BioPtr bio = memory_bio(pem);
  return adopt(bio ? PEM_read_bio_X509(bio.get(), nullptr, refuse_password, nullptr) : nullptr);
}

Result<Certificate> Certificate::from_der(std::string_view der) {
  const unsigned char* p = reinterpret_cast<const unsigned char*>(der.data());
  return adopt(d2i_X509(nullptr, &p, static_cast<long>(der.size())));
}

std::string Certificate::pem() const {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!x509_ || !bio || PEM_write_bio_X509(bio.get(), x509_.get()) != 1) return {};
  return drain(bio.get());
}

std::string Certificate::der() const {
  unsigned char* data = nullptr;
  int size = x509_ ? i2d_X509(x509_.get(), &data) : 0;
  if (size <= 0) return {};
  std::string out(reinterpret_cast<char*>(data), static_cast<size_t>(size));
  OPENSSL_free(data);
  return out;
}

PublicKey Certificate::public_key() const {
  EVP_PKEY* key = x509_ ? X509_get_pubkey(x509_.get()) : nullptr;
  return key ? PublicKey(std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free)) : PublicKey();
}

Result<SigningRequest> SigningRequest::from_pem(std::string_view pem) {
  BioPtr bio = memory_bio(pem);
  ReqPtr req(bio ? PEM_read_bio_X509_REQ(bio.get(), nullptr, refuse_password, nullptr) : nullptr);
  if (!req) return err(bad_request("cannot read a certificate request: " + openssl_reason()));
  EVP_PKEY* key = X509_REQ_get_pubkey(req.get());
  if (!key) return err(bad_request("the certificate request has no usable key: " + openssl_reason()));
  SigningRequest out;
  out.public_key_ = PublicKey(std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free));
  if (X509_REQ_verify(req.get(), key) != 1)
    return err(bad_request("the certificate request's signature is wrong: " + openssl_reason()));
  read_subject(X509_REQ_get_subject_name(req.get()), out.names_);
  Owned<STACK_OF(X509_EXTENSION), free_extensions> extensions(X509_REQ_get_extensions(req.get()));
  if (extensions) {
    Owned<GENERAL_NAMES, GENERAL_NAMES_free> san(
        static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
    read_alt_names(san.get(), out.names_);
  }
  ERR_clear_error();
  return out;
}

Status verify_chain(const Certificate& certificate, const std::vector<Certificate>& intermediates,
                    const std::vector<Certificate>& roots, Purpose purpose, WallTime now) {
  if (!certificate) return unauthorized("x509: no certificate");
  Owned<X509_STORE, X509_STORE_free> store(X509_STORE_new());
  Owned<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
  struct stack_st_X509* chain = sk_X509_new_null();
  auto free_chain = [](struct stack_st_X509* s) { sk_X509_free(s); };
  std::unique_ptr<struct stack_st_X509, decltype(free_chain)> chain_owner(chain, free_chain);
  if (!store || !context || !chain) return openssl_error("verify");
  for (const Certificate& root : roots)
    if (root && X509_STORE_add_cert(store.get(), root.handle()) != 1) return openssl_error("verify");
  for (const Certificate& one : intermediates)
    if (one && sk_X509_push(chain, one.handle()) <= 0) return openssl_error("verify");
  if (X509_STORE_CTX_init(context.get(), store.get(), certificate.handle(), chain) != 1) return openssl_error("verify");
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(param, std::chrono::system_clock::to_time_t(
                                        std::chrono::time_point_cast<std::chrono::system_clock::duration>(now)));
  X509_VERIFY_PARAM_set_purpose(param,
                                purpose == Purpose::kClientAuth ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM_set_depth(param, 8);
  // A pool may hold an intermediate as its anchor, as Go's does.
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  int ok = X509_verify_cert(context.get());
  int error = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  if (ok == 1) return {};
  return unauthorized(std::string("x509: ") + X509_verify_cert_error_string(error));
}

bool matches_host(const Certificate& certificate, const std::string& host) {
  if (!certificate || host.empty() || host.find('\0') != std::string::npos) return false;
  if (Owned<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> ip(a2i_IPADDRESS(host.c_str())); ip)
    return X509_check_ip_asc(certificate.handle(), host.c_str(), 0) == 1;
  ERR_clear_error();
  return X509_check_host(certificate.handle(), host.data(), host.size(),
                         X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
}

}  // namespace engenho::pki
