// The built-in providers' own behaviour.
#include "builtin.h"
#include "engenho/base/process.h"
#include "engenho/pki/certificate.h"
#include "support.h"

using namespace engenho;
using namespace engenho::magma;
using namespace engenho::magma::testing;

namespace {

json::Value attributes(StateStore& state, const std::string& type, const std::string& name) {
  const State s = stored(state);
  const ObjectState* o = s.current({{false, type, name}, {}});
  REQUIRE(o != nullptr);
  return o->attributes;
}

}  // namespace

TEST_CASE("random values keep to what was asked for, and stay") {
  Engine engine;
  auto state = make_memory_state();
  const PlanRequest r = request(R"({"resource": {
    "random_password": {"p": {"length": 40, "min_upper": 3, "min_lower": 3, "min_numeric": 3, "min_special": 3, "override_special": "_%"}, "digits": {"length": 9, "upper": false, "lower": false, "special": false}},
    "random_string": {"s": {"length": 4, "numeric": false}}, "random_integer": {"i": {"min": -5, "max": 5}, "one": {"min": 7, "max": 7}}, "random_id": {"d": {"byte_length": 8, "prefix": "x-"}},
    "random_pet": {"t": {"length": 3, "prefix": "my", "separator": "."}}, "random_shuffle": {"f": {"input": ["a", "b", "c"], "result_count": 5}}, "random_uuid": {"u": {}}, "random_bytes": {"b": {"length": 7}}}})");
  converge(engine, *state, r);
  CHECK_FALSE(engine.plan(r, *state)->has_changes());
  const std::string p(attributes(*state, "random_password", "p").str_at({"result"}));
  CHECK(p.size() == 40);
  int special = 0;
  for (char c : p) special += c == '_' || c == '%';
  CHECK(special >= 3);
  CHECK(attributes(*state, "random_password", "p").str_at({"bcrypt_hash"}).starts_with("$2a$10$"));
  CHECK(attributes(*state, "random_password", "p").str_at({"id"}) == "none");
  CHECK(attributes(*state, "random_password", "digits").str_at({"result"}).find_first_not_of("0123456789") == std::string::npos);
  CHECK(attributes(*state, "random_string", "s").get("number")->bool_or(true) == false);   // the old name follows
  const int64_t i = attributes(*state, "random_integer", "i").get("result")->int_or(99);
  CHECK((i >= -5 && i <= 5));
  CHECK(attributes(*state, "random_integer", "one").str_at({"id"}) == "7");
  const json::Value id = attributes(*state, "random_id", "d");
  CHECK(id.str_at({"hex"}).size() == 18);
  CHECK("x-" + std::string(id.str_at({"id"})) == id.str_at({"b64_url"}));
  CHECK(split(attributes(*state, "random_pet", "t").str_at({"id"}), '.').size() == 4);
  CHECK(attributes(*state, "random_shuffle", "f").get("result")->items().size() == 5);
  // What cannot be is refused while planning.
  auto bad = engine.plan(request(R"({"resource": {"random_password": {"p": {"length": 3, "min_upper": 4}}}})"), *make_memory_state());
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message().find("at least the sum") != std::string::npos);
  // keepers make a new one.
  auto kept = engine.plan(request(R"({"resource": {"random_uuid": {"u": {"keepers": {"a": "1"}}}}})"), *state);
  CHECK(actions(*kept).at("random_uuid.u") == "replace");
}

TEST_CASE("a decimal random_id is that of its bytes") {
  Engine engine;
  auto state = make_memory_state();
  const PlanRequest r = request(R"({"resource": {"random_id": {"d": {"byte_length": 3}}}})");
  REQUIRE(engine.import(r, *state, "random_id.d", "AQID").ok());   // 01 02 03
  CHECK(attributes(*state, "random_id", "d").str_at({"dec"}) == "66051");
  CHECK(attributes(*state, "random_id", "d").str_at({"hex"}) == "010203");
  CHECK_FALSE(engine.plan(r, *state)->has_changes());
}

TEST_CASE("times") {
  Engine engine;
  auto state = make_memory_state();
  converge(engine, *state, request(R"({"resource": {"time_static": {"s": {"rfc3339": "2024-02-29T12:30:15Z"}}, "time_offset": {"o": {"base_rfc3339": "2024-01-31T00:00:00Z", "offset_months": 1, "offset_days": -1}},
     "time_rotating": {"past": {"rfc3339": "2020-01-01T00:00:00Z", "rotation_days": 1}, "future": {"rotation_years": 50}}}})"));
  const json::Value s = attributes(*state, "time_static", "s");
  CHECK(s.get("unix")->int_or(0) == 1709209815);
  CHECK(s.get("day")->int_or(0) == 29);
  CHECK(attributes(*state, "time_offset", "o").str_at({"rfc3339"}) == "2024-03-01T00:00:00Z");   // 31 February is 2 March
  const PlanRequest later = request(R"({"resource": {"time_static": {"s": {}}, "time_offset": {"o": {"base_rfc3339": "2024-01-31T00:00:00Z", "offset_days": 2}},
     "time_rotating": {"past": {"rfc3339": "2020-01-01T00:00:00Z", "rotation_days": 1}, "future": {"rotation_years": 50}}}})");
  auto plan = engine.plan(later, *state);
  REQUIRE(plan);
  CHECK(actions(*plan) == std::map<std::string, std::string>{{"time_offset.o", "update"}, {"time_rotating.past", "create"}});
}

TEST_CASE("keys and certificates that others accept") {
  const std::string algorithm = GENERATE("RSA", "ECDSA", "ED25519");
  Engine engine;
  auto state = make_memory_state();
  const std::string more = algorithm == "ECDSA" ? R"(, "ecdsa_curve": "P256")" : "";
  const PlanRequest r = request(R"({"resource": {
    "tls_private_key": {"ca": {"algorithm": ")" + algorithm + "\"" + more + R"(}, "leaf": {"algorithm": ")" + algorithm + "\"" + more + R"(}},
    "tls_self_signed_cert": {"ca": {"private_key_pem": "${tls_private_key.ca.private_key_pem}", "subject": {"common_name": "ca", "organization": "acme"}, "validity_period_hours": 24, "is_ca_certificate": true, "allowed_uses": ["cert_signing", "digital_signature"]}},
    "tls_cert_request": {"leaf": {"private_key_pem": "${tls_private_key.leaf.private_key_pem}", "subject": {"common_name": "leaf"}, "dns_names": ["a.example.com"], "ip_addresses": ["10.0.0.1"]}},
    "tls_locally_signed_cert": {"leaf": {"cert_request_pem": "${tls_cert_request.leaf.cert_request_pem}", "ca_private_key_pem": "${tls_private_key.ca.private_key_pem}", "ca_cert_pem": "${tls_self_signed_cert.ca.cert_pem}",
      "validity_period_hours": 12, "allowed_uses": ["server_auth"]}}},
    "data": {"tls_public_key": {"k": {"private_key_pem": "${tls_private_key.leaf.private_key_pem_pkcs8}"}}}, "output": {"k": {"value": "${data.tls_public_key.k.public_key_fingerprint_sha256}"}}})");
  const auto result = converge(engine, *state, r);
  CHECK_FALSE(engine.plan(r, *state)->has_changes());
  const json::Value key = attributes(*state, "tls_private_key", "leaf");
  CHECK(result.outputs.find("k")->str_at({"value"}) == key.str_at({"public_key_fingerprint_sha256"}));
  auto ca = pki::Certificate::from_pem(attributes(*state, "tls_self_signed_cert", "ca").str_at({"cert_pem"}));
  auto leaf = pki::Certificate::from_pem(attributes(*state, "tls_locally_signed_cert", "leaf").str_at({"cert_pem"}));
  REQUIRE(ca);
  REQUIRE(leaf);
  CHECK(ca->is_ca());
  CHECK(pki::verify_chain(*leaf, {}, {*ca}, pki::Purpose::kServerAuth, Clock::real().wall()).message() == "");
  CHECK(pki::matches_host(*leaf, "a.example.com"));
  CHECK(pki::matches_host(*leaf, "10.0.0.1"));
  // OpenSSH reads what is written for it, where it is installed.
  TempDir dir;
  REQUIRE(write_file_atomic(dir.path("key"), key.str_at({"private_key_openssh"}), 0600).ok());
  auto ssh = run_process({.argv = {"ssh-keygen", "-y", "-f", dir.path("key")}}, std::chrono::seconds(20));
  if (!ssh) {
    WARN("ssh-keygen is not there: the OpenSSH form was not tried");
    return;
  }
  CHECK(ssh->exit_code == 0);
  CHECK(trim(ssh->out).substr(0, 60) == key.str_at({"public_key_openssh"}).substr(0, 60));
}
