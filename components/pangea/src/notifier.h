// News to people: ntfy, Slack and webhooks, as a route says. Sent by a thread of its own; what cannot be delivered is tried a few times and logged.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "environment.h"

namespace engenho::pangea {

struct News {
  std::string action;     // alert, page, suspend
  std::string reason;     // FailureEscalation, ...
  std::string about;      // namespace/name
  std::string message;    // without secrets
};

class Notifier {
 public:
  Notifier(client::Client& client, const Options& options);
  ~Notifier();
  // Does nothing for a route that names nobody. Never blocks; when too much waits, the oldest is dropped and logged.
  void send(const pangea_v1::ApprovalRouting& route, News news);
  void stop();

 private:
  struct Pending {
    pangea_v1::ApprovalRouting route;
    News news;
    int attempt = 0;
    MonoTime not_before{};
  };
  void run(const StopToken& stop);
  Status deliver(const Pending& pending);
  client::Client& client_;
  const Options& options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Pending> queue_;
  TaskGroup group_{"pangea-news"};
  bool started_ = false;
};

}  // namespace engenho::pangea
