#include "engenho/pki/ed25519.h"

#include "engenho/base/bytes.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pki;

TEST_CASE("Ed25519: the second vector of RFC 8032, made and checked") {
  // PKCS#8 and SubjectPublicKeyInfo around the raw keys.
  const std::string secret = *hex_decode("302e020100300506032b6570042204204ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
  const std::string open = *hex_decode("302a300506032b65700321003d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  auto key = PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\n" + base64_encode(secret) + "\n-----END PRIVATE KEY-----\n");
  auto other = PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\n" + base64_encode(open) + "\n-----END PUBLIC KEY-----\n");
  REQUIRE(key);
  REQUIRE(other);
  auto signature = sign_ed25519(*key, "\x72");
  REQUIRE(signature);
  CHECK(hex_encode(*signature) ==
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
  CHECK(verify_ed25519(*other, "\x72", *signature));
  CHECK(verify_ed25519(key->public_key(), "\x72", *signature));
  CHECK_FALSE(verify_ed25519(*other, "\x73", *signature));
  CHECK_FALSE(verify_ed25519(*other, "\x72", signature->substr(1)));
  (*signature)[5] ^= 1;
  CHECK_FALSE(verify_ed25519(*other, "\x72", *signature));
}

TEST_CASE("Ed25519: a new key outlives its text; other keys are refused") {
  auto key = generate_ed25519();
  REQUIRE(key);
  auto again = PrivateKey::from_pem(key->pem());
  REQUIRE(again);
  auto signature = sign_ed25519(*again, "message");
  REQUIRE(signature);
  CHECK(verify_ed25519(*PublicKey::from_pem(key->public_key().pem()), "message", *signature));
  CHECK_FALSE(verify_ed25519(generate_ed25519()->public_key(), "message", *signature));
  auto ecdsa = PrivateKey::generate();
  CHECK_FALSE(sign_ed25519(*ecdsa, "message"));
  CHECK_FALSE(verify_ed25519(ecdsa->public_key(), "message", *signature));
  CHECK_FALSE(verify_ed25519(PublicKey(), "message", *signature));
}
