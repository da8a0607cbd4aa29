#pragma once

#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/datastore/errors.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/datastore/store.h"
#include "engenho/testing/catch.h"
#include "engenho/testing/eventually.h"

namespace engenho::datastore {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "engenho-store-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline RocksdbOptions test_options(const std::string& dir, Clock* clock = nullptr) {
  RocksdbOptions options;
  options.dir = dir;
  options.clock = clock;
  options.fsync = false;  // against the death of the process the kernel's cache is enough
  return options;
}

inline std::unique_ptr<Store> open_store(RocksdbOptions options) {
  auto store = open_rocksdb_store(std::move(options));
  if (!store) FAIL(store.error().to_string());
  return std::move(*store);
}

template <typename T>
T must(Result<T> result) {
  if (!result) FAIL(result.error().to_string());
  return std::move(*result);
}
inline void must(const Status& status) {
  if (!status.ok()) FAIL(status.to_string());
}

// A sink that keeps what it gets and can be waited for.
class RecordingSink final : public WatchSink {
 public:
  struct Batch {
    std::vector<EventPtr> events;
    Revision through;
  };
  Flow on_events(const WatchBatch& batch) override {
    std::lock_guard lock(mutex_);
    batches_.push_back({{batch.events.begin(), batch.events.end()}, batch.through});
    for (const EventPtr& event : batch.events) events_.push_back(event);
    through_ = batch.through;
    cv_.notify_all();
    return pause_ ? Flow::kPause : Flow::kContinue;
  }
  void on_progress(Revision revision) override {
    std::lock_guard lock(mutex_);
    progress_.push_back(revision);
    through_ = revision;
    cv_.notify_all();
  }
  void on_end(const WatchEnd& end) override {
    std::lock_guard lock(mutex_);
    end_ = end;
    cv_.notify_all();
  }

  void set_pause(bool pause) {
    std::lock_guard lock(mutex_);
    pause_ = pause;
  }
  // Waits until everything up to `revision` is delivered; asks `watch` for progress.
  bool wait_through(Watch& watch, Revision revision) {
    watch.request_progress();
    return wait([&] { return through_ >= revision; });
  }
  bool wait_events(size_t count) {
    return wait([&] { return events_.size() >= count; });
  }
  bool wait_end() {
    return wait([&] { return end_.has_value(); });
  }
  std::vector<EventPtr> events() {
    std::lock_guard lock(mutex_);
    return events_;
  }
  std::vector<Batch> batches() {
    std::lock_guard lock(mutex_);
    return batches_;
  }
  std::vector<Revision> progress() {
    std::lock_guard lock(mutex_);
    return progress_;
  }
  std::optional<WatchEnd> end() {
    std::lock_guard lock(mutex_);
    return end_;
  }

 private:
  template <typename Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return cv_.wait_for(lock, std::chrono::seconds(20), condition);
  }
  std::mutex mutex_;
  std::condition_variable cv_;
  std::vector<Batch> batches_;
  std::vector<EventPtr> events_;
  std::vector<Revision> progress_;
  Revision through_ = 0;
  std::optional<WatchEnd> end_;
  bool pause_ = false;
};

using testing::eventually;

}  // namespace engenho::datastore
