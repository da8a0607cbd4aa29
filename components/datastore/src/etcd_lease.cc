#include <algorithm>

#include "engenho/datastore/errors.h"
#include "etcd_convert.h"
#include "etcd_services.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

using Reactor = rpc::UnaryReactor;
using Context = rpc::Context;

// etcd's with its default election timeout: a leader must be able to change before a lease ends.
constexpr int64_t kMinTtlSeconds = 2;

// One answer for each request, in order: read, renew, write, read again.
class KeepAliveStream final : public rpc::BidiReactor<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse> {
 public:
  explicit KeepAliveStream(EtcdContext& context) : context_(context) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);  // the client has no more
    auto ttl = context_.store.lease_keep_alive(request_.id());
    if (!ttl && !is_lease_not_found(ttl.error())) return Finish(to_grpc(ttl.error()));
    response_.Clear();
    context_.header(response_.mutable_header(), context_.store.revision());
    response_.set_id(request_.id());
    response_.set_ttl(ttl ? *ttl : 0);  // zero says that there is no such lease
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&request_);
    else Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  EtcdContext& context_;
  pb::LeaseKeepAliveRequest request_;
  pb::LeaseKeepAliveResponse response_;
};

class LeaseService final : public Service {
 public:
  explicit LeaseService(EtcdContext& context) : context_(context) {}

  Reactor* LeaseGrant(Context* call, const pb::LeaseGrantRequest* request,
                      pb::LeaseGrantResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    context_.store.lease_grant_async(
        std::max(kMinTtlSeconds, request->ttl()), request->id(), [this, reactor, response](Result<datastore::LeaseGrant> result) {
          if (result) {
            context_.header(response->mutable_header(), context_.store.revision());
            response->set_id(result->id);
            response->set_ttl(result->ttl_seconds);
          }
          reactor->Finish(result ? grpc::Status::OK : to_grpc(result.error()));
        });
    return reactor;
  }

  Reactor* LeaseRevoke(Context* call, const pb::LeaseRevokeRequest* request,
                       pb::LeaseRevokeResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    context_.store.lease_revoke_async(request->id(), [this, reactor, response](Result<Revision> result) {
      if (result) context_.header(response->mutable_header(), *result);
      reactor->Finish(result ? grpc::Status::OK : to_grpc(result.error()));
    });
    return reactor;
  }

  Reactor* LeaseTimeToLive(Context* call, const pb::LeaseTimeToLiveRequest* request,
                           pb::LeaseTimeToLiveResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    auto info = context_.store.lease_time_to_live(request->id(), request->keys());
    if (!info && !is_lease_not_found(info.error())) {
      reactor->Finish(to_grpc(info.error()));
      return reactor;
    }
    context_.header(response->mutable_header(), context_.store.revision());
    response->set_id(request->id());
    response->set_ttl(info ? info->remaining_seconds : -1);  // no such lease
    if (info) {
      response->set_grantedttl(info->granted_ttl_seconds);
      for (std::string& key : info->keys) response->add_keys(std::move(key));
    }
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  Reactor* LeaseLeases(Context* call, const pb::LeaseLeasesRequest*,
                       pb::LeaseLeasesResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    auto leases = context_.store.leases();
    if (leases) {
      context_.header(response->mutable_header(), context_.store.revision());
      for (const LeaseId id : *leases) response->add_leases()->set_id(id);
    }
    reactor->Finish(leases ? grpc::Status::OK : to_grpc(leases.error()));
    return reactor;
  }

 private:
  EtcdContext& context_;
};

}  // namespace

std::unique_ptr<Service> add_lease_service(rpc::Router& router, EtcdContext& context) {
  auto service = std::make_unique<LeaseService>(context);
  ENGENHO_UNARY(router, service, Lease, LeaseGrant, LeaseGrant);
  ENGENHO_UNARY(router, service, Lease, LeaseRevoke, LeaseRevoke);
  ENGENHO_UNARY(router, service, Lease, LeaseTimeToLive, LeaseTimeToLive);
  ENGENHO_UNARY(router, service, Lease, LeaseLeases, LeaseLeases);
  router.stream<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse>("/etcdserverpb.Lease/LeaseKeepAlive",
                                                                       [&context] { return new KeepAliveStream(context); });
  return service;
}

}  // namespace engenho::datastore
