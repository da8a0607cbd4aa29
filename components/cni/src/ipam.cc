#include "ipam.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <map>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"

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

bool parse_address(const std::string& text, uint32_t& out) {
  in_addr a{};
  if (inet_pton(AF_INET, text.c_str(), &a) != 1) return false;
  out = ntohl(a.s_addr);
  return true;
}

// What is reserved, by address. A file that is empty (a crash between create and write) belongs to nobody and is removed.
std::map<uint32_t, std::string> load(const std::string& directory) {
  std::map<uint32_t, std::string> out;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = readdir(dir)) {
    uint32_t address = 0;
    if (!parse_address(entry->d_name, address)) continue;
    const std::string path = directory + "/" + entry->d_name;
    auto owner = read_file(path);
    if (owner && owner->empty()) unlink(path.c_str());
    else out[address] = owner ? *owner : "?";
  }
  closedir(dir);
  return out;
}

}  // namespace

std::string address_text(uint32_t address) {
  in_addr a{htonl(address)};
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &a, text, sizeof text);
}

Result<Subnet> parse_subnet(const std::string& text) {
  const size_t slash = text.find('/');
  Subnet out;
  int64_t prefix = 0;
  if (slash == std::string::npos || !parse_address(text.substr(0, slash), out.base) ||
      !parse_int(std::string_view(text).substr(slash + 1), prefix) || prefix < 8 || prefix > 30) {
    return err(bad_request("invalid subnet \"" + text + "\": expected an IPv4 range with a prefix of 8 to 30"));
  }
  out.prefix = static_cast<int>(prefix);
  out.base &= ~0u << (32 - out.prefix);
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
  if (auto text = read_file(directory_ + "/last_reserved")) parse_address(*text, last);
  if (last < subnet_.gateway() || last >= subnet_.last()) last = subnet_.gateway();
  const uint32_t first = subnet_.gateway() + 1, end = subnet_.last();
  for (uint32_t i = 0; i < end - first; ++i) {
    const uint32_t candidate = first + (last + 1 - first + i) % (end - first);
    if (reserved.contains(candidate)) continue;
    ENGENHO_TRY(write_file_atomic(directory_ + "/" + address_text(candidate), owner, 0600));
    ENGENHO_TRY(write_file_atomic(directory_ + "/last_reserved", address_text(candidate), 0600));
    return candidate;
  }
  return err(unavailable("no free address in " + address_text(subnet_.base) + "/" + std::to_string(subnet_.prefix)));
}

Status Ipam::release(const std::string& owner) {
  if (!path_exists(directory_)) return {};
  const Lock lock(directory_ + "/lock");
  if (!lock.held()) return errno_error("lock " + directory_, errno);
  for (const auto& [address, who] : load(directory_)) {
    const std::string path = directory_ + "/" + address_text(address);
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
