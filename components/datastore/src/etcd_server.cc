#include "engenho/datastore/etcd_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/base/metrics.h"
#include "etcd_services.h"

namespace engenho::datastore {

struct EtcdServer::Impl {
  explicit Impl(Store& store) : context(store) {}

  EtcdContext context;
  std::shared_ptr<rpc::Router> router;
  std::vector<std::unique_ptr<Service>> services;
  std::unique_ptr<http::Server> server;
  bool stopped = false;
};

namespace {

constexpr std::string_view kUnix = "unix://", kHttp = "http://", kHttps = "https://";

struct Address {
  std::string host;
  uint16_t port = 0;
};

Result<Address> parse_address(const std::string& url, std::string_view scheme) {
  const std::string_view rest = std::string_view(url).substr(scheme.size());
  const size_t colon = rest.rfind(':');
  int64_t port = -1;
  if (colon == std::string_view::npos || colon == 0 || !parse_int(rest.substr(colon + 1), port) || port < 0 || port > 65535)
    return err(bad_request("etcd address: " + url + " is not " + std::string(scheme) + "host:port"));
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
  return Address{std::string(host == "localhost" ? "127.0.0.1" : host), static_cast<uint16_t>(port)};
}

bool loopback(std::string_view host) { return host == "::1" || host.starts_with("127."); }

Status prepare_socket(const std::string& path) {
  if (path.empty() || path[0] != '/') return bad_request("etcd address: \"unix://\" wants an absolute path");
  if (path.size() > 107) return bad_request("etcd address: the path " + path + " is too long for a socket");
  struct stat have{};
  if (::lstat(path.c_str(), &have) == 0 && !S_ISSOCK(have.st_mode))
    return bad_request("etcd address: " + path + " exists and is not a socket");
  const size_t slash = path.rfind('/');
  return make_dirs(slash == 0 ? "/" : path.substr(0, slash));
}

// As every client library of Prometheus gives it; `etcdctl check datascale` reads it.
std::string process_memory() {
  const auto statm = read_file("/proc/self/statm");
  int64_t pages = 0;
  if (!statm) return "";
  const auto fields = split(*statm, ' ');
  if (fields.size() < 2 || !parse_int(fields[1], pages)) return "";
  return "# HELP process_resident_memory_bytes Resident memory size in bytes.\n# TYPE process_resident_memory_bytes gauge\n"
         "process_resident_memory_bytes " + std::to_string(pages * ::sysconf(_SC_PAGESIZE)) + "\n";
}

// What a server that was killed has left of snapshots that it was building.
void remove_leftovers(const std::string& dir) {
  std::error_code error;
  if (dir.empty()) return;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().starts_with(kScratchPrefix)) ::unlink(it->path().c_str());
}

http::Limits limits() {
  http::Limits limits;
  limits.max_streams = 4096;
  // Clients keep connections, and streams on which nothing happens, for as long as they live; they ping as often as every two seconds and
  // with every batch of data that they take.
  limits.idle_timeout = std::chrono::hours(24);
  limits.stall_timeout = std::chrono::minutes(10);
  limits.control_burst = limits.control_per_second = 100'000;
  limits.reset_burst = limits.resets_per_second = 10'000;
  return limits;
}

}  // namespace

EtcdServer::EtcdServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EtcdServer::~EtcdServer() { stop(); }

Result<std::unique_ptr<EtcdServer>> EtcdServer::start(Store& store, Options options) {
  if (options.listen.empty()) return err(bad_request("etcd address: none given"));
  auto impl = std::make_unique<Impl>(store);
  EtcdContext& context = impl->context;
  ENGENHO_ASSIGN(const StoreStatus status, store.status());
  context.cluster_id = status.cluster_id;
  context.member_id = status.member_id;
  context.options = std::move(options);
  remove_leftovers(context.options.scratch_dir);

  impl->router = std::make_shared<rpc::Router>(context.options.max_request_bytes);
  rpc::Router& router = *impl->router;
  for (auto* add : {add_kv_service, add_watch_service, add_lease_service, add_maintenance_service, add_cluster_service, add_auth_service})
    impl->services.push_back(add(router, context));
  router.page("/version", [] { return std::string("{\"etcdserver\":\"") + kApiVersion + "\",\"etcdcluster\":\"3.5.0\"}"; });
  router.page("/health", [&store] {
    const auto now = store.status();
    const bool good = now && now->alarm.empty() && now->alarms.empty();
    return std::string("{\"health\":\"") + (good ? "true" : "false") + "\",\"reason\":\"" + (good ? "" : "ALARM") + "\"}";
  });
  router.page("/metrics", [] { return metrics::Registry::global().text() + process_memory(); });

  http::ServerOptions http;
  http.name = "etcd";
  http.limits = limits();
  impl->server = std::make_unique<http::Server>(http);
  for (std::string& url : context.options.listen) {
    if (url.starts_with(kUnix)) {
      const std::string path = url.substr(kUnix.size());
      ENGENHO_TRY(prepare_socket(path));
      ENGENHO_ASSIGN([[maybe_unused]] const auto listener, impl->server->listen_unix(path, 0600, impl->router));
      continue;
    }
    const bool tls = url.starts_with(kHttps);
    if (!tls && !url.starts_with(kHttp))
      return err(bad_request("etcd address: " + url + " is none of unix:///path, http://host:port and https://host:port"));
    ENGENHO_ASSIGN(const Address address, parse_address(url, tls ? kHttps : kHttp));
    std::optional<http::TlsServerOptions> secured;
    if (tls) {
      const Options& given = context.options;
      if (given.certificate_pem.empty() || given.key_pem.empty() || given.client_ca_pem.empty())
        return err(bad_request("etcd address: " + url + " wants a certificate, its key and the authority of its clients"));
      secured.emplace();
      secured->certificate_pem = given.certificate_pem;
      secured->key_pem = given.key_pem;
      secured->request_client_certificate = true;
      secured->client_ca_pem = given.client_ca_pem;
    } else if (!loopback(address.host)) {
      return err(bad_request("etcd address: " + url + " is not on loopback, and this API has no authentication"));
    }
    ENGENHO_ASSIGN(const auto listener, impl->server->listen_tcp(address.host, address.port, impl->router, secured));
    if (address.port == 0) url = url.substr(0, url.rfind(':') + 1) + std::to_string(impl->server->port(listener));
  }
  ENGENHO_TRY(impl->server->start());
  for (const std::string& url : context.options.listen) log::info("datastore", "etcd API on {}", url);
  return std::unique_ptr<EtcdServer>(new EtcdServer(std::move(impl)));
}

std::vector<std::string> EtcdServer::addresses() const { return impl_->context.options.listen; }

void EtcdServer::stop() {
  if (!impl_ || impl_->stopped) return;
  impl_->stopped = true;
  // Streams do not end by themselves: cancel what is left at once. Calls that wait for the store end with its answers.
  impl_->server->stop(Duration(0));
  impl_->context.reads.stop();
  impl_->router->wait_for_calls();
  impl_->context.tasks.stop();
  impl_->server.reset();
}

}  // namespace engenho::datastore
