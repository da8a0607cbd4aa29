// The file format of bbolt (version 2, pages of 4096 bytes), in which etcd keeps its data and writes its snapshots: written in one go, and read.
//
//   page    = be the machine's order, little-endian: u64 id, u16 flags, u16 count, u32 overflow pages, then elements
//   pages 0 and 1 are metas (root bucket, page count, checksum), page 2 an empty freelist; the rest are leaves and branches
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::datastore {

// Checksums of our own stand in a bucket that etcd ignores: be64 page -> be32 CRC-32C of kChunkPages pages from there on. They tell where a
// damaged file is damaged; etcd's own SHA-256 at the end only says that it is.
inline constexpr std::string_view kChecksumBucket = "engenho_checksums";
inline constexpr uint64_t kBoltPage = 4096, kChunkPages = 16;

// Writes a new file. Buckets come in the order of their names, rows in that of their keys. Not thread-safe.
class BoltWriter {
 public:
  BoltWriter() = default;
  ~BoltWriter();
  BoltWriter(const BoltWriter&) = delete;
  BoltWriter& operator=(const BoltWriter&) = delete;

  Status open(const std::string& path);  // must not exist
  void begin_bucket(std::string_view name);
  Status add(std::string_view key, std::string_view value);
  Status end_bucket();
  // Adds the bucket of checksums, the metas and, with `sha256`, the digest of all of it, and syncs.
  Status finish(bool sha256);

 private:
  struct Child {
    std::string first_key;
    uint64_t page;
  };
  struct Row {
    std::string key, value;
    uint32_t flags = 0;
  };
  Status flush_leaf();
  Status write_page(uint16_t flags, const std::vector<Row>& rows, const std::vector<Child>* children, uint64_t& page);
  Status append(std::string_view bytes);
  Result<uint64_t> finish_tree();

  std::string path_;
  int fd_ = -1;
  std::string out_;        // not yet written
  uint64_t pages_ = 3;     // the next page's id
  uint64_t written_ = 0;
  uint32_t chunk_crc_ = 0;
  uint64_t chunk_pages_ = 0, chunk_first_ = 3;
  std::vector<std::pair<uint64_t, uint32_t>> chunks_;
  std::string bucket_;
  std::vector<Row> leaf_;
  size_t leaf_bytes_ = 0;
  std::vector<Child> children_;
  std::vector<Row> root_;
};

// A file opened for reading, all of it checked: the digest, ours by chunk, and every page that is reached. Thread-safe.
class BoltReader {
 public:
  BoltReader() = default;
  ~BoltReader();
  BoltReader(const BoltReader&) = delete;
  BoltReader& operator=(const BoltReader&) = delete;

  // Fails with a text that names the file and the place when it is no such file, cut off or damaged.
  Status open(const std::string& path);
  using Visitor = std::function<Status(std::string_view key, std::string_view value)>;
  // Every row of a bucket in the order of keys; the views live as long as the reader. A bucket that is not there has none.
  Status scan(std::string_view bucket, const Visitor& visit) const;
  bool digest() const { return digest_; }  // it carried a SHA-256

 private:
  Status damaged(uint64_t offset, const std::string& what) const;
  Status check_chunks() const;
  Status walk(uint64_t page, int depth, uint64_t& left, bool buckets, const std::function<Status(std::string_view, std::string_view, uint32_t)>& visit) const;
  Status elements(std::string_view page, uint64_t offset, int depth, uint64_t& left,
                  const std::function<Status(std::string_view, std::string_view, uint32_t)>& visit) const;
  Result<std::string_view> page(uint64_t id) const;

  std::string path_;
  const char* data_ = nullptr;
  uint64_t size_ = 0;      // mapped
  uint64_t pages_ = 0, root_ = 0;
  bool digest_ = false;
};

}  // namespace engenho::datastore
