#include "test_server.h"

using namespace engenho;
using namespace engenho::http;

namespace {

std::string who(const Request& r) {
  if (!r.connection->tls) return "plain";
  const auto& peer = r.connection->peer;
  if (!peer) return "nobody";
  std::string out = peer->verified ? "verified " : "unverified ";
  out += peer->common_name;
  for (const auto& group : peer->organizations) out += "," + group;
  if (!peer->verified) out += peer->error.empty() ? " without reason" : " for a reason";
  return out;
}

Result<ClientResponse> get(const TestServer& t, TlsClientOptions tls) {
  ClientOptions options;
  options.tls = std::move(tls);
  Client client(options);
  ClientRequest request;
  request.url = t.url("/", true);
  return client.send(request);
}

}  // namespace

TEST_CASE("tls: client certificates: none, good, of another CA, expired") {
  TestPki pki;
  TestServer t([](std::shared_ptr<Exchange> e) { e->respond(200, {}, who(e->request())); }, {}, pki.server());
  auto body = [&](TlsClientOptions tls) {
    auto r = get(t, std::move(tls));
    REQUIRE(r);
    return r->body;
  };
  CHECK(body(pki.client()) == "nobody");
  CHECK(body(pki.client(pki.ca, "ana", {"system:masters", "dev"})) == "verified ana,system:masters,dev");
  CHECK(body(pki.client(pki.other, "eve", {"system:masters"})) == "unverified eve,system:masters for a reason");

  auto what = pki::client_template("old", {});
  what.validity = std::chrono::hours(1);
  auto pair = pki::issue_key_pair(pki.ca, what, pki.now - std::chrono::hours(1) + std::chrono::seconds(0));
  // Valid until just now, or a moment ago.
  REQUIRE(pair);
  TlsClientOptions old = pki.client();
  old.certificate_pem = pair->certificate.pem();
  old.key_pem = pair->key.pem();
  CHECK(body(old) == "unverified old for a reason");

  // A server certificate is no client certificate.
  auto server_pair = pki::issue_key_pair(pki.ca, pki::server_template("srv", {"srv"}, {}), pki.now);
  TlsClientOptions misused = pki.client();
  misused.certificate_pem = server_pair->certificate.pem();
  misused.key_pem = server_pair->key.pem();
  CHECK(body(misused) == "unverified srv for a reason");
}

TEST_CASE("tls: the client verifies the server: CA, name, and may be told not to") {
  TestPki pki;
  TestServer t([](std::shared_ptr<Exchange> e) { e->respond(200, {}, who(e->request())); }, {}, pki.server());
  TlsClientOptions wrong_ca;
  wrong_ca.ca_pem = pki.other.certificate().pem();
  auto r = get(t, wrong_ca);
  REQUIRE_FALSE(r.has_value());
  CHECK(r.error().code() == 503);
  CHECK(r.error().message().find("TLS handshake") != std::string::npos);
  wrong_ca.insecure_skip_verify = true;
  CHECK(get(t, wrong_ca).has_value());
  TlsClientOptions named = pki.client();
  named.server_name = "localhost";
  CHECK(get(t, named).has_value());
  named.server_name = "elsewhere.test";
  CHECK_FALSE(get(t, named).has_value());
}

TEST_CASE("tls: certificate and client CA are replaced while the server runs") {
  TestPki pki;
  TestServer t([](std::shared_ptr<Exchange> e) { e->respond(200, {}, who(e->request())); }, {}, pki.server());
  auto eve = pki.client(pki.other, "eve", {});
  CHECK(get(t, eve)->body == "unverified eve for a reason");
  TlsServerOptions next = pki.server("next");
  next.client_ca_pem += pki.other.certificate().pem();
  REQUIRE(t.server.set_tls(t.listener, next).ok());
  CHECK(get(t, eve)->body == "verified eve");
  next.key_pem = "damaged";
  CHECK_FALSE(t.server.set_tls(t.listener, next).ok());
  CHECK(get(t, eve)->body == "verified eve");
}

TEST_CASE("tls: plain bytes and silence on a TLS port") {
  TestPki pki;
  ServerOptions options;
  options.limits.handshake_timeout = std::chrono::milliseconds(100);
  TestServer t([](std::shared_ptr<Exchange> e) { e->respond(200, {}, "x"); }, options, pki.server());
  auto plain = t.dial();
  send_text(*plain, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  CHECK(read_until(*plain, "").size() < 100);
  auto silent = t.dial();
  CHECK(read_until(*silent, "").empty());
  CHECK(t.server.stats().requests == 0);
}

TEST_CASE("tls: large bodies both ways") {
  TestPki pki;
  TestServer t([](std::shared_ptr<Exchange> e) {
    Body body;
    auto piece = std::make_shared<const std::string>(std::string(7000, 'p'));
    body.append(Body(e->request().body));
    for (int i = 0; i < 2000; ++i) body.append(Body(piece));
    e->respond(200, {}, std::move(body));
  }, {}, pki.server());
  ClientOptions options;
  options.tls = pki.client();
  Client client(options);
  ClientRequest request;
  request.method = "PUT";
  request.url = t.url("/", true);
  request.body = std::string(2'000'000, 'u');
  for (int i = 0; i < 3; ++i) {
    auto r = client.send(request);
    REQUIRE(r);
    CHECK(r->body.size() == 16'000'000);
    CHECK(r->body[1'999'999] == 'u');
    CHECK(r->body[2'000'000] == 'p');
  }
  CHECK(t.server.stats().accepted == 1);
}
