#include "streaming.h"

#include <atomic>
#include <thread>
#include <vector>

#include "engenho/base/log.h"
#include "engenho/http/client.h"
#include "engenho/http/spdy.h"
#include "engenho/http/websocket.h"

namespace engenho::kubelet {

namespace {

constexpr const char* kTunnel = "SPDY/3.1+portforward.k8s.io";

void refuse(http::Exchange& exchange, int status, const std::string& message) {
  exchange.respond(status, {{"Content-Type", "text/plain; charset=utf-8"}}, message + "\n");
}

bool is_spdy(const http::Headers& headers) { return headers.has_token("Upgrade", "SPDY/3.1"); }

http::ClientRequest upgrade_request(const std::string& url) {
  http::ClientRequest request;
  request.method = "POST";
  request.url = url;
  request.headers.add("Connection", "Upgrade");
  request.headers.add("Upgrade", "SPDY/3.1");
  return request;
}

// The client's SPDY goes to the runtime as it is: both ends speak the same protocol.
void relay_spdy(http::Exchange& exchange, const std::string& url, const StopToken& stop) {
  http::Client client;
  http::ClientRequest request = upgrade_request(url);
  for (std::string_view v : exchange.request().headers.all("X-Stream-Protocol-Version")) request.headers.add("X-Stream-Protocol-Version", std::string(v));
  auto upgraded = client.upgrade(request, &stop);
  if (!upgraded) return refuse(exchange, 502, "container runtime: " + upgraded.error().message());
  if (upgraded->stream == nullptr) return refuse(exchange, upgraded->status, upgraded->body);
  http::Headers answer;
  answer.add("Connection", "Upgrade");
  answer.add("Upgrade", "SPDY/3.1");
  for (std::string_view v : upgraded->headers.all("X-Stream-Protocol-Version")) answer.add("X-Stream-Protocol-Version", std::string(v));
  auto stream = exchange.upgrade(answer);
  if (!stream) return;
  const uint64_t id = stop.on_stop([&] { upgraded->stream->close(); });
  http::relay(**stream, *upgraded->stream);
  stop.remove(id);
}

// A WebSocket whose binary messages are the bytes of a stream.
class TunnelStream final : public http::Stream {
 public:
  explicit TunnelStream(std::unique_ptr<http::WebSocket> socket) : socket_(std::move(socket)) {}
  Result<size_t> read(char* buffer, size_t size, MonoTime deadline) override {
    while (at_ == in_.size()) {
      auto message = socket_->read(deadline);
      if (!message) return err(message.error());
      if (message->kind == http::WebSocket::Kind::kClose) return size_t{0};
      in_ = std::move(message->data);
      at_ = 0;
    }
    const size_t n = std::min(size, in_.size() - at_);
    in_.copy(buffer, n, at_);
    at_ += n;
    return n;
  }
  Status write(std::string_view data, MonoTime deadline) override { return socket_->write(http::WebSocket::Kind::kBinary, data, deadline); }
  Status shutdown_write() override { return socket_->send_close(1000, ""); }
  void close() override { socket_->abort(); }

 private:
  std::unique_ptr<http::WebSocket> socket_;
  std::string in_;
  size_t at_ = 0;
};

enum Channel : unsigned char { kStdin = 0, kStdout = 1, kStderr = 2, kError = 3, kResize = 4, kClose = 255 };

}  // namespace

void serve_remote_command(http::Exchange& exchange, const std::string& url, const StreamRequest& streams, const StopToken& stop) {
  const http::Headers& headers = exchange.request().headers;
  if (is_spdy(headers)) return relay_spdy(exchange, url, stop);
  if (!http::is_websocket_upgrade(headers)) return refuse(exchange, 400, "you must upgrade to WebSocket or SPDY/3.1");
  const std::string protocol = http::select_websocket_protocol(headers, {"v5.channel.k8s.io", "v4.channel.k8s.io"});
  if (protocol.empty()) return refuse(exchange, 400, "none of the offered subprotocols is supported: v5.channel.k8s.io and v4.channel.k8s.io are");

  http::Client client;
  http::ClientRequest request = upgrade_request(url);
  request.headers.add("X-Stream-Protocol-Version", "v4.channel.k8s.io");
  auto upgraded = client.upgrade(request, &stop);
  if (!upgraded) return refuse(exchange, 502, "container runtime: " + upgraded.error().message());
  if (upgraded->stream == nullptr) return refuse(exchange, upgraded->status, upgraded->body);
  auto session = http::SpdySession::start(std::move(upgraded->stream), http::SpdySession::Role::kClient);
  const MonoTime soon = http::deadline_in(std::chrono::seconds(30));
  auto open = [&](const char* type, bool fin) -> std::shared_ptr<http::SpdyStream> {
    auto s = session->open({{"streamtype", type}}, fin, soon);
    return s ? *s : nullptr;
  };
  auto error = open("error", false);
  auto in = streams.in ? open("stdin", false) : nullptr;
  auto out = streams.out ? open("stdout", false) : nullptr;
  auto err_stream = streams.err && !streams.tty ? open("stderr", false) : nullptr;
  auto resize = streams.tty ? open("resize", false) : nullptr;
  if (error == nullptr || (streams.in && in == nullptr) || (streams.out && out == nullptr)) return refuse(exchange, 502, "the container runtime refused a stream");

  auto accepted = http::websocket_accept(headers, protocol);
  if (!accepted) return refuse(exchange, 400, accepted.error().message());
  auto stream = exchange.upgrade(*accepted);
  if (!stream) return session->close();
  http::WebSocket socket(std::move(*stream), http::WebSocket::Role::kServer);

  const uint64_t stop_id = stop.on_stop([&] {
    session->close();
    socket.abort();
  });
  // From the client: input, sizes, and in v5 the end of the input.
  std::thread reader([&] {
    while (true) {
      auto message = socket.read();
      if (!message || message->kind == http::WebSocket::Kind::kClose) break;
      if (message->data.empty()) continue;
      const auto channel = static_cast<unsigned char>(message->data[0]);
      const std::string_view data = std::string_view(message->data).substr(1);
      if (channel == kStdin && in != nullptr && !data.empty()) {
        if (!in->write(data).ok()) in = nullptr;
      } else if (channel == kResize && resize != nullptr) {
        (void)resize->write(data);
      } else if (channel == kClose && data.size() == 1 && data[0] == kStdin && in != nullptr) {
        (void)in->shutdown_write();
      }
    }
    // The client is gone: so is whoever waits for it. (After a normal end everything has been read already.)
    session->close();
  });
  auto copy = [&socket](const std::shared_ptr<http::SpdyStream>& from, Channel channel) {
    const char prefix = static_cast<char>(channel);
    char buffer[32768];
    while (true) {
      auto n = from->read(buffer, sizeof buffer);
      if (!n || *n == 0) return;
      if (!socket.write(http::WebSocket::Kind::kBinary, std::string_view(&prefix, 1), std::string_view(buffer, *n)).ok()) return;
    }
  };
  std::vector<std::thread> copies;
  if (out != nullptr) copies.emplace_back([&] { copy(out, kStdout); });
  if (err_stream != nullptr) copies.emplace_back([&] { copy(err_stream, kStderr); });
  for (auto& t : copies) t.join();
  // The outcome comes last, so that a client that stops reading there has everything.
  copy(error, kError);
  (void)socket.send_close(1000, "");
  session->close();
  // The peer answers the close; one that does not is cut off.
  std::atomic<bool> ended{false};
  StopToken cut;
  std::thread guard([&] {
    if (!cut.wait_for(std::chrono::seconds(5)) && !ended) socket.abort();
  });
  reader.join();
  ended = true;
  cut.request_stop();
  guard.join();
  stop.remove(stop_id);
}

void serve_port_forward(http::Exchange& exchange, const std::string& url, const StopToken& stop) {
  const http::Headers& headers = exchange.request().headers;
  if (is_spdy(headers)) return relay_spdy(exchange, url, stop);
  if (!http::is_websocket_upgrade(headers)) return refuse(exchange, 400, "you must upgrade to WebSocket or SPDY/3.1");
  if (http::select_websocket_protocol(headers, {kTunnel}).empty()) return refuse(exchange, 400, std::string("the subprotocol must be ") + kTunnel);
  http::Client client;
  http::ClientRequest request = upgrade_request(url);
  request.headers.add("X-Stream-Protocol-Version", "portforward.k8s.io");
  auto upgraded = client.upgrade(request, &stop);
  if (!upgraded) return refuse(exchange, 502, "container runtime: " + upgraded.error().message());
  if (upgraded->stream == nullptr) return refuse(exchange, upgraded->status, upgraded->body);
  auto accepted = http::websocket_accept(headers, kTunnel);
  if (!accepted) return refuse(exchange, 400, accepted.error().message());
  auto stream = exchange.upgrade(*accepted);
  if (!stream) return;
  TunnelStream tunnel(std::make_unique<http::WebSocket>(std::move(*stream), http::WebSocket::Role::kServer));
  const uint64_t id = stop.on_stop([&] { upgraded->stream->close(); });
  http::relay(tunnel, *upgraded->stream);
  stop.remove(id);
}

}  // namespace engenho::kubelet
