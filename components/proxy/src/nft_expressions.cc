#include "nft_expressions.h"

#include <arpa/inet.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

namespace engenho::proxy {

namespace {

constexpr uint32_t kSourceOffset = 12, kDestinationOffset = 16, kPortOffset = 2;
constexpr uint32_t kNew = 1 << (IP_CT_NEW % IP_CT_IS_REPLY + 1);

class Expressions {
 public:
  explicit Expressions(nftnl_rule* rule) : rule_(rule) {}

  void payload(uint32_t base, uint32_t offset, uint32_t length, uint32_t to) {
    nftnl_expr* e = add("payload");
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, length);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, to);
  }
  void source(uint32_t to = NFT_REG_1) { payload(NFT_PAYLOAD_NETWORK_HEADER, kSourceOffset, 4, to); }
  void destination(uint32_t to = NFT_REG_1) { payload(NFT_PAYLOAD_NETWORK_HEADER, kDestinationOffset, 4, to); }
  void port(uint32_t to) { payload(NFT_PAYLOAD_TRANSPORT_HEADER, kPortOffset, 2, to); }
  void meta(uint32_t key, uint32_t to) {
    nftnl_expr* e = add("meta");
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, to);
  }
  void set_mark() {
    nftnl_expr* e = add("meta");
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, NFT_META_MARK);
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_SREG, NFT_REG_1);
  }
  void conntrack(uint32_t key) {
    nftnl_expr* e = add("ct");
    nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, key);
    nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
  }
  void address_type(uint32_t flag, bool negate) {
    nftnl_expr* e = add("fib");
    nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS, flag);
    nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
    const uint32_t local = RTN_LOCAL;
    compare(&local, sizeof local, negate);
  }
  void compare(const void* value, uint32_t length, bool negate) {
    nftnl_expr* e = add("cmp");
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, negate ? NFT_CMP_NEQ : NFT_CMP_EQ);
    nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, value, length);
  }
  // register = (register & mask) ^ flip
  void bits(uint32_t mask, uint32_t flip) {
    nftnl_expr* e = add("bitwise");
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, sizeof mask);
    nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof mask);
    nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, &flip, sizeof flip);
  }
  void any_bit(uint32_t mask) {
    bits(mask, 0);
    const uint32_t zero = 0;
    compare(&zero, sizeof zero, true);
  }
  void in(const Ipv4Range& cidr, bool negate) {
    if (cidr.bits < 32) bits(htonl(cidr.mask()), 0);
    const uint32_t address = htonl(cidr.first);
    compare(&address, sizeof address, negate);
  }
  void lookup(const std::string& set, bool verdict) {
    nftnl_expr* e = add("lookup");
    nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, set.c_str());
    if (verdict) nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
  }
  // A concatenation fills 32-bit registers in a row from register 1 on.
  void service_key() {
    destination();
    meta(NFT_META_L4PROTO, NFT_REG32_01);
    port(NFT_REG32_02);
  }
  void port_key() {
    meta(NFT_META_L4PROTO, NFT_REG_1);
    port(NFT_REG32_01);
  }
  void verdict(int32_t what, const std::string& chain = "") {
    nftnl_expr* e = add("immediate");
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, static_cast<uint32_t>(what));
    if (!chain.empty()) nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain.c_str());
  }
  void immediate(uint32_t to, const void* value, uint32_t length) {
    nftnl_expr* e = add("immediate");
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, to);
    nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, value, length);
  }
  void dnat(Ipv4 address, uint16_t port) {
    const uint32_t network_address = htonl(address);
    const uint16_t network_port = htons(port);
    immediate(NFT_REG_1, &network_address, sizeof network_address);
    immediate(NFT_REG_2, &network_port, sizeof network_port);
    nftnl_expr* e = add("nat");
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, NFT_REG_2);
  }
  void random(uint32_t first, uint32_t count) {
    nftnl_expr* e = add("numgen");
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_MODULUS, count);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_OFFSET, first);
  }
  void remember_source(const std::string& set, uint32_t seconds) {
    source();
    nftnl_expr* e = add("dynset");
    nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
    nftnl_expr_set_u64(e, NFTNL_EXPR_DYNSET_TIMEOUT, uint64_t{seconds} * 1000);
    nftnl_expr_set_str(e, NFTNL_EXPR_DYNSET_SET_NAME, set.c_str());
  }
  void masquerade() { nftnl_expr_set_u32(add("masq"), NFTNL_EXPR_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY); }
  void reject() {
    nftnl_expr* e = add("reject");
    nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
    nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, 3);  // port unreachable
  }

 private:
  nftnl_expr* add(const char* name) {
    nftnl_expr* e = nftnl_expr_alloc(name);
    nftnl_rule_add_expr(rule_, e);
    return e;
  }

  nftnl_rule* rule_;
};

}  // namespace

void append_expressions(nftnl_rule* rule, const Rule& steps) {
  using Kind = Step::Kind;
  Expressions to(rule);
  for (const Step& step : steps) {
    switch (step.kind) {
      case Kind::kSourceIs:
      case Kind::kSourceIn: to.source(); to.in(step.cidr, step.negate); break;
      case Kind::kDestinationIn: to.destination(); to.in(step.cidr, step.negate); break;
      case Kind::kDestinationLocal: to.address_type(NFTA_FIB_F_DADDR, step.negate); break;
      case Kind::kSourceLocal: to.address_type(NFTA_FIB_F_SADDR, step.negate); break;
      case Kind::kMarkHas: to.meta(NFT_META_MARK, NFT_REG_1); to.any_bit(step.number); break;
      case Kind::kNewConnection: to.conntrack(NFT_CT_STATE); to.any_bit(kNew); break;
      case Kind::kTranslated: to.conntrack(NFT_CT_STATUS); to.any_bit(IPS_DST_NAT); break;
      case Kind::kProtocol: {
        const auto protocol = static_cast<uint8_t>(step.number);
        to.meta(NFT_META_L4PROTO, NFT_REG_1);
        to.compare(&protocol, sizeof protocol, step.negate);
        break;
      }
      case Kind::kSourceInSet: to.source(); to.lookup(step.name, false); break;
      case Kind::kServiceInSet: to.service_key(); to.lookup(step.name, false); break;
      case Kind::kPortInSet: to.port_key(); to.lookup(step.name, false); break;
      case Kind::kServiceMap: to.service_key(); to.lookup(step.name, true); break;
      case Kind::kPortMap: to.port_key(); to.lookup(step.name, true); break;
      case Kind::kRandomMap: to.random(step.first, step.number); to.lookup(step.name, true); break;
      case Kind::kMarkSet:
        to.meta(NFT_META_MARK, NFT_REG_1);
        to.bits(~step.number, step.number);
        to.set_mark();
        break;
      case Kind::kRememberSource: to.remember_source(step.name, step.number); break;
      case Kind::kDnat: to.dnat(step.cidr.first, static_cast<uint16_t>(step.number)); break;
      case Kind::kMasquerade: to.masquerade(); break;
      case Kind::kReject: to.reject(); break;
      case Kind::kDrop: to.verdict(NF_DROP); break;
      case Kind::kJump: to.verdict(NFT_JUMP, step.name); break;
      case Kind::kGoto: to.verdict(NFT_GOTO, step.name); break;
    }
  }
}

}  // namespace engenho::proxy
