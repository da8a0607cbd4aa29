// Randomness. Keys and identities come from the system's generator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace engenho {

std::string random_bytes(size_t count);   // cryptographically secure (getrandom)
std::string random_uuid();                // RFC 4122 version 4, lower case
uint64_t random_u64();
// `count` characters of Kubernetes' generated-name alphabet (no vowels, no 0, 1, 3).
std::string random_name_suffix(size_t count = 5);

}  // namespace engenho
