#include "engenho/pki/jwt.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>

#include <cmath>

#include "engenho/base/bytes.h"
#include "openssl_util.h"

namespace engenho::pki {
namespace {

constexpr size_t kMaxToken = 64 << 10;
constexpr size_t kP256Half = 32;  // bytes of r and of s

using DigestPtr = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using SignaturePtr = Owned<ECDSA_SIG, ECDSA_SIG_free>;

Status unauthorized(std::string message) { return Status(401, reason::kUnauthorized, std::move(message)); }

std::string_view algorithm_of(const PublicKey& key) {
  switch (key.type()) {
    case KeyType::kRsa2048: return "RS256";
    case KeyType::kEcdsaP256: return "ES256";
    case KeyType::kOther: break;
  }
  return {};
}

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

// JOSE carries ECDSA signatures as r || s, OpenSSL as DER.
std::string raw_from_der(std::string_view der) {
  const unsigned char* p = bytes(der);
  SignaturePtr signature(d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(der.size())));
  std::string out(2 * kP256Half, '\0');
  auto* data = reinterpret_cast<unsigned char*>(out.data());
  if (!signature || BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), data, kP256Half) < 0 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), data + kP256Half, kP256Half) < 0)
    return {};
  return out;
}

std::string der_from_raw(std::string_view raw) {
  if (raw.size() != 2 * kP256Half) return {};
  SignaturePtr signature(ECDSA_SIG_new());
  BnPtr r(BN_bin2bn(bytes(raw), kP256Half, nullptr)), s(BN_bin2bn(bytes(raw) + kP256Half, kP256Half, nullptr));
  if (!signature || !r || !s || ECDSA_SIG_set0(signature.get(), r.get(), s.get()) != 1) return {};
  r.release();
  s.release();
  unsigned char* data = nullptr;
  int size = i2d_ECDSA_SIG(signature.get(), &data);
  if (size <= 0) return {};
  std::string out(reinterpret_cast<char*>(data), static_cast<size_t>(size));
  OPENSSL_free(data);
  return out;
}

bool signature_ok(const PublicKey& key, std::string_view input, std::string_view signature) {
  std::string der;
  if (key.type() == KeyType::kEcdsaP256) {
    der = der_from_raw(signature);
    if (der.empty()) return false;
    signature = der;
  }
  DigestPtr context(EVP_MD_CTX_new());
  bool ok = context && EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key.handle()) == 1 &&
            EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(input), input.size()) == 1;
  ERR_clear_error();
  return ok;
}

struct Parts {
  std::string_view signing_input;
  std::string signature;
  Jwt jwt;
};

Result<Parts> split_token(std::string_view token) {
  if (token.size() > kMaxToken) return err(unauthorized("the token is too long"));
  size_t first = token.find('.');
  size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos)
    return err(unauthorized("the token is not a JSON Web Token"));
  Parts out;
  out.signing_input = token.substr(0, second);
  auto header = base64url_decode(token.substr(0, first));
  auto claims = base64url_decode(token.substr(first + 1, second - first - 1));
  auto signature = base64url_decode(token.substr(second + 1));
  if (!header || !claims || !signature) return err(unauthorized("the token is not base64url"));
  json::ParseOptions options;
  options.max_depth = 20;
  auto header_json = json::parse(*header, options);
  auto claims_json = json::parse(*claims, options);
  if (!header_json || !claims_json || !header_json->is_object() || !claims_json->is_object())
    return err(unauthorized("the token holds no JSON object"));
  out.signature = std::move(*signature);
  out.jwt.header = std::move(*header_json);
  out.jwt.claims = std::move(*claims_json);
  return out;
}

// A numeric date, RFC 7519 section 2; false when absent or not a sane number.
bool date_of(const json::Value* value, double& seconds) {
  if (!value || !value->is_number()) return false;
  seconds = value->as_double();
  return std::isfinite(seconds);
}

std::string number_param(const PublicKey& key, const char* name, int pad) {
  BIGNUM* raw = nullptr;
  if (EVP_PKEY_get_bn_param(key.handle(), name, &raw) != 1) return {};
  BnPtr number(raw);
  std::string out(static_cast<size_t>(pad > 0 ? pad : BN_num_bytes(raw)), '\0');
  BN_bn2binpad(raw, reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
  return base64url_encode(out);
}

}  // namespace

Result<std::string> sign_jwt(const PrivateKey& key, const json::Value& claims) {
  PublicKey public_key = key.public_key();
  std::string_view algorithm = algorithm_of(public_key);
  if (algorithm.empty()) return err(internal_error("this kind of key does not sign tokens"));
  json::Object header;
  header.set("alg", algorithm);
  header.set("kid", public_key.key_id());
  std::string token = base64url_encode(json::dump(std::move(header))) + "." + base64url_encode(json::dump(claims));
  DigestPtr context(EVP_MD_CTX_new());
  size_t size = 0;
  if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.handle()) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, bytes(token), token.size()) != 1)
    return err(openssl_error("cannot sign a token"));
  std::string signature(size, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes(token),
                     token.size()) != 1)
    return err(openssl_error("cannot sign a token"));
  signature.resize(size);
  if (algorithm == "ES256") signature = raw_from_der(signature);
  if (signature.empty()) return err(openssl_error("cannot sign a token"));
  return token + "." + base64url_encode(signature);
}

Result<Jwt> parse_jwt_unverified(std::string_view token) {
  ENGENHO_ASSIGN(auto parts, split_token(token));
  return std::move(parts.jwt);
}

Result<Jwt> verify_jwt(std::string_view token, const std::vector<PublicKey>& keys) {
  ENGENHO_ASSIGN(auto parts, split_token(token));
  // Extensions that must be understood (RFC 7515, section 4.1.11): none is.
  if (parts.jwt.header.get("crit")) return err(unauthorized("the token demands an unknown extension"));
  const json::Value* named = parts.jwt.header.get("alg");
  const std::string algorithm(named ? named->str() : std::string_view());
  const json::Value* kid_value = parts.jwt.header.get("kid");
  const std::string kid(kid_value ? kid_value->str() : std::string_view());
  auto accepts = [&](const PublicKey& key) {
    return !algorithm.empty() && algorithm == algorithm_of(key) && signature_ok(key, parts.signing_input, parts.signature);
  };
  // The named key first; a token from before key ids, or of a re-labelled key, may be any of the others'.
  size_t named_at = keys.size();
  for (size_t i = 0; i < keys.size() && !kid.empty(); ++i) {
    if (keys[i].key_id() != kid) continue;
    named_at = i;
    if (accepts(keys[i])) return std::move(parts.jwt);
    break;
  }
  for (size_t i = 0; i < keys.size(); ++i)
    if (i != named_at && accepts(keys[i])) return std::move(parts.jwt);
  return err(unauthorized("the token's signature is not one of a known key"));
}

Status check_jwt_times(const json::Value& claims, WallTime now, Duration leeway) {
  double at = std::chrono::duration<double>(now.time_since_epoch()).count();
  double slack = std::chrono::duration<double>(leeway).count();
  double when = 0;
  if (!date_of(claims.get("exp"), when)) return unauthorized("the token has no expiry");
  if (at >= when + slack) return unauthorized("the token has expired");
  if (claims.get("nbf") && (!date_of(claims.get("nbf"), when) || at + slack < when))
    return unauthorized("the token is not valid yet");
  // Issued in the future: a clock is wrong, or the claim is.
  if (claims.get("iat") && (!date_of(claims.get("iat"), when) || at + slack + 300 < when))
    return unauthorized("the token was issued in the future");
  return {};
}

std::vector<std::string> jwt_audiences(const json::Value& claims) {
  std::vector<std::string> out;
  const json::Value* aud = claims.get("aud");
  if (!aud) return out;
  if (aud->is_string()) out.push_back(aud->as_string());
  for (const json::Value& one : aud->items())
    if (one.is_string()) out.push_back(one.as_string());
  return out;
}

json::Value jwks(const std::vector<PublicKey>& keys) {
  json::Array list;
  for (const PublicKey& key : keys) {
    std::string_view algorithm = algorithm_of(key);
    if (algorithm.empty()) continue;
    json::Object one;
    one.set("use", "sig");
    one.set("kid", key.key_id());
    one.set("alg", algorithm);
    if (algorithm == "RS256") {
      one.set("kty", "RSA");
      one.set("n", number_param(key, OSSL_PKEY_PARAM_RSA_N, 0));
      one.set("e", number_param(key, OSSL_PKEY_PARAM_RSA_E, 0));
    } else {
      one.set("kty", "EC");
      one.set("crv", "P-256");
      one.set("x", number_param(key, OSSL_PKEY_PARAM_EC_PUB_X, kP256Half));
      one.set("y", number_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, kP256Half));
    }
    list.push_back(json::Value(std::move(one)));
  }
  json::Object document;
  document.set("keys", json::Value(std::move(list)));
  return document;
}

}  // namespace engenho::pki
