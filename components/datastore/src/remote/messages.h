// The store's types as etcd's messages and back, on the client's side. (etcd_convert.h has the server's.)
#pragma once

#include "engenho/datastore/store.h"
#include "etcd.pb.h"

namespace engenho::datastore {

// "" of an unbounded range is "\0" there, and the empty key cannot be said: the smallest one is "\0".
void set_range(const KeyRange& range, std::string* key, std::string* range_end);

etcdserverpb::RangeRequest to_request(const ListRequest& request);
etcdserverpb::PutRequest to_request(const PutOp& op);
etcdserverpb::DeleteRangeRequest to_request(const DeleteOp& op);
etcdserverpb::TxnRequest to_request(const TxnRequest& request);

KeyValue from_pb(mvccpb::KeyValue&& kv);
ListResult from_response(etcdserverpb::RangeResponse&& response);
// `request`: what was asked, which says which results are there.
TxnResult from_response(const TxnRequest& request, etcdserverpb::TxnResponse&& response);

}  // namespace engenho::datastore
