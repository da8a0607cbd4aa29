// A netfilter netlink socket of one exchange.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engenho/base/status.h"

struct mnl_socket;
struct nlmsghdr;

namespace engenho::proxy {

class NetlinkSocket {
 public:
  // Errors: the process lacks CAP_NET_ADMIN, or the kernel lacks nfnetlink.
  static Result<NetlinkSocket> open();

  Status send(std::span<const char> messages);
  // Calls `fn` with each message of the next datagram; fails when none comes within ten seconds.
  Status receive(const std::function<void(const nlmsghdr*)>& fn);
  // Sends one request that asks for a dump and calls `fn` with each entry until its end.
  Status dump(std::span<const char> request, const std::function<void(const nlmsghdr*)>& fn);

 private:
  explicit NetlinkSocket(mnl_socket* socket);
  std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket_;
};

}  // namespace engenho::proxy
