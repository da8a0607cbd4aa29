// Small conversions of bytes and text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/status.h"

namespace engenho {

std::string base64_encode(std::string_view bytes);        // RFC 4648 section 4, padded
std::string base64url_encode(std::string_view bytes);     // section 5, no padding
Result<std::string> base64_decode(std::string_view text);      // padded; new lines are skipped
Result<std::string> base64url_decode(std::string_view text);   // padding optional
std::string hex_encode(std::string_view bytes);           // lower case
Result<std::string> hex_decode(std::string_view text);
std::string sha256(std::string_view bytes);               // 32 raw bytes
std::string sha256_hex(std::string_view bytes);

std::vector<std::string_view> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string_view trim(std::string_view text);             // ASCII white space
std::string to_lower(std::string_view text);              // ASCII
bool parse_int(std::string_view text, int64_t& out);      // the whole text, base 10
std::string percent_decode(std::string_view text, bool plus_is_space = false);
std::string percent_encode(std::string_view text);        // all but unreserved characters

// The nearest of `candidates` by edit distance, for "did you mean"; empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace engenho
