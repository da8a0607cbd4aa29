#include "engenho/base/fs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engenho/base/random.h"

namespace engenho {

Result<std::string> read_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return err(errno_error("open " + path, errno));
  std::string out;
  char buffer[65536];
  for (;;) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int number = errno;
      close(fd);
      return err(errno_error("read " + path, number));
    }
    if (n == 0) break;
    out.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return out;
}

Status write_file_atomic(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = path + "." + random_name_suffix(8) + ".tmp";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return errno_error("create " + temporary, errno);
  auto fail = [&](const char* what) {
    const int number = errno;
    close(fd);
    unlink(temporary.c_str());
    return errno_error(std::string(what) + " " + temporary, number);
  };
  while (!content.empty()) {
    const ssize_t n = write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("write");
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (fchmod(fd, mode) != 0) return fail("chmod");  // the umask does not decide
  if (fsync(fd) != 0) return fail("fsync");
  close(fd);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const int number = errno;
    unlink(temporary.c_str());
    return errno_error("rename to " + path, number);
  }
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const int dir = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    fsync(dir);
    close(dir);
  }
  return {};
}

Status make_dirs(const std::string& path, mode_t mode) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return errno_error("mkdir " + part, errno);
  }
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return errno_error("stat " + path, errno);
  if (!S_ISDIR(st.st_mode)) return errno_error("mkdir " + path, ENOTDIR);
  return {};
}

bool path_exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

}  // namespace engenho
