#include "engenho/client/events.h"

#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"

namespace engenho::client {

namespace {
constexpr size_t kMaxQueued = 1000, kMaxKnown = 4096, kMaxMessage = 1024;
constexpr auto kSameFor = std::chrono::minutes(10);
}  // namespace

EventRecorder::EventRecorder(Client& client, std::string component, std::string host, Clock& clock)
    : client_(client), component_(std::move(component)), host_(std::move(host)), clock_(clock), thread_([this] { run(); }) {}

EventRecorder::~EventRecorder() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

void EventRecorder::event(const ObjectReference& about, std::string_view type, std::string_view reason, std::string message) {
  if (message.size() > kMaxMessage) message.resize(kMaxMessage);
  std::lock_guard lock(mutex_);
  if (stopped_ || queue_.size() >= kMaxQueued) return;
  queue_.push_back({about, std::string(type), std::string(reason), std::move(message), clock_.wall()});
  wake_.notify_one();
}

void EventRecorder::run() {
  set_thread_name("events-" + component_);
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    if (queue_.empty()) {
      wake_.wait(lock);
      continue;
    }
    Pending pending = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    send(pending);
    lock.lock();
  }
}

void EventRecorder::send(const Pending& p) {
  // Spam: a bucket of 25 per object, one token back every five minutes.
  if (buckets_.size() > kMaxKnown) buckets_.clear();
  if (known_.size() > kMaxKnown) known_.clear();
  auto [bucket, fresh] = buckets_.try_emplace(p.about.uid + "/" + p.about.kind + "/" + p.about.name, Bucket{25, p.time});
  const double refill = std::chrono::duration<double>(p.time - bucket->second.at).count() / 300.0;
  bucket->second.tokens = std::min(25.0, bucket->second.tokens + refill);
  bucket->second.at = p.time;
  if (bucket->second.tokens < 1) return;
  bucket->second.tokens -= 1;

  const std::string ns = p.about.namespace_name.empty() ? "default" : p.about.namespace_name;
  const std::string key = join({p.about.kind, ns, p.about.name, p.about.uid, p.about.field_path, p.type, p.reason, p.message}, "\x1f");
  const catalog::Resource& resource = *catalog::find_resource("", "v1", "events");
  auto known = known_.find(key);
  if (known != known_.end() && p.time - known->second.last < kSameFor) {
    known->second.count += 1;
    known->second.last = p.time;
    json::Value patch = json::Object();
    patch["count"] = known->second.count;
    patch["lastTimestamp"] = format_rfc3339(p.time);
    auto patched = client_.patch_raw(resource, ns, known->second.name, PatchType::kMerge, json::dump(patch));
    if (patched || !patched.error().not_found()) return;
    known_.erase(known);  // it expired: a new one follows
  }
  json::Value event = json::Object();
  event["apiVersion"] = "v1";
  event["kind"] = "Event";
  char suffix[32];
  std::snprintf(suffix, sizeof suffix, ".%016lx", static_cast<unsigned long>(p.time.time_since_epoch().count()));
  const std::string name = p.about.name + suffix;
  event["metadata"]["name"] = name;
  event["metadata"]["namespace"] = ns;
  json::Value& about = event["involvedObject"];
  about["apiVersion"] = p.about.api_version;
  about["kind"] = p.about.kind;
  about["name"] = p.about.name;
  if (!p.about.namespace_name.empty()) about["namespace"] = p.about.namespace_name;
  about["uid"] = p.about.uid;
  if (!p.about.resource_version.empty()) about["resourceVersion"] = p.about.resource_version;
  if (!p.about.field_path.empty()) about["fieldPath"] = p.about.field_path;
  event["type"] = p.type;
  event["reason"] = p.reason;
  event["message"] = p.message;
  event["source"]["component"] = component_;
  if (!host_.empty()) event["source"]["host"] = host_;
  event["reportingComponent"] = component_;
  event["reportingInstance"] = host_;
  event["firstTimestamp"] = format_rfc3339(p.time);
  event["lastTimestamp"] = format_rfc3339(p.time);
  event["count"] = 1;
  auto created = client_.create_raw(resource, ns, event);
  if (!created) {
    log::debug("events", "{} of {} {}/{}: {}", p.reason, p.about.kind, ns, p.about.name, created.error().message());
    return;
  }
  known_[key] = {name, ns, 1, p.time, p.time};
}

}  // namespace engenho::client
