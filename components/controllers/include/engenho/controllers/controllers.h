// The controllers that keep the cluster as its objects say: namespaces, service accounts, deployments, replica sets, endpoints,
// garbage collection, nodes. Each has one work queue with one slot per key; all see the cluster through `client` only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/threads.h"
#include "engenho/client/client.h"
#include "engenho/client/events.h"
#include "engenho/client/informer.h"

namespace engenho::controllers {

struct Options {
  std::string root_ca_pem;          // published in every namespace as kube-root-ca.crt
  Clock* clock = &Clock::real();
};

// What every controller is given.
struct Environment {
  client::Client& client;
  client::Informers& informers;
  client::EventRecorder& events;
  Options options;
};

class Controller {
 public:
  virtual ~Controller() = default;
  virtual std::string_view name() const = 0;
  // Registers handlers. Before the informers start.
  virtual void prepare() = 0;
  // Starts the workers; the informers are in sync.
  virtual void run(TaskGroup& group) = 0;
};

std::unique_ptr<Controller> namespace_controller(Environment& environment);
std::unique_ptr<Controller> service_account_controller(Environment& environment);
std::unique_ptr<Controller> deployment_controller(Environment& environment);
std::unique_ptr<Controller> replicaset_controller(Environment& environment);
std::unique_ptr<Controller> daemonset_controller(Environment& environment);
std::unique_ptr<Controller> statefulset_controller(Environment& environment);
std::unique_ptr<Controller> job_controller(Environment& environment);
std::unique_ptr<Controller> cronjob_controller(Environment& environment);
std::unique_ptr<Controller> ttl_after_finished_controller(Environment& environment);
std::unique_ptr<Controller> endpoints_controller(Environment& environment);
std::unique_ptr<Controller> garbage_collector(Environment& environment);
std::unique_ptr<Controller> pod_gc_controller(Environment& environment);
std::unique_ptr<Controller> node_lifecycle_controller(Environment& environment);

// All of them.
class Controllers {
 public:
  Controllers(std::shared_ptr<client::Transport> transport, Options options);
  ~Controllers();
  void start();  // returns at once; the work begins when the informers are in sync
  void stop();

 private:
  client::Client client_;
  client::Informers informers_;
  client::EventRecorder events_;
  Environment environment_;
  std::vector<std::unique_ptr<Controller>> controllers_;
  TaskGroup group_{"kcm"};
};

}  // namespace engenho::controllers
