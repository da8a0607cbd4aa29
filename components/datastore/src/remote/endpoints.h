// The members of an etcd cluster, and which of them is asked at present.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engenho/datastore/remote_store.h"
#include "etcd.grpc.pb.h"

namespace engenho::datastore {

struct Member {
  explicit Member(std::shared_ptr<grpc::Channel> c)
      : channel(std::move(c)), kv(etcdserverpb::KV::NewStub(channel)), watch(etcdserverpb::Watch::NewStub(channel)), lease(etcdserverpb::Lease::NewStub(channel)),
        maintenance(etcdserverpb::Maintenance::NewStub(channel)) {}
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
};

// Between two rounds of all members.
inline constexpr std::chrono::milliseconds kRoundPause{100};

class Endpoints {
 public:
  static Result<std::unique_ptr<Endpoints>> create(const RemoteOptions& options);

  size_t count() const { return members_.size(); }
  size_t current() const { return current_.load(); }
  Member& member(size_t index) { return *members_[index]; }
  // Member `index` did not answer: the next one is asked from now on, unless somebody has moved on already.
  void failed(size_t index);

  // A call that may be made twice: every member is tried, and all of them again until the time for one call is over.
  template <class Request, class Response>
  Result<Response> call(const Request& request, grpc::Status (*method)(Member&, grpc::ClientContext*, const Request&, Response*)) {
    grpc::Status status;
    const Attempts attempts = begin();
    for (size_t attempt = 0; attempt < 2 * count() || attempts.more(); ++attempt) {
      const size_t index = current();
      if (attempt > 0 && attempt % count() == 0) wait_for(index);
      grpc::ClientContext context;
      prepare(context);
      Response response;
      status = method(member(index), &context, request, &response);
      if (status.ok()) return response;
      if (!gone(status)) break;
      failed(index);
    }
    return err(from_grpc(status));
  }

  // The time for one call, from now on.
  struct Attempts {
    MonoTime until;
    bool more() const { return std::chrono::steady_clock::now() < until; }
  };
  Attempts begin() const { return {std::chrono::steady_clock::now() + call_timeout_}; }
  // Until the member is connected, or a round of attempts may be worth it again.
  void wait_for(size_t index);

  // Deadline, and that the member must see a leader.
  void prepare(grpc::ClientContext& context) const;
  // The member is out of reach, or without a leader.
  static bool gone(const grpc::Status& status);
  // Nothing of the request has reached etcd's log, so that it may be sent again.
  static bool unsent(const grpc::Status& status);
  // The store's error for etcd's text.
  static Status from_grpc(const grpc::Status& status);

 private:
  Duration call_timeout_{};
  std::vector<std::unique_ptr<Member>> members_;
  std::atomic<size_t> current_{0};
};

}  // namespace engenho::datastore
