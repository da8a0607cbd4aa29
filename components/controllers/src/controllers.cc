#include "engenho/controllers/controllers.h"

#include "engenho/base/log.h"

namespace engenho::controllers {

Controllers::Controllers(std::shared_ptr<client::Transport> transport, Options options)
    : client_(std::move(transport), "kube-controller-manager"),
      informers_(client_),
      events_(client_, "controllermanager"),
      environment_{client_, informers_, events_, std::move(options)} {
  for (auto make : {namespace_controller, service_account_controller, deployment_controller, replicaset_controller, daemonset_controller,
                    statefulset_controller, job_controller, cronjob_controller, ttl_after_finished_controller, endpoints_controller, garbage_collector,
                    pod_gc_controller, node_lifecycle_controller}) {
    controllers_.push_back(make(environment_));
    controllers_.back()->prepare();
  }
}

Controllers::~Controllers() {
  stop();
}

void Controllers::start() {
  informers_.start();
  group_.spawn("start", [this](StopToken stop) {
    if (!informers_.wait_synced(stop)) return;
    for (const auto& controller : controllers_) controller->run(group_);
  });
}

void Controllers::stop() {
  group_.stop();
  informers_.stop();
}

}  // namespace engenho::controllers
