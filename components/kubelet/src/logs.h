// Container logs in CRI's format: "<RFC 3339 time> <stdout|stderr> <F|P> <text>", P for a line that goes on in the next record.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"

namespace engenho::kubelet {

struct LogOptions {
  bool follow = false, timestamps = false;
  int64_t tail_lines = -1, limit_bytes = -1;   // -1: all
  std::optional<WallTime> since;
  std::string stream;                          // "", "stdout" or "stderr"
};

struct LogRecord {
  std::string_view time, stream, text;
  bool partial = false;
};
bool parse_log_record(std::string_view line, LogRecord& out);   // `line` without its new line
// Where the last `lines` whole lines begin, in bytes from the start.
int64_t tail_offset(int fd, int64_t size, int64_t lines);

// Writes what `options` selects to `write` until it returns false. Following goes on, over rotations, until `running` is false and
// the file has been read to its end.
Status read_log(const std::string& path, const LogOptions& options, const std::function<bool()>& running, const StopToken& stop,
                const std::function<bool(std::string_view)>& write);

}  // namespace engenho::kubelet
