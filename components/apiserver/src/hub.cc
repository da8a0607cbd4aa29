#include "hub.h"

#include <algorithm>
#include <utility>

#include "engenho/base/log.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {
constexpr std::string_view kRoot = "/registry/";
}

ObjectPtr Cacher::get(std::string_view key) const {
  std::shared_lock lock(mutex_);
  auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

std::vector<ObjectPtr> Cacher::list(std::string_view key_prefix, const std::atomic<Revision>& hub_revision, Revision* at) const {
  std::vector<ObjectPtr> out;
  std::shared_lock lock(mutex_);
  if (at != nullptr) *at = std::max(last_, hub_revision.load());
  if (key_prefix == prefix_) out.reserve(objects_.size());
  for (auto it = objects_.lower_bound(key_prefix); it != objects_.end() && it->first.starts_with(key_prefix); ++it) {
    out.push_back(it->second);
  }
  return out;
}

size_t Cacher::size() const {
  std::shared_lock lock(mutex_);
  return objects_.size();
}

size_t Cacher::watchers() const {
  std::shared_lock lock(mutex_);
  return sinks_.size();
}

Status Cacher::watch(std::shared_ptr<EventSink> sink, std::string key_prefix, Start start, Revision from, bool initial_bookmark,
                     const std::atomic<Revision>& hub_revision) {
  std::unique_lock lock(mutex_);
  if (start == Start::kFrom) {
    if (from < floor_) {
      return schema::gone_expired("too old resource version: " + std::to_string(from) + " (" + std::to_string(floor_) + ")");
    }
    for (const CacheEvent& event : ring_) {
      if (event.revision <= from || !event.object->key().starts_with(key_prefix)) continue;
      if (!sink->on_event(event)) return {};
    }
  } else if (start == Start::kInitial) {
    for (auto it = objects_.lower_bound(key_prefix); it != objects_.end() && it->first.starts_with(key_prefix); ++it) {
      if (!sink->on_event({EventType::kAdded, it->second, nullptr, it->second->revision()})) return {};
    }
  }
  if (initial_bookmark && !sink->on_bookmark(std::max(last_, hub_revision.load()), true)) return {};
  sinks_.push_back({std::move(sink), std::move(key_prefix)});
  return {};
}

void Cacher::unwatch(const EventSink* sink) {
  std::unique_lock lock(mutex_);
  sinks_.remove_if([&](const Subscription& s) { return s.sink.get() == sink; });
}

void Cacher::bookmark_all(Revision revision) {
  std::unique_lock lock(mutex_);
  sinks_.remove_if([&](const Subscription& s) { return !s.sink->on_bookmark(revision, false); });
}

void Cacher::load(std::vector<ObjectPtr> objects, Revision revision) {
  std::unique_lock lock(mutex_);
  const std::list<Subscription> lost = fill(std::move(objects), revision);
  lock.unlock();
  for (const Subscription& s : lost) s.sink->on_lost();
}

std::list<Cacher::Subscription> Cacher::fill(std::vector<ObjectPtr> objects, Revision revision) {
  std::map<std::string, ObjectPtr, std::less<>> before = std::exchange(objects_, {});
  for (ObjectPtr& o : objects) {
    std::string key = o->key();
    objects_.emplace_hint(objects_.end(), std::move(key), std::move(o));
  }
  ring_.clear();
  ring_bytes_ = 0;
  floor_ = last_ = loaded_ = revision;
  std::list<Subscription> lost = std::exchange(sinks_, {});
  auto tell = [this](const CacheEvent& event) {
    for (const auto& hook : hooks_) hook(event);
  };
  for (const auto& [key, object] : objects_) {
    auto old = before.find(key);
    if (old == before.end()) tell({EventType::kAdded, object, nullptr, object->revision()});
    else if (old->second->revision() != object->revision()) tell({EventType::kModified, object, old->second, object->revision()});
  }
  for (const auto& [key, object] : before) {
    if (!objects_.contains(key)) tell({EventType::kDeleted, object, object, revision});
  }
  return lost;
}

namespace {

// Everything under `request`'s range, page by page: a large store is never in memory twice.
Status each_stored(datastore::Store& store, datastore::ListRequest request, const std::function<void(ObjectPtr)>& fn) {
  request.limit = 1000;
  for (;;) {
    auto page = store.list(request);
    if (!page) return page.error();
    for (const datastore::KeyValue& kv : page->kvs) {
      auto object = Object::make(kv.key, *kv.value, kv.mod_revision);
      if (object) fn(std::move(*object));
      else log::error("apiserver", "{} is left out: {}", kv.key, object.error().message());
    }
    if (!page->more || page->kvs.empty()) return {};
    request.range.start = page->kvs.back().key + '\0';
  }
}

}  // namespace

Status Cacher::load_late(datastore::Store& store) {
  std::unique_lock lock(mutex_);
  datastore::ListRequest request;
  request.range = datastore::KeyRange::prefix(prefix_);
  request.revision = store.revision();
  std::vector<ObjectPtr> objects;
  ENGENHO_RETURN_IF_ERROR(each_stored(store, request, [&](ObjectPtr o) { objects.push_back(std::move(o)); }));
  (void)fill(std::move(objects), request.revision);  // nobody watches it yet
  return {};
}

void Cacher::apply(const datastore::Event& event) {
  std::unique_lock lock(mutex_);
  if (event.kv.mod_revision <= loaded_) return;
  last_ = event.kv.mod_revision;
  auto it = objects_.find(event.kv.key);
  CacheEvent change{EventType::kAdded, nullptr, it == objects_.end() ? nullptr : it->second, event.kv.mod_revision};
  if (event.type == datastore::Event::Type::kDelete) {
    if (it == objects_.end()) return;
    change.type = EventType::kDeleted;
    json::Value value = change.previous->value();
    change.object = Object::make(event.kv.key, encode_for_store(value), value, event.kv.mod_revision);
    objects_.erase(it);
  } else {
    auto object = Object::make(event.kv.key, *event.kv.value, event.kv.mod_revision);
    if (!object) {
      log::error("apiserver", "{} is left out: {}", event.kv.key, object.error().message());
      return;
    }
    change.object = std::move(*object);
    if (it != objects_.end()) {
      change.type = EventType::kModified;
      it->second = change.object;
    } else {
      objects_.emplace(event.kv.key, change.object);
    }
  }
  deliver(change);
}

void Cacher::deliver(const CacheEvent& event) {
  ring_bytes_ += event.object->memory();
  ring_.push_back(event);
  while (ring_bytes_ > max_ring_bytes_ && ring_.size() > 1) {
    ring_bytes_ -= ring_.front().object->memory();
    floor_ = ring_.front().revision;
    ring_.pop_front();
  }
  for (const auto& hook : hooks_) hook(event);
  sinks_.remove_if([&](const Subscription& s) { return event.object->key().starts_with(s.key_prefix) && !s.sink->on_event(event); });
}

Hub::Hub(datastore::Store& store, size_t ring_bytes_per_resource) : store_(store), ring_bytes_(ring_bytes_per_resource) {}
Hub::~Hub() { stop(); }

Cacher& Hub::cacher(const std::string& prefix) {
  std::unique_lock lock(cachers_mutex_);
  auto& slot = cachers_[prefix];
  if (!slot) slot = std::make_unique<Cacher>(prefix, ring_bytes_);
  return *slot;
}

Result<Cacher*> Hub::add_cacher(const std::string& prefix, std::function<void(const CacheEvent&)> changed) {
  auto made = std::make_unique<Cacher>(prefix, ring_bytes_);
  made->on_change(std::move(changed));
  Cacher* cacher = made.get();
  {
    std::unique_lock lock(cachers_mutex_);
    auto& slot = cachers_[prefix];
    if (slot) return slot.get();
    slot = std::move(made);
  }
  ENGENHO_TRY(cacher->load_late(store_));
  return cacher;
}

Cacher* Hub::cacher_of(std::string_view key) {
  // "/registry/pods/ns/name": the prefix is two or three segments deep ("/registry/services/specs/").
  std::shared_lock lock(cachers_mutex_);
  size_t at = key.find('/', kRoot.size());
  for (int depth = 0; depth < 2 && at != std::string_view::npos; ++depth) {
    auto it = cachers_.find(key.substr(0, at + 1));
    if (it != cachers_.end()) return it->second.get();
    at = key.find('/', at + 1);
  }
  return nullptr;
}

Status Hub::start() { return load_and_watch(); }

Status Hub::load_and_watch() {
  const Revision at = store_.revision();
  std::map<Cacher*, std::vector<ObjectPtr>> loaded;
  datastore::ListRequest request;
  request.range = datastore::KeyRange::prefix(kRoot);
  request.revision = at;
  ENGENHO_RETURN_IF_ERROR(each_stored(store_, request, [&](ObjectPtr o) {
    if (Cacher* cacher = cacher_of(o->key())) loaded[cacher].push_back(std::move(o));
  }));
  {
    std::shared_lock lock(cachers_mutex_);
    for (auto& [prefix, cacher] : cachers_) cacher->load(std::move(loaded[cacher.get()]), at);
  }
  datastore::WatchRequest watch;
  watch.range = datastore::KeyRange::all();
  watch.from_revision = at + 1;
  auto running = store_.watch(std::move(watch), this);
  if (!running) return running.error();
  watch_ = std::move(*running);
  advance(at);
  return {};
}

void Hub::stop() {
  stopping_ = true;
  reloads_.stop();
  watch_.reset();
  std::lock_guard lock(wait_mutex_);
  wait_.notify_all();
}

datastore::WatchSink::Flow Hub::on_events(const datastore::WatchBatch& batch) {
  for (const datastore::EventPtr& event : batch.events) {
    if (Cacher* cacher = cacher_of(event->kv.key)) cacher->apply(*event);
  }
  advance(batch.through);
  return Flow::kContinue;
}

void Hub::on_progress(Revision revision) { advance(revision); }

void Hub::on_end(const datastore::WatchEnd& end) {
  if (stopping_) return;
  // Nothing can be read from the caches until they are loaded again: reads wait. Not from here: this is the store's thread.
  log::warn("apiserver", "the watch on the store ended, so everything is loaded again: {}", end.status.to_string());
  reloads_.spawn("reload", [this](StopToken stop) { reload(stop); });
}

void Hub::reload(const StopToken& stop) {
  for (Duration pause = std::chrono::milliseconds(100); !stop.stopped(); pause = std::min<Duration>(pause * 2, std::chrono::seconds(10))) {
    const Status status = load_and_watch();
    if (status.ok()) return;
    log::error("apiserver", "the store cannot be loaded: {}", status.to_string());
    if (stop.wait_for(pause)) return;
  }
}

void Hub::advance(Revision revision) {
  if (revision <= revision_.load()) return;
  revision_.store(revision);  // sequentially consistent: ordered before the look at waiters_
  if (waiters_.load() > 0) {
    std::lock_guard lock(wait_mutex_);
    wait_.notify_all();
  }
}

Status Hub::wait_for(Revision revision, Duration timeout) {
  if (this->revision() >= revision) return {};
  std::unique_lock lock(wait_mutex_);
  ++waiters_;
  const bool there =
      wait_.wait_for(lock, timeout, [&] { return stopping_.load() || this->revision() >= revision; }) && this->revision() >= revision;
  --waiters_;
  if (!there) return timeout_error("timed out waiting for the watch cache to reach revision " + std::to_string(revision));
  return {};
}

void Hub::bookmark_all() {
  std::shared_lock lock(cachers_mutex_);
  const Revision at = revision();
  for (auto& [prefix, cacher] : cachers_) cacher->bookmark_all(at);
}

}  // namespace engenho::apiserver
