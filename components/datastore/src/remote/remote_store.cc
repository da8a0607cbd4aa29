#include "engenho/datastore/remote_store.h"

#include <grpcpp/alarm.h>

#include <climits>
#include <condition_variable>
#include <mutex>

#include "compactor.h"
#include "endpoints.h"
#include "engenho/datastore/errors.h"
#include "messages.h"
#include "watch.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

Status refused(const char* what) { return bad_request(std::string(what) + ": the datastore is an etcd cluster of its own; use etcdctl"); }

class RemoteStore final : public Store {
 public:
  RemoteStore(std::unique_ptr<Endpoints> endpoints, Duration compaction_interval)
      : endpoints_(std::move(endpoints)), compactor_(*endpoints_, compaction_interval) {}
  ~RemoteStore() override {
    compactor_.stop();
    // Calls under way still refer to the members.
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return calls_ == 0; });
  }

  Revision revision() const override {
    pb::RangeRequest request;
    request.set_key(std::string(1, '\0'));
    request.set_count_only(true);
    auto response = range(request);
    return response ? response->header().revision() : INT64_MAX;
  }
  Revision compacted_revision() const override { return compactor_.compacted(); }

  Result<GetResult> get(std::string_view key, Revision at) override {
    ListRequest request;
    request.range = KeyRange::key(key);
    request.revision = at;
    ENGENHO_ASSIGN(ListResult list, this->list(request));
    GetResult out;
    out.revision = list.revision;
    if (!list.kvs.empty()) out.kv = std::move(list.kvs.front());
    return out;
  }
  Result<ListResult> list(const ListRequest& request) override {
    auto response = range(to_request(request));
    if (!response) return err(response.error());
    return from_response(std::move(*response));
  }

  void create_async(std::string key, Bytes value, LeaseId lease, Done<WriteResult> done) override {
    update_async(std::move(key), std::move(value), 0, lease, std::move(done));
  }
  void update_async(std::string key, Bytes value, Revision expected, LeaseId lease, Done<WriteResult> done) override {
    TxnRequest request = expecting(key, expected);
    request.then_ops.push_back(PutOp{.key = key, .value = std::move(value), .lease = lease, .prev_kv = expected != 0});
    write(std::move(request), std::move(done));
  }
  void remove_async(std::string key, Revision expected, Done<WriteResult> done) override {
    TxnRequest request = expecting(key, expected);
    request.then_ops.push_back(DeleteOp{.range = KeyRange::key(key), .prev_kv = true});
    write(std::move(request), std::move(done));
  }
  void txn_async(TxnRequest request, Done<TxnResult> done) override { (new TxnCall(*this, std::move(request), std::move(done)))->start(); }

  void compact_async(Revision revision, bool physical, Done<Revision> done) override {
    pb::CompactionRequest request;
    request.set_revision(revision);
    request.set_physical(physical);
    auto response = endpoints_->call<pb::CompactionRequest, pb::CompactionResponse>(
        request, [](Member& m, grpc::ClientContext* c, const pb::CompactionRequest& q, pb::CompactionResponse* r) { return m.kv->Compact(c, q, r); });
    if (!response) return done(err(response.error()));
    done(revision);
  }

  void lease_grant_async(int64_t ttl_seconds, LeaseId id, Done<LeaseGrant> done) override {
    pb::LeaseGrantRequest request;
    request.set_ttl(ttl_seconds);
    request.set_id(id);
    auto response = endpoints_->call<pb::LeaseGrantRequest, pb::LeaseGrantResponse>(
        request, [](Member& m, grpc::ClientContext* c, const pb::LeaseGrantRequest& q, pb::LeaseGrantResponse* r) { return m.lease->LeaseGrant(c, q, r); });
    if (!response) return done(err(response.error()));
    done(LeaseGrant{response->id(), response->ttl()});
  }
  void lease_revoke_async(LeaseId id, Done<Revision> done) override {
    pb::LeaseRevokeRequest request;
    request.set_id(id);
    auto response = endpoints_->call<pb::LeaseRevokeRequest, pb::LeaseRevokeResponse>(
        request, [](Member& m, grpc::ClientContext* c, const pb::LeaseRevokeRequest& q, pb::LeaseRevokeResponse* r) { return m.lease->LeaseRevoke(c, q, r); });
    if (!response) return done(err(response.error()));
    done(response->header().revision());
  }
  Result<int64_t> lease_keep_alive(LeaseId id) override {
    pb::LeaseKeepAliveRequest request;
    request.set_id(id);
    auto response = endpoints_->call<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse>(
        request, [](Member& m, grpc::ClientContext* c, const pb::LeaseKeepAliveRequest& q, pb::LeaseKeepAliveResponse* r) {
          auto stream = m.lease->LeaseKeepAlive(c);
          const bool answered = stream->Write(q) && stream->Read(r);
          if (answered) c->TryCancel();  // one answer is all that is wanted
          const grpc::Status status = stream->Finish();
          return answered ? grpc::Status::OK : status;
        });
    if (!response) return err(response.error());
    if (response->ttl() <= 0) return err(lease_not_found_error());
    return response->ttl();
  }
  Result<LeaseInfo> lease_time_to_live(LeaseId id, bool keys) override {
    pb::LeaseTimeToLiveRequest request;
    request.set_id(id);
    request.set_keys(keys);
    auto response = endpoints_->call<pb::LeaseTimeToLiveRequest, pb::LeaseTimeToLiveResponse>(
        request, [](Member& m, grpc::ClientContext* c, const pb::LeaseTimeToLiveRequest& q, pb::LeaseTimeToLiveResponse* r) { return m.lease->LeaseTimeToLive(c, q, r); });
    if (!response) return err(response.error());
    if (response->ttl() < 0) return err(lease_not_found_error());
    return LeaseInfo{response->id(), response->grantedttl(), response->ttl(), {response->keys().begin(), response->keys().end()}};
  }
  Result<std::vector<LeaseId>> leases() override {
    auto response = endpoints_->call<pb::LeaseLeasesRequest, pb::LeaseLeasesResponse>(
        {}, [](Member& m, grpc::ClientContext* c, const pb::LeaseLeasesRequest& q, pb::LeaseLeasesResponse* r) { return m.lease->LeaseLeases(c, q, r); });
    if (!response) return err(response.error());
    std::vector<LeaseId> out;
    for (const auto& lease : response->leases()) out.push_back(lease.id());
    return out;
  }

  Result<std::unique_ptr<Watch>> watch(WatchRequest request, WatchSink* sink) override { return start_remote_watch(*endpoints_, std::move(request), sink); }

  Result<StoreStatus> status() override {
    auto response = endpoints_->call<pb::StatusRequest, pb::StatusResponse>(
        {}, [](Member& m, grpc::ClientContext* c, const pb::StatusRequest& q, pb::StatusResponse* r) { return m.maintenance->Status(c, q, r); });
    if (!response) return err(response.error());
    StoreStatus out;
    out.revision = response->header().revision();
    out.compacted_revision = compactor_.compacted();
    out.db_size_bytes = response->dbsize();
    out.db_size_in_use_bytes = response->dbsizeinuse();
    out.cluster_id = response->header().cluster_id();
    out.member_id = response->header().member_id();
    for (const std::string& error : response->errors()) out.alarm += (out.alarm.empty() ? "" : ", ") + error;
    return out;
  }
  void alarm_async(Alarm, bool, Done<std::optional<Alarm>> done) override { done(err(refused("alarm"))); }
  Result<Revision> versions(const VersionsRequest&, const VersionVisitor&) override { return err(refused("copy of the datastore")); }
  Status defragment() override { return refused("defragment"); }

 private:
  // A transaction under way; deletes itself after the answer.
  class TxnCall {
   public:
    TxnCall(RemoteStore& store, TxnRequest request, Done<TxnResult> done)
        : store_(store), request_(std::move(request)), message_(to_request(request_)), done_(std::move(done)), time_(store.endpoints_->begin()) {
      std::lock_guard lock(store_.mutex_);
      ++store_.calls_;
    }
    ~TxnCall() {
      std::lock_guard lock(store_.mutex_);
      if (--store_.calls_ == 0) store_.idle_.notify_all();
    }
    void start() {
      member_ = store_.endpoints_->current();
      context_ = std::make_unique<grpc::ClientContext>();
      store_.endpoints_->prepare(*context_);
      store_.endpoints_->member(member_).kv->async()->Txn(context_.get(), &message_, &response_, [this](grpc::Status status) { finished(status); });
    }

   private:
    void finished(const grpc::Status& status) {
      if (Endpoints::gone(status)) store_.endpoints_->failed(member_);
      // What may have been written is not sent again: the caller must look first.
      if (Endpoints::unsent(status) && time_.more()) {
        if (++attempts_ % store_.endpoints_->count() != 0) return start();
        return pause_.Set(std::chrono::system_clock::now() + kRoundPause, [this](bool) { start(); });
      }
      if (status.ok()) done_(from_response(request_, std::move(response_)));
      else done_(err(Endpoints::from_grpc(status)));
      delete this;
    }

    RemoteStore& store_;
    const TxnRequest request_;
    const pb::TxnRequest message_;
    Done<TxnResult> done_;
    std::unique_ptr<grpc::ClientContext> context_;
    pb::TxnResponse response_;
    size_t member_ = 0, attempts_ = 0;
    const Endpoints::Attempts time_;
    grpc::Alarm pause_;
  };

  Result<pb::RangeResponse> range(const pb::RangeRequest& request) const {
    return endpoints_->call<pb::RangeRequest, pb::RangeResponse>(
        request, [](Member& m, grpc::ClientContext* c, const pb::RangeRequest& q, pb::RangeResponse* r) { return m.kv->Range(c, q, r); });
  }

  static TxnRequest expecting(const std::string& key, Revision expected) {
    TxnRequest request;
    Compare compare;
    compare.range = KeyRange::key(key);
    if (expected == kAnyRevision) {
      compare.target = Compare::Target::kVersion;
      compare.op = Compare::Op::kGreater;
    } else {
      compare.number = expected;
    }
    request.compares.push_back(std::move(compare));
    ListRequest present;
    present.range = KeyRange::key(key);
    request.else_ops.push_back(std::move(present));
    return request;
  }

  void write(TxnRequest request, Done<WriteResult> done) {
    txn_async(std::move(request), [done = std::move(done)](Result<TxnResult> result) mutable {
      if (!result) return done(err(result.error()));
      WriteResult out;
      out.succeeded = result->succeeded;
      out.revision = result->revision;
      if (!result->results.empty()) {
        TxnOpResult& first = result->results.front();
        if (auto* list = std::get_if<ListResult>(&first); list != nullptr && !list->kvs.empty()) out.current = std::move(list->kvs.front());
        if (auto* put = std::get_if<PutResult>(&first)) out.previous = std::move(put->previous);
        if (auto* removed = std::get_if<DeleteResult>(&first); removed != nullptr && !removed->previous.empty()) out.previous = std::move(removed->previous.front());
      }
      done(std::move(out));
    });
  }

  std::unique_ptr<Endpoints> endpoints_;
  Compactor compactor_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int calls_ = 0;
};

}  // namespace

Result<std::unique_ptr<Store>> open_remote_store(RemoteOptions options) {
  ENGENHO_ASSIGN(std::unique_ptr<Endpoints> endpoints, Endpoints::create(options));
  auto store = std::make_unique<RemoteStore>(std::move(endpoints), options.compaction_interval);
  if (auto status = store->status(); !status) return err(status.error().with_context("the external datastore"));
  return store;
}

}  // namespace engenho::datastore
