// What has to happen in time: leases expire, old revisions are compacted, and what compaction forgot is removed from disk
// in small steps.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "writer.h"

namespace engenho::datastore {

class Janitor {
 public:
  Janitor(const RocksdbOptions& options, Database& database, Progress& progress, LeaseBook& leases,
          Writer& writer);
  ~Janitor();
  void start();
  void stop();

  void wake();  // a deadline may have come nearer, or there is something to remove
  // Calls `done` once everything that only revisions below `revision` can show is gone.
  void after_scrub(Revision revision, Done<Revision> done);

 private:
  void run();
  void expire_leases();
  void compact_on_time();
  Status scrub_step();
  void finish_scrubs(const Status& status);
  bool scrub_pending() const;

  const RocksdbOptions& options_;
  Clock& clock_;
  Database& database_;
  Progress& progress_;
  LeaseBook& leases_;
  Writer& writer_;

  // The thread's own.
  MonoTime next_compaction_;
  Revision tick_revision_ = 0;          // the store's revision at the last tick
  MonoTime scrub_after_;                // after a failure, not before

  std::mutex mutex_;  // all below
  std::condition_variable wake_;
  bool woken_ = false, stopping_ = false;
  std::vector<std::pair<Revision, Done<Revision>>> scrubs_;
  std::thread thread_;
};

}  // namespace engenho::datastore
