#include "engenho/engenho/config.h"

#include <unistd.h>

#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "engenho/testing/catch.h"

using namespace engenho;

TEST_CASE("flags win over variables, variables over the file", "[config]") {
  const std::string file = "/tmp/engenho-config-" + random_name_suffix(8) + ".yaml";
  REQUIRE(write_file_atomic(file, "https-listen-port: 1001\ncluster-dns: 10.43.0.11\nnode-name: from-file\ndisable: [dns, proxy]\n", 0600).ok());
  auto c = parse_server_config({"--config", file, "--node-name=from-flag"}, {"ENGENHO_HTTPS_LISTEN_PORT=1002", "ENGENHO_NODE_NAME=from-env", "HOME=/"});
  REQUIRE(c);
  CHECK(c->node_name == "from-flag");
  CHECK(c->https_listen_port == 1002);
  CHECK(c->cluster_dns == "10.43.0.11");
  CHECK(c->disabled("dns"));
  CHECK(c->disabled("proxy"));
  CHECK_FALSE(c->disabled("scheduler"));
  unlink(file.c_str());
}

TEST_CASE("errors name the thing, the value and what was expected", "[config]") {
  auto message = [](std::vector<std::string> args, std::vector<std::string> env = {}) {
    auto c = parse_server_config(args, env);
    return c ? std::string("accepted") : c.error().message();
  };
  CHECK(message({"--https-listen-port", "x"}) == "--https-listen-port: invalid value \"x\": expected a port number from 1 to 65535");
  CHECK(message({"--tls-sam", "x"}).find("did you mean \"tls-san\"?") != std::string::npos);
  CHECK(message({"serve"}).find("unexpected argument \"serve\"") != std::string::npos);
  CHECK(message({}, {"ENGENHO_DATADIR=/x"}).find("did you mean \"data-dir\"?") != std::string::npos);
  CHECK(message({"--cluster-cidr", "10.42.0.0/33"}).find("IPv4 range") != std::string::npos);
  CHECK(message({"--data-dir"}) == "--data-dir needs a value (DIR)");
}
