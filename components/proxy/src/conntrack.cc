#include "conntrack.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "netlink.h"

namespace engenho::proxy {

namespace {

// One direction of a flow, host byte order.
struct Tuple {
  Ipv4 source = 0, destination = 0;
  uint8_t protocol = 0;
  uint16_t source_port = 0, destination_port = 0;
};

// The attributes of one level, by their type; those above `Max` are of no interest.
template <size_t Max>
using Attributes = std::array<const nlattr*, Max + 1>;

template <size_t Max>
int keep(const nlattr* attribute, void* data) {
  const uint16_t type = mnl_attr_get_type(attribute);
  if (type <= Max) (*static_cast<Attributes<Max>*>(data))[type] = attribute;
  return MNL_CB_OK;
}

template <size_t Max>
Attributes<Max> attributes(const nlattr* nest) {
  Attributes<Max> out{};
  mnl_attr_parse_nested(nest, keep<Max>, &out);
  return out;
}

// IPv4 flows with ports only.
std::optional<Tuple> parse_tuple(const nlattr* nest) {
  const auto parts = attributes<CTA_TUPLE_PROTO>(nest);
  if (parts[CTA_TUPLE_IP] == nullptr || parts[CTA_TUPLE_PROTO] == nullptr) return std::nullopt;
  const auto ip = attributes<CTA_IP_V4_DST>(parts[CTA_TUPLE_IP]);
  const auto protocol = attributes<CTA_PROTO_DST_PORT>(parts[CTA_TUPLE_PROTO]);
  if (!ip[CTA_IP_V4_SRC] || !ip[CTA_IP_V4_DST] || !protocol[CTA_PROTO_NUM] || !protocol[CTA_PROTO_SRC_PORT] || !protocol[CTA_PROTO_DST_PORT]) {
    return std::nullopt;
  }
  return Tuple{ntohl(mnl_attr_get_u32(ip[CTA_IP_V4_SRC])), ntohl(mnl_attr_get_u32(ip[CTA_IP_V4_DST])), mnl_attr_get_u8(protocol[CTA_PROTO_NUM]),
               ntohs(mnl_attr_get_u16(protocol[CTA_PROTO_SRC_PORT])), ntohs(mnl_attr_get_u16(protocol[CTA_PROTO_DST_PORT]))};
}

nlmsghdr* request(char* buffer, uint16_t type, uint16_t flags) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
  header->nlmsg_flags = NLM_F_REQUEST | flags;
  header->nlmsg_seq = 1;
  auto* extra = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  *extra = {.nfgen_family = AF_INET, .version = NFNETLINK_V0, .res_id = 0};
  return header;
}

class UdpServices {
 public:
  explicit UdpServices(const std::vector<ServicePort>& services) {
    for (const ServicePort& s : services) {
      if (s.protocol != IPPROTO_UDP || s.targets.empty()) continue;
      by_address_[{s.cluster_ip, s.port}] = &s;
      for (Ipv4 address : s.external_addresses) by_address_[{address, s.port}] = &s;
      if (s.node_port != 0) by_node_port_[s.node_port] = &s;
    }
  }
  bool empty() const { return by_address_.empty(); }
  bool stale(const Tuple& original, const Tuple& reply, uint32_t status) const {
    if (original.protocol != IPPROTO_UDP) return false;
    const ServicePort* service = nullptr;
    if (auto it = by_address_.find({original.destination, original.destination_port}); it != by_address_.end()) {
      service = it->second;
    } else if (auto node = by_node_port_.find(original.destination_port); node != by_node_port_.end() && (status & IPS_DST_NAT)) {
      service = node->second;
    }
    return service != nullptr && !std::binary_search(service->targets.begin(), service->targets.end(), Target{reply.source, reply.source_port});
  }

 private:
  std::map<std::pair<Ipv4, uint16_t>, const ServicePort*> by_address_;
  std::map<uint16_t, const ServicePort*> by_node_port_;
};

// `tuple`: the CTA_TUPLE_ORIG attribute as the kernel gave it. `id`: of this very flow, network byte order.
Result<bool> forget(NetlinkSocket& socket, const std::vector<char>& tuple, std::optional<uint32_t> id) {
  alignas(nlmsghdr) char buffer[1024] = {};
  nlmsghdr* header = request(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
  mnl_attr_put(header, CTA_TUPLE_ORIG | NLA_F_NESTED, tuple.size(), tuple.data());
  if (id) mnl_attr_put_u32(header, CTA_ID, *id);
  ENGENHO_TRY(socket.send({buffer, header->nlmsg_len}));
  int error = 0;
  ENGENHO_TRY(socket.receive([&](const nlmsghdr* answer) {
    if (answer->nlmsg_type == NLMSG_ERROR) error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer))->error;
  }));
  if (error == ENOENT) return false;  // it ended meanwhile
  if (error != 0) return err(errno_error("conntrack: cannot forget a flow", error));
  return true;
}

}  // namespace

Result<size_t> forget_stale_udp(const std::vector<ServicePort>& services) {
  const UdpServices known(services);
  if (known.empty()) return size_t{0};
  struct Flow {
    std::vector<char> tuple;
    std::optional<uint32_t> id;
  };
  std::vector<Flow> stale;
  ENGENHO_ASSIGN(auto socket, NetlinkSocket::open());
  alignas(nlmsghdr) char buffer[256] = {};
  const nlmsghdr* header = request(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  ENGENHO_TRY(socket.dump({buffer, header->nlmsg_len}, [&](const nlmsghdr* entry) {
    Attributes<CTA_MAX> parts{};
    mnl_attr_parse(entry, sizeof(nfgenmsg), keep<CTA_MAX>, &parts);
    if (!parts[CTA_TUPLE_ORIG] || !parts[CTA_TUPLE_REPLY] || !parts[CTA_STATUS]) return;
    const auto original = parse_tuple(parts[CTA_TUPLE_ORIG]), reply = parse_tuple(parts[CTA_TUPLE_REPLY]);
    if (!original || !reply || !known.stale(*original, *reply, ntohl(mnl_attr_get_u32(parts[CTA_STATUS])))) return;
    const auto* payload = static_cast<const char*>(mnl_attr_get_payload(parts[CTA_TUPLE_ORIG]));
    Flow flow{{payload, payload + mnl_attr_get_payload_len(parts[CTA_TUPLE_ORIG])}, std::nullopt};
    if (parts[CTA_ID]) flow.id = mnl_attr_get_u32(parts[CTA_ID]);
    stale.push_back(std::move(flow));
  }));
  size_t forgotten = 0;
  for (const Flow& flow : stale) {
    ENGENHO_ASSIGN(const bool done, forget(socket, flow.tuple, flow.id));
    forgotten += done ? 1 : 0;
  }
  return forgotten;
}

}  // namespace engenho::proxy
