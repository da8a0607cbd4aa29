// Ed25519 signatures (RFC 8032). The keys are PrivateKey and PublicKey, of type kOther there: tokens are not signed with them.
#pragma once

#include <string>
#include <string_view>

#include "engenho/pki/keys.h"

namespace engenho::pki {

Result<PrivateKey> generate_ed25519();
// 64 bytes. An error when the key is of another kind.
Result<std::string> sign_ed25519(const PrivateKey& key, std::string_view message);
// False also when the key is of another kind.
bool verify_ed25519(const PublicKey& key, std::string_view message, std::string_view signature);

}  // namespace engenho::pki
