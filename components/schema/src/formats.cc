#include "formats.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string>

#include "engenho/base/bytes.h"
#include "engenho/base/clock.h"
#include "engenho/schema/names.h"

namespace engenho::schema {

namespace {

bool is_hex(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

// 8-4-4-4-12 hexadecimal digits; the dashes may be left out. `version`: the digit that names it, 0 for any.
bool is_uuid(std::string_view text, char version) {
  std::string digits;
  size_t at = 0;
  for (size_t group : {8u, 4u, 4u, 4u, 12u}) {
    if (at > 0 && at < text.size() && text[at] == '-') ++at;
    const std::string_view part = at <= text.size() ? text.substr(at, group) : std::string_view();
    if (part.size() != group || !is_hex(part)) return false;
    digits += part;
    at += group;
  }
  if (at != text.size()) return false;
  if (version == 0) return true;
  const char variant = digits[16];
  return digits[12] == version && (version == '3' || std::string_view("89abAB").find(variant) != std::string_view::npos);
}

bool is_ip(int family, std::string_view text) {
  unsigned char raw[16];
  return inet_pton(family, std::string(text).c_str(), raw) == 1;
}

bool is_cidr(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const bool four = is_ip(AF_INET, text.substr(0, slash)), six = is_ip(AF_INET6, text.substr(0, slash));
  int64_t bits = -1;
  return (four || six) && parse_int(text.substr(slash + 1), bits) && bits >= 0 && bits <= (four ? 32 : 128);
}

bool is_mac(std::string_view text) {
  if (text.size() < 14) return false;
  const char separator = text[2] == ':' || text[2] == '-' ? text[2] : '\0';
  if (separator == '\0') return false;
  const auto parts = split(text, separator);
  return (parts.size() == 6 || parts.size() == 8 || parts.size() == 20) &&
         std::all_of(parts.begin(), parts.end(), [](std::string_view p) { return p.size() == 2 && is_hex(p); });
}

bool is_date(std::string_view text) {
  return text.size() == 10 && parse_rfc3339(std::string(text) + "T00:00:00Z").has_value();
}

bool is_duration(std::string_view text) {
  // Go's "1h30m", and ISO-like words upstream takes besides ("3 days").
  static constexpr std::string_view kUnits[] = {"ns", "us", "ms", "s", "m", "h", "d", "w", "days", "day", "weeks", "week", "hours", "hour", "minutes", "minute", "seconds", "second"};
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return false;
  if (text == "0") return true;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) != 0 || text[digits] == '.')) ++digits;
    if (digits == 0) return false;
    text.remove_prefix(digits);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    size_t letters = 0;
    while (letters < text.size() && std::isalpha(static_cast<unsigned char>(text[letters])) != 0) ++letters;
    if (std::find(std::begin(kUnits), std::end(kUnits), text.substr(0, letters)) == std::end(kUnits)) return false;
    text.remove_prefix(letters);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
  return true;
}

bool is_email(std::string_view text) {
  const size_t at = text.rfind('@');
  return at != std::string_view::npos && at > 0 && at + 1 < text.size() && text.find(' ') == std::string_view::npos;
}

bool is_uri(std::string_view text) {
  const size_t colon = text.find(':');
  return (colon != std::string_view::npos && colon > 0) || text.starts_with('/');
}

bool is_base64(std::string_view text) { return base64_decode(text).has_value(); }

}  // namespace

bool has_format(std::string_view format, std::string_view text) {
  if (format == "date-time" || format == "datetime") return parse_rfc3339(text).has_value();
  if (format == "date") return is_date(text);
  if (format == "ipv4") return is_ip(AF_INET, text);
  if (format == "ipv6") return is_ip(AF_INET6, text);
  if (format == "cidr") return is_cidr(text);
  if (format == "mac") return is_mac(text);
  if (format == "uuid") return is_uuid(text, 0);
  if (format == "uuid3") return is_uuid(text, '3');
  if (format == "uuid4") return is_uuid(text, '4');
  if (format == "uuid5") return is_uuid(text, '5');
  if (format == "byte") return is_base64(text);
  if (format == "duration") return is_duration(text);
  if (format == "email") return is_email(text);
  if (format == "uri") return is_uri(text);
  if (format == "hostname") return is_dns1123_subdomain(to_lower(text)).empty();
  if (format == "k8s-short-name") return is_dns1123_label(text).empty();
  if (format == "k8s-long-name") return is_dns1123_subdomain(text).empty();
  return true;
}

}  // namespace engenho::schema
