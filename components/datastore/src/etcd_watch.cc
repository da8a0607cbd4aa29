// etcd's watch stream: many watches over one call. What the store delivers waits here, up to a bound, until gRPC has taken
// what went before; beyond the bound the watches pause, and the store keeps their places.
#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "engenho/datastore/errors.h"
#include "etcd_convert.h"
#include "etcd_services.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

constexpr size_t kMaxQueuedBytes = 2 << 20;     // a stream's; a single revision may exceed it
constexpr size_t kMaxQueuedMessages = 4096;     // then the client's requests wait as well
constexpr size_t kFragmentBytes = 1536 << 10;   // for clients that ask for fragments

class WatchStream;

// One watch of a stream.
class Entry final : public WatchSink, public std::enable_shared_from_this<Entry> {
 public:
  Entry(EtcdContext& context, WatchStream& stream, int64_t id) : id(id), context_(context), stream_(stream) {
    ++context_.watches;
  }
  ~Entry() override { --context_.watches; }
  Flow on_events(const WatchBatch& batch) override;
  void on_progress(Revision revision) override;
  void on_end(const WatchEnd& end) override;

  // Guarded by the stream's mutex.
  const int64_t id;
  bool prev_kv = false, fragment = false;
  bool notify = false;        // wants to hear of progress in quiet times
  bool quiet = true;          // no event since the last look
  bool notify_asked = false;  // a request_progress() for that is under way
  bool paused = false;
  std::unique_ptr<Watch> watch;  // null until the store has made it

 private:
  EtcdContext& context_;
  WatchStream& stream_;
};
using EntryPtr = std::shared_ptr<Entry>;

// What waits to be written: a message without events, or events of one watch.
struct Outgoing {
  pb::WatchResponse head;
  std::vector<EventPtr> events;
  bool prev_kv = false;
  size_t bytes = 0;
};

// Streams that want to hear of progress now and then.
class ProgressTicker {
 public:
  explicit ProgressTicker(EtcdContext& context) : context_(context) {}
  void add(WatchStream* stream);
  void remove(WatchStream* stream);

 private:
  EtcdContext& context_;
  std::mutex mutex_;  // never taken with a stream's mutex held
  std::set<WatchStream*> streams_;
  bool running_ = false;
};

// Threads: gRPC's call the On... functions, reads one at a time, writes one at a time; the store's delivery thread calls
// the entries. mutex_ may be held while calling Watch::resume() and request_progress(), but never while a watch is made or
// destroyed, because that may wait for a call of the sink, which takes it.
class WatchStream final : public rpc::BidiReactor<pb::WatchRequest, pb::WatchResponse> {
 public:
  WatchStream(EtcdContext& context, ProgressTicker& ticker) : context_(context), ticker_(ticker) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return close(grpc::Status::OK);
    switch (request_.request_union_case()) {
      case pb::WatchRequest::kCreateRequest: create(request_.create_request()); break;
      case pb::WatchRequest::kCancelRequest: cancel(request_.cancel_request().watch_id()); break;
      case pb::WatchRequest::kProgressRequest: ask_progress(); break;
      default: break;
    }
    {
      std::lock_guard lock(mutex_);
      read_held_ = queue_.size() > kMaxQueuedMessages && !closing_;
      if (read_held_) return;
    }
    StartRead(&request_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      {
        std::lock_guard lock(mutex_);
        writing_ = false;
      }
      return close(grpc::Status::CANCELLED);
    }
    bool read = false, finish = false;
    std::optional<Outgoing> next;
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      if (closing_) {
        finish = take_finish();
      } else {
        queued_bytes_ -= writing_bytes_;
        if (queued_bytes_ < kMaxQueuedBytes / 2)
          for (auto& [id, entry] : entries_) resume(*entry);
        read = read_held_ && queue_.size() < kMaxQueuedMessages / 2;
        if (read) read_held_ = false;
        next = take_next();
      }
    }
    if (finish) return Finish(final_);
    if (next) write(std::move(*next));
    if (read) StartRead(&request_);
  }

  void OnCancel() override { close(grpc::Status::CANCELLED); }
  void OnDone() override {
    if (notifies_) ticker_.remove(this);
    delete this;
  }

  // From the store's delivery thread.
  WatchSink::Flow events(Entry& entry, const WatchBatch& batch) {
    std::vector<Outgoing> outgoing(1);
    for (const EventPtr& event : batch.events) {
      size_t bytes = 64 + 2 * event->kv.key.size() + event->kv.value->size();
      if (entry.prev_kv && event->previous) bytes += event->previous->value->size();
      if (entry.fragment && !outgoing.back().events.empty() && outgoing.back().bytes + bytes > kFragmentBytes)
        outgoing.emplace_back();
      outgoing.back().bytes += bytes;
      outgoing.back().events.push_back(event);
    }
    for (Outgoing& one : outgoing) {
      context_.header(one.head.mutable_header(), batch.through);
      one.head.set_watch_id(entry.id);
      one.head.set_fragment(&one != &outgoing.back());
      one.prev_kv = entry.prev_kv;
    }
    return push(std::move(outgoing), &entry);
  }

  void progress(Entry& entry, Revision revision) {
    std::vector<Outgoing> outgoing;
    {
      std::lock_guard lock(mutex_);
      if (entry.notify_asked) {
        entry.notify_asked = false;
        outgoing.push_back(message(entry.id, revision));
      }
      reported(entry.id, revision, outgoing);
    }
    push(std::move(outgoing));
  }

  void ended(Entry& entry, const WatchEnd& end) {
    std::vector<Outgoing> outgoing;
    {
      std::lock_guard lock(mutex_);
      // With a compact revision etcd gives neither a reason nor a revision.
      const bool compacted = end.compact_revision != 0;
      outgoing.push_back(canceled(entry.id, compacted ? 0 : context_.store.revision(), compacted ? Status() : end.status));
      outgoing.back().head.set_compact_revision(end.compact_revision);
      entries_.erase(entry.id);
      reported(entry.id, INT64_MAX, outgoing);
    }
    push(std::move(outgoing));
  }

  void tick() {
    std::lock_guard lock(mutex_);
    for (auto& [id, entry] : entries_) {
      if (entry->notify && entry->quiet && entry->watch && !entry->notify_asked) {
        entry->notify_asked = true;
        entry->watch->request_progress();
      }
      entry->quiet = true;
    }
  }

 private:
  ~WatchStream() override = default;  // by OnDone() only

  void create(const pb::WatchCreateRequest& request);
  void cancel(int64_t id);
  void ask_progress();
  void close(grpc::Status status);

  Outgoing message(int64_t id, Revision revision) const {
    Outgoing out;
    context_.header(out.head.mutable_header(), revision);
    out.head.set_watch_id(id);
    return out;
  }
  Outgoing canceled(int64_t id, Revision revision, const Status& why) const {
    Outgoing out = message(id, revision);
    out.head.set_canceled(true);
    if (!why.ok()) out.head.set_cancel_reason(why.message());
    return out;
  }

  // Queues and, if nothing is being written, writes. `entry` is whose events they are.
  WatchSink::Flow push(std::vector<Outgoing> outgoing, Entry* entry = nullptr);
  std::optional<Outgoing> take_next();  // under the lock; who gets one must write() it
  void write(Outgoing outgoing);        // without the lock
  bool take_finish();                   // under the lock; who gets true must Finish(final_)
  void resume(Entry& entry) {
    if (!entry.paused || !entry.watch) return;
    entry.paused = false;
    entry.watch->resume();
  }
  // A watch has reported for the client's progress request, or is gone.
  void reported(int64_t id, Revision revision, std::vector<Outgoing>& outgoing);

  EtcdContext& context_;
  ProgressTicker& ticker_;
  pb::WatchRequest request_;
  pb::WatchResponse response_;  // being written
  bool notifies_ = false;       // known to the ticker; changed by reads only

  std::mutex mutex_;  // all below
  std::map<int64_t, EntryPtr> entries_;
  int64_t next_id_ = 0;
  std::deque<Outgoing> queue_;
  size_t queued_bytes_ = 0;  // with what is being written
  size_t writing_bytes_ = 0;
  bool writing_ = false;     // someone has taken a message and writes it
  bool read_held_ = false;   // the next read waits until the queue is shorter
  bool closing_ = false, watches_gone_ = false, finished_ = false;
  grpc::Status final_;
  std::set<int64_t> progress_of_;  // watches that have yet to report
  Revision progress_lowest_ = INT64_MAX;
};

WatchSink::Flow Entry::on_events(const WatchBatch& batch) { return stream_.events(*this, batch); }
void Entry::on_progress(Revision revision) { stream_.progress(*this, revision); }
void Entry::on_end(const WatchEnd& end) {
  const EntryPtr self = shared_from_this();  // the stream drops it
  stream_.ended(*this, end);
}

WatchSink::Flow WatchStream::push(std::vector<Outgoing> outgoing, Entry* entry) {
  WatchSink::Flow flow = WatchSink::Flow::kContinue;
  std::optional<Outgoing> next;
  {
    std::lock_guard lock(mutex_);
    if (closing_) return WatchSink::Flow::kPause;
    for (Outgoing& one : outgoing) {
      queued_bytes_ += one.bytes;
      queue_.push_back(std::move(one));
    }
    if (entry) {
      entry->quiet = false;
      entry->paused = queued_bytes_ >= kMaxQueuedBytes;
      if (entry->paused) flow = WatchSink::Flow::kPause;
    }
    next = take_next();
  }
  if (next) write(std::move(*next));
  return flow;
}

std::optional<Outgoing> WatchStream::take_next() {
  if (writing_ || queue_.empty()) return std::nullopt;
  writing_ = true;
  Outgoing next = std::move(queue_.front());
  queue_.pop_front();
  writing_bytes_ = next.bytes;
  return next;
}

void WatchStream::write(Outgoing outgoing) {
  response_ = std::move(outgoing.head);
  for (const EventPtr& event : outgoing.events) {
    mvccpb::Event* out = response_.add_events();
    out->set_type(event->type == Event::Type::kDelete ? mvccpb::Event::DELETE : mvccpb::Event::PUT);
    to_pb(event->kv, out->mutable_kv());
    if (outgoing.prev_kv && event->previous) to_pb(*event->previous, out->mutable_prev_kv());
  }
  StartWrite(&response_);
}

bool WatchStream::take_finish() {
  if (!closing_ || !watches_gone_ || writing_ || finished_) return false;
  finished_ = true;
  return true;
}

void WatchStream::close(grpc::Status status) {
  std::map<int64_t, EntryPtr> entries;
  bool first = false, finish = false;
  {
    std::lock_guard lock(mutex_);
    first = !closing_;
    if (first) {
      closing_ = true;
      final_ = std::move(status);
      entries.swap(entries_);
      queue_.clear();
    }
  }
  for (auto& [id, entry] : entries) entry->watch.reset();
  entries.clear();
  {
    std::lock_guard lock(mutex_);
    if (first) watches_gone_ = true;
    finish = take_finish();
  }
  if (finish) Finish(final_);
}

void WatchStream::create(const pb::WatchCreateRequest& request) {
  const Revision now = context_.store.revision();
  WatchRequest watch;
  // etcd takes an empty key for the lowest one.
  const std::string key = request.key().empty() ? std::string(1, '\0') : request.key();
  watch.range = to_range(key, request.range_end());
  // A negative revision is one before everything.
  watch.from_revision = request.start_revision() < 0 ? 1 : request.start_revision();
  watch.prev_kv = request.prev_kv();
  for (const int filter : request.filters()) {
    watch.no_put = watch.no_put || filter == pb::WatchCreateRequest::NOPUT;
    watch.no_delete = watch.no_delete || filter == pb::WatchCreateRequest::NODELETE;
  }

  Status refused;
  EntryPtr entry;
  if (watch.range.empty()) refused = bad_request("mvcc: watcher range is empty");
  else if (context_.watches.load() >= context_.options.max_watches) refused = too_many_requests_error();
  if (refused.ok()) {
    std::lock_guard lock(mutex_);
    if (closing_) return;
    int64_t id = request.watch_id();
    if (id != 0 && entries_.contains(id)) {
      refused = bad_request("mvcc: duplicate watch ID provided on the WatchStream");
    } else {
      if (id == 0) {
        while (entries_.contains(next_id_)) ++next_id_;
        id = next_id_++;
      }
      entry = std::make_shared<Entry>(context_, *this, id);
      entry->prev_kv = request.prev_kv();
      entry->fragment = request.fragment();
      entry->notify = request.progress_notify();
      entries_.emplace(id, entry);
      // Clients tell all watches of a stream about its progress: what is still to be said must hold for this one, too.
      if (!progress_of_.empty()) progress_of_.insert(id);
    }
  }
  if (!refused.ok()) {
    std::vector<Outgoing> outgoing;
    outgoing.push_back(canceled(-1, now, refused));
    outgoing.back().head.set_created(true);
    push(std::move(outgoing));
    return;
  }
  if (request.progress_notify() && !notifies_) {
    notifies_ = true;
    ticker_.add(this);
  }
  std::vector<Outgoing> outgoing;
  outgoing.push_back(message(entry->id, now));
  outgoing.back().head.set_created(true);
  push(std::move(outgoing));

  auto made = context_.store.watch(std::move(watch), entry.get());
  if (!made) {
    entry->on_end({made.error(), is_compacted(made.error()) ? context_.store.compacted_revision() : 0});
    return;
  }
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(entry->id);
  if (it == entries_.end() || it->second != entry) return;  // ended or closed meanwhile; `made` goes after the lock
  entry->watch = std::move(*made);
  if (progress_of_.contains(entry->id)) entry->watch->request_progress();
  if (queued_bytes_ < kMaxQueuedBytes) resume(*entry);
}

void WatchStream::cancel(int64_t id) {
  EntryPtr entry;
  std::vector<Outgoing> outgoing;
  {
    std::lock_guard lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end()) return;  // etcd says nothing, either
    entry = std::move(it->second);
    entries_.erase(it);
    reported(id, INT64_MAX, outgoing);
  }
  entry->watch.reset();  // no event comes after the answer
  outgoing.insert(outgoing.begin(), canceled(id, context_.store.revision(), Status()));
  push(std::move(outgoing));
}

void WatchStream::ask_progress() {
  std::lock_guard lock(mutex_);
  if (!progress_of_.empty()) return;  // the answer to the last one will do
  progress_lowest_ = INT64_MAX;
  for (auto& [id, entry] : entries_) {
    if (!entry->watch) continue;
    progress_of_.insert(id);
    entry->watch->request_progress();
  }
}

void WatchStream::reported(int64_t id, Revision revision, std::vector<Outgoing>& outgoing) {
  if (progress_of_.erase(id) == 0) return;
  progress_lowest_ = std::min(progress_lowest_, revision);
  // Everything up to that revision is in the queue before this message, for all watches of the stream.
  if (progress_of_.empty() && progress_lowest_ != INT64_MAX) outgoing.push_back(message(-1, progress_lowest_));
}

void ProgressTicker::add(WatchStream* stream) {
  std::lock_guard lock(mutex_);
  streams_.insert(stream);
  if (running_) return;
  running_ = true;
  context_.tasks.spawn("progress", [this](StopToken stop) {
    while (!stop.wait_for(context_.options.progress_interval)) {
      std::lock_guard lock(mutex_);
      for (WatchStream* one : streams_) one->tick();
    }
  });
}

void ProgressTicker::remove(WatchStream* stream) {
  std::lock_guard lock(mutex_);
  streams_.erase(stream);
}

class WatchService final : public Service {
 public:
  explicit WatchService(EtcdContext& context) : context_(context), ticker_(context) {}
  WatchStream* Watch() { return new WatchStream(context_, ticker_); }

 private:
  EtcdContext& context_;
  ProgressTicker ticker_;
};

}  // namespace

std::unique_ptr<Service> add_watch_service(rpc::Router& router, EtcdContext& context) {
  auto service = std::make_unique<WatchService>(context);
  router.stream<pb::WatchRequest, pb::WatchResponse>("/etcdserverpb.Watch/Watch", [service = service.get()] { return service->Watch(); });
  return service;
}

}  // namespace engenho::datastore
