#include "engenho/pki/seal.h"

#include "engenho/pki/aead.h"
#include "engenho/testing/catch.h"

using namespace engenho;

TEST_CASE("what is sealed opens with its passphrase only, and not once a bit has changed") {
  const std::string sealed = pki::seal("a secret", "correct horse");
  CHECK(sealed.find("secret") == std::string::npos);
  CHECK(pki::seal("a secret", "correct horse") != sealed);
  CHECK(pki::unseal(sealed, "correct horse").value() == "a secret");
  CHECK(pki::unseal(sealed, "correct hors").error().is(reason::kUnauthorized));
  std::string changed = sealed;
  changed[changed.size() / 2] = changed[changed.size() / 2] == 'A' ? 'B' : 'A';
  CHECK_FALSE(pki::unseal(changed, "correct horse"));
  CHECK(pki::unseal(sealed.substr(0, 20), "correct horse").error().code() == 400);
  CHECK(pki::unseal("", "correct horse").error().code() == 400);
  CHECK(pki::unseal(pki::seal("", "p"), "p").value().empty());
}

TEST_CASE("AES-GCM opens with the same key and the same authenticated text only") {
  const std::string key(pki::kAeadKeyBytes, 'k'), other(pki::kAeadKeyBytes, 'o');
  const std::string sealed = pki::aead_seal(key, "where", "what");
  CHECK(sealed.size() == 12 + 4 + 16);
  CHECK(pki::aead_open(key, "where", sealed) == "what");
  CHECK_FALSE(pki::aead_open(other, "where", sealed));
  CHECK_FALSE(pki::aead_open(key, "elsewhere", sealed));
  CHECK_FALSE(pki::aead_open(key, "where", sealed.substr(0, 20)));
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    CHECK_FALSE(pki::aead_open(key, "where", changed));
  }
}
