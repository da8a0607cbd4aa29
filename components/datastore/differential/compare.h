// What counts as equal: everything but what names a cluster and a member, and what etcd leaves to chance.
#pragma once

#include <string>

#include "etcd.pb.h"

namespace engenho::datastore::differential {

namespace pb = etcdserverpb;

// Take out what may differ. Ties of a sort come in any order; with a limit any of them may be shown.
void normalise(pb::ResponseHeader* header);
void normalise(const pb::RangeRequest& request, pb::RangeResponse* response);
void normalise(const pb::TxnRequest& request, pb::TxnResponse* response);

// For people.
std::string show(const pb::RangeRequest& request);
std::string show(const pb::PutRequest& request);
std::string show(const pb::DeleteRangeRequest& request);
std::string show(const pb::TxnRequest& request);
std::string show(const pb::WatchCreateRequest& request);
std::string show(const mvccpb::KeyValue& kv);
std::string show(const mvccpb::Event& event);
std::string show(const pb::RangeResponse& response);
std::string show(const pb::TxnResponse& response);
std::string quoted(const std::string& bytes);

}  // namespace engenho::datastore::differential
