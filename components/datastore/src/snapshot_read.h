#pragma once

#include <functional>

#include "bolt_file.h"
#include "engenho/datastore/snapshot.h"

namespace engenho::datastore {

// Calls `visit` for each version of an opened and checked snapshot in the order of revisions, with the file's compacted revision. Answers what
// it holds (all but the number of keys).
Result<SnapshotInfo> read_snapshot(const std::string& path, const BoltReader& file,
                                   const std::function<Status(const Version&, Revision compacted)>& visit);

}  // namespace engenho::datastore
