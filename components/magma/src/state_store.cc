#include "engenho/magma/state_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/base/clock.h"
#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "state.h"

namespace engenho::magma {

namespace {

Status stale(const State& found, uint64_t serial, const std::string& lineage) {
  return Status(409, reason::kConflict,
                found.lineage != lineage ? "the stored state has another lineage: it is of another history than the one expected"
                                         : "the stored state has serial " + std::to_string(found.serial) + " where " + std::to_string(serial) + " was expected: it was changed meanwhile");
}

class LocalState final : public StateStore {
 public:
  explicit LocalState(std::string path) : path_(std::move(path)) {}
  ~LocalState() override {
    if (lock_fd_ >= 0) close(lock_fd_);
  }

  Result<std::string> read() override {
    if (!path_exists(path_)) return std::string();
    return read_file(path_);
  }

  Status write(const std::string& document, uint64_t serial, const std::string& lineage, uint64_t token) override {
    std::lock_guard guard(mutex_);
    ENGENHO_RETURN_IF_ERROR(held(token));
    ENGENHO_ASSIGN_OR_RETURN(const std::string before, read());
    ENGENHO_ASSIGN_OR_RETURN(const State found, parse_state(before));
    if (found.serial != serial || found.lineage != lineage) return stale(found, serial, lineage);
    // One backup a lock: the state as it was before the whole operation.
    if (!before.empty() && !backed_up_) ENGENHO_RETURN_IF_ERROR(write_file_atomic(path_ + ".backup", before, 0600));
    backed_up_ = true;
    return write_file_atomic(path_, document, 0600);
  }

  Result<std::vector<std::string>> read_cursor() override {
    std::vector<std::string> lines;
    if (!path_exists(cursor())) return lines;
    ENGENHO_ASSIGN(const std::string text, read_file(cursor()));
    for (std::string_view line : split(text, '\n')) {
      if (!line.empty()) lines.emplace_back(line);
    }
    // A line that a crash cut short was never acknowledged.
    if (!lines.empty() && !text.ends_with("\n")) lines.pop_back();
    return lines;
  }

  Status append_cursor(const std::string& line, uint64_t token) override {
    std::lock_guard guard(mutex_);
    ENGENHO_RETURN_IF_ERROR(held(token));
    const int fd = open(cursor().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return errno_error("open " + cursor(), errno);
    const std::string text = line + "\n";
    Status status;
    if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) status = errno_error("write " + cursor(), errno);
    else if (fsync(fd) != 0) status = errno_error("fsync " + cursor(), errno);
    close(fd);
    return status;
  }

  Status clear_cursor(uint64_t token) override {
    std::lock_guard guard(mutex_);
    ENGENHO_RETURN_IF_ERROR(held(token));
    if (unlink(cursor().c_str()) != 0 && errno != ENOENT) return errno_error("remove " + cursor(), errno);
    return {};
  }

  Result<uint64_t> lock(const LockInfo& info) override {
    std::lock_guard guard(mutex_);
    const std::string file = path_ + ".lock";
    if (lock_fd_ >= 0) return err(Status(409, reason::kConflict, "the state is locked by this process"));
    const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err(errno_error("open " + file, errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      auto holder = read_file(file);
      close(fd);
      return err(Status(409, reason::kConflict, "the state is locked" + (holder && !holder->empty() ? ": " + std::string(trim(*holder)) : "")));
    }
    json::Object o;
    o.set("ID", info.id.empty() ? random_uuid() : info.id);
    o.set("Operation", info.operation);
    o.set("Who", info.who);
    o.set("Info", info.info);
    o.set("Created", format_rfc3339(Clock::real().wall()));
    const std::string text = json::dump(json::Value(std::move(o))) + "\n";
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
      const int number = errno;
      close(fd);
      return err(errno_error("write " + file, number));
    }
    lock_fd_ = fd;
    backed_up_ = false;
    return ++token_;
  }

  Status unlock(uint64_t token) override {
    std::lock_guard guard(mutex_);
    ENGENHO_RETURN_IF_ERROR(held(token));
    (void)!ftruncate(lock_fd_, 0);
    close(lock_fd_);
    lock_fd_ = -1;
    return {};
  }

 private:
  std::string cursor() const { return path_ + ".cursor"; }
  Status held(uint64_t token) const {
    if (lock_fd_ < 0 || token != token_) return Status(409, reason::kConflict, "the state's lock is not held, or was taken by another since");
    return {};
  }

  const std::string path_;
  std::mutex mutex_;   // guards what follows
  int lock_fd_ = -1;
  uint64_t token_ = 0;
  bool backed_up_ = false;
};

class MemoryState final : public StateStore {
 public:
  explicit MemoryState(std::string document) : document_(std::move(document)) {}
  Result<std::string> read() override {
    std::lock_guard guard(mutex_);
    return document_;
  }
  Status write(const std::string& document, uint64_t serial, const std::string& lineage, uint64_t token) override {
    std::lock_guard guard(mutex_);
    if (!locked_ || token != token_) return lost();
    ENGENHO_ASSIGN_OR_RETURN(const State found, parse_state(document_));
    if (found.serial != serial || found.lineage != lineage) return stale(found, serial, lineage);
    document_ = document;
    return {};
  }
  Result<std::vector<std::string>> read_cursor() override {
    std::lock_guard guard(mutex_);
    return cursor_;
  }
  Status append_cursor(const std::string& line, uint64_t token) override {
    std::lock_guard guard(mutex_);
    if (!locked_ || token != token_) return lost();
    cursor_.push_back(line);
    return {};
  }
  Status clear_cursor(uint64_t token) override {
    std::lock_guard guard(mutex_);
    if (!locked_ || token != token_) return lost();
    cursor_.clear();
    return {};
  }
  Result<uint64_t> lock(const LockInfo&) override {
    std::lock_guard guard(mutex_);
    if (locked_) return err(Status(409, reason::kConflict, "the state is locked"));
    locked_ = true;
    return ++token_;
  }
  Status unlock(uint64_t token) override {
    std::lock_guard guard(mutex_);
    if (!locked_ || token != token_) return lost();
    locked_ = false;
    return {};
  }

 private:
  static Status lost() { return Status(409, reason::kConflict, "the state's lock is not held, or was taken by another since"); }
  std::mutex mutex_;
  std::string document_;
  std::vector<std::string> cursor_;
  bool locked_ = false;
  uint64_t token_ = 0;
};

}  // namespace

std::unique_ptr<StateStore> make_local_state(std::string path) { return std::make_unique<LocalState>(std::move(path)); }
std::unique_ptr<StateStore> make_memory_state(std::string document) { return std::make_unique<MemoryState>(std::move(document)); }

}  // namespace engenho::magma
