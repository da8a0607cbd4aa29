// `engenho server`: reads the configuration, wires the parts, tells what it does, and stops in order.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "credentials.h"
#include "engenho/apiserver/server.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/ipv4.h"
#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "engenho/client/transport.h"
#include "engenho/controllers/controllers.h"
#include "engenho/client/client.h"
#include "engenho/client/leader.h"
#include "engenho/cni/cni.h"
#include "engenho/datastore/encryption.h"
#include "engenho/datastore/etcd_server.h"
#include "engenho/datastore/remote_store.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/engenho/commands.h"
#include "engenho/engenho/config.h"
#include "engenho/dns/dns.h"
#include "engenho/engenho/version.h"
#include "engenho/http/server.h"
#include "engenho/proxy/proxy.h"
#include "engenho/scheduler/scheduler.h"
#include "engenho/kubelet/kubelet.h"
#include "engenho/pangea/operator.h"
#include "host.h"
#include "pangea_host.h"
#include "shared_identity.h"
#include "snapshots.h"

extern char** environ;

namespace engenho {

namespace {

// The node agent with its client: a real node's, over HTTPS with a node's certificate.
struct Agent {
  std::unique_ptr<client::Client> client;
  std::unique_ptr<kubelet::Kubelet> kubelet;
};

Result<Agent> start_agent(const ServerConfig& config, const Credentials& credentials, const std::string& node_address) {
  client::HttpsOptions https;
  https.url = "https://127.0.0.1:" + std::to_string(config.https_listen_port);
  https.ca_pem = credentials.server_ca.certificate().pem();
  https.certificate_pem = credentials.kubelet_client.certificate.pem();
  https.key_pem = credentials.kubelet_client.key.pem();
  https.user_agent = "kubelet";
  Agent out;
  out.client = std::make_unique<client::Client>(client::https_transport(std::move(https)), "kubelet");

  kubelet::Options options;
  options.data_dir = config.data_dir;
  options.node_name = config.node_name;
  options.node_address = node_address;
  options.bind_address = config.bind_address;
  options.cluster_dns = config.cluster_dns;
  options.cluster_domain = config.cluster_domain;
  options.resolv_conf = config.resolv_conf;
  // One node: it has the first /24 of the pods' range.
  const Ipv4Range pods = parse_ipv4_range(config.cluster_cidr).value();  // the configuration was checked
  options.pod_cidr = ipv4_text(pods.first) + "/" + std::to_string(std::max(pods.bits, 24));
  options.runtime_endpoint = config.container_runtime_endpoint;
  const cni::Layout layout = cni::layout(config.data_dir);
  options.cni_bin_dir = layout.bin_dir;
  options.cni_conf_dir = layout.conf_dir;
  options.port = config.kubelet_port;
  options.serving_certificate_pem = credentials.kubelet_server.certificate.pem();
  options.serving_key_pem = credentials.kubelet_server.key.pem();
  options.client_ca_pem = credentials.client_ca.certificate().pem();
  options.version = kKubernetesVersion;
  std::error_code ec;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", ec).string();
  cni::NetworkOptions network;
  network.subnet = options.pod_cidr;
  ENGENHO_TRY(cni::install(config.data_dir, self, network));
  ENGENHO_ASSIGN(out.kubelet, kubelet::Kubelet::create(std::move(options), *out.client));
  ENGENHO_TRY(out.kubelet->start());
  return out;
}

pangea::Options pangea_options(const ServerConfig& config) {
  pangea::Options out;
  out.data_dir = config.data_dir + "/pangea";
  out.executor = config.pangea_executor;
  out.workers = config.pangea_workers;
  out.ntfy_url = config.pangea_ntfy_url;
  out.template_repositories = config.pangea_template_repositories;
  out.executors.plugin_dirs = config.pangea_plugin_dirs;
  if (out.executors.plugin_dirs.empty()) {
    // Terraform's own directories for providers that are there already come after ours.
    out.executors.plugin_dirs = {out.data_dir + "/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"};
    if (const char* home = std::getenv("HOME")) out.executors.plugin_dirs.push_back(std::string(home) + "/.terraform.d/plugins");
  }
  out.executors.plugin_cache_dir = out.data_dir + "/plugin-cache";
  return out;
}

// The datastore of this process, or the etcd cluster that the configuration names.
Result<std::unique_ptr<datastore::Store>> open_store(const ServerConfig& config) {
  if (config.datastore_endpoint.empty()) {
    datastore::RocksdbOptions options;
    options.dir = config.data_dir + "/server/db";
    return datastore::open_rocksdb_store(options);
  }
  datastore::RemoteOptions options;
  options.endpoints = config.datastore_endpoint;
  for (const auto& [path, text] : {std::pair(&config.datastore_cafile, &options.ca_pem), {&config.datastore_certfile, &options.certificate_pem},
                                   {&config.datastore_keyfile, &options.key_pem}}) {
    if (path->empty()) continue;
    ENGENHO_ASSIGN(*text, read_file(*path));
  }
  return datastore::open_remote_store(std::move(options));
}

class Startup {
 public:
  void step(const std::string& what) const {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin_).count();
    log::info("engenho", "{:>5} ms  {}", ms, what);
  }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

Status run_server(const ServerConfig& config) {
  Startup startup;
  // Signals are taken by this thread alone, from sigwait below; threads made from here on inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGINT, SIGTERM}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  startup.step("engenho " + std::string(kVersion) + ", data in " + config.data_dir);
  const std::string node_address = config.advertise_address.empty() ? default_address() : config.advertise_address;
  ENGENHO_RETURN_IF_ERROR(make_dirs(config.data_dir + "/server", 0700));
  const bool shared = !config.datastore_endpoint.empty();  // other servers may be on it, too
  ENGENHO_ASSIGN_OR_RETURN(std::unique_ptr<datastore::Store> store, open_store(config));
  startup.step("datastore is open at revision " + std::to_string(store->revision()));
  if (shared) ENGENHO_RETURN_IF_ERROR(share_identity(*store, config.data_dir + "/server", config.token));
  ENGENHO_ASSIGN_OR_RETURN(Credentials credentials, load_credentials(config, node_address, ipv4_text(parse_ipv4_range(config.service_cidr).value().first + 1)));
  startup.step("certificates are in " + config.data_dir + "/server/tls");

  // What comes from the API is encrypted on its way to the disk; the etcd face and snapshots show what lies there.
  ENGENHO_ASSIGN_OR_RETURN(const auto keys, datastore::KeyRing::open(config.encryption_key_path()));
  const auto encrypted = datastore::encrypted_store(*store, {keys, config.encrypted_prefixes()});

  apiserver::Options options;
  options.store = encrypted.get();
  options.service_cidr = config.service_cidr;
  options.issuer = "https://kubernetes.default.svc." + config.cluster_domain;
  options.advertise_address = node_address;
  options.advertise_port = config.https_listen_port;
  options.service_account_key = credentials.service_account;
  options.token_auth_file = config.token_auth_file;
  options.kubelet_ca_pem = credentials.server_ca.certificate().pem();
  options.kubelet_client_certificate_pem = credentials.api_client.certificate.pem();
  options.kubelet_client_key_pem = credentials.api_client.key.pem();
  options.git_version = kKubernetesVersion;
  ENGENHO_ASSIGN_OR_RETURN(std::shared_ptr<apiserver::ApiServer> api, apiserver::ApiServer::create(std::move(options)));
  add_pangea_subresources(api);
  ENGENHO_RETURN_IF_ERROR(api->start());

  http::ServerOptions http_options;
  http_options.name = "api";
  http::Server server(http_options);
  http::TlsServerOptions tls;
  tls.certificate_pem = credentials.api_server.certificate.pem();
  tls.key_pem = credentials.api_server.key.pem();
  tls.request_client_certificate = true;
  tls.client_ca_pem = credentials.client_ca.certificate().pem();
  auto listener = server.listen_tcp(config.bind_address, static_cast<uint16_t>(config.https_listen_port), api, tls);
  if (!listener) return listener.error();
  ENGENHO_RETURN_IF_ERROR(server.start());
  startup.step("API server is ready on " + config.bind_address + ":" + std::to_string(config.https_listen_port));

  std::unique_ptr<datastore::EtcdServer> etcd;
  TaskGroup tasks("engenho");
  if (!shared) {
    datastore::EtcdServer::Options etcd_options;
    etcd_options.listen = {"unix://" + config.data_dir + "/server/etcd.sock"};
    etcd_options.scratch_dir = config.data_dir + "/server";
    ENGENHO_ASSIGN_OR_RETURN(etcd, datastore::EtcdServer::start(*store, etcd_options));
    startup.step("etcd face is on unix://" + config.data_dir + "/server/etcd.sock");
    schedule_snapshots(tasks, *store, {config.snapshot_path(), config.snapshot_interval, static_cast<size_t>(config.snapshot_retention)});
  }

  // The control plane's own components are clients like any other, only without a socket between.
  auto as_user = [&](const char* name) { return client::local_transport(*api, apiserver::UserInfo{name, "", {}, {}}); };
  const std::string identity = config.node_name + "_" + random_uuid();
  TaskGroup leading("control");
  auto run_controllers = [&](const StopToken& stop) {
    controllers::Options kcm_options;
    kcm_options.root_ca_pem = credentials.server_ca.certificate().pem();
    controllers::Controllers kcm(as_user("system:kube-controller-manager"), kcm_options);
    kcm.start();
    stop.wait();
    kcm.stop();
  };
  auto run_scheduler = [&](const StopToken& stop) {
    scheduler::Scheduler scheduler(as_user("system:kube-scheduler"));
    scheduler.start();
    stop.wait();
    scheduler.stop();
  };
  // Alone on its datastore, a server needs no election.
  auto control = [&](const char* name, const std::function<void(StopToken)>& run) {
    leading.spawn(name, [&, name, run](StopToken stop) {
      if (!shared) return run(stop);
      client::Client client(as_user((std::string("system:") + name).c_str()), name);
      client::LeaderOptions election;
      election.name = name;
      election.identity = identity;
      client::lead_while_elected(client, election, stop, run);
    });
  };
  auto run_pangea = [&](const StopToken& stop) {
    pangea::Operator pangea(as_user("system:pangea"), pangea_options(config));
    pangea.start();
    stop.wait();
    pangea.stop();
  };
  if (!config.disabled("pangea")) control("pangea", run_pangea);
  if (!config.disabled("controllers")) control("kube-controller-manager", run_controllers);
  if (!config.disabled("scheduler")) control("kube-scheduler", run_scheduler);
  std::unique_ptr<proxy::Proxy> proxy;
  if (!config.disabled("proxy") && !config.disable_agent) {
    proxy::Options proxy_options;
    proxy_options.cluster_cidr = config.cluster_cidr;
    proxy_options.node_name = config.node_name;
    proxy = std::make_unique<proxy::Proxy>(as_user("system:kube-proxy"), proxy_options);
    proxy->start();
  }
  std::unique_ptr<dns::Dns> dns;
  if (!config.disabled("dns") && !config.disable_agent) {
    dns::Options dns_options;
    dns_options.cluster_domain = config.cluster_domain;
    dns_options.cluster_dns = config.cluster_dns;
    dns_options.listen_address = node_address;
    dns_options.cluster_cidr = config.cluster_cidr;
    dns_options.service_cidr = config.service_cidr;
    dns_options.resolv_conf = config.resolv_conf;
    dns = std::make_unique<dns::Dns>(as_user("system:kube-dns"), dns_options);
    // A port that is taken costs the cluster its names, not itself.
    if (Status s = dns->start(); !s.ok()) log::error("engenho", "the cluster has no DNS: {}", s.message());
  }
  startup.step("controllers, scheduler, proxy and DNS are started");

  const std::string path = config.kubeconfig_path();
  if (const size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0) ENGENHO_RETURN_IF_ERROR(make_dirs(path.substr(0, slash)));
  const std::string host = config.bind_address == "0.0.0.0" || config.bind_address == "::" ? "127.0.0.1" : config.bind_address;
  ENGENHO_RETURN_IF_ERROR(write_file_atomic(
      path,
      kubeconfig_text("https://" + host + ":" + std::to_string(config.https_listen_port), credentials.server_ca.certificate().pem(), "admin",
                      credentials.admin),
      static_cast<mode_t>(std::strtoul(config.write_kubeconfig_mode.c_str(), nullptr, 8))));
  startup.step("now:  export KUBECONFIG=" + path + "  and  kubectl get nodes");

  Agent agent;
  if (!config.disable_agent) {
    ENGENHO_ASSIGN_OR_RETURN(agent, start_agent(config, credentials, node_address));
    startup.step("kubelet is on port " + std::to_string(config.kubelet_port) + "; the node becomes ready when its container runtime is");
  }

  int signal_number = 0;
  sigwait(&signals, &signal_number);
  log::info("engenho", "{}: stopping; pods keep running", signal_number == SIGINT ? "interrupted" : "terminated");
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  if (dns) dns->stop();
  if (proxy) proxy->stop();
  leading.stop();
  if (agent.kubelet != nullptr) agent.kubelet->stop();
  tasks.stop();
  if (etcd) etcd->stop();
  api->stop();
  server.stop(std::chrono::seconds(2));
  return {};
}

}  // namespace

int server_command(const Arguments& arguments) {
  for (const std::string& a : arguments) {
    if (a == "--help" || a == "-h") {
      std::cout << server_help();
      return 0;
    }
  }
  std::vector<std::string> env;
  for (char** e = environ; *e != nullptr; ++e) env.emplace_back(*e);
  auto config = parse_server_config(arguments, env);
  if (!config) {
    std::cerr << "engenho server: " << config.error().message() << "\n";
    return 2;
  }
  log::Level level = log::Level::kInfo;
  log::parse_level(config->log_level, level);
  log::set_level(level);
  const Status status = run_server(*config);
  if (!status.ok()) {
    std::cerr << "engenho server: " << status.message() << "\n";
    return 1;
  }
  return 0;
}

}  // namespace engenho
