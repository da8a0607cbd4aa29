// News: what arrives where.
#include "notifier.h"

#include "engenho/http/server.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

struct Sink final : http::Handler {
  void handle(std::shared_ptr<http::Exchange> exchange) override {
    const http::Request& r = exchange->request();
    std::lock_guard lock(mutex);
    const bool refused = refuse-- > 0;
    if (!refused) got.push_back({std::string(r.path()), std::string(r.headers.get("Priority")) + "|" + std::string(r.headers.get("Tags")) + "|" + std::string(r.headers.get("Title")), r.body});
    exchange->respond(refused ? 503 : 200, {}, {});
  }
  size_t count() {
    std::lock_guard lock(mutex);
    return got.size();
  }
  struct One {
    std::string path, headers, body;
  };
  std::mutex mutex;
  std::vector<One> got;
  int refuse = 0;
};

}  // namespace

TEST_CASE("news: the headers of each action, nobody named is nobody told, and what fails is tried again") {
  auto sink = std::make_shared<Sink>();
  http::Server server;
  auto listener = server.listen_tcp("127.0.0.1", 0, sink);
  REQUIRE(listener);
  REQUIRE(server.start().ok());
  const std::string url = "http://127.0.0.1:" + std::to_string(server.port(*listener));
  Cluster cluster;
  auto client = cluster.client();
  FakeClock clock;
  Options options;
  options.clock = &clock;
  options.ntfy_url = url;
  Notifier notifier(*client, options);
  notifier.send({}, {"alert", "FailureEscalation", "ns/t", "text"});
  pangea_v1::ApprovalRouting route;
  route.ntfy_topic = "infra";
  size_t sent = 0;
  for (const auto& [action, headers] : {std::pair("alert", "default|warning|"), {"suspend", "high|no_entry,warning|"}, {"page", "urgent|rotating_light,red_circle|"}}) {
    notifier.send(route, {action, "Reason\r\nX-Forged: 1", "ns/t", "the message"});
    REQUIRE(eventually([&] { return sink->count() == sent + 1; }));
    const auto& one = sink->got[sent++];
    CHECK(one.path == "/infra");
    CHECK(one.headers == std::string(headers) + "Reason  X-Forged: 1: ns/t");
    CHECK(one.body == "the message");
  }
  {
    std::lock_guard lock(sink->mutex);
    sink->refuse = 2;
  }
  notifier.send(route, {"alert", "Again", "ns/t", "later"});
  CHECK(eventually([&] {
    clock.advance(std::chrono::milliseconds(200));
    return sink->count() == sent + 1;
  }));
  notifier.stop();
  server.stop(Duration(0));
}
