#include "tls_keys.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/encoder.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <vector>

#include "digest.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::magma {

namespace {

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

// The wire forms of RFC 4251: a string with its length, a number with a leading zero where the top bit is set.
void put(std::string& out, std::string_view s) {
  const auto n = static_cast<uint32_t>(s.size());
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>((n >> shift) & 0xff);
  out += s;
}
void put_number(std::string& out, EVP_PKEY* key, const char* name) {
  BIGNUM* n = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &n) != 1) return;
  std::string bytes(static_cast<size_t>(BN_num_bytes(n)), '\0');
  BN_bn2bin(n, reinterpret_cast<unsigned char*>(bytes.data()));
  BN_clear_free(n);
  if (!bytes.empty() && (bytes[0] & 0x80)) bytes.insert(0, 1, '\0');
  put(out, bytes);
}
std::string raw(EVP_PKEY* key, int (*get)(const EVP_PKEY*, unsigned char*, size_t*)) {
  size_t size = 0;
  if (get(key, nullptr, &size) != 1) return "";
  std::string out(size, '\0');
  get(key, reinterpret_cast<unsigned char*>(out.data()), &size);
  return out;
}

struct SshForm {
  std::string type, public_blob, private_part;   // of the private section: what follows the check numbers
};

// False when OpenSSH knows no such key.
bool ssh_form(EVP_PKEY* key, SshForm& out) {
  if (EVP_PKEY_is_a(key, "ED25519") == 1) {
    const std::string pub = raw(key, EVP_PKEY_get_raw_public_key), priv = raw(key, EVP_PKEY_get_raw_private_key);
    out.type = "ssh-ed25519";
    put(out.public_blob, out.type);
    put(out.public_blob, pub);
    put(out.private_part, out.type);
    put(out.private_part, pub);
    put(out.private_part, priv + pub);
    return true;
  }
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    out.type = "ssh-rsa";
    put(out.public_blob, out.type);
    put_number(out.public_blob, key, OSSL_PKEY_PARAM_RSA_E);
    put_number(out.public_blob, key, OSSL_PKEY_PARAM_RSA_N);
    put(out.private_part, out.type);
    for (const char* name : {OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E, OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2}) put_number(out.private_part, key, name);
    return true;
  }
  char group[64] = {};
  size_t length = 0;
  if (EVP_PKEY_get_group_name(key, group, sizeof group, &length) != 1) return false;
  const std::string name(group);
  const std::string curve = name == "prime256v1" ? "nistp256" : name == "secp384r1" ? "nistp384" : name == "secp521r1" ? "nistp521" : "";
  if (curve.empty()) return false;
  size_t size = 0;
  EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, nullptr, 0, &size);
  std::string point(size, '\0');
  EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, reinterpret_cast<unsigned char*>(point.data()), size, &size);
  if (point.empty() || point[0] != 4) return false;   // uncompressed is what SSH has
  out.type = "ecdsa-sha2-" + curve;
  put(out.public_blob, out.type);
  put(out.public_blob, curve);
  put(out.public_blob, point);
  out.private_part = out.public_blob;
  put_number(out.private_part, key, OSSL_PKEY_PARAM_PRIV_KEY);
  return true;
}

// PROTOCOL.key of OpenSSH, without a passphrase.
std::string openssh_private(const SshForm& form) {
  std::string section, check = random_bytes(4);
  section = check + check + form.private_part;
  put(section, "");   // comment
  for (char pad = 1; section.size() % 8 != 0; ++pad) section += pad;
  std::string out("openssh-key-v1\0", 15);
  put(out, "none");
  put(out, "none");
  put(out, "");
  out += std::string("\0\0\0\1", 4);
  put(out, form.public_blob);
  put(out, section);
  const std::string body = base64_encode(out);
  std::string pem = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  for (size_t i = 0; i < body.size(); i += 64) pem += body.substr(i, 64) + "\n";
  return pem + "-----END OPENSSH PRIVATE KEY-----\n";
}

}  // namespace

Result<KeyPtr> generate_key(const std::string& algorithm, int rsa_bits, const std::string& curve) {
  EVP_PKEY* key = nullptr;
  if (algorithm == "RSA") {
    key = EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<size_t>(rsa_bits));
  } else if (algorithm == "ECDSA") {
    const char* name = curve == "P256" ? "prime256v1" : curve == "P384" ? "secp384r1" : curve == "P521" ? "secp521r1" : "secp224r1";
    key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", name);
  } else if (algorithm == "ED25519") {
    key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  } else {
    return err(bad_request("\"" + algorithm + "\" is no supported algorithm"));
  }
  if (key == nullptr) return err(internal_error("the key could not be generated"));
  return KeyPtr(key, EVP_PKEY_free);
}

Result<KeyPtr> read_private_key(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  // Never asks for a passphrase.
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr), EVP_PKEY_free);
  if (!key) return err(bad_request("this is no unencrypted private key in PEM form"));
  return key;
}

std::string key_algorithm(EVP_PKEY* key) {
  return EVP_PKEY_is_a(key, "RSA") == 1 ? "RSA" : EVP_PKEY_is_a(key, "EC") == 1 ? "ECDSA" : EVP_PKEY_is_a(key, "ED25519") == 1 ? "ED25519" : "UNKNOWN";
}

KeyTexts key_texts(EVP_PKEY* key) {
  KeyTexts out;
  const BioPtr pkcs8(BIO_new(BIO_s_mem()), BIO_free), own(BIO_new(BIO_s_mem()), BIO_free), pub(BIO_new(BIO_s_mem()), BIO_free);
  PEM_write_bio_PKCS8PrivateKey(pkcs8.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  out.private_pkcs8 = text_of(pkcs8.get());
  if (EVP_PKEY_is_a(key, "ED25519") == 1) out.private_pem = out.private_pkcs8;
  else PEM_write_bio_PrivateKey_traditional(own.get(), key, nullptr, nullptr, 0, nullptr, nullptr), out.private_pem = text_of(own.get());
  PEM_write_bio_PUBKEY(pub.get(), key);
  out.public_pem = text_of(pub.get());
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size > 0) out.id = hex_encode(digest("SHA1", std::string_view(reinterpret_cast<char*>(der), static_cast<size_t>(size))));
  OPENSSL_free(der);
  SshForm form;
  if (!ssh_form(key, form)) return out;
  out.public_openssh = form.type + " " + base64_encode(form.public_blob) + "\n";
  out.private_openssh = openssh_private(form);
  const std::string md5 = hex_encode(digest("MD5", form.public_blob));
  for (size_t i = 0; i < md5.size(); i += 2) out.fingerprint_md5 += (i ? ":" : "") + md5.substr(i, 2);
  std::string sha = base64_encode(digest("SHA256", form.public_blob));
  while (sha.ends_with("=")) sha.pop_back();
  out.fingerprint_sha256 = "SHA256:" + sha;
  return out;
}

std::string general_names_text(const GENERAL_NAMES* names) {
  std::vector<std::string> parts;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    auto text = [](const ASN1_STRING* s) { return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)), static_cast<size_t>(ASN1_STRING_length(s))); };
    std::string part;
    if (name->type == GEN_DNS) part = "DNS:" + text(name->d.dNSName);
    else if (name->type == GEN_URI) part = "URI:" + text(name->d.uniformResourceIdentifier);
    else if (name->type == GEN_IPADD) {
      const std::string bytes = text(name->d.iPAddress);
      char buffer[INET6_ADDRSTRLEN];
      if ((bytes.size() == 4 || bytes.size() == 16) && inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), buffer, sizeof buffer) != nullptr) part = std::string("IP:") + buffer;
    }
    if (!part.empty() && part.find_first_of(",\n\r") == std::string::npos) parts.push_back(part);
  }
  return join(parts, ",");
}

}  // namespace engenho::magma
