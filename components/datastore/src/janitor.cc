#include "janitor.h"

#include <rocksdb/iterator.h>

#include <algorithm>

#include "engenho/base/log.h"
#include "engenho/base/threads.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace {
constexpr size_t kLeasesAtOnce = 64;
constexpr int kRevisionsPerStep = 512;
constexpr auto kRetry = std::chrono::seconds(5);
constexpr auto kLeaseRetry = std::chrono::seconds(1);
}  // namespace

Janitor::Janitor(const RocksdbOptions& options, Database& database, Progress& progress, LeaseBook& leases,
                 Writer& writer)
    : options_(options),
      clock_(*options.clock),
      database_(database),
      progress_(progress),
      leases_(leases),
      writer_(writer) {}

Janitor::~Janitor() { stop(); }

void Janitor::start() {
  // What there is at start counts as one interval old: a watch from before the restart is served that long.
  tick_revision_ = progress_.revision.load();
  next_compaction_ = clock_.mono() + std::chrono::duration_cast<MonoTime::duration>(options_.compaction_interval);
  scrub_after_ = clock_.mono();
  thread_ = std::thread([this] {
    set_thread_name("store-janitor");
    run();
  });
}

void Janitor::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Janitor::wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  wake_.notify_one();
}

void Janitor::after_scrub(Revision revision, Done<Revision> done) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      scrubs_.emplace_back(revision, std::move(done));
      woken_ = true;
      wake_.notify_one();
      return;
    }
  }
  done(err(store_stopped_error()));
}

bool Janitor::scrub_pending() const {
  return progress_.scrubbed.load() < progress_.compacted.load() && clock_.mono() >= scrub_after_;
}

void Janitor::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    lock.unlock();
    expire_leases();
    compact_on_time();
    Status status;
    if (scrub_pending()) {
      status = scrub_step();
      if (!status.ok()) {
        log::error("datastore", "removing compacted revisions failed: {}", status.message());
        scrub_after_ = clock_.mono() + kRetry;
      }
    }
    finish_scrubs(status);
    const bool more = scrub_pending();
    // The next thing to do, at the latest in a day.
    MonoTime deadline = clock_.mono() + std::chrono::hours(24);
    if (options_.compaction_interval > Duration(0)) deadline = std::min(deadline, next_compaction_);
    if (progress_.scrubbed.load() < progress_.compacted.load()) deadline = std::min(deadline, scrub_after_);
    if (const auto lease = leases_.next_deadline()) deadline = std::min(deadline, *lease);
    lock.lock();
    if (more || woken_ || stopping_ || deadline <= clock_.mono()) continue;
    clock_.wait_until(wake_, lock, deadline);
  }
  auto scrubs = std::move(scrubs_);
  lock.unlock();
  for (auto& [revision, done] : scrubs) done(err(store_stopped_error()));
}

void Janitor::expire_leases() {
  for (const LeaseId id : leases_.take_due(kLeasesAtOnce)) {
    RevokeRequest request{id, true, nullptr};
    request.done = [this, id](Result<Revision> result) {
      if (result || is_lease_not_found(result.error())) return;
      leases_.retry(id, kLeaseRetry);  // a full disk, a full queue: the lease must still go
      wake();
    };
    writer_.submit(std::move(request), 64);
  }
}

void Janitor::compact_on_time() {
  if (options_.compaction_interval <= Duration(0) || clock_.mono() < next_compaction_) return;
  const Revision now = progress_.revision.load(), target = tick_revision_;
  tick_revision_ = now;
  next_compaction_ =
      clock_.mono() + std::chrono::duration_cast<MonoTime::duration>(options_.compaction_interval);
  if (Status status = database_.write_watermark(now); !status.ok())
    log::warn("datastore", "{}", status.message());
  if (target <= std::max<Revision>(progress_.compacted.load(), 1)) return;
  CompactRequest request{target, nullptr};
  request.done = [target](Result<Revision> result) {
    if (!result && !is_compacted(result.error()))
      log::warn("datastore", "compaction at {} failed: {}", target, result.error().message());
  };
  writer_.submit(std::move(request), 64);
}

void Janitor::finish_scrubs(const Status& status) {
  std::vector<std::pair<Revision, Done<Revision>>> finished;
  {
    std::lock_guard lock(mutex_);
    for (auto it = scrubs_.begin(); it != scrubs_.end();) {
      if (status.ok() && progress_.scrubbed.load() < it->first) {
        ++it;
        continue;
      }
      finished.push_back(std::move(*it));
      it = scrubs_.erase(it);
    }
  }
  for (auto& [revision, done] : finished) {
    if (status.ok()) done(progress_.revision.load());
    else done(err(status));
  }
}

// Removes the log rows below the compacted revision, oldest first, and with each change the version that it ended: nothing
// from the compacted revision on can show it. Rows and mark go in one batch, so that a crash repeats or skips nothing.
Status Janitor::scrub_step() {
  const Revision from = progress_.scrubbed.load(), to = progress_.compacted.load();
  rocksdb::WriteBatch batch;
  Revision at = std::max<Revision>(from, 2);  // revision 1 is the empty store
  std::vector<Change> changes;
  const std::string end = log_key(to);
  const rocksdb::Slice upper = end;
  rocksdb::ReadOptions read;
  read.iterate_upper_bound = &upper;
  read.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(database_.db().NewIterator(read, database_.log()));
  it->Seek(log_key(at));
  for (int n = 0; n < kRevisionsPerStep && it->Valid(); ++n, it->Next()) {
    if (it->key().size() != 8 || static_cast<Revision>(get_be64(it->key().data())) != at ||
        !decode_changes(view(it->value()), changes))
      return damaged_error("revision " + std::to_string(at) + " is missing in the log");
    for (const Change& change : changes)
      if (change.previous > 0) batch.Delete(database_.past(), past_key(change.key, change.previous));
    batch.Delete(database_.log(), it->key());
    ++at;
  }
  ENGENHO_RETURN_IF_ERROR(database_.status(it->status(), "read the revision log"));
  if (!it->Valid()) {
    if (at != std::max<Revision>(to, 2))
      return damaged_error("revision " + std::to_string(at) + " is missing in the log");
    at = to;
  }
  batch.Put(database_.meta(), slice(kMetaScrubbed), encode_int(at));
  ENGENHO_RETURN_IF_ERROR(database_.commit(batch, false));
  progress_.scrubbed.store(at);
  return {};
}

}  // namespace engenho::datastore
