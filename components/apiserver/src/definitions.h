// Keeps CustomResourceDefinitions: says which names are accepted, serves what is established, empties what is being deleted, and keeps the
// APIService of each custom group version. Level-triggered: every change of a definition or of one of its last objects brings it back here.
//
// Threads: one of its own. Failure: what cannot be done is tried again after a second.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "context.h"
#include "engenho/base/threads.h"
#include "rest.h"

namespace engenho::apiserver {

class Definitions {
 public:
  explicit Definitions(Rest& rest);
  ~Definitions();

  // Before the hub starts: the definitions that the store has are served from the first request on. Error: the store's.
  Status load();
  void start();
  void stop();

 private:
  void mark(const std::string& name);
  void run(const StopToken& stop);
  Status reconcile(const std::string& name);
  Status serve(const json::Value& definition);
  Status accept_names(const json::Value& definition);
  Status empty(const json::Value& definition);
  Status set_status(const std::string& name, const std::function<void(json::Value&)>& change);
  Status keep_api_services();
  json::Value document(const std::string& name) const;

  Rest& rest_;
  ResourcePtr definitions_;
  Context context_;                                        // of the server itself
  std::map<std::string, std::pair<std::string, std::string>> served_;  // name -> group, plural; this thread's alone
  std::mutex mutex_;
  std::condition_variable wake_;
  std::set<std::string> dirty_;
  TaskGroup tasks_{"definitions"};
};

}  // namespace engenho::apiserver
