// Event objects as kubectl describe shows them. Equal events within ten minutes become one with a count; a source that floods is
// cut off (25 at once, one every five minutes per object).
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "engenho/base/clock.h"
#include "engenho/base/threads.h"
#include "engenho/client/client.h"

namespace engenho::client {

struct ObjectReference {
  std::string api_version, kind, namespace_name, name, uid, resource_version, field_path;
};
template <typename T>
ObjectReference reference_to(const T& object) {
  const catalog::Resource& r = resource_of<T>();
  return {std::string(r.api_version()), std::string(r.kind), object.metadata.namespace_, object.metadata.name,
          object.metadata.uid, object.metadata.resource_version, ""};
}

// Thread-safe; never blocks the caller: events are sent by a thread of its own, and dropped when more than 1,000 wait.
class EventRecorder {
 public:
  EventRecorder(Client& client, std::string component, std::string host = "", Clock& clock = Clock::real());
  ~EventRecorder();
  // `type`: Normal or Warning.
  void event(const ObjectReference& about, std::string_view type, std::string_view reason, std::string message);

 private:
  struct Pending {
    ObjectReference about;
    std::string type, reason, message;
    WallTime time;
  };
  struct Known {
    std::string name, namespace_name;
    int64_t count = 0;
    WallTime first, last;
  };
  struct Bucket {
    double tokens = 25;
    WallTime at;
  };
  void run();
  void send(const Pending& pending);
  Client& client_;
  const std::string component_, host_;
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Pending> queue_;
  bool stopped_ = false;
  std::map<std::string, Known> known_;   // used by the sending thread only, as buckets_
  std::map<std::string, Bucket> buckets_;
  std::thread thread_;
};

}  // namespace engenho::client
