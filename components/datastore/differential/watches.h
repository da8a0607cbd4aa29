// A watch stream to one of the two peers, and what came over it, by watch.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "peer.h"

namespace engenho::datastore::differential {

struct WatchRecord {
  std::vector<mvccpb::Event> events;
  bool canceled = false;
  int64_t compact_revision = 0;
  int64_t cancel_header_revision = 0;
  std::string cancel_reason;
};

class WatchStream {
 public:
  explicit WatchStream(Peer& peer);
  ~WatchStream();

  // The answer to the request, which is the next one with `created` set. Empty when the stream has broken.
  std::optional<pb::WatchResponse> create(const pb::WatchCreateRequest& request);
  void cancel(int64_t id);
  bool wait_canceled(int64_t id);
  // Asks for progress until an answer says that everything up to `revision` is delivered.
  bool wait_progress(int64_t revision);
  bool wait_events(int64_t id, size_t count);
  WatchRecord record(int64_t id);
  std::map<int64_t, WatchRecord> records();
  void forget(int64_t id);
  void clear_events();
  std::string broken();  // what is wrong with the stream's own order; empty: nothing

 private:
  void run();
  template <typename Condition>
  bool wait(std::chrono::milliseconds limit, Condition condition);

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::WatchRequest, pb::WatchResponse>> call_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, WatchRecord> records_;
  std::vector<pb::WatchResponse> created_;
  int64_t progress_ = 0;
  std::map<int64_t, int64_t> last_revision_, told_;  // by watch: of its last event, of progress since it was made
  std::string broken_;
  bool ended_ = false;
  std::thread reader_;
};

}  // namespace engenho::datastore::differential
