#include "messages.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

void fill(const Compare& compare, pb::Compare* out) {
  std::string end;
  set_range(compare.range, out->mutable_key(), &end);
  if (!compare.range.single()) out->set_range_end(end);
  switch (compare.op) {
    case Compare::Op::kEqual: out->set_result(pb::Compare::EQUAL); break;
    case Compare::Op::kGreater: out->set_result(pb::Compare::GREATER); break;
    case Compare::Op::kLess: out->set_result(pb::Compare::LESS); break;
    case Compare::Op::kNotEqual: out->set_result(pb::Compare::NOT_EQUAL); break;
  }
  switch (compare.target) {
    case Compare::Target::kVersion: out->set_target(pb::Compare::VERSION); out->set_version(compare.number); break;
    case Compare::Target::kCreate: out->set_target(pb::Compare::CREATE); out->set_create_revision(compare.number); break;
    case Compare::Target::kMod: out->set_target(pb::Compare::MOD); out->set_mod_revision(compare.number); break;
    case Compare::Target::kValue: out->set_target(pb::Compare::VALUE); out->set_value(compare.value); break;
    case Compare::Target::kLease: out->set_target(pb::Compare::LEASE); out->set_lease(compare.number); break;
  }
}

void fill(const TxnOp& op, pb::RequestOp* out) {
  if (const auto* list = std::get_if<ListRequest>(&op)) *out->mutable_request_range() = to_request(*list);
  else if (const auto* put = std::get_if<PutOp>(&op)) *out->mutable_request_put() = to_request(*put);
  else if (const auto* remove = std::get_if<DeleteOp>(&op)) *out->mutable_request_delete_range() = to_request(*remove);
  else *out->mutable_request_txn() = to_request(*std::get<std::shared_ptr<const TxnRequest>>(op));
}

std::optional<KeyValue> previous(bool there, mvccpb::KeyValue* kv) {
  if (!there) return std::nullopt;
  return from_pb(std::move(*kv));
}

TxnOpResult from_op(const TxnOp& op, pb::ResponseOp&& response) {
  if (std::holds_alternative<ListRequest>(op)) return from_response(std::move(*response.mutable_response_range()));
  if (std::holds_alternative<PutOp>(op)) {
    pb::PutResponse& put = *response.mutable_response_put();
    return PutResult{previous(put.has_prev_kv(), put.mutable_prev_kv())};
  }
  if (std::holds_alternative<DeleteOp>(op)) {
    pb::DeleteRangeResponse& removed = *response.mutable_response_delete_range();
    DeleteResult out;
    out.deleted = removed.deleted();
    out.revision = removed.header().revision();
    for (mvccpb::KeyValue& kv : *removed.mutable_prev_kvs()) out.previous.push_back(from_pb(std::move(kv)));
    return out;
  }
  const auto& nested = std::get<std::shared_ptr<const TxnRequest>>(op);
  return std::make_shared<const TxnResult>(from_response(*nested, std::move(*response.mutable_response_txn())));
}

}  // namespace

void set_range(const KeyRange& range, std::string* key, std::string* range_end) {
  *key = range.start.empty() ? std::string(1, '\0') : range.start;
  if (range.single()) return;
  *range_end = range.end.empty() ? std::string(1, '\0') : range.end;
}

pb::RangeRequest to_request(const ListRequest& request) {
  pb::RangeRequest out;
  set_range(request.range, out.mutable_key(), out.mutable_range_end());
  out.set_limit(request.limit);
  out.set_revision(request.revision);
  out.set_keys_only(request.keys_only);
  out.set_count_only(request.count_only);
  return out;
}

pb::PutRequest to_request(const PutOp& op) {
  pb::PutRequest out;
  out.set_key(op.key);
  if (op.value) out.set_value(*op.value);
  out.set_lease(op.lease);
  out.set_prev_kv(op.prev_kv);
  out.set_ignore_value(op.ignore_value);
  out.set_ignore_lease(op.ignore_lease);
  return out;
}

pb::DeleteRangeRequest to_request(const DeleteOp& op) {
  pb::DeleteRangeRequest out;
  set_range(op.range, out.mutable_key(), out.mutable_range_end());
  out.set_prev_kv(op.prev_kv);
  return out;
}

pb::TxnRequest to_request(const TxnRequest& request) {
  pb::TxnRequest out;
  for (const Compare& compare : request.compares) fill(compare, out.add_compare());
  for (const TxnOp& op : request.then_ops) fill(op, out.add_success());
  for (const TxnOp& op : request.else_ops) fill(op, out.add_failure());
  return out;
}

KeyValue from_pb(mvccpb::KeyValue&& kv) {
  KeyValue out;
  out.key = std::move(*kv.mutable_key());
  out.value = make_bytes(std::move(*kv.mutable_value()));
  out.create_revision = kv.create_revision();
  out.mod_revision = kv.mod_revision();
  out.version = kv.version();
  out.lease = kv.lease();
  return out;
}

ListResult from_response(pb::RangeResponse&& response) {
  ListResult out;
  out.more = response.more();
  out.count = response.count();
  out.revision = response.header().revision();
  out.kvs.reserve(static_cast<size_t>(response.kvs_size()));
  for (mvccpb::KeyValue& kv : *response.mutable_kvs()) out.kvs.push_back(from_pb(std::move(kv)));
  return out;
}

TxnResult from_response(const TxnRequest& request, pb::TxnResponse&& response) {
  TxnResult out;
  out.succeeded = response.succeeded();
  out.revision = response.header().revision();
  const std::vector<TxnOp>& ops = out.succeeded ? request.then_ops : request.else_ops;
  for (size_t i = 0; i < ops.size() && i < static_cast<size_t>(response.responses_size()); ++i) {
    out.results.push_back(from_op(ops[i], std::move(*response.mutable_responses(static_cast<int>(i)))));
  }
  return out;
}

}  // namespace engenho::datastore
