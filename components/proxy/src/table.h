// The contents of the proxy's nftables table as values: what make_table() computes and Netlink writes. Two tables are compared
// to find the smallest transaction between them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engenho/base/ipv4.h"

namespace engenho::proxy {

// One step of a rule: a condition that must hold for the next step to run, or an action.
struct Step {
  enum class Kind {
    kSourceIs,          // address
    kSourceIn,          // cidr (or not, with `negate`)
    kDestinationIn,     // cidr (or not)
    kDestinationLocal,  // an address of this host (or not)
    kSourceLocal,
    kMarkHas,           // bits
    kNewConnection,
    kTranslated,        // the connection was rewritten by dnat
    kProtocol,          // number: IPPROTO_…
    kSourceInSet,       // name: a set of addresses
    kServiceInSet,      // name: a set of (destination, protocol, port)
    kPortInSet,         // name: a set of (protocol, port)
    kServiceMap,        // name: a map of the same to chains
    kPortMap,           // name: a map of (protocol, port) to chains
    kRandomMap,         // name: a map of numbers to chains; one of the keys [first, first + number), each with the same chance
    kMarkSet,           // bits are added to the mark
    kRememberSource,    // name: a set with a timeout
    kDnat,              // address, number: port
    kMasquerade,
    kReject,
    kDrop,
    kJump,              // name
    kGoto,              // name
  };
  Kind kind;
  std::string name = {};
  Ipv4Range cidr = {};      // address: bits 32
  uint32_t number = 0, first = 0;
  bool negate = false;
  bool operator==(const Step&) const = default;
};

using Rule = std::vector<Step>;

// Where a base chain sits: NF_INET_… hook, priority, "nat" or "filter".
struct Hook {
  uint32_t number;
  int32_t priority;
  const char* type;
  bool operator==(const Hook&) const = default;
};

struct Chain {
  std::optional<Hook> hook;
  std::vector<Rule> rules;
  bool operator==(const Chain&) const = default;
};

// Network byte order, each part padded to four bytes, as the kernel's concatenations are.
using Key = std::vector<uint8_t>;

struct Set {
  enum class Type { kServices, kPorts, kSources, kNumbers };  // (address, protocol, port); (protocol, port); address; number
  Type type;
  bool verdicts = false;              // a map from keys to chains
  uint32_t timeout_seconds = 0;       // not 0: filled by rules, each element ends by itself
  std::map<Key, std::string> elements = {};  // value: the chain to go to, empty in plain sets
  bool operator==(const Set&) const = default;
};

struct Table {
  std::map<std::string, Chain> chains;
  std::map<std::string, Set> sets;
  bool operator==(const Table&) const = default;
};

Key service_key(Ipv4 address, uint8_t protocol, uint16_t port);
Key port_key(uint8_t protocol, uint16_t port);
Key number_key(uint32_t number);  // host byte order, unlike the others

}  // namespace engenho::proxy
