#include "engenho/pki/certificate.h"

#include "engenho/base/clock.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pki;

namespace {
const WallTime kNow{std::chrono::seconds(1'800'000'000)};
constexpr auto kDay = std::chrono::hours(24);
}  // namespace

TEST_CASE("a CA issues server certificates with names and addresses") {
  auto ca = Authority::make("engenho-ca", kNow);
  REQUIRE(ca);
  CHECK(ca->certificate().is_ca());
  CHECK(ca->certificate().not_after() - kNow == 3650 * kDay);
  auto pair = issue_key_pair(*ca, server_template("apiserver", {"kubernetes", "*.example.test"}, {"10.43.0.1", "fd00::1"}), kNow);
  REQUIRE(pair);
  const Certificate& c = pair->certificate;
  CHECK_FALSE(c.is_ca());
  CHECK(c.names().common_name == "apiserver");
  CHECK(c.names().dns_names == std::vector<std::string>{"kubernetes", "*.example.test"});
  CHECK(c.names().ip_addresses == std::vector<std::string>{"10.43.0.1", "fd00::1"});
  CHECK(c.issuer_common_name() == "engenho-ca");
  CHECK(c.not_before() < kNow);
  CHECK(c.not_after() == kNow + 365 * kDay);
  CHECK(c.serial().size() == 32);
  CHECK(verify_chain(c, {}, {ca->certificate()}, Purpose::kServerAuth, kNow).ok());
  CHECK_FALSE(verify_chain(c, {}, {ca->certificate()}, Purpose::kClientAuth, kNow).ok());
  CHECK(matches_host(c, "kubernetes"));
  CHECK(matches_host(c, "a.example.test"));
  CHECK_FALSE(matches_host(c, "a.b.example.test"));
  CHECK(matches_host(c, "10.43.0.1"));
  CHECK(matches_host(c, "fd00:0::1"));
  CHECK_FALSE(matches_host(c, "10.43.0.2"));
  CHECK_FALSE(matches_host(c, "apiserver"));  // the common name is no host name
}

TEST_CASE("client certificates carry user and groups and verify only against their own CA, in time") {
  auto ca = Authority::make("one", kNow, KeyType::kRsa2048);
  auto other = Authority::make("one", kNow);
  REQUIRE(ca);
  REQUIRE(other);
  auto pair = issue_key_pair(*ca, client_template("ana", {"system:masters", "dev"}), kNow);
  REQUIRE(pair);
  CHECK(pair->certificate.names().common_name == "ana");
  CHECK(pair->certificate.names().organizations == std::vector<std::string>{"system:masters", "dev"});
  CHECK(verify_chain(pair->certificate, {}, {other->certificate(), ca->certificate()}, Purpose::kClientAuth, kNow).ok());
  CHECK(verify_chain(pair->certificate, {}, {other->certificate()}, Purpose::kClientAuth, kNow).code() == 401);
  CHECK(verify_chain(pair->certificate, {}, {}, Purpose::kClientAuth, kNow).code() == 401);
  CHECK_FALSE(verify_chain(pair->certificate, {}, {ca->certificate()}, Purpose::kClientAuth, kNow + 366 * kDay).ok());
  CHECK_FALSE(verify_chain(pair->certificate, {}, {ca->certificate()}, Purpose::kClientAuth, kNow - kDay).ok());
}

TEST_CASE("PEM and DER round trips; several certificates in one text; damaged text") {
  auto ca = Authority::make("a", kNow);
  auto pair = issue_key_pair(*ca, client_template("u", {}), kNow);
  REQUIRE(pair);
  auto both = Certificate::all_from_pem(pair->certificate.pem() + "junk\n" + ca->certificate().pem());
  REQUIRE(both);
  REQUIRE(both->size() == 2);
  CHECK((*both)[0].serial() == pair->certificate.serial());
  auto der = Certificate::from_der(pair->certificate.der());
  REQUIRE(der);
  CHECK(der->names().common_name == "u");
  auto key = PrivateKey::from_pem(pair->key.pem());
  REQUIRE(key);
  CHECK(key->public_key().der() == pair->certificate.public_key().der());
  auto public_key = PublicKey::from_pem(pair->certificate.pem());
  REQUIRE(public_key);
  CHECK(public_key->key_id() == key->public_key().key_id());

  CHECK_FALSE(Certificate::from_pem("").has_value());
  CHECK_FALSE(Certificate::from_der("\x30\x03\x02\x01").has_value());
  std::string cut = ca->certificate().pem();
  cut.replace(60, 20, "!!!!!!!!!!!!!!!!!!!!");
  CHECK_FALSE(Certificate::all_from_pem(cut).has_value());
  CHECK_FALSE(PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").has_value());
}

TEST_CASE("a certificate request is read, checked and certified") {
  auto ca = Authority::make("signer", kNow);
  auto key = PrivateKey::generate();
  REQUIRE(key);
  Names names;
  names.common_name = "system:node:n1";
  names.organizations = {"system:nodes"};
  names.dns_names = {"n1"};
  names.ip_addresses = {"192.0.2.7"};
  auto pem = make_signing_request_pem(*key, names);
  REQUIRE(pem);
  auto request = SigningRequest::from_pem(*pem);
  REQUIRE(request);
  CHECK(request->names().common_name == "system:node:n1");
  CHECK(request->names().organizations == names.organizations);
  CHECK(request->names().dns_names == names.dns_names);
  CHECK(request->names().ip_addresses == names.ip_addresses);
  CertificateTemplate what;
  what.names = request->names();
  what.usages = kUsageDigitalSignature | kUsageClientAuth;
  what.validity = std::chrono::hours(1);
  auto certificate = ca->issue(what, request->public_key(), kNow);
  REQUIRE(certificate);
  CHECK(certificate->public_key().der() == key->public_key().der());
  CHECK(certificate->not_after() == kNow + std::chrono::hours(1));
  CHECK(verify_chain(*certificate, {}, {ca->certificate()}, Purpose::kClientAuth, kNow).ok());

  // One changed byte in the middle breaks the request's own signature (or its form).
  std::string bad = *pem;
  bad[bad.size() / 2] = bad[bad.size() / 2] == 'A' ? 'B' : 'A';
  CHECK_FALSE(SigningRequest::from_pem(bad).has_value());
}

TEST_CASE("names that could be read in two ways are not certified") {
  auto ca = Authority::make("a", kNow);
  CertificateTemplate what = server_template("x", {"good,DNS:evil.test"}, {});
  CHECK(issue_key_pair(*ca, what, kNow).has_value());  // one odd name, not two
  what.names.dns_names = {std::string("a\0b", 3)};
  CHECK_FALSE(issue_key_pair(*ca, what, kNow).has_value());
  what.names.dns_names = {""};
  CHECK_FALSE(issue_key_pair(*ca, what, kNow).has_value());
  what.names.dns_names = {};
  what.names.ip_addresses = {"300.1.1.1"};
  CHECK_FALSE(issue_key_pair(*ca, what, kNow).has_value());
}

TEST_CASE("nothing is issued past the CA's own end") {
  auto ca = Authority::make("a", kNow - 3649 * kDay);
  auto pair = issue_key_pair(*ca, client_template("u", {}), kNow);
  REQUIRE(pair);
  CHECK(pair->certificate.not_after() == ca->certificate().not_after());
  CHECK_FALSE(issue_key_pair(*ca, client_template("u", {}), kNow + 2 * kDay).has_value());
}
