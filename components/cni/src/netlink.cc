#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace engenho::cni {

// A message of at most 1 KiB, with attributes appended in order.
struct Netlink::Request {
  alignas(8) char buffer[1024] = {};
  nlmsghdr* head() { return reinterpret_cast<nlmsghdr*>(buffer); }

  Request(uint16_t type, uint16_t flags) {
    head()->nlmsg_len = NLMSG_LENGTH(0);
    head()->nlmsg_type = type;
    head()->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }
  template <typename T>
  T* body() {
    T* at = reinterpret_cast<T*>(buffer + head()->nlmsg_len);
    head()->nlmsg_len += NLMSG_ALIGN(sizeof(T));
    return at;
  }
  rtattr* attribute(uint16_t type, const void* data, size_t size) {
    auto* a = reinterpret_cast<rtattr*>(buffer + NLMSG_ALIGN(head()->nlmsg_len));
    a->rta_type = type;
    a->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
    if (size > 0) memcpy(RTA_DATA(a), data, size);
    head()->nlmsg_len = NLMSG_ALIGN(head()->nlmsg_len) + static_cast<uint32_t>(RTA_ALIGN(a->rta_len));
    return a;
  }
  void text(uint16_t type, const std::string& value) { attribute(type, value.c_str(), value.size() + 1); }
  void number(uint16_t type, uint32_t value) { attribute(type, &value, sizeof value); }
  rtattr* nest(uint16_t type) { return attribute(type, nullptr, 0); }
  void end(rtattr* a) { a->rta_len = static_cast<uint16_t>(buffer + head()->nlmsg_len - reinterpret_cast<char*>(a)); }
};

Result<Netlink> Netlink::open() {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return err(errno_error("netlink socket", errno));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    const int e = errno;
    close(fd);
    return err(errno_error("netlink bind", e));
  }
  return Netlink(fd);
}

Netlink::~Netlink() {
  if (fd_ >= 0) close(fd_);
}

Status Netlink::talk(Request& request, const char* what) {
  if (send(fd_, request.buffer, request.head()->nlmsg_len, 0) < 0) return errno_error(what, errno);
  alignas(8) char answer[8192];
  const ssize_t n = recv(fd_, answer, sizeof answer, 0);
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) return errno_error(what, n < 0 ? errno : EPROTO);
  const auto* head = reinterpret_cast<nlmsghdr*>(answer);
  if (head->nlmsg_type != NLMSG_ERROR) return errno_error(what, EPROTO);
  const int e = -reinterpret_cast<nlmsgerr*>(NLMSG_DATA(head))->error;
  return e == 0 || e == EEXIST ? Status() : errno_error(what, e);
}

Result<int> Netlink::index_of(const std::string& name) {
  return static_cast<int>(if_nametoindex(name.c_str()));
}

Status Netlink::add_bridge(const std::string& name, int mtu) {
  Request r(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  r.body<ifinfomsg>()->ifi_family = AF_UNSPEC;
  r.text(IFLA_IFNAME, name);
  r.number(IFLA_MTU, static_cast<uint32_t>(mtu));
  rtattr* info = r.nest(IFLA_LINKINFO);
  r.attribute(IFLA_INFO_KIND, "bridge", 6);
  r.end(info);
  return talk(r, "create bridge");
}

Status Netlink::add_veth(const std::string& name, const std::string& peer, int peer_netns_fd, int mtu) {
  Request r(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  r.body<ifinfomsg>()->ifi_family = AF_UNSPEC;
  r.text(IFLA_IFNAME, name);
  r.number(IFLA_MTU, static_cast<uint32_t>(mtu));
  rtattr* info = r.nest(IFLA_LINKINFO);
  r.attribute(IFLA_INFO_KIND, "veth", 4);
  rtattr* data = r.nest(IFLA_INFO_DATA);
  rtattr* other = r.nest(VETH_INFO_PEER);
  r.body<ifinfomsg>()->ifi_family = AF_UNSPEC;
  r.text(IFLA_IFNAME, peer);
  r.number(IFLA_MTU, static_cast<uint32_t>(mtu));
  r.number(IFLA_NET_NS_FD, static_cast<uint32_t>(peer_netns_fd));
  r.end(other);
  r.end(data);
  r.end(info);
  return talk(r, "create veth pair");
}

Status Netlink::set_master(int index, int master_index) {
  Request r(RTM_NEWLINK, 0);
  auto* m = r.body<ifinfomsg>();
  m->ifi_index = index;
  r.number(IFLA_MASTER, static_cast<uint32_t>(master_index));
  return talk(r, "attach veth to bridge");
}

Status Netlink::set_hairpin(int index) {
  Request r(RTM_SETLINK, 0);
  auto* m = r.body<ifinfomsg>();
  m->ifi_family = AF_BRIDGE;
  m->ifi_index = index;
  rtattr* info = r.nest(IFLA_PROTINFO | NLA_F_NESTED);
  const uint8_t on = 1;
  r.attribute(IFLA_BRPORT_MODE, &on, 1);
  r.end(info);
  return talk(r, "set hairpin mode");
}

Status Netlink::set_up(int index) {
  Request r(RTM_NEWLINK, 0);
  auto* m = r.body<ifinfomsg>();
  m->ifi_index = index;
  m->ifi_flags = IFF_UP;
  m->ifi_change = IFF_UP;
  return talk(r, "set link up");
}

Status Netlink::remove(int index) {
  Request r(RTM_DELLINK, 0);
  r.body<ifinfomsg>()->ifi_index = index;
  return talk(r, "remove link");
}

Status Netlink::add_address(int index, uint32_t address, int prefix) {
  Request r(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  auto* m = r.body<ifaddrmsg>();
  m->ifa_family = AF_INET;
  m->ifa_prefixlen = static_cast<uint8_t>(prefix);
  m->ifa_index = static_cast<uint32_t>(index);
  r.number(IFA_LOCAL, htonl(address));
  r.number(IFA_ADDRESS, htonl(address));
  return talk(r, "add address");
}

Status Netlink::add_link_route(int index, uint32_t destination, int prefix) {
  Request r(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto* m = r.body<rtmsg>();
  m->rtm_family = AF_INET;
  m->rtm_dst_len = static_cast<uint8_t>(prefix);
  m->rtm_table = RT_TABLE_MAIN;
  m->rtm_protocol = RTPROT_STATIC;
  m->rtm_scope = RT_SCOPE_LINK;
  m->rtm_type = RTN_UNICAST;
  r.number(RTA_DST, htonl(destination));
  r.number(RTA_OIF, static_cast<uint32_t>(index));
  return talk(r, "add route to the gateway");
}

Status Netlink::add_default_route(int index, uint32_t gateway) {
  Request r(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto* m = r.body<rtmsg>();
  m->rtm_family = AF_INET;
  m->rtm_table = RT_TABLE_MAIN;
  m->rtm_protocol = RTPROT_STATIC;
  m->rtm_scope = RT_SCOPE_UNIVERSE;
  m->rtm_type = RTN_UNICAST;
  r.number(RTA_GATEWAY, htonl(gateway));
  r.number(RTA_OIF, static_cast<uint32_t>(index));
  return talk(r, "add default route");
}

}  // namespace engenho::cni
