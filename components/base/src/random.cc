#include "engenho/base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "engenho/base/bytes.h"

namespace engenho {

std::string random_bytes(size_t count) {
  std::string out(count, '\0');
  size_t done = 0;
  while (done < count) {
    const ssize_t n = getrandom(out.data() + done, count - done, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) std::abort();  // the kernel's generator cannot fail once seeded
    done += static_cast<size_t>(n);
  }
  return out;
}

std::string random_uuid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0F) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3F) | 0x80);
  const std::string hex = hex_encode(bytes);
  return hex.substr(0, 8) + '-' + hex.substr(8, 4) + '-' + hex.substr(12, 4) + '-' + hex.substr(16, 4) + '-' +
         hex.substr(20);
}

uint64_t random_u64() {
  uint64_t out;
  const std::string bytes = random_bytes(sizeof out);
  std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}

std::string random_name_suffix(size_t count) {
  constexpr char kAlphabet[] = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  while (out.size() < count) {
    for (unsigned char c : random_bytes(count * 2)) {
      // 243 is the largest multiple of 27 below 256: no letter is likelier than another.
      if (c < 243 && out.size() < count) out += kAlphabet[c % 27];
    }
  }
  return out;
}

}  // namespace engenho
