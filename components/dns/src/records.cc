#include "records.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <random>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::dns {

namespace {
std::string text_of(uint32_t ip, char separator, bool reverse = false) {
  std::string out;
  for (int i = 0; i < 4; ++i) {
    if (i > 0) out += separator;
    out += std::to_string(ip >> (reverse ? 8 * i : 24 - 8 * i) & 255);
  }
  return out;
}
std::string raw(uint32_t ip) {
  std::string out;
  put32(out, ip);
  return out;
}
bool below(const std::string& name, const std::string& zone) { return name == zone || name.ends_with("." + zone); }
}  // namespace

void Records::add(const std::string& name, Record r) {
  r.name = name;
  auto& records = names_[name];
  const bool known = std::any_of(records.begin(), records.end(), [&](const Record& o) {
    return o.type == r.type && o.data == r.data && o.target == r.target && o.port == r.port;
  });
  if (!known) records.push_back(std::move(r));
  if (!below(name, zone_)) return;
  for (std::string parent = name; parent.size() > zone_.size();) {
    parent = parent.substr(parent.find('.') + 1);
    names_[parent];
  }
}
void Records::add_address(const std::string& name, uint32_t ip, bool reverse) {
  Record a;
  a.type = kA;
  a.data = raw(ip);
  add(name, a);
  if (!reverse) return;
  Record ptr;
  ptr.type = kPtr;
  ptr.target = name;
  add(text_of(ip, '.', true) + ".in-addr.arpa", ptr);
}
void Records::add_srv(const std::string& service, const std::string& port, const std::string& protocol, uint16_t number, const std::string& target) {
  Record r;
  r.type = kSrv;
  r.port = number;
  r.target = target;
  add(service, r);
  if (!port.empty()) add("_" + to_lower(port) + "._" + to_lower(protocol.empty() ? "tcp" : protocol) + "." + service, r);
}

Records::Records(const Options& options, const Services& services, const Slices& slices, std::set<std::string> namespaces)
    : services_(parse_ipv4_range(options.service_cidr)), pods_(parse_ipv4_range(options.cluster_cidr)), zone_(to_lower(options.cluster_domain)), namespaces_(std::move(namespaces)) {
  for (const char* s : {"svc", "pod"}) {
    names_[std::string(s) + "." + zone_];
    for (const std::string& ns : namespaces_) names_[ns + "." + s + "." + zone_];
  }
  Record version;
  version.type = kTxt;
  version.data = "\x05" "1.1.0";
  add("dns-version." + zone_, version);
  Record soa, ns;
  soa.type = kSoa;
  ns.type = kNs;
  soa.target = ns.target = "ns.dns." + zone_;
  add(zone_, soa);
  add(zone_, ns);
  if (auto ip = parse_ipv4(options.cluster_dns)) add_address(ns.target, *ip, false);

  std::map<std::string, Slices> by_service;
  for (const auto& s : slices) {
    auto owner = s->metadata.labels.find("kubernetes.io/service-name");
    if (owner != s->metadata.labels.end() && s->address_type == "IPv4") by_service[s->metadata.namespace_ + "/" + owner->second].push_back(s);
  }
  for (const auto& s : services) {
    const std::string name = s->metadata.name + "." + s->metadata.namespace_ + ".svc." + zone_;
    if (s->spec.type == "ExternalName") {
      Record alias;
      alias.type = kCname;
      alias.target = to_lower(s->spec.external_name);
      if (alias.target.ends_with('.')) alias.target.pop_back();
      add(name, alias);
      continue;
    }
    const bool headless = s->spec.cluster_ip == "None";
    if (!headless) {
      const auto ip = parse_ipv4(s->spec.cluster_ip);
      if (!ip) continue;
      add_address(name, *ip, true);
      for (const auto& p : s->spec.ports) add_srv(name, p.name, p.protocol, static_cast<uint16_t>(p.port), name);
    }
    for (const auto& slice : by_service[s->metadata.namespace_ + "/" + s->metadata.name]) {
      for (const auto& e : slice->endpoints) {
        if (!e.conditions.ready.value_or(true) && !s->spec.publish_not_ready_addresses) continue;
        for (const std::string& address : e.addresses) {
          const auto ip = parse_ipv4(address);
          if (!ip) continue;
          const std::string host = (e.hostname.value_or("").empty() ? text_of(*ip, '-') : to_lower(*e.hostname)) + "." + name;
          add_address(host, *ip, headless);
          if (!headless) continue;
          add_address(name, *ip, false);
          for (const auto& p : slice->ports) {
            add_srv(name, p.name.value_or(""), p.protocol.value_or("TCP"), static_cast<uint16_t>(p.port.value_or(0)), host);
          }
        }
      }
    }
  }
}

Answer Records::lookup(const std::string& asked, uint16_t type) const {
  Answer out;
  std::string name = to_lower(asked);
  static thread_local std::minstd_rand random(static_cast<unsigned>(random_u64()));
  Record soa;
  soa.name = zone_;
  soa.type = kSoa;
  soa.target = "ns.dns." + zone_;

  if (!below(name, zone_)) {
    if (!name.ends_with(".in-addr.arpa")) return out;
    const auto reversed = parse_ipv4(name.substr(0, name.size() - 13));
    if (!reversed) return out;
    const Ipv4 ip = __builtin_bswap32(*reversed);
    // Addresses of the cluster mean nothing to anybody upstream.
    if (!names_.contains(name) && !(services_ && services_->contains(ip)) && !(pods_ && pods_->contains(ip))) return out;
    soa.name = "in-addr.arpa";
  }
  out.ours = true;
  std::string owner = asked;
  for (int hops = 0; hops < 8; ++hops) {
    auto it = names_.find(name);
    if (it == names_.end()) {
      // a-b-c-d.namespace.pod.zone
      const std::string pods = ".pod." + zone_;
      const size_t dot = name.find('.');
      if (name.ends_with(pods) && dot != std::string::npos && dot < name.size() - pods.size() &&
          namespaces_.contains(name.substr(dot + 1, name.size() - pods.size() - dot - 1))) {
        std::string address = name.substr(0, dot);
        std::replace(address.begin(), address.end(), '-', '.');
        if (const auto ip = parse_ipv4(address)) {
          Record a;
          a.name = owner;
          a.type = kA;
          a.data = raw(*ip);
          if (type == kA || type == kAny) out.answers.push_back(a);
          else out.authority.push_back(soa);
          return out;
        }
      }
      out.rcode = kNxDomain;
      out.authority.push_back(soa);
      return out;
    }
    const Record* alias = nullptr;
    const size_t first = out.answers.size();
    for (const Record& present : it->second) {
      if (present.type == kCname) alias = &present;
      if (present.type != type && type != kAny) continue;
      Record r = present;
      r.name = owner;
      out.answers.push_back(std::move(r));
    }
    if (out.answers.size() > first) {
      std::shuffle(out.answers.begin() + static_cast<std::ptrdiff_t>(first), out.answers.end(), random);
      const size_t n = out.answers.size() - first;
      std::set<std::string> told;
      for (size_t i = first; i < out.answers.size(); ++i) {
        Record& r = out.answers[i];
        if (r.type != kSrv) continue;
        r.weight = static_cast<uint16_t>(std::max<size_t>(1, 100 / n));
        auto target = names_.find(r.target);
        if (target == names_.end() || !told.insert(r.target).second) continue;
        for (const Record& a : target->second) {
          if (a.type == kA) out.additional.push_back(a);
        }
      }
      return out;
    }
    if (alias == nullptr) {
      out.authority.push_back(soa);
      return out;
    }
    Record r = *alias;
    r.name = owner;
    out.answers.push_back(r);
    owner = name = r.target;
    if (!below(name, zone_)) {
      out.chase = name;
      return out;
    }
  }
  out.rcode = kServFail;
  out.answers.clear();
  return out;
}

}  // namespace engenho::dns
