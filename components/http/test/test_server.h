// A server on a free loopback port with a function for a handler, and a bare client of bytes.
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>

#include "engenho/http/client.h"
#include "engenho/http/server.h"
#include "engenho/pki/certificate.h"
#include "engenho/testing/catch.h"

namespace engenho::http {

using Fn = std::function<void(std::shared_ptr<Exchange>)>;

class FnHandler final : public Handler {
 public:
  explicit FnHandler(Fn fn, size_t max_body = 0) : fn_(std::move(fn)), max_body_(max_body) {}
  void handle(std::shared_ptr<Exchange> exchange) override { fn_(std::move(exchange)); }
  std::optional<size_t> max_body(const Request&) override {
    return max_body_ ? std::optional<size_t>(max_body_) : std::nullopt;
  }

 private:
  Fn fn_;
  size_t max_body_;
};

inline MonoTime soon() { return deadline_in(std::chrono::seconds(20)); }

struct TestServer {
  Server server;
  uint16_t port = 0;
  ListenerId listener = 0;

  explicit TestServer(Fn fn, ServerOptions options = {}, std::optional<TlsServerOptions> tls = std::nullopt, size_t max_body = 0)
      : server(std::move(options)) {
    auto id = server.listen_tcp("127.0.0.1", 0, std::make_shared<FnHandler>(std::move(fn), max_body), std::move(tls));
    REQUIRE(id);
    listener = *id;
    port = server.port(listener);
    REQUIRE(server.start().ok());
  }
  std::unique_ptr<Stream> dial() const {
    auto stream = dial_tcp("127.0.0.1", port, soon());
    REQUIRE(stream);
    return std::move(*stream);
  }
  std::string url(const std::string& target, bool tls = false) const {
    return (tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port) + target;
  }
};

inline void send_text(Stream& stream, std::string_view text) { REQUIRE(stream.write(text, soon()).ok()); }

// Reads until the text holds `what`, or to the end when it is empty.
inline std::string read_until(Stream& stream, std::string_view what) {
  std::string out;
  char buffer[4096];
  while (what.empty() || out.find(what) == std::string::npos) {
    auto n = stream.read(buffer, sizeof buffer, soon());
    if (!n) {
      // A reset counts as an end here; a time-out is a failure.
      REQUIRE_FALSE(n.error().is(reason::kTimeout));
      break;
    }
    if (*n == 0) break;
    out.append(buffer, *n);
  }
  return out;
}

// A flag that threads wait for.
class Event {
 public:
  void set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [this] { return set_; });
  }
  bool is_set() {
    std::lock_guard lock(mutex_);
    return set_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

struct TestPki {
  WallTime now = Clock::real().wall();
  pki::Authority ca, other;
  TestPki() {
    ca = *pki::Authority::make("test-ca", now);
    other = *pki::Authority::make("other-ca", now);
  }
  TlsServerOptions server(const std::string& name = "server") {
    auto pair = pki::issue_key_pair(ca, pki::server_template(name, {"localhost"}, {"127.0.0.1"}), now);
    TlsServerOptions out;
    out.certificate_pem = pair->certificate.pem();
    out.key_pem = pair->key.pem();
    out.request_client_certificate = true;
    out.client_ca_pem = ca.certificate().pem();
    return out;
  }
  TlsClientOptions client() {
    TlsClientOptions out;
    out.ca_pem = ca.certificate().pem();
    return out;
  }
  TlsClientOptions client(const pki::Authority& signer, const std::string& user, std::vector<std::string> groups) {
    auto pair = pki::issue_key_pair(signer, pki::client_template(user, std::move(groups)), now);
    TlsClientOptions out = client();
    out.certificate_pem = pair->certificate.pem();
    out.key_pem = pair->key.pem();
    return out;
  }
};

}  // namespace engenho::http
