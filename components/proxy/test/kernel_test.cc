// The rules in a kernel, with packets, in a network namespace of the test's own. Needs root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "conntrack.h"
#include "engenho/base/bytes.h"
#include "engenho/base/process.h"
#include "engenho/testing/catch.h"
#include "nft.h"
#include "ruleset.h"

using namespace engenho;
using namespace engenho::proxy;

namespace {

const Ipv4Range kCluster = *parse_ipv4_range("10.42.0.0/16");
constexpr auto kTimeLimit = std::chrono::seconds(10);

std::string command(std::vector<std::string> argv) {
  auto done = run_process({.argv = std::move(argv)}, kTimeLimit);
  return done ? done->out + done->err : done.error().message();
}

// Runs `fn` on a thread with a network namespace that ends with it. Addresses of pods and the host are all on lo.
template <class Fn>
void in_namespace(Fn fn) {
  if (geteuid() != 0) FAIL("needs root");
  std::exception_ptr failure;
  auto body = [&] {
    REQUIRE(unshare(CLONE_NEWNET) == 0);
    CHECK(command({"ip", "link", "set", "lo", "up"}).empty());
    CHECK(command({"ip", "link", "add", "outside", "type", "veth", "peer", "name", "peer"}).empty());
    for (const char* link : {"outside", "peer"}) CHECK(command({"ip", "link", "set", link, "up"}).empty());
    for (const char* a : {"10.42.0.2/32", "10.42.0.3/32", "192.0.2.1/32"}) CHECK(command({"ip", "address", "add", a, "dev", "lo"}).empty());
    CHECK(command({"ip", "route", "add", "10.43.0.0/16", "dev", "outside", "src", "192.0.2.1"}).empty());
    fn();
  };
  std::thread([&] {
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

sockaddr_in address(const std::string& ip, int port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_addr.s_addr = htonl(*parse_ipv4(ip));
  out.sin_port = htons(static_cast<uint16_t>(port));
  return out;
}

class Socket {
 public:
  explicit Socket(int type) : fd_(socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    const timeval limit{2, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  bool bind_to(const std::string& ip, int port) {
    const sockaddr_in a = address(ip, port);
    return bind(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
  }
  int connect_to(const std::string& ip, int port) {
    const sockaddr_in a = address(ip, port);
    return connect(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 ? 0 : errno;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Accepts one connection and says which address it came to, or nothing in two seconds.
struct Listener {
  Listener(const std::string& ip, int port) : socket(SOCK_STREAM) {
    const int on = 1;
    setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    REQUIRE(socket.bind_to(ip, port));
    REQUIRE(listen(socket.fd(), 64) == 0);
  }
  // The client's address of a waiting connection.
  std::optional<std::string> waiting() {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    const int fd = accept4(socket.fd(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return std::nullopt;
    close(fd);
    return ipv4_text(ntohl(peer.sin_addr.s_addr));
  }
  void no_wait() { fcntl(socket.fd(), F_SETFL, O_NONBLOCK); }
  Socket socket;
};

ServicePort web() {
  ServicePort s;
  s.name = "default/web:http";
  s.protocol = IPPROTO_TCP;
  s.cluster_ip = *parse_ipv4("10.43.0.7");
  s.port = 80;
  s.targets = {{*parse_ipv4("10.42.0.2"), 8080}, {*parse_ipv4("10.42.0.3"), 8080}};
  s.local_targets = s.targets;
  return s;
}

}  // namespace

TEST_CASE("connections to a service reach all of its targets; without targets they are refused") {
  in_namespace([] {
    Nft nft("engenho-test");
    const Table table = make_table({web()}, kCluster, false);
    REQUIRE(nft.replace(table).ok());
    Listener a("10.42.0.2", 8080), b("10.42.0.3", 8080);
    a.no_wait();
    b.no_wait();
    std::vector<std::unique_ptr<Socket>> clients;
    for (int i = 0; i < 40; ++i) {
      clients.push_back(std::make_unique<Socket>(SOCK_STREAM));
      REQUIRE(clients.back()->connect_to("10.43.0.7", 80) == 0);
    }
    int at_a = 0, at_b = 0;
    while (a.waiting()) ++at_a;
    while (b.waiting()) ++at_b;
    CHECK(at_a + at_b == 40);
    CHECK(at_a > 0);  // all forty at one target: once in 2^39
    CHECK(at_b > 0);

    ServicePort empty = web();
    empty.targets.clear();
    REQUIRE(nft.change(table, make_table({empty}, kCluster, false)).ok());
    CHECK(Socket(SOCK_STREAM).connect_to("10.43.0.7", 80) == ECONNREFUSED);
    REQUIRE(nft.remove().ok());
    CHECK(command({"nft", "list", "tables"}).empty());
    CHECK(nft.remove().ok());
  });
}

TEST_CASE("node ports are served on the host's addresses and not on loopback, masqueraded under policy Cluster") {
  in_namespace([] {
    Nft nft("engenho-test");
    ServicePort s = web();
    s.targets = s.local_targets = {{*parse_ipv4("10.42.0.2"), 8080}};
    s.node_port = 30080;
    REQUIRE(nft.replace(make_table({s}, kCluster, false)).ok());
    Listener a("10.42.0.2", 8080);
    CHECK(Socket(SOCK_STREAM).connect_to("127.0.0.1", 30080) == ECONNREFUSED);
    CHECK(Socket(SOCK_STREAM).connect_to("192.0.2.1", 30080) == 0);
    CHECK(a.waiting());
  });
}

TEST_CASE("session affinity keeps a client at its target, over changes of other services and a restart of the proxy") {
  in_namespace([] {
    Nft nft("engenho-test");
    ServicePort s = web();
    s.affinity_seconds = 300;
    const Table table = make_table({s}, kCluster, false);
    REQUIRE(nft.replace(table).ok());
    Listener a("10.42.0.2", 8080), b("10.42.0.3", 8080);
    a.no_wait();
    b.no_wait();
    auto connect_some = [&] {
      for (int i = 0; i < 20; ++i) CHECK(Socket(SOCK_STREAM).connect_to("10.43.0.7", 80) == 0);
    };
    connect_some();
    ServicePort other = web();
    other.name = "default/other:http";
    other.cluster_ip = *parse_ipv4("10.43.0.8");
    const Table both = make_table({s, other}, kCluster, false);
    REQUIRE(nft.change(table, both).ok());
    connect_some();
    REQUIRE(nft.replace(both).ok());  // as a new process does
    connect_some();
    int at_a = 0, at_b = 0;
    while (a.waiting()) ++at_a;
    while (b.waiting()) ++at_b;
    CHECK(at_a + at_b == 60);
    CHECK((at_a == 0 || at_b == 0));
  });
}

TEST_CASE("a table of another shape, or one that somebody flushed, is written anew") {
  in_namespace([] {
    Nft nft("engenho-test");
    command({"nft", "add table ip engenho-test; add chain ip engenho-test output { type filter hook output priority 5; }; "
                    "add set ip engenho-test service_ips { type ipv4_addr; }; add chain ip engenho-test svc_old"});
    const Table table = make_table({web()}, kCluster, false);
    REQUIRE(nft.replace(table).ok());
    const std::string listed = command({"nft", "list", "table", "ip", "engenho-test"});
    CHECK(listed.find("svc_old") == std::string::npos);
    CHECK(listed.find("10.43.0.7 . tcp . 80 : goto svc_") != std::string::npos);
    CHECK(listed.find("numgen random mod 2 offset ") != std::string::npos);
    CHECK(listed.find("dnat to 10.42.0.2:8080") != std::string::npos);
    const auto generation = nft.generation();
    REQUIRE(generation);
    command({"nft", "flush", "ruleset"});
    CHECK(*nft.generation() != *generation);
    CHECK_FALSE(nft.change(table, make_table({}, kCluster, false)).ok());  // says that it knows nothing of it
    CHECK(nft.replace(table).ok());
  });
}

TEST_CASE("any sequence of changes leaves what writing the last table at once leaves") {
  in_namespace([] {
    std::mt19937 random(static_cast<unsigned>(engenho::testing::seed()));
    auto some_services = [&] {
      std::vector<ServicePort> out;
      for (uint32_t i = 0; i < 12; ++i) {
        if (random() % (3) == 0) continue;
        ServicePort s = web();
        s.name = "default/s" + std::to_string(i) + ":p";
        s.cluster_ip = *parse_ipv4("10.43.1.0") + i;
        s.targets.resize(random() % (3));
        s.local_targets = s.targets;
        if (!s.local_targets.empty() && random() % (2) == 0) s.local_targets.pop_back();
        s.affinity_seconds = random() % (3) == 0 ? 60 : 0;
        s.node_port = random() % (2) == 0 ? static_cast<uint16_t>(30000 + i) : 0;
        s.internal_local = random() % (4) == 0;
        s.external_local = random() % (3) == 0;
        out.push_back(std::move(s));
      }
      return out;
    };
    Nft changed("engenho-changed"), anew("engenho-anew");
    Table now;
    REQUIRE(changed.replace(now).ok());
    for (int round = 0; round < 60; ++round) {
      Table next = make_table(some_services(), kCluster, round % 2 == 0);
      const auto status = changed.change(now, next);
      INFO(status.message());
      REQUIRE(status.ok());
      now = std::move(next);
    }
    REQUIRE(anew.replace(now).ok());
    // Chains and sets come in the order of their creation, elements in that of a hash with a seed: rules are compared with their place in the chain, the
    // elements of each set as a set.
    auto listing = [](const std::string& table) {
      std::set<std::string> out;
      std::string block;
      int rule = 0;
      std::istringstream lines(command({"nft", "list", "table", "ip", table}));
      for (std::string line; std::getline(lines, line);) {
        line = std::string(engenho::trim(line));
        if (line.empty() || line == "}") continue;
        if (line.starts_with("chain ") || line.starts_with("set ") || line.starts_with("map ")) {
          block = line;
          rule = 0;
          out.insert(block);
        } else if (block.starts_with("chain ")) {
          out.insert(block + std::to_string(rule++) + " " + line);
        } else {
          for (std::string_view element : engenho::split(line, ',')) {
            element = engenho::trim(element);
            for (std::string_view mark : {"elements = {", "}"}) {
              if (element.starts_with(mark)) element.remove_prefix(mark.size());
              if (element.ends_with(mark)) element.remove_suffix(mark.size());
            }
            if (element = engenho::trim(element); !element.empty() && !element.starts_with("table ")) out.insert(block + " " + std::string(element));
          }
        }
      }
      return out;
    };
    CHECK(listing("engenho-changed").size() > 50);
    const auto left = listing("engenho-changed"), right = listing("engenho-anew");
    for (const std::string& line : left) {
      if (!right.contains(line)) FAIL_CHECK("only after the changes: " << line);
    }
    for (const std::string& line : right) {
      if (!left.contains(line)) FAIL_CHECK("only when written anew: " << line);
    }
  });
}

TEST_CASE("ten thousand services are one transaction, and one more is a small one") {
  in_namespace([] {
    Nft nft("engenho-test");
    std::vector<ServicePort> services;
    for (uint32_t i = 0; i < 10000; ++i) {
      ServicePort s = web();
      s.name = "default/s" + std::to_string(i) + ":p";
      s.cluster_ip = *parse_ipv4("10.43.0.0") + i;
      services.push_back(s);
    }
    const Table most = make_table({services.begin(), services.end() - 1}, kCluster, false);
    const auto status = nft.replace(most);
    INFO(status.message());
    REQUIRE(status.ok());
    REQUIRE(nft.change(most, make_table(services, kCluster, false)).ok());
  });
}

TEST_CASE("UDP flows to a target that is gone are forgotten, others are kept") {
  in_namespace([] {
    Nft nft("engenho-test");
    ServicePort s = web();
    s.protocol = IPPROTO_UDP;
    s.targets = {{*parse_ipv4("10.42.0.2"), 5353}};
    Table table = make_table({s}, kCluster, false);
    REQUIRE(nft.replace(table).ok());
    Socket a(SOCK_DGRAM), b(SOCK_DGRAM), client(SOCK_DGRAM);
    REQUIRE(a.bind_to("10.42.0.2", 5353));
    REQUIRE(b.bind_to("10.42.0.3", 5353));
    REQUIRE(client.connect_to("10.43.0.7", 80) == 0);
    char buffer[8];
    REQUIRE(send(client.fd(), "x", 1, 0) == 1);
    REQUIRE(recv(a.fd(), buffer, sizeof buffer, 0) == 1);
    auto kept = forget_stale_udp({s});
    REQUIRE(kept);
    CHECK(*kept == 0);

    s.targets = {{*parse_ipv4("10.42.0.3"), 5353}};
    REQUIRE(nft.change(table, make_table({s}, kCluster, false)).ok());
    auto forgotten = forget_stale_udp({s});
    REQUIRE(forgotten);
    CHECK(*forgotten == 1);
    REQUIRE(send(client.fd(), "x", 1, 0) == 1);
    CHECK(recv(b.fd(), buffer, sizeof buffer, 0) == 1);
  });
}
