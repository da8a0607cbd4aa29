// The parts of the etcd face. No thread waits for a call: what the store answers later is finished from its threads.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/threads.h"
#include "engenho/datastore/etcd_server.h"
#include "engenho/datastore/store.h"
#include "etcd.pb.h"
#include "rpc.h"

namespace engenho::datastore {

// The etcd release whose API this is. Clients decide by it what they may ask for (progress requests need 3.4.25 or 3.5.8).
inline constexpr const char* kApiVersion = "3.5.21";

inline constexpr const char* kScratchPrefix = ".snapshot-";  // of files in Options::scratch_dir

struct EtcdContext {
  Store& store;
  EtcdServer::Options options;
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  std::atomic<size_t> watches{0};
  std::atomic<bool> busy{false};  // one long maintenance call at a time
  TaskGroup tasks{"etcd"};
  ThreadPool reads{"etcd-read", 4, 1024};  // of many keys: they are not for an I/O thread

  explicit EtcdContext(Store& of) : store(of) {}
  void header(etcdserverpb::ResponseHeader* out, Revision revision) const {
    out->set_cluster_id(cluster_id);
    out->set_member_id(member_id);
    out->set_revision(revision);
    out->set_raft_term(1);
  }
};

// What a service keeps; must outlive the router's calls.
class Service {
 public:
  virtual ~Service() = default;
};

// A method of etcd's with the name of its messages.
#define ENGENHO_UNARY(router, service, group, method, message)                                                     \
  (router).unary<etcdserverpb::message##Request, etcdserverpb::message##Response>(                                 \
      "/etcdserverpb." #group "/" #method, [s = (service).get()](rpc::Context* call, const auto* request, auto* response) { \
        return s->method(call, request, response);                                                                 \
      })

std::unique_ptr<Service> add_kv_service(rpc::Router& router, EtcdContext& context);
std::unique_ptr<Service> add_watch_service(rpc::Router& router, EtcdContext& context);
std::unique_ptr<Service> add_lease_service(rpc::Router& router, EtcdContext& context);
std::unique_ptr<Service> add_maintenance_service(rpc::Router& router, EtcdContext& context);
std::unique_ptr<Service> add_cluster_service(rpc::Router& router, EtcdContext& context);
std::unique_ptr<Service> add_auth_service(rpc::Router& router, EtcdContext& context);

}  // namespace engenho::datastore
