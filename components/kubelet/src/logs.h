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

// Upstream's defaults of containerLogMaxSize and containerLogMaxFiles, the file that is written to among them.
constexpr int64_t kMaxLogBytes = 10 << 20;
constexpr int kMaxLogFiles = 5;
// Gives a log of at least `max_bytes` the suffix ".1", after moving older ones up by one (the oldest goes), and has the runtime begin a new file by
// `reopen`. When that fails the log has its name again. False: it was not long enough, or not there.
Result<bool> rotate_log(const std::string& path, int64_t max_bytes, int max_files, const std::function<Status()>& reopen);
// With all that was rotated out of it.
void remove_log(const std::string& path);

}  // namespace engenho::kubelet
