#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace engenho::http {
namespace {

constexpr int kBacklog = 4096;

void set_option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

Result<int> bind_and_listen(int fd, const sockaddr* address, socklen_t size, const std::string& what) {
  if (bind(fd, address, size) != 0 || listen(fd, kBacklog) != 0) {
    int error = errno;
    ::close(fd);
    return err(errno_error("cannot listen on " + what, error));
  }
  return fd;
}

}  // namespace

AddressText address_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address->sa_family == AF_INET) {
    auto* in = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    return {text, std::string(text) + ":" + std::to_string(ntohs(in->sin_port))};
  }
  if (address->sa_family == AF_INET6) {
    auto* in = reinterpret_cast<const sockaddr_in6*>(address);
    std::string port = std::to_string(ntohs(in->sin6_port));
    if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
      inet_ntop(AF_INET, in->sin6_addr.s6_addr + 12, text, sizeof text);
      return {text, std::string(text) + ":" + port};
    }
    inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
    return {text, "[" + std::string(text) + "]:" + port};
  }
  return {"", "@"};
}

AddressText local_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {"", "@"};
  return address_text(reinterpret_cast<sockaddr*>(&address));
}

uint16_t bound_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
  return 0;
}

Result<int> listen_tcp_socket(const std::string& address, uint16_t port) {
  const std::string what = address + ":" + std::to_string(port);
  const bool any = address.empty() || address == "::";
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  bool six = any || inet_pton(AF_INET6, address.c_str(), &in6.sin6_addr) == 1;
  if (!six && inet_pton(AF_INET, address.c_str(), &in.sin_addr) != 1)
    return err(bad_request("cannot listen on " + what + ": not an address"));
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 && any) {  // a kernel without IPv6
    six = false;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  }
  if (fd < 0) return err(errno_error("socket", errno));
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (six) {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? 0 : 1);
    return bind_and_listen(fd, reinterpret_cast<sockaddr*>(&in6), sizeof in6, what);
  }
  return bind_and_listen(fd, reinterpret_cast<sockaddr*>(&in), sizeof in, what);
}

Result<int> listen_unix_socket(const std::string& path, unsigned mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return err(bad_request("socket path too long: " + path));
  std::memcpy(address.sun_path, path.data(), path.size());
  struct stat st{};
  if (lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return err(bad_request(path + " exists and is not a socket"));
    ::unlink(path.c_str());
  }
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return err(errno_error("socket", errno));
  // The mode is on the descriptor before the name appears: nobody gets in between.
  fchmod(fd, mode);
  auto bound = bind_and_listen(fd, reinterpret_cast<sockaddr*>(&address), sizeof address, path);
  if (bound && chmod(path.c_str(), mode) != 0) {
    int error = errno;
    ::close(*bound);
    return err(errno_error("chmod " + path, error));
  }
  return bound;
}

void tune_tcp(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

}  // namespace engenho::http
