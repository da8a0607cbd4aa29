#include "compare.h"

#include <algorithm>
#include <vector>

namespace engenho::datastore::differential {

namespace {

using Target = pb::RangeRequest;

std::string sort_value(const pb::RangeRequest& request, const mvccpb::KeyValue& kv) {
  switch (request.sort_target()) {
    case Target::VERSION: return std::to_string(kv.version());
    case Target::CREATE: return std::to_string(kv.create_revision());
    case Target::MOD: return std::to_string(kv.mod_revision());
    case Target::VALUE: return kv.value();
    default: return kv.key();
  }
}

}  // namespace

void normalise(pb::ResponseHeader* header) {
  header->clear_cluster_id();
  header->clear_member_id();
  header->clear_raft_term();
}

void normalise(const pb::RangeRequest& request, pb::RangeResponse* response) {
  if (response->has_header()) normalise(response->mutable_header());
  if (request.sort_target() == Target::KEY) return;
  auto& kvs = *response->mutable_kvs();
  if (response->more()) {
    // Only what was sorted by is certain; it is not shown with keys_only.
    if (request.keys_only() && request.sort_target() == Target::VALUE) {
      for (auto& kv : kvs) kv.Clear();
      return;
    }
    for (auto& kv : kvs) {
      const std::string value = sort_value(request, kv);
      kv.Clear();
      kv.set_value(value);
    }
    return;
  }
  if (request.keys_only() && request.sort_target() == Target::VALUE) {
    std::sort(kvs.begin(), kvs.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
    return;
  }
  for (auto from = kvs.begin(); from != kvs.end();) {
    auto to = from;
    while (to != kvs.end() && sort_value(request, *to) == sort_value(request, *from)) ++to;
    std::sort(from, to, [](const auto& a, const auto& b) { return a.key() < b.key(); });
    from = to;
  }
}

void normalise(const pb::TxnRequest& request, pb::TxnResponse* response) {
  if (response->has_header()) normalise(response->mutable_header());
  const auto& ops = response->succeeded() ? request.success() : request.failure();
  for (int i = 0; i < response->responses_size() && i < ops.size(); ++i) {
    pb::ResponseOp* one = response->mutable_responses(i);
    if (one->has_response_range()) normalise(ops[i].request_range(), one->mutable_response_range());
    if (one->has_response_txn()) normalise(ops[i].request_txn(), one->mutable_response_txn());
  }
}

std::string quoted(const std::string& bytes) {
  std::string out = "\"";
  for (const char byte : bytes.substr(0, 40)) {
    char text[8];
    if (byte >= ' ' && byte < 127) out += byte;
    else out += (snprintf(text, sizeof(text), "\\x%02x", static_cast<unsigned char>(byte)), text);
  }
  return out + (bytes.size() > 40 ? "\"... " + std::to_string(bytes.size()) + " bytes" : "\"");
}

std::string show(const pb::RangeRequest& r) {
  std::string out = "range " + quoted(r.key()) + " " + quoted(r.range_end());
  const std::pair<const char*, int64_t> numbers[] = {{"limit", r.limit()}, {"rev", r.revision()}, {"order", r.sort_order()}, {"by", r.sort_target()},
    {"serializable", r.serializable()}, {"keys_only", r.keys_only()}, {"count_only", r.count_only()}, {"min_mod", r.min_mod_revision()},
    {"max_mod", r.max_mod_revision()}, {"min_create", r.min_create_revision()}, {"max_create", r.max_create_revision()}};
  for (const auto& [name, value] : numbers)
    if (value != 0) out += std::string(" ") + name + "=" + std::to_string(value);
  return out;
}
std::string show(const pb::PutRequest& r) {
  return "put " + quoted(r.key()) + " " + quoted(r.value()) + " lease=" + std::to_string(r.lease()) + (r.prev_kv() ? " prev_kv" : "") +
         (r.ignore_value() ? " ignore_value" : "") + (r.ignore_lease() ? " ignore_lease" : "");
}
std::string show(const pb::DeleteRangeRequest& r) {
  return "delete " + quoted(r.key()) + " " + quoted(r.range_end()) + (r.prev_kv() ? " prev_kv" : "");
}
std::string show(const pb::TxnRequest& r) {
  std::string out = "txn if(";
  for (const auto& c : r.compare())
    out += quoted(c.key()) + ".." + quoted(c.range_end()) + " target=" + std::to_string(c.target()) + " op=" + std::to_string(c.result()) + " " +
           std::to_string(c.version() + c.create_revision() + c.mod_revision() + c.lease()) + quoted(c.value()) + "; ";
  const auto ops = [&](const auto& list) {
    for (const auto& op : list) {
      if (op.has_request_range()) out += show(op.request_range());
      else if (op.has_request_put()) out += show(op.request_put());
      else if (op.has_request_delete_range()) out += show(op.request_delete_range());
      else if (op.has_request_txn()) out += show(op.request_txn());
      else out += "nothing";
      out += "; ";
    }
  };
  out += ") then(";
  ops(r.success());
  out += ") else(";
  ops(r.failure());
  return out + ")";
}
std::string show(const pb::WatchCreateRequest& r) {
  return "watch " + quoted(r.key()) + " " + quoted(r.range_end()) + " from=" + std::to_string(r.start_revision()) + (r.prev_kv() ? " prev_kv" : "") +
         (r.fragment() ? " fragment" : "") + " filters=" + std::to_string(r.filters_size()) + " id=" + std::to_string(r.watch_id());
}
std::string show(const mvccpb::KeyValue& kv) {
  return quoted(kv.key()) + "=" + quoted(kv.value()) + " create=" + std::to_string(kv.create_revision()) + " mod=" + std::to_string(kv.mod_revision()) +
         " version=" + std::to_string(kv.version()) + " lease=" + std::to_string(kv.lease());
}
std::string show(const mvccpb::Event& event) {
  return std::string(event.type() == mvccpb::Event::DELETE ? "DELETE " : "PUT ") + show(event.kv()) +
         (event.has_prev_kv() ? " before: " + show(event.prev_kv()) : "");
}
std::string show(const pb::RangeResponse& r) {
  std::string out = "rev=" + std::to_string(r.header().revision()) + " count=" + std::to_string(r.count()) + (r.more() ? " more" : "");
  for (const auto& kv : r.kvs()) out += "\n      " + show(kv);
  return out;
}
std::string show(const pb::TxnResponse& r) {
  std::string out = (r.has_header() ? "rev=" : "no header ") + std::to_string(r.header().revision()) + (r.succeeded() ? " succeeded" : " failed");
  for (const auto& one : r.responses()) {
    out += "\n    ";
    if (one.has_response_range()) out += "range " + show(one.response_range());
    if (one.has_response_put())
      out += "put rev=" + std::to_string(one.response_put().header().revision()) +
             (one.response_put().has_prev_kv() ? " before: " + show(one.response_put().prev_kv()) : "");
    if (one.has_response_delete_range())
      out += "delete rev=" + std::to_string(one.response_delete_range().header().revision()) + " deleted=" +
             std::to_string(one.response_delete_range().deleted()) + " previous=" + std::to_string(one.response_delete_range().prev_kvs_size());
    if (one.has_response_txn()) out += "txn " + show(one.response_txn());
  }
  return out;
}

}  // namespace engenho::datastore::differential
