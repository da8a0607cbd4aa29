#include <nghttp2/nghttp2.h>

#include <map>
#include <thread>

#include "test_server.h"

using namespace engenho;
using namespace engenho::http;

namespace {

// A small HTTP/2 client over a blocking stream.
class H2Client {
 public:
  struct Reply {
    std::map<std::string, std::string> headers;
    std::string body;
    bool closed = false;
    uint32_t error = 0;
  };
  explicit H2Client(std::unique_ptr<Stream> stream, uint32_t window = 1 << 20) : stream_(std::move(stream)) {
    nghttp2_session_callbacks* cb = nullptr;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(
        cb, [](nghttp2_session*, const nghttp2_frame* f, const uint8_t* n, size_t ns, const uint8_t* v, size_t vs, uint8_t, void* u) {
          self(u).replies[f->hd.stream_id].headers[std::string(reinterpret_cast<const char*>(n), ns)] =
              std::string(reinterpret_cast<const char*>(v), vs);
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        cb, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* d, size_t n, void* u) {
          self(u).replies[id].body.append(reinterpret_cast<const char*>(d), n);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, [](nghttp2_session*, int32_t id, uint32_t error, void* u) {
      self(u).replies[id].closed = true;
      self(u).replies[id].error = error;
      ++self(u).closed_streams;
      return 0;
    });
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, [](nghttp2_session*, const nghttp2_frame* f, void* u) {
      if (f->hd.type == NGHTTP2_GOAWAY) {
        self(u).goaway = true;
        self(u).goaway_error = f->goaway.error_code;
      }
      if (f->hd.type == NGHTTP2_SETTINGS && !(f->hd.flags & NGHTTP2_FLAG_ACK)) self(u).settings = true;
      return 0;
    });
    nghttp2_session_client_new(&session, cb, this);
    nghttp2_session_callbacks_del(cb);
    nghttp2_settings_entry entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    nghttp2_submit_settings(session, 0, &entry, 1);
    if (window >= 1 << 20) nghttp2_session_set_local_window_size(session, 0, 0, 16 << 20);
  }
  ~H2Client() { nghttp2_session_del(session); }

  int32_t request(const std::string& method, const std::string& path, std::string body = {},
                  std::vector<std::pair<std::string, std::string>> more = {}) {
    std::vector<std::pair<std::string, std::string>> fields{
        {":method", method}, {":scheme", "http"}, {":authority", "h.test"}, {":path", path}};
    fields.insert(fields.end(), more.begin(), more.end());
    std::vector<nghttp2_nv> nv;
    for (auto& [n, v] : fields)
      nv.push_back({reinterpret_cast<uint8_t*>(n.data()), reinterpret_cast<uint8_t*>(v.data()), n.size(), v.size(), 0});
    nghttp2_data_provider provider{};
    if (!body.empty()) {
      bodies_.push_back(std::make_unique<std::pair<std::string, size_t>>(std::move(body), 0));
      provider.source.ptr = bodies_.back().get();
      provider.read_callback = [](nghttp2_session*, int32_t, uint8_t* out, size_t n, uint32_t* flags, nghttp2_data_source* src,
                                  void*) -> ssize_t {
        auto& [text, at] = *static_cast<std::pair<std::string, size_t>*>(src->ptr);
        n = std::min(n, text.size() - at);
        std::copy_n(text.data() + at, n, reinterpret_cast<char*>(out));
        at += n;
        if (at == text.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
        return static_cast<ssize_t>(n);
      };
    }
    return nghttp2_submit_request(session, nullptr, nv.data(), nv.size(), provider.source.ptr ? &provider : nullptr, nullptr);
  }
  bool send() {
    const uint8_t* data = nullptr;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(session, &data)) > 0)
      if (!stream_->write({reinterpret_cast<const char*>(data), static_cast<size_t>(n)}, soon()).ok()) return false;
    return true;
  }
  // False when the connection ended before.
  bool run_until(const std::function<bool()>& done) {
    char buffer[16 << 10];
    for (;;) {
      send();
      if (done()) return true;
      auto n = stream_->read(buffer, sizeof buffer, soon());
      if (!n || *n == 0) return done();
      if (nghttp2_session_mem_recv(session, reinterpret_cast<uint8_t*>(buffer), *n) < 0) return false;
    }
  }
  bool run_closed(int32_t id) {
    return run_until([&] { return replies[id].closed; });
  }
  Stream& stream() { return *stream_; }

  nghttp2_session* session = nullptr;
  std::map<int32_t, Reply> replies;
  size_t closed_streams = 0;
  bool goaway = false, settings = false;
  uint32_t goaway_error = 0;

 private:
  static H2Client& self(void* user) { return *static_cast<H2Client*>(user); }
  std::unique_ptr<Stream> stream_;
  std::vector<std::unique_ptr<std::pair<std::string, size_t>>> bodies_;
};

void echo(std::shared_ptr<Exchange> e) {
  const Request& r = e->request();
  if (r.body_too_large) return e->respond(413, {}, "too large");
  e->respond(200, {{"X-Host", r.host}, {"Connection", "close"}, {"Bad Name", "x"}, {"X-Bad", "a\nb"}},
             r.method + " " + r.target + " " + r.body);
}

}  // namespace

TEST_CASE("h2: many concurrent streams, bodies both ways, over plain sockets and TLS") {
  bool tls = GENERATE(false, true);
  TestPki pki;
  TestServer t(echo, {}, tls ? std::optional(pki.server()) : std::nullopt);
  std::unique_ptr<Stream> stream;
  if (tls) {
    // The client library of this component offers http/1.1 only, so that h2 over TLS is spoken without ALPN: the server answers in
    // HTTP/1.1 then. ALPN itself: tls_test.
    auto dialled = dial_tls("127.0.0.1", t.port, pki.client(), soon());
    REQUIRE(dialled);
    send_text(**dialled, "GET /tls HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(read_until(**dialled, "GET /tls ").starts_with("HTTP/1.1 200"));
    return;
  }
  H2Client c(t.dial());
  std::vector<int32_t> ids;
  for (int i = 0; i < 1000; ++i) ids.push_back(c.request("GET", "/p?i=" + std::to_string(i)));
  int32_t upload = c.request("POST", "/up", std::string(3'000'000, 'u'));
  CHECK(c.run_until([&] { return c.closed_streams == 1001; }));
  for (size_t i = 0; i < ids.size(); ++i) {
    auto& reply = c.replies[ids[i]];
    REQUIRE(reply.headers[":status"] == "200");
    REQUIRE(reply.body == "GET /p?i=" + std::to_string(i) + " ");
    REQUIRE(reply.headers["x-host"] == "h.test");
    REQUIRE(reply.headers.count("date") == 1);
    REQUIRE(reply.headers.count("connection") + reply.headers.count("bad name") + reply.headers.count("x-bad") == 0);
  }
  CHECK(c.replies[upload].body.size() == 3'000'000 + 9);
  CHECK(c.replies[upload].headers["content-length"] == "3000009");
  CHECK(t.server.stats().requests == 1001);
}

TEST_CASE("h2: HEAD, empty answers, limits of header and body") {
  ServerOptions options;
  options.limits.max_header_bytes = 8192;
  TestServer t(
      [](std::shared_ptr<Exchange> e) {
        if (e->request().target == "/204") return e->respond(204, {}, {});
        if (e->request().target == "/empty") {
          e->start(200, {});
          return e->finish();
        }
        echo(e);
      },
      options, std::nullopt, 10'000);
  H2Client c(t.dial());
  int32_t head = c.request("HEAD", "/h");
  int32_t none = c.request("GET", "/204");
  int32_t empty = c.request("GET", "/empty");
  int32_t declared = c.request("POST", "/d", std::string(900'000, 'x'), {{"content-length", "900000"}});
  int32_t undeclared = c.request("POST", "/u", std::string(900'000, 'x'));
  int32_t fat = c.request("GET", "/fat", {}, {{"x-fat", std::string(20'000, 'f')}});
  CHECK(c.run_until([&] { return c.closed_streams == 6; }));
  CHECK(c.replies[head].body.empty());
  CHECK(c.replies[head].headers["content-length"] == "8");
  CHECK(c.replies[none].headers[":status"] == "204");
  CHECK(c.replies[empty].headers[":status"] == "200");
  CHECK(c.replies[declared].headers[":status"] == "413");
  CHECK(c.replies[undeclared].headers[":status"] == "413");
  CHECK(c.replies[undeclared].body == "too large");
  CHECK(c.replies[fat].headers[":status"] == "431");
  // The connection lives on.
  CHECK(c.run_closed(c.request("GET", "/again")));
}

TEST_CASE("h2: streamed answers from other threads; a reset by the client reaches the handler") {
  std::promise<std::shared_ptr<Exchange>> promise;
  TestServer t([&](std::shared_ptr<Exchange> e) {
    if (e->request().target == "/drop") return;
    promise.set_value(e);
  });
  H2Client c(t.dial());
  int32_t watch = c.request("GET", "/watch");
  c.send();
  auto e = promise.get_future().get();
  Event closed;
  e->on_close([&] { closed.set(); });
  CHECK_FALSE(e->upgrade({}).has_value());  // and the exchange is still to be answered
  e->start(200, {});
  for (int i = 0; i < 5; ++i) {
    e->write("event " + std::to_string(i) + "\n");
    CHECK(c.run_until([&] { return c.replies[watch].body.ends_with("event " + std::to_string(i) + "\n"); }));
  }
  int32_t dropped = c.request("GET", "/drop");
  CHECK(c.run_closed(dropped));
  CHECK(c.replies[dropped].headers[":status"] == "500");

  nghttp2_submit_rst_stream(c.session, 0, watch, NGHTTP2_CANCEL);
  c.send();
  CHECK(closed.wait());
  CHECK_FALSE(e->write("more"));
}

TEST_CASE("h2: a closed window holds data back, and a client that never opens it is shed") {
  std::promise<std::shared_ptr<Exchange>> promise;
  ServerOptions options;
  options.limits.stall_timeout = std::chrono::milliseconds(200);
  TestServer t([&](std::shared_ptr<Exchange> e) { promise.set_value(e); }, options);
  H2Client c(t.dial(), 1000);
  int32_t id = c.request("GET", "/");
  // No automatic window updates: nghttp2 sends them when half is consumed, so take that away.
  c.run_until([&] { return c.settings; });
  auto e = promise.get_future().get();
  Event closed, drained;
  e->on_close([&] { closed.set(); });
  e->start(200, {});
  e->write(std::string(100'000, 'x'));
  e->on_drain(50'000, [&] { drained.set(); });
  CHECK_FALSE(drained.is_set());
  // The client does not read: nothing opens the window.
  CHECK(closed.wait());
  CHECK(drained.wait());  // whoever waits for room learns of the end
  CHECK(c.run_closed(id));
  CHECK(c.replies[id].error == NGHTTP2_CANCEL);
  CHECK(t.server.stats().shed == 1);
}

TEST_CASE("h2: rapid resets and floods of pings end the connection") {
  ServerOptions options;
  options.limits.reset_burst = options.limits.control_burst = 50;
  options.limits.resets_per_second = options.limits.control_per_second = 1;
  TestServer t([](std::shared_ptr<Exchange> e) { e->start(200, {}); }, options);
  SECTION("resets") {
    H2Client c(t.dial());
    bool alive = true;
    for (int i = 0; i < 2000 && alive; ++i) {
      int32_t id = c.request("GET", "/");
      alive = c.send();
      nghttp2_submit_rst_stream(c.session, 0, id, NGHTTP2_CANCEL);
      alive = alive && c.send();
    }
    c.run_until([&] { return c.goaway; });
    if (c.goaway) CHECK(c.goaway_error == NGHTTP2_ENHANCE_YOUR_CALM);
    CHECK(t.server.stats().requests < 200);
  }
  SECTION("pings") {
    H2Client c(t.dial());
    for (int i = 0; i < 200; ++i) nghttp2_submit_ping(c.session, 0, nullptr);
    c.run_until([&] { return c.goaway; });
    if (c.goaway) CHECK(c.goaway_error == NGHTTP2_ENHANCE_YOUR_CALM);
  }
  CHECK(t.server.stats().shed == 1);
}

TEST_CASE("h2: garbage after the preface, and half a header block") {
  ServerOptions options;
  options.limits.header_timeout = std::chrono::milliseconds(100);
  TestServer t(echo, options);
  auto garbage = t.dial();
  send_text(*garbage, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(500, '\xff'));
  CHECK(read_until(*garbage, "").size() < 1000);
  auto slow = t.dial();
  std::string headers("\0\0\1\1\0\0\0\0\1\x82", 10);  // HEADERS of one byte without END_HEADERS
  std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  send_text(*slow, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers);
  (void)read_until(*slow, "");
  CHECK(t.server.stats().requests == 0);
}

TEST_CASE("h2: stop warns, answers what is in flight, and says goodbye") {
  std::promise<std::shared_ptr<Exchange>> promise;
  TestServer t([&](std::shared_ptr<Exchange> e) { promise.set_value(e); });
  H2Client c(t.dial());
  int32_t id = c.request("GET", "/");
  c.send();
  auto e = promise.get_future().get();
  std::thread stopper([&] { t.server.stop(std::chrono::seconds(10)); });
  CHECK(c.run_until([&] { return c.goaway; }));
  e->respond(200, {}, "whole");
  CHECK(c.run_closed(id));
  CHECK(c.replies[id].body == "whole");
  CHECK(c.goaway_error == NGHTTP2_NO_ERROR);
  CHECK(read_until(c.stream(), "").size() < 100);
  stopper.join();
}
