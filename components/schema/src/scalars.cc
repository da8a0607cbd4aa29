#include "scalars.h"

#include <array>
#include <cstdlib>

#include "engenho/base/bytes.h"
#include "engenho/base/clock.h"

namespace engenho::schema {

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A cursor over the text that knows which element of the layout failed.
struct TimeScanner {
  std::string_view whole, layout, rest;

  Status cannot(std::string_view element) const {
    return bad_request("parsing time " + quoted(whole) + " as " + quoted(layout) + ": cannot parse " + quoted(rest) + " as " +
                       quoted(element));
  }
  Status out_of_range(std::string_view what) const {
    return bad_request("parsing time " + quoted(whole) + ": " + std::string(what) + " out of range");
  }
  bool number(size_t digits, int& out) {
    if (rest.size() < digits) return false;
    out = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (!is_digit(rest[i])) return false;
      out = out * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(digits);
    return true;
  }
  bool literal(char c) {
    if (rest.empty() || rest[0] != c) return false;
    rest.remove_prefix(1);
    return true;
  }
};

int days_in(int year, int month) {
  constexpr std::array<int, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return month == 2 && leap ? 29 : kDays[static_cast<size_t>(month - 1)];
}

}  // namespace

Result<Moment> parse_time(std::string_view text, bool micro) {
  TimeScanner s{text, micro ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00", text};
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, micros = 0;
  if (!s.number(4, year)) return err(s.cannot("2006"));
  if (!s.literal('-')) return err(s.cannot("-"));
  if (!s.number(2, month)) return err(s.cannot("01"));
  if (month < 1 || month > 12) return err(s.out_of_range("month"));
  if (!s.literal('-')) return err(s.cannot("-"));
  if (!s.number(2, day)) return err(s.cannot("02"));
  if (!s.literal('T')) return err(s.cannot("T"));
  if (!s.number(2, hour)) return err(s.cannot("15"));
  if (hour > 23) return err(s.out_of_range("hour"));
  if (!s.literal(':')) return err(s.cannot(":"));
  if (!s.number(2, minute)) return err(s.cannot("04"));
  if (minute > 59) return err(s.out_of_range("minute"));
  if (!s.literal(':')) return err(s.cannot(":"));
  if (!s.number(2, second)) return err(s.cannot("05"));
  if (second > 59) return err(s.out_of_range("second"));
  if (micro) {
    if (s.rest.size() < 7 || s.rest[0] != '.') return err(s.cannot(".000000"));
    s.rest.remove_prefix(1);
    if (!s.number(6, micros)) return err(s.cannot(".000000"));
  } else if (s.rest.size() > 1 && (s.rest[0] == '.' || s.rest[0] == ',') && is_digit(s.rest[1])) {
    s.rest.remove_prefix(1);  // a fraction is read although the layout has none
    while (!s.rest.empty() && is_digit(s.rest[0])) s.rest.remove_prefix(1);
  }
  int offset = 0;
  if (!s.literal('Z')) {
    TimeScanner zone = s;
    int hours = 0, minutes = 0;
    const bool west = !s.rest.empty() && s.rest[0] == '-';
    if (!zone.literal(west ? '-' : '+') || !zone.number(2, hours) || !zone.literal(':') || !zone.number(2, minutes)) {
      return err(s.cannot("Z07:00"));
    }
    if (hours > 24) return err(s.out_of_range("time zone offset hour"));
    if (minutes > 60) return err(s.out_of_range("time zone offset minute"));
    offset = (hours * 60 + minutes) * (west ? -60 : 60);
    s.rest = zone.rest;
  }
  if (!s.rest.empty()) return err(bad_request("parsing time " + quoted(text) + ": extra text: " + quoted(s.rest)));
  if (day < 1 || day > days_in(year, month)) return err(s.out_of_range("day"));
  using namespace std::chrono;
  const sys_days date = std::chrono::year(year) / std::chrono::month(static_cast<unsigned>(month)) / std::chrono::day(static_cast<unsigned>(day));
  const sys_seconds moment = sys_seconds(date) + seconds(hour * 3600 + minute * 60 + second - offset);
  return Moment{moment.time_since_epoch().count(), micros};
}

// Not through WallTime: the years 0 to 9999 do not fit 64 bits of nanoseconds.
std::string format_time(const Moment& m, bool micro) {
  using namespace std::chrono;
  if (m.seconds < -62167219200 || m.seconds > 253402300799) return {};
  const sys_seconds moment{seconds(m.seconds)};
  const sys_days day = floor<days>(moment);
  const year_month_day ymd(day);
  const hh_mm_ss hms(moment - day);
  char buffer[64];
  int n = std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(ymd.year()),
                        static_cast<unsigned>(ymd.month()), static_cast<unsigned>(ymd.day()),
                        static_cast<int>(hms.hours().count()), static_cast<int>(hms.minutes().count()),
                        static_cast<int>(hms.seconds().count()));
  std::string out(buffer, static_cast<size_t>(n));
  if (micro) {
    n = std::snprintf(buffer, sizeof buffer, ".%06d", m.micros);
    out.append(buffer, static_cast<size_t>(n));
  }
  return out + "Z";
}

Result<std::string> canonical_time(std::string_view text, bool micro) {
  ENGENHO_ASSIGN(Moment moment, parse_time(text, micro));
  return format_time(moment, micro);
}

Result<std::string> decode_base64(std::string_view text) {
  auto value = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (is_digit(c)) return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  auto corrupt = [](size_t at) { return err(bad_request("illegal base64 data at input byte " + std::to_string(at))); };
  auto skip_lines = [&](size_t& i) {
    while (i < text.size() && (text[i] == '\n' || text[i] == '\r')) ++i;
  };
  std::string out;
  out.reserve(text.size() / 4 * 3);
  size_t i = 0;
  while (true) {
    unsigned group[4] = {};
    size_t have = 0;
    bool padded = false;
    while (have < 4) {
      skip_lines(i);
      if (i == text.size()) {
        if (have == 0) return out;
        return corrupt(i - have);
      }
      const char c = text[i++];
      const int v = value(c);
      if (v >= 0) {
        group[have++] = static_cast<unsigned>(v);
        continue;
      }
      if (c != '=' || have < 2) return corrupt(i - 1);
      if (have == 2) {  // "==" is due
        skip_lines(i);
        if (i == text.size()) return corrupt(text.size());
        if (text[i] != '=') return corrupt(i - 1);
        ++i;
      }
      skip_lines(i);
      if (i < text.size()) return corrupt(i);
      padded = true;
      break;
    }
    const unsigned bits = group[0] << 18 | group[1] << 12 | group[2] << 6 | group[3];
    out += static_cast<char>(bits >> 16);
    if (have > 2) out += static_cast<char>(bits >> 8 & 0xFF);
    if (have > 3) out += static_cast<char>(bits & 0xFF);
    if (padded) return out;
  }
}

Result<int64_t> parse_duration(std::string_view text) {
  auto invalid = [&] { return err(bad_request("time: invalid duration " + quoted(text))); };
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest == "0") return 0;
  if (rest.empty()) return invalid();
  __extension__ using Wide = __int128;
  Wide total = 0;
  constexpr std::pair<std::string_view, int64_t> kUnits[] = {
      {"ns", 1},           {"us", 1000},          {"\xC2\xB5s", 1000},         {"\xCE\xBCs", 1000},
      {"ms", 1'000'000},   {"s", 1'000'000'000},  {"m", 60'000'000'000},       {"h", 3'600'000'000'000}};
  while (!rest.empty()) {
    Wide value = 0, scale = 1;
    size_t digits = 0;
    bool point = false;
    while (!rest.empty() && (is_digit(rest[0]) || (rest[0] == '.' && !point))) {
      if (rest[0] == '.') {
        point = true;
      } else {
        ++digits;
        if (!point || scale < 1'000'000'000'000) {
          value = value * 10 + (rest[0] - '0');
          if (point) scale *= 10;
        }
        if (value > (Wide{1} << 96)) return invalid();
      }
      rest.remove_prefix(1);
    }
    if (digits == 0) return invalid();
    size_t length = 0;
    while (length < rest.size() && !is_digit(rest[length]) && rest[length] != '.') ++length;
    const std::string_view name = rest.substr(0, length);
    if (name.empty()) return err(bad_request("time: missing unit in duration " + quoted(text)));
    int64_t unit = 0;
    for (const auto& [n, v] : kUnits) {
      if (n == name) unit = v;
    }
    if (unit == 0) return err(bad_request("time: unknown unit " + quoted(name) + " in duration " + quoted(text)));
    if (value > (Wide{1} << 80)) return invalid();
    total += value * unit / scale;
    if (total > INT64_MAX) return invalid();
    rest.remove_prefix(length);
  }
  return static_cast<int64_t>(negative ? -total : total);
}

std::string format_duration(int64_t nanoseconds) {
  if (nanoseconds == 0) return "0s";
  const bool negative = nanoseconds < 0;
  uint64_t n = negative ? 0 - static_cast<uint64_t>(nanoseconds) : static_cast<uint64_t>(nanoseconds);
  auto fraction = [](uint64_t value, uint64_t unit) {  // value/unit as decimal without trailing zeros
    std::string out = std::to_string(value / unit);
    uint64_t rest = value % unit;
    if (rest == 0) return out;
    std::string digits = std::to_string(unit + rest).substr(1);
    while (digits.back() == '0') digits.pop_back();
    return out + "." + digits;
  };
  std::string out;
  if (n < 1000) {
    out = std::to_string(n) + "ns";
  } else if (n < 1'000'000) {
    out = fraction(n, 1000) + "\xC2\xB5s";
  } else if (n < 1'000'000'000) {
    out = fraction(n, 1'000'000) + "ms";
  } else {
    const uint64_t minutes = n / 60'000'000'000;
    out = fraction(n % 60'000'000'000, 1'000'000'000) + "s";
    if (minutes > 0) out = std::to_string(minutes % 60) + "m" + out;
    if (minutes >= 60) out = std::to_string(minutes / 60) + "h" + out;
  }
  return negative ? "-" + out : out;
}

Result<std::string> canonical_duration(std::string_view text) {
  ENGENHO_ASSIGN(int64_t value, parse_duration(text));
  return format_duration(value);
}

}  // namespace engenho::schema
