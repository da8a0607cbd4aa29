// The Pangea controllers: namespaces, gems, catalogs and templates, each with one slot a key. They see the cluster through `client` only. Idle, they
// cost a few informers: executors, the evaluator and git are touched when the first object asks for them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/client/client.h"
#include "engenho/pangea/executor.h"
#include "engenho/ruby/evaluator.h"

namespace engenho::pangea {

struct Options {
  std::string data_dir;                      // artifacts, clones and local states; made with mode 0700
  int workers = 4;                           // templates that are worked on at the same time, 1 to 32
  std::string executor = "magma";            // of templates that name none
  ExecutorOptions executors;
  ruby::EvaluatorOptions evaluator;
  std::vector<std::string> template_repositories;   // where git repositories may be that templates name by file://; gems and catalogs may name any
  std::string ntfy_url = "https://ntfy.sh";  // where topics are posted that name no server
  size_t receipts_kept = 50;                 // a template
  Duration operation_timeout = std::chrono::minutes(60);   // of one plan or apply
  Duration short_wait = std::chrono::seconds(30);          // until a template that waits for something looks again by itself
  Clock* clock = &Clock::real();
};

class Operator {
 public:
  Operator(std::shared_ptr<client::Transport> transport, Options options);
  ~Operator();
  void start();   // returns at once; the work begins when the informers are in sync
  void stop();    // ends what is under way: providers finish their calls, nothing new is begun

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::pangea
