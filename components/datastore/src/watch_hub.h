// Hands events to watchers: recent ones from a ring in memory, older ones from the revision log on disk. A watcher is a
// place in the sequence of revisions and nothing else, so that a slow one costs no memory and never holds up the writer.
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engenho/datastore/store.h"
#include "progress.h"
#include "reader.h"

namespace engenho::datastore {

// All events of one revision.
struct RevisionEvents {
  Revision revision = 0;
  std::vector<EventPtr> events;
  size_t bytes = 0;  // keys, values and previous values, whether shared or not
};

// Shared with the handles of its watches, which may outlive the store; after stop() they touch nothing but the hub itself.
class WatchHub : public std::enable_shared_from_this<WatchHub> {
 public:
  WatchHub(Reader& reader, Progress& progress, size_t ring_bytes);
  ~WatchHub();
  void start();
  void stop();  // ends every watch and joins

  // Publishes revisions, in order, all new: readers see them from now on.
  void append(std::vector<RevisionEvents> revisions);
  Result<std::unique_ptr<Watch>> watch(WatchRequest request, WatchSink* sink);
  size_t watches() const;

 private:
  struct Watcher {
    WatchRequest request;
    WatchSink* sink = nullptr;
    Revision next = 0;               // the first revision not delivered
    Revision progress_asked = 0;     // answer on_progress once this is delivered; 0: not asked
    uint64_t resumes = 0;
    bool paused = false;
    bool calling = false;            // a call of the sink is under way, without the lock
    bool gone = false;               // ended or destroyed
  };
  using WatcherPtr = std::shared_ptr<Watcher>;
  class Handle;

  void run();
  bool has_work(const Watcher& watcher) const;
  void step(std::unique_lock<std::mutex>& lock, const WatcherPtr& watcher);
  void deliver(std::unique_lock<std::mutex>& lock, const WatcherPtr& watcher, const std::vector<EventPtr>& events,
               Revision through);
  void end(std::unique_lock<std::mutex>& lock, const WatcherPtr& watcher, const WatchEnd& end);
  void remove(const WatcherPtr& watcher);

  Reader& reader_;
  Progress& progress_;
  const size_t ring_bytes_;

  mutable std::mutex mutex_;  // all below
  std::condition_variable work_, called_;
  std::deque<RevisionEvents> ring_;  // consecutive revisions, the last one is progress_.revision
  size_t ring_used_ = 0;
  std::vector<WatcherPtr> watchers_;
  bool work_waiting_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace engenho::datastore
