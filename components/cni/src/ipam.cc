#include "ipam.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <map>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/ipv4.h"

namespace engenho::cni {

namespace {

class Lock {
 public:
  explicit Lock(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ >= 0 && flock(fd_, LOCK_EX) != 0) {
      close(fd_);
      fd_ = -1;
    }
  }
  ~Lock() {
    if (fd_ >= 0) close(fd_);
  }
  bool held() const { return fd_ >= 0; }

 private:
  int fd_;
};

// What is reserved, by address. A file that is empty (a crash between create and write) belongs to nobody and is removed.
std::map<uint32_t, std::string> load(const std::string& directory) {
  std::map<uint32_t, std::string> out;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = readdir(dir)) {
    const auto address = parse_ipv4(entry->d_name);
    if (!address) continue;
    const std::string path = directory + "/" + entry->d_name;
    auto owner = read_file(path);
    if (owner && owner->empty()) unlink(path.c_str());
    else out[*address] = owner ? *owner : "?";
  }
  closedir(dir);
  return out;
}

}  // namespace

Result<Subnet> parse_subnet(const std::string& text) {
  const auto range = parse_ipv4_range(text);
  if (!range || range->bits < 8 || range->bits > 30) return err(bad_request("invalid subnet \"" + text + "\": expected an IPv4 range with a prefix of 8 to 30"));
  Subnet out;
  out.base = range->first;
  out.prefix = range->bits;
  return out;
}

Result<uint32_t> Ipam::reserve(const std::string& owner) {
  ENGENHO_TRY(make_dirs(directory_, 0700));
  const Lock lock(directory_ + "/lock");
  if (!lock.held()) return err(errno_error("lock " + directory_, errno));
  const auto reserved = load(directory_);
  for (const auto& [address, who] : reserved) {
    if (who == owner && address >= subnet_.base && address <= subnet_.last()) return address;
  }
  uint32_t last = subnet_.gateway();
  if (auto text = read_file(directory_ + "/last_reserved")) last = parse_ipv4(*text).value_or(last);
  if (last < subnet_.gateway() || last >= subnet_.last()) last = subnet_.gateway();
  const uint32_t first = subnet_.gateway() + 1, end = subnet_.last();
  for (uint32_t i = 0; i < end - first; ++i) {
    const uint32_t candidate = first + (last + 1 - first + i) % (end - first);
    if (reserved.contains(candidate)) continue;
    ENGENHO_TRY(write_file_atomic(directory_ + "/" + ipv4_text(candidate), owner, 0600));
    ENGENHO_TRY(write_file_atomic(directory_ + "/last_reserved", ipv4_text(candidate), 0600));
    return candidate;
  }
  return err(unavailable("no free address in " + ipv4_text(subnet_.base) + "/" + std::to_string(subnet_.prefix)));
}

Status Ipam::release(const std::string& owner) {
  if (!path_exists(directory_)) return {};
  const Lock lock(directory_ + "/lock");
  if (!lock.held()) return errno_error("lock " + directory_, errno);
  for (const auto& [address, who] : load(directory_)) {
    const std::string path = directory_ + "/" + ipv4_text(address);
    if (who == owner && unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove " + path, errno);
  }
  return {};
}

Result<uint32_t> Ipam::find(const std::string& owner) {
  if (!path_exists(directory_)) return 0u;
  const Lock lock(directory_ + "/lock");
  for (const auto& [address, who] : load(directory_)) {
    if (who == owner) return address;
  }
  return 0u;
}

}  // namespace engenho::cni
