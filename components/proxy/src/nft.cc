#include "nft.h"

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/gen.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <set>

#include "netlink.h"
#include "nft_batch.h"

namespace engenho::proxy {

namespace {

// The names of what the kernel has in a table.
struct Present {
  bool table = false;
  std::set<std::string> chains, sets, timed_sets;
};

Status list(uint16_t type, const std::function<void(const nlmsghdr*)>& fn) {
  ENGENHO_ASSIGN_OR_RETURN(auto socket, NetlinkSocket::open());
  char request[MNL_NLMSG_HDRLEN + 64];
  const nlmsghdr* header = nftnl_nlmsg_build_hdr(request, type, NFPROTO_IPV4, NLM_F_DUMP, 1);
  return socket.dump({request, header->nlmsg_len}, fn);
}

Result<Present> look(const std::string& table) {
  Present out;
  ENGENHO_TRY(list(NFT_MSG_GETCHAIN, [&](const nlmsghdr* header) {
    nftnl_chain* chain = nftnl_chain_alloc();
    if (nftnl_chain_nlmsg_parse(header, chain) >= 0 && table == nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE)) {
      out.table = true;
      out.chains.insert(nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME));
    }
    nftnl_chain_free(chain);
  }));
  ENGENHO_TRY(list(NFT_MSG_GETSET, [&](const nlmsghdr* header) {
    nftnl_set* set = nftnl_set_alloc();
    if (nftnl_set_nlmsg_parse(header, set) >= 0 && table == nftnl_set_get_str(set, NFTNL_SET_TABLE)) {
      const uint32_t flags = nftnl_set_get_u32(set, NFTNL_SET_FLAGS);
      // Anonymous ones belong to their rule.
      if (!(flags & NFT_SET_ANONYMOUS)) (flags & NFT_SET_TIMEOUT ? out.timed_sets : out.sets).insert(nftnl_set_get_str(set, NFTNL_SET_NAME));
    }
    nftnl_set_free(set);
  }));
  return out;
}

void create(NftBatch& batch, const Table& after) {
  for (const auto& [name, set] : after.sets) batch.add_set(name, set);
  for (const auto& [name, chain] : after.chains) batch.add_chain(name, chain);
  for (const auto& [name, chain] : after.chains) {
    for (const Rule& rule : chain.rules) batch.add_rule(name, rule);
  }
  for (const auto& [name, set] : after.sets) batch.add_elements(name, set.elements);
}

}  // namespace

// Order matters within a transaction: what is referred to is made first and deleted last.
Status Nft::change(const Table& before, const Table& after) const {
  NftBatch batch(name_);
  auto same_kind = [](const Set& a, const Set& b) { return a.type == b.type && a.verdicts == b.verdicts && a.timeout_seconds == b.timeout_seconds; };
  for (const auto& [name, set] : after.sets) {
    auto old = before.sets.find(name);
    if (old == before.sets.end()) batch.add_set(name, set);
    else if (!same_kind(old->second, set)) return internal_error("set " + name + " cannot change its type");
  }
  for (const auto& [name, chain] : after.chains) {
    if (!before.chains.contains(name)) batch.add_chain(name, chain);
  }
  for (const auto& [name, old] : before.sets) {
    auto now = after.sets.find(name);
    std::map<Key, std::string> gone;
    for (const auto& [key, chain] : old.elements) {
      const bool stays = now != after.sets.end() && now->second.elements.contains(key) && now->second.elements.at(key) == chain;
      if (!stays) gone.emplace(key, chain);
    }
    batch.delete_elements(name, gone);
  }
  for (const auto& [name, old] : before.chains) {
    auto now = after.chains.find(name);
    if (now == after.chains.end() || now->second.rules != old.rules) batch.flush_chain(name);
  }
  for (const auto& [name, chain] : after.chains) {
    auto old = before.chains.find(name);
    if (old != before.chains.end() && old->second.rules == chain.rules) continue;
    for (const Rule& rule : chain.rules) batch.add_rule(name, rule);
  }
  for (const auto& [name, set] : after.sets) {
    auto old = before.sets.find(name);
    std::map<Key, std::string> added;
    for (const auto& [key, chain] : set.elements) {
      if (old != before.sets.end()) {
        auto element = old->second.elements.find(key);
        if (element != old->second.elements.end() && element->second == chain) continue;
      }
      added.emplace(key, chain);
    }
    batch.add_elements(name, added);
  }
  for (const auto& [name, old] : before.chains) {
    if (!after.chains.contains(name)) batch.delete_chain(name);
  }
  for (const auto& [name, old] : before.sets) {
    if (!after.sets.contains(name)) batch.delete_set(name);
  }
  return batch.commit();
}

Status Nft::replace(const Table& after) const {
  ENGENHO_ASSIGN_OR_RETURN(const Present present, look(name_));
  NftBatch batch(name_);
  batch.add_table();
  for (const std::string& name : present.sets) batch.flush_set(name);
  for (const std::string& name : present.chains) batch.flush_chain(name);
  create(batch, after);
  for (const std::string& name : present.chains) {
    if (!after.chains.contains(name)) batch.delete_chain(name);
  }
  for (const auto* sets : {&present.sets, &present.timed_sets}) {
    for (const std::string& name : *sets) {
      if (!after.sets.contains(name)) batch.delete_set(name);
    }
  }
  if (batch.commit().ok()) return {};
  // Something there has our names and another shape.
  NftBatch anew(name_);
  if (present.table) anew.delete_table();
  anew.add_table();
  create(anew, after);
  return anew.commit();
}

Status Nft::remove() const {
  NftBatch batch(name_);
  batch.add_table();  // so that deleting it cannot fail
  batch.delete_table();
  return batch.commit();
}

Result<uint32_t> Nft::generation() const {
  ENGENHO_ASSIGN(auto socket, NetlinkSocket::open());
  char request[MNL_NLMSG_HDRLEN + 64];
  const nlmsghdr* header = nftnl_nlmsg_build_hdr(request, NFT_MSG_GETGEN, NFPROTO_UNSPEC, 0, 1);
  ENGENHO_TRY(socket.send({request, header->nlmsg_len}));
  std::optional<uint32_t> id;
  ENGENHO_TRY(socket.receive([&](const nlmsghdr* answer) {
    nftnl_gen* generation = nftnl_gen_alloc();
    if (answer->nlmsg_type != NLMSG_ERROR && nftnl_gen_nlmsg_parse(answer, generation) >= 0) id = nftnl_gen_get_u32(generation, NFTNL_GEN_ID);
    nftnl_gen_free(generation);
  }));
  if (!id) return err(internal_error("netlink: the kernel does not tell the generation of its tables"));
  return *id;
}

}  // namespace engenho::proxy
