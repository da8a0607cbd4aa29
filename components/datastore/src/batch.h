// One group commit in the making: what the requests taken so far read and change, on top of what is on disk.
#pragma once

#include <rocksdb/write_batch.h>

#include <map>
#include <optional>
#include <vector>

#include "database.h"
#include "lease_book.h"
#include "reader.h"
#include "txn.h"
#include "watch_hub.h"

namespace engenho::datastore {

// Used by the writer thread alone. Each request's changes stand between begin() and accept() or undo().
class Batch final : public TxnState {
 public:
  Batch(Database& database, Reader& reader, const LeaseBook& leases, const Progress& progress);

  void begin();
  void accept();  // the changes since begin() take the next revision, if there are any
  void undo();

  // TxnState: what the requests before and this one so far have made of the store.
  Revision revision() const override { return state_.revision + (changes_.empty() ? 0 : 1); }
  Result<std::optional<KeyValue>> get(const std::string& key) override;
  Status scan(const KeyRange& range, const std::function<bool(const KeyValue&)>& visit) override;
  Result<ListResult> list(const ListRequest& request) override;
  Status check_revision(Revision revision) const override;
  bool lease_exists(LeaseId id) const override { return leases_.exists(id); }
  Result<PutResult> put(const PutOp& op) override;
  Result<DeleteResult> remove(const DeleteOp& op) override;

  // `before` is what get() returned. Returns the revision that this request will have.
  Revision write(std::string key, Bytes value, LeaseId lease, std::optional<KeyValue> before);
  Revision erase(KeyValue before);
  Result<std::vector<std::string>> attached_keys(LeaseId lease);
  void compact(Revision revision);
  Revision compacted() const { return compacted_; }

  rocksdb::WriteBatch& rows() { return rows_; }  // for rows that are not keys: leases, marks
  const MetaState& state() const { return state_; }
  bool changed() const { return !events_.empty(); }
  std::vector<RevisionEvents> take_events() { return std::move(events_); }
  void finish();  // adds the state row

 private:
  struct Pending {
    std::string key;
    std::optional<KeyValue> before, after;
    std::optional<std::optional<KeyValue>> overlaid;  // what the overlay held before: for undo()
  };
  void change(std::string key, std::optional<KeyValue> before, std::optional<KeyValue> after);
  void store(const Pending& change, Revision revision, std::string& log);

  Database& database_;
  Reader& reader_;
  const LeaseBook& leases_;
  const Progress& progress_;
  rocksdb::WriteBatch rows_;
  MetaState state_;
  Revision compacted_;
  std::map<std::string, std::optional<KeyValue>, std::less<>> overlay_;  // nullopt: deleted
  std::vector<Pending> changes_;  // of the present request
  std::vector<RevisionEvents> events_;
};

}  // namespace engenho::datastore
