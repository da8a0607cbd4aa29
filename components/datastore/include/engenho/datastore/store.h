// The store's contract: keys, bytes and revisions, with etcd's MVCC semantics. It knows no Kubernetes kinds.
//
// There is one counter for the whole store, the revision. A new store is at revision 1; every request that changes at
// least one key takes the next revision, and all its changes carry that one. A key's history is a row of generations:
//
//   create a (rev 2)  update a (rev 3)  delete a (rev 4)  create a (rev 5)
//   version 1         version 2         -                 version 1, create_revision 5
//
// Reads see one revision, all of it, also while writes go on. Compacting at C forgets what only revisions below C
// can show: reads and watches from C on still work, those from below answer compacted_error().
//
// Two implementations: RocksDB in this process (rocksdb_store.h), and later an etcd v3 cluster over gRPC; the contract is
// what both can keep. Behaviour: https://etcd.io/docs/v3.5/learning/api/ and api_guarantees/.
//
// Threads: every function may be called from any thread. Errors: see errors.h; anything else is InternalError.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::datastore {

using Revision = int64_t;
using LeaseId = int64_t;

// Values are shared and never change: whoever gets one may keep it, send it and drop it without a copy.
using Bytes = std::shared_ptr<const std::string>;
inline Bytes make_bytes(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

struct KeyValue {
  std::string key;
  Bytes value;                   // never null when the store hands it out; empty for keys_only and for deletions
  Revision create_revision = 0;  // when this generation of the key began
  Revision mod_revision = 0;     // when it was last written
  int64_t version = 0;           // writes in this generation, 1 for the first
  LeaseId lease = 0;             // 0: none
  int32_t sub_revision = 0;      // its place among the changes of mod_revision; etcd's "sub"
};

// Keys k with start <= k < end, by unsigned bytes; an empty `end` is no upper bound.
struct KeyRange {
  std::string start;
  std::string end;

  static KeyRange key(std::string_view key);        // exactly this key
  static KeyRange prefix(std::string_view prefix);  // every key that begins so; "" is all of them
  static KeyRange all() { return {}; }
  bool contains(std::string_view key) const { return key >= start && (end.empty() || key < end); }
  bool empty() const { return !end.empty() && end <= start; }
  bool single() const;  // true for what key() makes
};

// ---- Reads ----

struct GetResult {
  std::optional<KeyValue> kv;
  Revision revision = 0;  // the store's when it was read
};

struct ListRequest {
  KeyRange range;
  int64_t limit = 0;       // 0: all
  Revision revision = 0;   // 0: the newest
  bool keys_only = false;  // leave values out
  bool count_only = false; // leave kvs out
  bool want_count = false; // count the whole range even when `limit` cuts it: that walks the whole range
};

struct ListResult {
  std::vector<KeyValue> kvs;  // ascending by key
  bool more = false;          // the limit cut the range
  int64_t count = -1;         // keys in the whole range; -1 when unknown (cut by the limit and not asked for)
  Revision revision = 0;      // the store's when it was read: the list's own when ListRequest::revision was 0
};

// ---- Writes ----

// In place of an expected mod_revision: any, but the key must exist.
inline constexpr Revision kAnyRevision = -1;

struct WriteResult {
  bool succeeded = false;           // false: the expectation failed, nothing was written
  Revision revision = 0;            // succeeded: the revision of this write; else the store's
  std::optional<KeyValue> current;  // failed: the key as it is; absent when it does not exist
  std::optional<KeyValue> previous; // succeeded update or remove: the key as it was before
};

struct Compare {
  enum class Target { kVersion, kCreate, kMod, kValue, kLease };
  enum class Op { kEqual, kGreater, kLess, kNotEqual };
  KeyRange range;                 // true when it holds for every key of the range; an absent key has zeros and no value
  Target target = Target::kMod;
  Op op = Op::kEqual;
  int64_t number = 0;
  std::string value;              // for kValue
};

struct PutOp {
  std::string key;
  Bytes value;
  LeaseId lease = 0;
  bool prev_kv = false;
  bool ignore_value = false;      // keep the present value; the key must exist
  bool ignore_lease = false;      // keep the present lease; the key must exist
};
struct DeleteOp {
  KeyRange range;
  bool prev_kv = false;
};
struct TxnRequest;
using TxnOp = std::variant<ListRequest, PutOp, DeleteOp, std::shared_ptr<const TxnRequest>>;

struct TxnRequest {
  std::vector<Compare> compares;  // all must hold
  std::vector<TxnOp> then_ops;
  std::vector<TxnOp> else_ops;
  bool plain = false;  // one operation that is not called a transaction: etcd looks for the lease before the key then
};

struct PutResult {
  std::optional<KeyValue> previous;  // when asked for
};
struct DeleteResult {
  int64_t deleted = 0;
  std::vector<KeyValue> previous;    // when asked for
  Revision revision = 0;             // the store's after this operation: the transaction's once something has changed
};
struct TxnResult;
using TxnOpResult = std::variant<ListResult, PutResult, DeleteResult, std::shared_ptr<const TxnResult>>;

struct TxnResult {
  bool succeeded = false;            // which branch ran
  Revision revision = 0;             // of this transaction when it wrote, else the store's
  std::vector<TxnOpResult> results;  // one for each operation of that branch
};

// ---- Watch ----

struct Event {
  enum class Type { kPut, kDelete };
  Type type = Type::kPut;
  KeyValue kv;                       // kDelete: key and mod_revision (of the deletion) only
  std::optional<KeyValue> previous;  // the key as it was before; present when asked for and there was one
};
using EventPtr = std::shared_ptr<const Event>;

struct WatchRequest {
  KeyRange range;
  Revision from_revision = 0;      // first revision wanted; 0: the next one. May lie in the future.
  bool prev_kv = false;
  bool no_put = false;             // filters
  bool no_delete = false;
  size_t max_batch_bytes = 1 << 20;  // a delivery ends with the revision that reaches this
};

struct WatchBatch {
  std::span<const EventPtr> events;  // in revision order, whole revisions, never empty; keep the pointers, not the span
  Revision through = 0;              // everything up to and with this revision has now been delivered
};

struct WatchEnd {
  Status status;                   // compacted_error(): it fell behind the compaction; else why the store ended it
  Revision compact_revision = 0;   // with compacted_error()
};

// What a watcher implements. Calls come one at a time, on a thread of the store's; they must be short and must not
// block. The store keeps nothing for a slow watcher but its place: a paused watch costs no memory, and goes on from
// the recent ring or from disk, or ends with compacted_error() once its place has been compacted.
class WatchSink {
 public:
  enum class Flow { kContinue, kPause };  // kPause: deliver nothing more until Watch::resume()
  virtual ~WatchSink() = default;
  virtual Flow on_events(const WatchBatch& batch) = 0;
  // Answers Watch::request_progress(): every event up to `revision` has been delivered.
  virtual void on_progress(Revision revision) = 0;
  virtual void on_end(const WatchEnd& end) = 0;  // the last call
};

// A running watch. Destroying it ends it: after the destructor there are no more calls of the sink (from inside a call of
// the sink it may be destroyed, too).
class Watch {
 public:
  virtual ~Watch() = default;
  virtual void resume() = 0;
  // on_progress() follows as soon as all events up to the present revision are delivered.
  virtual void request_progress() = 0;
};

// ---- Leases ----

struct LeaseGrant {
  LeaseId id = 0;
  int64_t ttl_seconds = 0;
};
struct LeaseInfo {
  LeaseId id = 0;
  int64_t granted_ttl_seconds = 0;
  int64_t remaining_seconds = 0;   // 0 once expired
  std::vector<std::string> keys;   // when asked for
};

// What blocks requests until somebody lifts it. kNoSpace (the quota is used up) blocks what adds data, kCorrupt (only ever set
// by an operator) all but reads of the state. Kept on disk.
struct Alarm {
  enum class Type { kNone = 0, kNoSpace = 1, kCorrupt = 2 };
  uint64_t member_id = 0;
  Type type = Type::kNone;
  auto operator<=>(const Alarm&) const = default;
};

// One version of a key as etcd keeps it, or the tombstone that a deletion leaves (then only key and mod_revision of `kv` count).
struct Version {
  KeyValue kv;
  bool deleted = false;
};
struct VersionsRequest {
  Revision through = 0;     // the last revision wanted
  Revision visible_at = 0;  // of the versions up to the compacted revision: those that a read at this one shows
};

struct StoreStatus {
  Revision revision = 0;
  Revision compacted_revision = 0;
  int64_t keys = 0;                // live ones
  int64_t db_size_bytes = 0;       // on disk
  int64_t db_size_in_use_bytes = 0;
  int64_t leases = 0;
  int64_t watches = 0;
  uint64_t cluster_id = 0;         // never changes
  uint64_t member_id = 0;
  std::string alarm;               // why writes are refused at present (full disk, ...); empty: they are not
  std::vector<Alarm> alarms;
  int64_t quota_bytes = 0;         // 0: none
};

// Asynchronous calls end with exactly one call of `done`, on the store's writer thread, after the change is on disk: it must
// be short and must not block. A request that is refused at once (stopped, queue full, too large), and a transaction that can
// not write, call it before returning.
template <typename T>
using Done = std::move_only_function<void(Result<T>)>;

class Store {
 public:
  virtual ~Store() = default;

  virtual Revision revision() const = 0;
  virtual Revision compacted_revision() const = 0;  // 0: never compacted

  virtual Result<GetResult> get(std::string_view key, Revision revision = 0) = 0;
  virtual Result<ListResult> list(const ListRequest& request) = 0;

  // The key must be absent.
  virtual void create_async(std::string key, Bytes value, LeaseId lease, Done<WriteResult> done) = 0;
  // The key must be at `expected` (0: absent, kAnyRevision: present).
  virtual void update_async(std::string key, Bytes value, Revision expected, LeaseId lease,
                            Done<WriteResult> done) = 0;
  virtual void remove_async(std::string key, Revision expected, Done<WriteResult> done) = 0;
  // At most 128 operations a branch; no key may be written twice. All of it takes one revision.
  virtual void txn_async(TxnRequest request, Done<TxnResult> done) = 0;
  // Answers once the revision counts as compacted; with `physical`, once its space is freed, too (then `done` may come on
  // another thread of the store's).
  virtual void compact_async(Revision revision, bool physical, Done<Revision> done) = 0;
  // A TTL below one second is made one; id 0 picks one. Expiry deletes the attached keys in one revision.
  virtual void lease_grant_async(int64_t ttl_seconds, LeaseId id, Done<LeaseGrant> done) = 0;
  virtual void lease_revoke_async(LeaseId id, Done<Revision> done) = 0;

  // The same, waiting until the change is on disk. Never from a callback of the store.
  Result<WriteResult> create(std::string key, Bytes value, LeaseId lease = 0);
  Result<WriteResult> update(std::string key, Bytes value, Revision expected, LeaseId lease = 0);
  Result<WriteResult> remove(std::string key, Revision expected = kAnyRevision);
  Result<TxnResult> txn(TxnRequest request);
  Status compact(Revision revision, bool physical = false);
  Result<LeaseGrant> lease_grant(int64_t ttl_seconds, LeaseId id = 0);
  Status lease_revoke(LeaseId id);

  virtual Result<int64_t> lease_keep_alive(LeaseId id) = 0;  // the TTL it has again, in seconds
  virtual Result<LeaseInfo> lease_time_to_live(LeaseId id, bool keys) = 0;
  virtual Result<std::vector<LeaseId>> leases() = 0;  // the soonest to expire first

  // `sink` must outlive the returned watch. Fails with compacted_error() when from_revision is below the compaction.
  virtual Result<std::unique_ptr<Watch>> watch(WatchRequest request, WatchSink* sink) = 0;

  virtual Result<StoreStatus> status() = 0;
  // Sets or lifts an alarm. Answers the alarm that is set now, or was lifted; nothing when there was nothing to lift.
  virtual void alarm_async(Alarm alarm, bool active, Done<std::optional<Alarm>> done) = 0;
  Result<std::optional<Alarm>> alarm(Alarm alarm, bool active);
  // Calls `visit` for each version in the order of revisions, on the caller's thread; a failure that it returns ends it. Answers the
  // compacted revision on which it is based. Fails with compacted_error() when that is overtaken by a compaction meanwhile. Keeps the
  // keys (not the values) of versions up to the compacted revision in memory.
  using VersionVisitor = std::function<Status(const Version&)>;
  virtual Result<Revision> versions(const VersionsRequest& request, const VersionVisitor& visit) = 0;
  virtual Status defragment() = 0;  // gives freed space back to the file system; blocks, may take long
};

}  // namespace engenho::datastore
