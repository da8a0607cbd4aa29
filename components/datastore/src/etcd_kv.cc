#include "engenho/datastore/errors.h"
#include "etcd_convert.h"
#include "etcd_services.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

using Reactor = rpc::UnaryReactor;
using Context = rpc::Context;

// Requests and responses live until Finish(), so the answers below may refer to them from the writer's thread.
class KvService final : public Service {
 public:
  explicit KvService(EtcdContext& context) : context_(context) {}

  Reactor* Range(Context* call, const pb::RangeRequest* request, pb::RangeResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    auto list = to_list(*request);
    if (!list) return finish(reactor, list.error());
    if (list->range.single()) return range(reactor, *list, request, response);
    const bool taken = context_.reads.submit([this, reactor, list = std::move(*list), request, response] { range(reactor, list, request, response); });
    return taken ? reactor : finish(reactor, too_many_requests_error());
  }

  Reactor* Put(Context* call, const pb::PutRequest* request, pb::PutResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    auto put = to_put(*request);
    if (!put) return finish(reactor, put.error());
    TxnRequest txn;
    txn.plain = true;
    txn.then_ops.emplace_back(std::move(*put));
    context_.store.txn_async(std::move(txn), [this, reactor, response](Result<TxnResult> result) {
      if (result) {
        context_.header(response->mutable_header(), result->revision);
        to_pb(std::get<PutResult>(result->results[0]), response);
      }
      finish(reactor, result ? Status() : result.error());
    });
    return reactor;
  }

  Reactor* DeleteRange(Context* call, const pb::DeleteRangeRequest* request,
                       pb::DeleteRangeResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    auto remove = to_delete(*request);
    if (!remove) return finish(reactor, remove.error());
    TxnRequest txn;
    txn.plain = true;
    txn.then_ops.emplace_back(std::move(*remove));
    context_.store.txn_async(std::move(txn), [this, reactor, response](Result<TxnResult> result) {
      if (result) {
        context_.header(response->mutable_header(), result->revision);
        to_pb(std::get<DeleteResult>(result->results[0]), response);
      }
      finish(reactor, result ? Status() : result.error());
    });
    return reactor;
  }

  Reactor* Txn(Context* call, const pb::TxnRequest* request, pb::TxnResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    auto txn = to_txn(*request);
    if (!txn) return finish(reactor, txn.error());
    context_.store.txn_async(std::move(*txn), [this, reactor, request, response](Result<TxnResult> result) {
      if (result) {
        context_.header(response->mutable_header(), result->revision);
        to_pb(*request, *result, response);
      }
      finish(reactor, result ? Status() : result.error());
    });
    return reactor;
  }

  Reactor* Compact(Context* call, const pb::CompactionRequest* request,
                   pb::CompactionResponse* response) {
    Reactor* reactor = call->DefaultReactor();
    context_.store.compact_async(request->revision(), request->physical(),
                                 [this, reactor, response](Result<Revision> result) {
                                   if (result) context_.header(response->mutable_header(), *result);
                                   finish(reactor, result ? Status() : result.error());
                                 });
    return reactor;
  }

 private:
  Reactor* range(Reactor* reactor, const ListRequest& list, const pb::RangeRequest* request, pb::RangeResponse* response) {
    auto result = context_.store.list(list);
    if (!result) return finish(reactor, result.error());
    context_.header(response->mutable_header(), result->revision);
    if (plain(*request)) {
      reactor->FinishEncoded(encode(response->header(), *result, rpc::kPrefixBytes));
      return reactor;
    }
    to_pb(*request, std::move(*result), response);
    return finish(reactor, Status());
  }
  static Reactor* finish(Reactor* reactor, const Status& status) {
    reactor->Finish(to_grpc(status));
    return reactor;
  }
  EtcdContext& context_;
};

}  // namespace

std::unique_ptr<Service> add_kv_service(rpc::Router& router, EtcdContext& context) {
  auto service = std::make_unique<KvService>(context);
  ENGENHO_UNARY(router, service, KV, Range, Range);
  ENGENHO_UNARY(router, service, KV, Put, Put);
  ENGENHO_UNARY(router, service, KV, DeleteRange, DeleteRange);
  ENGENHO_UNARY(router, service, KV, Txn, Txn);
  ENGENHO_UNARY(router, service, KV, Compact, Compaction);
  return service;
}

}  // namespace engenho::datastore
