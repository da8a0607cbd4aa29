// Secrets under a passphrase: scrypt for the key (RFC 7914), AES-256-GCM for the rest.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::pki {

// Printable. Different at each call.
std::string seal(std::string_view text, std::string_view passphrase);

// Errors: BadRequest when `sealed` is not what seal() makes; Unauthorized when the passphrase is another or a bit has changed.
Result<std::string> unseal(std::string_view sealed, std::string_view passphrase);

}  // namespace engenho::pki
