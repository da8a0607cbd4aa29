#include "nft_batch.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "netlink.h"
#include "nft_expressions.h"

namespace engenho::proxy {

namespace {

constexpr uint16_t kFamily = NFPROTO_IPV4;
constexpr size_t kMessageRoom = 64 * 1024;     // for one message; attributes count their length in 16 bits
constexpr size_t kElementsAMessage = 256;      // well below that
constexpr uint32_t kFirstSequence = 1;         // the batch's begin; message i has kFirstSequence + 1 + i

// nft's own numbers for the types of keys and values, so that `nft list` shows them as what they are.
constexpr uint32_t kTypeInteger = 4, kTypeIpv4 = 7, kTypeProtocol = 12, kTypePort = 13;
constexpr uint32_t concatenated(uint32_t a, uint32_t b) { return a << 6 | b; }

template <class T, void (*Free)(const T*)>
using Owned = std::unique_ptr<T, decltype([](T* p) { Free(p); })>;
using OwnedRule = Owned<nftnl_rule, nftnl_rule_free>;
using OwnedSet = Owned<nftnl_set, nftnl_set_free>;
using OwnedChain = Owned<nftnl_chain, nftnl_chain_free>;
using OwnedTable = Owned<nftnl_table, nftnl_table_free>;

OwnedSet named_set(const std::string& table, const std::string& name) {
  OwnedSet set(nftnl_set_alloc());
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, table.c_str());
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str());
  return set;
}

OwnedChain named_chain(const std::string& table, const std::string& name) {
  OwnedChain chain(nftnl_chain_alloc());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table.c_str());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, name.c_str());
  return chain;
}

OwnedRule rule_of(const std::string& table, const std::string& chain) {
  OwnedRule rule(nftnl_rule_alloc());
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_TABLE, table.c_str());
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_CHAIN, chain.c_str());
  return rule;
}

void add_element(nftnl_set* set, const void* key, size_t key_length, const std::string& chain) {
  nftnl_set_elem* element = nftnl_set_elem_alloc();
  nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key, static_cast<uint32_t>(key_length));
  if (!chain.empty()) {
    nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_VERDICT, static_cast<uint32_t>(NFT_GOTO));
    nftnl_set_elem_set_str(element, NFTNL_SET_ELEM_CHAIN, chain.c_str());
  }
  nftnl_set_elem_add(set, element);
}

}  // namespace

NftBatch::NftBatch(std::string table) : table_(std::move(table)) {}

void NftBatch::message(uint16_t type, uint16_t flags, const std::string& subject, const std::function<void(nlmsghdr*)>& build) {
  const size_t at = buffer_.size();
  buffer_.resize(at + kMessageRoom);
  const auto sequence = static_cast<uint32_t>(kFirstSequence + 1 + subjects_.size());
  nlmsghdr* header = nftnl_nlmsg_build_hdr(buffer_.data() + at, type, kFamily, flags, sequence);
  build(header);
  buffer_.resize(at + MNL_ALIGN(header->nlmsg_len));
  subjects_.push_back(subject);
}

void NftBatch::add_table() {
  message(NFT_MSG_NEWTABLE, NLM_F_CREATE, "the table " + table_, [&](nlmsghdr* header) {
    OwnedTable table(nftnl_table_alloc());
    nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.c_str());
    nftnl_table_nlmsg_build_payload(header, table.get());
  });
}

void NftBatch::delete_table() {
  message(NFT_MSG_DELTABLE, 0, "the table " + table_, [&](nlmsghdr* header) {
    OwnedTable table(nftnl_table_alloc());
    nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.c_str());
    nftnl_table_nlmsg_build_payload(header, table.get());
  });
}

void NftBatch::add_chain(const std::string& name, const Chain& chain) {
  message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, "chain " + name, [&](nlmsghdr* header) {
    OwnedChain c = named_chain(table_, name);
    if (chain.hook) {
      nftnl_chain_set_u32(c.get(), NFTNL_CHAIN_HOOKNUM, chain.hook->number);
      nftnl_chain_set_s32(c.get(), NFTNL_CHAIN_PRIO, chain.hook->priority);
      nftnl_chain_set_str(c.get(), NFTNL_CHAIN_TYPE, chain.hook->type);
      nftnl_chain_set_u32(c.get(), NFTNL_CHAIN_POLICY, NF_ACCEPT);
    }
    nftnl_chain_nlmsg_build_payload(header, c.get());
  });
}

void NftBatch::flush_chain(const std::string& name) {
  message(NFT_MSG_DELRULE, 0, "the rules of chain " + name,
          [&](nlmsghdr* header) { nftnl_rule_nlmsg_build_payload(header, rule_of(table_, name).get()); });
}

void NftBatch::delete_chain(const std::string& name) {
  message(NFT_MSG_DELCHAIN, 0, "chain " + name,
          [&](nlmsghdr* header) { nftnl_chain_nlmsg_build_payload(header, named_chain(table_, name).get()); });
}

void NftBatch::add_rule(const std::string& chain, const Rule& steps) {
  message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, "a rule of chain " + chain, [&](nlmsghdr* header) {
    OwnedRule rule = rule_of(table_, chain);
    append_expressions(rule.get(), steps);
    nftnl_rule_nlmsg_build_payload(header, rule.get());
  });
}

void NftBatch::add_set(const std::string& name, const Set& set) {
  message(NFT_MSG_NEWSET, NLM_F_CREATE, "set " + name, [&](nlmsghdr* header) {
    OwnedSet s = named_set(table_, name);
    uint32_t flags = 0, type = kTypeIpv4, parts = 1;
    if (set.type == Set::Type::kServices) type = concatenated(concatenated(kTypeIpv4, kTypeProtocol), kTypePort), parts = 3;
    if (set.type == Set::Type::kPorts) type = concatenated(kTypeProtocol, kTypePort), parts = 2;
    if (set.type == Set::Type::kNumbers) type = kTypeInteger;
    if (set.verdicts) {
      flags |= NFT_SET_MAP;
      nftnl_set_set_u32(s.get(), NFTNL_SET_DATA_TYPE, NFT_DATA_VERDICT);
      nftnl_set_set_u32(s.get(), NFTNL_SET_DATA_LEN, 0);
    }
    if (set.timeout_seconds != 0) {
      flags |= NFT_SET_TIMEOUT | NFT_SET_EVAL;
      nftnl_set_set_u64(s.get(), NFTNL_SET_TIMEOUT, uint64_t{set.timeout_seconds} * 1000);
    }
    nftnl_set_set_u32(s.get(), NFTNL_SET_FAMILY, kFamily);
    nftnl_set_set_u32(s.get(), NFTNL_SET_ID, ++set_id_);
    nftnl_set_set_u32(s.get(), NFTNL_SET_FLAGS, flags);
    nftnl_set_set_u32(s.get(), NFTNL_SET_KEY_TYPE, type);
    nftnl_set_set_u32(s.get(), NFTNL_SET_KEY_LEN, parts * 4);
    nftnl_set_nlmsg_build_payload(header, s.get());
  });
}

void NftBatch::flush_set(const std::string& name) {
  message(NFT_MSG_DELSETELEM, 0, "the elements of set " + name,
          [&](nlmsghdr* header) { nftnl_set_elems_nlmsg_build_payload(header, named_set(table_, name).get()); });
}

void NftBatch::delete_set(const std::string& name) {
  message(NFT_MSG_DELSET, 0, "set " + name, [&](nlmsghdr* header) { nftnl_set_nlmsg_build_payload(header, named_set(table_, name).get()); });
}

void NftBatch::elements(uint16_t type, uint16_t flags, const std::string& name, const std::map<Key, std::string>& elements) {
  for (auto it = elements.begin(); it != elements.end();) {
    OwnedSet set = named_set(table_, name);
    for (size_t n = 0; n < kElementsAMessage && it != elements.end(); ++n, ++it) add_element(set.get(), it->first.data(), it->first.size(), it->second);
    message(type, flags, "elements of set " + name, [&](nlmsghdr* header) { nftnl_set_elems_nlmsg_build_payload(header, set.get()); });
  }
}

void NftBatch::add_elements(const std::string& name, const std::map<Key, std::string>& list) { elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, name, list); }
void NftBatch::delete_elements(const std::string& name, const std::map<Key, std::string>& list) { elements(NFT_MSG_DELSETELEM, 0, name, list); }

Status NftBatch::commit() {
  if (subjects_.empty()) return {};
  const auto last = static_cast<uint32_t>(kFirstSequence + subjects_.size());
  // Only the last message asks for an answer; errors come for any.
  std::vector<char> all(kMessageRoom);
  nlmsghdr* begin = nftnl_batch_begin(all.data(), kFirstSequence);
  all.resize(MNL_ALIGN(begin->nlmsg_len));
  all.insert(all.end(), buffer_.begin(), buffer_.end());
  for (size_t at = 0; at < all.size();) {
    auto* header = reinterpret_cast<nlmsghdr*>(all.data() + at);
    if (header->nlmsg_seq == last) header->nlmsg_flags |= NLM_F_ACK;
    at += MNL_ALIGN(header->nlmsg_len);
  }
  const size_t end = all.size();
  all.resize(end + kMessageRoom);
  all.resize(end + MNL_ALIGN(nftnl_batch_end(all.data() + end, last + 1)->nlmsg_len));

  ENGENHO_ASSIGN_OR_RETURN(auto socket, NetlinkSocket::open());
  ENGENHO_RETURN_IF_ERROR(socket.send(all));
  int error = 0;
  std::string subject = "the transaction";
  bool answered = false;
  while (!answered) {
    ENGENHO_RETURN_IF_ERROR(socket.receive([&](const nlmsghdr* header) {
      if (header->nlmsg_type != NLMSG_ERROR) return;
      const int code = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
      if (code != 0 && error == 0) {
        error = code;
        if (header->nlmsg_seq > kFirstSequence && header->nlmsg_seq <= last) subject = subjects_[header->nlmsg_seq - kFirstSequence - 1];
      }
      // The kernel answers in order, so the last one's ends it; an answer to the begin means that nothing was looked at.
      if (header->nlmsg_seq == last || header->nlmsg_seq == kFirstSequence) answered = true;
    }));
  }
  if (error != 0) return errno_error("nftables refuses " + subject, error);
  return {};
}

}  // namespace engenho::proxy
