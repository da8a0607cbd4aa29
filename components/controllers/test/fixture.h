// The controllers against a real API server, in process.
#pragma once

#include <condition_variable>

#include "engenho/catalog/apps_v1.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/controllers/controllers.h"
#include "engenho/testing/catch.h"
#include "engenho/testing/cluster.h"

namespace engenho::controllers::testing {

namespace core_v1 = k8s::core_v1;

class Cluster {
 public:
  explicit Cluster(Clock& clock = Clock::real()) {
    client = api.client();
    informers = std::make_unique<client::Informers>(*client);
    controllers::Options& kcm = options_;
    kcm.root_ca_pem = "CA";
    kcm.clock = &clock;
    controllers_ = std::make_unique<controllers::Controllers>(api.as("system:kube-controller-manager"), kcm);
    controllers_->start();
    // Pods are refused before; and where the clock stands still nobody tries again.
    REQUIRE(eventually<core_v1::ServiceAccount>([&] { return client->get<core_v1::ServiceAccount>("default", "default").has_value(); }));
  }
  ~Cluster() {
    informers->stop();
    controllers_->stop();
    controllers_.reset();
    informers.reset();
    client.reset();
  }
  // The controllers end and others begin, as after a crash.
  void restart_controllers() {
    controllers_->stop();
    controllers_ = std::make_unique<controllers::Controllers>(api.as("system:kube-controller-manager"), options_);
    controllers_->start();
  }
  // Waits until `check` holds, asked again after each change of a T.
  template <typename T>
  bool eventually(std::function<bool()> check) {
    std::mutex mutex;
    std::condition_variable cv;
    auto& informer = informers->get<T>();
    informer.on_change([&](const T&) {
      std::lock_guard lock(mutex);
      cv.notify_all();
    });
    informers->start();
    std::unique_lock lock(mutex);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    bool good = false;
    while (!(good = check()) && std::chrono::steady_clock::now() < end) cv.wait_for(lock, std::chrono::milliseconds(50));
    lock.unlock();
    informers->stop();  // no handler may outlive this frame
    informers = std::make_unique<client::Informers>(*client);
    return good;
  }

  template <typename T>
  std::vector<T> all(const std::string& selector = "") {
    auto list = client->list<T>({.namespace_name = "default", .label_selector = selector, .field_selector = "", .resource_version = ""});
    return list ? list->items : std::vector<T>();
  }
  // Writes a pod's status as its kubelet would: the newest one is changed, so that no conflict is left. One that is gone has none.
  void set_pod(const std::string& name, const std::function<void(core_v1::Pod&)>& change) {
    for (int i = 0; i < 100; ++i) {
      auto pod = client->get<core_v1::Pod>("default", name);
      if (!pod && pod.error().not_found()) return;  // its controller was faster
      REQUIRE(pod);
      change(*pod);
      auto written = client->update_status(*pod);
      if (written || written.error().not_found()) return;
      INFO(written.error().to_string());
      REQUIRE(written.error().conflict());
    }
    FAIL("conflicts without end");
  }
  void kill(const std::string& name) {
    client::DeleteOptions now;
    now.grace_period_seconds = 0;
    const Status gone = client->remove<core_v1::Pod>("default", name, now);
    INFO(gone.to_string());
    REQUIRE(gone.ok());
  }
  void set_phase(const std::string& name, const std::string& phase) {
    set_pod(name, [&](core_v1::Pod& p) { p.status.phase = phase; });
  }
  void set_ready(const std::string& name, bool ready = true, WallTime since = Clock::real().wall()) {
    set_pod(name, [&](core_v1::Pod& p) {
      p.status.phase = "Running";
      core_v1::PodCondition c;
      c.type = "Ready";
      c.status = ready ? "True" : "False";
      c.last_transition_time = since;
      p.status.conditions = {c};
    });
  }

  engenho::testing::Cluster api;
  std::unique_ptr<client::Client> client;
  std::unique_ptr<client::Informers> informers;

 private:
  controllers::Options options_;
  std::unique_ptr<controllers::Controllers> controllers_;
};

}  // namespace engenho::controllers::testing
