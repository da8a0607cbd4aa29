// The one thread that changes the store. It takes everything that waits, gives out revisions, writes it all with one batch
// and one fsync, publishes it and answers.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "batch.h"
#include "engenho/datastore/rocksdb_store.h"

namespace engenho::metrics {
class Counter;
class Histogram;
}  // namespace engenho::metrics

namespace engenho::datastore {

struct WriteRequest {
  enum class Kind { kCreate, kUpdate, kRemove };
  Kind kind = Kind::kCreate;
  std::string key;
  Bytes value;
  Revision expected = 0;
  LeaseId lease = 0;
  Done<WriteResult> done;
};
struct TxnWork {
  TxnRequest request;
  Done<TxnResult> done;
};
struct CompactRequest {
  Revision revision = 0;
  Done<Revision> done;
};
struct GrantRequest {
  int64_t ttl_seconds = 0;
  LeaseId id = 0;
  Done<LeaseGrant> done;
};
struct RevokeRequest {
  LeaseId id = 0;
  bool only_if_expired = false;
  Done<Revision> done;
};
struct AlarmRequest {
  Alarm alarm;
  bool active = false;
  Done<std::optional<Alarm>> done;
};
struct RenewRequest {  // marks on disk that a client renews this lease; nobody waits for it
  LeaseId id = 0;
};
using Request =
    std::variant<WriteRequest, TxnWork, CompactRequest, GrantRequest, RevokeRequest, AlarmRequest, RenewRequest>;

class Writer {
 public:
  Writer(const RocksdbOptions& options, Database& database, Reader& reader, LeaseBook& leases,
         Progress& progress, WatchHub& hub);
  ~Writer();
  void start();
  void stop();  // finishes what waits, refuses the rest, joins

  // `bytes` counts against the bound on waiting writes. Refused requests are answered before this returns.
  void submit(Request request, size_t bytes);
  std::string alarm() const;  // why writes are refused at present; empty: they are not
  std::vector<Alarm> alarms() const;

  std::function<void()> on_compacted;  // set before start(); called on the writer thread, must be short

  Status load();  // leases and alarms, from disk; before start()

 private:
  struct Waiting {
    Request request;
    size_t bytes;
  };
  using Finish = std::move_only_function<void(const Status&)>;  // answers with the result, or with this error

  void run();
  void process(std::vector<Waiting>& waiting);
  void apply(Batch& batch, Request& request);
  void apply_write(Batch& batch, WriteRequest& request);
  void apply_txn(Batch& batch, TxnWork& work);
  void apply_compact(Batch& batch, CompactRequest& request);
  void apply_grant(Batch& batch, GrantRequest& request);
  void apply_revoke(Batch& batch, RevokeRequest& request);
  void apply_alarm(Batch& batch, AlarmRequest& request);
  Result<Revision> revoke(Batch& batch, const RevokeRequest& request);
  // Whether alarms or the quota allow a request that adds about `bytes`; 0: it only removes.
  Status admit(Batch& batch, size_t bytes);
  void set_alarm(Batch& batch, const Alarm& alarm, bool active, bool by_quota);
  template <typename T>
  void answer(Done<T>& done, Result<T> result);
  Status commit(Batch& batch);
  Status recover();

  const RocksdbOptions& options_;
  Database& database_;
  Reader& reader_;
  LeaseBook& leases_;
  Progress& progress_;
  WatchHub& hub_;
  metrics::Histogram& commit_seconds_;
  metrics::Counter& commits_;
  metrics::Counter& writes_;

  // The writer thread's own.
  std::vector<Finish> finishes_;
  bool unsynced_only_ = true;  // nothing in the batch that anybody waits for
  bool failed_ = false;        // the last commit failed; recover() first
  int64_t used_bytes_ = 0;     // the database's size when last asked, and what was added since

  mutable std::mutex mutex_;   // all below
  std::condition_variable wake_;
  std::deque<Waiting> queue_;
  size_t queued_bytes_ = 0;
  std::string alarm_;
  std::map<Alarm, bool> alarms_;  // true: raised by the quota, and lifted again by itself
  bool stopping_ = false;
  std::thread thread_;
};

// Answers a request that never reached the writer.
void refuse(Request& request, const Status& status);

}  // namespace engenho::datastore
