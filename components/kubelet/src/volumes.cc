#include "volumes.h"

#include <climits>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"

namespace engenho::kubelet {

namespace fs = std::filesystem;

namespace {

// Paths come from objects that anybody may have written: none may leave the volume.
bool is_safe_path(const std::string& path) {
  if (path.empty() || path.front() == '/' || path.size() > 4096) return false;
  for (std::string_view part : split(path, '/')) {
    if (part.empty() || part == ".." || part == ".") return false;
  }
  return !path.starts_with("..");
}

bool same_content(const std::string& dir, const Files& files) {
  const std::string data = dir + "/..data";
  size_t found = 0;
  std::error_code ec;
  for (auto it = fs::recursive_directory_iterator(fs::path(data) / "", ec); !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    if (it->is_directory(ec)) continue;
    const std::string path = fs::relative(it->path(), fs::path(data), ec).string();
    auto want = files.find(path);
    if (want == files.end()) return false;
    auto text = read_file(it->path().string());
    struct stat st {};
    if (!text || *text != want->second.content || stat(it->path().c_str(), &st) != 0 || static_cast<int>(st.st_mode & 07777) != want->second.mode) return false;
    ++found;
  }
  return !ec && found == files.size() && path_exists(data);
}

Status write_plain(const std::string& path, const FileContent& file, int64_t group) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno_error("create " + path, errno);
  size_t done = 0;
  while (done < file.content.size()) {
    const ssize_t n = write(fd, file.content.data() + done, file.content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int e = errno;
      close(fd);
      return errno_error("write " + path, e);
    }
    done += static_cast<size_t>(n);
  }
  int e = 0;
  if (group >= 0 && fchown(fd, static_cast<uid_t>(-1), static_cast<gid_t>(group)) != 0) e = errno;
  if (e == 0 && fchmod(fd, static_cast<mode_t>(file.mode)) != 0) e = errno;
  close(fd);
  return e == 0 ? Status() : errno_error("mode of " + path, e);
}

}  // namespace

Status write_files_atomic(const std::string& dir, const Files& files, int64_t group) {
  for (const auto& [path, file] : files) {
    if (!is_safe_path(path)) return bad_request("invalid path in a volume: \"" + path + "\"");
  }
  ENGENHO_RETURN_IF_ERROR(make_dirs(dir));
  if (same_content(dir, files)) return {};
  const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::real().wall().time_since_epoch()).count();
  const std::string name = "..engenho_" + std::to_string(now), fresh = dir + "/" + name;
  ENGENHO_RETURN_IF_ERROR(make_dirs(fresh));
  std::set<std::string> tops;
  for (const auto& [path, file] : files) {
    if (const size_t slash = path.rfind('/'); slash != std::string::npos) ENGENHO_RETURN_IF_ERROR(make_dirs(fresh + "/" + path.substr(0, slash)));
    ENGENHO_RETURN_IF_ERROR(write_plain(fresh + "/" + path, file, group));
    tops.insert(path.substr(0, path.find('/')));
  }
  const std::string data = dir + "/..data", swap = dir + "/..data_tmp";

  unlink(swap.c_str());
  if (symlink(name.c_str(), swap.c_str()) != 0 || rename(swap.c_str(), data.c_str()) != 0) return errno_error("swap " + data, errno);
  for (const std::string& top : tops) {
    const std::string link = dir + "/" + top, target = "..data/" + top;
    char now_target[PATH_MAX];
    const ssize_t n = readlink(link.c_str(), now_target, sizeof now_target);
    if (n >= 0 && std::string_view(now_target, static_cast<size_t>(n)) == target) continue;
    unlink(link.c_str());
    if (symlink(target.c_str(), link.c_str()) != 0) return errno_error("symlink " + link, errno);
  }
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(dir, ec)) {
    const std::string n = entry.path().filename().string();
    if (n.starts_with("..engenho_")) {
      if (n != name) fs::remove_all(entry.path(), ec);
    } else if (!n.starts_with("..") && !tops.contains(n)) {
      fs::remove_all(entry.path(), ec);
    }
  }
  return {};
}

std::vector<std::string> mounts_below(const std::string& dir) {
  std::vector<std::string> out;
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string skip, where;
    fields >> skip >> skip >> skip >> skip >> where;
    std::string path;   // octal escapes: \040 is a space
    for (size_t i = 0; i < where.size(); ++i) {
      if (where[i] == '\\' && i + 3 < where.size()) {
        path += static_cast<char>(std::stoi(where.substr(i + 1, 3), nullptr, 8));
        i += 3;
      } else {
        path += where[i];
      }
    }
    if (path == dir || path.starts_with(dir + "/")) out.push_back(path);
  }
  std::sort(out.rbegin(), out.rend());
  return out;
}

Status unmount_and_remove(const std::string& dir) {
  for (const std::string& path : mounts_below(dir)) {
    if (umount2(path.c_str(), UMOUNT_NOFOLLOW) != 0 && umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT) {
      return errno_error("unmount " + path, errno);
    }
  }
  // Never walk into a mount that would not go away: its files may be somebody's data.
  if (!mounts_below(dir).empty()) return internal_error("something is still mounted below " + dir);
  std::error_code ec;
  fs::remove_all(dir, ec);
  return ec ? internal_error("remove " + dir + ": " + ec.message()) : Status();
}

namespace {

// Adds what `items` selects from `data`, or all of it.
Status select_items(const std::map<std::string, std::string>& data, const std::vector<core_v1::KeyToPath>& items, int mode, bool optional,
                    const std::string& what, Files& out) {
  if (items.empty()) {
    for (const auto& [k, v] : data) out[k] = {v, mode};
    return {};
  }
  for (const auto& item : items) {
    auto it = data.find(item.key);
    if (it != data.end()) out[item.path] = {it->second, item.mode.value_or(mode)};
    else if (!optional) return bad_request("references non-existent " + what + " key: " + item.key);
  }
  return {};
}

std::map<std::string, std::string> data_of(const core_v1::ConfigMap& object) {
  auto out = object.data;
  out.insert(object.binary_data.begin(), object.binary_data.end());
  return out;
}
std::map<std::string, std::string> data_of(const core_v1::Secret& object) { return object.data; }

// An optional object that is not there is an empty one.
template <typename T>
Status add_object(Result<T> object, const std::vector<core_v1::KeyToPath>& items, int mode, bool optional, const std::string& what, Files& out) {
  if (!object) return object.error().not_found() && optional ? Status() : object.error();
  return select_items(data_of(*object), items, mode, optional, what, out);
}

Status add_downward(const Pod& pod, const std::vector<core_v1::DownwardAPIVolumeFile>& items, int mode, const PodAddresses& addresses, Cluster& cluster, Files& out) {
  for (const auto& item : items) {
    std::string value;
    if (item.field_ref) {
      ENGENHO_ASSIGN_OR_RETURN(value, field_value(pod, item.field_ref->field_path, addresses));
    } else if (item.resource_field_ref) {
      ENGENHO_ASSIGN_OR_RETURN(value, resource_value(pod, *item.resource_field_ref, "", cluster));
    }
    out[item.path] = {std::move(value), item.mode.value_or(mode)};
  }
  return {};
}

Status check_host_path(const std::string& path, const std::string& type) {
  struct stat st {};
  const bool there = stat(path.c_str(), &st) == 0;
  if (type == "DirectoryOrCreate") {
    if (!there) return make_dirs(path);
    return S_ISDIR(st.st_mode) ? Status() : bad_request("hostPath type check failed: " + path + " is not a directory");
  }
  if (type == "FileOrCreate") {
    if (!there) return write_file_atomic(path, "", 0644);
    return S_ISREG(st.st_mode) ? Status() : bad_request("hostPath type check failed: " + path + " is not a file");
  }
  if (type.empty()) return there ? Status() : make_dirs(path);
  const bool good = there && (type == "Directory" ? S_ISDIR(st.st_mode) : type == "File" ? S_ISREG(st.st_mode) : type == "Socket" ? S_ISSOCK(st.st_mode)
                    : type == "CharDevice" ? S_ISCHR(st.st_mode) : type == "BlockDevice" && S_ISBLK(st.st_mode));
  return good ? Status() : bad_request("hostPath type check failed: " + path + " is not a " + type);
}

int64_t fs_group(const Pod& pod) {
  return pod.spec.security_context && pod.spec.security_context->fs_group ? *pod.spec.security_context->fs_group : -1;
}

// With fsGroup, files of the cluster's objects are readable for that group.
void apply_group(Files& files, int64_t group) {
  if (group < 0) return;
  for (auto& [path, f] : files) f.mode |= 0440;
}

}  // namespace

Result<std::string> VolumeManager::service_token(const Pod& pod, const core_v1::ServiceAccountTokenProjection& source, const std::string& dir, Volumes& out) {
  constexpr Duration kMaxAge = std::chrono::hours(24);
  // Beside the volume, so that a restart keeps it, too: when it is due, when it ends, and which token that is said of. (We may have been killed
  // before the volume had it.)
  const std::string meta = dir + ".token-" + sha256_hex(source.path).substr(0, 12);
  const WallTime now = clock_.wall();
  std::string old;
  WallTime due{}, ends{};
  if (auto text = read_file(dir + "/" + source.path), notes = read_file(meta); text && notes) {
    const auto lines = split(*notes, '\n');
    const auto first = parse_rfc3339(lines[0]), second = parse_rfc3339(lines.size() < 3 ? "" : lines[1]);
    if (first && second && lines[2] == sha256_hex(*text)) {
      old = std::move(*text);
      due = *first;
      ends = *second;
    }
  }
  if (old.empty() || due <= now) {
    auto token = cluster_.token(pod, source.audience, source.expiration_seconds.value_or(3600));
    if (!token) {
      if (old.empty() || ends <= now) return err(token.error());
      log::warn("kubelet", "pod {}/{}: the token of {} cannot be renewed, and is valid until {}: {}", pod.metadata.namespace_, pod.metadata.name, source.path,
                format_rfc3339(ends), token.error().message());
    } else {
      old = std::move(token->text);
      ends = token->expires;
      due = now + std::min<Duration>((ends - now) * 4 / 5, kMaxAge);
      ENGENHO_TRY(write_file_atomic(meta, format_rfc3339(due) + "\n" + format_rfc3339(ends) + "\n" + sha256_hex(old), 0600));
    }
  }
  out.renew_at = std::min(out.renew_at, due);
  return old;
}

Result<Files> VolumeManager::projected(const Pod& pod, const core_v1::ProjectedVolumeSource& source, const std::string& dir, const PodAddresses& addresses, Volumes& out) {
  Files files;
  const int mode = source.default_mode.value_or(0644);
  const std::string& ns = pod.metadata.namespace_;
  for (const auto& s : source.sources) {
    if (s.config_map) {
      ENGENHO_TRY(add_object(cluster_.config_map(ns, s.config_map->name), s.config_map->items, mode, s.config_map->optional.value_or(false), "config", files));
    } else if (s.secret) {
      ENGENHO_TRY(add_object(cluster_.secret(ns, s.secret->name), s.secret->items, mode, s.secret->optional.value_or(false), "secret", files));
    } else if (s.downward_api) {
      ENGENHO_TRY(add_downward(pod, s.downward_api->items, mode, addresses, cluster_, files));
    } else if (s.service_account_token) {
      const auto& t = *s.service_account_token;
      ENGENHO_ASSIGN(std::string text, service_token(pod, t, dir, out));
      // A process that does not run as root reads it through fsGroup; without one it is the container's user's to read.
      int token_mode = mode;
      if (pod.spec.security_context && pod.spec.security_context->fs_group) token_mode = 0640;
      files[t.path] = {std::move(text), token_mode};
    } else {
      return err(bad_request("a source of a projected volume is not supported: only configMap, secret, downwardAPI and serviceAccountToken are"));
    }
  }
  return files;
}

Result<std::string> VolumeManager::ensure_one(const Pod& pod, const core_v1::Volume& v, const PodAddresses& addresses, Volumes& out) {
  const std::string base = pod_dir(pod.metadata.uid) + "/volumes/";
  const std::string& ns = pod.metadata.namespace_;
  const int64_t group = fs_group(pod);
  if (v.host_path) {
    ENGENHO_TRY(check_host_path(v.host_path->path, v.host_path->type.value_or("")));
    return v.host_path->path;
  }
  if (v.persistent_volume_claim || v.ephemeral) {
    // A claim of a generic ephemeral volume is named after the pod and the volume.
    ENGENHO_ASSIGN(auto volume, cluster_.bound_volume(ns, v.ephemeral ? pod.metadata.name + "-" + v.name : v.persistent_volume_claim->claim_name));
    if (volume.spec.host_path) {
      ENGENHO_TRY(check_host_path(volume.spec.host_path->path, volume.spec.host_path->type.value_or("")));
      return volume.spec.host_path->path;
    }
    if (volume.spec.local) {
      if (!path_exists(volume.spec.local->path)) return err(unavailable("path " + volume.spec.local->path + " of persistentvolume " + volume.metadata.name + " does not exist"));
      return volume.spec.local->path;
    }
    return err(bad_request("persistentvolume " + volume.metadata.name + ": only hostPath and local volumes are supported"));
  }
  if (v.empty_dir) {
    const std::string dir = base + "kubernetes.io~empty-dir/" + v.name;
    const bool there = path_exists(dir);
    ENGENHO_TRY(make_dirs(dir));
    const bool memory = v.empty_dir->medium == "Memory";
    if (!v.empty_dir->medium.empty() && !memory) return err(bad_request("emptyDir medium " + v.empty_dir->medium + " is not supported"));
    if (memory && mounts_below(dir).empty()) {
      std::string data = "mode=0777";
      if (v.empty_dir->size_limit && !v.empty_dir->size_limit->is_zero()) data += ",size=" + std::to_string(v.empty_dir->size_limit->value());
      if (mount("tmpfs", dir.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, data.c_str()) != 0) return err(errno_error("mount tmpfs on " + dir, errno));
    }
    if (!there || memory) {
      if (group >= 0 && chown(dir.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(group)) != 0) return err(errno_error("chown " + dir, errno));
      if (chmod(dir.c_str(), group >= 0 ? 02777 : 0777) != 0) return err(errno_error("chmod " + dir, errno));
    }
    return dir;
  }
  Files files;
  std::string dir;
  if (v.config_map) {
    dir = base + "kubernetes.io~configmap/" + v.name;
    const auto& c = *v.config_map;
    ENGENHO_TRY(add_object(cluster_.config_map(ns, c.name), c.items, c.default_mode.value_or(0644), c.optional.value_or(false), "config", files));
  } else if (v.secret) {
    dir = base + "kubernetes.io~secret/" + v.name;
    const auto& s = *v.secret;
    ENGENHO_TRY(add_object(cluster_.secret(ns, s.secret_name), s.items, s.default_mode.value_or(0644), s.optional.value_or(false), "secret", files));
  } else if (v.downward_api) {
    dir = base + "kubernetes.io~downward-api/" + v.name;
    ENGENHO_TRY(add_downward(pod, v.downward_api->items, v.downward_api->default_mode.value_or(0644), addresses, cluster_, files));
  } else if (v.projected) {
    dir = base + "kubernetes.io~projected/" + v.name;
    ENGENHO_TRY(make_dirs(dir));
    ENGENHO_ASSIGN(files, projected(pod, *v.projected, dir, addresses, out));
  } else {
    return err(bad_request("volume " + v.name + ": this kind of volume is not supported"));
  }
  ENGENHO_TRY(make_dirs(dir));
  // Secrets and tokens never reach a disk.
  if ((v.secret || v.projected) && mounts_below(dir).empty() && mount("tmpfs", dir.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64m") != 0) {
    return err(errno_error("mount tmpfs on " + dir, errno));
  }
  apply_group(files, group);
  ENGENHO_TRY(write_files_atomic(dir, files, group));
  return dir;
}

Result<Volumes> VolumeManager::ensure(const Pod& pod, const PodAddresses& addresses) {
  Volumes out;
  for (const auto& v : pod.spec.volumes) {
    auto path = ensure_one(pod, v, addresses, out);
    if (!path) return err(path.error().with_context("MountVolume.SetUp failed for volume \"" + v.name + "\""));
    out.host_paths[v.name] = std::move(*path);
  }
  return out;
}

Status VolumeManager::remove(const std::string& uid) {
  if (uid.empty() || uid.find('/') != std::string::npos) return bad_request("invalid pod UID");
  return path_exists(pod_dir(uid)) ? unmount_and_remove(pod_dir(uid)) : Status();
}

}  // namespace engenho::kubelet
