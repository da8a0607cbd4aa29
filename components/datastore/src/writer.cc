#include "writer.h"

#include <rocksdb/iterator.h>

#include "engenho/base/log.h"
#include "engenho/base/metrics.h"
#include "engenho/base/random.h"
#include "engenho/base/threads.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace {
constexpr size_t kMaxBatchRequests = 1024;
constexpr size_t kMaxBatchBytes = 4 << 20;
constexpr int64_t kMaxTtlSeconds = 9'000'000'000;  // etcd's
// What a key and a lease cost beside their bytes, as etcd reckons.
constexpr size_t kKeyOverhead = 256, kLeaseOverhead = 64;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;
}  // namespace

void refuse(Request& request, const Status& status) {
  std::visit(Overloaded{[](RenewRequest&) {}, [&](auto& one) { one.done(err(status)); }}, request);
}

Writer::Writer(const RocksdbOptions& options, Database& database, Reader& reader, LeaseBook& leases,
               Progress& progress, WatchHub& hub)
    : options_(options),
      database_(database),
      reader_(reader),
      leases_(leases),
      progress_(progress),
      hub_(hub),
      commit_seconds_(metrics::Registry::global().histogram(
          "engenho_datastore_commit_duration_seconds", "Time to write and sync one group of changes.",
          {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5})),
      commits_(metrics::Registry::global().counter("engenho_datastore_commits_total",
                                                   "Groups of changes written to disk.")),
      writes_(metrics::Registry::global().counter("engenho_datastore_revisions_total",
                                                  "Revisions given out.")) {}

Writer::~Writer() { stop(); }

void Writer::start() {
  thread_ = std::thread([this] {
    set_thread_name("store-writer");
    run();
  });
}

void Writer::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

std::string Writer::alarm() const {
  std::lock_guard lock(mutex_);
  return alarm_;
}

std::vector<Alarm> Writer::alarms() const {
  std::lock_guard lock(mutex_);
  std::vector<Alarm> alarms;
  for (const auto& [alarm, by_quota] : alarms_) alarms.push_back(alarm);
  return alarms;
}

void Writer::submit(Request request, size_t bytes) {
  Status refused;
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) {
      refused = store_stopped_error();
    } else if (queue_.size() >= options_.max_pending_requests ||
               (!queue_.empty() && queued_bytes_ + bytes > options_.max_pending_bytes)) {
      refused = too_many_requests_error();
    } else {
      first = queue_.empty();
      queued_bytes_ += bytes;
      queue_.push_back({std::move(request), bytes});
    }
  }
  if (!refused.ok()) return refuse(request, refused);
  if (first) wake_.notify_one();
}

void Writer::run() {
  std::vector<Waiting> waiting;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !queue_.empty() || stopping_; });
      if (queue_.empty()) return;
      size_t bytes = 0;
      while (!queue_.empty() && waiting.size() < kMaxBatchRequests && bytes < kMaxBatchBytes) {
        bytes += queue_.front().bytes;
        waiting.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      queued_bytes_ -= bytes;
    }
    process(waiting);
    waiting.clear();
  }
}

void Writer::process(std::vector<Waiting>& waiting) {
  if (failed_) {
    if (Status status = recover(); !status.ok()) {
      for (Waiting& one : waiting) refuse(one.request, status);
      return;
    }
  }
  finishes_.clear();
  unsynced_only_ = true;
  Batch batch(database_, reader_, leases_, progress_);
  for (Waiting& one : waiting) apply(batch, one.request);
  const Status status = commit(batch);
  for (Finish& finish : finishes_) finish(status);
  finishes_.clear();
}

Status Writer::commit(Batch& batch) {
  // The bound on history, in strides, so that it does not compact at every write.
  const Revision max_history = options_.compaction_max_history;
  const Revision keep_from = batch.state().revision - max_history;
  if (max_history > 0 && keep_from - std::max<Revision>(batch.compacted(), 1) > max_history / 16)
    batch.compact(keep_from);
  batch.finish();
  if (batch.rows().Count() == 0) return {};
  const MonoTime began = std::chrono::steady_clock::now();
  progress_.assigned.store(batch.state().revision);
  if (Status status = database_.commit(batch.rows(), !unsynced_only_); !status.ok()) {
    // Nothing of it is visible. Whether it would be there after a crash is unknown, and said so by the error.
    progress_.assigned.store(progress_.revision.load());
    failed_ = true;
    log::error("datastore", "a write failed, and writes are refused until the disk takes them again: {}",
               status.message());
    std::lock_guard lock(mutex_);
    alarm_ = status.message();
    return status;
  }
  commit_seconds_.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  commits_.add();
  writes_.add(batch.state().revision - progress_.revision.load());
  progress_.keys.store(batch.state().keys);
  const bool compacted = batch.compacted() != progress_.compacted.load();
  progress_.compacted.store(batch.compacted());
  hub_.append(batch.take_events());  // stores progress_.revision, too
  if (compacted && on_compacted) on_compacted();
  return {};
}

// After a failed commit: brings RocksDB back to life and memory back to what is on disk.
Status Writer::recover() {
  ENGENHO_RETURN_IF_ERROR(database_.resume());
  auto state = database_.read_state();
  if (!state) return state.error();
  if (state->revision != progress_.revision.load())
    return damaged_error("after a failed write the disk is at revision " + std::to_string(state->revision) +
                         ", memory at " + std::to_string(progress_.revision.load()));
  ENGENHO_RETURN_IF_ERROR(load());
  failed_ = false;
  log::info("datastore", "the disk takes writes again");
  std::lock_guard lock(mutex_);
  alarm_.clear();
  return {};
}

Status Writer::load() {
  leases_.clear();
  std::unique_ptr<rocksdb::Iterator> it(database_.db().NewIterator(rocksdb::ReadOptions(), database_.meta()));
  std::map<Alarm, bool> alarms;
  for (it->Seek("a"); it->Valid() && it->key().starts_with("a"); it->Next()) {
    Alarm alarm;
    if (!decode_alarm_key(view(it->key()), alarm)) return damaged_error("an alarm's row is malformed");
    alarms.emplace(alarm, view(it->value()) == "q");
  }
  for (it->Seek("g"); it->Valid() && it->key().starts_with("g"); it->Next()) {
    LeaseId id = 0;
    GrantRow row;
    if (!decode_grant_key(view(it->key()), id) || !decode_grant(view(it->value()), row))
      return damaged_error("a lease's row is malformed");
    leases_.load(id, row);
  }
  used_bytes_ = static_cast<int64_t>(database_.size_bytes());
  std::lock_guard lock(mutex_);
  alarms_ = std::move(alarms);
  return database_.status(it->status(), "read the leases");
}

void Writer::set_alarm(Batch& batch, const Alarm& alarm, bool active, bool by_quota) {
  if (active) batch.rows().Put(database_.meta(), alarm_key(alarm), by_quota ? "q" : "");
  else batch.rows().Delete(database_.meta(), alarm_key(alarm));
  std::lock_guard lock(mutex_);
  if (active) alarms_[alarm] = by_quota;
  else alarms_.erase(alarm);
}

Status Writer::admit(Batch& batch, size_t bytes) {
  const Alarm own{database_.member_id(), Alarm::Type::kNoSpace};
  bool corrupt = false, full = false, full_by_quota = false;
  {
    std::lock_guard lock(mutex_);
    if (alarms_.empty() && (bytes == 0 || options_.quota_bytes <= 0)) return {};
    for (const auto& [alarm, by_quota] : alarms_) {
      corrupt = corrupt || alarm.type == Alarm::Type::kCorrupt;
      if (alarm.type != Alarm::Type::kNoSpace) continue;
      if (alarm == own && by_quota) full_by_quota = true;
      else full = true;
    }
  }
  if (corrupt) return corrupt_error();
  if (bytes == 0) return {};
  if (full) return no_space_error();
  const int64_t quota = options_.quota_bytes;
  const auto over = [&](int64_t limit) { return used_bytes_ + static_cast<int64_t>(bytes) >= limit; };
  if (full_by_quota) {
    used_bytes_ = static_cast<int64_t>(database_.size_bytes());
    if (quota > 0 && over(quota - quota / 10)) return no_space_error();
    set_alarm(batch, own, false, true);
    log::info("datastore", "the database is well below its quota again: writes are taken");
  } else if (quota > 0 && over(quota)) {
    used_bytes_ = static_cast<int64_t>(database_.size_bytes());
    if (over(quota)) {
      log::error("datastore", "the database has {} bytes, its quota is {}: what adds to it is refused until space is freed (delete, "
                 "compact, defragment) or the quota raised", used_bytes_, quota);
      set_alarm(batch, own, true, true);
      return no_space_error();
    }
  }
  used_bytes_ += static_cast<int64_t>(bytes);
  return {};
}

void Writer::apply_alarm(Batch& batch, AlarmRequest& request) {
  bool there = false;
  {
    std::lock_guard lock(mutex_);
    there = alarms_.contains(request.alarm);
  }
  if (request.active != there) set_alarm(batch, request.alarm, request.active, false);
  std::optional<Alarm> changed;
  if (request.active || there) changed = request.alarm;
  answer(request.done, Result<std::optional<Alarm>>(changed));
}

template <typename T>
void Writer::answer(Done<T>& done, Result<T> result) {
  finishes_.push_back([done = std::move(done), result = std::move(result)](const Status& status) mutable {
    if (!status.ok()) done(err(status));
    else done(std::move(result));
  });
}

void Writer::apply(Batch& batch, Request& request) {
  std::visit(Overloaded{[&](WriteRequest& one) { apply_write(batch, one); },
                        [&](TxnWork& one) { apply_txn(batch, one); },
                        [&](CompactRequest& one) { apply_compact(batch, one); },
                        [&](GrantRequest& one) { apply_grant(batch, one); },
                        [&](RevokeRequest& one) { apply_revoke(batch, one); },
                        [&](AlarmRequest& one) { apply_alarm(batch, one); },
                        [&](RenewRequest& one) {
                          if (const auto row = leases_.row(one.id))
                            batch.rows().Put(database_.meta(), grant_key(one.id), encode_grant(*row));
                        }},
             request);
  if (!std::holds_alternative<RenewRequest>(request)) unsynced_only_ = false;
}

void Writer::apply_write(Batch& batch, WriteRequest& request) {
  const bool adds = request.kind != WriteRequest::Kind::kRemove;
  if (Status status = admit(batch, adds ? kKeyOverhead + request.key.size() + request.value->size() : 0); !status.ok())
    return answer(request.done, Result<WriteResult>(err(std::move(status))));
  auto before = batch.get(request.key);
  if (!before) return answer(request.done, Result<WriteResult>(err(before.error())));
  WriteResult result;
  const bool met = request.expected == kAnyRevision
                       ? before->has_value() || request.kind == WriteRequest::Kind::kRemove
                       : request.expected == (*before ? (*before)->mod_revision : 0);
  if (!met || (request.kind == WriteRequest::Kind::kRemove && !*before)) {
    result.revision = batch.revision();
    result.current = std::move(*before);
    return answer(request.done, Result<WriteResult>(std::move(result)));
  }
  if (request.kind != WriteRequest::Kind::kRemove && request.lease != 0 && !leases_.exists(request.lease))
    return answer(request.done, Result<WriteResult>(err(lease_not_found_error())));
  result.succeeded = true;
  result.previous = *before;
  batch.begin();
  result.revision = request.kind == WriteRequest::Kind::kRemove
                        ? batch.erase(std::move(**before))
                        : batch.write(std::move(request.key), std::move(request.value), request.lease,
                                      std::move(*before));
  batch.accept();
  answer(request.done, Result<WriteResult>(std::move(result)));
}

void Writer::apply_txn(Batch& batch, TxnWork& work) {
  if (Status status = admit(batch, added_bytes(work.request, kKeyOverhead)); !status.ok())
    return answer(work.done, Result<TxnResult>(err(std::move(status))));
  batch.begin();
  auto result = run_txn(batch, work.request);
  if (result) batch.accept();
  else batch.undo();
  answer(work.done, std::move(result));
}

void Writer::apply_compact(Batch& batch, CompactRequest& request) {
  if (Status status = admit(batch, 0); !status.ok()) return answer(request.done, Result<Revision>(err(std::move(status))));
  if (request.revision <= batch.compacted())
    return answer(request.done, Result<Revision>(err(compacted_error())));
  if (request.revision > progress_.revision.load())
    return answer(request.done, Result<Revision>(err(future_revision_error())));
  batch.compact(request.revision);
  answer(request.done, Result<Revision>(batch.state().revision));
}

void Writer::apply_grant(Batch& batch, GrantRequest& request) {
  if (Status status = admit(batch, kLeaseOverhead); !status.ok())
    return answer(request.done, Result<LeaseGrant>(err(std::move(status))));
  if (request.ttl_seconds > kMaxTtlSeconds) return answer(request.done, Result<LeaseGrant>(err(lease_ttl_error())));
  LeaseId id = request.id;
  while (id == 0 || (request.id == 0 && leases_.exists(id)))
    id = static_cast<LeaseId>(random_u64() & INT64_MAX);
  if (leases_.exists(id)) return answer(request.done, Result<LeaseGrant>(err(lease_exists_error())));
  const int64_t ttl = std::max<int64_t>(1, request.ttl_seconds);
  batch.rows().Put(database_.meta(), grant_key(id), encode_grant(leases_.grant(id, ttl)));
  answer(request.done, Result<LeaseGrant>(LeaseGrant{id, ttl}));
}

void Writer::apply_revoke(Batch& batch, RevokeRequest& request) {
  batch.begin();
  auto result = revoke(batch, request);
  if (result) batch.accept();
  else batch.undo();
  answer(request.done, std::move(result));
}

Result<Revision> Writer::revoke(Batch& batch, const RevokeRequest& request) {
  ENGENHO_TRY(admit(batch, 0));
  if (request.only_if_expired ? !leases_.expired(request.id) : !leases_.exists(request.id))
    return err(lease_not_found_error());
  ENGENHO_ASSIGN(const auto keys, batch.attached_keys(request.id));
  for (const std::string& key : keys) {
    ENGENHO_ASSIGN(auto kv, batch.get(key));
    if (kv && kv->lease == request.id) batch.erase(std::move(*kv));
  }
  batch.rows().Delete(database_.meta(), grant_key(request.id));
  leases_.remove(request.id);
  return batch.revision();
}

}  // namespace engenho::datastore
