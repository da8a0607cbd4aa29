// Running watches: each is an EventSink that writes to its exchange. Ends with its time-out, its client, or the server.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>

#include "context.h"
#include "engenho/base/threads.h"
#include "field_selectors.h"
#include "hub.h"

namespace engenho::apiserver {

class HttpWatch;

class WatchManager {
 public:
  explicit WatchManager(Hub& hub);
  ~WatchManager();
  // Starts the answer and the watch. Errors are answered by the caller before anything was sent.
  struct Options {
    std::string key_prefix;
    Filter filter;
    Cacher::Start start = Cacher::Start::kNow;
    Revision from = 0;
    bool bookmarks = false;
    bool initial_bookmark = false;
    Duration timeout = std::chrono::minutes(30);
  };
  Status start(const std::shared_ptr<Context>& context, Options options);
  void stop();  // ends all of them
  size_t count() const;

 private:
  friend class HttpWatch;
  void remove(const std::shared_ptr<HttpWatch>& watch);
  void schedule_bookmarks();
  Hub& hub_;
  Timers timers_;
  mutable std::mutex mutex_;
  std::set<std::shared_ptr<HttpWatch>> watches_;
  bool stopped_ = false;
};

}  // namespace engenho::apiserver
