// The parts of the etcd face. Each service is a grpc::Service on the callback API: no thread of ours waits for a call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/threads.h"
#include "engenho/datastore/etcd_server.h"
#include "engenho/datastore/store.h"
#include "etcd.grpc.pb.h"

namespace engenho::datastore {

struct EtcdContext {
  Store& store;
  EtcdServer::Options options;
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  std::atomic<size_t> watches{0};
  std::atomic<bool> busy{false};  // one long maintenance call at a time
  TaskGroup tasks{"etcd"};

  explicit EtcdContext(Store& of) : store(of) {}
  void header(etcdserverpb::ResponseHeader* out, Revision revision) const {
    out->set_cluster_id(cluster_id);
    out->set_member_id(member_id);
    out->set_revision(revision);
    out->set_raft_term(1);
  }
};

std::unique_ptr<grpc::Service> make_kv_service(EtcdContext& context);
std::unique_ptr<grpc::Service> make_watch_service(EtcdContext& context);
std::unique_ptr<grpc::Service> make_lease_service(EtcdContext& context);
std::unique_ptr<grpc::Service> make_maintenance_service(EtcdContext& context);
std::unique_ptr<grpc::Service> make_cluster_service(EtcdContext& context);
std::unique_ptr<grpc::Service> make_auth_service(EtcdContext& context);

}  // namespace engenho::datastore
