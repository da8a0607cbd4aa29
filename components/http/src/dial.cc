// URLs, name resolution and connecting.
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "dial.h"
#include "engenho/base/bytes.h"
#include "net.h"

namespace engenho::http {
namespace {

struct Fd {
  int value = -1;
  ~Fd() {
    if (value >= 0) ::close(value);
  }
  int release() {
    int out = value;
    value = -1;
    return out;
  }
};

// Readable once the token is stopped.
class StopEvent {
 public:
  explicit StopEvent(const StopToken* stop) : stop_(stop) {
    if (!stop_) return;
    auto fd = std::make_shared<Fd>();
    fd->value = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fd_ = fd;
    id_ = stop_->on_stop([fd] {
      uint64_t one = 1;
      [[maybe_unused]] ssize_t n = ::write(fd->value, &one, sizeof one);
    });
  }
  ~StopEvent() {
    if (stop_) stop_->remove(id_);
  }
  int fd() const { return fd_ ? fd_->value : -1; }

 private:
  const StopToken* stop_;
  std::shared_ptr<Fd> fd_;
  uint64_t id_ = 0;
};

int poll_timeout(MonoTime deadline) {
  if (deadline == kNoDeadline) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000'000));
}

Status connect_fd(int fd, const sockaddr* address, socklen_t size, MonoTime deadline, const StopEvent& stop,
                  const std::string& what) {
  if (::connect(fd, address, size) == 0) return {};
  if (errno != EINPROGRESS && errno != EINTR) return unavailable("connect to " + what + ": " + strerror(errno));
  for (;;) {
    pollfd fds[2] = {{fd, POLLOUT, 0}, {stop.fd(), POLLIN, 0}};
    int n = ::poll(fds, 2, poll_timeout(deadline));
    if (n < 0 && errno == EINTR) continue;
    if (fds[1].revents) return unavailable("connect to " + what + ": stopped");
    if (n > 0) break;
    if (deadline != kNoDeadline && std::chrono::steady_clock::now() >= deadline)
      return timeout_error("connect to " + what + ": timed out");
  }
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return unavailable("connect to " + what + ": " + strerror(error));
  return {};
}

}  // namespace

std::string Url::authority() const {
  std::string out = host.find(':') == std::string::npos ? host : "[" + host + "]";
  bool standard = ((scheme == "http" || scheme == "ws") && port == 80) || ((scheme == "https" || scheme == "wss") && port == 443);
  return standard ? out : out + ":" + std::to_string(port);
}

Result<Url> parse_url(std::string_view text) {
  auto bad = [&](const char* why) { return err(bad_request("invalid URL \"" + std::string(text.substr(0, 200)) + "\": " + why)); };
  Url url;
  size_t at = text.find("://");
  if (at == std::string_view::npos) return bad("no scheme");
  url.scheme = to_lower(text.substr(0, at));
  const bool secure = url.scheme == "https" || url.scheme == "wss";
  if (!secure && url.scheme != "http" && url.scheme != "ws") return bad("unknown scheme");
  std::string_view rest = text.substr(at + 3);
  size_t path = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, path);
  std::string_view target = path == std::string_view::npos ? std::string_view() : rest.substr(path);
  target = target.substr(0, target.find('#'));
  if (authority.find('@') != std::string_view::npos) return bad("user information is not supported");
  std::string_view port;
  if (authority.starts_with("[")) {
    size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad("unclosed bracket");
    url.host = authority.substr(1, end - 1);
    std::string_view tail = authority.substr(end + 1);
    if (!tail.empty() && tail.front() != ':') return bad("bad host");
    port = tail.empty() ? tail : tail.substr(1);
  } else {
    size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon + 1);
  }
  if (url.host.empty()) return bad("no host");
  for (unsigned char c : url.host)
    if (c <= 0x20 || c == 0x7f) return bad("bad host");
  int64_t number = secure ? 443 : 80;
  if (!port.empty() && (!parse_int(port, number) || number < 1 || number > 65535)) return bad("bad port");
  url.port = static_cast<uint16_t>(number);
  url.target = target.empty() || target.front() == '?' ? "/" + std::string(target) : std::string(target);
  for (unsigned char c : url.target)
    if (c <= 0x20 || c == 0x7f) return bad("a blank or control character in the path");
  return url;
}

Result<std::unique_ptr<Stream>> dial_tcp(const std::string& host, uint16_t port, MonoTime deadline, const StopToken* stop) {
  const std::string what = host + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  int rc = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (rc != 0) return err(unavailable("resolve " + host + ": " + gai_strerror(rc)));
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  StopEvent event(stop);
  size_t left = 0;
  for (addrinfo* one = list; one; one = one->ai_next) ++left;
  Status last = unavailable("resolve " + host + ": no address");
  for (addrinfo* one = list; one; one = one->ai_next, --left) {
    if (stop && stop->stopped()) return err(unavailable("connect to " + what + ": stopped"));
    Fd fd;
    fd.value = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd.value < 0) {
      last = errno_error("socket", errno);
      continue;
    }
    // An address that swallows packets must not use up the time of the others.
    MonoTime until = deadline;
    auto now = std::chrono::steady_clock::now();
    if (deadline != kNoDeadline && left > 1 && deadline > now) until = now + (deadline - now) / static_cast<int64_t>(left);
    last = connect_fd(fd.value, one->ai_addr, one->ai_addrlen, until, event, what);
    if (last.ok()) {
      tune_tcp(fd.value);
      return std::make_unique<SocketStream>(fd.release());
    }
  }
  return err(last);
}

Result<std::unique_ptr<Stream>> dial_unix(const std::string& path, MonoTime deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return err(bad_request("socket path too long: " + path));
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd;
  fd.value = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd.value < 0) return err(errno_error("socket", errno));
  ENGENHO_TRY(connect_fd(fd.value, reinterpret_cast<sockaddr*>(&address), sizeof address, deadline, StopEvent(nullptr), path));
  return std::make_unique<SocketStream>(fd.release());
}

Result<std::unique_ptr<Stream>> start_client_tls(std::unique_ptr<Stream> under,
                                                 const std::shared_ptr<const TlsContext>& context,
                                                 const std::string& host, MonoTime deadline, const StopToken* stop) {
  ENGENHO_ASSIGN(auto ssl, context->new_client(host));
  auto stream = std::make_unique<TlsStream>(std::move(under), std::move(ssl), std::string(), context);
  {
    StopCloser closer(stop, stream.get());
    ENGENHO_TRY(stream->handshake(deadline));
  }
  if (stop && stop->stopped()) return err(unavailable("TLS handshake: stopped"));
  return stream;
}

Result<std::unique_ptr<Stream>> dial_tls(const std::string& host, uint16_t port, const TlsClientOptions& tls,
                                         MonoTime deadline, const StopToken* stop) {
  ENGENHO_ASSIGN(auto context, TlsContext::for_client(tls));
  ENGENHO_ASSIGN(auto under, dial_tcp(host, port, deadline, stop));
  return start_client_tls(std::move(under), context, host, deadline, stop);
}

}  // namespace engenho::http
