#include "engenho/proxy/proxy.h"

#include <algorithm>
#include <map>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/base/log.h"
#include "engenho/base/process.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/discovery_v1.h"
#include "engenho/client/informer.h"
#include "engenho/client/work_queue.h"
#include "ruleset.h"

namespace engenho::proxy {

namespace core_v1 = k8s::core_v1;
namespace discovery_v1 = k8s::discovery_v1;

namespace {

constexpr char kSync[] = "sync";
constexpr auto kNftTimeout = std::chrono::seconds(30);

Status run_nft(const std::string& text) {
  auto done = run_process({.argv = {"nft", "-f", "-"}, .env = {}, .cwd = "", .stdin_text = text, .log_file = ""}, kNftTimeout);
  if (!done) return done.error();
  if (done->exit_code != 0) return internal_error("nft refused the rules: " + std::string(trim(done->err)).substr(0, 500));
  return {};
}

// What an earlier process left in the table.
Ruleset present_rules() {
  Ruleset out;
  auto listed = run_process({.argv = {"nft", "-j", "list", "table", "ip", "engenho"}}, kNftTimeout);
  if (!listed || listed->exit_code != 0) return out;
  auto document = json::parse(listed->out);
  if (!document) return out;
  if (const json::Value* items = document->get("nftables")) {
    for (const json::Value& item : items->items()) {
      const std::string chain(item.str_at({"chain", "name"})), set(item.str_at({"set", "name"}));
      if (chain.starts_with("svc_") || chain.starts_with("ep_") || chain.starts_with("ext_")) out.chains.insert(chain);
      if (set.starts_with("aff_")) out.sets.insert(set);
    }
  }
  return out;
}

bool write_sysctl(const std::string& path, const std::string& value) {
  auto now = read_file(path);
  if (now && trim(*now) == value) return true;
  FILE* f = fopen(path.c_str(), "we");
  if (f == nullptr) return false;
  const bool ok = fwrite(value.data(), 1, value.size(), f) == value.size();
  return fclose(f) == 0 && ok;
}

}  // namespace

struct Proxy::Impl {
  Impl(std::shared_ptr<client::Transport> transport, Options o)
      : options(std::move(o)), client(std::move(transport), "kube-proxy"), informers(client) {}

  std::vector<ServicePort> collect();
  Status sync();

  Options options;
  client::Client client;
  client::Informers informers;
  client::WorkQueue queue;
  Ruleset current;     // used by the one worker only
  std::string last_text;
  bool bridge_filtering = false;
  TaskGroup group{"proxy"};
};

Proxy::Proxy(std::shared_ptr<client::Transport> transport, Options options) : impl_(std::make_unique<Impl>(std::move(transport), std::move(options))) {
  // Several changes in a row become one transaction.
  impl_->informers.get<core_v1::Service>().on_change([this](const core_v1::Service&) { impl_->queue.add_after(kSync, std::chrono::milliseconds(10)); });
  impl_->informers.get<discovery_v1::EndpointSlice>().on_change(
      [this](const discovery_v1::EndpointSlice&) { impl_->queue.add_after(kSync, std::chrono::milliseconds(10)); });
}

Proxy::~Proxy() { stop(); }

void Proxy::start() {
  impl_->informers.start();
  impl_->group.spawn("start", [this](StopToken stop) {
    if (!impl_->informers.wait_synced(stop)) return;
    if (!write_sysctl("/proc/sys/net/ipv4/ip_forward", "1")) log::error("proxy", "cannot switch on net.ipv4.ip_forward: pods reach nothing outside their node");
    impl_->bridge_filtering = write_sysctl("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    impl_->current = present_rules();
    impl_->queue.add(kSync);
    client::run_workers(impl_->group, "proxy", impl_->queue, 1, [this](const std::string&) { return impl_->sync(); });
  });
}

void Proxy::stop() {
  impl_->group.stop();
  impl_->informers.stop();
}

std::vector<ServicePort> Proxy::Impl::collect() {
  std::map<std::string, std::vector<std::shared_ptr<const discovery_v1::EndpointSlice>>> slices;
  for (const auto& s : informers.get<discovery_v1::EndpointSlice>().list()) {
    auto owner = s->metadata.labels.find("kubernetes.io/service-name");
    if (owner != s->metadata.labels.end() && s->address_type == "IPv4") slices[s->metadata.namespace_ + "/" + owner->second].push_back(s);
  }
  std::vector<ServicePort> out;
  for (const auto& service : informers.get<core_v1::Service>().list()) {
    const core_v1::ServiceSpec& spec = service->spec;
    if (spec.cluster_ip.empty() || spec.cluster_ip == "None" || spec.type == "ExternalName") continue;
    const std::string key = client::key_of(service->metadata.namespace_, service->metadata.name);
    for (const core_v1::ServicePort& p : spec.ports) {
      ServicePort port;
      port.name = key + ":" + p.name;
      port.protocol = to_lower(p.protocol.empty() ? "TCP" : p.protocol);
      port.addresses = {spec.cluster_ip};
      port.addresses.insert(port.addresses.end(), spec.external_ips.begin(), spec.external_ips.end());
      for (const auto& ingress : service->status.load_balancer.ingress) {
        if (!ingress.ip.empty()) port.addresses.push_back(ingress.ip);
      }
      port.port = p.port;
      port.node_port = p.node_port;
      port.local_only = spec.external_traffic_policy == "Local";
      if (spec.session_affinity == "ClientIP") {
        port.affinity_seconds = 10800;
        if (spec.session_affinity_config && spec.session_affinity_config->client_ip) {
          port.affinity_seconds = spec.session_affinity_config->client_ip->timeout_seconds.value_or(10800);
        }
      }
      std::vector<Target> ready, serving;
      for (const auto& slice : slices[key]) {
        int number = 0;
        for (const auto& sp : slice->ports) {
          if (sp.name.value_or("") == p.name && to_lower(sp.protocol.value_or("TCP")) == port.protocol) number = sp.port.value_or(0);
        }
        if (number == 0) continue;
        for (const auto& e : slice->endpoints) {
          if (e.addresses.empty()) continue;
          const Target t{e.addresses[0], number, e.node_name.value_or("") == options.node_name};
          if (e.conditions.ready.value_or(true)) ready.push_back(t);
          else if (e.conditions.serving.value_or(false) && e.conditions.terminating.value_or(false)) serving.push_back(t);
        }
      }
      // While nothing is ready, what is on its way out but still serves is better than nothing.
      port.targets = ready.empty() ? std::move(serving) : std::move(ready);
      std::sort(port.targets.begin(), port.targets.end());
      port.targets.erase(std::unique(port.targets.begin(), port.targets.end()), port.targets.end());
      out.push_back(std::move(port));
    }
  }
  return out;
}

Status Proxy::Impl::sync() {
  Ruleset next = make_ruleset(collect(), options.cluster_cidr, bridge_filtering, current);
  if (next.text == last_text) return {};
  const auto begin = std::chrono::steady_clock::now();
  ENGENHO_RETURN_IF_ERROR(run_nft(next.text));
  log::debug("proxy", "rules written in {} ms",
             std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count());
  last_text = next.text;
  current = std::move(next);
  return {};
}

Status remove_rules() {
  auto listed = run_process({.argv = {"nft", "list", "table", "ip", "engenho"}}, kNftTimeout);
  if (!listed || listed->exit_code != 0) return {};
  return run_nft("delete table ip engenho\n");
}

}  // namespace engenho::proxy
