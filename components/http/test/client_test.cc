#include <thread>

#include "engenho/http/gzip.h"
#include "test_server.h"

using namespace engenho;
using namespace engenho::http;

namespace {

ClientRequest get(std::string url) {
  ClientRequest request;
  request.url = std::move(url);
  return request;
}

// A server side that says what it is told to: each connection is given to `fn`.
class RawServer {
 public:
  explicit RawServer(std::function<void(Stream&)> fn) : server_(std::make_unique<TestServer>([this, fn](std::shared_ptr<Exchange> e) {
    std::lock_guard lock(mutex_);
    threads_.emplace_back([e, fn] {
      auto stream = e->upgrade({});
      if (stream) fn(**stream);
    });
  })) {}
  ~RawServer() {
    std::lock_guard lock(mutex_);
    for (auto& thread : threads_) thread.join();
  }
  // Dials, with the server's 101 already taken off.
  std::function<Result<std::unique_ptr<Stream>>(const std::string&, uint16_t, MonoTime, const StopToken*)> dialler() {
    return [this](const std::string&, uint16_t, MonoTime, const StopToken*) -> Result<std::unique_ptr<Stream>> {
      auto stream = server_->dial();
      send_text(*stream, "GET / HTTP/1.1\r\nHost: raw\r\n\r\n");
      char buffer[36];
      REQUIRE(read_exactly(*stream, buffer, sizeof buffer, soon()).ok());  // "HTTP/1.1 101 Switching Protocols\r\n\r\n"
      return stream;
    };
  }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::unique_ptr<TestServer> server_;
};

}  // namespace

TEST_CASE("client: keep-alive pool, retry on a connection that died idle") {
  ServerOptions options;
  options.limits.idle_timeout = std::chrono::milliseconds(150);
  options.threads = 1;
  TestServer t([](std::shared_ptr<Exchange> e) { e->respond(200, {{"X-Remote", e->request().connection->remote_address}}, "ok"); },
               options);
  Client client;
  auto first = client.send(get(t.url("/1")));
  auto second = client.send(get(t.url("/2")));
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->headers.get("x-remote") == second->headers.get("x-remote"));
  // The server closes the idle connection; a connection of our own shows when that has come to pass.
  auto idle = t.dial();
  send_text(*idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  (void)read_until(*idle, "");
  auto third = client.send(get(t.url("/3")));
  REQUIRE(third);
  CHECK(third->body == "ok");
  CHECK(third->headers.get("x-remote") != first->headers.get("x-remote"));
}

TEST_CASE("client: framing of responses") {
  std::string answer;
  RawServer raw([&](Stream& s) {
    (void)read_until(s, "\r\n\r\n");
    const std::string mine = answer;  // the client may be done with it before this is
    (void)s.write(mine, soon());
    s.close();
  });
  ClientOptions options;
  options.dial = raw.dialler();
  options.max_response_bytes = 1000;
  options.max_head_bytes = 2000;
  Client client(options);
  auto ask = [&](std::string text) {
    answer = std::move(text);
    return client.send(get("http://raw/"));
  };
  CHECK(ask("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")->body == "abc");
  CHECK(ask("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\n\r\nto the end")->body == "to the end");
  CHECK(ask("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")->body == "abc");
  CHECK(ask("HTTP/1.1 204 No Content\r\n\r\n")->status == 204);
  CHECK_FALSE(ask("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").has_value());
  CHECK_FALSE(ask("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").has_value());
  CHECK_FALSE(ask("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef").has_value());
  CHECK_FALSE(ask("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'x')).has_value());
  CHECK_FALSE(ask("HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'x')).has_value());
  CHECK_FALSE(ask("nonsense\r\n\r\n").has_value());
  CHECK_FALSE(ask("").has_value());
}

TEST_CASE("client: time-outs and stop at every step") {
  std::promise<void> release;
  auto released = release.get_future().share();
  RawServer raw([&](Stream& s) {
    (void)read_until(s, "\r\n\r\n");
    if (released.wait_for(std::chrono::seconds(0)) != std::future_status::ready) released.wait();
  });
  ClientOptions options;
  options.dial = raw.dialler();
  Client client(options);
  ClientRequest request = get("http://raw/");
  request.timeout = std::chrono::milliseconds(50);
  auto late = client.send(request);
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().is(reason::kTimeout));

  request.timeout = std::chrono::seconds(20);
  StopToken stop;
  auto answer = std::async(std::launch::async, [&] { return client.send(request, &stop); });
  stop.request_stop();
  auto stopped = answer.get();
  REQUIRE_FALSE(stopped.has_value());
  CHECK(stopped.error().code() == 503);
  CHECK_FALSE(client.send(request, &stop).has_value());
  release.set_value();

  CHECK(dial_tcp("127.0.0.1", 1, soon()).error().code() == 503);
  CHECK(client.send(get("ftp://x/")).error().code() == 400);
  CHECK(client.send(get("http://a b/")).error().code() == 400);
}

TEST_CASE("client: a streamed body is read as it comes and closed from another thread") {
  std::promise<std::shared_ptr<Exchange>> promise;
  TestServer t([&](std::shared_ptr<Exchange> e) {
    e->start(200, {});
    e->write("first");
    promise.set_value(e);
  });
  Client client;
  auto response = client.open(get(t.url("/watch")));
  REQUIRE(response);
  auto e = promise.get_future().get();
  Event gone;
  e->on_close([&] { gone.set(); });
  char buffer[100];
  auto n = (*response)->read(buffer, sizeof buffer, soon());
  REQUIRE(n);
  CHECK(std::string_view(buffer, *n) == "first");
  n = (*response)->read(buffer, sizeof buffer, deadline_in(std::chrono::milliseconds(20)));
  REQUIRE_FALSE(n.has_value());
  CHECK(n.error().is(reason::kTimeout));
  e->write("second");
  n = (*response)->read(buffer, sizeof buffer, soon());
  REQUIRE(n);
  CHECK(std::string_view(buffer, *n) == "second");
  auto blocked = std::async(std::launch::async, [&] { return (*response)->read(buffer, sizeof buffer, soon()); });
  (*response)->close();
  CHECK_FALSE(blocked.get().has_value());
  CHECK(gone.wait());
}

TEST_CASE("client: redirects, only when asked for; credentials stay at home") {
  TestServer other([](std::shared_ptr<Exchange> e) {
    e->respond(200, {}, e->request().target + (e->request().headers.contains("authorization") ? " leaked" : " clean"));
  });
  TestServer t([&](std::shared_ptr<Exchange> e) {
    std::string target = e->request().target;
    if (target == "/a/b") return e->respond(302, {{"Location", "c?d=1"}}, {});
    if (target == "/a/c?d=1") return e->respond(307, {{"Location", "/e"}}, {});
    if (target == "/e") return e->respond(301, {{"Location", other.url("/f")}}, {});
    if (target == "/loop") return e->respond(302, {{"Location", "/loop"}}, {});
    if (target == "/away") return e->respond(302, {{"Location", "http://localhost:" + other.url("").substr(other.url("").rfind(':') + 1) + "/f"}}, {});
  });
  Client plain;
  CHECK(plain.send(get(t.url("/a/b")))->status == 302);
  ClientOptions options;
  options.max_redirects = 5;
  Client client(options);
  ClientRequest request = get(t.url("/a/b"));
  request.headers.add("Authorization", "Bearer x");
  auto r = client.send(request);
  REQUIRE(r);
  CHECK(r->body == "/f clean");
  CHECK_FALSE(client.send(get(t.url("/loop"))).has_value());
  REQUIRE(client.send(get(t.url("/away"))));
  CHECK(client.send(get(t.url("/away")))->body == "/f clean");
  options.redirects_stay = true;
  Client staying(options);
  CHECK(staying.send(get(t.url("/a/b")))->body == "/f clean");   // another port of the same host
  CHECK(staying.send(get(t.url("/away")))->status == 302);
}

TEST_CASE("client: upgrade and refusal") {
  std::vector<std::thread> workers;
  TestServer t([&](std::shared_ptr<Exchange> e) {
    if (e->request().path() == "/no") return e->respond(403, {}, "forbidden");
    workers.emplace_back([e] {
      auto s = e->upgrade({{"Connection", "Upgrade"}, {"Upgrade", "x"}});
      if (s) (void)(*s)->write("hello", soon());
    });
  });
  Client client;
  ClientRequest request = get(t.url("/no"));
  request.headers = {{"Connection", "Upgrade"}, {"Upgrade", "x"}};
  auto refused = client.upgrade(request);
  REQUIRE(refused);
  CHECK(refused->status == 403);
  CHECK(refused->body == "forbidden");
  CHECK_FALSE(refused->stream);
  request.url = t.url("/yes");
  auto upgraded = client.upgrade(request);
  REQUIRE(upgraded);
  CHECK(upgraded->status == 101);
  REQUIRE(upgraded->stream);
  CHECK(read_until(*upgraded->stream, "") == "hello");
  for (auto& worker : workers) worker.join();
}

TEST_CASE("relay copies both ways and passes on the end of each") {
  auto left = stream_pair();
  auto right = stream_pair();
  REQUIRE(left);
  REQUIRE(right);
  std::thread relayer([&] { relay(*left->second, *right->first); });
  send_text(*left->first, "ping");
  char buffer[8];
  REQUIRE(read_exactly(*right->second, buffer, 4, soon()).ok());
  REQUIRE(left->first->shutdown_write().ok());
  CHECK(read_until(*right->second, "").empty());
  send_text(*right->second, "answer after the end");
  REQUIRE(right->second->shutdown_write().ok());
  CHECK(read_until(*left->first, "") == "answer after the end");
  relayer.join();
}

TEST_CASE("URLs") {
  auto url = parse_url("HTTPS://[fd00::1]:6443/a/b?c=d#frag");
  REQUIRE(url);
  CHECK(url->scheme == "https");
  CHECK(url->host == "fd00::1");
  CHECK(url->port == 6443);
  CHECK(url->target == "/a/b?c=d");
  CHECK(url->authority() == "[fd00::1]:6443");
  CHECK(parse_url("http://h?x")->target == "/?x");
  CHECK(parse_url("http://h")->authority() == "h");
  for (const char* bad : {"", "h", "http://", "http://u:p@h/", "http://h:0/", "http://h:99999/", "http://[::1/", "http://h/a b",
                          "gopher://h/"}) {
    INFO(bad);
    CHECK_FALSE(parse_url(bad).has_value());
  }
}

TEST_CASE("gzip of segments, and bombs") {
  Body body;
  for (int i = 0; i < 100; ++i) body.append(Body(std::string(1000, static_cast<char>('a' + i % 26))));
  auto packed = gzip(body);
  REQUIRE(packed);
  CHECK(packed->size() < 10'000);
  CHECK(*gunzip(*packed, 200'000) == body.to_string());
  CHECK_FALSE(gunzip(*packed, 50'000).has_value());
  CHECK_FALSE(gunzip(packed->substr(0, packed->size() / 2), 200'000).has_value());
  CHECK_FALSE(gunzip("garbage", 100).has_value());
  CHECK(accepts_gzip({{"Accept-Encoding", "deflate, gzip;q=0.5"}}));
  CHECK_FALSE(accepts_gzip({{"Accept-Encoding", "gzip;q=0"}}));
  CHECK_FALSE(accepts_gzip({{"Accept-Encoding", "br"}}));
  CHECK_FALSE(accepts_gzip({}));
}
