#include "watch.h"

#include "encode.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {
constexpr auto kBookmarkInterval = std::chrono::seconds(60);
}

class HttpWatch final : public EventSink {
 public:
  HttpWatch(std::shared_ptr<Context> context, WatchManager::Options options, Cacher& cacher)
      : context_(std::move(context)), options_(std::move(options)), cacher_(cacher) {}

  bool on_event(const CacheEvent& event) override {
    const ResourceDef& resource = *context_->resource;
    const Filter& filter = options_.filter;
    const bool now = event.type != EventType::kDeleted && filter.matches(resource, *event.object);
    const bool before = event.previous != nullptr && filter.matches(resource, *event.previous);
    if (event.type == EventType::kDeleted) {
      return !before || send("DELETED", event.object);
    }
    if (now) return send(before ? "MODIFIED" : "ADDED", event.object);
    if (!before) return true;
    // It left the selection: the state before, with the revision of the change.
    const json::Value old = event.previous->value();
    return send("DELETED", Object::make(event.previous->key(), encode_for_store(old), old, event.revision));
  }

  bool on_bookmark(Revision revision, bool initial_end) override {
    if (!initial_end && !options_.bookmarks) return true;
    json::Value object = json::Object();
    const Accepted& accepted = context_->accepted;
    const bool partial = accepted.transform == Transform::kPartial || accepted.transform == Transform::kPartialList;
    object["kind"] = partial ? "PartialObjectMetadata" : context_->resource->kind;
    object["apiVersion"] = partial ? "meta.k8s.io/" + accepted.transform_version : context_->resource->api_version();
    object["metadata"]["resourceVersion"] = std::to_string(revision);
    if (initial_end) object["metadata"]["annotations"]["k8s.io/initial-events-end"] = "true";
    return context_->exchange->write(encode_event_value(*context_, "BOOKMARK", object));
  }

  void on_lost() override {
    if (!ended_.exchange(true)) context_->exchange->finish();
  }

  void end() {
    cacher_.unwatch(this);
    if (!ended_.exchange(true)) context_->exchange->finish();
  }
  void closed() {
    ended_ = true;
    cacher_.unwatch(this);
  }
  Cacher& cacher() { return cacher_; }
  const WatchManager::Options& options() const { return options_; }
  Context& context() { return *context_; }
  Timers::Id timer = 0;

 private:
  bool send(std::string_view type, const ObjectPtr& object) {
    return context_->exchange->write(encode_event(*context_, type, object));
  }
  std::shared_ptr<Context> context_;
  WatchManager::Options options_;
  Cacher& cacher_;
  std::atomic<bool> ended_{false};
};

WatchManager::WatchManager(Hub& hub) : hub_(hub) { schedule_bookmarks(); }
WatchManager::~WatchManager() { stop(); }

void WatchManager::schedule_bookmarks() {
  timers_.after(kBookmarkInterval, [this] {
    hub_.bookmark_all();
    schedule_bookmarks();
  });
}

size_t WatchManager::count() const {
  std::lock_guard lock(mutex_);
  return watches_.size();
}

Status WatchManager::start(const std::shared_ptr<Context>& context, Options options) {
  Cacher& cacher = *context->resource->cacher;
  auto watch = std::make_shared<HttpWatch>(context, std::move(options), cacher);
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return unavailable("the server is shutting down");
    watches_.insert(watch);
  }
  context->exchange->start(200, answer_headers(*context, watch_content_type(context->accepted)));
  std::weak_ptr<HttpWatch> weak = watch;
  context->exchange->on_close([this, weak] {
    if (auto w = weak.lock()) {
      w->closed();
      remove(w);
    }
  });
  const Status status = cacher.watch(watch, watch->options().key_prefix, watch->options().start, watch->options().from,
                                     watch->options().initial_bookmark, hub_.revision_ref());
  if (!status.ok()) {
    context->exchange->write(encode_event_value(*context, "ERROR", schema::to_document(status)));
    watch->end();
    remove(watch);
    return {};
  }
  watch->timer = timers_.after(watch->options().timeout, [this, weak] {
    if (auto w = weak.lock()) {
      w->on_bookmark(hub_.revision(), false);
      w->end();
      remove(w);
    }
  });
  if (context->exchange->closed()) {
    watch->closed();
    remove(watch);
  }
  return {};
}

void WatchManager::remove(const std::shared_ptr<HttpWatch>& watch) {
  std::lock_guard lock(mutex_);
  if (watches_.erase(watch) > 0 && watch->timer != 0) timers_.cancel(watch->timer);
}

void WatchManager::stop() {
  timers_.stop();
  std::set<std::shared_ptr<HttpWatch>> all;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    all.swap(watches_);
  }
  for (const auto& watch : all) watch->end();
}

}  // namespace engenho::apiserver
