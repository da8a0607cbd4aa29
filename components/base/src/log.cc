#include "engenho/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "engenho/base/clock.h"

namespace engenho::log {

namespace {
std::atomic<Level> g_level{Level::kInfo};
constexpr std::string_view kNames[] = {"trace", "debug", "info", "warn", "error", "off"};
}  // namespace

void set_level(Level level) { g_level.store(level, std::memory_order_relaxed); }

bool parse_level(std::string_view text, Level& out) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == text) {
      out = static_cast<Level>(i);
      return true;
    }
  }
  return false;
}

bool enabled(Level level) { return level >= g_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view component, std::string_view message) {
  std::string line = format_rfc3339_micro(Clock::real().wall());
  line += ' ';
  line += kNames[static_cast<size_t>(level)];
  line += ' ';
  line += component;
  line += ": ";
  // A line break in what somebody sent must not forge a line of its own.
  for (char c : message) line += c == '\n' || c == '\r' ? ' ' : c;
  line += '\n';
  // One write call a line, so that lines of several threads and of child processes do not mix.
  std::string_view rest = line;
  while (!rest.empty()) {
    ssize_t n = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    rest.remove_prefix(n);
  }
}

void vwrite(Level level, std::string_view component, fmt::string_view format, fmt::format_args args) {
  write(level, component, fmt::vformat(format, args));
}

}  // namespace engenho::log
