// Snapshots of the datastore on a schedule, with retention.
#pragma once

#include <string>

#include "engenho/base/threads.h"
#include "engenho/datastore/store.h"

namespace engenho {

struct SnapshotSchedule {
  std::string dir;
  Duration interval{0};   // between the starts of two; 0: none. The first comes one interval after the newest that is there
  size_t keep = 5;
};

// Runs until `tasks` stops. `store` must outlive it. What fails is logged and tried again at the next turn; the old ones stay.
void schedule_snapshots(TaskGroup& tasks, datastore::Store& store, SnapshotSchedule schedule);

}  // namespace engenho
