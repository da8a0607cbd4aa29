#include "engenho/dns/dns.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/client/informer.h"
#include "engenho/client/work_queue.h"
#include "forward.h"
#include "records.h"

namespace engenho::dns {

namespace core_v1 = k8s::core_v1;
namespace discovery_v1 = k8s::discovery_v1;

namespace {
constexpr char kTable[] = "table", kSelf[] = "service";
constexpr int kConnections = 64, kIdleMs = 5000;
}  // namespace

struct Dns::Impl {
  Impl(std::shared_ptr<client::Transport> t, Options o) : options(std::move(o)), client(std::move(t), "engenho-dns"), informers(client) {}

  void rebuild();
  Status keep_service();
  bool allowed(const sockaddr_in& from) const;
  // "" : no answer. `later` is set when upstream has to be asked.
  std::string local_answer(std::string_view m, size_t most, Query& q, Answer& a, bool& later);
  std::string forward_answer(Query q, Answer a, size_t most);
  void serve_udp();
  void serve_tcp();
  void serve_connection(int fd);
  bool wait(int fd, short events, int ms) const;

  Options options;
  client::Client client;
  client::Informers informers;
  client::WorkQueue queue;
  std::mutex mutex;  // guards records
  std::shared_ptr<const Records> records;
  std::unique_ptr<Forwarder> forwarder;
  std::set<uint32_t> own;
  std::optional<Ipv4Range> pods;
  int udp = -1, tcp = -1, stop_fd = -1;
  std::atomic<int> connections{0};
  TaskGroup group{"dns"};
  std::unique_ptr<ThreadPool> pool, connection_pool;
};

void Dns::Impl::rebuild() {
  std::set<std::string> namespaces;
  for (const auto& n : informers.get<core_v1::Namespace>().list()) namespaces.insert(n->metadata.name);
  auto next = std::make_shared<const Records>(options, informers.get<core_v1::Service>().list(), informers.get<discovery_v1::EndpointSlice>().list(), namespaces);
  std::lock_guard lock(mutex);
  records = std::move(next);
}

Status Dns::Impl::keep_service() {
  const std::string port = std::to_string(options.port);
  auto service = json::parse(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system","labels":{"k8s-app":"kube-dns",)"
      R"("kubernetes.io/cluster-service":"true","kubernetes.io/name":"CoreDNS"}},"spec":{"clusterIP":")" + options.cluster_dns +
      R"(","ports":[{"name":"dns","protocol":"UDP","port":53,"targetPort":)" + port +
      R"(},{"name":"dns-tcp","protocol":"TCP","port":53,"targetPort":)" + port + "}]}}");
  auto slice = json::parse(
      R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"kube-dns","namespace":"kube-system","labels":{)"
      R"("kubernetes.io/service-name":"kube-dns","endpointslice.kubernetes.io/managed-by":"engenho-dns"}},"addressType":"IPv4",)"
      R"("endpoints":[{"addresses":[")" + options.listen_address + R"("],"conditions":{"ready":true}}],"ports":[{"name":"dns","protocol":"UDP","port":)" +
      port + R"(},{"name":"dns-tcp","protocol":"TCP","port":)" + port + "}]}");
  if (!service || !slice) return internal_error("kube-dns: bad address in the options");
  if (auto made = client.create_raw(client::resource_of<core_v1::Service>(), "kube-system", *service); !made && !made.error().already_exists()) {
    auto present = client.get<core_v1::Service>("kube-system", "kube-dns");
    if (!present) return made.error();
    if (present->spec.cluster_ip != options.cluster_dns) log::warn("dns", "Service kube-dns has address {}, pods ask {}", present->spec.cluster_ip, options.cluster_dns);
  }
  const auto& r = client::resource_of<discovery_v1::EndpointSlice>();
  auto made = client.create_raw(r, "kube-system", *slice);
  if (made) return {};
  if (!made.error().already_exists()) return made.error();
  auto present = client.get<discovery_v1::EndpointSlice>("kube-system", "kube-dns");
  if (!present) return present.error();
  const auto& e = present->endpoints;
  if (e.size() == 1 && e[0].addresses == std::vector<std::string>{options.listen_address} && present->ports.size() == 2 &&
      present->ports[0].port.value_or(0) == options.port && present->ports[1].port.value_or(0) == options.port) return {};
  auto patched = client.patch_raw(r, "kube-system", "kube-dns", client::PatchType::kMerge, json::dump(*slice));
  return patched ? Status() : patched.error();
}

bool Dns::Impl::allowed(const sockaddr_in& from) const {
  const uint32_t ip = ntohl(from.sin_addr.s_addr);
  return ip >> 24 == 127 || (pods && pods->contains(ip)) || own.contains(ip);
}

std::string Dns::Impl::local_answer(std::string_view m, size_t most, Query& q, Answer& a, bool& later) {
  const int code = parse_query(m, q);
  if (code < 0) return "";
  const size_t limit = most != 0 ? most : q.udp_size;
  a.rcode = code;
  if (code != kNoError || q.bad_version) return build_response(q, a, limit);
  if (q.klass != 1) {
    a.rcode = kRefused;
    return build_response(q, a, limit);
  }
  std::shared_ptr<const Records> table;
  {
    std::lock_guard lock(mutex);
    table = records;
  }
  if (table == nullptr) {  // a wrong "no such name" would be remembered
    a.rcode = kServFail;
    return build_response(q, a, limit);
  }
  a = table->lookup(q.name, q.type);
  if (a.ours && a.chase.empty()) return build_response(q, a, limit);
  later = true;
  return "";
}

std::string Dns::Impl::forward_answer(Query q, Answer a, size_t most) {
  const size_t limit = most != 0 ? most : q.udp_size;
  if (!a.ours) {
    const std::string m = forwarder->ask(q);
    if (m.empty()) a.rcode = kServFail;
    return m.empty() ? build_response(q, a, limit) : adapt_response(q, m, limit);
  }
  // An alias that leads outside: addresses found there are appended under the alias' target.
  Query next = q;
  next.question.clear();
  if (!append_name(next.question, a.chase)) a.rcode = kServFail;
  put16(next.question, q.type);
  put16(next.question, 1);
  next.name = a.chase;
  const std::string m = a.rcode == kNoError ? forwarder->ask(next) : "";
  std::vector<Position> rrs;
  if (m.empty() || !parse_positions(m, rrs)) a.rcode = kServFail;
  else a.rcode = m[3] & 15;
  for (const Position& p : rrs) {
    if (p.section != 0) continue;
    Record r;
    size_t at = p.begin;
    if (!read_name(m, at, r.name)) continue;
    r.type = p.type;
    r.ttl = std::min<uint32_t>(30, static_cast<uint32_t>(get16(m, p.ttl)) << 16 | get16(m, p.ttl + 2));
    at = p.data;
    if (p.type == kCname) {
      if (!read_name(m, at, r.target)) continue;
    } else if (p.type == kA || p.type == kAaaa || p.type == kTxt) {
      r.data = m.substr(p.data, p.end - p.data);
    } else {
      continue;
    }
    a.answers.push_back(std::move(r));
  }
  return build_response(q, a, limit);
}

bool Dns::Impl::wait(int fd, short events, int ms) const {
  pollfd fds[] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};
  int n;
  while ((n = poll(fds, 2, ms)) < 0 && errno == EINTR) {}
  return n > 0 && fds[1].revents == 0;
}

void Dns::Impl::serve_udp() {
  char buffer[4096];
  while (wait(udp, POLLIN, -1)) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    const ssize_t n = recvfrom(udp, buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &size);
    if (n <= 0 || !allowed(from)) continue;
    Query q;
    Answer a;
    bool later = false;
    auto reply = [this, from](const std::string& m) {
      if (!m.empty()) (void)sendto(udp, m.data(), m.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&from), sizeof from);
    };
    reply(local_answer({buffer, static_cast<size_t>(n)}, 0, q, a, later));
    if (later && !pool->submit([=, this] { reply(forward_answer(q, a, 0)); })) {
      a = {};
      a.rcode = kServFail;
      reply(build_response(q, a, q.udp_size));
    }
  }
}

void Dns::Impl::serve_tcp() {
  while (wait(tcp, POLLIN, -1)) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    const int fd = accept4(tcp, reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE) wait(stop_fd, 0, 100);
      continue;
    }
    if (!allowed(from) || connections >= kConnections) {
      close(fd);
      continue;
    }
    ++connections;
    auto job = [this, fd] {
      serve_connection(fd);
      close(fd);
      --connections;
    };
    if (!connection_pool->submit(job)) {
      close(fd);
      --connections;
    }
  }
}

void Dns::Impl::serve_connection(int fd) {
  std::string in;
  for (int served = 0; served < 1000;) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kIdleMs);
    while (in.size() < 2 || in.size() < 2u + get16(in, 0)) {
      if (in.size() >= 2 && get16(in, 0) > 4096) return;
      char buffer[2048];
      if (std::chrono::steady_clock::now() > deadline || !wait(fd, POLLIN, kIdleMs)) return;
      const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      in.append(buffer, static_cast<size_t>(n));
    }
    const size_t size = get16(in, 0);
    Query q;
    Answer a;
    bool later = false;
    std::string m = local_answer(std::string_view(in).substr(2, size), 65535, q, a, later);
    if (later) m = forward_answer(q, a, 65535);
    if (m.empty()) return;
    in.erase(0, size + 2);
    std::string out;
    put16(out, static_cast<uint16_t>(m.size()));
    out += m;
    for (size_t sent = 0; sent < out.size();) {
      if (!wait(fd, POLLOUT, kIdleMs)) return;
      const ssize_t n = send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
    ++served;
  }
}

Dns::Dns(std::shared_ptr<client::Transport> transport, Options options) : impl_(std::make_unique<Impl>(std::move(transport), std::move(options))) {
  Impl* i = impl_.get();
  auto changed = [i] { i->queue.add_after(kTable, std::chrono::milliseconds(10)); };
  i->informers.get<core_v1::Namespace>().on_change([changed](const core_v1::Namespace&) { changed(); });
  i->informers.get<core_v1::Service>().on_change([changed, i](const core_v1::Service& s) {
    changed();
    if (s.metadata.name == "kube-dns" && s.metadata.namespace_ == "kube-system") i->queue.add(kSelf);
  });
  i->informers.get<discovery_v1::EndpointSlice>().on_change([changed, i](const discovery_v1::EndpointSlice& s) {
    changed();
    if (s.metadata.name == "kube-dns" && s.metadata.namespace_ == "kube-system") i->queue.add(kSelf);
  });
}
Dns::~Dns() { stop(); }

Status Dns::start() {
  Impl* i = impl_.get();
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(i->options.port);
  if (inet_pton(AF_INET, i->options.listen_address.c_str(), &at.sin_addr) != 1) return bad_request("dns: not an IPv4 address: " + i->options.listen_address);
  i->stop_fd = eventfd(0, EFD_CLOEXEC);
  i->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  i->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(i->tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  for (int fd : {i->udp, i->tcp}) {
    if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return errno_error("dns: port " + std::to_string(i->options.port), errno);
  }
  if (listen(i->tcp, 64) != 0) return errno_error("dns: listen", errno);
  i->own.insert(ntohl(at.sin_addr.s_addr));
  i->pods = parse_ipv4_range(i->options.cluster_cidr);
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) == 0) {
    for (ifaddrs* a = list; a != nullptr; a = a->ifa_next) {
      if (a->ifa_addr != nullptr && a->ifa_addr->sa_family == AF_INET) i->own.insert(ntohl(reinterpret_cast<sockaddr_in*>(a->ifa_addr)->sin_addr.s_addr));
    }
    freeifaddrs(list);
  }
  auto text = read_file(i->options.resolv_conf);
  i->forwarder = std::make_unique<Forwarder>(read_nameservers(text ? *text : "", {i->options.cluster_dns}), i->stop_fd);
  i->pool = std::make_unique<ThreadPool>("dns-forward", 32, 256);
  i->connection_pool = std::make_unique<ThreadPool>("dns-tcp", kConnections, kConnections);
  i->informers.start();
  i->group.spawn("udp", [i](StopToken) { i->serve_udp(); });
  i->group.spawn("tcp", [i](StopToken) { i->serve_tcp(); });
  i->group.spawn("start", [i](StopToken stop) {
    if (!i->informers.wait_synced(stop)) return;
    i->queue.add(kTable);
    i->queue.add(kSelf);
    client::run_workers(i->group, "dns", i->queue, 1, [i](const std::string& key) {
      if (key == kSelf) return i->keep_service();
      i->rebuild();
      return Status();
    });
  });
  return {};
}

void Dns::stop() {
  Impl* i = impl_.get();
  if (i->stop_fd >= 0) eventfd_write(i->stop_fd, 1);
  i->group.stop();
  i->informers.stop();
  if (i->connection_pool) i->connection_pool->stop();
  if (i->pool) i->pool->stop();
  for (int* fd : {&i->udp, &i->tcp, &i->stop_fd}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

}  // namespace engenho::dns
