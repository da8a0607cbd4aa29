#include "snapshots.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/datastore/snapshot.h"

namespace engenho {

namespace {

Status take(datastore::Store& store, const SnapshotSchedule& schedule) {
  ENGENHO_RETURN_IF_ERROR(make_dirs(schedule.dir, 0700));
  // What a server that was killed left half made.
  const std::string partial = schedule.dir + "/.saving";
  ::unlink(partial.c_str());
  ENGENHO_ASSIGN_OR_RETURN(const datastore::SnapshotInfo info, datastore::write_snapshot(store, partial));
  const std::string path = schedule.dir + "/" + datastore::snapshot_name(info.revision, Clock::real().wall());
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  if (error) return internal_error("rename " + partial + ": " + error.message());
  log::info("engenho", "snapshot {} ({} bytes, revision {})", path, info.bytes, info.revision);
  // Only after a new one is there.
  ENGENHO_ASSIGN_OR_RETURN(const auto removed, datastore::prune_snapshots(schedule.dir, schedule.keep));
  for (const std::string& old : removed) log::info("engenho", "removed the old snapshot {}", old);
  return {};
}

// How long ago the newest was made; a long time when there is none.
Duration age_of_newest(const SnapshotSchedule& schedule) {
  const auto paths = datastore::list_snapshots(schedule.dir);
  if (!paths || paths->empty()) return schedule.interval;
  std::error_code error;
  const auto made = std::filesystem::last_write_time(paths->back(), error);
  if (error) return schedule.interval;
  const auto age = std::filesystem::file_time_type::clock::now() - made;
  return std::clamp(std::chrono::duration_cast<Duration>(age), Duration(0), schedule.interval);
}

}  // namespace

void schedule_snapshots(TaskGroup& tasks, datastore::Store& store, SnapshotSchedule schedule) {
  if (schedule.interval <= Duration(0)) return;
  tasks.spawn("snapshots", [&store, schedule = std::move(schedule)](StopToken stop) {
    const bool any = [&] { const auto paths = datastore::list_snapshots(schedule.dir); return paths && !paths->empty(); }();
    Duration wait = any ? schedule.interval - age_of_newest(schedule) : schedule.interval;
    while (!stop.wait_for(wait)) {
      if (Status status = take(store, schedule); !status.ok()) log::error("engenho", "the scheduled snapshot failed: {}", status.message());
      wait = schedule.interval;
    }
  });
}

}  // namespace engenho
