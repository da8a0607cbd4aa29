// Compacts an etcd cluster at intervals, as kube-apiserver does: those who share it agree by the version of the key compact_rev_key on who
// does it, so that each revision stays readable for at least one interval.
#pragma once

#include <atomic>

#include "endpoints.h"
#include "engenho/base/threads.h"

namespace engenho::datastore {

class Compactor {
 public:
  // `endpoints` must outlive it. An interval of 0: never.
  Compactor(Endpoints& endpoints, Duration interval);
  void stop() { tasks_.stop(); }
  // The last revision that this or another process is known to have compacted.
  Revision compacted() const { return compacted_.load(); }

 private:
  // One round. `version`: of the key at the last look; `revision`: the store's at that time.
  Status round(int64_t& version, Revision& revision);

  Endpoints& endpoints_;
  std::atomic<Revision> compacted_{0};
  TaskGroup tasks_{"etcd"};
};

}  // namespace engenho::datastore
