#include "engenho/proxy/proxy.h"

#include <optional>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/discovery_v1.h"
#include "engenho/client/informer.h"
#include "engenho/client/work_queue.h"
#include "conntrack.h"
#include "nft.h"
#include "ruleset.h"
#include "services.h"

namespace engenho::proxy {

namespace core_v1 = k8s::core_v1;
namespace discovery_v1 = k8s::discovery_v1;

namespace {

constexpr char kSync[] = "sync";
constexpr char kTable[] = "engenho";
constexpr auto kLookAround = std::chrono::seconds(30);  // at what others do to the tables

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

  Status sync();

  Options options;
  client::Client client;
  client::Informers informers;
  client::WorkQueue queue;
  const Nft nft{kTable};
  // Used by the one worker only. What the kernel has; nothing while that is not known.
  std::optional<Table> written;
  uint32_t generation = 0;
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
    impl_->queue.add(kSync);
    client::run_workers(impl_->group, "proxy", impl_->queue, 1, [this](const std::string&) { return impl_->sync(); });
  });
}

void Proxy::stop() {
  impl_->group.stop();
  impl_->informers.stop();
}

Status Proxy::Impl::sync() {
  const auto cluster = parse_ipv4_range(options.cluster_cidr);
  if (!cluster) return bad_request("the cluster's range of addresses: \"" + options.cluster_cidr + "\" is no IPv4 range such as 10.42.0.0/16");
  const std::vector<ServicePort> services =
      collect_services(informers.get<core_v1::Service>().list(), informers.get<discovery_v1::EndpointSlice>().list(), options.node_name);
  Table next = make_table(services, *cluster, !bridge_filtering);
  queue.add_after(kSync, kLookAround);
  auto now = nft.generation();
  if (!now) return now.error();
  // Someone else's transaction may have been about our table: `nft flush ruleset`, say.
  const bool known = written && *now == generation;
  if (known && next == *written) return {};
  const auto begin = std::chrono::steady_clock::now();
  const Status status = known ? nft.change(*written, next) : nft.replace(next);
  if (!status.ok()) {
    written.reset();
    return status;
  }
  written = std::move(next);
  generation = *now + 1;  // when somebody's came in between, it is another, and the next look writes all of it anew
  log::debug("proxy", "rules {} in {} ms", known ? "changed" : "written",
             std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count());
  auto forgotten = forget_stale_udp(services);
  if (!forgotten) return forgotten.error();
  if (*forgotten != 0) log::debug("proxy", "{} UDP flows to targets that are gone are forgotten", *forgotten);
  return {};
}

Status remove_rules() { return Nft(kTable).remove(); }

}  // namespace engenho::proxy
