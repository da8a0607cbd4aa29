// Dates and IP networks.
#include <arpa/inet.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "civil_time.h"
#include "engenho/base/bytes.h"
#include "functions.h"

namespace engenho::magma {

namespace {

using H = Function::Handling;
using K = Type::Kind;
#define TEXT(var, index) ENGENHO_MAGMA_ARG(const std::string var, text_argument(a, index))

std::unexpected<Status> fail(std::string message) { return err(bad_request(std::move(message))); }

struct Prefix {
  unsigned char address[16] = {};
  int family_bits = 32;
  int length = 0;
};

Result<Prefix> parse_prefix(const std::string& text) {
  const size_t slash = text.find('/');
  Prefix p;
  int64_t length = -1;
  const std::string host = text.substr(0, slash);
  if (slash == std::string::npos || !parse_int(std::string_view(text).substr(slash + 1), length)) return fail("invalid CIDR expression: invalid CIDR address: " + text);
  if (inet_pton(AF_INET, host.c_str(), p.address) == 1) p.family_bits = 32;
  else if (inet_pton(AF_INET6, host.c_str(), p.address) == 1) p.family_bits = 128;
  else return fail("invalid CIDR expression: invalid CIDR address: " + text);
  if (length < 0 || length > p.family_bits) return fail("invalid CIDR expression: invalid CIDR address: " + text);
  p.length = static_cast<int>(length);
  for (int bit = p.length; bit < p.family_bits; ++bit) p.address[bit / 8] &= static_cast<unsigned char>(~(0x80 >> (bit % 8)));
  return p;
}

std::string address_text(const Prefix& p) {
  char buffer[INET6_ADDRSTRLEN];
  inet_ntop(p.family_bits == 32 ? AF_INET : AF_INET6, p.address, buffer, sizeof buffer);
  return buffer;
}

// Adds `number` to the bits that end at `end_bit`; false when it does not fit in `bits` bits.
bool set_bits(Prefix& p, unsigned __int128 number, int end_bit, int bits) {
  if (bits < 128 && (number >> bits) != 0) return false;
  for (int i = 0; i < bits && i < 128; ++i) {
    const int bit = end_bit - 1 - i;
    const auto mask = static_cast<unsigned char>(0x80 >> (bit % 8));
    if ((number >> i) & 1) p.address[bit / 8] |= mask;
    else p.address[bit / 8] &= static_cast<unsigned char>(~mask);
  }
  return true;
}

Result<Value> cidrhost(Arguments& a, const Scope&) {
  TEXT(text, 0);
  ENGENHO_MAGMA_ARG(Prefix p, parse_prefix(text));
  ENGENHO_MAGMA_ARG(const int64_t number, integer_argument(a, 1));
  const int bits = p.family_bits - p.length;
  unsigned __int128 n = static_cast<unsigned __int128>(number);
  if (number < 0) {
    n = (bits >= 128 ? static_cast<unsigned __int128>(0) : static_cast<unsigned __int128>(1) << bits) + static_cast<unsigned __int128>(static_cast<__int128>(number));
    if (bits < 63 && -number > (int64_t{1} << bits)) n = ~static_cast<unsigned __int128>(0);
  }
  if (!set_bits(p, n, p.family_bits, bits)) return fail("prefix of " + std::to_string(p.length) + " does not accommodate a host numbered " + std::to_string(number));
  return Value::string(address_text(p));
}

Result<Value> cidrnetmask(Arguments& a, const Scope&) {
  TEXT(text, 0);
  ENGENHO_MAGMA_ARG(Prefix p, parse_prefix(text));
  if (p.family_bits != 32) return fail("IPv6 addresses cannot have a netmask: " + text);
  std::memset(p.address, 0, sizeof p.address);
  for (int bit = 0; bit < p.length; ++bit) p.address[bit / 8] |= static_cast<unsigned char>(0x80 >> (bit % 8));
  return Value::string(address_text(p));
}

Result<std::string> subnet(Prefix p, int64_t newbits, unsigned __int128 number) {
  if (newbits < 0 || p.length + newbits > p.family_bits) {
    return fail("insufficient address space to extend prefix of " + std::to_string(p.length) + " by " + std::to_string(newbits));
  }
  p.length += static_cast<int>(newbits);
  if (!set_bits(p, number, p.length, static_cast<int>(newbits))) {
    return fail("prefix extension of " + std::to_string(newbits) + " does not accommodate a subnet numbered " + std::to_string(static_cast<int64_t>(number)));
  }
  return address_text(p) + "/" + std::to_string(p.length);
}

Result<Value> cidrsubnet(Arguments& a, const Scope&) {
  TEXT(text, 0);
  ENGENHO_MAGMA_ARG(const Prefix p, parse_prefix(text));
  ENGENHO_MAGMA_ARG(const int64_t newbits, integer_argument(a, 1));
  ENGENHO_MAGMA_ARG(const int64_t number, integer_argument(a, 2));
  if (number < 0) return fail("network number must be 0 or more");
  ENGENHO_MAGMA_ARG(std::string out, subnet(p, newbits, static_cast<unsigned __int128>(number)));
  return Value::string(std::move(out));
}

Result<Value> cidrsubnets(Arguments& a, const Scope&) {
  TEXT(text, 0);
  ENGENHO_MAGMA_ARG(const Prefix p, parse_prefix(text));
  std::vector<std::string> out;
  unsigned __int128 next = 0;   // in units of single addresses
  for (size_t i = 1; i < a.size(); ++i) {
    ENGENHO_MAGMA_ARG(const int64_t newbits, integer_argument(a, i));
    if (newbits < 1) return fail("must extend prefix by at least one bit");
    const int host_bits = p.family_bits - p.length - static_cast<int>(std::min<int64_t>(newbits, 128));
    if (host_bits < 0) return fail("insufficient address space to extend prefix of " + std::to_string(p.length) + " by " + std::to_string(newbits));
    const unsigned __int128 size = host_bits >= 128 ? 0 : static_cast<unsigned __int128>(1) << host_bits;
    if (size != 0 && next % size != 0) next += size - next % size;
    auto one = subnet(p, newbits, next >> host_bits);
    if (!one) return fail("not enough remaining address space for a subnet with a prefix of " + std::to_string(p.length + newbits) + " bits");
    out.push_back(*one);
    next += size;
  }
  return list_of_texts(std::move(out));
}

Result<int64_t> parse_duration(const std::string& text) {   // Go's form, in nanoseconds
  static const std::vector<std::pair<std::string, Number>> kUnits = {{"ns", 1}, {"us", 1e3L}, {"\u00b5s", 1e3L}, {"ms", 1e6L}, {"s", 1e9L}, {"m", 60e9L}, {"h", 3600e9L}};
  size_t i = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  if (text.substr(i) == "0") return int64_t{0};
  Number total = 0;
  if (i == text.size()) return fail("invalid duration \"" + text + "\"");
  while (i < text.size()) {
    size_t end = i;
    while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
    Number n;
    if (!parse_number(std::string_view(text).substr(i, end - i), n)) return fail("invalid duration \"" + text + "\"");
    const std::pair<std::string, Number>* best = nullptr;
    for (const auto& unit : kUnits) {
      if (std::string_view(text).substr(end, unit.first.size()) == unit.first && (best == nullptr || unit.first.size() > best->first.size())) best = &unit;
    }
    if (best == nullptr) return fail("missing or unknown unit in duration \"" + text + "\"");
    total += n * best->second;
    i = end + best->first.size();
  }
  if (total > 9e18L) return fail("invalid duration \"" + text + "\"");
  return static_cast<int64_t>(text[0] == '-' ? -total : total);
}

Result<Value> timeadd(Arguments& a, const Scope&) {
  TEXT(stamp, 0);
  TEXT(duration, 1);
  ENGENHO_MAGMA_ARG(const WallTime time, parse_rfc3339(stamp));
  ENGENHO_MAGMA_ARG(const int64_t ns, parse_duration(duration));
  return Value::string(format_rfc3339(time + std::chrono::nanoseconds(ns)));
}

Result<Value> formatdate(Arguments& a, const Scope&) {
  TEXT(spec, 0);
  TEXT(stamp, 1);
  ENGENHO_MAGMA_ARG(const WallTime time, parse_rfc3339(stamp));
  // The zone as it is written in the stamp.
  std::string zone = stamp.ends_with("Z") ? "+00:00" : stamp.substr(stamp.size() >= 6 ? stamp.size() - 6 : 0);
  const int zone_minutes = zone.size() == 6 ? (zone[0] == '-' ? -1 : 1) * (std::atoi(zone.substr(1, 2).c_str()) * 60 + std::atoi(zone.substr(4, 2).c_str())) : 0;
  const CivilTime t = civil_time(time + std::chrono::minutes(zone_minutes));
  static const char* const kMonths[] = {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"};
  static const char* const kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  auto two = [](int n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  std::string out;
  for (size_t i = 0; i < spec.size();) {
    if (spec[i] == '\'') {
      size_t k = i + 1;
      for (; k < spec.size(); ++k) {
        if (spec[k] == '\'' && k + 1 < spec.size() && spec[k + 1] == '\'') out += '\'', ++k;
        else if (spec[k] == '\'') break;
        else out += spec[k];
      }
      if (k >= spec.size()) return fail("unterminated literal '");
      i = k + 1;
      continue;
    }
    if (!std::isalpha(static_cast<unsigned char>(spec[i]))) {
      out += spec[i++];
      continue;
    }
    size_t end = i;
    while (end < spec.size() && spec[end] == spec[i]) ++end;
    const std::string verb = spec.substr(i, end - i);
    i = end;
    const int hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12;
    if (verb == "YYYY") out += std::to_string(t.year);
    else if (verb == "YY") out += two(t.year % 100);
    else if (verb == "MMMM") out += kMonths[t.month - 1];
    else if (verb == "MMM") out += std::string(kMonths[t.month - 1]).substr(0, 3);
    else if (verb == "MM") out += two(t.month);
    else if (verb == "M") out += std::to_string(t.month);
    else if (verb == "DD") out += two(t.day);
    else if (verb == "D") out += std::to_string(t.day);
    else if (verb == "EEEE") out += kDays[t.weekday];
    else if (verb == "EEE") out += std::string(kDays[t.weekday]).substr(0, 3);
    else if (verb == "hh") out += two(t.hour);
    else if (verb == "h") out += std::to_string(t.hour);
    else if (verb == "HH") out += two(hour12);
    else if (verb == "H") out += std::to_string(hour12);
    else if (verb == "AA") out += t.hour < 12 ? "AM" : "PM";
    else if (verb == "aa") out += t.hour < 12 ? "am" : "pm";
    else if (verb == "mm") out += two(t.minute);
    else if (verb == "m") out += std::to_string(t.minute);
    else if (verb == "ss") out += two(t.second);
    else if (verb == "s") out += std::to_string(t.second);
    else if (verb == "ZZZZZ") out += zone;
    else if (verb == "ZZZZ") out += zone.substr(0, 3) + zone.substr(4);
    else if (verb == "ZZZ") out += zone_minutes == 0 ? "UTC" : zone.substr(0, 3) + zone.substr(4);
    else if (verb == "Z") out += zone_minutes == 0 ? "Z" : zone;
    else return fail("invalid date format verb \"" + verb + "\"");
  }
  return Value::string(std::move(out));
}

}  // namespace

const std::vector<Function>& date_and_network_functions() {
  static const std::vector<Function> all = {
      {"cidrhost", 2, 2, H::kPlain, K::kString, cidrhost},
      {"cidrnetmask", 1, 1, H::kPlain, K::kString, cidrnetmask},
      {"cidrsubnet", 3, 3, H::kPlain, K::kString, cidrsubnet},
      {"cidrsubnets", 2, -1, H::kPlain, K::kList, cidrsubnets},
      {"formatdate", 2, 2, H::kPlain, K::kString, formatdate},
      {"plantimestamp", 0, 0, H::kPlain, K::kString, [](Arguments&, const Scope& scope) -> Result<Value> { return Value::string(format_rfc3339(scope.plan_time())); }},
      {"timeadd", 2, 2, H::kPlain, K::kString, timeadd},
      {"timecmp", 2, 2, H::kPlain, K::kNumber, [](Arguments& a, const Scope&) -> Result<Value> {
         TEXT(x, 0);
         TEXT(y, 1);
         ENGENHO_MAGMA_ARG(const WallTime t, parse_rfc3339(x));
         ENGENHO_MAGMA_ARG(const WallTime u, parse_rfc3339(y));
         return Value::number(t < u ? -1 : t > u ? 1 : 0);
       }},
      {"timestamp", 0, 0, H::kPlain, K::kString, [](Arguments&, const Scope& scope) -> Result<Value> {
         return scope.applying() ? Value::string(format_rfc3339(Clock::real().wall())) : Value::unknown(Type::string());
       }},
  };
  return all;
}

}  // namespace engenho::magma
