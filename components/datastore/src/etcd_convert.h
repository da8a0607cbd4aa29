// Between etcd's messages and the store's types.
#pragma once

#include <grpcpp/support/status.h>

#include "engenho/datastore/store.h"
#include "etcd.pb.h"

namespace engenho::datastore {

grpc::Status to_grpc(const Status& status);  // with etcd's code for etcd's text

// No range_end: one key. range_end "\0": everything from key on.
KeyRange to_range(const std::string& key, const std::string& range_end);
void to_pb(const KeyValue& kv, mvccpb::KeyValue* out);

Result<ListRequest> to_list(const etcdserverpb::RangeRequest& request);
// Applies what the store does not know: filters by revision and other orders than by key.
void to_pb(const etcdserverpb::RangeRequest& request, ListResult result, etcdserverpb::RangeResponse* out);

// Whether a list goes out as the store gives it; then encode() does what the above does, without a message object for each key: the bytes of
// the response after `head` bytes of room.
bool plain(const etcdserverpb::RangeRequest& request);
std::string encode(const etcdserverpb::ResponseHeader& header, const ListResult& result, size_t head);

Result<PutOp> to_put(const etcdserverpb::PutRequest& request);
Result<DeleteOp> to_delete(const etcdserverpb::DeleteRangeRequest& request);
void to_pb(const PutResult& result, etcdserverpb::PutResponse* out);
void to_pb(const DeleteResult& result, etcdserverpb::DeleteRangeResponse* out);

constexpr int kMaxTxnOps = 128;  // etcd's --max-txn-ops
Result<TxnRequest> to_txn(const etcdserverpb::TxnRequest& request);
// Everything but the header.
void to_pb(const etcdserverpb::TxnRequest& request, const TxnResult& result, etcdserverpb::TxnResponse* out);

}  // namespace engenho::datastore
