#include "watches.h"

namespace engenho::datastore::differential {

namespace {
constexpr auto kLimit = std::chrono::seconds(20);
}

WatchStream::WatchStream(Peer& peer) : call_(peer.watch->Watch(&context_)), reader_([this] { run(); }) {}

WatchStream::~WatchStream() {
  context_.TryCancel();
  reader_.join();
}

void WatchStream::run() {
  pb::WatchResponse response;
  while (call_->Read(&response)) {
    std::lock_guard lock(mutex_);
    const int64_t id = response.watch_id();
    if (response.created()) {
      if (!response.canceled()) {
        records_[id] = {};
        last_revision_.erase(id);
        // It may begin in the past: what was said of progress before does not bind it.
        told_[id] = 0;
        progress_ = 0;
      }
      created_.push_back(response);
    } else if (id == -1) {
      progress_ = std::max(progress_, response.header().revision());
      for (auto& [watch, told] : told_) told = std::max(told, response.header().revision());
    } else {
      WatchRecord& record = records_[id];
      for (auto& event : *response.mutable_events()) {
        if (event.kv().mod_revision() < last_revision_[id])
          broken_ = "watch " + std::to_string(id) + " went back from revision " + std::to_string(last_revision_[id]) + " to " +
                    std::to_string(event.kv().mod_revision());
        last_revision_[id] = event.kv().mod_revision();
        if (event.kv().mod_revision() <= told_[id])
          broken_ = "watch " + std::to_string(id) + " got revision " + std::to_string(event.kv().mod_revision()) + " after progress " +
                    std::to_string(told_[id]);
        record.events.push_back(std::move(event));
      }
      if (response.canceled()) {
        record.canceled = true;
        record.compact_revision = response.compact_revision();
        record.cancel_header_revision = response.header().revision();
        record.cancel_reason = response.cancel_reason();
      }
    }
    changed_.notify_all();
  }
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

template <typename Condition>
bool WatchStream::wait(std::chrono::milliseconds limit, Condition condition) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return condition() || ended_; }) && condition();
}

std::optional<pb::WatchResponse> WatchStream::create(const pb::WatchCreateRequest& request) {
  pb::WatchRequest message;
  *message.mutable_create_request() = request;
  size_t before;
  {
    std::lock_guard lock(mutex_);
    before = created_.size();
  }
  if (!call_->Write(message) || !wait(kLimit, [&] { return created_.size() > before; })) return std::nullopt;
  std::lock_guard lock(mutex_);
  return created_.back();
}

void WatchStream::cancel(int64_t id) {
  pb::WatchRequest message;
  message.mutable_cancel_request()->set_watch_id(id);
  call_->Write(message);
}

bool WatchStream::wait_canceled(int64_t id) {
  return wait(kLimit, [&] { return records_[id].canceled; });
}

bool WatchStream::wait_progress(int64_t revision) {
  pb::WatchRequest message;
  message.mutable_progress_request();
  {
    std::lock_guard lock(mutex_);
    progress_ = 0;
  }
  // etcd drops the request while one of the watches is behind.
  for (int attempt = 0; attempt < 400; ++attempt) {
    if (!call_->Write(message)) return false;
    if (wait(std::chrono::milliseconds(50), [&] { return progress_ >= revision; })) return true;
  }
  return false;
}

bool WatchStream::wait_events(int64_t id, size_t count) {
  return wait(kLimit, [&] { return records_[id].events.size() >= count; });
}

WatchRecord WatchStream::record(int64_t id) {
  std::lock_guard lock(mutex_);
  return records_[id];
}

std::map<int64_t, WatchRecord> WatchStream::records() {
  std::lock_guard lock(mutex_);
  return records_;
}

void WatchStream::forget(int64_t id) {
  std::lock_guard lock(mutex_);
  records_.erase(id);
}

void WatchStream::clear_events() {
  std::lock_guard lock(mutex_);
  for (auto& [id, record] : records_) record.events.clear();
}

std::string WatchStream::broken() {
  std::lock_guard lock(mutex_);
  return broken_;
}

}  // namespace engenho::datastore::differential
