// A file system under RocksDB that loses power: what was not synced is gone, but for a torn part of it; and one whose writes or reads fail.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>

namespace engenho::datastore {

// Thread-safe. The files lie on the real file system; the books of what is synced are kept here.
class FaultFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  FaultFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FaultFileSystem"; }

  // After that many more writes and syncs every one of them fails, as if the machine had gone. 0: never.
  void cut_after(int64_t operations) { countdown_ = operations; }
  bool is_cut() const { return cut_; }
  // Every n-th write or sync fails, or every n-th read of a table; 0: none.
  void fail_writes(int every) { fail_writes_ = every; }
  void fail_reads(int every) { fail_reads_ = every; }

  // After the database is closed: makes of the directory what a disk has that lost power, and lets everything work again.
  void lose_unsynced(std::mt19937_64& random);

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options, std::unique_ptr<rocksdb::FSWritableFile>* out,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& name, const std::string& old, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* out, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* out, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options, std::unique_ptr<rocksdb::FSDirectory>* out,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;

  rocksdb::IOStatus write_allowed();
  rocksdb::IOStatus read_allowed(const std::string& name);
  void written(const std::string& name, uint64_t size);
  void synced(const std::string& name);
  void directory_synced(const std::string& dir);

 private:
  struct File {
    uint64_t size = 0, synced = 0;
    bool entered = false;  // its directory was synced since it was made
  };
  struct Rename {
    std::string from, to, old_content;
    bool had_old = false;
  };
  std::atomic<int64_t> countdown_{0};
  std::atomic<bool> cut_{false};
  std::atomic<int> fail_writes_{0}, fail_reads_{0};
  std::atomic<uint64_t> operations_{0}, reads_{0};
  std::mutex mutex_;
  std::map<std::string, File> files_;
  std::vector<Rename> renames_;  // not yet certain
};

}  // namespace engenho::datastore
