#include "engenho/datastore/etcd_server.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "etcd_services.h"

namespace engenho::datastore {

struct EtcdServer::Impl {
  explicit Impl(Store& store) : context(store) {}

  EtcdContext context;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<grpc::Server> server;
  std::vector<std::string> sockets;  // ours to remove
};

namespace {

constexpr std::string_view kUnix = "unix://";
constexpr std::string_view kHttp = "http://", kHttps = "https://";

// A socket that is to appear at `path`, bound at `hidden` first: nobody but us can reach it before its mode is set.
struct PendingSocket {
  std::string path, directory, hidden;
};

Result<PendingSocket> prepare_socket(const std::string& path) {
  if (path.empty() || path[0] != '/') return err(bad_request("etcd address: \"unix://\" wants an absolute path"));
  const size_t slash = path.rfind('/');
  ENGENHO_TRY(make_dirs(slash == 0 ? "/" : path.substr(0, slash)));
  PendingSocket socket;
  socket.path = path;
  socket.directory = path.substr(0, slash) + "/.s" + random_name_suffix(4);
  socket.hidden = socket.directory + "/s";
  if (socket.hidden.size() > 107) return err(bad_request("etcd address: the path " + path + " is too long for a socket"));
  struct stat have{};
  if (::lstat(path.c_str(), &have) == 0 && !S_ISSOCK(have.st_mode))
    return err(bad_request("etcd address: " + path + " exists and is not a socket"));
  if (::mkdir(socket.directory.c_str(), 0700) != 0) return err(errno_error("mkdir " + socket.directory, errno));
  return socket;
}

Status place_socket(const PendingSocket& socket) {
  Status status;
  if (::chmod(socket.hidden.c_str(), 0600) != 0 || ::rename(socket.hidden.c_str(), socket.path.c_str()) != 0)
    status = errno_error("etcd socket " + socket.path, errno);
  ::unlink(socket.hidden.c_str());
  ::rmdir(socket.directory.c_str());
  return status;
}

bool loopback(std::string_view host_port) {
  const size_t colon = host_port.rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view host = host_port.substr(0, colon);
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
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

  grpc::ServerBuilder builder;
  std::vector<PendingSocket> pending;
  std::vector<int> ports(context.options.listen.size(), 1);
  for (size_t i = 0; i < context.options.listen.size(); ++i) {
    const std::string& address = context.options.listen[i];
    if (address.starts_with(kUnix)) {
      ENGENHO_ASSIGN(PendingSocket socket, prepare_socket(address.substr(kUnix.size())));
      builder.AddListeningPort("unix:" + socket.hidden, grpc::InsecureServerCredentials(), &ports[i]);
      pending.push_back(std::move(socket));
    } else if (address.starts_with(kHttp)) {
      const std::string host_port = address.substr(kHttp.size());
      if (!loopback(host_port))
        return err(bad_request("etcd address: " + address + " is not on loopback, and this API has no authentication"));
      builder.AddListeningPort(host_port, grpc::InsecureServerCredentials(), &ports[i]);
    } else if (address.starts_with(kHttps)) {
      const Options& given = context.options;
      if (given.certificate_pem.empty() || given.key_pem.empty() || given.client_ca_pem.empty())
        return err(bad_request("etcd address: " + address + " wants a certificate, its key and the authority of its clients"));
      grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
      tls.pem_root_certs = given.client_ca_pem;
      tls.pem_key_cert_pairs.push_back({given.key_pem, given.certificate_pem});
      builder.AddListeningPort(address.substr(kHttps.size()), grpc::SslServerCredentials(tls), &ports[i]);
    } else {
      return err(bad_request("etcd address: " + address + " is none of unix:///path, http://host:port and https://host:port"));
    }
  }
  impl->services.push_back(make_kv_service(context));
  impl->services.push_back(make_watch_service(context));
  impl->services.push_back(make_lease_service(context));
  impl->services.push_back(make_maintenance_service(context));
  impl->services.push_back(make_cluster_service(context));
  impl->services.push_back(make_auth_service(context));
  for (auto& service : impl->services) builder.RegisterService(service.get());
  builder.SetMaxReceiveMessageSize(static_cast<int>(context.options.max_request_bytes));
  builder.SetResourceQuota(grpc::ResourceQuota("etcd").Resize(64 << 20));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second server on the port is an error
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4096);
  // etcd's clients ping as often as every two seconds, also without a call.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  impl->server = builder.BuildAndStart();

  std::unique_ptr<EtcdServer> server(new EtcdServer(std::move(impl)));
  Status failed;
  for (const PendingSocket& socket : pending) {
    // Also when the server did not start: it removes the directory.
    if (Status placed = place_socket(socket); !placed.ok()) failed = placed;
    else server->impl_->sockets.push_back(socket.path);
  }
  for (size_t i = 0; i < ports.size(); ++i)
    if (ports[i] == 0 || !server->impl_->server)
      failed = unavailable("etcd address: cannot listen on " + server->impl_->context.options.listen[i]);
  if (!failed.ok()) return err(std::move(failed));
  for (size_t i = 0; i < ports.size(); ++i) {
    std::string& address = server->impl_->context.options.listen[i];
    if (!address.starts_with(kUnix) && address.ends_with(":0")) address = address.substr(0, address.size() - 1) + std::to_string(ports[i]);
  }
  for (const std::string& address : server->impl_->context.options.listen)
    log::info("datastore", "etcd API on {}", address);
  return server;
}

std::vector<std::string> EtcdServer::addresses() const { return impl_->context.options.listen; }

void EtcdServer::stop() {
  if (!impl_ || !impl_->server) return;
  // Streams do not end by themselves: cancel what is left at once.
  impl_->server->Shutdown(std::chrono::system_clock::now());
  impl_->server->Wait();
  impl_->server.reset();
  impl_->context.tasks.stop();
  for (const std::string& path : impl_->sockets) ::unlink(path.c_str());
}

}  // namespace engenho::datastore
