// CRC-32C (Castagnoli), RFC 3720 appendix B.4: etcd's hash of its state, and the checksums of snapshots.
#pragma once

#include <cstdint>
#include <string_view>

namespace engenho::datastore {

// The checksum of what `crc` is the checksum of, followed by `bytes`. Begin with 0.
uint32_t crc32c(uint32_t crc, std::string_view bytes);

}  // namespace engenho::datastore
