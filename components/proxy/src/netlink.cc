#include "netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>

namespace engenho::proxy {

namespace {

constexpr size_t kReceiveBuffer = 4 * 1024 * 1024;  // errors for every message of a large batch
constexpr timeval kPatience{.tv_sec = 10, .tv_usec = 0};

Status failed(const char* what) { return errno_error(std::string("netlink: ") + what, errno); }

}  // namespace

NetlinkSocket::NetlinkSocket(mnl_socket* socket) : socket_(socket, mnl_socket_close) {}

Result<NetlinkSocket> NetlinkSocket::open() {
  mnl_socket* raw = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  if (raw == nullptr) return err(failed("cannot open a socket"));
  NetlinkSocket socket(raw);
  if (mnl_socket_bind(raw, 0, MNL_SOCKET_AUTOPID) < 0) return err(failed("cannot bind"));
  const int fd = mnl_socket_get_fd(raw), size = kReceiveBuffer;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  return socket;
}

Status NetlinkSocket::send(std::span<const char> messages) {
  // The kernel takes a transaction as one datagram.
  const int size = static_cast<int>(std::max(messages.size() * 2, size_t{256 * 1024}));
  const int fd = mnl_socket_get_fd(socket_.get());
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  if (mnl_socket_sendto(socket_.get(), messages.data(), messages.size()) < 0) return failed("cannot send");
  return {};
}

Status NetlinkSocket::receive(const std::function<void(const nlmsghdr*)>& fn) {
  alignas(nlmsghdr) char buffer[32 * 1024];
  ssize_t length;
  do length = mnl_socket_recvfrom(socket_.get(), buffer, sizeof buffer);
  while (length < 0 && errno == EINTR);
  if (length < 0) return errno == EAGAIN ? internal_error("netlink: the kernel does not answer") : failed("cannot receive");
  int left = static_cast<int>(length);
  for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) fn(header);
  return {};
}

Status NetlinkSocket::dump(std::span<const char> request, const std::function<void(const nlmsghdr*)>& fn) {
  ENGENHO_RETURN_IF_ERROR(send(request));
  bool done = false;
  int error = 0;
  while (!done) {
    ENGENHO_RETURN_IF_ERROR(receive([&](const nlmsghdr* header) {
      if (header->nlmsg_flags & NLM_F_DUMP_INTR) error = EINTR;
      if (header->nlmsg_type == NLMSG_DONE) {
        done = true;
      } else if (header->nlmsg_type == NLMSG_ERROR) {
        error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
        done = true;
      } else {
        fn(header);
      }
    }));
  }
  if (error != 0) return errno_error("netlink: the kernel refuses a list", error);
  return {};
}

}  // namespace engenho::proxy
