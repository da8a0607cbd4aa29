// resource.Quantity: a fixed-point number with a suffix. Kept exactly in units of 10^-9 within +-8e28; finer digits round up (away
// from zero), larger values saturate. Binary suffixes (Ki..Ei), decimal ones (n u m "" k M G T P E) and exponents (e3, E3).
// Canonical form: no fraction, the largest suffix that keeps it so, in the format it was written in.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::schema {

class Quantity {
 public:
  enum class Format : uint8_t { kDecimalSI, kBinarySI, kDecimalExponent };

  Quantity() = default;  // "0"
  // Errors: BadRequest with upstream's own texts.
  static Result<Quantity> parse(std::string_view text);
  static Quantity from_int(int64_t value, Format format = Format::kDecimalSI);
  static Quantity from_milli(int64_t value, Format format = Format::kDecimalSI);
  // What cannot be parsed counts as zero; for documents that validation has passed.
  static Quantity parse_or_zero(std::string_view text);

  std::string to_string() const;       // canonical
  int64_t value() const;               // rounded up; saturates
  int64_t milli_value() const;         // in thousandths, rounded up; saturates
  double as_double() const;
  Format format() const { return format_; }
  __extension__ __int128 nano() const { return nano_; }
  bool is_zero() const { return nano_ == 0; }
  int sign() const { return nano_ < 0 ? -1 : nano_ > 0 ? 1 : 0; }

  Quantity& operator+=(const Quantity& other);  // keeps the format of the left unless it is zero
  Quantity& operator-=(const Quantity& other);
  friend Quantity operator+(Quantity a, const Quantity& b) { return a += b; }
  friend Quantity operator-(Quantity a, const Quantity& b) { return a -= b; }
  friend bool operator==(const Quantity& a, const Quantity& b) { return a.nano_ == b.nano_; }
  friend std::strong_ordering operator<=>(const Quantity& a, const Quantity& b) {
    return a.nano_ < b.nano_   ? std::strong_ordering::less
           : a.nano_ > b.nano_ ? std::strong_ordering::greater
                               : std::strong_ordering::equal;
  }

 private:
  __extension__ using Nano = __int128;
  Nano nano_ = 0;
  Format format_ = Format::kDecimalSI;
};

// The text that upstream prints after reading `text`: mostly the canonical form; some equivalent spellings ("1.125", "1500Mi", "1e3")
// are kept as they were written. Errors as Quantity::parse.
Result<std::string> canonical_quantity(std::string_view text);

}  // namespace engenho::schema
