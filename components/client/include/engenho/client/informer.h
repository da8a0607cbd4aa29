// A local, always current copy of a resource: LIST once, then WATCH; handlers are told of every change. Reads cost no request.
//
// Objects are handed out as shared pointers to immutable structs. Handlers run on the informer's thread, one at a time: they
// queue keys and return.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "engenho/client/client.h"

namespace engenho::client {

// "namespace/name", or "name" for cluster-scoped objects.
std::string key_of(std::string_view ns, std::string_view name);
void split_key(std::string_view key, std::string& ns, std::string& name);

// The part that does not depend on the type: list, watch, retry with back-off, relist after 410.
class Reflector {
 public:
  struct Sink {
    std::function<void(std::vector<json::Value> items)> replace;
    std::function<void(std::string_view type, const json::Value& object)> event;
  };
  Reflector(Client& client, const catalog::Resource& resource, ListOptions options, Sink sink);
  void run(StopToken stop);

 private:
  Status list_and_watch(const StopToken& stop);
  Client& client_;
  const catalog::Resource& resource_;
  ListOptions options_;
  Sink sink_;
  bool progressed_ = false;
};

class InformerBase {
 public:
  virtual ~InformerBase() = default;
  virtual void start(TaskGroup& group) = 0;   // idempotent
  virtual bool synced() const = 0;
  virtual bool wait_synced(const StopToken& stop) = 0;  // false when stopped first
};

template <typename T>
class Informer final : public InformerBase {
 public:
  using Ptr = std::shared_ptr<const T>;
  struct Handler {
    std::function<void(const Ptr& object)> added;
    std::function<void(const Ptr& before, const Ptr& now)> updated;
    std::function<void(const Ptr& last)> deleted;
  };

  explicit Informer(Client& client, ListOptions options = {})
      : reflector_(client, resource_of<T>(), std::move(options),
                   {[this](std::vector<json::Value> items) { replace(std::move(items)); },
                    [this](std::string_view type, const json::Value& object) { event(type, object); }}) {}

  // Before or after start(): later handlers first get what is there, as added.
  void add_handler(Handler handler) {
    std::lock_guard serial(handler_mutex_);
    std::vector<Ptr> present = list();
    if (handler.added) {
      for (const Ptr& object : present) handler.added(object);
    }
    handlers_.push_back(std::move(handler));
  }
  // The common case: a key for every change.
  void on_change(std::function<void(const T& object)> fn) {
    add_handler({[fn](const Ptr& o) { fn(*o); }, [fn](const Ptr&, const Ptr& o) { fn(*o); }, [fn](const Ptr& o) { fn(*o); }});
  }

  Ptr get(std::string_view ns, std::string_view name) const { return get(key_of(ns, name)); }
  Ptr get(const std::string& key) const {
    std::shared_lock lock(mutex_);
    auto it = objects_.find(key);
    return it == objects_.end() ? nullptr : it->second;
  }
  std::vector<Ptr> list(std::string_view ns = "") const {
    std::vector<Ptr> out;
    std::shared_lock lock(mutex_);
    const std::string prefix = ns.empty() ? std::string() : std::string(ns) + "/";
    for (auto it = objects_.lower_bound(prefix); it != objects_.end() && it->first.starts_with(prefix); ++it) out.push_back(it->second);
    return out;
  }
  size_t size() const {
    std::shared_lock lock(mutex_);
    return objects_.size();
  }

  void start(TaskGroup& group) override {
    std::lock_guard lock(sync_mutex_);
    if (started_) return;
    started_ = true;
    group.spawn(std::string(resource_of<T>().plural), [this](StopToken stop) {
      const uint64_t id = stop.on_stop([this] {
        std::lock_guard inner(sync_mutex_);
        sync_.notify_all();
      });
      reflector_.run(stop);
      stop.remove(id);
    });
  }
  bool synced() const override {
    std::lock_guard lock(sync_mutex_);
    return synced_;
  }
  bool wait_synced(const StopToken& stop) override {
    std::unique_lock lock(sync_mutex_);
    while (!synced_ && !stop.stopped()) sync_.wait_for(lock, std::chrono::milliseconds(500));
    return synced_;
  }

 private:
  void replace(std::vector<json::Value> items) {
    std::lock_guard serial(handler_mutex_);
    std::map<std::string, Ptr> next;
    for (const json::Value& item : items) {
      auto parsed = k8s::from_json<T>(item);
      if (!parsed) continue;
      auto object = std::make_shared<const T>(std::move(*parsed));
      next.emplace(key_of(object->metadata.namespace_, object->metadata.name), std::move(object));
    }
    std::map<std::string, Ptr> before;
    {
      std::unique_lock lock(mutex_);
      before = objects_;
      objects_ = next;
    }
    for (const auto& [key, object] : next) {
      auto it = before.find(key);
      if (it == before.end()) tell_added(object);
      else if (it->second->metadata.uid != object->metadata.uid) {
        tell_deleted(it->second);
        tell_added(object);
      } else if (it->second->metadata.resource_version != object->metadata.resource_version) {
        tell_updated(it->second, object);
      }
    }
    for (const auto& [key, object] : before) {
      if (!next.contains(key)) tell_deleted(object);
    }
    std::lock_guard lock(sync_mutex_);
    synced_ = true;
    sync_.notify_all();
  }
  void event(std::string_view type, const json::Value& document) {
    std::lock_guard serial(handler_mutex_);
    auto parsed = k8s::from_json<T>(document);
    if (!parsed) return;
    auto object = std::make_shared<const T>(std::move(*parsed));
    const std::string key = key_of(object->metadata.namespace_, object->metadata.name);
    Ptr before;
    {
      std::unique_lock lock(mutex_);
      auto it = objects_.find(key);
      if (it != objects_.end()) before = it->second;
      if (type == "DELETED") {
        if (it != objects_.end()) objects_.erase(it);
      } else {
        objects_[key] = object;
      }
    }
    if (type == "DELETED") tell_deleted(object);
    else if (before == nullptr) tell_added(object);
    else tell_updated(before, object);
  }
  void tell_added(const Ptr& object) {
    for (const Handler& h : handlers_) {
      if (h.added) h.added(object);
    }
  }
  void tell_updated(const Ptr& before, const Ptr& now) {
    for (const Handler& h : handlers_) {
      if (h.updated) h.updated(before, now);
    }
  }
  void tell_deleted(const Ptr& last) {
    for (const Handler& h : handlers_) {
      if (h.deleted) h.deleted(last);
    }
  }

  Reflector reflector_;
  mutable std::shared_mutex mutex_;      // guards objects_
  std::map<std::string, Ptr> objects_;
  std::mutex handler_mutex_;             // serialises changes and handlers_
  std::vector<Handler> handlers_;
  mutable std::mutex sync_mutex_;        // guards synced_, started_
  std::condition_variable sync_;
  bool synced_ = false, started_ = false;
};

// One informer per type, shared by everyone in the process.
class Informers {
 public:
  explicit Informers(Client& client) : client_(client), group_("informer") {}
  ~Informers() { stop(); }
  template <typename T>
  Informer<T>& get() {
    std::lock_guard lock(mutex_);
    auto& slot = informers_[std::string(resource_of<T>().group) + "/" + std::string(resource_of<T>().plural)];
    if (slot == nullptr) slot = std::make_unique<Informer<T>>(client_);
    return static_cast<Informer<T>&>(*slot);
  }
  void start();                              // those that exist now; may be called again
  bool wait_synced(const StopToken& stop);
  void stop() { group_.stop(); }

 private:
  Client& client_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<InformerBase>> informers_;
  TaskGroup group_;
};

}  // namespace engenho::client
