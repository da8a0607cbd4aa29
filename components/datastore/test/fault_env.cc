#include "fault_env.h"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace engenho::datastore {

namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultWritable final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultWritable(FaultFileSystem& system, std::string name, std::unique_ptr<rocksdb::FSWritableFile>&& file)
      : FSWritableFileOwnerWrapper(std::move(file)), system_(system), name_(std::move(name)) {}
  using FSWritableFileOwnerWrapper::Append;
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = system_.write_allowed();
    if (!status.ok()) return status;
    status = target()->Append(data, options, debug);
    if (status.ok()) system_.written(name_, target()->GetFileSize(options, debug));
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = system_.write_allowed();
    if (!status.ok()) return status;
    // To the kernel only: that is as far as this test's power goes.
    status = target()->Flush(options, debug);
    if (status.ok()) system_.synced(name_);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }  // promises nothing

 private:
  FaultFileSystem& system_;
  const std::string name_;
};

class FaultReadable final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultReadable(FaultFileSystem& system, std::string name, std::unique_ptr<rocksdb::FSRandomAccessFile>&& file)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), system_(system), name_(std::move(name)) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch, IODebugContext* debug) const override {
    IOStatus status = system_.read_allowed(name_);
    return status.ok() ? target()->Read(offset, n, options, result, scratch, debug) : status;
  }

 private:
  FaultFileSystem& system_;
  const std::string name_;
};

class FaultDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(FaultFileSystem& system, std::string name, std::unique_ptr<rocksdb::FSDirectory>&& dir)
      : FSDirectoryWrapper(std::move(dir)), system_(system), name_(std::move(name)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    IOStatus status = system_.write_allowed();
    if (status.ok()) system_.directory_synced(name_);
    return status;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug, const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  FaultFileSystem& system_;
  const std::string name_;
};

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string parent_of(const std::string& path) { return std::filesystem::path(path).parent_path(); }

}  // namespace

IOStatus FaultFileSystem::write_allowed() {
  if (cut_) return IOStatus::IOError("the power is gone");
  if (countdown_ > 0 && --countdown_ == 0) cut_ = true;
  const uint64_t operation = ++operations_;
  if (const int every = fail_writes_; every > 0 && operation % static_cast<uint64_t>(every) == 0) return IOStatus::IOError("a write fails");
  return IOStatus::OK();
}

IOStatus FaultFileSystem::read_allowed(const std::string& name) {
  const uint64_t read = ++reads_;
  if (const int every = fail_reads_; every > 0 && name.ends_with(".sst") && read % static_cast<uint64_t>(every) == 0)
    return IOStatus::IOError("a read of " + name + " fails");
  return IOStatus::OK();
}

void FaultFileSystem::written(const std::string& name, uint64_t size) {
  std::lock_guard lock(mutex_);
  files_[name].size = size;
}
void FaultFileSystem::synced(const std::string& name) {
  std::lock_guard lock(mutex_);
  files_[name].synced = files_[name].size;
}
void FaultFileSystem::directory_synced(const std::string& dir) {
  std::lock_guard lock(mutex_);
  for (auto& [name, file] : files_)
    if (parent_of(name) == std::filesystem::path(dir).lexically_normal().string() || parent_of(name) + "/" == dir) file.entered = true;
  renames_.clear();  // there is one directory
}

IOStatus FaultFileSystem::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* out, IODebugContext* debug) {
  if (cut_) return IOStatus::IOError("the power is gone");
  IOStatus status = target()->NewWritableFile(name, options, out, debug);
  if (!status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    files_[name] = {};
  }
  *out = std::make_unique<FaultWritable>(*this, name, std::move(*out));
  return status;
}

IOStatus FaultFileSystem::ReuseWritableFile(const std::string&, const std::string&, const rocksdb::FileOptions&,
                                            std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("files are not used again");
}

IOStatus FaultFileSystem::NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                              std::unique_ptr<rocksdb::FSRandomAccessFile>* out, IODebugContext* debug) {
  IOStatus status = target()->NewRandomAccessFile(name, options, out, debug);
  if (status.ok()) *out = std::make_unique<FaultReadable>(*this, name, std::move(*out));
  return status;
}

IOStatus FaultFileSystem::NewDirectory(const std::string& name, const IOOptions& options, std::unique_ptr<rocksdb::FSDirectory>* out,
                                       IODebugContext* debug) {
  IOStatus status = target()->NewDirectory(name, options, out, debug);
  if (status.ok()) *out = std::make_unique<FaultDirectory>(*this, name, std::move(*out));
  return status;
}

IOStatus FaultFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options, IODebugContext* debug) {
  if (cut_) return IOStatus::IOError("the power is gone");
  std::lock_guard lock(mutex_);
  Rename rename{from, to, "", std::filesystem::exists(to)};
  if (rename.had_old) rename.old_content = content_of(to);
  IOStatus status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  renames_.push_back(std::move(rename));
  files_[to] = files_[from];
  files_[to].entered = true;  // the rename itself is what may be undone
  files_.erase(from);
  return status;
}

IOStatus FaultFileSystem::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  // A deletion that comes back does no harm; one that is done at once is the harder case.
  if (cut_) return IOStatus::IOError("the power is gone");
  std::lock_guard lock(mutex_);
  files_.erase(name);
  return target()->DeleteFile(name, options, debug);
}

void FaultFileSystem::lose_unsynced(std::mt19937_64& random) {
  std::lock_guard lock(mutex_);
  for (auto rename = renames_.rbegin(); rename != renames_.rend(); ++rename) {
    if (random() % 2 == 0) break;  // those before it came to the disk, by chance
    std::filesystem::rename(rename->to, rename->from);
    files_[rename->from] = files_[rename->to];
    files_.erase(rename->to);
    if (rename->had_old) std::ofstream(rename->to, std::ios::binary) << rename->old_content;
  }
  renames_.clear();
  for (auto it = files_.begin(); it != files_.end();) {
    auto& [name, file] = *it;
    if (!std::filesystem::exists(name)) {
      it = files_.erase(it);
      continue;
    }
    if (!file.entered && file.synced == 0 && random() % 2 == 0) {
      std::filesystem::remove(name);
      it = files_.erase(it);
      continue;
    }
    if (file.size > file.synced) {
      // Some of it may have come to the disk, torn at any byte. (Wrong bytes inside of what is there are damage, and refused: whether such a
      // record was acknowledged cannot be told.)
      const uint64_t kept = file.synced + random() % (file.size - file.synced + 1);
      std::filesystem::resize_file(name, kept);
      file.size = file.synced = kept;
    }
    file.entered = true;
    ++it;
  }
  cut_ = false;
  countdown_ = 0;
  fail_writes_ = fail_reads_ = 0;
}

}  // namespace engenho::datastore
