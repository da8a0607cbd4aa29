#include "engenho/pki/jwt.h"

#include "engenho/base/bytes.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pki;

namespace {

json::Value claims(int64_t exp) {
  json::Object c;
  c.set("iss", "https://kubernetes.default.svc");
  c.set("sub", "system:serviceaccount:default:x");
  c.set("exp", exp);
  c.set("aud", json::Value(json::Array{json::Value("api"), json::Value("vault")}));
  return c;
}
const WallTime kNow{std::chrono::seconds(1'800'000'000)};
constexpr int64_t kNowSeconds = 1'800'000'000;

std::string with_header(const std::string& token, const std::string& header) {
  return base64url_encode(header) + token.substr(token.find('.'));
}

}  // namespace

TEST_CASE("tokens are signed and verified with RSA and ECDSA keys") {
  auto type = GENERATE(KeyType::kRsa2048, KeyType::kEcdsaP256);
  auto key = PrivateKey::generate(type);
  auto other = PrivateKey::generate(type);
  REQUIRE(key);
  REQUIRE(other);
  auto token = sign_jwt(*key, claims(kNowSeconds + 60));
  REQUIRE(token);
  std::vector<PublicKey> keys{other->public_key(), key->public_key()};
  auto jwt = verify_jwt(*token, keys);
  REQUIRE(jwt);
  CHECK(jwt->header.str_at({"alg"}) == (type == KeyType::kRsa2048 ? "RS256" : "ES256"));
  CHECK(jwt->header.str_at({"kid"}) == key->public_key().key_id());
  CHECK(jwt->claims.str_at({"sub"}) == "system:serviceaccount:default:x");
  CHECK(jwt_audiences(jwt->claims) == std::vector<std::string>{"api", "vault"});

  SECTION("another key does not verify it") {
    auto r = verify_jwt(*token, {other->public_key()});
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code() == 401);
    CHECK_FALSE(verify_jwt(*token, {}).has_value());
  }
  SECTION("changed claims, signature or form are refused") {
    size_t dot = token->find('.');
    std::string changed = token->substr(0, dot + 1) + base64url_encode(json::dump(claims(kNowSeconds + 99999))) +
                          token->substr(token->rfind('.'));
    CHECK_FALSE(verify_jwt(changed, keys).has_value());
    std::string flipped = *token;
    char& c = flipped[flipped.size() - 10];
    c = c == 'A' ? 'B' : 'A';
    CHECK_FALSE(verify_jwt(flipped, keys).has_value());
    CHECK_FALSE(verify_jwt(token->substr(0, token->rfind('.') + 1), keys).has_value());
    CHECK_FALSE(verify_jwt(token->substr(0, token->rfind('.')), keys).has_value());
    CHECK_FALSE(verify_jwt(*token + ".x", keys).has_value());
    CHECK_FALSE(verify_jwt("", keys).has_value());
    CHECK_FALSE(verify_jwt("..", keys).has_value());
    CHECK_FALSE(verify_jwt(std::string(100'000, 'a'), keys).has_value());
  }
  SECTION("the header chooses no algorithm") {
    std::string none = with_header(*token, R"({"alg":"none"})");
    CHECK_FALSE(verify_jwt(none, keys).has_value());
    CHECK_FALSE(verify_jwt(none.substr(0, none.rfind('.') + 1), keys).has_value());
    CHECK_FALSE(verify_jwt(with_header(*token, R"({"alg":"HS256"})"), keys).has_value());
    CHECK_FALSE(verify_jwt(with_header(*token, R"({})"), keys).has_value());
    CHECK_FALSE(verify_jwt(with_header(*token, R"({"alg":["RS256"]})"), keys).has_value());
  }
}

TEST_CASE("the key id picks the key, and a wrong one does not lock out") {
  auto key = PrivateKey::generate();
  auto other = PrivateKey::generate();
  auto token = sign_jwt(*key, claims(1));
  REQUIRE(token);
  // Signed by `key` over a header that names `other`: cannot be forged without `key`, so it still verifies.
  auto jwt = parse_jwt_unverified(*token);
  REQUIRE(jwt);
  CHECK(jwt->header.str_at({"kid"}) != other->public_key().key_id());
  CHECK(verify_jwt(*token, {other->public_key(), key->public_key()}).has_value());
}

TEST_CASE("times of a token") {
  json::Value c = claims(kNowSeconds + 60);
  CHECK(check_jwt_times(c, kNow).ok());
  CHECK(check_jwt_times(c, kNow + std::chrono::seconds(59)).ok());
  CHECK_FALSE(check_jwt_times(c, kNow + std::chrono::seconds(60)).ok());
  CHECK(check_jwt_times(c, kNow + std::chrono::seconds(60), std::chrono::seconds(10)).ok());
  c["nbf"] = json::Value(int64_t{kNowSeconds + 1});
  CHECK_FALSE(check_jwt_times(c, kNow).ok());
  CHECK(check_jwt_times(c, kNow + std::chrono::seconds(1)).ok());
  c["nbf"] = json::Value("soon");
  CHECK_FALSE(check_jwt_times(c, kNow).ok());
  c = claims(kNowSeconds + 100000);
  c["iat"] = json::Value(int64_t{kNowSeconds + 1000});
  CHECK_FALSE(check_jwt_times(c, kNow).ok());
  CHECK_FALSE(check_jwt_times(json::Value(json::Object{}), kNow).ok());
}

TEST_CASE("the example of RFC 7515, appendix A.3") {
  std::string point = *base64url_decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU") +
                      *base64url_decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
  std::string der = *hex_decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + point;
  auto key = PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\n" + base64_encode(der) + "\n-----END PUBLIC KEY-----\n");
  REQUIRE(key);
  CHECK(key->type() == KeyType::kEcdsaP256);
  auto jwt = verify_jwt(
      "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
      ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
      {*key});
  REQUIRE(jwt);
  CHECK(jwt->claims.str_at({"iss"}) == "joe");
  CHECK_FALSE(check_jwt_times(jwt->claims, kNow).ok());

  json::Value set = jwks({*key});
  const json::Value& one = set.get("keys")->items()[0];
  CHECK(one.str_at({"x"}) == "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
  CHECK(one.str_at({"y"}) == "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
  CHECK(one.str_at({"crv"}) == "P-256");
  CHECK(one.str_at({"kid"}) == base64url_encode(sha256(der)));
}

TEST_CASE("the key set of an RSA key; short keys and other kinds are left out") {
  auto key = PrivateKey::generate(KeyType::kRsa2048);
  REQUIRE(key);
  json::Value set = jwks({key->public_key(), PublicKey()});
  REQUIRE(set.get("keys")->items().size() == 1);
  const json::Value& one = set.get("keys")->items()[0];
  CHECK(one.str_at({"kty"}) == "RSA");
  CHECK(one.str_at({"e"}) == "AQAB");
  CHECK(base64url_decode(one.str_at({"n"}))->size() == 256);
  CHECK(one.str_at({"use"}) == "sig");
}

TEST_CASE("secrets compare in constant time") {
  CHECK(constant_time_equal("abc", "abc"));
  CHECK_FALSE(constant_time_equal("abc", "abd"));
  CHECK_FALSE(constant_time_equal("abc", "ab"));
  CHECK(constant_time_equal("", ""));
}
