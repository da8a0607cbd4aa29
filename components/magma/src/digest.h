// Digests and their like (OpenSSL, libxcrypt), for functions and built-in providers.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::magma {

// name: "MD5", "SHA1", "SHA256", "SHA512". Raw bytes.
std::string digest(const char* name, std::string_view bytes);
// bcrypt, as "$2a$10$..."; of the first 72 bytes. Error when libxcrypt has no bcrypt.
Result<std::string> bcrypt(const std::string& password, int cost);

}  // namespace engenho::magma
