// A server for h2load and curl, by hand: bench_server [port] [threads]. TLS on `port`, plain on `port` + 1.
//   /        7.5 KB of cached bytes          /list   75 MB in 10,000 segments
//   /watch   a line a second, until the client leaves (answered from another thread)
//   /echo    the request's body                /trim  gives free memory back to the system, to see what connections cost
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thread>

#include "engenho/base/clock.h"
#include "engenho/base/threads.h"
#include "engenho/http/server.h"
#include "engenho/pki/certificate.h"

using namespace engenho;

namespace {

class BenchHandler final : public http::Handler {
 public:
  BenchHandler() : small_(std::make_shared<const std::string>(7500, 'x')) {
    for (int i = 0; i < 10'000; ++i) {
      list_.append(Body(small_));
    }
  }
  void handle(std::shared_ptr<http::Exchange> exchange) override {
    std::string_view path = exchange->request().path();
    if (path == "/list") {
      exchange->respond(200, {{"Content-Type", "application/json"}}, list_);
    } else if (path == "/echo") {
      exchange->respond(200, {{"Content-Type", "application/octet-stream"}}, std::move(exchange->request().body));
    } else if (path == "/trim") {
      malloc_trim(0);
      exchange->respond(200, {}, "trimmed");
    } else if (path == "/watch") {
      exchange->start(200, {{"Content-Type", "text/plain"}});
      auto timer = std::make_shared<std::function<void()>>();
      *timer = [this, exchange, timer] {
        if (exchange->write("tick\n")) timers_.after(std::chrono::seconds(1), *timer);
      };
      timers_.after(std::chrono::seconds(1), *timer);
    } else {
      exchange->respond(200, {{"Content-Type", "application/json"}, {"Cache-Control", "no-cache, private"}}, Body(small_));
    }
  }

 private:
  using Body = http::Body;
  std::shared_ptr<const std::string> small_;
  Body list_;
  Timers timers_;
};

}  // namespace

int main(int argc, char** argv) {
  uint16_t port = static_cast<uint16_t>(argc > 1 ? atoi(argv[1]) : 18443);
  http::ServerOptions options;
  options.threads = argc > 2 ? atoi(argv[2]) : 2;
  WallTime now = Clock::real().wall();
  auto ca = pki::Authority::make("bench-ca", now);
  auto pair = pki::issue_key_pair(*ca, pki::server_template("bench", {"localhost"}, {"127.0.0.1"}), now);
  http::TlsServerOptions tls;
  tls.certificate_pem = pair->certificate.pem();
  tls.key_pem = pair->key.pem();
  tls.request_client_certificate = true;
  tls.client_ca_pem = ca->certificate().pem();
  auto handler = std::make_shared<BenchHandler>();
  http::Server server(options);
  auto secure = server.listen_tcp("127.0.0.1", port, handler, tls);
  auto plain = server.listen_tcp("127.0.0.1", static_cast<uint16_t>(port + 1), handler);
  if (!secure || !plain || !server.start().ok()) {
    fprintf(stderr, "cannot start: %s\n", secure ? "" : secure.error().message().c_str());
    return 1;
  }
  printf("listening on %u (TLS) and %u\n", port, port + 1u);
  fflush(stdout);
  for (;;) pause();
}
