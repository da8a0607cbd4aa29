// The real etcdctl against the etcd face, on a Unix socket.
#include <sys/stat.h>

#include <csignal>

#include "engenho/base/fs.h"
#include "engenho/base/process.h"
#include "engenho/datastore/etcd_server.h"
#include "support.h"

namespace engenho::datastore {

namespace {

struct Fixture {
  Fixture() : socket(dir.path() + "/run/etcd.sock") {
    store = open_store(test_options(dir.path() + "/data"));
    EtcdServer::Options options;
    options.listen = {"unix://" + socket};
    server = must(EtcdServer::start(*store, options));
  }

  ProcessOptions command(std::vector<std::string> arguments) {
    ProcessOptions options;
    options.argv = {"etcdctl", "--endpoints", "unix://" + socket};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.env = {"ETCDCTL_API=3", "PATH=/usr/local/bin:/usr/bin:/bin"};
    return options;
  }
  ProcessOutput run(std::vector<std::string> arguments, std::string input = "") {
    ProcessOptions options = command(std::move(arguments));
    options.stdin_text = std::move(input);
    return must(run_process(options, std::chrono::seconds(20)));
  }
  std::string ok(std::vector<std::string> arguments, std::string input = "") {
    const ProcessOutput result = run(std::move(arguments), std::move(input));
    INFO(result.err);
    REQUIRE(result.exit_code == 0);
    return result.out;
  }
  std::string fails(std::vector<std::string> arguments) {
    const ProcessOutput result = run(std::move(arguments));
    REQUIRE(result.exit_code != 0);
    return result.err;
  }

  TempDir dir;
  std::string socket;
  std::unique_ptr<Store> store;
  std::unique_ptr<EtcdServer> server;
};

bool has(const std::string& text, const std::string& part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

bool installed() {
  ProcessOptions options;
  options.argv = {"etcdctl", "version"};
  const auto result = run_process(options, std::chrono::seconds(20));
  if (result && result->exit_code == 0) return true;
  WARN("etcdctl is not installed: skipped");
  return false;
}

}  // namespace

TEST_CASE("etcdctl: the socket is its owner's alone") {
  Fixture f;
  struct stat have{};
  REQUIRE(::lstat(f.socket.c_str(), &have) == 0);
  REQUIRE(S_ISSOCK(have.st_mode));
  REQUIRE((have.st_mode & 0777) == 0600);
  size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(f.dir.path() + "/run")) entries += !entry.path().empty();
  REQUIRE(entries == 1);
  f.server->stop();
  REQUIRE(!path_exists(f.socket));
  EtcdServer::Options options;
  options.listen = {"http://0.0.0.0:2379"};
  REQUIRE(!EtcdServer::start(*f.store, options));
}

TEST_CASE("etcdctl: keys") {
  if (!installed()) return;
  Fixture f;
  for (const char* key : {"/a", "/b", "/c"}) REQUIRE(f.ok({"put", key, std::string("value of ") + key}) == "OK\n");
  REQUIRE(f.ok({"get", "/a"}) == "/a\nvalue of /a\n");
  REQUIRE(f.ok({"get", "--prefix", "/", "--keys-only"}) == "/a\n\n/b\n\n/c\n\n");
  REQUIRE(f.ok({"get", "--prefix", "/", "--limit", "1", "--order", "DESCEND", "--print-value-only"}) == "value of /c\n");
  REQUIRE(f.ok({"get", "/a", "/c", "--sort-by", "MODIFY", "--order", "DESCEND"}) ==
          "/b\nvalue of /b\n/a\nvalue of /a\n");
  REQUIRE(f.ok({"get", "--from-key", "/b", "--print-value-only"}) == "value of /b\nvalue of /c\n");
  REQUIRE(has(f.ok({"get", "--prefix", "/", "--limit", "2", "-w", "json"}), "\"more\":true,\"count\":3"));
  REQUIRE(f.ok({"put", "/a", "new", "--prev-kv"}) == "OK\n/a\nvalue of /a\n");
  REQUIRE(f.ok({"get", "/a", "--rev", "2"}) == "/a\nvalue of /a\n");
  REQUIRE(has(f.fails({"get", "/a", "--rev", "99"}), "etcdserver: mvcc: required revision is a future revision"));
  REQUIRE(f.ok({"put", "/a", "--ignore-value"}) == "OK\n");
  REQUIRE(has(f.fails({"put", "/none", "--ignore-value"}), "etcdserver: key not found"));
  REQUIRE(f.ok({"del", "/a", "/c", "--prev-kv"}) == "2\n/a\nnew\n/b\nvalue of /b\n");
  REQUIRE(f.ok({"get", "--prefix", "/", "--keys-only"}) == "/c\n\n");
  REQUIRE(f.ok({"compact", "6"}) == "compacted revision 6\n");
  REQUIRE(has(f.fails({"get", "/a", "--rev", "5"}), "etcdserver: mvcc: required revision has been compacted"));
  REQUIRE(has(f.fails({"compact", "5"}), "etcdserver: mvcc: required revision has been compacted"));
  REQUIRE(has(f.fails({"put", "", "x"}), "etcdserver: key is not provided"));
}

TEST_CASE("etcdctl: transactions") {
  if (!installed()) return;
  Fixture f;
  REQUIRE(f.ok({"txn"}, "mod(\"/a\") = \"0\"\n\nput /a 1\nget /a\n\nget /a\n\n") == "SUCCESS\n\nOK\n\n/a\n1\n");
  REQUIRE(f.ok({"txn"}, "mod(\"/a\") = \"0\"\n\nput /a 2\n\nget /a\ndel /a\n\n") == "FAILURE\n\n/a\n1\n\n1\n");
  REQUIRE(has(f.run({"txn"}, "\nput /a 1\nput /a 2\n\n\n").err, "etcdserver: duplicate key given in txn request"));
}

TEST_CASE("etcdctl: leases") {
  if (!installed()) return;
  Fixture f;
  const std::string granted = f.ok({"lease", "grant", "300"});
  REQUIRE(has(granted, "granted with TTL(300s)"));
  const std::string id = granted.substr(6, granted.find(' ', 6) - 6);
  REQUIRE(f.ok({"put", "--lease", id, "/a", "1"}) == "OK\n");
  REQUIRE(has(f.ok({"lease", "timetolive", "--keys", id}), "attached keys([/a])"));
  REQUIRE(has(f.ok({"lease", "list"}), id));
  REQUIRE(has(f.ok({"lease", "keep-alive", "--once", id}), "keepalived with TTL(300)"));
  REQUIRE(has(f.ok({"lease", "revoke", id}), "revoked"));
  REQUIRE(f.ok({"get", "/a"}).empty());
  REQUIRE(has(f.fails({"lease", "revoke", id}), "etcdserver: requested lease not found"));
  REQUIRE(has(f.fails({"put", "--lease", id, "/a", "1"}), "etcdserver: requested lease not found"));
  REQUIRE(has(f.ok({"lease", "timetolive", id}), "already expired"));
}

TEST_CASE("etcdctl: watch") {
  if (!installed()) return;
  Fixture f;
  f.ok({"put", "/early", "0"});
  ProcessOptions options = f.command({"watch", "--prefix", "/", "--rev", "2", "--prev-kv"});
  options.log_file = f.dir.path() + "/watch.log";
  auto watch = must(Process::start(options));
  REQUIRE(eventually([&] { return must(f.store->status()).watches == 1; }));
  f.ok({"put", "/a", "1"});
  f.ok({"put", "/a", "2"});
  f.ok({"del", "/a"});
  const std::string want = "PUT\n/early\n0\nPUT\n/a\n1\nPUT\n/a\n1\n/a\n2\nDELETE\n/a\n2\n/a\n\n";
  const auto seen = [&] { return read_file(options.log_file).value_or(""); };
  const bool came = eventually([&] { return seen() == want; });
  INFO(seen());
  REQUIRE(came);
  watch.stop(std::chrono::seconds(5));
  REQUIRE(eventually([&] { return must(f.store->status()).watches == 0; }));
  f.ok({"compact", "4"});
  REQUIRE(has(f.run({"watch", "/a", "--rev", "3"}).err, "etcdserver: mvcc: required revision has been compacted"));
}

TEST_CASE("etcdctl: the member and its endpoint") {
  if (!installed()) return;
  Fixture f;
  REQUIRE(has(f.ok({"member", "list"}), "started, engenho"));
  REQUIRE(has(f.ok({"endpoint", "status", "-w", "json"}), "\"raftTerm\":1"));
  const ProcessOutput health = f.run({"endpoint", "health"});
  REQUIRE(health.exit_code == 0);
  REQUIRE(has(health.out + health.err, "is healthy"));
  REQUIRE(has(f.ok({"endpoint", "hashkv"}), f.socket));
  REQUIRE(has(f.ok({"defrag"}), "Finished defragmenting"));
  REQUIRE(f.ok({"alarm", "list"}).empty());
  REQUIRE(has(f.fails({"member", "add", "other", "--peer-urls=http://127.0.0.1:1"}), "one member"));
  REQUIRE(has(f.fails({"user", "list"}), "no authentication"));

}

}  // namespace engenho::datastore
