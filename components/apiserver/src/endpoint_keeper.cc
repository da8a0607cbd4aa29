#include "endpoint_keeper.h"

#include "bootstrap.h"
#include "engenho/base/log.h"
#include "engenho/datastore/errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr std::string_view kKeys = "/registry/masterleases/";
constexpr int64_t kLeaseSeconds = 15;
constexpr auto kInterval = std::chrono::seconds(10);

}  // namespace

EndpointKeeper::EndpointKeeper(Rest& rest, datastore::Store& store, std::string address, int port)
    : rest_(rest), store_(store), address_(std::move(address)), port_(port) {}

Status EndpointKeeper::start() {
  if (address_.empty()) return {};
  ENGENHO_RETURN_IF_ERROR(keep_key());
  ENGENHO_RETURN_IF_ERROR(write());
  tasks_.spawn("keep", [this](StopToken stop) {
    while (!stop.wait_for(kInterval)) {
      Status status = keep_key();
      if (status.ok()) status = write();
      if (!status.ok()) log::warn("apiserver", "the endpoints of the Service kubernetes are not kept: {}", status.message());
    }
  });
  return {};
}

void EndpointKeeper::stop() {
  tasks_.stop();
  if (lease_ == 0) return;
  // The key goes with its lease. What is left of the objects is the other servers' business; alone, the address is right again at the next start.
  (void)store_.lease_revoke(lease_);
  lease_ = 0;
}

Status EndpointKeeper::keep_key() {
  if (lease_ != 0) {
    auto kept = store_.lease_keep_alive(lease_);
    if (kept) return {};
    if (!datastore::is_lease_not_found(kept.error())) return kept.error();
  }
  auto lease = store_.lease_grant(kLeaseSeconds);
  if (!lease) return lease.error();
  lease_ = lease->id;
  datastore::TxnRequest put;
  put.then_ops.push_back(datastore::PutOp{.key = std::string(kKeys) + address_, .value = datastore::make_bytes(std::to_string(port_)), .lease = lease_});
  auto done = store_.txn(std::move(put));
  return done ? Status() : done.error();
}

Status EndpointKeeper::write() {
  datastore::ListRequest request;
  request.range = datastore::KeyRange::prefix(kKeys);
  auto keys = store_.list(request);
  if (!keys) return keys.error();
  // By port: a subset, and so an Endpoints object, has one set of ports for all of its addresses.
  std::map<std::string, json::Array> by_port;
  for (const datastore::KeyValue& kv : keys->kvs) by_port[*kv.value].push_back(kv.key.substr(kKeys.size()));

  json::Array subsets, endpoints;
  Value own_port;
  for (const auto& [port, addresses] : by_port) {
    Value target = json::Object();
    target["name"] = "https";
    target["port"] = std::atoi(port.c_str());
    target["protocol"] = "TCP";
    Value subset = json::Object();
    json::Array ips;
    for (const Value& address : addresses) {
      Value ip = json::Object();
      ip["ip"] = address;
      ips.push_back(std::move(ip));
      if (port != std::to_string(port_)) continue;  // an EndpointSlice has one set of ports, too
      Value endpoint = json::Object();
      endpoint["addresses"] = json::Array{address};
      endpoint["conditions"]["ready"] = true;
      endpoints.push_back(std::move(endpoint));
    }
    subset["addresses"] = std::move(ips);
    subset["ports"] = json::Array{target};
    subsets.push_back(std::move(subset));
    if (port == std::to_string(port_)) own_port = target;
  }

  Bootstrapper make(rest_);
  Value object = object_of("v1", "Endpoints", "kubernetes", "default");
  object["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = "true";
  object["subsets"] = std::move(subsets);
  ENGENHO_RETURN_IF_ERROR(make.keep(std::move(object), {"subsets"}));
  Value slice = object_of("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default");
  slice["metadata"]["labels"]["kubernetes.io/service-name"] = "kubernetes";
  slice["addressType"] = "IPv4";
  slice["endpoints"] = std::move(endpoints);
  slice["ports"] = json::Array{own_port};
  return make.keep(std::move(slice), {"endpoints", "ports"});
}

}  // namespace engenho::apiserver
