// Numbers and small parts of bbolt's format, for its writer and its reader.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::datastore::bolt {

static_assert(std::endian::native == std::endian::little, "bbolt's files have the machine's byte order");

inline constexpr uint32_t kMagic = 0xED0CDAED, kVersion = 2;
inline constexpr uint16_t kBranchPage = 1, kLeafPage = 2, kMetaPage = 4, kFreelistPage = 16;
inline constexpr uint32_t kBucketElement = 1;
inline constexpr size_t kPageHeader = 16, kLeafElement = 16, kMetaBytes = 64, kDigest = 32;

template <typename T>
void put_int(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}
inline void put_u32(std::string& out, uint32_t value) { put_int(out, value); }
inline void put_u64(std::string& out, uint64_t value) { put_int(out, value); }

template <typename T>
T get_int(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

inline std::string page_header(uint64_t id, uint16_t flags, uint16_t count, uint32_t overflow) {
  std::string out;
  put_u64(out, id);
  put_int(out, flags);
  put_int(out, count);
  put_u32(out, overflow);
  return out;
}

inline uint64_t fnv64(std::string_view bytes) {  // FNV-1a, the checksum of a meta
  uint64_t hash = 14695981039346656037ull;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ull;
  return hash;
}

// Of the first `size` bytes of an open file.
Result<std::string> sha256_of(int fd, uint64_t size, const std::string& path);

}  // namespace engenho::datastore::bolt
