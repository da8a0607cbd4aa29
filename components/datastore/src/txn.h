// Transactions: what a request may contain, and how it runs against a state. The state is either the writer's (what the
// batch has so far) or one revision of the past, for transactions that write nothing.
#pragma once

#include <functional>
#include <optional>

#include "engenho/datastore/store.h"

namespace engenho::datastore {

class TxnState {
 public:
  virtual ~TxnState() = default;
  virtual Revision revision() const = 0;  // that a response header would show now
  virtual Result<std::optional<KeyValue>> get(const std::string& key) = 0;
  // In key order; false ends it. The visitor must not change the state.
  virtual Status scan(const KeyRange& range, const std::function<bool(const KeyValue&)>& visit) = 0;
  virtual Result<ListResult> list(const ListRequest& request) = 0;
  // compacted_error(), future_revision_error() or OK for a read at this revision.
  virtual Status check_revision(Revision revision) const = 0;
  virtual bool lease_exists(LeaseId id) const = 0;
  virtual Result<PutResult> put(const PutOp& op) = 0;
  virtual Result<DeleteResult> remove(const DeleteOp& op) = 0;
};

// What can be told without the data: empty keys, too many operations, a key that is written twice, sizes.
Status check_txn(const TxnRequest& request, size_t max_bytes);
bool writes(const TxnRequest& request);
size_t txn_bytes(const TxnRequest& request);  // keys and values in it
// What the puts of its larger branch add, with `overhead` for each; 0: it only removes.
size_t added_bytes(const TxnRequest& request, size_t overhead);

// All conditions, those of nested transactions, too, are decided on the state before the first change; all failures that a
// request can cause are found before the first change as well. An error after that means that data could not be
// read, and the caller undoes what was changed.
Result<TxnResult> run_txn(TxnState& state, const TxnRequest& request);

}  // namespace engenho::datastore
