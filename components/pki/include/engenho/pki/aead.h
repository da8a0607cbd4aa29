// AES-256-GCM (NIST SP 800-38D): encrypts a text, and authenticates it together with another that stays readable.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace engenho::pki {

inline constexpr size_t kAeadKeyBytes = 32;

// nonce (12 bytes, random) ‖ ciphertext ‖ tag (16 bytes). `key` has kAeadKeyBytes.
std::string aead_seal(std::string_view key, std::string_view authenticated, std::string_view text);

// Nothing when the key or `authenticated` is another, or a bit has changed.
std::optional<std::string> aead_open(std::string_view key, std::string_view authenticated, std::string_view sealed);

}  // namespace engenho::pki
