#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "engenho/base/fs.h"
#include "engenho/cni/cni.h"
#include "engenho/testing/catch.h"
#include "hostport.h"
#include "ipam.h"

namespace engenho::cni {

namespace {
struct TempDir {
  TempDir() {
    char name[] = "/tmp/engenho-cni-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};
}  // namespace

TEST_CASE("addresses: one each, all of the range, none leaks") {
  TempDir dir;
  auto subnet = parse_subnet("10.42.0.0/28");
  REQUIRE(subnet);
  Ipam ipam(dir.path, *subnet);
  std::set<uint32_t> seen;
  for (int i = 0; i < 13; ++i) {   // 16 less network, gateway and broadcast
    auto a = ipam.reserve("c" + std::to_string(i));
    REQUIRE(a);
    CHECK(*a > subnet->gateway());
    CHECK(*a < subnet->last());
    CHECK(seen.insert(*a).second);
  }
  CHECK_FALSE(ipam.reserve("too many"));
  CHECK(*ipam.reserve("c3") == *ipam.find("c3"));   // again: the same
  const uint32_t freed = *ipam.find("c3");
  REQUIRE(ipam.release("c3").ok());
  REQUIRE(ipam.release("c3").ok());
  CHECK(*ipam.find("c3") == 0);
  CHECK(*ipam.reserve("new") == freed);
}

TEST_CASE("addresses: a freed one is not the next one") {
  TempDir dir;
  Ipam ipam(dir.path, *parse_subnet("10.42.0.0/24"));
  const uint32_t a = *ipam.reserve("a");
  REQUIRE(ipam.release("a").ok());
  CHECK(*ipam.reserve("b") == a + 1);
}

TEST_CASE("addresses: two at once") {
  TempDir dir;
  std::set<uint32_t> all;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Ipam ipam(dir.path, *parse_subnet("10.42.0.0/24"));
      for (int i = 0; i < 10; ++i) {
        auto a = ipam.reserve(std::to_string(t) + "-" + std::to_string(i));
        std::lock_guard lock(mutex);
        if (a) all.insert(*a);
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(all.size() == 40);
}

TEST_CASE("host ports as containerd and as the specification spell them") {
  for (const char* text : {R"([{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":""}])", R"([{"hostPort":8080,"containerPort":80,"protocol":"TCP"}])"}) {
    const auto ports = host_ports(*json::parse(text));
    REQUIRE(ports.size() == 1);
    const std::string script = render_host_ports({{"10.42.0.9", ports}});
    CHECK(script.find("fib daddr type local tcp dport 8080 dnat ip to 10.42.0.9:80") != std::string::npos);
  }
  CHECK(render_host_ports({}).find("jump") == std::string::npos);
}

TEST_CASE("installation is idempotent") {
  TempDir dir;
  NetworkOptions options;
  options.subnet = "10.42.0.0/24";
  REQUIRE(install(dir.path, "/bin/true", options).ok());
  REQUIRE(install(dir.path, "/bin/true", options).ok());
  const Layout where = layout(dir.path);
  CHECK(std::filesystem::read_symlink(where.bin_dir + "/loopback") == "/bin/true");
  CHECK(path_exists(where.conf_dir + "/10-engenho.conflist"));
  options.subnet = "nonsense";
  CHECK_FALSE(install(dir.path, "/bin/true", options).ok());
}

}  // namespace engenho::cni
