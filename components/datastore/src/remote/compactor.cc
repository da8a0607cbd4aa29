#include "compactor.h"

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {
constexpr char kKey[] = "compact_rev_key";
}

Compactor::Compactor(Endpoints& endpoints, Duration interval) : endpoints_(endpoints) {
  if (interval <= Duration::zero()) return;
  tasks_.spawn("compact", [this, interval](StopToken stop) {
    int64_t version = 0;
    Revision revision = 0;
    while (!stop.wait_for(interval)) {
      if (Status s = round(version, revision); !s.ok()) log::warn("datastore", "etcd is not compacted: {}", s.message());
    }
  });
}

Status Compactor::round(int64_t& version, Revision& revision) {
  pb::TxnRequest txn;
  pb::Compare& compare = *txn.add_compare();
  compare.set_target(pb::Compare::VERSION);
  compare.set_key(kKey);
  compare.set_version(version);
  pb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key(kKey);
  put.set_value(std::to_string(revision));
  txn.add_failure()->mutable_request_range()->set_key(kKey);
  // Made twice, the second attempt finds another version: then it is the next round's.
  ENGENHO_ASSIGN_OR_RETURN(pb::TxnResponse answer, (endpoints_.call<pb::TxnRequest, pb::TxnResponse>(
      txn, [](Member& m, grpc::ClientContext* c, const pb::TxnRequest& q, pb::TxnResponse* r) { return m.kv->Txn(c, q, r); })));
  const Revision then = revision;
  revision = answer.header().revision();
  if (!answer.succeeded()) {  // another process was first
    if (answer.responses_size() == 0 || answer.responses(0).response_range().kvs_size() == 0) {
      version = 0;
      return {};
    }
    const mvccpb::KeyValue& kv = answer.responses(0).response_range().kvs(0);
    version = kv.version();
    int64_t done = 0;
    if (parse_int(kv.value(), done)) compacted_ = done;
    return {};
  }
  ++version;
  if (then == 0) return {};  // the first look
  pb::CompactionRequest request;
  request.set_revision(then);
  auto compacted = endpoints_.call<pb::CompactionRequest, pb::CompactionResponse>(
      request, [](Member& m, grpc::ClientContext* c, const pb::CompactionRequest& q, pb::CompactionResponse* r) { return m.kv->Compact(c, q, r); });
  if (!compacted && !is_compacted(compacted.error())) return compacted.error();
  compacted_ = then;
  return {};
}

}  // namespace engenho::datastore
