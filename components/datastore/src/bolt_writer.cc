#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bolt_file.h"
#include "bolt_format.h"
#include "codec.h"
#include "crc32c.h"

namespace engenho::datastore {

using namespace bolt;

BoltWriter::~BoltWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status BoltWriter::open(const std::string& path) {
  path_ = path;
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd_ < 0) return errno_error(path, errno);
  // The first pages are known at the end only.
  if (::lseek(fd_, static_cast<off_t>(pages_ * kBoltPage), SEEK_SET) < 0) return errno_error(path, errno);
  return {};
}

Status BoltWriter::append(std::string_view bytes) {
  out_.append(bytes);
  for (size_t at = 0; at < bytes.size(); at += kBoltPage) {
    chunk_crc_ = crc32c(chunk_crc_, bytes.substr(at, kBoltPage));
    if (++chunk_pages_ == kChunkPages) {
      chunks_.emplace_back(chunk_first_, chunk_crc_);
      chunk_first_ += chunk_pages_;
      chunk_pages_ = chunk_crc_ = 0;
    }
  }
  if (out_.size() < (1 << 20) && !bytes.empty()) return {};
  for (std::string_view left = out_; !left.empty();) {
    const ssize_t put = ::write(fd_, left.data(), left.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error("write " + path_, errno);
    left.remove_prefix(static_cast<size_t>(put));
  }
  out_.clear();
  return {};
}

void BoltWriter::begin_bucket(std::string_view name) {
  bucket_ = name;
  leaf_.clear();
  leaf_bytes_ = 0;
  children_.clear();
}

Status BoltWriter::add(std::string_view key, std::string_view value) {
  const size_t bytes = kLeafElement + key.size() + value.size();
  if (!leaf_.empty() && kPageHeader + leaf_bytes_ + bytes > kBoltPage) ENGENHO_RETURN_IF_ERROR(flush_leaf());
  leaf_.push_back({std::string(key), std::string(value), 0});
  leaf_bytes_ += bytes;
  return {};
}

Status BoltWriter::flush_leaf() {
  uint64_t page = 0;
  ENGENHO_RETURN_IF_ERROR(write_page(kLeafPage, leaf_, nullptr, page));
  children_.push_back({leaf_.empty() ? "" : leaf_.front().key, page});
  leaf_.clear();
  leaf_bytes_ = 0;
  return {};
}

Status BoltWriter::write_page(uint16_t flags, const std::vector<Row>& rows, const std::vector<Child>* children, uint64_t& page) {
  const size_t count = children ? children->size() : rows.size();
  std::string body;
  size_t offset = count * kLeafElement;  // both kinds of elements have the same size
  for (size_t i = 0; i < count; ++i) {
    const auto position = static_cast<uint32_t>(offset - i * kLeafElement);  // from the element itself
    if (children) {
      const Child& child = (*children)[i];
      put_u32(body, position);
      put_u32(body, static_cast<uint32_t>(child.first_key.size()));
      put_u64(body, child.page);
      offset += child.first_key.size();
    } else {
      put_u32(body, rows[i].flags);
      put_u32(body, position);
      put_u32(body, static_cast<uint32_t>(rows[i].key.size()));
      put_u32(body, static_cast<uint32_t>(rows[i].value.size()));
      offset += rows[i].key.size() + rows[i].value.size();
    }
  }
  if (children) {
    for (const Child& child : *children) body += child.first_key;
  } else {
    for (const Row& row : rows) body.append(row.key).append(row.value);
  }
  const uint64_t pages = (kPageHeader + body.size() + kBoltPage - 1) / kBoltPage;
  page = pages_;
  std::string bytes = page_header(page, flags, static_cast<uint16_t>(count), static_cast<uint32_t>(pages - 1));
  bytes += body;
  bytes.resize(pages * kBoltPage);
  pages_ += pages;
  return append(bytes);
}

// Branches above the leaves, level by level, until there is one page.
Result<uint64_t> BoltWriter::finish_tree() {
  if (!leaf_.empty() || children_.empty()) ENGENHO_TRY(flush_leaf());
  while (children_.size() > 1) {
    std::vector<Child> above, group;
    size_t bytes = 0;
    const auto flush = [&]() -> Status {
      uint64_t page = 0;
      ENGENHO_RETURN_IF_ERROR(write_page(kBranchPage, {}, &group, page));
      above.push_back({group.front().first_key, page});
      group.clear();
      bytes = 0;
      return {};
    };
    for (Child& child : children_) {
      const size_t more = kLeafElement + child.first_key.size();
      if (group.size() > 1 && kPageHeader + bytes + more > kBoltPage) ENGENHO_TRY(flush());
      bytes += more;
      group.push_back(std::move(child));
    }
    ENGENHO_TRY(flush());
    children_ = std::move(above);
  }
  return children_.front().page;
}

Status BoltWriter::end_bucket() {
  Row row{bucket_, "", kBucketElement};
  if (leaf_.empty() && children_.empty()) {
    // An empty bucket stands in the row itself: no root page, and then a page without rows.
    put_u64(row.value, 0);
    put_u64(row.value, 0);
    row.value += page_header(0, kLeafPage, 0, 0);
  } else {
    ENGENHO_ASSIGN_OR_RETURN(const uint64_t root, finish_tree());
    put_u64(row.value, root);
    put_u64(row.value, 0);
  }
  root_.push_back(std::move(row));
  return {};
}

Status BoltWriter::finish(bool sha256) {
  // What comes after this point is not covered by it, but by the digest.
  if (chunk_pages_ > 0) chunks_.emplace_back(chunk_first_, chunk_crc_);
  const auto chunks = std::move(chunks_);
  begin_bucket(kChecksumBucket);
  for (const auto& [first, crc] : chunks) {
    std::string key, value;
    put_be64(key, first);
    put_be32(value, crc);
    ENGENHO_RETURN_IF_ERROR(add(key, value));
  }
  ENGENHO_RETURN_IF_ERROR(end_bucket());
  std::sort(root_.begin(), root_.end(), [](const Row& a, const Row& b) { return a.key < b.key; });
  uint64_t root = 0;
  ENGENHO_RETURN_IF_ERROR(write_page(kLeafPage, root_, nullptr, root));
  ENGENHO_RETURN_IF_ERROR(append({}));

  std::string first;
  for (uint64_t i = 0; i < 2; ++i) {
    std::string page = page_header(i, kMetaPage, 0, 0);
    std::string meta;
    put_u32(meta, kMagic);
    put_u32(meta, kVersion);
    put_u32(meta, static_cast<uint32_t>(kBoltPage));
    put_u32(meta, 0);
    put_u64(meta, root);
    put_u64(meta, 0);       // the root bucket's sequence
    put_u64(meta, 2);       // freelist
    put_u64(meta, pages_);  // pages in all
    put_u64(meta, i);       // transaction
    put_u64(meta, fnv64(meta));
    page += meta;
    page.resize(kBoltPage);
    first += page;
  }
  std::string freelist = page_header(2, kFreelistPage, 0, 0);
  freelist.resize(kBoltPage);
  first += freelist;
  if (::pwrite(fd_, first.data(), first.size(), 0) != static_cast<ssize_t>(first.size())) return errno_error("write " + path_, errno);
  if (sha256) {
    ENGENHO_ASSIGN_OR_RETURN(const std::string digest, sha256_of(fd_, pages_ * kBoltPage, path_));
    if (::pwrite(fd_, digest.data(), digest.size(), static_cast<off_t>(pages_ * kBoltPage)) != static_cast<ssize_t>(digest.size()))
      return errno_error("write " + path_, errno);
  }
  if (::fsync(fd_) != 0) return errno_error("fsync " + path_, errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  return closed == 0 ? Status() : errno_error("close " + path_, errno);
}

namespace bolt {

Result<std::string> sha256_of(int fd, uint64_t size, const std::string& path) {
  EVP_MD_CTX* digest = EVP_MD_CTX_new();
  EVP_DigestInit_ex(digest, EVP_sha256(), nullptr);
  std::string buffer(1 << 20, '\0');
  Status failed;
  for (uint64_t at = 0; at < size && failed.ok();) {
    const ssize_t got = ::pread(fd, buffer.data(), std::min<uint64_t>(buffer.size(), size - at), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed = errno_error("read " + path, errno);
    else if (got == 0) failed = internal_error(path + " ends at byte " + std::to_string(at) + " of " + std::to_string(size));
    else EVP_DigestUpdate(digest, buffer.data(), static_cast<size_t>(got));
    at += got > 0 ? static_cast<uint64_t>(got) : 0;
  }
  std::string out(32, '\0');
  EVP_DigestFinal_ex(digest, reinterpret_cast<unsigned char*>(out.data()), nullptr);
  EVP_MD_CTX_free(digest);
  if (!failed.ok()) return err(failed);
  return out;
}

}  // namespace bolt

}  // namespace engenho::datastore
