#include <thread>

#include "test_server.h"

using namespace engenho;
using namespace engenho::http;

namespace {

void echo(std::shared_ptr<Exchange> e) {
  const Request& r = e->request();
  if (r.body_too_large) return e->respond(413, {}, "too large");
  e->respond(200, {{"X-Target", r.target}}, r.method + " " + r.target + " " + r.body);
}

ServerOptions with(std::function<void(Limits&)> set) {
  ServerOptions options;
  set(options.limits);
  return options;
}

size_t count(const std::string& text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("h1: keep-alive, pipelining in order, bodies by length and in chunks") {
  TestServer t(echo);
  auto s = t.dial();
  send_text(*s, "GET /a?x=%2F+1 HTTP/1.1\r\nHost: h\r\n\r\n");
  std::string first = read_until(*s, "GET /a?x=%2F+1 ");
  CHECK(first.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(first.find("Content-Length: 15\r\n") != std::string::npos);
  CHECK(first.find("Date: ") != std::string::npos);

  std::string many;
  for (int i = 0; i < 100; ++i) many += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  send_text(*s, many + "POST /end HTTP/1.1\r\nhost: h\r\nContent-Length: 5\r\n\r\nhello");
  std::string all = read_until(*s, "POST /end hello");
  CHECK(count(all, "HTTP/1.1 200 OK") == 101);
  CHECK(all.find("GET /41 ") < all.find("GET /42 "));

  for (char c : std::string("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nT: v\r\n\r\n"))
    send_text(*s, {&c, 1});
  CHECK(read_until(*s, "POST /c Wikipedia").find("200 OK") != std::string::npos);

  send_text(*s, "GET /bye HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  std::string last = read_until(*s, "");
  CHECK(last.find("Connection: close\r\n") != std::string::npos);
  CHECK(last.ends_with("GET /bye "));
  CHECK(t.server.stats().requests == 104);
}

TEST_CASE("h1: HEAD, 204, 304 and HTTP/1.0") {
  TestServer t([](std::shared_ptr<Exchange> e) {
    if (e->request().path() == "/204") return e->respond(204, {}, "dropped");
    if (e->request().path() == "/304") return e->respond(304, {{"ETag", "\"x\""}}, "dropped");
    if (e->request().path() == "/stream") {
      e->start(200, {});
      e->write("one");
      e->write("two");
      return e->finish();
    }
    e->respond(200, {{"Bad", "a\r\nInjected: 1"}}, "12345");
  });
  auto s = t.dial();
  send_text(*s, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET /204 HTTP/1.1\r\nHost: h\r\n\r\nGET /304 HTTP/1.1\r\nHost: h\r\n\r\n"
                "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
  std::string all = read_until(*s, "12345");
  CHECK(count(all, "12345") == 1);
  CHECK(count(all, "Content-Length: 5") == 2);
  CHECK(all.find("dropped") == std::string::npos);
  CHECK(all.find("Injected") == std::string::npos);
  CHECK(all.find("onetwo") == std::string::npos);

  auto old = t.dial();
  send_text(*old, "GET /stream HTTP/1.0\r\n\r\n");
  std::string text = read_until(*old, "");
  CHECK(text.find("chunked") == std::string::npos);
  CHECK(text.ends_with("\r\n\r\nonetwo"));
}

TEST_CASE("h1: malformed and ambiguous requests are refused and the connection ends") {
  TestServer t(echo, with([](Limits& l) { l.max_header_bytes = 4096; }));
  const std::pair<const char*, const char*> cases[] = {
      {"GET / HTTP/1.1\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
      {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: \x02\r\n\r\n", "400"},
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", "400"},
      {"GET / HTTP/2.7\r\nHost: a\r\n\r\n", "505"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
      {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"},
  };
  for (auto [text, status] : cases) {
    INFO(text);
    auto s = t.dial();
    send_text(*s, text);
    std::string answer = read_until(*s, "");
    CHECK(answer.starts_with(std::string("HTTP/1.1 ") + status));
    CHECK(count(answer, "HTTP/1.1") == 1);
  }
  auto s = t.dial();
  send_text(*s, "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(5000, 'x'));
  CHECK(read_until(*s, "").starts_with("HTTP/1.1 431"));
  CHECK(t.server.stats().requests == 0);
}

TEST_CASE("h1: a body over the limit is told to the handler, by length and in chunks") {
  TestServer t(echo, {}, std::nullopt, 1000);
  {
    auto s = t.dial();
    send_text(*s, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + std::string(500'000, 'x'));
    std::string answer = read_until(*s, "");
    CHECK(answer.starts_with("HTTP/1.1 413"));
    CHECK(answer.ends_with("too large"));
  }
  {
    auto s = t.dial();
    send_text(*s, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + std::string(1024, 'x') +
                      "\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    std::string answer = read_until(*s, "");
    CHECK(answer.starts_with("HTTP/1.1 413"));
    CHECK(count(answer, "HTTP/1.1 ") == 1);
  }
  auto s = t.dial();
  send_text(*s, "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  CHECK(read_until(*s, "\r\n\r\n").starts_with("HTTP/1.1 100 Continue"));
  send_text(*s, "abc");
  CHECK(read_until(*s, "POST /x abc").starts_with("HTTP/1.1 200"));
}

TEST_CASE("h1: slow clients are cut: head, body, idle, and one that never reads") {
  ServerOptions options = with([](Limits& l) {
    l.header_timeout = l.body_timeout = l.idle_timeout = l.stall_timeout = std::chrono::milliseconds(100);
  });
  auto big = std::make_shared<const std::string>(8 << 20, 'x');
  Event closed;
  TestServer t(
      [&](std::shared_ptr<Exchange> e) {
        if (e->request().path() == "/big") {
          e->on_close([&] { closed.set(); });
          e->respond(200, {}, Body(big));
          return;
        }
        echo(e);
      },
      options);
  auto silent = t.dial();
  auto head = t.dial();
  send_text(*head, "GET / HTTP/1.1\r\nHo");
  auto body = t.dial();
  send_text(*body, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  auto idle = t.dial();
  send_text(*idle, "GET /i HTTP/1.1\r\nHost: a\r\n\r\n");
  auto deaf = t.dial();
  send_text(*deaf, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(read_until(*silent, "").empty());
  CHECK(read_until(*head, "").empty());
  CHECK(read_until(*body, "").empty());
  CHECK(read_until(*idle, "").find("GET /i ") != std::string::npos);
  CHECK(closed.wait());
  CHECK(t.server.stats().shed == 5);
}

TEST_CASE("h1: answers from another thread, streamed in chunks; an exchange that is dropped answers 500") {
  std::vector<std::thread> threads;
  std::mutex mutex;
  TestServer t([&](std::shared_ptr<Exchange> e) {
    if (e->request().path() == "/drop") return;
    std::lock_guard lock(mutex);
    threads.emplace_back([e] {
      e->start(200, {{"Content-Type", "text/plain"}});
      for (int i = 0; i < 1000; ++i) e->write("line " + std::to_string(i) + "\n");
      if (e->request().path() == "/abort") return e->abort();
      e->finish();
    });
  });
  Client client;
  ClientRequest request;
  request.url = t.url("/stream");
  auto answer = client.send(request);
  REQUIRE(answer);
  CHECK(answer->headers.get("transfer-encoding") == "chunked");
  CHECK(answer->body.ends_with("line 999\n"));
  CHECK(count(answer->body, "line ") == 1000);
  request.url = t.url("/drop");
  answer = client.send(request);
  REQUIRE(answer);
  CHECK(answer->status == 500);
  request.url = t.url("/abort");
  CHECK_FALSE(client.send(request).has_value());
  std::lock_guard lock(mutex);
  for (auto& thread : threads) thread.join();
}

TEST_CASE("h1: back-pressure: the queue is seen, drains, and is bounded") {
  std::promise<std::shared_ptr<Exchange>> promise, bounded;
  TestServer t(
      [&](std::shared_ptr<Exchange> e) {
        e->start(200, {});
        (e->request().path() == "/bounded" ? bounded : promise).set_value(e);
      },
      with([](Limits& l) { l.max_queued_bytes = 32 << 20; }));
  auto s = t.dial();
  send_text(*s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  auto e = promise.get_future().get();
  auto block = std::make_shared<const std::string>(1 << 20, 'x');
  // More than the socket buffers of both ends take.
  size_t written = 0;
  while (e->queued_bytes() < (8u << 20)) {
    REQUIRE(e->write(Body(block)));
    written += block->size();
  }
  Event drained;
  e->on_drain(1 << 20, [&] { drained.set(); });
  CHECK_FALSE(drained.is_set());
  e->finish();
  std::string all = read_until(*s, "\r\n0\r\n\r\n");
  CHECK(drained.wait());
  CHECK(all.size() > written);
  CHECK(e->closed());
  CHECK_FALSE(e->write("x"));

  auto never_reads = t.dial();
  send_text(*never_reads, "GET /bounded HTTP/1.1\r\nHost: a\r\n\r\n");
  e = bounded.get_future().get();
  Event closed;
  e->on_close([&] { closed.set(); });
  int blocks = 0;
  while (blocks < 1000 && e->write(Body(block))) ++blocks;
  CHECK(blocks < 1000);
  CHECK(closed.wait());
  CHECK(e->closed());
}

TEST_CASE("h1: a client that goes away is noticed while the answer is pending") {
  std::promise<std::shared_ptr<Exchange>> promise;
  TestServer t([&](std::shared_ptr<Exchange> e) { promise.set_value(e); });
  auto s = t.dial();
  send_text(*s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  auto e = promise.get_future().get();
  Event closed;
  e->on_close([&] { closed.set(); });
  CHECK_FALSE(e->closed());
  s.reset();
  CHECK(closed.wait());
  CHECK(e->closed());
  e->respond(200, {}, "nobody");  // does nothing
  Event late;
  e->on_close([&] { late.set(); });
  CHECK(late.is_set());
}

TEST_CASE("h1: upgrade hands over the raw stream, with what the client sent early, inline and from a worker") {
  bool tls = GENERATE(false, true);
  bool inline_upgrade = GENERATE(false, true);
  TestPki pki;
  std::vector<std::thread> workers;
  std::mutex mutex;
  auto serve = [](std::shared_ptr<Stream> stream) {
    char buffer[256];
    while (auto n = stream->read(buffer, sizeof buffer, soon())) {
      if (*n == 0) break;
      if (!stream->write({buffer, *n}, soon()).ok()) break;
    }
    (void)stream->shutdown_write();
  };
  TestServer t(
      [&](std::shared_ptr<Exchange> e) {
        std::lock_guard lock(mutex);
        auto upgrade = [](Exchange& e) { return e.upgrade({{"Connection", "Upgrade"}, {"Upgrade", "echo"}}); };
        if (inline_upgrade) {
          auto stream = upgrade(*e);
          if (!stream) return;
          workers.emplace_back([&serve, s = std::shared_ptr<Stream>(std::move(*stream))] { serve(s); });
        } else {
          workers.emplace_back([&serve, upgrade, e] {
            auto stream = upgrade(*e);
            if (stream) serve(std::move(*stream));
          });
        }
      },
      {}, tls ? std::optional(pki.server()) : std::nullopt);
  std::unique_ptr<Stream> s;
  if (tls) {
    auto dialled = dial_tls("127.0.0.1", t.port, pki.client(), soon());
    REQUIRE(dialled);
    s = std::move(*dialled);
  } else {
    s = t.dial();
  }
  send_text(*s, "GET /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ");
  CHECK(read_until(*s, "early ").starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
  std::string large(300'000, 'z');
  std::thread writer([&] {
    send_text(*s, large + "end");
    REQUIRE(s->shutdown_write().ok());
  });
  std::string back = read_until(*s, "");
  writer.join();
  CHECK(back.size() == large.size() + 3);
  {
    std::lock_guard lock(mutex);
    for (auto& worker : workers) worker.join();
  }

  // Twice, or after an answer, it is refused.
  CHECK(t.server.stats().connections == 0);
}

TEST_CASE("h1: stop answers what is in flight, then cuts the rest") {
  std::promise<std::shared_ptr<Exchange>> first, second;
  ServerOptions one_thread;  // what one connection sees holds for the others
  one_thread.threads = 1;
  auto t = std::make_unique<TestServer>([&](std::shared_ptr<Exchange> e) {
    (e->request().path() == "/1" ? first : second).set_value(e);
  }, one_thread);
  auto idle = t->dial();
  auto a = t->dial();
  auto b = t->dial();
  send_text(*a, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
  send_text(*b, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  auto e1 = first.get_future().get();
  auto e2 = second.get_future().get();
  Event cut;
  e2->on_close([&] { cut.set(); });
  std::thread stopper([&] { t->server.stop(std::chrono::milliseconds(300)); });
  CHECK(read_until(*idle, "").empty());  // the server is draining now
  e1->respond(200, {}, "late but whole");
  std::string answer = read_until(*a, "");
  CHECK(answer.find("Connection: close") != std::string::npos);
  CHECK(answer.ends_with("late but whole"));
  CHECK(read_until(*b, "").empty());
  CHECK(cut.wait());
  stopper.join();
  CHECK_FALSE(dial_tcp("127.0.0.1", t->port, soon()).has_value());
  t.reset();
  e2->respond(200, {}, "the server is gone");  // exchanges may outlive it
}

TEST_CASE("unix sockets, stale files, and the connection limit") {
  std::string path = "/tmp/engenho-http-test-" + std::to_string(getpid()) + ".sock";
  for (int round = 0; round < 2; ++round) {
    Server server(with([](Limits& l) { l.max_connections = 2; }));
    REQUIRE(server.listen_unix(path, 0600, std::make_shared<FnHandler>(echo)));
    REQUIRE(server.start().ok());
    ClientOptions options;
    options.unix_socket = path;
    Client client(options);
    ClientRequest request;
    request.url = "http://anything/x";
    auto answer = client.send(request);
    REQUIRE(answer);
    CHECK(answer->body == "GET /x ");
    auto second = dial_unix(path, soon());
    auto third = dial_unix(path, soon());
    REQUIRE(second);
    REQUIRE(third);
    CHECK(read_until(**third, "").empty());
    CHECK(server.stats().refused == 1);
  }
  CHECK_FALSE(dial_unix(path, soon()).has_value());
}
