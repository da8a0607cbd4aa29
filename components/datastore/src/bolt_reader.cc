#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "bolt_file.h"
#include "bolt_format.h"
#include "codec.h"
#include "crc32c.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

using namespace bolt;

namespace {
constexpr int kMaxDepth = 24;
}

BoltReader::~BoltReader() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

Status BoltReader::damaged(uint64_t offset, const std::string& what) const {
  return damaged_error("the snapshot " + path_ + " is damaged at byte " + std::to_string(offset) + ": " + what);
}

Status BoltReader::open(const std::string& path) {
  path_ = path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(path, errno);
  struct Close {
    int fd;
    ~Close() { ::close(fd); }
  } close{fd};
  struct stat have{};
  if (::fstat(fd, &have) != 0) return errno_error(path, errno);
  uint64_t size = static_cast<uint64_t>(have.st_size);
  digest_ = size % 512 == kDigest;
  if (digest_) size -= kDigest;
  if (size < 4 * kBoltPage) return damaged_error("the snapshot " + path + " has " + std::to_string(have.st_size) + " bytes: it is cut off or none");
  data_ = static_cast<const char*>(::mmap(nullptr, static_cast<size_t>(have.st_size), PROT_READ, MAP_PRIVATE, fd, 0));
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    return errno_error("mmap " + path, errno);
  }
  size_ = static_cast<uint64_t>(have.st_size);

  // The newer of the two metas that are whole. A server's own file may be in use: only one of them is then.
  Status why = damaged(kPageHeader, "neither of its two heads is whole, so it is no snapshot or its beginning is lost");
  uint64_t best = 0;
  bool found = false;
  for (uint64_t i = 0; i < 2; ++i) {
    const std::string_view meta(data_ + i * kBoltPage + kPageHeader, kMetaBytes);
    if (get_int<uint32_t>(meta, 0) != kMagic || get_int<uint32_t>(meta, 4) != kVersion || get_int<uint64_t>(meta, 56) != fnv64(meta.substr(0, 56)))
      continue;
    if (get_int<uint32_t>(meta, 8) != kBoltPage)
      return bad_request("the snapshot " + path + " has pages of " + std::to_string(get_int<uint32_t>(meta, 8)) + " bytes; only 4096 are read");
    const uint64_t transaction = get_int<uint64_t>(meta, 48);
    if (found && transaction < best) continue;
    found = true;
    best = transaction;
    root_ = get_int<uint64_t>(meta, 16);
    pages_ = get_int<uint64_t>(meta, 40);
  }
  if (!found) return why;
  if (pages_ > size / kBoltPage)
    return damaged_error("the snapshot " + path + " is cut off: it ends at byte " + std::to_string(have.st_size) + " of " +
                         std::to_string(pages_ * kBoltPage + kDigest));
  if (digest_) {
    ENGENHO_ASSIGN_OR_RETURN(const std::string digest, sha256_of(fd, size, path));
    if (std::string_view(data_ + size, kDigest) != digest) {
      // Only of a file as we wrote it: etcd keeps our bucket in what it restores, and changes the rest.
      if (best == 1) ENGENHO_RETURN_IF_ERROR(check_chunks());
      return damaged_error("the snapshot " + path + " is damaged: its SHA-256 is not that of its " + std::to_string(size) +
                           " bytes (no checksum says where)");
    }
  }
  // Structure, too: a file without a digest, or one that somebody made.
  uint64_t left = pages_;
  return walk(root_, 0, left, true, [](std::string_view, std::string_view, uint32_t) { return Status(); });
}

// Says where a file is damaged that has our checksums. OK: it has none, or they hold.
Status BoltReader::check_chunks() const {
  return scan(kChecksumBucket, [&](std::string_view key, std::string_view value) -> Status {
    if (key.size() != 8 || value.size() != 4) return damaged(0, "the bucket of checksums is malformed");
    const uint64_t first = get_be64(key.data());
    if (first >= pages_) return damaged(0, "a checksum is for a page that is not there");
    // The last one covers what there was then: try every length up to the full one.
    uint32_t crc = 0;
    for (uint64_t n = 0; n < kChunkPages && first + n < pages_; ++n) {
      crc = crc32c(crc, {data_ + (first + n) * kBoltPage, kBoltPage});
      if (crc == get_be32(value.data())) return {};
    }
    return damaged_error("the snapshot " + path_ + " is damaged between byte " + std::to_string(first * kBoltPage) + " and byte " +
                         std::to_string((first + kChunkPages) * kBoltPage) + ": their checksum differs");
  });
}

Result<std::string_view> BoltReader::page(uint64_t id) const {
  if (id < 2 || id >= pages_) return err(damaged(id * kBoltPage, "page " + std::to_string(id) + " is not there"));
  const std::string_view head(data_ + id * kBoltPage, kBoltPage);
  const uint64_t count = 1 + static_cast<uint64_t>(get_int<uint32_t>(head, 12));
  if (get_int<uint64_t>(head, 0) != id || count > pages_ - id)
    return err(damaged(id * kBoltPage, "page " + std::to_string(id) + " has another page's head"));
  return std::string_view(data_ + id * kBoltPage, count * kBoltPage);
}

Status BoltReader::walk(uint64_t id, int depth, uint64_t& left, bool buckets,
                        const std::function<Status(std::string_view, std::string_view, uint32_t)>& visit) const {
  // No page can be reached twice in a whole file: more visits than pages are a circle.
  if (depth > kMaxDepth || left-- == 0) return damaged(id * kBoltPage, "its pages refer to each other in a circle");
  ENGENHO_ASSIGN_OR_RETURN(const std::string_view bytes, page(id));
  if (!buckets) return elements(bytes, id * kBoltPage, depth, left, visit);
  return elements(bytes, id * kBoltPage, depth, left, [&](std::string_view key, std::string_view value, uint32_t flags) -> Status {
    if ((flags & kBucketElement) == 0 || value.size() < 16) return damaged(id * kBoltPage, "the list of buckets is malformed");
    ENGENHO_RETURN_IF_ERROR(visit(key, value, flags));
    const uint64_t root = get_int<uint64_t>(value, 0);
    const auto nothing = [](std::string_view, std::string_view, uint32_t) { return Status(); };
    if (root == 0) return elements(value.substr(16), id * kBoltPage, depth + 1, left, nothing);
    return walk(root, depth + 1, left, false, nothing);
  });
}

Status BoltReader::elements(std::string_view bytes, uint64_t offset, int depth, uint64_t& left,
                            const std::function<Status(std::string_view, std::string_view, uint32_t)>& visit) const {
  if (bytes.size() < kPageHeader) return damaged(offset, "a page is too short");
  const auto flags = get_int<uint16_t>(bytes, 8);
  const size_t count = get_int<uint16_t>(bytes, 10);
  const bool branch = flags == kBranchPage;
  if (!branch && flags != kLeafPage) return damaged(offset, "a page has the kind " + std::to_string(flags));
  if (kPageHeader + count * kLeafElement > bytes.size()) return damaged(offset, "a page has more rows than room");
  for (size_t i = 0; i < count; ++i) {
    const size_t at = kPageHeader + i * kLeafElement;
    const uint64_t position = get_int<uint32_t>(bytes, branch ? at : at + 4), key_size = get_int<uint32_t>(bytes, branch ? at + 4 : at + 8),
                   value_size = branch ? 0 : get_int<uint32_t>(bytes, at + 12);
    if (at + position + key_size + value_size > bytes.size()) return damaged(offset, "row " + std::to_string(i) + " of a page goes beyond it");
    if (branch) {
      ENGENHO_RETURN_IF_ERROR(walk(get_int<uint64_t>(bytes, at + 8), depth + 1, left, false, visit));
    } else {
      ENGENHO_RETURN_IF_ERROR(visit(bytes.substr(at + position, key_size), bytes.substr(at + position + key_size, value_size),
                                    get_int<uint32_t>(bytes, at)));
    }
  }
  return {};
}

Status BoltReader::scan(std::string_view bucket, const Visitor& visit) const {
  uint64_t left = pages_;
  ENGENHO_ASSIGN_OR_RETURN(const std::string_view top, page(root_));
  return elements(top, root_ * kBoltPage, 0, left, [&](std::string_view name, std::string_view value, uint32_t) -> Status {
    if (name != bucket) return {};
    if (value.size() < 16) return damaged(root_ * kBoltPage, "the list of buckets is malformed");
    const auto each = [&](std::string_view k, std::string_view v, uint32_t) { return visit(k, v); };
    const uint64_t root = get_int<uint64_t>(value, 0);
    if (root == 0) return elements(value.substr(16), root_ * kBoltPage, 1, left, each);
    return walk(root, 1, left, false, each);
  });
}

}  // namespace engenho::datastore
