// A store on an etcd v3 cluster elsewhere, over gRPC. Reads and writes go to one member at a time and to the next when it does not answer; watches go
// on where they were. Several processes may share one etcd.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/datastore/store.h"

namespace engenho::datastore {

struct RemoteOptions {
  // "https://host:2379", "http://host:2379" or "unix:///path", of every member.
  std::vector<std::string> endpoints;
  std::string ca_pem;                    // of the members' certificates; empty: the system's authorities
  std::string certificate_pem, key_pem;  // of this client; both or neither
  Duration call_timeout = std::chrono::seconds(5);         // of one attempt
  Duration compaction_interval = std::chrono::minutes(5);  // as RocksdbOptions has it; the processes that share an etcd agree on who does it. 0: never
};

// Differences from a store in this process, all of them etcd's: a write whose answer is lost (the member died) fails with ServiceUnavailable though it
// may have been made; revision() asks the cluster, and is the highest number when nobody answers, so that whoever waits for it times out; alarms, quota,
// defragmentation and copies are etcdctl's business and refused here.
//
// Errors: BadRequest for endpoints that cannot be, ServiceUnavailable when no member answers within a few attempts.
Result<std::unique_ptr<Store>> open_remote_store(RemoteOptions options);

}  // namespace engenho::datastore
