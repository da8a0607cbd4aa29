// The watch caches: one Cacher per resource, all fed in revision order by one watch on the store. A read from a cache costs no
// I/O; a watch is a place in its event ring.
//
// Threads: the store's delivery thread applies events; any thread reads. Each Cacher has one mutex, held only to look up, to copy
// pointers, and to hand events to the sinks (which queue and return).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"
#include "engenho/datastore/store.h"
#include "object.h"

namespace engenho::apiserver {

using datastore::Revision;

enum class EventType { kAdded, kModified, kDeleted };

struct CacheEvent {
  EventType type;
  ObjectPtr object;    // deleted: its last state, with the revision of the deletion
  ObjectPtr previous;  // before the change; null for kAdded
  Revision revision;
};

// Receives the events of one watch, in order, under the cacher's lock: queue and return. False: the watch is over.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual bool on_event(const CacheEvent& event) = 0;
  // Everything up to `revision` has been delivered. `initial_end`: the initial state is complete.
  virtual bool on_bookmark(Revision revision, bool initial_end) = 0;
  // Events are missing from here on, so the client must begin anew; nothing more comes. Not under the cacher's lock.
  virtual void on_lost() = 0;
};

class Cacher {
 public:
  Cacher(std::string prefix, size_t max_ring_bytes) : prefix_(std::move(prefix)), max_ring_bytes_(max_ring_bytes) {}

  ObjectPtr get(std::string_view key) const;
  // Objects whose key begins so, in key order. `at`: a revision at which this was the state of the store.
  std::vector<ObjectPtr> list(std::string_view key_prefix, const std::atomic<Revision>& hub_revision, Revision* at = nullptr) const;
  size_t size() const;

  struct Subscription {
    std::shared_ptr<EventSink> sink;
    std::string key_prefix;
  };
  // What a new watch starts with.
  enum class Start {
    kNow,      // only what comes
    kInitial,  // the present state as kAdded, then what comes; then a bookmark when asked for
    kFrom,     // the events after `from`
  };
  // Errors: Expired (410) when the ring no longer reaches back to `from`.
  Status watch(std::shared_ptr<EventSink> sink, std::string key_prefix, Start start, Revision from, bool initial_bookmark,
               const std::atomic<Revision>& hub_revision);
  void unwatch(const EventSink* sink);
  void bookmark_all(Revision revision);
  size_t watchers() const;

  // Fills a cacher that joins late, while events wait.
  Status load_late(datastore::Store& store);

  // Called by the hub only.
  void apply(const datastore::Event& event);
  // What the store has at `revision`. On a later call the hooks see the difference, and the watches are lost.
  void load(std::vector<ObjectPtr> objects, Revision revision);
  const std::string& prefix() const { return prefix_; }
  // Called on the delivery thread after each change, before the sinks. Set before the hub starts.
  void on_change(std::function<void(const CacheEvent&)> fn) { hooks_.push_back(std::move(fn)); }

 private:
  void deliver(const CacheEvent& event);
  // Returns the watches that this ends; tell them without the lock.
  std::list<Subscription> fill(std::vector<ObjectPtr> objects, Revision revision);
  const std::string prefix_;
  const size_t max_ring_bytes_;
  mutable std::shared_mutex mutex_;
  std::map<std::string, ObjectPtr, std::less<>> objects_;
  std::deque<CacheEvent> ring_;
  size_t ring_bytes_ = 0;
  Revision loaded_ = 0;  // the state that was loaded; earlier events are in it
  Revision floor_ = 0;  // events after this revision are in the ring
  Revision last_ = 0;   // of the newest event applied here; may be ahead of the hub's within a batch
  std::list<Subscription> sinks_;
  std::vector<std::function<void(const CacheEvent&)>> hooks_;
};

class Hub final : private datastore::WatchSink {
 public:
  explicit Hub(datastore::Store& store, size_t ring_bytes_per_resource = 4u << 20);
  ~Hub() override;

  Cacher& cacher(const std::string& prefix);  // made on first use, before start()
  // The same while the hub runs, for a new custom resource: what the store has under the prefix is loaded first. `changed` is called as Cacher::on_change.
  Result<Cacher*> add_cacher(const std::string& prefix, std::function<void(const CacheEvent&)> changed);
  // Loads everything under /registry/ and begins to follow the store.
  Status start();
  void stop();

  Revision revision() const { return revision_.load(); }
  const std::atomic<Revision>& revision_ref() const { return revision_; }
  // Waits until the caches have caught up with `revision`. Error: Timeout.
  Status wait_for(Revision revision, Duration timeout);
  // The caches have what the store had when the call was made.
  bool is_current() const { return revision() >= store_.revision(); }
  datastore::Store& store() { return store_; }
  void bookmark_all();

 private:
  Flow on_events(const datastore::WatchBatch& batch) override;
  void on_progress(Revision revision) override;
  void on_end(const datastore::WatchEnd& end) override;
  void advance(Revision revision);
  Cacher* cacher_of(std::string_view key);
  Status load_and_watch();
  void reload(const StopToken& stop);

  datastore::Store& store_;
  const size_t ring_bytes_;
  std::shared_mutex cachers_mutex_;
  std::map<std::string, std::unique_ptr<Cacher>, std::less<>> cachers_;  // by prefix
  std::atomic<Revision> revision_{0};
  std::mutex wait_mutex_;
  std::condition_variable wait_;
  std::atomic<int> waiters_{0};
  std::unique_ptr<datastore::Watch> watch_;
  std::atomic<bool> stopping_{false};
  TaskGroup reloads_{"hub"};
};

}  // namespace engenho::apiserver
