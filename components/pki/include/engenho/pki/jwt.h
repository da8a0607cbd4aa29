// JSON Web Tokens (RFC 7519) in compact form, RS256 and ES256. The algorithm follows from the key, never from the
// token's header: "none" and an HMAC over a public key cannot pass.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/pki/keys.h"

namespace engenho::pki {

// "kid" is key.public_key().key_id().
Result<std::string> sign_jwt(const PrivateKey& key, const json::Value& claims);

struct Jwt {
  json::Value header;
  json::Value claims;
};
// Splits and decodes without looking at the signature: to read "iss" and choose who verifies. At most 64 KiB.
Result<Jwt> parse_jwt_unverified(std::string_view token);
// Signature only (times and audience: check_jwt_times, jwt_audiences). Keys are tried by "kid" first, then all. Error: Unauthorized.
Result<Jwt> verify_jwt(std::string_view token, const std::vector<PublicKey>& keys);
// exp (required), nbf, iat as numeric dates. Error: Unauthorized.
Status check_jwt_times(const json::Value& claims, WallTime now, Duration leeway = std::chrono::seconds(0));
// "aud" as a list, whether it is a string or an array.
std::vector<std::string> jwt_audiences(const json::Value& claims);

// The key set document served at /openid/v1/jwks: {"keys": [{use, kty, kid, alg, n, e | crv, x, y}]}.
json::Value jwks(const std::vector<PublicKey>& keys);

}  // namespace engenho::pki
