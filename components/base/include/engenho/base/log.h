// Structured, levelled logging: one line an event, "time level component: message". Formatting is fmt's.
//   log::info("kubelet", "pod {} started in {} ms", name, ms);
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace engenho::log {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError, kOff };

void set_level(Level level);
bool parse_level(std::string_view text, Level& out);  // trace, debug, info, warn, error, off
bool enabled(Level level);
void write(Level level, std::string_view component, std::string_view message);

void vwrite(Level level, std::string_view component, fmt::string_view format, fmt::format_args args);

template <typename... Args>
void debug(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug)) vwrite(Level::kDebug, component, format, fmt::make_format_args(args...));
}
template <typename... Args>
void info(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) vwrite(Level::kInfo, component, format, fmt::make_format_args(args...));
}
template <typename... Args>
void warn(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kWarn)) vwrite(Level::kWarn, component, format, fmt::make_format_args(args...));
}
template <typename... Args>
void error(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kError)) vwrite(Level::kError, component, format, fmt::make_format_args(args...));
}

}  // namespace engenho::log
