#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "engenho/base/random.h"
#include "engenho/datastore/errors.h"
#include "engenho/datastore/snapshot.h"
#include "etcd_backend.h"
#include "etcd_convert.h"
#include "etcd_services.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

using Reactor = rpc::UnaryReactor;
using Context = rpc::Context;

Reactor* unimplemented(Context* call, const char* what) {
  Reactor* reactor = call->DefaultReactor();
  reactor->Finish({grpc::StatusCode::UNIMPLEMENTED, std::string("engenho's etcd API: ") + what});
  return reactor;
}
constexpr const char* kNoMembership = "this store has one member, and that does not change";
constexpr const char* kNoAuth = "there is no authentication; access is by the socket's permissions";

// As etcd's messages print themselves: that is what its Status shows.
std::string alarm_text(const Alarm& alarm) {
  return "memberID:" + std::to_string(alarm.member_id) + " alarm:" + (alarm.type == Alarm::Type::kCorrupt ? "CORRUPT " : "NOSPACE ");
}

// Builds the file on a thread of its own, and sends it a piece at a time, as the client takes them; the digest comes alone at the end.
class SnapshotStream final : public rpc::BidiReactor<pb::SnapshotRequest, pb::SnapshotResponse> {
 public:
  explicit SnapshotStream(EtcdContext& context) : context_(context) { StartRead(&request_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish({grpc::StatusCode::INVALID_ARGUMENT, "no request"});
    if (context_.busy.exchange(true)) {
      Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "etcdserver: too many requests"});
      return;
    }
    context_.tasks.spawn("snapshot", [this](StopToken) {
      const engenho::Status built = build();
      context_.busy = false;
      if (!built.ok()) Finish(to_grpc(built));
      else send();
    });
  }
  void OnWriteDone(bool ok) override {
    if (!ok) Finish(grpc::Status::CANCELLED);
    else send();
  }
  void OnDone() override { delete this; }

 private:
  static constexpr size_t kPiece = 64 << 10, kDigest = 32;

  ~SnapshotStream() override {
    if (fd_ >= 0) ::close(fd_);
  }
  engenho::Status build() {
    std::error_code error;
    const std::string dir = context_.options.scratch_dir.empty() ? std::filesystem::temp_directory_path(error).string() : context_.options.scratch_dir;
    const std::string path = dir + "/" + kScratchPrefix + random_name_suffix(8);
    ENGENHO_ASSIGN_OR_RETURN(const SnapshotInfo info, write_snapshot(context_.store, path));
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const int failed = errno;
    ::unlink(path.c_str());
    if (fd_ < 0) return errno_error(path, failed);
    left_ = static_cast<uint64_t>(info.bytes);
    context_.header(&header_, info.revision);
    return {};
  }
  void send() {
    if (left_ == 0) return Finish(grpc::Status::OK);
    response_.Clear();
    *response_.mutable_header() = header_;
    std::string* blob = response_.mutable_blob();
    blob->resize(left_ > kDigest ? std::min<uint64_t>(kPiece, left_ - kDigest) : left_);
    const ssize_t got = ::read(fd_, blob->data(), blob->size());
    if (got <= 0) return Finish({grpc::StatusCode::INTERNAL, "datastore: the snapshot that was built cannot be read"});
    blob->resize(static_cast<size_t>(got));
    left_ -= static_cast<uint64_t>(got);
    response_.set_remaining_bytes(left_ > kDigest ? left_ - kDigest : 0);
    StartWrite(&response_);
  }

  EtcdContext& context_;
  int fd_ = -1;
  uint64_t left_ = 0;
  pb::SnapshotRequest request_;
  pb::ResponseHeader header_;
  pb::SnapshotResponse response_;
};

class MaintenanceService final : public Service {
 public:
  explicit MaintenanceService(EtcdContext& context) : context_(context) {}

  Reactor* Alarm(Context* call, const pb::AlarmRequest* request, pb::AlarmResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    const auto type = static_cast<datastore::Alarm::Type>(request->alarm());
    const auto add = [response](const datastore::Alarm& alarm) {
      pb::AlarmMember* out = response->add_alarms();
      out->set_memberid(alarm.member_id);
      out->set_alarm(static_cast<pb::AlarmType>(alarm.type));
    };
    if (request->action() == pb::AlarmRequest::GET) {
      auto status = context_.store.status();
      if (status) {
        context_.header(response->mutable_header(), status->revision);
        for (const datastore::Alarm& alarm : active_alarms(*status))
          if (type == datastore::Alarm::Type::kNone || alarm.type == type) add(alarm);
      }
      reactor->Finish(status ? grpc::Status::OK : to_grpc(status.error()));
      return reactor;
    }
    context_.store.alarm_async({request->memberid(), type}, request->action() == pb::AlarmRequest::ACTIVATE,
                               [this, reactor, response, add](Result<std::optional<datastore::Alarm>> result) {
                                 if (result) {
                                   context_.header(response->mutable_header(), context_.store.revision());
                                   if (*result) add(**result);
                                 }
                                 reactor->Finish(result ? grpc::Status::OK : to_grpc(result.error()));
                               });
    return reactor;
  }

  Reactor* Status(Context* call, const pb::StatusRequest*, pb::StatusResponse* response) {
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
    for (const datastore::Alarm& alarm : active_alarms(*status)) response->add_errors(alarm_text(alarm));
    if (!status->alarm.empty()) response->add_errors(status->alarm);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  Reactor* Defragment(Context* call, const pb::DefragmentRequest*,
                      pb::DefragmentResponse* response) {
    return in_background(call, "defragment", [this, response]() -> engenho::Status {
      context_.header(response->mutable_header(), context_.store.revision());
      return context_.store.defragment();
    });
  }

  Reactor* Hash(Context* call, const pb::HashRequest*, pb::HashResponse* response) {
    return in_background(call, "hash", [this, response]() -> engenho::Status {
      return hash(0, [&](Revision now, uint32_t hash, Revision) {
        context_.header(response->mutable_header(), now);
        response->set_hash(hash);
      });
    });
  }

  Reactor* HashKV(Context* call, const pb::HashKVRequest* request, pb::HashKVResponse* response) {
    return in_background(call, "hash", [this, request, response]() -> engenho::Status {
      return hash(request->revision(), [&](Revision now, uint32_t hash, Revision compacted) {
        context_.header(response->mutable_header(), now);
        response->set_hash(hash);
        response->set_compact_revision(compacted > 0 ? compacted : -1);  // as etcd before its first compaction
      });
    });
  }

  Reactor* MoveLeader(Context* call, const pb::MoveLeaderRequest*, pb::MoveLeaderResponse*) {
    return unimplemented(call, kNoMembership);
  }
  Reactor* Downgrade(Context* call, const pb::DowngradeRequest*, pb::DowngradeResponse*) {
    return unimplemented(call, "there is no downgrade");
  }

 private:
  // With the store's own: a disk that takes no more writes is out of space for clients, whatever it is that it lacks.
  std::vector<datastore::Alarm> active_alarms(const StoreStatus& status) const {
    std::vector<datastore::Alarm> alarms = status.alarms;
    const datastore::Alarm own{context_.member_id, datastore::Alarm::Type::kNoSpace};
    if (!status.alarm.empty() && std::find(alarms.begin(), alarms.end(), own) == alarms.end()) alarms.push_back(own);
    return alarms;
  }

  template <typename Answer>
  engenho::Status hash(Revision asked, Answer&& answer) {
    for (;;) {
      const Revision now = context_.store.revision();
      Revision compacted = 0;
      auto hash = backend_hash(context_.store, asked > 0 ? asked : now, compacted);
      if (!hash && asked <= 0 && is_compacted(hash.error())) continue;  // overtaken: take the newest again
      if (!hash) return hash.error();
      answer(now, *hash, compacted);
      return {};
    }
  }

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

class ClusterService final : public Service {
 public:
  explicit ClusterService(EtcdContext& context) : context_(context) {}

  Reactor* MemberList(Context* call, const pb::MemberListRequest*, pb::MemberListResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    context_.header(response->mutable_header(), 0);  // etcd says no revision here
    pb::Member* member = response->add_members();
    member->set_id(context_.member_id);
    member->set_name(context_.options.member_name);
    for (const std::string& url : context_.options.listen) member->add_clienturls(url);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  Reactor* MemberAdd(Context* call, const pb::MemberAddRequest*, pb::MemberAddResponse*) {
    return unimplemented(call, kNoMembership);
  }
  Reactor* MemberRemove(Context* call, const pb::MemberRemoveRequest*, pb::MemberRemoveResponse*) {
    return unimplemented(call, kNoMembership);
  }
  Reactor* MemberUpdate(Context* call, const pb::MemberUpdateRequest*, pb::MemberUpdateResponse*) {
    return unimplemented(call, kNoMembership);
  }
  Reactor* MemberPromote(Context* call, const pb::MemberPromoteRequest*, pb::MemberPromoteResponse*) {
    return unimplemented(call, kNoMembership);
  }

 private:
  EtcdContext& context_;
};

class AuthService final : public Service {
 public:
  explicit AuthService(EtcdContext& context) : context_(context) {}
  Reactor* AuthStatus(Context* call, const pb::AuthStatusRequest*, pb::AuthStatusResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    context_.header(response->mutable_header(), context_.store.revision());
    response->set_enabled(false);
    response->set_authrevision(1);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
#define ENGENHO_NO_AUTH(method, message)                                                        \
  Reactor* method(Context* call, const pb::message##Request*, pb::message##Response*) { \
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

std::unique_ptr<Service> add_maintenance_service(rpc::Router& router, EtcdContext& context) {
  auto service = std::make_unique<MaintenanceService>(context);
  ENGENHO_UNARY(router, service, Maintenance, Alarm, Alarm);
  ENGENHO_UNARY(router, service, Maintenance, Status, Status);
  ENGENHO_UNARY(router, service, Maintenance, Defragment, Defragment);
  ENGENHO_UNARY(router, service, Maintenance, Hash, Hash);
  ENGENHO_UNARY(router, service, Maintenance, HashKV, HashKV);
  ENGENHO_UNARY(router, service, Maintenance, MoveLeader, MoveLeader);
  ENGENHO_UNARY(router, service, Maintenance, Downgrade, Downgrade);
  router.stream<pb::SnapshotRequest, pb::SnapshotResponse>("/etcdserverpb.Maintenance/Snapshot",
                                                           [&context] { return new SnapshotStream(context); });
  return service;
}
std::unique_ptr<Service> add_cluster_service(rpc::Router& router, EtcdContext& context) {
  auto service = std::make_unique<ClusterService>(context);
  ENGENHO_UNARY(router, service, Cluster, MemberList, MemberList);
  ENGENHO_UNARY(router, service, Cluster, MemberAdd, MemberAdd);
  ENGENHO_UNARY(router, service, Cluster, MemberRemove, MemberRemove);
  ENGENHO_UNARY(router, service, Cluster, MemberUpdate, MemberUpdate);
  ENGENHO_UNARY(router, service, Cluster, MemberPromote, MemberPromote);
  return service;
}
std::unique_ptr<Service> add_auth_service(rpc::Router& router, EtcdContext& context) {
  auto service = std::make_unique<AuthService>(context);
  ENGENHO_UNARY(router, service, Auth, AuthStatus, AuthStatus);
  ENGENHO_UNARY(router, service, Auth, AuthEnable, AuthEnable);
  ENGENHO_UNARY(router, service, Auth, AuthDisable, AuthDisable);
  ENGENHO_UNARY(router, service, Auth, Authenticate, Authenticate);
  ENGENHO_UNARY(router, service, Auth, UserAdd, AuthUserAdd);
  ENGENHO_UNARY(router, service, Auth, UserGet, AuthUserGet);
  ENGENHO_UNARY(router, service, Auth, UserList, AuthUserList);
  ENGENHO_UNARY(router, service, Auth, UserDelete, AuthUserDelete);
  ENGENHO_UNARY(router, service, Auth, UserChangePassword, AuthUserChangePassword);
  ENGENHO_UNARY(router, service, Auth, UserGrantRole, AuthUserGrantRole);
  ENGENHO_UNARY(router, service, Auth, UserRevokeRole, AuthUserRevokeRole);
  ENGENHO_UNARY(router, service, Auth, RoleAdd, AuthRoleAdd);
  ENGENHO_UNARY(router, service, Auth, RoleGet, AuthRoleGet);
  ENGENHO_UNARY(router, service, Auth, RoleList, AuthRoleList);
  ENGENHO_UNARY(router, service, Auth, RoleDelete, AuthRoleDelete);
  ENGENHO_UNARY(router, service, Auth, RoleGrantPermission, AuthRoleGrantPermission);
  ENGENHO_UNARY(router, service, Auth, RoleRevokePermission, AuthRoleRevokePermission);
  return service;
}

}  // namespace engenho::datastore
