// How far the store is. One writer thread stores, everyone loads.
#pragma once

#include <atomic>

#include "engenho/datastore/store.h"

namespace engenho::datastore {

struct Progress {
  // The newest revision that readers may see. Stored under the watch hub's lock, together with the ring.
  std::atomic<Revision> revision{1};
  // The newest revision that a commit may already have made visible in RocksDB: stored before the commit begins. Equal to
  // `revision` when none is under way; that lets a reader take the short way.
  std::atomic<Revision> assigned{1};
  std::atomic<Revision> compacted{0};
  std::atomic<Revision> scrubbed{0};  // rows below are gone from disk
  std::atomic<int64_t> keys{0};
};

}  // namespace engenho::datastore
