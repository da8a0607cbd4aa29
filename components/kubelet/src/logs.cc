#include "logs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "engenho/base/fs.h"

namespace engenho::kubelet {

bool parse_log_record(std::string_view line, LogRecord& out) {
  const size_t a = line.find(' ');
  if (a == std::string_view::npos) return false;
  const size_t b = line.find(' ', a + 1);
  if (b == std::string_view::npos) return false;
  size_t c = line.find(' ', b + 1);
  if (c == std::string_view::npos) c = line.size();
  out.time = line.substr(0, a);
  out.stream = line.substr(a + 1, b - a - 1);
  std::string_view tag = line.substr(b + 1, c - b - 1);
  out.partial = tag.substr(0, tag.find(':')) == "P";
  out.text = c < line.size() ? line.substr(c + 1) : std::string_view();
  return out.stream == "stdout" || out.stream == "stderr";
}

int64_t tail_offset(int fd, int64_t size, int64_t lines) {
  if (lines <= 0) return size;
  char block[65536];
  int64_t end = size, found = 0;
  while (end > 0) {
    const int64_t from = std::max<int64_t>(0, end - static_cast<int64_t>(sizeof block));
    const ssize_t n = pread(fd, block, static_cast<size_t>(end - from), from);
    if (n <= 0) return 0;
    for (ssize_t i = n - 1; i >= 0; --i) {
      // The new line at the very end closes the last line and begins none.
      if (block[i] == '\n' && from + i != size - 1 && ++found == lines) return from + i + 1;
    }
    end = from;
  }
  return 0;
}

Status read_log(const std::string& path, const LogOptions& options, const std::function<bool()>& running, const StopToken& stop,
                const std::function<bool(std::string_view)>& write) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? not_found_error("no log at " + path) : errno_error("open log", errno);
  struct Closer {
    int& fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat st {};
  fstat(fd, &st);
  int64_t offset = options.tail_lines >= 0 ? tail_offset(fd, st.st_size, options.tail_lines) : 0;
  int64_t left = options.limit_bytes;
  std::string pending, out;
  char buffer[65536];
  bool line_start = true;   // of the text that we write: a time stamp is due
  int idle = 0;
  int rotated = 0;   // rounds since without text
  while (!stop.stopped()) {
    const ssize_t n = pread(fd, buffer, sizeof buffer, offset);
    if (n < 0) return errno_error("read log", errno);
    if (n > 0) {
      rotated = 0;
      offset += n;
      pending.append(buffer, static_cast<size_t>(n));
      out.clear();
      size_t from = 0;
      for (size_t end; (end = pending.find('\n', from)) != std::string::npos; from = end + 1) {
        LogRecord r;
        if (!parse_log_record(std::string_view(pending).substr(from, end - from), r)) continue;
        if (!options.stream.empty() && r.stream != options.stream) continue;
        if (options.since) {
          auto time = parse_rfc3339(r.time);
          if (time && *time < *options.since) continue;
        }
        if (options.timestamps && line_start) out += std::string(r.time) + " ";
        out += r.text;
        if (!r.partial) out += '\n';
        line_start = !r.partial;
      }
      pending.erase(0, from);
      if (left >= 0 && static_cast<int64_t>(out.size()) > left) out.resize(static_cast<size_t>(left));
      if (!out.empty() && !write(out)) return {};
      if (left >= 0 && (left -= static_cast<int64_t>(out.size())) <= 0) return {};
      idle = 0;
      continue;
    }
    if (!options.follow) return {};
    // Another file under the name: it was rotated. The runtime may have text on its way to this one yet: half a second without any ends it.
    struct stat here {}, named {};
    if (fstat(fd, &here) == 0 && stat(path.c_str(), &named) == 0 && named.st_ino != here.st_ino) {
      if (rotated++ < 5) {
        stop.wait_for(std::chrono::milliseconds(100));
        continue;
      }
      const int next = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (next >= 0) {
        close(fd);
        fd = next;
        offset = 0;
        rotated = 0;
        continue;
      }
    }
    if (idle++ % 5 == 4 && !running()) {
      if (fstat(fd, &here) == 0 && here.st_size <= offset) return {};
      continue;
    }
    stop.wait_for(std::chrono::milliseconds(100));
  }
  return {};
}

namespace {
std::string rotated_name(const std::string& path, int number) { return path + "." + std::to_string(number); }
}  // namespace

Result<bool> rotate_log(const std::string& path, int64_t max_bytes, int max_files, const std::function<Status()>& reopen) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0 || st.st_size < max_bytes) return false;
  const int oldest = max_files - 1;
  unlink(rotated_name(path, oldest).c_str());
  for (int i = oldest - 1; i >= 1; --i) rename(rotated_name(path, i).c_str(), rotated_name(path, i + 1).c_str());
  if (rename(path.c_str(), rotated_name(path, 1).c_str()) != 0) return err(errno_error("rename " + path, errno));
  if (Status status = reopen(); !status.ok()) {
    // The runtime still writes to it, unless it has made the new one.
    if (!path_exists(path)) rename(rotated_name(path, 1).c_str(), path.c_str());
    return err(std::move(status));
  }
  return true;
}

void remove_log(const std::string& path) {
  unlink(path.c_str());
  for (int i = 1; unlink(rotated_name(path, i).c_str()) == 0 || i < kMaxLogFiles; ++i) {
  }
}

}  // namespace engenho::kubelet
