#include "peer.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace engenho::datastore::differential {

namespace {

// A port that was free a moment ago. etcd cannot be asked for any free one.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  int port = 0;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    port = ntohs(address.sin_port);
  ::close(fd);
  return port;
}

}  // namespace

Status start_peer(Peer& peer) {
  if (!peer.argv.empty()) {
    ProcessOptions options;
    options.argv = peer.argv;
    options.log_file = peer.log_file;
    options.die_with_parent = true;
    ENGENHO_ASSIGN_OR_RETURN(Process process, Process::start(options));
    peer.process.emplace(std::move(process));
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  peer.channel = grpc::CreateCustomChannel(peer.address, grpc::InsecureChannelCredentials(), arguments);
  peer.kv = pb::KV::NewStub(peer.channel);
  peer.watch = pb::Watch::NewStub(peer.channel);
  peer.lease = pb::Lease::NewStub(peer.channel);
  peer.maintenance = pb::Maintenance::NewStub(peer.channel);
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(30);
  for (;;) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    context.set_wait_for_ready(true);
    pb::RangeRequest request;
    pb::RangeResponse response;
    request.set_key("0");
    const grpc::Status status = peer.kv->Range(&context, request, &response);
    if (status.ok()) return {};
    if (peer.process && !peer.process->running()) return unavailable(peer.name + " ended at once; see " + peer.log_file);
    if (std::chrono::system_clock::now() > deadline) return unavailable(peer.name + " does not answer: " + status.error_message());
  }
}

Peer etcd_peer(const std::string& program, const std::string& dir, bool fsync) {
  Peer peer;
  peer.name = "etcd";
  const std::string client = "127.0.0.1:" + std::to_string(free_port()), other = "127.0.0.1:" + std::to_string(free_port());
  peer.address = "ipv4:" + client;
  peer.log_file = dir + "/etcd.log";
  // Cluster and member come from the names and URLs; compaction only when asked for.
  peer.argv = {program, "--name", "one", "--data-dir", dir + "/etcd", "--listen-client-urls", "http://" + client, "--advertise-client-urls",
               "http://" + client, "--listen-peer-urls", "http://" + other, "--initial-advertise-peer-urls", "http://" + other,
               "--initial-cluster", "one=http://" + other, "--log-level", "error", "--max-request-bytes", "1572864", "--quota-backend-bytes", "8589934592"};
  if (!fsync) peer.argv.push_back("--unsafe-no-fsync");
  return peer;
}

Peer engenho_peer(const std::string& program, const std::string& dir, bool tcp) {
  Peer peer;
  peer.name = "engenho";
  const std::string port = "127.0.0.1:" + std::to_string(free_port());
  peer.address = tcp ? "ipv4:" + port : "unix:" + dir + "/engenho.sock";
  peer.log_file = dir + "/engenho.log";
  peer.argv = {program, "datastore", "--data-dir", dir + "/engenho", "--listen-client", tcp ? "http://" + port : "unix://" + dir + "/engenho.sock",
               "--auto-compaction-interval", "0", "--auto-compaction-revisions", "0"};
  return peer;
}

}  // namespace engenho::datastore::differential
