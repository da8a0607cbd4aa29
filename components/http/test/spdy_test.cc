#include "engenho/http/spdy.h"

#include <future>
#include <thread>

#include "spdy_codec.h"
#include "test_server.h"

using namespace engenho;
using namespace engenho::http;
using Role = SpdySession::Role;

namespace {

// The other side, spelled out in bytes with zlib of its own.
struct Peer {
  std::unique_ptr<Stream> stream;
  SpdyInflater inflater;
  SpdyDeflater deflater;

  struct Frame {
    bool control = false;
    uint32_t type = 0, id = 0;
    uint8_t flags = 0;
    std::string payload;
  };
  Frame read() {
    char head[8];
    REQUIRE(read_exactly(*stream, head, 8, soon()).ok());
    Frame f;
    f.control = head[0] & 0x80;
    f.type = get_u32(head) & 0xffff;
    f.id = get_u32(head);
    f.flags = static_cast<uint8_t>(head[4]);
    f.payload.resize(get_u32(head + 4) & 0xffffff);
    REQUIRE(read_exactly(*stream, f.payload.data(), f.payload.size(), soon()).ok());
    if (f.control) {
      CHECK(get_u32(head) >> 16 == 0x8003);
      f.id = f.payload.size() >= 4 ? get_u32(f.payload.data()) : 0;
    }
    return f;
  }
  void send(uint32_t first, uint8_t flags, std::string payload) {
    std::string out;
    put_u32(out, first);
    put_u32(out, static_cast<uint32_t>(flags) << 24 | static_cast<uint32_t>(payload.size()));
    send_text(*stream, out + payload);
  }
  void control(uint16_t type, std::initializer_list<uint32_t> words, std::string more = {}) {
    std::string payload;
    for (uint32_t w : words) put_u32(payload, w);
    send(0x80030000u | type, 0, payload + more);
  }
  void data(uint32_t id, std::string_view text, bool fin = false) { send(id, fin ? 1 : 0, std::string(text)); }
  void reply(uint32_t id, const Headers& headers = {}) { control(2, {id}, *deflater.encode(headers)); }
};

struct ClientAndPeer {
  std::unique_ptr<SpdySession> session;
  Peer peer;
  ClientAndPeer() {
    auto pair = stream_pair();
    REQUIRE(pair);
    session = SpdySession::start(std::move(pair->first), Role::kClient);
    peer.stream = std::move(pair->second);
  }
};
std::string read_some(Stream& s) {
  char buffer[1000];
  auto n = s.read(buffer, sizeof buffer, soon());
  return n ? std::string(buffer, *n) : "error: " + n.error().message();
}

}  // namespace

TEST_CASE("spdy: the dictionary is the one of the draft") {
  CHECK(spdy_dictionary().size() == 1423);
  CHECK(adler32(adler32(0, nullptr, 0), reinterpret_cast<const Bytef*>(spdy_dictionary().data()), 1423) == 0xe3c6a7c2);
}

TEST_CASE("spdy: header blocks round trip, with shared state, and damaged ones are refused") {
  SpdyDeflater deflater;
  SpdyInflater inflater;
  size_t first = 0;
  for (int i = 0; i < 3; ++i) {
    auto block = deflater.encode({{"StreamType", "stdout"}, {"Multi", "a"}, {"multi", "b"}, {"empty", ""}});
    REQUIRE(block);
    if (i == 0) first = block->size();
    if (i > 0) CHECK(block->size() < first);
    auto headers = inflater.decode(*block);
    REQUIRE(headers);
    CHECK(headers->get("streamtype") == "stdout");
    CHECK(headers->all("multi").size() == 2);
    CHECK(headers->contains("empty"));
  }
  SpdyInflater fresh;
  CHECK_FALSE(fresh.decode("garbage").has_value());
  CHECK_FALSE(fresh.decode("").has_value());
}

TEST_CASE("spdy: open, reply, data both ways, half-close") {
  ClientAndPeer t;
  auto s = t.session->open({{"streamType", "error"}, {"port", "8080"}}, false, soon());
  REQUIRE(s);
  auto syn = t.peer.read();
  CHECK(syn.type == 1);
  CHECK(syn.id == 1);
  CHECK(syn.flags == 0);
  auto headers = t.peer.inflater.decode(std::string_view(syn.payload).substr(10));
  REQUIRE(headers);
  CHECK(headers->get("streamtype") == "error");
  CHECK_FALSE((*s)->wait_reply(deadline_in(std::chrono::milliseconds(1))).has_value());
  t.peer.reply(1, {{"x", "y"}});
  auto reply = (*s)->wait_reply(soon());
  REQUIRE(reply);
  CHECK(reply->get("x") == "y");

  REQUIRE((*s)->write("hello", soon()).ok());
  auto data = t.peer.read();
  CHECK_FALSE(data.control);
  CHECK(data.id == 1);
  CHECK(data.payload == "hello");
  REQUIRE((*s)->shutdown_write().ok());
  CHECK(t.peer.read().flags == 1);
  CHECK_FALSE((*s)->write("late", soon()).ok());
  t.peer.data(1, "back");
  CHECK(read_some(**s) == "back");
  t.peer.data(1, "last", true);
  CHECK(read_some(**s) == "last");
  CHECK(read_some(**s).empty());

  auto second = t.session->open({{"streamtype", "data"}}, true, soon());
  REQUIRE(second);
  auto syn2 = t.peer.read();
  CHECK(syn2.id == 3);
  CHECK(syn2.flags == 1);
  t.peer.control(3, {3, 5});
  CHECK_FALSE((*second)->wait_reply(soon()).has_value());
  CHECK(read_some(**second).starts_with("error"));
  auto third = t.session->open({}, false, soon());
  REQUIRE(third);
  CHECK(t.peer.read().id == 5);
  (*third)->close();
  auto reset = t.peer.read();
  CHECK(reset.type == 3);
  CHECK(reset.id == 5);
}

TEST_CASE("spdy: ping, settings, unknown frames; the peer's windows bind only once it has any") {
  ClientAndPeer t;
  t.peer.control(6, {2});
  auto pong = t.peer.read();
  CHECK(pong.type == 6);
  CHECK(pong.id == 2);
  t.peer.control(77, {1, 2, 3});
  auto pinged = std::async(std::launch::async, [&] { return t.session->ping(soon()).ok(); });
  auto ping = t.peer.read();
  CHECK(ping.type == 6);
  t.peer.control(6, {ping.id});
  CHECK(pinged.get());

  auto s = t.session->open({}, false, soon());
  REQUIRE(s);
  CHECK(t.peer.read().type == 1);
  t.peer.reply(1);
  // A peer without flow control takes more than 64 KiB without a word.
  auto wrote = std::async(std::launch::async, [&] { return (*s)->write(std::string(200'000, 'x'), soon()).ok(); });
  for (size_t got = 0; got < 200'000;) got += t.peer.read().payload.size();
  CHECK(wrote.get());
  // It says that it has some: 200,000 bytes are out against a window of 65,536, so 150,000 more give 15,536.
  t.peer.control(9, {1, 150'000});
  auto settings = t.peer.read();
  CHECK(settings.type == 4);
  auto more = std::async(std::launch::async, [&] { return (*s)->write(std::string(20'000, 'y'), soon()).ok(); });
  CHECK(t.peer.read().payload.size() == 15'536);
  CHECK(more.wait_for(std::chrono::milliseconds(0)) != std::future_status::ready);
  t.peer.control(4, {1, 7, 65'536 + 1000});  // a larger initial window counts for open streams
  CHECK(t.peer.read().payload.size() == 1000);
  t.peer.control(9, {1, 1 << 20});
  CHECK(t.peer.read().payload.size() == 20'000 - 15'536 - 1000);
  CHECK(more.get());
}

TEST_CASE("spdy: the end of the session reaches everyone; streams may outlive it") {
  ClientAndPeer t;
  auto s = t.session->open({}, false, soon());
  REQUIRE(s);
  auto reading = std::async(std::launch::async, [&] { return read_some(**s); });
  SECTION("the peer disappears") { t.peer.stream.reset(); }
  SECTION("the peer sends nonsense") { t.peer.send(0x80050001u, 0, "x"); }
  SECTION("we close") { t.session->close(); }
  CHECK(reading.get().starts_with("error"));
  CHECK_FALSE(t.session->open({}, false, soon()).has_value());
  CHECK_FALSE(t.session->ping(soon()).ok());
  t.session.reset();
  CHECK_FALSE((*s)->write("x", soon()).ok());
}

TEST_CASE("spdy: both roles of this library, many streams, a slow reader does not lose bytes") {
  auto pair = stream_pair();
  REQUIRE(pair);
  auto client = SpdySession::start(std::move(pair->first), Role::kClient);
  auto server = SpdySession::start(std::move(pair->second), Role::kServer);
  constexpr int kStreams = 20;
  std::thread echo([&] {
    std::vector<std::thread> workers;
    for (int i = 0; i < kStreams; ++i) {
      auto s = server->accept(soon());
      if (!s) break;
      workers.emplace_back([s = *s] {
        char buffer[10'000];
        while (auto n = s->read(buffer, sizeof buffer, soon())) {
          if (*n == 0 || !s->write({buffer, *n}, soon()).ok()) break;
        }
        (void)s->shutdown_write();
      });
    }
    for (auto& worker : workers) worker.join();
  });
  std::vector<std::future<size_t>> sizes;
  for (int i = 0; i < kStreams; ++i) {
    auto s = client->open({{"n", std::to_string(i)}}, false, soon());
    REQUIRE(s);
    sizes.push_back(std::async(std::launch::async, [s = *s] {
      std::thread writer([&] {
        for (int k = 0; k < 30; ++k) (void)s->write(std::string(20'000, 'd'), soon());
        (void)s->shutdown_write();
      });
      std::string all = read_until(*s, "");
      writer.join();
      return all.size();
    }));
  }
  for (auto& size : sizes) CHECK(size.get() == 600'000);
  echo.join();
}
