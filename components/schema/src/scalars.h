// The text forms of scalar types, read as strictly as Go reads them and with Go's error texts.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::schema {

// RFC 3339 text to canonical UTC: whole seconds, or, for `micro`, exactly six digits of fraction in and out.
Result<std::string> canonical_time(std::string_view text, bool micro);
struct Moment {
  int64_t seconds = 0;                 // since 1970, UTC
  int micros = 0;
};
Result<Moment> parse_time(std::string_view text, bool micro);
// Empty when the year is not within 0 to 9999.
std::string format_time(const Moment& moment, bool micro);
// Base64 with padding, new lines skipped; "illegal base64 data at input byte N".
Result<std::string> decode_base64(std::string_view text);
// Go's time.Duration: "1h30m" to "1h30m0s".
Result<std::string> canonical_duration(std::string_view text);
Result<int64_t> parse_duration(std::string_view text);  // nanoseconds
std::string format_duration(int64_t nanoseconds);

}  // namespace engenho::schema
