// hashicorp/tls, as of its version 4.1: keys, certificates, requests. Everything is made and read with OpenSSL.
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

#include "builtin.h"
#include "digest.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "tls_keys.h"

namespace engenho::magma {

namespace {

using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;
using ReqPtr = std::unique_ptr<X509_REQ, decltype(&X509_REQ_free)>;
using NamePtr = std::unique_ptr<X509_NAME, decltype(&X509_NAME_free)>;

const Type kList = Type::list(Type::string());

std::vector<std::string> texts(const Value& object, std::string_view name) {
  std::vector<std::string> out;
  const Value& v = object.get(name);
  if (!v.holds()) return out;
  for (const Value& item : v.items()) {
    if (item.is_string()) out.push_back(item.as_string());
  }
  return out;
}

Value failed(const Value& planned, const std::string& what, const std::string& why, Diagnostics& d) {
  d.push_back(error_diagnostic(what, why));
  return Value::null(planned.type());
}

Block subject_block() {
  return block({attribute("common_name", Type::string(), "o"), attribute("country", Type::string(), "o"), attribute("locality", Type::string(), "o"), attribute("organization", Type::string(), "o"),
                attribute("organizational_unit", Type::string(), "o"), attribute("postal_code", Type::string(), "o"), attribute("province", Type::string(), "o"),
                attribute("serial_number", Type::string(), "o"), attribute("street_address", kList, "o")});
}

NamePtr subject_of(const Value& planned) {
  NamePtr name(X509_NAME_new(), X509_NAME_free);
  const Value& blocks = planned.get("subject");
  if (!blocks.holds() || blocks.items().empty()) return name;
  const Value& s = blocks.items()[0];
  // In the order in which Go's crypto/x509/pkix writes them.
  auto add = [&](const char* field, const std::string& text) {
    if (!text.empty()) X509_NAME_add_entry_by_txt(name.get(), field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()), -1, 0);
  };
  add("C", text_of(s, "country"));
  add("O", text_of(s, "organization"));
  add("OU", text_of(s, "organizational_unit"));
  add("L", text_of(s, "locality"));
  add("ST", text_of(s, "province"));
  for (const std::string& street : texts(s, "street_address")) add("street", street);
  add("postalCode", text_of(s, "postal_code"));
  add("CN", text_of(s, "common_name"));
  add("serialNumber", text_of(s, "serial_number"));
  return name;
}

// Upstream's names of uses, and OpenSSL's.
const std::map<std::string, const char*> kKeyUses = {{"digital_signature", "digitalSignature"}, {"content_commitment", "nonRepudiation"}, {"key_encipherment", "keyEncipherment"}, {"data_encipherment", "dataEncipherment"},
                                                    {"key_agreement", "keyAgreement"}, {"cert_signing", "keyCertSign"}, {"crl_signing", "cRLSign"}, {"encipher_only", "encipherOnly"}, {"decipher_only", "decipherOnly"}};
const std::map<std::string, const char*> kExtendedUses = {{"any_extended", "anyExtendedKeyUsage"}, {"server_auth", "serverAuth"}, {"client_auth", "clientAuth"}, {"code_signing", "codeSigning"},
                                                         {"email_protection", "emailProtection"}, {"timestamping", "timeStamping"}, {"ocsp_signing", "OCSPSigning"}, {"ipsec_end_system", "ipsecEndSystem"},
                                                         {"ipsec_tunnel", "ipsecTunnel"}, {"ipsec_user", "ipsecUser"}, {"microsoft_server_gated_crypto", "msSGC"}, {"netscape_server_gated_crypto", "nsSGC"}};

bool add_extension(X509* cert, X509* issuer, int nid, const std::string& text) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, text.c_str());
  const bool good = extension != nullptr && X509_add_ext(cert, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return good;
}

// Names that hold a comma or a line break would change the meaning of OpenSSL's text form.
bool plain(const std::vector<std::string>& names) {
  for (const std::string& n : names) {
    if (n.find_first_of(",\n\r") != std::string::npos) return false;
  }
  return true;
}

std::string alternative_names(const Value& v, bool& good) {
  std::vector<std::string> parts;
  good = plain(texts(v, "dns_names")) && plain(texts(v, "ip_addresses")) && plain(texts(v, "uris"));
  for (const std::string& n : texts(v, "dns_names")) parts.push_back("DNS:" + n);
  for (const std::string& n : texts(v, "ip_addresses")) parts.push_back("IP:" + n);
  for (const std::string& n : texts(v, "uris")) parts.push_back("URI:" + n);
  return join(parts, ",");
}

std::string pem_of(X509* cert) {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  PEM_write_bio_X509(bio.get(), cert);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

X509Ptr read_certificate(const std::string& pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return X509Ptr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
}

std::vector<Attribute> certificate_attributes() {
  return {attribute("allowed_uses", kList, "r"), attribute("cert_pem", Type::string(), "c"), attribute("early_renewal_hours", Type::number(), "oc"), attribute("id", Type::string(), "c"),
          attribute("is_ca_certificate", Type::boolean(), "oc"), attribute("ready_for_renewal", Type::boolean(), "c"), attribute("set_subject_key_id", Type::boolean(), "oc"),
          attribute("validity_end_time", Type::string(), "c"), attribute("validity_period_hours", Type::number(), "r"), attribute("validity_start_time", Type::string(), "c")};
}

// What self-signed and locally signed certificates share. `issuer`: null for a self-signed one.
Value issue(const Value& planned, EVP_PKEY* subject_key, X509_NAME* subject, const std::string& names, X509* issuer, EVP_PKEY* signer, bool authority_id, Diagnostics& d) {
  const std::string what = "Failed to create certificate";
  X509Ptr cert(X509_new(), X509_free);
  X509_set_version(cert.get(), 2);
  std::string serial = random_bytes(16);
  serial[0] = static_cast<char>(serial[0] & 0x7f);
  std::unique_ptr<BIGNUM, decltype(&BN_free)> number(BN_bin2bn(reinterpret_cast<const unsigned char*>(serial.data()), static_cast<int>(serial.size()), nullptr), BN_free);
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(cert.get()));
  const WallTime now = std::chrono::floor<std::chrono::seconds>(Clock::real().wall());
  const WallTime end = now + std::chrono::hours(int_of(planned, "validity_period_hours"));
  auto seconds = [](WallTime t) { return static_cast<time_t>(std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count()); };
  ASN1_TIME_set(X509_getm_notBefore(cert.get()), seconds(now));
  ASN1_TIME_set(X509_getm_notAfter(cert.get()), seconds(end));
  X509_set_pubkey(cert.get(), subject_key);
  X509_set_subject_name(cert.get(), subject);
  X509_set_issuer_name(cert.get(), issuer != nullptr ? X509_get_subject_name(issuer) : subject);
  std::vector<std::string> uses, extended;
  for (const std::string& use : texts(planned, "allowed_uses")) {
    if (auto at = kKeyUses.find(use); at != kKeyUses.end()) uses.emplace_back(at->second);
    else if (auto more = kExtendedUses.find(use); more != kExtendedUses.end()) extended.emplace_back(more->second);
    else return failed(planned, what, "\"" + use + "\" is no allowed use", d);
  }
  const bool is_ca = bool_of(planned, "is_ca_certificate");
  X509* const by = issuer != nullptr ? issuer : cert.get();
  bool good = uses.empty() || add_extension(cert.get(), by, NID_key_usage, "critical," + join(uses, ","));
  good = good && (extended.empty() || add_extension(cert.get(), by, NID_ext_key_usage, join(extended, ",")));
  good = good && add_extension(cert.get(), by, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (bool_of(planned, "set_subject_key_id") || is_ca) good = good && add_extension(cert.get(), by, NID_subject_key_identifier, "hash");
  // Only an issuer that names its key can be pointed to.
  const bool points = authority_id && X509_get_ext_by_NID(by, NID_subject_key_identifier, -1) >= 0;
  if (points) good = good && add_extension(cert.get(), by, NID_authority_key_identifier, "keyid");
  good = good && (names.empty() || add_extension(cert.get(), by, NID_subject_alt_name, names));
  if (!good) return failed(planned, what, "a name or a use is not valid in a certificate", d);
  const bool edwards = EVP_PKEY_is_a(signer, "ED25519") == 1;
  if (X509_sign(cert.get(), signer, edwards ? nullptr : EVP_sha256()) <= 0) return failed(planned, what, "signing failed", d);
  std::string decimal;
  if (char* text = BN_bn2dec(number.get())) {
    decimal = text;
    OPENSSL_free(text);
  }
  const bool ready = end - std::chrono::hours(int_of(planned, "early_renewal_hours")) <= now;
  return planned.with("cert_pem", Value::string(pem_of(cert.get()))).with("id", Value::string(decimal)).with("ready_for_renewal", Value::boolean(ready))
      .with("validity_start_time", Value::string(format_rfc3339(now))).with("validity_end_time", Value::string(format_rfc3339(end)));
}

// Due for renewal: planned as a replacement, as upstream does.
Value read_certificate_state(const Value& current, Diagnostics&) {
  auto end = parse_rfc3339(text_of(current, "validity_end_time"));
  if (!end) return current;
  const bool ready = Clock::real().wall() >= *end - std::chrono::hours(int_of(current, "early_renewal_hours"));
  return current.with("ready_for_renewal", Value::boolean(ready));
}
void plan_certificate(const Value& prior, Value& planned, std::vector<Path>& replace) {
  if (prior.holds() && bool_of(prior, "ready_for_renewal")) {
    planned = planned.with("ready_for_renewal", Value::unknown(Type::boolean()));
    replace.push_back({{std::string("ready_for_renewal")}});
  }
}

BuiltinResource private_key() {
  BuiltinResource r;
  r.schema.version = 1;
  r.schema.block = block({attribute("algorithm", Type::string(), "r"), attribute("ecdsa_curve", Type::string(), "oc"), attribute("id", Type::string(), "c"), attribute("private_key_openssh", Type::string(), "cs"),
                          attribute("private_key_pem", Type::string(), "cs"), attribute("private_key_pem_pkcs8", Type::string(), "cs"), attribute("public_key_fingerprint_md5", Type::string(), "c"),
                          attribute("public_key_fingerprint_sha256", Type::string(), "c"), attribute("public_key_openssh", Type::string(), "c"), attribute("public_key_pem", Type::string(), "c"),
                          attribute("rsa_bits", Type::number(), "oc")});
  r.force_new = {"algorithm", "ecdsa_curve", "rsa_bits"};
  r.defaults = {{"rsa_bits", Value::number(2048)}, {"ecdsa_curve", Value::string("P224")}};
  r.validate = [](const Value& config, Diagnostics& d) {
    const Value& algorithm = config.get("algorithm");
    if (algorithm.is_string() && algorithm.as_string() != "RSA" && algorithm.as_string() != "ECDSA" && algorithm.as_string() != "ED25519") {
      d.push_back(error_diagnostic("Invalid Attribute Value Match", "must be one of RSA, ECDSA, ED25519", {{std::string("algorithm")}}));
    }
    const int64_t bits = int_of(config, "rsa_bits", 2048);
    if (bits < 512 || bits > 16384) d.push_back(error_diagnostic("Invalid Attribute Value", "must be between 512 and 16384", {{std::string("rsa_bits")}}));
    const std::string curve = text_of(config, "ecdsa_curve");
    if (!curve.empty() && curve != "P224" && curve != "P256" && curve != "P384" && curve != "P521") d.push_back(error_diagnostic("Invalid Attribute Value Match", "must be one of P224, P256, P384, P521", {{std::string("ecdsa_curve")}}));
  };
  r.write = [](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    auto key = generate_key(text_of(planned, "algorithm"), static_cast<int>(int_of(planned, "rsa_bits")), text_of(planned, "ecdsa_curve"));
    if (!key) return failed(planned, "Unable to generate key", key.error().message(), d);
    const KeyTexts t = key_texts(key->get());
    return planned.with("private_key_pem", Value::string(t.private_pem)).with("private_key_pem_pkcs8", Value::string(t.private_pkcs8)).with("private_key_openssh", Value::string(t.private_openssh))
        .with("public_key_pem", Value::string(t.public_pem)).with("public_key_openssh", Value::string(t.public_openssh)).with("public_key_fingerprint_md5", Value::string(t.fingerprint_md5))
        .with("public_key_fingerprint_sha256", Value::string(t.fingerprint_sha256)).with("id", Value::string(t.id));
  };
  return r;
}

NestedBlock subject() {
  NestedBlock b;
  b.name = "subject";
  b.block = std::make_shared<Block>(subject_block());
  b.nesting = Nesting::kList;
  b.max_items = 1;
  return b;
}

BuiltinResource self_signed() {
  BuiltinResource r;
  auto attributes = certificate_attributes();
  attributes.insert(attributes.end(), {attribute("dns_names", kList, "o"), attribute("ip_addresses", kList, "o"), attribute("uris", kList, "o"), attribute("key_algorithm", Type::string(), "c"),
                                       attribute("private_key_pem", Type::string(), "rs"), attribute("set_authority_key_id", Type::boolean(), "oc")});
  r.schema.block = block(std::move(attributes), {subject()});
  r.force_new = {"allowed_uses", "dns_names", "ip_addresses", "uris", "private_key_pem", "is_ca_certificate", "set_subject_key_id", "set_authority_key_id", "validity_period_hours", "subject"};
  r.defaults = {{"early_renewal_hours", Value::number(0)}, {"is_ca_certificate", Value::boolean(false)}, {"set_subject_key_id", Value::boolean(false)}, {"set_authority_key_id", Value::boolean(false)}};
  r.read = read_certificate_state;
  r.plan = plan_certificate;
  r.write = [](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    auto key = read_private_key(text_of(planned, "private_key_pem"));
    if (!key) return failed(planned, "Failed to parse private key PEM", key.error().message(), d);
    bool good = true;
    const std::string names = alternative_names(planned, good);
    if (!good) return failed(planned, "Failed to create certificate", "a name holds a comma or a line break", d);
    const NamePtr name = subject_of(planned);
    Value state = planned.with("key_algorithm", Value::string(key_algorithm(key->get())));
    return issue(state, key->get(), name.get(), names, nullptr, key->get(), bool_of(planned, "set_authority_key_id"), d);
  };
  return r;
}

BuiltinResource cert_request() {
  BuiltinResource r;
  r.schema.block = block({attribute("cert_request_pem", Type::string(), "c"), attribute("dns_names", kList, "o"), attribute("id", Type::string(), "c"), attribute("ip_addresses", kList, "o"),
                          attribute("key_algorithm", Type::string(), "c"), attribute("private_key_pem", Type::string(), "rs"), attribute("uris", kList, "o")}, {subject()});
  r.force_new = {"dns_names", "ip_addresses", "uris", "private_key_pem", "subject"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    auto key = read_private_key(text_of(planned, "private_key_pem"));
    if (!key) return failed(planned, "Failed to parse private key PEM", key.error().message(), d);
    ReqPtr req(X509_REQ_new(), X509_REQ_free);
    const NamePtr name = subject_of(planned);
    X509_REQ_set_subject_name(req.get(), name.get());
    X509_REQ_set_pubkey(req.get(), key->get());
    bool good = true;
    const std::string names = alternative_names(planned, good);
    if (good && !names.empty()) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
      STACK_OF(X509_EXTENSION)* list = sk_X509_EXTENSION_new_null();
      good = extension != nullptr;
      if (good) sk_X509_EXTENSION_push(list, extension), X509_REQ_add_extensions(req.get(), list);
      sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    }
    const bool edwards = EVP_PKEY_is_a(key->get(), "ED25519") == 1;
    if (!good || X509_REQ_sign(req.get(), key->get(), edwards ? nullptr : EVP_sha256()) <= 0) return failed(planned, "Failed to create certificate request", "a name is not valid in a certificate", d);
    std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    PEM_write_bio_X509_REQ(bio.get(), req.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    const std::string pem(data, static_cast<size_t>(size));
    return planned.with("cert_request_pem", Value::string(pem)).with("key_algorithm", Value::string(key_algorithm(key->get()))).with("id", Value::string(hex_encode(digest("SHA1", pem))));
  };
  return r;
}

BuiltinResource locally_signed() {
  BuiltinResource r;
  auto attributes = certificate_attributes();
  attributes.insert(attributes.end(), {attribute("ca_cert_pem", Type::string(), "r"), attribute("ca_key_algorithm", Type::string(), "c"), attribute("ca_private_key_pem", Type::string(), "rs"), attribute("cert_request_pem", Type::string(), "r")});
  r.schema.block = block(std::move(attributes));
  r.force_new = {"allowed_uses", "ca_cert_pem", "ca_private_key_pem", "cert_request_pem", "is_ca_certificate", "set_subject_key_id", "validity_period_hours"};
  r.defaults = {{"early_renewal_hours", Value::number(0)}, {"is_ca_certificate", Value::boolean(false)}, {"set_subject_key_id", Value::boolean(false)}};
  r.read = read_certificate_state;
  r.plan = plan_certificate;
  r.write = [](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    const std::string what = "Failed to create certificate";
    auto key = read_private_key(text_of(planned, "ca_private_key_pem"));
    if (!key) return failed(planned, what, key.error().message(), d);
    const X509Ptr issuer = read_certificate(text_of(planned, "ca_cert_pem"));
    const std::string pem = text_of(planned, "cert_request_pem");
    std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
    const ReqPtr req(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr), X509_REQ_free);
    if (!issuer) return failed(planned, what, "ca_cert_pem is no certificate", d);
    if (!req) return failed(planned, what, "cert_request_pem is no certificate request", d);
    EVP_PKEY* const subject_key = X509_REQ_get0_pubkey(req.get());
    if (subject_key == nullptr || X509_REQ_verify(req.get(), subject_key) != 1) return failed(planned, what, "the request's own signature does not fit", d);
    if (X509_check_private_key(issuer.get(), key->get()) != 1) return failed(planned, what, "ca_private_key_pem is not the key of ca_cert_pem", d);
    // Names come from the request, as they are.
    Value state = planned.with("ca_key_algorithm", Value::string(key_algorithm(key->get())));
    std::string names;
    STACK_OF(X509_EXTENSION)* asked = X509_REQ_get_extensions(req.get());
    if (const int at = asked != nullptr ? X509v3_get_ext_by_NID(asked, NID_subject_alt_name, -1) : -1; at >= 0) {
      auto* list = static_cast<GENERAL_NAMES*>(X509V3_EXT_d2i(sk_X509_EXTENSION_value(asked, at)));
      names = general_names_text(list);
      GENERAL_NAMES_free(list);
    }
    sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
    return issue(state, subject_key, X509_REQ_get_subject_name(req.get()), names, issuer.get(), key->get(), true, d);
  };
  return r;
}

BuiltinData public_key() {
  BuiltinData data;
  data.schema.block = block({attribute("algorithm", Type::string(), "c"), attribute("id", Type::string(), "c"), attribute("private_key_openssh", Type::string(), "os"), attribute("private_key_pem", Type::string(), "os"),
                             attribute("public_key_fingerprint_md5", Type::string(), "c"), attribute("public_key_fingerprint_sha256", Type::string(), "c"), attribute("public_key_openssh", Type::string(), "c"),
                             attribute("public_key_pem", Type::string(), "c")});
  data.read = [](const Value& config, Diagnostics& d) {
    if (!config.get("private_key_pem").is_string()) return failed(config, "Unsupported", "only private_key_pem is supported, not private_key_openssh", d);
    auto key = read_private_key(text_of(config, "private_key_pem"));
    if (!key) return failed(config, "Failed to parse private key PEM", key.error().message(), d);
    const KeyTexts t = key_texts(key->get());
    return config.with("algorithm", Value::string(key_algorithm(key->get()))).with("id", Value::string(t.id)).with("public_key_pem", Value::string(t.public_pem))
        .with("public_key_openssh", Value::string(t.public_openssh)).with("public_key_fingerprint_md5", Value::string(t.fingerprint_md5)).with("public_key_fingerprint_sha256", Value::string(t.fingerprint_sha256));
  };
  return data;
}

}  // namespace

BuiltinProvider tls_provider() {
  BuiltinProvider p;
  p.version = "4.1.0";
  p.resources.emplace("tls_private_key", private_key());
  p.resources.emplace("tls_self_signed_cert", self_signed());
  p.resources.emplace("tls_cert_request", cert_request());
  p.resources.emplace("tls_locally_signed_cert", locally_signed());
  p.data_sources.emplace("tls_public_key", public_key());
  return p;
}

}  // namespace engenho::magma
