#include "engenho/schema/cron.h"

#include <algorithm>
#include <map>
#include <vector>

#include "engenho/base/bytes.h"

namespace engenho::schema {

namespace {

// One field: lists of ranges with steps.
std::string schedule_field(std::string_view field, int low, int high, const std::vector<std::string_view>& names, int first_name, uint64_t& bits,
                           bool* any = nullptr) {
  auto parse = [&](std::string_view text, int& out) -> std::string {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    int n = first_name;
    for (std::string_view name : names) {
      if (lower == name) return out = n, "";
      ++n;
    }
    int64_t value = 0;
    if (!parse_int(text, value)) {
      return "failed to parse int from " + std::string(text) + ": strconv.Atoi: parsing \"" + std::string(text) + "\": invalid syntax";
    }
    if (value < 0) return "negative number (" + std::to_string(value) + ") not allowed: " + std::string(text);
    out = static_cast<int>(std::min<int64_t>(value, INT32_MAX));
    return "";
  };
  for (size_t start = 0; start <= field.size();) {
    const size_t end = std::min(field.find(',', start), field.size());
    const std::string_view expression = field.substr(start, end - start);
    start = end + 1;
    const size_t slash = expression.find('/'), dash = expression.substr(0, slash).find('-');
    const std::string_view range = expression.substr(0, slash);
    int from = low, to = high, step = 1;
    if (range != "*" && range != "?") {
      if (std::string e = parse(range.substr(0, dash), from); !e.empty()) return e;
      to = from;
      if (dash != range.npos) {
        if (std::string e = parse(range.substr(dash + 1), to); !e.empty()) return e;
      } else if (slash != expression.npos) {
        to = high;
      }
    }
    if (slash != expression.npos) {
      if (std::string e = parse(expression.substr(slash + 1), step); !e.empty()) return e;
    }
    const std::string text(expression);
    if (from < low) return "beginning of range (" + std::to_string(from) + ") below minimum (" + std::to_string(low) + "): " + text;
    if (to > high) return "end of range (" + std::to_string(to) + ") above maximum (" + std::to_string(high) + "): " + text;
    if (from > to) return "beginning of range (" + std::to_string(from) + ") beyond end of range (" + std::to_string(to) + "): " + text;
    if (step == 0) return "step of range should be a positive number: " + text;
    for (int64_t n = from; n <= to; n += step) bits |= uint64_t{1} << n;
    if (any != nullptr && (range == "*" || range == "?") && step == 1) *any = true;
  }
  return "";
}

// As Go writes durations: "1h30m", "90s", "1.5h".
bool parse_duration(std::string_view text, std::chrono::nanoseconds& out) {
  static const std::vector<std::pair<std::string_view, double>> units = {{"ns", 1},  {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"ms", 1e6},
                                                                         {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  double total = 0;
  if (text.empty()) return false;
  while (!text.empty()) {
    const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    const std::string number(text.substr(0, digits));
    if (number.empty() || number == "." || std::count(number.begin(), number.end(), '.') > 1) return false;
    text.remove_prefix(digits);
    const size_t end = std::min(text.find_first_of("0123456789."), text.size());
    auto unit = std::find_if(units.begin(), units.end(), [&](const auto& u) { return u.first == text.substr(0, end); });
    if (unit == units.end()) return false;
    total += std::strtod(number.c_str(), nullptr) * unit->second;
    text.remove_prefix(end);
  }
  if (total > 9.2e18) return false;
  out = std::chrono::nanoseconds(static_cast<int64_t>(total));
  return true;
}

}  // namespace

std::string parse_cron(std::string_view text, CronSchedule& out) {
  if (text.starts_with("@every ")) {
    const std::string_view duration = text.substr(7);
    if (!parse_duration(duration, out.every))
      return "failed to parse duration " + std::string(text) + ": time: invalid duration \"" + std::string(duration) + "\"";
    out.every = std::max<std::chrono::nanoseconds>(std::chrono::floor<std::chrono::seconds>(out.every), std::chrono::seconds(1));
    return "";
  }
  if (text.starts_with('@')) {
    static const std::map<std::string_view, std::string_view> known = {{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
                                                                       {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
                                                                       {"@hourly", "0 * * * *"}};
    auto it = known.find(text);
    return it == known.end() ? "unrecognized descriptor: " + std::string(text) : parse_cron(it->second, out);
  }
  std::vector<std::string_view> fields;
  for (size_t i = 0; i < text.size();) {
    const size_t start = text.find_first_not_of(" \t", i);
    if (start == text.npos) break;
    i = std::min(text.find_first_of(" \t", start), text.size());
    fields.push_back(text.substr(start, i - start));
  }
  if (fields.size() != 5) {
    std::string all;
    for (std::string_view f : fields) all += (all.empty() ? "" : " ") + std::string(f);
    return "expected exactly 5 fields, found " + std::to_string(fields.size()) + ": [" + all + "]";
  }
  static const std::vector<std::string_view> months = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
  static const std::vector<std::string_view> days = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
  std::string e;
  if (e = schedule_field(fields[0], 0, 59, {}, 0, out.minutes); !e.empty()) return e;
  if (e = schedule_field(fields[1], 0, 23, {}, 0, out.hours); !e.empty()) return e;
  if (e = schedule_field(fields[2], 1, 31, {}, 0, out.days, &out.any_day); !e.empty()) return e;
  if (e = schedule_field(fields[3], 1, 12, months, 1, out.months); !e.empty()) return e;
  return schedule_field(fields[4], 0, 6, days, 0, out.weekdays, &out.any_weekday);
}

}  // namespace engenho::schema
