#include "engenho/pki/seal.h"

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
  CHECK(pki::unseal(sealed.substr(0, 30), "correct horse").error().code() == 400);
  CHECK(pki::unseal("", "correct horse").error().code() == 400);
  CHECK(pki::unseal(pki::seal("", "p"), "p").value().empty());
}
