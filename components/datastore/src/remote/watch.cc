#include "watch.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engenho/base/log.h"
#include "engenho/datastore/errors.h"
#include "messages.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

using Stream = grpc::ClientReaderWriter<pb::WatchRequest, pb::WatchResponse>;

constexpr auto kFirstPause = std::chrono::milliseconds(50), kLongestPause = std::chrono::milliseconds(2000);

// One thread: opens a stream, reads it, and opens the next one where this one ended. Shared by the thread and the Watch, so that the Watch may go from within
// a call of the sink.
class Follower : public std::enable_shared_from_this<Follower> {
 public:
  Follower(Endpoints& endpoints, WatchRequest request, WatchSink* sink)
      : endpoints_(endpoints), request_(std::move(request)), sink_(sink), next_(request_.from_revision) {}

  void run() {
    auto pause = kFirstPause;
    while (!stopped()) {
      const size_t index = endpoints_.current();
      bool answered = false;
      const bool ended = follow(endpoints_.member(index), answered);
      if (ended || stopped()) return;
      endpoints_.failed(index);
      pause = answered ? kFirstPause : std::min(pause * 2, kLongestPause);
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, pause, [&] { return stopped_; });
    }
  }

  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    if (context_ != nullptr) context_->TryCancel();
    changed_.notify_all();
  }
  void resume() {
    std::lock_guard lock(mutex_);
    paused_ = false;
    changed_.notify_all();
  }
  void request_progress() {
    std::lock_guard lock(mutex_);
    progress_asked_ = true;
    if (stream_ != nullptr) ask_progress();
  }

 private:
  bool stopped() {
    std::lock_guard lock(mutex_);
    return stopped_;
  }

  void ask_progress() {  // with the mutex held
    pb::WatchRequest ask;
    ask.mutable_progress_request();
    stream_->Write(ask);
  }

  // True: the watch is over. False: the stream broke.
  bool follow(Member& member, bool& answered) {
    grpc::ClientContext context;
    context.AddMetadata("hasleader", "true");
    pb::WatchRequest create;
    pb::WatchCreateRequest& wanted = *create.mutable_create_request();
    set_range(request_.range, wanted.mutable_key(), wanted.mutable_range_end());
    wanted.set_start_revision(next_);
    wanted.set_prev_kv(request_.prev_kv);
    if (request_.no_put) wanted.add_filters(pb::WatchCreateRequest::NOPUT);
    if (request_.no_delete) wanted.add_filters(pb::WatchCreateRequest::NODELETE);
    auto stream = member.watch->Watch(&context);
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return true;
      context_ = &context;
    }
    bool over = false;
    if (stream->Write(create)) {
      pb::WatchResponse response;
      while (!over && stream->Read(&response)) {
        answered = true;
        over = handle(response, *stream);
      }
    }
    {
      std::lock_guard lock(mutex_);
      context_ = nullptr;
      stream_ = nullptr;
      over = over || stopped_;
    }
    context.TryCancel();
    const grpc::Status status = stream->Finish();
    if (!over) log::debug("datastore", "a watch on etcd broke and goes on from revision {}: {}", next_, status.error_message());
    return over;
  }

  bool handle(pb::WatchResponse& response, Stream& stream) {
    if (response.created() && !response.canceled()) {
      if (next_ == 0) next_ = response.header().revision() + 1;
      std::lock_guard lock(mutex_);
      stream_ = &stream;
      if (progress_asked_) ask_progress();
      return stopped_;
    }
    if (response.canceled()) {
      if (response.compact_revision() == 0) return false;  // this member cannot; the stream ends
      finish({compacted_error(), response.compact_revision()});
      return true;
    }
    if (response.events_size() == 0) {
      {
        std::lock_guard lock(mutex_);
        progress_asked_ = false;
        if (stopped_) return true;
      }
      next_ = std::max(next_, response.header().revision() + 1);
      sink_->on_progress(response.header().revision());
      return false;
    }
    deliver(response);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !paused_ || stopped_; });
    return stopped_;
  }

  void deliver(pb::WatchResponse& response) {
    std::vector<EventPtr> events;
    events.reserve(static_cast<size_t>(response.events_size()));
    Revision last = 0;
    int32_t place = 0;
    for (mvccpb::Event& e : *response.mutable_events()) {
      auto event = std::make_shared<Event>();
      event->type = e.type() == mvccpb::Event::DELETE ? Event::Type::kDelete : Event::Type::kPut;
      event->kv = from_pb(std::move(*e.mutable_kv()));
      if (e.has_prev_kv()) event->previous = from_pb(std::move(*e.mutable_prev_kv()));
      place = event->kv.mod_revision == last ? place + 1 : 0;
      last = event->kv.mod_revision;
      event->kv.sub_revision = place;
      events.push_back(std::move(event));
    }
    next_ = last + 1;
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      paused_ = true;  // resume() may come before the sink returns
    }
    if (sink_->on_events({events, last}) == WatchSink::Flow::kContinue) resume();
  }

  void finish(const WatchEnd& end) {
    if (!stopped()) sink_->on_end(end);
  }

  Endpoints& endpoints_;
  const WatchRequest request_;
  WatchSink* const sink_;
  Revision next_;  // the thread's
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false, paused_ = false, progress_asked_ = false;
  grpc::ClientContext* context_ = nullptr;  // of the running stream
  Stream* stream_ = nullptr;                // once etcd has taken the watch
};

class RemoteWatch final : public Watch {
 public:
  RemoteWatch(Endpoints& endpoints, WatchRequest request, WatchSink* sink)
      : follower_(std::make_shared<Follower>(endpoints, std::move(request), sink)), thread_([f = follower_] { f->run(); }) {}
  ~RemoteWatch() override {
    follower_->stop();
    if (thread_.get_id() == std::this_thread::get_id()) thread_.detach();
    else thread_.join();
  }
  void resume() override { follower_->resume(); }
  void request_progress() override { follower_->request_progress(); }

 private:
  std::shared_ptr<Follower> follower_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Watch> start_remote_watch(Endpoints& endpoints, WatchRequest request, WatchSink* sink) {
  return std::make_unique<RemoteWatch>(endpoints, std::move(request), sink);
}

}  // namespace engenho::datastore
