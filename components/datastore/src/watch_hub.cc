#include "watch_hub.h"

#include <algorithm>

#include "engenho/base/log.h"
#include "engenho/base/threads.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

class WatchHub::Handle final : public Watch {
 public:
  Handle(std::shared_ptr<WatchHub> hub, WatcherPtr watcher)
      : hub_(std::move(hub)), watcher_(std::move(watcher)) {}
  ~Handle() override { hub_->remove(watcher_); }
  void resume() override {
    std::lock_guard lock(hub_->mutex_);
    ++watcher_->resumes;
    watcher_->paused = false;
    hub_->work_waiting_ = true;
    hub_->work_.notify_one();
  }
  void request_progress() override {
    std::lock_guard lock(hub_->mutex_);
    if (hub_->stopping_) return;  // the store and its progress may be gone
    watcher_->progress_asked = hub_->progress_.revision.load();
    hub_->work_waiting_ = true;
    hub_->work_.notify_one();
  }

 private:
  std::shared_ptr<WatchHub> hub_;
  WatcherPtr watcher_;
};

WatchHub::WatchHub(Reader& reader, Progress& progress, size_t ring_bytes)
    : reader_(reader), progress_(progress), ring_bytes_(ring_bytes) {}

WatchHub::~WatchHub() { stop(); }

void WatchHub::start() {
  thread_ = std::thread([this] {
    set_thread_name("store-watch");
    run();
  });
}

void WatchHub::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    work_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

size_t WatchHub::watches() const {
  std::lock_guard lock(mutex_);
  return watchers_.size();
}

void WatchHub::append(std::vector<RevisionEvents> revisions) {
  if (revisions.empty()) return;
  std::vector<RevisionEvents> dropped;  // freed without the lock
  {
    std::lock_guard lock(mutex_);
    for (RevisionEvents& revision : revisions) {
      ring_used_ += revision.bytes;
      ring_.push_back(std::move(revision));
    }
    progress_.revision.store(ring_.back().revision);
    while (!ring_.empty() && ring_used_ > ring_bytes_) {
      ring_used_ -= ring_.front().bytes;
      dropped.push_back(std::move(ring_.front()));
      ring_.pop_front();
    }
    if (watchers_.empty()) return;
    work_waiting_ = true;
  }
  work_.notify_one();
}

Result<std::unique_ptr<Watch>> WatchHub::watch(WatchRequest request, WatchSink* sink) {
  auto watcher = std::make_shared<Watcher>();
  std::lock_guard lock(mutex_);
  if (stopping_) return err(store_stopped_error());
  watcher->next = request.from_revision > 0 ? request.from_revision : progress_.revision.load() + 1;
  if (watcher->next < progress_.compacted.load()) return err(compacted_error());
  watcher->request = std::move(request);
  watcher->sink = sink;
  watchers_.push_back(watcher);
  work_waiting_ = true;
  work_.notify_one();
  return std::make_unique<Handle>(shared_from_this(), std::move(watcher));
}

void WatchHub::remove(const WatcherPtr& watcher) {
  std::unique_lock lock(mutex_);
  watcher->gone = true;
  std::erase(watchers_, watcher);
  // Its last call ends before the sink goes, but a sink that ends its own watch can not wait for itself.
  if (std::this_thread::get_id() != thread_.get_id())
    called_.wait(lock, [&] { return !watcher->calling; });
}

bool WatchHub::has_work(const Watcher& watcher) const {
  if (watcher.gone || watcher.paused) return false;
  return watcher.next <= progress_.revision.load() || watcher.progress_asked > 0;
}

void WatchHub::run() {
  std::unique_lock lock(mutex_);
  std::vector<WatcherPtr> turn;
  while (!stopping_) {
    if (!work_waiting_) {
      work_.wait(lock, [this] { return work_waiting_ || stopping_; });
      continue;
    }
    work_waiting_ = false;
    // One step for everyone who has something to do, so that one long history does not keep the others waiting.
    turn = watchers_;
    for (const WatcherPtr& watcher : turn) {
      if (stopping_) break;
      if (has_work(*watcher)) step(lock, watcher);
      if (has_work(*watcher)) work_waiting_ = true;
    }
    turn.clear();
  }
  turn = watchers_;
  for (const WatcherPtr& watcher : turn)
    if (!watcher->gone) end(lock, watcher, {store_stopped_error(), 0});
}

void WatchHub::step(std::unique_lock<std::mutex>& lock, const WatcherPtr& watcher) {
  const WatchRequest& request = watcher->request;
  const Revision newest = progress_.revision.load();
  const Revision ring_first = ring_.empty() ? newest + 1 : ring_.front().revision;

  if (watcher->next > newest) {  // also a watch on the future: all there is has been delivered
    if (watcher->progress_asked > 0) {
      watcher->progress_asked = 0;
      watcher->calling = true;
      lock.unlock();
      watcher->sink->on_progress(newest);
      lock.lock();
      watcher->calling = false;
      called_.notify_all();
    }
    return;
  }

  std::vector<EventPtr> events;
  if (watcher->next >= ring_first) {
    Revision at = watcher->next;
    for (size_t bytes = 0; at <= newest && bytes < request.max_batch_bytes; ++at) {
      for (const EventPtr& event : ring_[static_cast<size_t>(at - ring_first)].events) {
        if (event->type == Event::Type::kDelete ? request.no_delete : request.no_put) continue;
        if (!request.range.contains(event->kv.key)) continue;
        events.push_back(event);
        bytes += event->kv.key.size() + event->kv.value->size() + 64;
        if (event->previous) bytes += event->previous->value->size();
      }
    }
    deliver(lock, watcher, events, at - 1);
    return;
  }

  HistoryRequest history_request;
  history_request.range = &request.range;
  history_request.from = watcher->next;
  history_request.to = newest;
  history_request.prev_kv = request.prev_kv;
  history_request.no_put = request.no_put;
  history_request.no_delete = request.no_delete;
  history_request.max_bytes = request.max_batch_bytes;
  lock.unlock();
  auto history = reader_.history(history_request);
  lock.lock();
  if (watcher->gone) return;
  if (!history) {
    WatchEnd why{history.error(), is_compacted(history.error()) ? progress_.compacted.load() : 0};
    if (why.compact_revision == 0)
      log::error("datastore", "a watch ended: {}", history.error().message());
    end(lock, watcher, why);
    return;
  }
  deliver(lock, watcher, history->events, history->through);
}

void WatchHub::deliver(std::unique_lock<std::mutex>& lock, const WatcherPtr& watcher,
                       const std::vector<EventPtr>& events, Revision through) {
  watcher->next = through + 1;
  if (events.empty()) return;
  const uint64_t resumes = watcher->resumes;
  watcher->calling = true;
  lock.unlock();
  const WatchSink::Flow flow = watcher->sink->on_events({events, through});
  lock.lock();
  watcher->calling = false;
  // A resume() that came during the call counts: the sink may have drained on another thread meanwhile.
  if (flow == WatchSink::Flow::kPause && watcher->resumes == resumes) watcher->paused = true;
  called_.notify_all();
}

void WatchHub::end(std::unique_lock<std::mutex>& lock, const WatcherPtr& watcher, const WatchEnd& why) {
  watcher->gone = true;
  std::erase(watchers_, watcher);
  watcher->calling = true;
  lock.unlock();
  watcher->sink->on_end(why);
  lock.lock();
  watcher->calling = false;
  called_.notify_all();
}

}  // namespace engenho::datastore
