#include "lean_client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <iostream>

namespace engenho::bench {

struct LeanClient::Run {
  const std::string& path;
  const std::function<std::string(uint64_t)>& message;
  uint64_t count, given = 0, ended = 0;
  std::string failure;
};

struct LeanClient::Connection {
  struct Stream {
    std::string body;
    size_t sent = 0;
  };
  int fd = -1;
  nghttp2_session* session = nullptr;
  std::string out;
  Run* run = nullptr;
  bool wants_write = false;

  void next() {
    if (run->given >= run->count) return;
    auto* stream = new Stream;
    const std::string message = run->message(run->given++);
    const auto size = static_cast<uint32_t>(message.size());
    stream->body.push_back('\0');
    for (int shift = 24; shift >= 0; shift -= 8) stream->body.push_back(static_cast<char>(size >> shift));
    stream->body += message;
    const auto field = [](const char* name, const std::string& value) {
      return nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name)), reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())),
                        std::strlen(name), value.size(), NGHTTP2_NV_FLAG_NONE};
    };
    static const std::string post = "POST", http = "http", authority = "127.0.0.1", type = "application/grpc", trailers = "trailers";
    const nghttp2_nv fields[] = {field(":method", post), field(":scheme", http), field(":path", run->path), field(":authority", authority),
                                 field("content-type", type), field("te", trailers)};
    nghttp2_data_provider body{};
    body.source.ptr = stream;
    body.read_callback = [](nghttp2_session*, int32_t, uint8_t* to, size_t room, uint32_t* flags, nghttp2_data_source* source, void*) -> ssize_t {
      auto* s = static_cast<Stream*>(source->ptr);
      const size_t n = std::min(room, s->body.size() - s->sent);
      std::memcpy(to, s->body.data() + s->sent, n);
      s->sent += n;
      if (s->sent == s->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
      return static_cast<ssize_t>(n);
    };
    nghttp2_submit_request(session, nullptr, fields, std::size(fields), &body, stream);
  }

  // False when the connection is lost.
  bool flush() {
    for (;;) {
      if (out.empty()) {
        const uint8_t* data = nullptr;
        ssize_t n;
        while (out.size() < (256 << 10) && (n = nghttp2_session_mem_send(session, &data)) > 0)
          out.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
        if (out.empty()) return true;
      }
      const ssize_t put = ::send(fd, out.data(), out.size(), MSG_NOSIGNAL);
      if (put < 0) return errno == EAGAIN || errno == EINTR;
      out.erase(0, static_cast<size_t>(put));
      if (!out.empty()) return true;
    }
  }
  bool receive() {
    static thread_local char buffer[256 << 10];
    for (;;) {
      const ssize_t got = ::recv(fd, buffer, sizeof(buffer), 0);
      if (got < 0) return errno == EAGAIN || errno == EINTR;
      if (got == 0 || nghttp2_session_mem_recv(session, reinterpret_cast<uint8_t*>(buffer), static_cast<size_t>(got)) < 0) return false;
      if (got < static_cast<ssize_t>(sizeof(buffer))) return true;
    }
  }
};

LeanClient::LeanClient(uint16_t port, int connections) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  static nghttp2_session_callbacks* const callbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_header_callback(
        made, [](nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                 void* user) -> int {
          auto& c = *static_cast<Connection*>(user);
          const std::string_view n(reinterpret_cast<const char*>(name), name_size), v(reinterpret_cast<const char*>(value), value_size);
          if (c.run && n == "grpc-status" && v != "0") c.run->failure = "grpc-status " + std::string(v);
          if (c.run && n == ":status" && v != "200") c.run->failure = "status " + std::string(v);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(made, [](nghttp2_session* session, int32_t id, uint32_t error, void* user) -> int {
      auto& c = *static_cast<Connection*>(user);
      delete static_cast<Connection::Stream*>(nghttp2_session_get_stream_user_data(session, id));
      if (!c.run) return 0;
      if (error != 0) c.run->failure = "the stream ended with " + std::to_string(error);
      ++c.run->ended;
      c.next();
      return 0;
    });
    return made;
  }();
  for (int i = 0; i < connections; ++i) {
    auto c = std::make_unique<Connection>();
    c->fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::connect(c->fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::cerr << "  connect: " << std::strerror(errno) << "\n";
    const int one = 1;
    ::setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    nghttp2_session_client_new(&c->session, callbacks, c.get());
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 16 << 20}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 64 << 20);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = c.get();
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, c->fd, &event);
    connections_.push_back(std::move(c));
  }
}

LeanClient::~LeanClient() {
  for (auto& c : connections_) {
    c->run = nullptr;
    nghttp2_session_del(c->session);
    ::close(c->fd);
  }
  ::close(epoll_);
}

double LeanClient::run(const std::string& path, uint64_t count, int in_flight, const std::function<std::string(uint64_t)>& message) {
  Run run{path, message, count};
  for (auto& c : connections_) c->run = &run;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < in_flight; ++i) connections_[static_cast<size_t>(i) % connections_.size()]->next();
  for (auto& c : connections_)
    if (!c->flush()) run.failure = "the connection is lost";
  while (run.ended < run.count && run.failure.empty()) {
    epoll_event events[64];
    const int n = ::epoll_wait(epoll_, events, 64, 30'000);
    if (n == 0) run.failure = "no answer for 30 s";
    for (int i = 0; i < n; ++i) {
      auto& c = *static_cast<Connection*>(events[i].data.ptr);
      if (!c.receive() || !c.flush()) run.failure = "the connection is lost";
      const bool wants_write = !c.out.empty();
      if (wants_write == c.wants_write) continue;
      c.wants_write = wants_write;
      epoll_event event{};
      event.events = wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN;
      event.data.ptr = &c;
      ::epoll_ctl(epoll_, EPOLL_CTL_MOD, c.fd, &event);
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  for (auto& c : connections_) c->run = nullptr;
  if (run.failure.empty()) return static_cast<double>(count) / seconds;
  std::cerr << "  FAILED: " << path << ": " << run.failure << "\n";
  return 0;
}

}  // namespace engenho::bench
