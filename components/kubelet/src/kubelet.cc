#include "engenho/kubelet/kubelet.h"

#include <algorithm>
#include <set>

#include "cluster.h"
#include "containerd.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/catalog/authentication_v1.h"
#include "engenho/client/events.h"
#include "engenho/client/informer.h"
#include "logs.h"
#include "node.h"
#include "pod_worker.h"
#include "server.h"

namespace engenho::kubelet {

namespace {

class ApiCluster final : public Cluster {
 public:
  ApiCluster(client::Client& client, const NodeAgent& node) : client_(client), node_(node), services_(client) {}
  void start(TaskGroup& group) { services_.start(group); }
  bool wait_synced(const StopToken& stop) { return services_.wait_synced(stop); }
  Result<core_v1::ConfigMap> config_map(const std::string& ns, const std::string& name) override { return client_.get<core_v1::ConfigMap>(ns, name); }
  Result<core_v1::Secret> secret(const std::string& ns, const std::string& name) override { return client_.get<core_v1::Secret>(ns, name); }
  Result<core_v1::PersistentVolume> bound_volume(const std::string& ns, const std::string& name) override {
    ENGENHO_ASSIGN(auto claim, client_.get<core_v1::PersistentVolumeClaim>(ns, name));
    if (claim.metadata.deletion_timestamp) return err(unavailable("persistentvolumeclaim \"" + name + "\" is being deleted"));
    if (claim.spec.volume_name.empty() || claim.status.phase != "Bound") return err(unavailable("persistentvolumeclaim \"" + name + "\" is not bound"));
    ENGENHO_ASSIGN(auto volume, client_.get<core_v1::PersistentVolume>("", claim.spec.volume_name));
    if (!volume.spec.claim_ref || volume.spec.claim_ref->uid != claim.metadata.uid) {
      return err(unavailable("persistentvolume \"" + claim.spec.volume_name + "\" is not bound to persistentvolumeclaim \"" + name + "\""));
    }
    return volume;
  }
  std::vector<std::shared_ptr<const core_v1::Service>> services(const std::string& ns) override { return services_.list(ns); }
  Result<Token> token(const Pod& pod, const std::string& audience, int64_t expiration_seconds) override {
    k8s::authentication_v1::TokenRequest request;
    if (!audience.empty()) request.spec.audiences = {audience};
    request.spec.expiration_seconds = expiration_seconds;
    auto& bound = request.spec.bound_object_ref.ensure();
    bound.api_version = "v1";
    bound.kind = "Pod";
    bound.name = pod.metadata.name;
    bound.uid = pod.metadata.uid;
    ENGENHO_ASSIGN(json::Value raw, client_.create_raw(client::resource_of<core_v1::ServiceAccount>(), pod.metadata.namespace_, k8s::to_json(request),
                                                       pod.spec.service_account_name.empty() ? "default" : pod.spec.service_account_name, "token"));
    ENGENHO_ASSIGN(auto answer, k8s::from_json<k8s::authentication_v1::TokenRequest>(raw));
    return Token{answer.status.token, answer.status.expiration_timestamp.value_or(Clock::real().wall() + std::chrono::seconds(expiration_seconds))};
  }
  int64_t allocatable_milli_cpu() const override { return node_.milli_cpu(); }
  int64_t allocatable_memory() const override { return node_.memory_capacity(); }

 private:
  client::Client& client_;
  const NodeAgent& node_;
  client::Informer<core_v1::Service> services_;
};

class KubeletImpl final : public Kubelet {
 public:
  KubeletImpl(Options options, client::Client& client)
      : options_(std::move(options)),
        client_(client),
        containerd_(options_.runtime_endpoint.empty() ? std::make_unique<Containerd>(options_.data_dir, options_.cni_bin_dir, options_.cni_conf_dir) : nullptr),
        cri_(containerd_ ? containerd_->socket() : options_.runtime_endpoint),
        events_(client_, "kubelet", options_.node_name),
        node_(options_, client_, cri_, events_),
        cluster_(client_, node_),
        facts_{options_.node_name, options_.node_address, options_.cluster_dns, options_.cluster_domain, options_.resolv_conf, options_.data_dir + "/agent/pod-logs",
               options_.data_dir + "/agent/kubelet/pods", node_.memory_capacity()},
        volumes_(facts_.pods_dir, cluster_, Clock::real()),
        probes_(cri_, [this](const std::string& uid) { wake(uid); },
                [this](const PodPtr& pod, const std::string& container, const std::string& type, const std::string& reason, const std::string& message) {
                  auto about = client::reference_to(*pod);
                  about.field_path = "spec.containers{" + container + "}";
                  events_.event(about, type, reason, message);
                }),
        machinery_{cri_, client_, cluster_, volumes_, probes_, events_, facts_, group_.token()},
        pods_(client_, client::ListOptions{"", "", "spec.nodeName=" + options_.node_name, ""}) {}
  ~KubeletImpl() override { stop(); }

  Status start() override {
    for (const std::string& dir : {facts_.logs_dir, facts_.pods_dir}) ENGENHO_RETURN_IF_ERROR(make_dirs(dir, 0750));
    KubeletServer::Options server;
    server.address = options_.bind_address;
    server.port = options_.port;
    server.certificate_pem = options_.serving_certificate_pem;
    server.key_pem = options_.serving_key_pem;
    server.client_ca_pem = options_.client_ca_pem;
    server.node_name = options_.node_name;
    server.pods = [this] { return pods_.list(); };
    server.logs_dir = facts_.logs_dir;
    server_ = std::make_unique<KubeletServer>(std::move(server), client_, cri_);
    ENGENHO_RETURN_IF_ERROR(server_->start());
    // The runtime may take a while, and the API server may be slow: neither holds up the caller.
    group_.spawn("main", [this](StopToken stop) { bring_up(stop); });
    return {};
  }

  void stop() override {
    group_.token().request_stop();
    cri_.cancel_all();   // graces and pulls of minutes: the next start goes on with them
    if (server_ != nullptr) server_->stop();
    group_.stop();
    probes_.stop();
    std::map<std::string, std::shared_ptr<PodWorker>> workers;
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
      workers.swap(workers_);
    }
    workers.clear();
  }

 private:
  void bring_up(const StopToken& stop) {
    if (containerd_ != nullptr) {
      for (Duration delay = std::chrono::seconds(1);; delay = std::min<Duration>(delay * 2, std::chrono::seconds(30))) {
        const Status s = containerd_->start(group_);
        if (s.ok()) break;
        log::error("kubelet", "container runtime: {}", s.message());
        if (stop.wait_for(delay)) return;
      }
      if (Status s = containerd_->import_images(); !s.ok()) log::error("kubelet", "images: {}", s.message());
    }
    log::info("kubelet", "container runtime is ready");
    if (!node_.register_node(stop).ok() && stop.stopped()) return;
    cluster_.start(group_);
    pods_.add_handler({[this](const PodPtr& p) { changed(p); }, [this](const PodPtr&, const PodPtr& p) { changed(p); },
                       [this](const PodPtr& p) { removed(p->metadata.uid); }});
    if (!cluster_.wait_synced(stop)) return;
    pods_.start(group_);
    group_.spawn("lease", [this](StopToken s) { every(s, std::chrono::seconds(10), "lease", [this] { return node_.renew_lease(); }); });
    group_.spawn("node", [this](StopToken s) { every(s, std::chrono::seconds(10), "node status", [this] { return node_.update_status(); }); });
    if (!pods_.wait_synced(stop)) return;
    find_orphans();
    relist(stop);
  }

  static void every(const StopToken& stop, Duration period, const char* what, const std::function<Status()>& work) {
    while (!stop.stopped()) {
      const Status s = work();
      if (!s.ok() && !stop.stopped()) log::warn("kubelet", "{}: {}", what, s.message());
      if (stop.wait_for(s.ok() ? period : Duration(std::chrono::seconds(1)))) return;
    }
  }

  void changed(const PodPtr& pod) {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    const std::string& uid = pod->metadata.uid;
    auto it = workers_.find(uid);
    if (it != workers_.end()) it->second->update(pod);
    else if (!gone_.contains(uid)) workers_[uid] = std::make_shared<PodWorker>(machinery_, uid, pod, [this](const std::string& u) { finished(u); });
  }
  void removed(const std::string& uid) {
    std::lock_guard lock(mutex_);
    gone_.erase(uid);
    auto it = workers_.find(uid);
    if (it != workers_.end()) it->second->orphaned();
  }
  void wake(const std::string& uid) {
    std::lock_guard lock(mutex_);
    auto it = workers_.find(uid);
    if (it != workers_.end()) it->second->wake();
  }
  // On the worker's own thread: it is joined by the relist.
  void finished(const std::string& uid) {
    std::lock_guard lock(mutex_);
    auto it = workers_.find(uid);
    if (it == workers_.end()) return;
    ended_.push_back(it->second);
    workers_.erase(it);
    // Its deletion may not have come back to us yet: no second worker for it.
    bool known = false;
    for (const auto& p : pods_.list()) known |= p->metadata.uid == uid;
    if (known) gone_.insert(uid);
  }

  // Pods in the runtime that the API server does not know are ended.
  void find_orphans() {
    auto sandboxes = cri_.list_sandboxes();
    if (!sandboxes) return;
    std::set<std::string> known;
    for (const auto& p : pods_.list()) known.insert(p->metadata.uid);
    for (const auto& s : *sandboxes) {
      auto uid = s.labels().find(kLabelPodUid);
      if (uid == s.labels().end() || known.contains(uid->second)) continue;
      log::info("kubelet", "pod {}/{} is not known any more: ending it", s.metadata().namespace_(), s.metadata().name());
      auto pod = std::make_shared<Pod>();
      pod->metadata.name = s.metadata().name();
      pod->metadata.namespace_ = s.metadata().namespace_();
      pod->metadata.uid = uid->second;
      std::lock_guard lock(mutex_);
      if (stopped_ || workers_.contains(uid->second)) continue;
      auto& worker = workers_[uid->second];
      worker = std::make_shared<PodWorker>(machinery_, uid->second, pod, [this](const std::string& u) { finished(u); });
      worker->orphaned();
    }
  }

  void rotate(const rt::Container& c) {
    auto label = [&c](const char* name) {
      auto it = c.labels().find(name);
      return it == c.labels().end() ? std::string() : it->second;
    };
    const std::string path = facts_.logs_dir + "/" + label(kLabelPodNamespace) + "_" + label(kLabelPodName) + "_" + label(kLabelPodUid) + "/" +
                             c.metadata().name() + "/" + std::to_string(c.metadata().attempt()) + ".log";
    const auto rotated = rotate_log(path, kMaxLogBytes, kMaxLogFiles, [&] { return cri_.reopen_log(c.id()); });
    if (!rotated) log::warn("kubelet", "log of {}: {}", c.metadata().name(), rotated.error().message());
  }

  // containerd 1.6 has no event stream: what differs from a second ago wakes its pod.
  void relist(const StopToken& stop) {
    std::map<std::string, std::string> before;
    uint64_t rounds = 0;
    while (!stop.stopped()) {
      std::map<std::string, std::string> now;
      auto sandboxes = cri_.list_sandboxes();
      auto containers = cri_.list_containers();
      if (sandboxes && containers) {
        auto note = [&now](const auto& object, int state) {
          auto uid = object.labels().find(kLabelPodUid);
          if (uid != object.labels().end()) now[uid->second] += object.id() + ":" + std::to_string(state) + " ";
        };
        for (const auto& s : *sandboxes) note(s, s.state());
        for (const auto& c : *containers) note(c, c.state());
        for (const auto& [uid, text] : now) {
          auto it = before.find(uid);
          if (it == before.end() || it->second != text) wake(uid);
        }
        for (const auto& [uid, text] : before) {
          if (!now.contains(uid)) wake(uid);
        }
        before = std::move(now);
      }
      std::vector<std::shared_ptr<PodWorker>> ended;
      {
        std::lock_guard lock(mutex_);
        ended.swap(ended_);
      }
      ended.clear();   // joins
      if (containers && ++rounds % 10 == 0) {
        for (const auto& c : *containers) {
          if (c.state() == rt::CONTAINER_RUNNING) rotate(c);
        }
      }
      if (stop.wait_for(std::chrono::seconds(1))) return;
    }
  }

  const Options options_;
  client::Client& client_;
  TaskGroup group_{"kubelet"};
  std::unique_ptr<Containerd> containerd_;
  Cri cri_;
  client::EventRecorder events_;
  NodeAgent node_;
  ApiCluster cluster_;
  const NodeFacts facts_;
  VolumeManager volumes_;
  Probes probes_;
  Machinery machinery_;
  client::Informer<Pod> pods_;
  std::unique_ptr<KubeletServer> server_;
  std::mutex mutex_;   // guards what follows
  std::map<std::string, std::shared_ptr<PodWorker>> workers_;
  std::vector<std::shared_ptr<PodWorker>> ended_;
  std::set<std::string> gone_;   // finished, and still in the informer
  bool stopped_ = false;
};

}  // namespace

Result<std::unique_ptr<Kubelet>> Kubelet::create(Options options, client::Client& client) {
  if (options.node_name.empty() || options.node_address.empty() || options.data_dir.empty()) {
    return err(bad_request("kubelet: node name, node address and data directory are needed"));
  }
  return std::make_unique<KubeletImpl>(std::move(options), client);
}

}  // namespace engenho::kubelet
