#include "engenho/http/websocket.h"

#include <thread>

#include "test_server.h"

using namespace engenho;
using namespace engenho::http;
using Kind = WebSocket::Kind;
using Role = WebSocket::Role;

namespace {

struct Ends {
  std::unique_ptr<WebSocket> socket;   // under test, the server's side
  std::unique_ptr<Stream> raw;         // bytes of the client's side
};
Ends server_end(size_t max_message = 1 << 20) {
  auto pair = stream_pair();
  REQUIRE(pair);
  return {std::make_unique<WebSocket>(std::move(pair->first), Role::kServer, max_message), std::move(pair->second)};
}

// A client frame with an all-zero mask: the payload as it is.
std::string frame(int first, std::string_view payload) {
  std::string out(1, static_cast<char>(first));
  if (payload.size() < 126) {
    out += static_cast<char>(0x80 | payload.size());
  } else {
    out += static_cast<char>(0x80 | 126);
    out += static_cast<char>(payload.size() >> 8);
    out += static_cast<char>(payload.size() & 0xff);
  }
  return out + std::string(4, '\0') + std::string(payload);
}

}  // namespace

TEST_CASE("websocket: the example of RFC 6455, section 1.3") {
  Headers request{{"Upgrade", "WebSocket"}, {"Connection", "keep-alive, Upgrade"}, {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
                  {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Protocol", "v5.channel.k8s.io, v4.channel.k8s.io"},
                  {"Sec-WebSocket-Protocol", "channel.k8s.io"}};
  auto answer = websocket_accept(request, "v4.channel.k8s.io");
  REQUIRE(answer);
  CHECK(answer->get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(answer->get("sec-websocket-protocol") == "v4.channel.k8s.io");
  CHECK(websocket_protocols(request).size() == 3);
  CHECK(select_websocket_protocol(request, {"channel.k8s.io", "v4.channel.k8s.io"}) == "v4.channel.k8s.io");
  CHECK(select_websocket_protocol(request, {"base64.channel.k8s.io"}).empty());
  request.set("Sec-WebSocket-Version", "8");
  CHECK_FALSE(websocket_accept(request, "").has_value());
  request.set("Sec-WebSocket-Version", "13");
  request.set("Sec-WebSocket-Key", "short");
  CHECK_FALSE(websocket_accept(request, "").has_value());
}

TEST_CASE("websocket: echo between client and server, all lengths of length, over a real upgrade") {
  std::thread worker;
  TestServer t([&](std::shared_ptr<Exchange> e) {
    worker = std::thread([e] {
      auto headers = websocket_accept(e->request().headers, select_websocket_protocol(e->request().headers, {"echo"}));
      if (!headers) return;
      auto stream = e->upgrade(*headers);
      if (!stream) return;
      WebSocket socket(std::move(*stream), Role::kServer);
      while (auto m = socket.read(soon())) {
        if (m->kind == Kind::kClose || !socket.write(m->kind, m->data, soon()).ok()) break;
      }
    });
  });
  Client client;
  ClientRequest request;
  request.url = t.url("/ws");
  std::string key;
  request.headers = websocket_request({"other", "echo"}, key);
  auto upgraded = client.upgrade(request);
  REQUIRE(upgraded);
  REQUIRE(websocket_check(upgraded->status, upgraded->headers, key).ok());
  CHECK(upgraded->headers.get("sec-websocket-protocol") == "echo");
  {
    WebSocket socket(std::move(upgraded->stream), Role::kClient);
    for (size_t size : {0, 1, 125, 126, 65535, 65536, 1'000'000}) {
      std::string data(size, 'w');
      auto sent = std::async(std::launch::async, [&] { return socket.write(Kind::kBinary, data, soon()).ok(); });
      auto m = socket.read(soon());
      REQUIRE(m);
      CHECK(m->kind == Kind::kBinary);
      CHECK(m->data == data);
      CHECK(sent.get());
    }
    REQUIRE(socket.write(Kind::kBinary, "\x02", "channel", soon()).ok());
    CHECK(socket.read(soon())->data == "\x02" "channel");
    REQUIRE(socket.ping("p", soon()).ok());  // the pong is swallowed
    REQUIRE(socket.send_close(1001, "bye", soon()).ok());
    auto m = socket.read(soon());
    REQUIRE(m);
    CHECK(m->kind == Kind::kClose);
    CHECK(m->close_code == 1001);
    CHECK_FALSE(socket.write(Kind::kBinary, "late", soon()).ok());
    CHECK_FALSE(socket.read(soon()).has_value());
  }
  worker.join();
}

TEST_CASE("websocket: fragments with a ping between them, byte by byte, over time-outs") {
  auto e = server_end();
  std::string bytes = frame(0x01, "Hel") + frame(0x89, "are you there") + frame(0x00, "lo ") + frame(0x80, "W\xc3\xb6rld");
  for (size_t i = 0; i + 1 < bytes.size(); ++i) {
    send_text(*e.raw, {&bytes[i], 1});
    if (i % 7 == 0) {
      auto early = e.socket->read(deadline_in(std::chrono::milliseconds(1)));
      REQUIRE_FALSE(early.has_value());
      REQUIRE(early.error().is(reason::kTimeout));
    }
  }
  send_text(*e.raw, {&bytes.back(), 1});
  auto m = e.socket->read(soon());
  REQUIRE(m);
  CHECK(m->kind == Kind::kText);
  CHECK(m->data == "Hello W\xc3\xb6rld");
  char pong[15];
  REQUIRE(read_exactly(*e.raw, pong, sizeof pong, soon()).ok());
  CHECK(std::string_view(pong, sizeof pong) == std::string_view("\x8a\x0d" "are you there", 15));
}

TEST_CASE("websocket: violations close with the fitting code") {
  auto code_for = [](const std::string& bytes) {
    auto e = server_end(1000);
    send_text(*e.raw, bytes);
    CHECK_FALSE(e.socket->read(soon()).has_value());
    char head[4];
    REQUIRE(read_exactly(*e.raw, head, sizeof head, soon()).ok());
    CHECK(static_cast<unsigned char>(head[0]) == 0x88);
    return static_cast<unsigned char>(head[2]) << 8 | static_cast<unsigned char>(head[3]);
  };
  CHECK(code_for(std::string("\x82\x01x", 3)) == 1002);                       // not masked
  CHECK(code_for(frame(0xc2, "x")) == 1002);                                  // reserved bit
  CHECK(code_for(frame(0x83, "x")) == 1002);                                  // unknown opcode
  CHECK(code_for(frame(0x80, "x")) == 1002);                                  // continuation of nothing
  CHECK(code_for(frame(0x02, "x") + frame(0x82, "y")) == 1002);               // a message within a message
  CHECK(code_for(frame(0x09, "x")) == 1002);                                  // fragmented ping
  CHECK(code_for(frame(0x89, std::string(126, 'x'))) == 1002);                // long ping
  CHECK(code_for(frame(0x88, "x")) == 1002);                                  // half a close code
  CHECK(code_for(frame(0x88, std::string("\x03\xed", 2))) == 1002);           // 1005 on the wire
  CHECK(code_for(frame(0x81, "\xff\xfe")) == 1007);                           // not UTF-8
  CHECK(code_for(frame(0x81, "\xed\xa0\x80")) == 1007);                       // a surrogate
  CHECK(code_for(frame(0x82, std::string(1001, 'x'))) == 1009);               // too large
  CHECK(code_for(frame(0x02, std::string(600, 'x')) + frame(0x80, std::string(600, 'x'))) == 1009);
  CHECK(code_for(std::string("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14)) == 1009);  // 2^63 - 1 bytes
}

TEST_CASE("websocket: the end of the connection and abort from another thread") {
  auto e = server_end();
  auto blocked = std::async(std::launch::async, [&] { return e.socket->read(); });
  e.raw.reset();
  auto m = blocked.get();
  REQUIRE(m);
  CHECK(m->kind == Kind::kClose);
  CHECK(m->close_code == 1006);

  auto f = server_end();
  auto other = std::async(std::launch::async, [&] { return f.socket->read(); });
  f.socket->abort();
  CHECK_FALSE(other.get().has_value());
}
