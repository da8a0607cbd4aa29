// A running etcd, or ours, and how to talk to it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "engenho/base/process.h"
#include "etcd.grpc.pb.h"

namespace engenho::datastore::differential {

namespace pb = etcdserverpb;

struct Peer {
  std::string name;
  std::vector<std::string> argv;  // how to start it; empty: it runs already
  std::string address;            // gRPC's name of it
  std::string log_file;
  std::optional<Process> process;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<pb::KV::Stub> kv;
  std::unique_ptr<pb::Watch::Stub> watch;
  std::unique_ptr<pb::Lease::Stub> lease;
  std::unique_ptr<pb::Maintenance::Stub> maintenance;
};

// Starts what is to be started and waits until it answers.
Status start_peer(Peer& peer);

// etcd (3.4 or 3.5) with its data below `dir`, listening at a free port of loopback.
Peer etcd_peer(const std::string& program, const std::string& dir, bool fsync);
// `engenho datastore` with its data below `dir`, on a Unix socket or a free port of loopback. It always syncs.
Peer engenho_peer(const std::string& program, const std::string& dir, bool tcp);

}  // namespace engenho::datastore::differential
