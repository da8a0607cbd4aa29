// The few rtnetlink requests that the plugin needs, over one socket in the network namespace in which it was opened.
#pragma once

#include <cstdint>
#include <string>

#include "engenho/base/status.h"

namespace engenho::cni {

class Netlink {
 public:
  static Result<Netlink> open();
  Netlink(Netlink&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Netlink& operator=(Netlink&&) = delete;
  ~Netlink();

  // Index of an interface; 0 when there is none of that name.
  Result<int> index_of(const std::string& name);
  Status add_bridge(const std::string& name, int mtu);
  // A pair: `name` here, `peer` in the namespace of `peer_netns_fd`.
  Status add_veth(const std::string& name, const std::string& peer, int peer_netns_fd, int mtu);
  Status set_master(int index, int master_index);
  Status set_hairpin(int index);
  Status set_up(int index);
  Status remove(int index);
  // Addresses and gateways in host byte order. Existing ones are fine.
  Status add_address(int index, uint32_t address, int prefix);
  Status add_link_route(int index, uint32_t destination, int prefix);
  Status add_default_route(int index, uint32_t gateway);

 private:
  explicit Netlink(int fd) : fd_(fd) {}
  struct Request;
  Status talk(Request& request, const char* what);
  int fd_;
};

}  // namespace engenho::cni
