// The value types that the generated structs are made of.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/catalog/box.h"
#include "engenho/schema/quantity.h"

namespace engenho::k8s {

// metav1.Time and *metav1.Time: a point in time or absent. Written with whole seconds.
class Time {
 public:
  Time() = default;
  Time(WallTime time) : time_(time) {}
  explicit operator bool() const { return time_.has_value(); }
  bool is_zero() const { return !time_; }
  WallTime operator*() const { return *time_; }                       // precondition: not absent
  WallTime value_or(WallTime otherwise) const { return time_.value_or(otherwise); }
  void reset() { time_.reset(); }
  std::string to_string() const { return time_ ? format_rfc3339(*time_) : std::string(); }
  friend bool operator==(const Time&, const Time&) = default;

 private:
  std::optional<WallTime> time_;
};

// metav1.MicroTime: the same, written with microseconds.
class MicroTime {
 public:
  MicroTime() = default;
  MicroTime(WallTime time) : time_(time) {}
  explicit operator bool() const { return time_.has_value(); }
  bool is_zero() const { return !time_; }
  WallTime operator*() const { return *time_; }
  WallTime value_or(WallTime otherwise) const { return time_.value_or(otherwise); }
  void reset() { time_.reset(); }
  std::string to_string() const { return time_ ? format_rfc3339_micro(*time_) : std::string(); }
  friend bool operator==(const MicroTime&, const MicroTime&) = default;

 private:
  std::optional<WallTime> time_;
};

// The text of a quantity ("500m"); the arithmetic is schema::Quantity's.
class Quantity {
 public:
  Quantity() = default;
  Quantity(const char* text) : text_(text) {}
  Quantity(std::string text) : text_(std::move(text)) {}
  Quantity(const schema::Quantity& q) : text_(q.to_string()) {}
  schema::Quantity parsed() const { return schema::Quantity::parse_or_zero(text_); }
  int64_t value() const { return parsed().value(); }                  // rounded up
  int64_t milli_value() const { return parsed().milli_value(); }
  const std::string& text() const { return text_; }                   // empty counts as "0"
  bool is_zero() const { return parsed().is_zero(); }
  friend bool operator==(const Quantity& a, const Quantity& b) {      // by value: "1Gi" == "1024Mi"
    return a.text_ == b.text_ || a.parsed() == b.parsed();
  }

 private:
  std::string text_;
};

class IntOrString {
 public:
  IntOrString() = default;  // 0
  IntOrString(int32_t value) : int_(value) {}
  IntOrString(std::string text) : is_string_(true), text_(std::move(text)) {}
  IntOrString(const char* text) : is_string_(true), text_(text) {}
  bool is_string() const { return is_string_; }
  int32_t int_value() const { return int_; }
  const std::string& str() const { return text_; }
  std::string to_string() const { return is_string_ ? text_ : std::to_string(int_); }
  // "25%" of `total` rounded up or down, or the number; nullopt when the text is neither.
  std::optional<int64_t> scaled(int64_t total, bool round_up) const;
  friend bool operator==(const IntOrString&, const IntOrString&) = default;

 private:
  bool is_string_ = false;
  int32_t int_ = 0;
  std::string text_;
};

}  // namespace engenho::k8s
