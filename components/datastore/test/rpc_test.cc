// gRPC over our own HTTP/2: certificates, what is not gRPC, what is broken, and streams that end at every moment.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "engenho/base/fs.h"
#include "engenho/base/process.h"
#include "engenho/datastore/etcd_server.h"
#include "engenho/pki/certificate.h"
#include "etcd.grpc.pb.h"
#include "support.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

struct Fixture {
  explicit Fixture(EtcdServer::Options options) {
    store = open_store(test_options(dir.path() + "/store"));
    server = must(EtcdServer::start(*store, std::move(options)));
    url = server->addresses()[0];
  }
  std::string host_port() const { return url.substr(url.find("://") + 3); }
  TempDir dir;
  std::unique_ptr<Store> store;
  std::unique_ptr<EtcdServer> server;
  std::string url;
};

EtcdServer::Options plain() {
  EtcdServer::Options options;
  options.listen = {"http://127.0.0.1:0"};
  return options;
}

grpc::Status put(const std::shared_ptr<grpc::Channel>& channel) {
  const auto kv = pb::KV::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  pb::PutRequest request;
  pb::PutResponse response;
  request.set_key("/a");
  return kv->Put(&context, request, &response);
}

// The answer's status line and fields.
std::string curl(const Fixture& f, std::vector<std::string> arguments, const std::string& body = "") {
  ProcessOptions options;
  const std::string file = f.dir.path() + "/body";
  std::ofstream(file, std::ios::binary) << body;
  options.argv = {"curl", "-sS", "-i", "-m", "10"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  const auto result = must(run_process(options, std::chrono::seconds(20)));
  return result.out + result.err;
}
std::string call(const Fixture& f, const std::string& path, const std::string& body) {
  return curl(f, {"--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "@" + f.dir.path() + "/body",
                  f.url + path}, body);
}
bool has(const std::string& text, const std::string& part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("rpc: TLS wants a certificate of the clients' authority") {
  const WallTime now = Clock::real().wall();
  const auto authority = must(pki::Authority::make("clients", now)), other = must(pki::Authority::make("others", now));
  const auto server_pair = must(pki::issue_key_pair(authority, pki::server_template("etcd", {"localhost"}, {"127.0.0.1"}), now));
  const auto client_pair = must(pki::issue_key_pair(authority, pki::client_template("one", {}), now));
  const auto foreign_pair = must(pki::issue_key_pair(other, pki::client_template("one", {}), now));
  EtcdServer::Options options;
  options.listen = {"https://127.0.0.1:0"};
  REQUIRE(!EtcdServer::start(*open_store(test_options(TempDir().path() + "/s")), options));
  options.certificate_pem = server_pair.certificate.pem();
  options.key_pem = server_pair.key.pem();
  options.client_ca_pem = authority.certificate().pem();
  Fixture f(options);
  const auto channel = [&](const pki::KeyPair* pair) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = authority.certificate().pem();
    if (pair) {
      tls.pem_private_key = pair->key.pem();
      tls.pem_cert_chain = pair->certificate.pem();
    }
    return grpc::CreateChannel(f.host_port(), grpc::SslCredentials(tls));
  };
  const grpc::Status good = put(channel(&client_pair));
  INFO(good.error_message());
  REQUIRE(good.ok());
  REQUIRE(put(channel(nullptr)).error_code() == grpc::StatusCode::UNAUTHENTICATED);
  REQUIRE(put(channel(&foreign_pair)).error_code() == grpc::StatusCode::UNAUTHENTICATED);
  REQUIRE(has(curl(f, {"-k", f.url + "/metrics"}), " 401"));
  REQUIRE(f.store->revision() == 2);
}

TEST_CASE("rpc: pages beside the calls") {
  Fixture f(plain());
  REQUIRE(has(curl(f, {f.url + "/health"}), "{\"health\":\"true\""));
  REQUIRE(has(curl(f, {"--http2-prior-knowledge", f.url + "/version"}), "\"etcdserver\":\"3.5"));
  REQUIRE(has(curl(f, {f.url + "/metrics"}), "\nprocess_resident_memory_bytes "));
  REQUIRE(has(curl(f, {f.url + "/nothing"}), " 404"));
  REQUIRE(has(curl(f, {"-X", "POST", f.url + "/etcdserverpb.KV/Put"}), " 415"));
}

TEST_CASE("rpc: broken requests are refused, and the next one works") {
  EtcdServer::Options options = plain();
  options.max_request_bytes = 100'000;
  Fixture f(options);
  const std::string range = "/etcdserverpb.KV/Range", watch = "/etcdserverpb.Watch/Watch";
  using namespace std::string_literals;
  const std::string good = "\0\0\0\0\3\x0a\1a"s;  // Range, key "a"
  REQUIRE(has(call(f, range, good), "grpc-status: 0"));
  REQUIRE(has(call(f, range, ""), "grpc-status: 13"));
  REQUIRE(has(call(f, range, "\0\0\0"s), "grpc-status: 13"));
  REQUIRE(has(call(f, range, good.substr(0, 7)), "grpc-status: 13"));
  REQUIRE(has(call(f, range, good + "x"), "grpc-status: 13"));
  REQUIRE(has(call(f, range, "\0\xff\xff\xff\xff"s + "abc"), "grpc-status: 13"));
  REQUIRE(has(call(f, range, "\1\0\0\0\3\x0a\1a"s), "grpc-status: 12"));
  REQUIRE(has(call(f, range, "\0\0\0\0\3\x0a\7a"s), "grpc-status: 13"));
  REQUIRE(has(call(f, "/etcdserverpb.KV/Nothing", good), "grpc-status: 12"));
  REQUIRE(has(call(f, "/", good), "grpc-status: 12"));
  {
    // Answered before it is whole, which curl takes for an error.
    const auto kv = pb::KV::NewStub(grpc::CreateChannel(f.host_port(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    pb::PutRequest request;
    pb::PutResponse response;
    request.set_key("/large");
    request.set_value(std::string(3 << 20, 'x'));
    const grpc::Status status = kv->Put(&context, request, &response);
    INFO(status.error_message());
    REQUIRE(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  // Streams: what is no message ends them.
  REQUIRE(has(call(f, watch, ""), "grpc-status: 0"));
  REQUIRE(has(call(f, watch, "\0\xff\xff\xff\xff"s + "abc"), "grpc-status: 0"));
  REQUIRE(has(call(f, watch, "\0\0\0\0\3\x0a\7a"s), "grpc-status: 0"));
  REQUIRE(has(call(f, "/etcdserverpb.Maintenance/Snapshot", ""), "grpc-status: 3"));
  REQUIRE(has(call(f, range, good), "grpc-status: 0"));
  std::mt19937_64 random(engenho::testing::seed());
  for (int i = 0; i < 20; ++i) {
    std::string body = good;
    body[random() % body.size()] = static_cast<char>(random());
    REQUIRE(has(call(f, i % 2 ? range : watch, body), "grpc-status: "));
  }
}

TEST_CASE("rpc: streams that are cut at every moment, under load, and a server that stops in the middle") {
  Fixture f(plain());
  std::atomic<bool> stop{false};
  std::atomic<int> delivered{0}, answered{0};
  std::vector<std::thread> threads;
  const uint64_t seed = engenho::testing::seed();
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(t));
      const auto channel = grpc::CreateChannel(f.host_port(), grpc::InsecureChannelCredentials());
      const auto watch = pb::Watch::NewStub(channel);
      const auto lease = pb::Lease::NewStub(channel);
      while (!stop) {
        grpc::ClientContext context;
        const auto call = watch->Watch(&context);
        pb::WatchRequest request;
        for (uint64_t n = 1 + random() % 20; n > 0; --n) {
          request.mutable_create_request()->set_key("/");
          request.mutable_create_request()->set_range_end("0");
          request.mutable_create_request()->set_start_revision(random() % 2 ? 1 : 0);
          request.mutable_create_request()->set_progress_notify(random() % 2 == 0);
          call->Write(request);
        }
        request.mutable_progress_request();
        call->Write(request);
        pb::WatchResponse response;
        for (uint64_t n = random() % 30; n > 0 && call->Read(&response); --n) delivered += response.events_size();
        if (random() % 2) call->WritesDone();
        else context.TryCancel();
        while (random() % 4 && call->Read(&response)) delivered += response.events_size();
        context.TryCancel();
        grpc::ClientContext keep;
        const auto alive = lease->LeaseKeepAlive(&keep);
        pb::LeaseKeepAliveRequest ping;
        pb::LeaseKeepAliveResponse pong;
        if (alive->Write(ping) && alive->Read(&pong)) ++answered;
        keep.TryCancel();
      }
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      const auto channel = grpc::CreateChannel(f.host_port(), grpc::InsecureChannelCredentials());
      const auto kv = pb::KV::NewStub(channel);
      for (int i = 0; !stop; ++i) {
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + (i % 5 ? std::chrono::milliseconds(5000) : std::chrono::milliseconds(1)));
        pb::PutRequest request;
        pb::PutResponse response;
        request.set_key("/" + std::to_string(i % 50));
        request.set_value(std::string(static_cast<size_t>(i % 3000), 'x'));
        (void)kv->Put(&context, request, &response);
        if (i % 300 == 299) (void)f.store->compact(f.store->revision() - 100);
      }
    });
  }
  REQUIRE(eventually([&] { return delivered > 5000 && answered > 50; }));
  f.server->stop();  // while all that goes on
  REQUIRE(must(f.store->status()).watches == 0);
  stop = true;
  for (auto& thread : threads) thread.join();
}

}  // namespace engenho::datastore
