#include "etcd_convert.h"

#include <algorithm>
#include <array>

#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

grpc::Status to_grpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  struct Code {
    std::string_view text;
    grpc::StatusCode code;
  };
  static constexpr std::array kCodes{
      Code{"etcdserver: mvcc: required revision has been compacted", grpc::StatusCode::OUT_OF_RANGE},
      Code{"etcdserver: mvcc: required revision is a future revision", grpc::StatusCode::OUT_OF_RANGE},
      Code{"etcdserver: mvcc: database space exceeded", grpc::StatusCode::RESOURCE_EXHAUSTED},
      Code{"etcdserver: too many requests", grpc::StatusCode::RESOURCE_EXHAUSTED},
      Code{"etcdserver: requested lease not found", grpc::StatusCode::NOT_FOUND},
      Code{"etcdserver: lease already exists", grpc::StatusCode::FAILED_PRECONDITION},
      Code{"etcdserver: too large lease TTL", grpc::StatusCode::OUT_OF_RANGE},
      Code{"etcdserver: corrupt cluster", grpc::StatusCode::DATA_LOSS},
      Code{"etcdserver: server stopped", grpc::StatusCode::UNAVAILABLE},
      Code{"etcdserver: key not found", grpc::StatusCode::INVALID_ARGUMENT},
      Code{"etcdserver: request is too large", grpc::StatusCode::INVALID_ARGUMENT},
  };
  for (const Code& code : kCodes)
    if (status.message() == code.text) return {code.code, status.message()};
  switch (status.code()) {
    case 400: return {grpc::StatusCode::INVALID_ARGUMENT, status.message()};
    case 503: return {grpc::StatusCode::UNAVAILABLE, status.message()};
    default: return {grpc::StatusCode::INTERNAL, status.message()};
  }
}

KeyRange to_range(const std::string& key, const std::string& range_end) {
  if (range_end.empty()) return KeyRange::key(key);
  if (range_end.size() == 1 && range_end[0] == '\0') return {key, ""};
  return {key, range_end};
}

void to_pb(const KeyValue& kv, mvccpb::KeyValue* out) {
  out->set_key(kv.key);
  out->set_value(*kv.value);
  out->set_create_revision(kv.create_revision);
  out->set_mod_revision(kv.mod_revision);
  out->set_version(kv.version);
  out->set_lease(kv.lease);
}

namespace {

bool filters(const pb::RangeRequest& request) {
  return request.min_mod_revision() != 0 || request.max_mod_revision() != 0 || request.min_create_revision() != 0 ||
         request.max_create_revision() != 0;
}

// By key ascending is how the store lists. Without an order, another target than the key sorts ascending, as in etcd.
bool sorts(const pb::RangeRequest& request) {
  return request.sort_target() != pb::RangeRequest::KEY || request.sort_order() == pb::RangeRequest::DESCEND;
}

void filter(const pb::RangeRequest& request, std::vector<KeyValue>& kvs) {
  const auto outside = [](Revision revision, int64_t min, int64_t max) {
    return (min != 0 && revision < min) || (max != 0 && revision > max);
  };
  std::erase_if(kvs, [&](const KeyValue& kv) {
    return outside(kv.mod_revision, request.min_mod_revision(), request.max_mod_revision()) ||
           outside(kv.create_revision, request.min_create_revision(), request.max_create_revision());
  });
}

void sort(const pb::RangeRequest& request, std::vector<KeyValue>& kvs) {
  const auto less = [&](const KeyValue& a, const KeyValue& b) {
    switch (request.sort_target()) {
      case pb::RangeRequest::VERSION: return a.version < b.version;
      case pb::RangeRequest::CREATE: return a.create_revision < b.create_revision;
      case pb::RangeRequest::MOD: return a.mod_revision < b.mod_revision;
      case pb::RangeRequest::VALUE: return *a.value < *b.value;
      default: return a.key < b.key;
    }
  };
  if (request.sort_order() == pb::RangeRequest::DESCEND)
    std::stable_sort(kvs.begin(), kvs.end(), [&](const auto& a, const auto& b) { return less(b, a); });
  else
    std::stable_sort(kvs.begin(), kvs.end(), less);
}

// Before the limit applies. (Another target than the key without an order sorts what the limit has left, and one more: so does etcd.)
bool needs_all(const pb::RangeRequest& request) {
  return filters(request) || (request.sort_order() != pb::RangeRequest::NONE && sorts(request));
}

}  // namespace

Result<ListRequest> to_list(const pb::RangeRequest& request) {
  if (request.key().empty()) return err(empty_key_error());
  if (!pb::RangeRequest::SortOrder_IsValid(request.sort_order()) ||
      !pb::RangeRequest::SortTarget_IsValid(request.sort_target()))
    return err(bad_request("etcdserver: invalid sort option"));
  ListRequest list;
  list.range = to_range(request.key(), request.range_end());
  list.revision = request.revision();
  list.count_only = request.count_only();
  list.want_count = true;
  if (needs_all(request)) {
    // The limit comes after filter and order; and a value that is not shown may still be what to sort by.
    list.keys_only = request.keys_only() && request.sort_target() != pb::RangeRequest::VALUE;
  } else {
    list.limit = sorts(request) && request.limit() > 0 && request.limit() < INT64_MAX ? request.limit() + 1 : request.limit();
    list.keys_only = request.keys_only() && request.sort_target() != pb::RangeRequest::VALUE;
  }
  return list;
}

void to_pb(const pb::RangeRequest& request, ListResult result, pb::RangeResponse* out) {
  if (needs_all(request) || sorts(request)) {
    if (filters(request)) filter(request, result.kvs);
    if (sorts(request)) sort(request, result.kvs);
    if (request.limit() > 0 && static_cast<int64_t>(result.kvs.size()) > request.limit()) {
      result.kvs.resize(static_cast<size_t>(request.limit()));
      result.more = true;
    }
  }
  out->set_more(result.more);
  out->set_count(result.count);
  out->mutable_kvs()->Reserve(static_cast<int>(result.kvs.size()));
  for (KeyValue& kv : result.kvs) {
    to_pb(kv, out->add_kvs());
    if (request.keys_only()) out->mutable_kvs(out->kvs_size() - 1)->clear_value();
    kv.value.reset();  // hold each value once only
  }
}

bool plain(const pb::RangeRequest& request) { return !filters(request) && !sorts(request); }

namespace {

size_t varint_size(uint64_t value) {
  size_t size = 1;
  for (; value >= 128; value >>= 7) ++size;
  return size;
}
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out.push_back(static_cast<char>(value | 128));
  out.push_back(static_cast<char>(value));
}
// Fields of the wire format; what is zero or empty is left out, as proto3 does.
size_t bytes_size(std::string_view bytes) { return bytes.empty() ? 0 : 1 + varint_size(bytes.size()) + bytes.size(); }
void put_bytes(std::string& out, int field, std::string_view bytes) {
  if (bytes.empty()) return;
  out.push_back(static_cast<char>(field << 3 | 2));
  put_varint(out, bytes.size());
  out.append(bytes);
}
size_t number_size(int64_t number) { return number == 0 ? 0 : 1 + varint_size(static_cast<uint64_t>(number)); }
void put_number(std::string& out, int field, int64_t number) {
  if (number == 0) return;
  out.push_back(static_cast<char>(field << 3));
  put_varint(out, static_cast<uint64_t>(number));
}
size_t size_of(const KeyValue& kv) {
  return bytes_size(kv.key) + number_size(kv.create_revision) + number_size(kv.mod_revision) + number_size(kv.version) +
         bytes_size(*kv.value) + number_size(kv.lease);
}

}  // namespace

std::string encode(const pb::ResponseHeader& header, const ListResult& result, size_t head) {
  std::string out(head, '\0');
  size_t total = 128;
  for (const KeyValue& kv : result.kvs) total += 12 + size_of(kv);
  out.reserve(head + total);
  put_bytes(out, pb::RangeResponse::kHeaderFieldNumber, header.SerializeAsString());
  for (const KeyValue& kv : result.kvs) {
    out.push_back(static_cast<char>(pb::RangeResponse::kKvsFieldNumber << 3 | 2));
    put_varint(out, size_of(kv));
    put_bytes(out, mvccpb::KeyValue::kKeyFieldNumber, kv.key);
    put_number(out, mvccpb::KeyValue::kCreateRevisionFieldNumber, kv.create_revision);
    put_number(out, mvccpb::KeyValue::kModRevisionFieldNumber, kv.mod_revision);
    put_number(out, mvccpb::KeyValue::kVersionFieldNumber, kv.version);
    put_bytes(out, mvccpb::KeyValue::kValueFieldNumber, *kv.value);
    put_number(out, mvccpb::KeyValue::kLeaseFieldNumber, kv.lease);
  }
  put_number(out, pb::RangeResponse::kMoreFieldNumber, result.more ? 1 : 0);
  put_number(out, pb::RangeResponse::kCountFieldNumber, result.count);
  return out;
}

Result<PutOp> to_put(const pb::PutRequest& request) {
  if (request.key().empty()) return err(empty_key_error());
  if (request.ignore_value() && !request.value().empty())
    return err(bad_request("etcdserver: value is provided"));
  if (request.ignore_lease() && request.lease() != 0)
    return err(bad_request("etcdserver: lease is provided"));
  PutOp put;
  put.key = request.key();
  put.value = make_bytes(request.value());
  put.lease = request.lease();
  put.prev_kv = request.prev_kv();
  put.ignore_value = request.ignore_value();
  put.ignore_lease = request.ignore_lease();
  return put;
}

Result<DeleteOp> to_delete(const pb::DeleteRangeRequest& request) {
  if (request.key().empty()) return err(empty_key_error());
  return DeleteOp{to_range(request.key(), request.range_end()), request.prev_kv()};
}

void to_pb(const PutResult& result, pb::PutResponse* out) {
  if (result.previous) to_pb(*result.previous, out->mutable_prev_kv());
}

void to_pb(const DeleteResult& result, pb::DeleteRangeResponse* out) {
  out->set_deleted(result.deleted);
  for (const KeyValue& kv : result.previous) to_pb(kv, out->add_prev_kvs());
}

namespace {

Result<Compare> to_compare(const pb::Compare& request) {
  if (request.key().empty()) return err(empty_key_error());
  Compare compare;
  compare.range = to_range(request.key(), request.range_end());
  switch (request.result()) {
    case pb::Compare::EQUAL: compare.op = Compare::Op::kEqual; break;
    case pb::Compare::GREATER: compare.op = Compare::Op::kGreater; break;
    case pb::Compare::LESS: compare.op = Compare::Op::kLess; break;
    case pb::Compare::NOT_EQUAL: compare.op = Compare::Op::kNotEqual; break;
    default: return err(bad_request("etcdserver: unknown comparison"));
  }
  switch (request.target()) {
    case pb::Compare::VERSION:
      compare.target = Compare::Target::kVersion;
      compare.number = request.version();
      break;
    case pb::Compare::CREATE:
      compare.target = Compare::Target::kCreate;
      compare.number = request.create_revision();
      break;
    case pb::Compare::MOD:
      compare.target = Compare::Target::kMod;
      compare.number = request.mod_revision();
      break;
    case pb::Compare::LEASE:
      compare.target = Compare::Target::kLease;
      compare.number = request.lease();
      break;
    case pb::Compare::VALUE:
      compare.target = Compare::Target::kValue;
      compare.value = request.value();
      break;
    default: return err(bad_request("etcdserver: unknown comparison"));
  }
  return compare;
}

Result<TxnRequest> to_txn(const pb::TxnRequest& request, int max_ops);

template <typename Requests>
Status to_ops(const Requests& requests, int max_ops, std::vector<TxnOp>& out) {
  for (const pb::RequestOp& request : requests) {
    switch (request.request_case()) {
      case pb::RequestOp::kRequestRange: {
        ENGENHO_ASSIGN_OR_RETURN(ListRequest list, to_list(request.request_range()));
        out.emplace_back(std::move(list));
        break;
      }
      case pb::RequestOp::kRequestPut: {
        ENGENHO_ASSIGN_OR_RETURN(PutOp put, to_put(request.request_put()));
        out.emplace_back(std::move(put));
        break;
      }
      case pb::RequestOp::kRequestDeleteRange: {
        ENGENHO_ASSIGN_OR_RETURN(DeleteOp remove, to_delete(request.request_delete_range()));
        out.emplace_back(std::move(remove));
        break;
      }
      case pb::RequestOp::kRequestTxn: {
        ENGENHO_ASSIGN_OR_RETURN(TxnRequest txn, to_txn(request.request_txn(), max_ops));
        out.emplace_back(std::make_shared<const TxnRequest>(std::move(txn)));
        break;
      }
      default: return key_not_found_error();  // an operation without a request: etcd's answer
    }
  }
  return {};
}

// A nested transaction may have as many operations as those around it have left.
Result<TxnRequest> to_txn(const pb::TxnRequest& request, int max_ops) {
  const int ops = std::max({request.compare_size(), request.success_size(), request.failure_size()});
  if (ops > max_ops) return err(too_many_ops_error());
  TxnRequest txn;
  for (const pb::Compare& one : request.compare()) {
    ENGENHO_ASSIGN(Compare compare, to_compare(one));
    txn.compares.push_back(std::move(compare));
  }
  ENGENHO_TRY(to_ops(request.success(), max_ops - ops, txn.then_ops));
  ENGENHO_TRY(to_ops(request.failure(), max_ops - ops, txn.else_ops));
  return txn;
}

}  // namespace

Result<TxnRequest> to_txn(const pb::TxnRequest& request) { return to_txn(request, kMaxTxnOps); }

void to_pb(const pb::TxnRequest& request, const TxnResult& result, pb::TxnResponse* out) {
  out->set_succeeded(result.succeeded);
  const auto& ops = result.succeeded ? request.success() : request.failure();
  for (size_t i = 0; i < result.results.size(); ++i) {
    const pb::RequestOp& op = ops[static_cast<int>(i)];
    pb::ResponseOp* response = out->add_responses();
    if (const auto* list = std::get_if<ListResult>(&result.results[i])) {
      pb::RangeResponse* range = response->mutable_response_range();
      range->mutable_header()->set_revision(list->revision);
      to_pb(op.request_range(), *list, range);
    } else if (const auto* put = std::get_if<PutResult>(&result.results[i])) {
      response->mutable_response_put()->mutable_header()->set_revision(result.revision);
      to_pb(*put, response->mutable_response_put());
    } else if (const auto* remove = std::get_if<DeleteResult>(&result.results[i])) {
      response->mutable_response_delete_range()->mutable_header()->set_revision(remove->revision);
      to_pb(*remove, response->mutable_response_delete_range());
    } else {
      const auto& nested = std::get<std::shared_ptr<const TxnResult>>(result.results[i]);
      pb::TxnResponse* txn = response->mutable_response_txn();
      txn->mutable_header();  // etcd leaves it empty
      to_pb(op.request_txn(), *nested, txn);
    }
  }
}

}  // namespace engenho::datastore
