#include "txn.h"

#include <algorithm>
#include <set>

#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace {

constexpr size_t kMaxOps = 128;    // etcd's --max-txn-ops
constexpr int kMaxDepth = 16;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

using NestedTxn = std::shared_ptr<const TxnRequest>;

// The keys that a branch puts and the ranges that it deletes.
struct Writes {
  std::set<std::string, std::less<>> puts;
  std::vector<KeyRange> deletes;

  bool deletes_one_of(const std::set<std::string, std::less<>>& keys) const {
    for (const KeyRange& range : deletes) {
      const auto it = keys.lower_bound(range.start);
      if (it != keys.end() && range.contains(*it)) return true;
    }
    return false;
  }
};

Status check_branch(const std::vector<TxnOp>& ops, int depth, Writes& writes);

Status check_one(const TxnRequest& request, int depth, Writes& then_writes, Writes& else_writes) {
  if (depth > kMaxDepth || request.compares.size() > kMaxOps || request.then_ops.size() > kMaxOps ||
      request.else_ops.size() > kMaxOps)
    return too_many_ops_error();
  ENGENHO_RETURN_IF_ERROR(check_branch(request.then_ops, depth, then_writes));
  return check_branch(request.else_ops, depth, else_writes);
}

// Two puts of one key, or a put into a deleted range, would need two changes of one key at one revision. A nested
// transaction runs one branch only, so its two branches may overlap each other, but nothing outside of it.
Status check_branch(const std::vector<TxnOp>& ops, int depth, Writes& writes) {
  for (const TxnOp& op : ops) {
    if (const auto* remove = std::get_if<DeleteOp>(&op)) writes.deletes.push_back(remove->range);
    if (const auto* put = std::get_if<PutOp>(&op)) {
      if (put->key.empty()) return empty_key_error();
      if (!put->ignore_value && !put->value) return bad_request("a put without a value");
      if (!writes.puts.insert(put->key).second) return duplicate_key_error();
    }
  }
  if (writes.deletes_one_of(writes.puts)) return duplicate_key_error();
  for (const TxnOp& op : ops) {
    const auto* nested = std::get_if<NestedTxn>(&op);
    if (!nested) continue;
    Writes then_writes, else_writes;
    ENGENHO_RETURN_IF_ERROR(check_one(**nested, depth + 1, then_writes, else_writes));
    for (const Writes* inner : {&then_writes, &else_writes}) {
      for (const std::string& key : inner->puts)
        if (writes.puts.contains(key)) return duplicate_key_error();
      if (writes.deletes_one_of(inner->puts) || inner->deletes_one_of(writes.puts))
        return duplicate_key_error();
    }
    for (Writes* inner : {&then_writes, &else_writes}) {
      writes.puts.merge(inner->puts);
      std::move(inner->deletes.begin(), inner->deletes.end(), std::back_inserter(writes.deletes));
    }
  }
  return {};
}

bool compare_values(auto&& have, auto&& want, Compare::Op op) {
  switch (op) {
    case Compare::Op::kEqual: return have == want;
    case Compare::Op::kGreater: return have > want;
    case Compare::Op::kLess: return have < want;
    case Compare::Op::kNotEqual: return have != want;
  }
  return false;
}

bool holds_for(const Compare& compare, const KeyValue& kv) {
  switch (compare.target) {
    case Compare::Target::kVersion: return compare_values(kv.version, compare.number, compare.op);
    case Compare::Target::kCreate: return compare_values(kv.create_revision, compare.number, compare.op);
    case Compare::Target::kMod: return compare_values(kv.mod_revision, compare.number, compare.op);
    case Compare::Target::kLease: return compare_values(kv.lease, compare.number, compare.op);
    case Compare::Target::kValue: return compare_values(*kv.value, compare.value, compare.op);
  }
  return false;
}

Result<bool> holds(TxnState& state, const Compare& compare) {
  if (compare.range.single()) {
    ENGENHO_ASSIGN(const auto kv, state.get(compare.range.start));
    if (kv) return holds_for(compare, *kv);
  } else {
    bool any = false, all = true;
    ENGENHO_TRY(state.scan(compare.range, [&](const KeyValue& kv) {
      any = true;
      return all = holds_for(compare, kv);
    }));
    if (any) return all;
  }
  // Nothing there: the counters are zero, and there is no value that could be equal or not.
  return compare.target != Compare::Target::kValue && holds_for(compare, KeyValue());
}

// Which branches run, this transaction's first and then those of the nested ones in it, in order.
Status choose(TxnState& state, const TxnRequest& request, std::vector<bool>& path) {
  bool all = true;
  for (const Compare& compare : request.compares) {
    auto held = holds(state, compare);
    if (!held) return held.error();
    if (!(all = *held)) break;
  }
  path.push_back(all);
  for (const TxnOp& op : all ? request.then_ops : request.else_ops)
    if (const auto* nested = std::get_if<NestedTxn>(&op))
      ENGENHO_RETURN_IF_ERROR(choose(state, **nested, path));
  return {};
}

Status check_put(TxnState& state, const PutOp& put, bool plain) {
  const bool no_lease = !put.ignore_lease && put.lease != 0 && !state.lease_exists(put.lease);
  if (plain && no_lease) return lease_not_found_error();
  if (put.ignore_value || put.ignore_lease) {
    auto kv = state.get(put.key);
    if (!kv) return kv.error();
    if (!*kv) return key_not_found_error();
  }
  return no_lease ? lease_not_found_error() : Status();
}

// Puts first, then reads: two passes, because that is the order in which etcd finds what is wrong.
Status check_ops(TxnState& state, const TxnRequest& request, const std::vector<bool>& path, size_t& at, bool puts) {
  for (const TxnOp& op : path[at++] ? request.then_ops : request.else_ops) {
    if (const auto* list = std::get_if<ListRequest>(&op)) {
      if (!puts && list->revision != 0) ENGENHO_RETURN_IF_ERROR(state.check_revision(list->revision));
    } else if (const auto* put = std::get_if<PutOp>(&op)) {
      if (puts) ENGENHO_RETURN_IF_ERROR(check_put(state, *put, request.plain));
    } else if (const auto* nested = std::get_if<NestedTxn>(&op)) {
      ENGENHO_RETURN_IF_ERROR(check_ops(state, **nested, path, at, puts));
    }
  }
  return {};
}

Result<TxnResult> apply(TxnState& state, const TxnRequest& request, const std::vector<bool>& path, size_t& at) {
  TxnResult result;
  result.succeeded = path[at++];
  for (const TxnOp& op : result.succeeded ? request.then_ops : request.else_ops) {
    Status failed;
    std::visit(Overloaded{[&](const ListRequest& list) {
                            auto listed = state.list(list);
                            if (listed) result.results.emplace_back(std::move(*listed));
                            else failed = listed.error();
                          },
                          [&](const PutOp& put) {
                            auto done = state.put(put);
                            if (done) result.results.emplace_back(std::move(*done));
                            else failed = done.error();
                          },
                          [&](const DeleteOp& remove) {
                            auto done = state.remove(remove);
                            if (done) result.results.emplace_back(std::move(*done));
                            else failed = done.error();
                          },
                          [&](const NestedTxn& nested) {
                            auto done = apply(state, *nested, path, at);
                            if (done)
                              result.results.emplace_back(
                                  std::make_shared<const TxnResult>(std::move(*done)));
                            else failed = done.error();
                          }},
               op);
    if (!failed.ok()) return err(std::move(failed));
  }
  result.revision = state.revision();
  return result;
}

}  // namespace

size_t txn_bytes(const TxnRequest& request) {
  size_t bytes = 64;
  for (const Compare& compare : request.compares)
    bytes += compare.range.start.size() + compare.range.end.size() + compare.value.size();
  for (const auto* ops : {&request.then_ops, &request.else_ops}) {
    for (const TxnOp& op : *ops) {
      if (const auto* list = std::get_if<ListRequest>(&op)) {
        bytes += list->range.start.size() + list->range.end.size();
      } else if (const auto* put = std::get_if<PutOp>(&op)) {
        bytes += put->key.size() + (put->value ? put->value->size() : 0);
      } else if (const auto* remove = std::get_if<DeleteOp>(&op)) {
        bytes += remove->range.start.size() + remove->range.end.size();
      } else if (const auto* nested = std::get_if<NestedTxn>(&op)) {
        bytes += txn_bytes(**nested);
      }
    }
  }
  return bytes;
}

size_t added_bytes(const TxnRequest& request, size_t overhead) {
  size_t largest = 0;
  for (const auto* ops : {&request.then_ops, &request.else_ops}) {
    size_t bytes = 0;
    for (const TxnOp& op : *ops) {
      if (const auto* put = std::get_if<PutOp>(&op)) bytes += overhead + put->key.size() + (put->value ? put->value->size() : 0);
      else if (const auto* nested = std::get_if<NestedTxn>(&op)) bytes += added_bytes(**nested, overhead);
    }
    largest = std::max(largest, bytes);
  }
  return largest;
}

Status check_txn(const TxnRequest& request, size_t max_bytes) {
  Writes then_writes, else_writes;
  ENGENHO_RETURN_IF_ERROR(check_one(request, 0, then_writes, else_writes));
  // What only reads is not written anywhere, so etcd bounds it by the message only.
  return writes(request) && txn_bytes(request) > max_bytes ? request_too_large_error() : Status();
}

bool writes(const TxnRequest& request) {
  for (const auto* ops : {&request.then_ops, &request.else_ops}) {
    for (const TxnOp& op : *ops) {
      if (std::holds_alternative<PutOp>(op) || std::holds_alternative<DeleteOp>(op)) return true;
      if (const auto* nested = std::get_if<NestedTxn>(&op); nested && writes(**nested)) return true;
    }
  }
  return false;
}

Result<TxnResult> run_txn(TxnState& state, const TxnRequest& request) {
  std::vector<bool> path;
  ENGENHO_TRY(choose(state, request, path));
  size_t at = 0;
  ENGENHO_TRY(check_ops(state, request, path, at, true));
  at = 0;
  ENGENHO_TRY(check_ops(state, request, path, at, false));
  at = 0;
  return apply(state, request, path, at);
}

}  // namespace engenho::datastore
