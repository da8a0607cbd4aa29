// Gives pods their nodes: filter, score, reserve, bind. One pod at a time on one thread; what it decided counts at once, before the API
// server has told of it.
#pragma once

#include <memory>

#include "engenho/base/clock.h"
#include "engenho/base/threads.h"
#include "engenho/client/client.h"
#include "engenho/client/events.h"
#include "engenho/client/informer.h"
#include "engenho/client/work_queue.h"

namespace engenho::scheduler {

struct Options {
  std::string name = "default-scheduler";
  Clock* clock = &Clock::real();
};

class Scheduler {
 public:
  Scheduler(std::shared_ptr<client::Transport> transport, Options options = {});
  ~Scheduler();
  void start();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::scheduler
