#include "engenho/client/informer.h"

#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/schema/api_errors.h"

namespace engenho::client {

std::string key_of(std::string_view ns, std::string_view name) {
  return ns.empty() ? std::string(name) : std::string(ns) + "/" + std::string(name);
}

void split_key(std::string_view key, std::string& ns, std::string& name) {
  const size_t slash = key.find('/');
  ns = slash == std::string_view::npos ? std::string() : std::string(key.substr(0, slash));
  name = slash == std::string_view::npos ? std::string(key) : std::string(key.substr(slash + 1));
}

Reflector::Reflector(Client& client, const catalog::Resource& resource, ListOptions options, Sink sink)
    : client_(client), resource_(resource), options_(std::move(options)), sink_(std::move(sink)) {}

Status Reflector::list_and_watch(const StopToken& stop) {
  auto list = client_.list_raw(resource_, options_);
  if (!list) return list.error();
  std::string revision = list->resource_version;
  for (json::Value& item : list->items) {
    // Items of a list do not say what they are.
    item["apiVersion"] = resource_.api_version();
    item["kind"] = resource_.kind;
  }
  sink_.replace(std::move(list->items));
  progressed_ = true;

  while (!stop.stopped()) {
    Request request;
    request.target = path_of(resource_, options_.namespace_name) + "?watch=true&allowWatchBookmarks=true&resourceVersion=" + revision;
    if (!options_.label_selector.empty()) request.target += "&labelSelector=" + percent_encode(options_.label_selector);
    if (!options_.field_selector.empty()) request.target += "&fieldSelector=" + percent_encode(options_.field_selector);
    Status failed;
    bool any = false;
    Status status = client_.transport().stream(request, stop, [&](std::string_view line) {
      auto event = json::parse(line);
      if (!event) {
        failed = event.error();
        return false;
      }
      const std::string_view type = event->str_at({"type"});
      const json::Value* object = event->get("object");
      if (object == nullptr) return true;
      if (type == "ERROR") {
        failed = schema::from_document(*object);
        return false;
      }
      revision = object->str_at({"metadata", "resourceVersion"});
      any = true;
      if (type != "BOOKMARK") sink_.event(type, *object);
      return true;
    });
    if (!failed.ok()) return failed;
    if (!status.ok()) return status;
    if (!any && stop.wait_for(std::chrono::milliseconds(100))) break;
  }
  return {};
}

void Reflector::run(StopToken stop) {
  Duration backoff = std::chrono::milliseconds(50);
  while (!stop.stopped()) {
    progressed_ = false;
    const Status status = list_and_watch(stop);
    if (stop.stopped()) return;
    // 410 after a restart of the server is how it says: list again.
    if (!status.ok() && status.code() != 410) {
      log::debug("informer", "{}: {}", resource_.plural, status.to_string());
    }
    if (progressed_) backoff = std::chrono::milliseconds(50);
    if (stop.wait_for(backoff)) return;
    backoff = std::min<Duration>(backoff * 2, std::chrono::seconds(10));
  }
}

void Informers::start() {
  std::lock_guard lock(mutex_);
  for (auto& [name, informer] : informers_) informer->start(group_);
}

bool Informers::wait_synced(const StopToken& stop) {
  std::vector<InformerBase*> all;
  {
    std::lock_guard lock(mutex_);
    for (auto& [name, informer] : informers_) all.push_back(informer.get());
  }
  for (InformerBase* informer : all) {
    if (!informer->wait_synced(stop)) return false;
  }
  return true;
}

}  // namespace engenho::client
