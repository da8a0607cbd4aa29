// The store in this process, on RocksDB. Formats, threads and failure modes: components/datastore/README.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engenho/base/clock.h"
#include "engenho/datastore/store.h"

namespace rocksdb {
class Env;
}

namespace engenho::datastore {

struct RocksdbOptions {
  std::string dir;                       // made with mode 0700 when absent
  Clock* clock = nullptr;                // Clock::real() when null; must outlive the store
  rocksdb::Env* env = nullptr;           // RocksDB's files go through it: tests have one with faults. Null: the system's
  bool fsync = true;                     // false only for tests: an acknowledged write may then be lost with the machine

  // Memory. All of it together stays near the sum of these.
  size_t block_cache_bytes = 8 << 20;
  size_t write_buffer_bytes = 8 << 20;   // all column families together
  size_t ring_bytes = 8 << 20;           // recent events kept for watchers
  size_t max_pending_bytes = 32 << 20;   // writes waiting for the disk; more answer too_many_requests_error()
  size_t max_pending_requests = 8192;
  int max_open_files = 128;

  size_t max_request_bytes = 1536 << 10; // key and values of one request

  // Compaction. At every interval the revision of one interval ago is compacted, so that between one and two intervals of
  // history are kept; 0 switches it off. Beyond max_history revisions the oldest go at once; 0: no limit.
  Duration compaction_interval = std::chrono::minutes(5);
  int64_t compaction_max_history = 1'000'000;

  // Once the database is this large, writes that add to it raise the alarm kNoSpace, which blocks them until an operator lifts it or the
  // database is below nine tenths of the quota again. 0: no quota.
  int64_t quota_bytes = 8LL << 30;

  // Every data file is read and its checksums verified at start when together they are no larger than this.
  uint64_t verify_limit_bytes = 64ull << 20;
  // For an operator whose log was damaged by the machine's crash: keep what precedes the damage. Loses what follows it.
  bool recover_damaged_log = false;
};

// Fails with a clear text when another process has the directory, when it was written by a newer version, and when its
// data is damaged (naming the file). Watches may outlive the store; they end with it.
Result<std::unique_ptr<Store>> open_rocksdb_store(RocksdbOptions options);

}  // namespace engenho::datastore
