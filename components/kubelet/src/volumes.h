// A pod's volumes below <data-dir>/agent/kubelet/pods/<uid>/volumes.
#pragma once

#include <map>
#include <string>

#include "cluster.h"
#include "pod_fields.h"

namespace engenho::kubelet {

struct FileContent {
  std::string content;
  int mode = 0644;
};
using Files = std::map<std::string, FileContent>;   // by relative path

// Makes `dir` show exactly `files`, all at once: the content lies in a timestamped directory, "..data" points to it and the visible names point
// through "..data"; an update swaps that one symbolic link. Nothing is done when the content is there already. `group` < 0: not changed.
Status write_files_atomic(const std::string& dir, const Files& files, int64_t group);

struct Volumes {
  std::map<std::string, std::string> host_paths;   // volume name -> path on the host
  WallTime renew_at = WallTime::max();             // when a token must be renewed
};

class VolumeManager {
 public:
  VolumeManager(std::string pods_dir, Cluster& cluster, Clock& clock) : pods_dir_(std::move(pods_dir)), cluster_(cluster), clock_(clock) {}
  // Makes what is not there and brings what came from the cluster up to date. Tokens are kept until they are due: when four fifths of their
  // life, or a day, is over. One that cannot be renewed then is kept as long as it is valid.
  Result<Volumes> ensure(const Pod& pod, const PodAddresses& addresses);
  // Unmounts and removes everything of the pod.
  Status remove(const std::string& uid);
  std::string pod_dir(const std::string& uid) const { return pods_dir_ + "/" + uid; }

 private:
  Result<std::string> ensure_one(const Pod& pod, const core_v1::Volume& volume, const PodAddresses& addresses, Volumes& out);
  Result<Files> projected(const Pod& pod, const core_v1::ProjectedVolumeSource& source, const std::string& dir, const PodAddresses& addresses, Volumes& out);
  Result<std::string> service_token(const Pod& pod, const core_v1::ServiceAccountTokenProjection& source, const std::string& dir, Volumes& out);
  const std::string pods_dir_;
  Cluster& cluster_;
  Clock& clock_;
};

// Every mount point below `dir`, deepest first.
std::vector<std::string> mounts_below(const std::string& dir);
Status unmount_and_remove(const std::string& dir);

}  // namespace engenho::kubelet
