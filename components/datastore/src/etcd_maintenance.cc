#include "etcd.grpc.pb.h"
#include "etcd_convert.h"
#include "etcd_services.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

using Reactor = grpc::ServerUnaryReactor;
using Context = grpc::CallbackServerContext;

// The etcd release whose API this is. Clients decide by it what they may ask for (progress requests need 3.4.25 or 3.5.8).
constexpr const char* kApiVersion = "3.5.21";

Reactor* unimplemented(Context* call, const char* what) {
  Reactor* reactor = call->DefaultReactor();
  reactor->Finish({grpc::StatusCode::UNIMPLEMENTED, std::string("engenho's etcd API: ") + what});
  return reactor;
}
constexpr const char* kNoMembership = "this store has one member, and that does not change";
constexpr const char* kNoAuth = "there is no authentication; access is by the socket's permissions";

// A checksum of the keys and values at `revision`. (Not etcd's: that one is over etcd's own file format.)
Result<uint32_t> hash_at(Store& store, Revision revision) {
  uint64_t hash = 14695981039346656037ull;  // FNV-1a
  const auto add = [&](std::string_view bytes) {
    for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ull;
    hash = (hash ^ bytes.size()) * 1099511628211ull;
  };
  ListRequest request;
  request.limit = 500;
  request.revision = revision;
  for (;;) {
    ENGENHO_ASSIGN(const ListResult page, store.list(request));
    for (const KeyValue& kv : page.kvs) {
      add(kv.key);
      add(*kv.value);
      for (const int64_t number : {kv.create_revision, kv.mod_revision, kv.version, kv.lease})
        hash = (hash ^ static_cast<uint64_t>(number)) * 1099511628211ull;
    }
    if (!page.more) return static_cast<uint32_t>(hash ^ hash >> 32);
    request.range.start = page.kvs.back().key + '\0';
  }
}

class MaintenanceService final : public pb::Maintenance::CallbackService {
 public:
  explicit MaintenanceService(EtcdContext& context) : context_(context) {}

  Reactor* Alarm(Context* call, const pb::AlarmRequest* request, pb::AlarmResponse* response) override {
    if (request->action() == pb::AlarmRequest::ACTIVATE)
      return unimplemented(call, "alarms are raised by the store alone");
    Reactor* reactor = call->DefaultReactor();
    auto status = context_.store.status();
    if (status) {
      context_.header(response->mutable_header(), status->revision);
      // It goes by itself once the disk takes writes again, so there is nothing to disarm.
      if (request->action() == pb::AlarmRequest::GET && !status->alarm.empty()) {
        pb::AlarmMember* alarm = response->add_alarms();
        alarm->set_memberid(context_.member_id);
        alarm->set_alarm(pb::NOSPACE);
      }
    }
    reactor->Finish(status ? grpc::Status::OK : to_grpc(status.error()));
    return reactor;
  }

  Reactor* Status(Context* call, const pb::StatusRequest*, pb::StatusResponse* response) override {
    Reactor* reactor = call->DefaultReactor();
    auto status = context_.store.status();
    if (!status) {
      reactor->Finish(to_grpc(status.error()));
      return reactor;
    }
    context_.header(response->mutable_header(), status->revision);
    response->set_version(kApiVersion);
    response->set_dbsize(status->db_size_bytes);
    response->set_dbsizeinuse(status->db_size_in_use_bytes);
    response->set_leader(context_.member_id);
    response->set_raftterm(1);
    response->set_raftindex(static_cast<uint64_t>(status->revision));
    response->set_raftappliedindex(static_cast<uint64_t>(status->revision));
    if (!status->alarm.empty()) response->add_errors(status->alarm);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  Reactor* Defragment(Context* call, const pb::DefragmentRequest*,
                      pb::DefragmentResponse* response) override {
    return in_background(call, "defragment", [this, response]() -> engenho::Status {
      context_.header(response->mutable_header(), context_.store.revision());
      return context_.store.defragment();
    });
  }

  Reactor* Hash(Context* call, const pb::HashRequest*, pb::HashResponse* response) override {
    return in_background(call, "hash", [this, response]() -> engenho::Status {
      const Revision revision = context_.store.revision();
      ENGENHO_ASSIGN_OR_RETURN(const uint32_t hash, hash_at(context_.store, revision));
      context_.header(response->mutable_header(), revision);
      response->set_hash(hash);
      return {};
    });
  }

  Reactor* HashKV(Context* call, const pb::HashKVRequest* request, pb::HashKVResponse* response) override {
    return in_background(call, "hash", [this, request, response]() -> engenho::Status {
      const Revision now = context_.store.revision();
      const Revision revision = request->revision() > 0 ? request->revision() : now;
      ENGENHO_ASSIGN_OR_RETURN(const uint32_t hash, hash_at(context_.store, revision));
      context_.header(response->mutable_header(), now);
      response->set_hash(hash);
      response->set_compact_revision(context_.store.compacted_revision());
      return {};
    });
  }

  grpc::ServerWriteReactor<pb::SnapshotResponse>* Snapshot(Context*, const pb::SnapshotRequest*) override {
    class Refusal final : public grpc::ServerWriteReactor<pb::SnapshotResponse> {
     public:
      Refusal() {
        Finish({grpc::StatusCode::UNIMPLEMENTED,
                "engenho's etcd API: snapshots in etcd's file format are not supported"});
      }
      void OnDone() override { delete this; }
    };
    return new Refusal;
  }

  Reactor* MoveLeader(Context* call, const pb::MoveLeaderRequest*, pb::MoveLeaderResponse*) override {
    return unimplemented(call, kNoMembership);
  }
  Reactor* Downgrade(Context* call, const pb::DowngradeRequest*, pb::DowngradeResponse*) override {
    return unimplemented(call, "there is no downgrade");
  }

 private:
  // For calls that take long: on a thread of their own, one at a time.
  Reactor* in_background(Context* call, const char* what, std::function<engenho::Status()> work) {
    Reactor* reactor = call->DefaultReactor();
    if (context_.busy.exchange(true)) {
      reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "etcdserver: too many requests"});
      return reactor;
    }
    context_.tasks.spawn(what, [this, reactor, work = std::move(work)](StopToken) {
      const engenho::Status status = work();
      context_.busy = false;
      reactor->Finish(to_grpc(status));
    });
    return reactor;
  }
  EtcdContext& context_;
};

class ClusterService final : public pb::Cluster::CallbackService {
 public:
  explicit ClusterService(EtcdContext& context) : context_(context) {}

  Reactor* MemberList(Context* call, const pb::MemberListRequest*, pb::MemberListResponse* response) override {
    Reactor* reactor = call->DefaultReactor();
    context_.header(response->mutable_header(), context_.store.revision());
    pb::Member* member = response->add_members();
    member->set_id(context_.member_id);
    member->set_name(context_.options.member_name);
    for (const std::string& url : context_.options.listen) member->add_clienturls(url);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  Reactor* MemberAdd(Context* call, const pb::MemberAddRequest*, pb::MemberAddResponse*) override {
    return unimplemented(call, kNoMembership);
  }
  Reactor* MemberRemove(Context* call, const pb::MemberRemoveRequest*, pb::MemberRemoveResponse*) override {
    return unimplemented(call, kNoMembership);
  }
  Reactor* MemberUpdate(Context* call, const pb::MemberUpdateRequest*, pb::MemberUpdateResponse*) override {
    return unimplemented(call, kNoMembership);
  }
  Reactor* MemberPromote(Context* call, const pb::MemberPromoteRequest*, pb::MemberPromoteResponse*) override {
    return unimplemented(call, kNoMembership);
  }

 private:
  EtcdContext& context_;
};

class AuthService final : public pb::Auth::CallbackService {
 public:
  explicit AuthService(EtcdContext& context) : context_(context) {}
  Reactor* AuthStatus(Context* call, const pb::AuthStatusRequest*, pb::AuthStatusResponse* response) override {
    Reactor* reactor = call->DefaultReactor();
    context_.header(response->mutable_header(), context_.store.revision());
    response->set_enabled(false);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
#define ENGENHO_NO_AUTH(method, message)                                                        \
  Reactor* method(Context* call, const pb::message##Request*, pb::message##Response*) override { \
    return unimplemented(call, kNoAuth);                                                        \
  }
  ENGENHO_NO_AUTH(AuthEnable, AuthEnable)
  ENGENHO_NO_AUTH(AuthDisable, AuthDisable)
  ENGENHO_NO_AUTH(Authenticate, Authenticate)
  ENGENHO_NO_AUTH(UserAdd, AuthUserAdd)
  ENGENHO_NO_AUTH(UserGet, AuthUserGet)
  ENGENHO_NO_AUTH(UserList, AuthUserList)
  ENGENHO_NO_AUTH(UserDelete, AuthUserDelete)
  ENGENHO_NO_AUTH(UserChangePassword, AuthUserChangePassword)
  ENGENHO_NO_AUTH(UserGrantRole, AuthUserGrantRole)
  ENGENHO_NO_AUTH(UserRevokeRole, AuthUserRevokeRole)
  ENGENHO_NO_AUTH(RoleAdd, AuthRoleAdd)
  ENGENHO_NO_AUTH(RoleGet, AuthRoleGet)
  ENGENHO_NO_AUTH(RoleList, AuthRoleList)
  ENGENHO_NO_AUTH(RoleDelete, AuthRoleDelete)
  ENGENHO_NO_AUTH(RoleGrantPermission, AuthRoleGrantPermission)
  ENGENHO_NO_AUTH(RoleRevokePermission, AuthRoleRevokePermission)
#undef ENGENHO_NO_AUTH

 private:
  EtcdContext& context_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_maintenance_service(EtcdContext& context) {
  return std::make_unique<MaintenanceService>(context);
}
std::unique_ptr<grpc::Service> make_cluster_service(EtcdContext& context) {
  return std::make_unique<ClusterService>(context);
}
std::unique_ptr<grpc::Service> make_auth_service(EtcdContext& context) {
  return std::make_unique<AuthService>(context);
}

}  // namespace engenho::datastore
