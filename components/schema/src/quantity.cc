#include "engenho/schema/quantity.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace engenho::schema {

namespace {

__extension__ using Wide = __int128;
using Format = Quantity::Format;

constexpr Wide kNanoPerUnit = 1'000'000'000;
constexpr Wide kMax = Wide{80'000'000'000} * 1'000'000'000'000'000'000 * 1'000'000'000;  // 8e37: the sum of two still fits
constexpr Wide kMaxInt64Nano = Wide{std::numeric_limits<int64_t>::max()} * kNanoPerUnit;

Status wrong_format() {
  return bad_request("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}
Status wrong_suffix() { return bad_request("unable to parse quantity's suffix"); }

// The pieces of the text. `num` has no leading zeros, and is "0" when there are no digits before the point.
struct Pieces {
  bool negative = false;
  std::string_view num, denom, suffix;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool scan(std::string_view text, Pieces& p) {
  size_t pos = 0;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    p.negative = text[0] == '-';
    ++pos;
  }
  while (pos < text.size() && text[pos] == '0') ++pos;
  size_t start = pos;
  while (pos < text.size() && is_digit(text[pos])) ++pos;
  p.num = text.substr(start, pos - start);
  if (p.num.empty()) p.num = "0";
  if (pos < text.size() && text[pos] == '.') {
    start = ++pos;
    while (pos < text.size() && is_digit(text[pos])) ++pos;
    p.denom = text.substr(start, pos - start);
  }
  start = pos;
  while (pos < text.size() && std::strchr("eEinumkKMGTP", text[pos]) != nullptr) ++pos;
  if (pos < text.size() && (text[pos] == '-' || text[pos] == '+')) ++pos;
  while (pos < text.size() && is_digit(text[pos])) ++pos;
  p.suffix = text.substr(start);
  return pos == text.size();
}

struct Suffix {
  std::string_view text;
  int exponent;  // of ten, or of two
};
constexpr Suffix kDecimal[] = {{"n", -9}, {"u", -6}, {"m", -3}, {"", 0}, {"k", 3}, {"M", 6}, {"G", 9}, {"T", 12}, {"P", 15}, {"E", 18}};
constexpr Suffix kBinary[] = {{"Ki", 10}, {"Mi", 20}, {"Gi", 30}, {"Ti", 40}, {"Pi", 50}, {"Ei", 60}};

bool interpret(std::string_view suffix, Format& format, int& exponent) {
  for (const Suffix& s : kDecimal) {
    if (s.text == suffix) {
      format = Format::kDecimalSI;
      exponent = s.exponent;
      return true;
    }
  }
  for (const Suffix& s : kBinary) {
    if (s.text == suffix) {
      format = Format::kBinarySI;
      exponent = s.exponent;
      return true;
    }
  }
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return false;
  size_t pos = 1;
  bool negative = false;
  if (suffix[pos] == '-' || suffix[pos] == '+') negative = suffix[pos++] == '-';
  if (pos == suffix.size()) return false;
  int value = 0;
  for (; pos < suffix.size(); ++pos) {
    if (!is_digit(suffix[pos])) return false;
    if (value < 10'000) value = value * 10 + (suffix[pos] - '0');  // beyond that it is zero or saturated anyway
  }
  format = Format::kDecimalExponent;
  exponent = negative ? -value : value;
  return true;
}

// Value of the digits times 10^scale in nano units, rounded away from zero, saturating.
Wide scaled(std::string_view num, std::string_view denom, int scale, int shift_bits) {
  Wide value = 0;
  int dropped_scale = 0;
  bool inexact = false;
  auto add = [&](std::string_view digits, bool fraction) {
    for (char c : digits) {
      if (value > (kMax / 10 - 10)) {  // no room: keep the magnitude, count the digit
        if (c != '0') inexact = true;
        if (!fraction) ++dropped_scale;
        continue;
      }
      value = value * 10 + (c - '0');
      if (fraction) --dropped_scale;
    }
  };
  add(num, false);
  add(denom, true);
  if (value == 0) return 0;
  for (int i = 0; i < shift_bits; ++i) {
    if (value > kMax / 2) {
      // Binary suffix on a long number: trade decimal digits for room.
      if (value % 10 != 0) inexact = true;
      value /= 10;
      ++dropped_scale;
    }
    value *= 2;
  }
  int exponent = scale + dropped_scale + 9;
  for (; exponent > 0; --exponent) {
    if (value > kMax / 10) return kMax;
    value *= 10;
  }
  for (; exponent < 0; ++exponent) {
    if (value % 10 != 0) inexact = true;
    value /= 10;
    if (value == 0) break;
  }
  return inexact ? value + 1 : value;
}

std::string digits_of(Wide value) {
  char buffer[48];
  char* end = buffer + sizeof buffer;
  char* p = end;
  const bool negative = value < 0;
  do {
    int digit = static_cast<int>(value % 10);
    *--p = static_cast<char>('0' + (digit < 0 ? -digit : digit));
    value /= 10;
  } while (value != 0);
  if (negative) *--p = '-';
  return std::string(p, end);
}

int64_t clamp(Wide value) {
  if (value > std::numeric_limits<int64_t>::max()) return std::numeric_limits<int64_t>::max();
  if (value < std::numeric_limits<int64_t>::min()) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

Wide divide_away(Wide value, Wide by) {
  Wide result = value / by;
  if (value % by != 0) result += value > 0 ? 1 : -1;
  return result;
}

struct Parsed {
  Pieces pieces;
  Format format = Format::kDecimalSI;
  int exponent = 0;
};

Status parse_pieces(std::string_view text, Parsed& out) {
  if (text.empty() || !scan(text, out.pieces)) return wrong_format();
  if (!interpret(out.pieces.suffix, out.format, out.exponent)) return wrong_suffix();
  return {};
}

// Whether upstream keeps the spelling: the number is small enough for its fast path and looks canonical to it.
bool keeps_spelling(const Parsed& p) {
  const int digits = static_cast<int>(p.pieces.num.size() + p.pieces.denom.size());
  const int fraction = static_cast<int>(p.pieces.denom.size());
  if (p.format == Format::kBinarySI) {
    const int precision = 15 - static_cast<int>(p.pieces.num.size()) - static_cast<int>(static_cast<float>(p.exponent) * 3 / 10) - 1;
    if (fraction != 0 || precision < 0) return false;
    int last = 0;  // value modulo 8: the last three digits tell
    const size_t n = p.pieces.num.size();
    for (size_t i = n > 3 ? n - 3 : 0; i < n; ++i) last = last * 10 + (p.pieces.num[i] - '0');
    return p.exponent % 10 == 0 && (last & 7) != 0;
  }
  if (18 - digits < 0 || p.exponent - fraction < -9) return false;
  std::string shifted = std::string(p.pieces.num) + std::string(p.pieces.denom);
  return (p.exponent - fraction) % 3 == 0 && !shifted.ends_with("000") && shifted[0] != '0';
}

}  // namespace

Result<Quantity> Quantity::parse(std::string_view text) {
  Parsed p;
  ENGENHO_TRY(parse_pieces(text, p));
  Quantity q;
  q.format_ = p.format;
  if (p.format == Format::kBinarySI) {
    q.nano_ = scaled(p.pieces.num, p.pieces.denom, 0, p.exponent);
    if (q.nano_ > kMaxInt64Nano) q.nano_ = kMaxInt64Nano;
    if (q.nano_ > 0 && q.nano_ < kNanoPerUnit) q.format_ = Format::kDecimalSI;
  } else {
    q.nano_ = scaled(p.pieces.num, p.pieces.denom, p.exponent, 0);
  }
  if (p.pieces.negative) q.nano_ = -q.nano_;
  return q;
}

Quantity Quantity::parse_or_zero(std::string_view text) {
  Result<Quantity> q = parse(text);
  return q ? *q : Quantity();
}

Quantity Quantity::from_int(int64_t value, Format format) {
  Quantity q;
  q.nano_ = Wide{value} * kNanoPerUnit;
  q.format_ = format;
  return q;
}

Quantity Quantity::from_milli(int64_t value, Format format) {
  Quantity q;
  q.nano_ = Wide{value} * 1'000'000;
  q.format_ = format;
  return q;
}

std::string Quantity::to_string() const {
  if (nano_ == 0) return "0";
  Format format = format_;
  if (format == Format::kBinarySI) {
    const Wide limit = 1024 * kNanoPerUnit;
    if ((nano_ > -limit && nano_ < limit) || nano_ % kNanoPerUnit != 0) {
      format = Format::kDecimalSI;
    } else {
      Wide value = nano_ / kNanoPerUnit;
      size_t times = 0;
      while (times < std::size(kBinary) && value % 1024 == 0) {
        value /= 1024;
        ++times;
      }
      return digits_of(value) + (times ? std::string(kBinary[times - 1].text) : std::string());
    }
  }
  Wide value = nano_;
  int exponent = -9;
  while (value % 1000 == 0 && (format == Format::kDecimalExponent || exponent < 18)) {
    value /= 1000;
    exponent += 3;
  }
  std::string out = digits_of(value);
  if (format == Format::kDecimalExponent) {
    if (exponent != 0) out += "e" + std::to_string(exponent);
  } else {
    out += kDecimal[exponent / 3 + 3].text;
  }
  return out;
}

int64_t Quantity::value() const { return clamp(divide_away(nano_, kNanoPerUnit)); }
int64_t Quantity::milli_value() const { return clamp(divide_away(nano_, 1'000'000)); }
double Quantity::as_double() const { return static_cast<double>(nano_) / 1e9; }

Quantity& Quantity::operator+=(const Quantity& other) {
  if (nano_ == 0) format_ = other.format_;
  nano_ += other.nano_;
  if (nano_ > kMax) nano_ = kMax;
  if (nano_ < -kMax) nano_ = -kMax;
  return *this;
}

Quantity& Quantity::operator-=(const Quantity& other) {
  Quantity negative = other;
  negative.nano_ = -negative.nano_;
  return *this += negative;
}

Result<std::string> canonical_quantity(std::string_view text) {
  Parsed p;
  ENGENHO_TRY(parse_pieces(text, p));
  if (keeps_spelling(p)) return std::string(text);
  ENGENHO_ASSIGN(Quantity q, Quantity::parse(text));
  return q.to_string();
}

}  // namespace engenho::schema
