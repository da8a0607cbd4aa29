// The etcd face by its own protocol: what etcdctl does not show.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "engenho/datastore/etcd_server.h"
#include "etcd.grpc.pb.h"
#include "support.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

struct Fixture {
  explicit Fixture(RocksdbOptions changed = {}) {
    RocksdbOptions options = changed;
    options.dir = dir.path() + "/data";
    options.fsync = false;
    store = open_store(options);
    server_options.listen = {"unix://" + dir.path() + "/s"};
  }
  void start() {
    server = must(EtcdServer::start(*store, server_options));
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel = grpc::CreateCustomChannel("unix:" + dir.path() + "/s", grpc::InsecureChannelCredentials(), arguments);
    kv = pb::KV::NewStub(channel);
    watch = pb::Watch::NewStub(channel);
    lease = pb::Lease::NewStub(channel);
  }
  Revision put(const std::string& key, const std::string& value) {
    grpc::ClientContext context;
    pb::PutRequest request;
    pb::PutResponse response;
    request.set_key(key);
    request.set_value(value);
    const grpc::Status status = kv->Put(&context, request, &response);
    if (!status.ok()) FAIL(status.error_message());
    return response.header().revision();
  }

  TempDir dir;
  EtcdServer::Options server_options;
  std::unique_ptr<Store> store;
  std::unique_ptr<EtcdServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<pb::KV::Stub> kv;
  std::unique_ptr<pb::Watch::Stub> watch;
  std::unique_ptr<pb::Lease::Stub> lease;
};

struct Stream {
  explicit Stream(Fixture& f) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    call = f.watch->Watch(&context);
  }
  pb::WatchCreateRequest* create() { return request.mutable_create_request(); }
  void send() {
    REQUIRE(call->Write(request));
    request.Clear();
  }
  pb::WatchResponse read() {
    pb::WatchResponse response;
    if (!call->Read(&response)) FAIL("the stream ended: " + call->Finish().error_message());
    return response;
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<pb::WatchRequest, pb::WatchResponse>> call;
  pb::WatchRequest request;
};

}  // namespace

TEST_CASE("etcd: codes and texts of errors") {
  Fixture f;
  f.start();
  f.put("/a", "1");
  const auto range = [&](auto&& change) {
    grpc::ClientContext context;
    pb::RangeRequest request;
    pb::RangeResponse response;
    request.set_key("/a");
    change(request);
    return f.kv->Range(&context, request, &response);
  };
  REQUIRE(range([](auto& r) { r.set_revision(9); }).error_code() == grpc::StatusCode::OUT_OF_RANGE);
  REQUIRE(range([](auto& r) { r.clear_key(); }).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  REQUIRE(range([](auto& r) { r.set_sort_order(static_cast<pb::RangeRequest::SortOrder>(9)); }).error_message() ==
          "etcdserver: invalid sort option");
  pb::LeaseGrantRequest grant;
  pb::LeaseGrantResponse granted;
  grant.set_id(5);
  grant.set_ttl(100);
  {
    grpc::ClientContext context;
    REQUIRE(f.lease->LeaseGrant(&context, grant, &granted).ok());
    REQUIRE(granted.id() == 5);
    REQUIRE(granted.header().cluster_id() != 0);
  }
  grpc::ClientContext context;
  REQUIRE(f.lease->LeaseGrant(&context, grant, &granted).error_code() == grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_CASE("etcd: range filters") {
  Fixture f;
  f.start();
  for (int i = 0; i < 10; ++i) f.put("/" + std::to_string(i), std::to_string(9 - i));
  pb::RangeRequest request;
  request.set_key("/");
  request.set_range_end("0");
  request.set_min_mod_revision(4);
  request.set_max_mod_revision(8);
  request.set_limit(2);
  request.set_sort_target(pb::RangeRequest::VALUE);
  request.set_sort_order(pb::RangeRequest::ASCEND);
  request.set_keys_only(true);
  grpc::ClientContext context;
  pb::RangeResponse response;
  REQUIRE(f.kv->Range(&context, request, &response).ok());
  REQUIRE(response.kvs_size() == 2);
  REQUIRE(response.kvs(0).key() == "/6");
  REQUIRE(response.kvs(1).key() == "/5");
  REQUIRE(response.kvs(0).value().empty());
  REQUIRE(response.more());
  REQUIRE(response.count() == 10);
}

TEST_CASE("etcd: several watches on one stream, cancel, progress") {
  Fixture f;
  f.start();
  f.put("/a", "1");
  f.put("/b", "1");
  Stream stream(f);
  stream.create()->set_key("/a");
  stream.create()->set_start_revision(2);
  stream.create()->set_prev_kv(true);
  stream.send();
  auto response = stream.read();
  REQUIRE(response.created());
  REQUIRE(response.watch_id() == 0);
  REQUIRE(response.header().revision() == 3);
  response = stream.read();
  REQUIRE(response.events_size() == 1);
  REQUIRE(response.events(0).kv().value() == "1");
  stream.create()->set_key("/b");
  stream.create()->set_watch_id(7);
  stream.create()->add_filters(pb::WatchCreateRequest::NOPUT);
  stream.send();
  REQUIRE(stream.read().watch_id() == 7);
  stream.create()->set_key("/b");
  stream.create()->set_watch_id(7);
  stream.send();
  response = stream.read();
  REQUIRE(response.canceled());
  REQUIRE(response.cancel_reason() == "mvcc: duplicate watch ID provided on the WatchStream");
  f.put("/a", "2");
  response = stream.read();
  REQUIRE(response.watch_id() == 0);
  REQUIRE(response.events(0).prev_kv().value() == "1");
  f.put("/b", "2");  // filtered
  stream.request.mutable_progress_request();
  stream.send();
  response = stream.read();
  REQUIRE(response.watch_id() == -1);
  REQUIRE(response.header().revision() == 5);
  REQUIRE(response.events_size() == 0);
  stream.request.mutable_cancel_request()->set_watch_id(0);
  stream.send();
  response = stream.read();
  REQUIRE(response.canceled());
  REQUIRE(response.watch_id() == 0);
  must(f.store->compact(5));
  stream.create()->set_key("/a");
  stream.create()->set_start_revision(3);
  stream.send();
  response = stream.read();
  REQUIRE(response.created());
  REQUIRE(response.watch_id() == 1);
  response = stream.read();
  REQUIRE(response.canceled());
  REQUIRE(response.compact_revision() == 5);
  stream.create()->set_key("/z");
  stream.create()->set_range_end("/y");
  stream.send();
  REQUIRE(stream.read().canceled());
  stream.call->WritesDone();
  REQUIRE(stream.call->Finish().ok());
  REQUIRE(eventually([&] { return must(f.store->status()).watches == 0; }));
}

TEST_CASE("etcd: quiet watches are told of progress") {
  Fixture f;
  f.server_options.progress_interval = std::chrono::milliseconds(5);
  f.start();
  Stream stream(f);
  stream.create()->set_key("/a");
  stream.create()->set_progress_notify(true);
  stream.send();
  REQUIRE(stream.read().created());
  f.put("/other", "1");
  for (;;) {
    const auto response = stream.read();
    REQUIRE(response.watch_id() == 0);
    REQUIRE(response.events_size() == 0);
    if (response.header().revision() == 2) break;
  }
}

TEST_CASE("etcd: a client that does not read holds up nobody, and misses nothing") {
  RocksdbOptions options;
  options.ring_bytes = 1 << 20;
  Fixture f(options);
  f.start();
  Stream slow(f), fragments(f);
  for (Stream* stream : {&slow, &fragments}) {
    stream->create()->set_key(std::string(1, '\0'));
    stream->create()->set_range_end(std::string(1, '\0'));
    stream->create()->set_fragment(stream == &fragments);
    stream->send();
    REQUIRE(stream->read().created());
  }
  const std::string value(50'000, 'v');
  constexpr int kCount = 400;
  for (int i = 0; i < kCount; ++i) f.put("/" + std::to_string(i), value);
  // One revision larger than a fragment.
  TxnRequest txn;
  for (int i = 0; i < 28; ++i) {
    PutOp put;
    put.key = "/big" + std::to_string(i);
    put.value = make_bytes(value);
    txn.then_ops.emplace_back(put);
  }
  for (int half = 0; half < 2; ++half) must(f.store->txn(txn));
  must(f.store->txn({{}, {DeleteOp{KeyRange::prefix("/"), false}}, {}}));
  const Revision last = f.store->revision();
  for (Stream* stream : {&slow, &fragments}) {
    Revision seen = 1;
    bool in_fragment = false;
    int events = 0;
    while (seen < last || in_fragment) {
      const auto response = stream->read();
      for (const auto& event : response.events()) {
        REQUIRE(event.kv().mod_revision() >= seen);
        REQUIRE(event.kv().mod_revision() <= seen + 1);
        seen = event.kv().mod_revision();
        ++events;
      }
      in_fragment = response.fragment();
    }
    REQUIRE(events == kCount + 28 * 2 + kCount + 28);
  }
}

TEST_CASE("etcd: keep alive, and streams that end while watches deliver") {
  Fixture f;
  f.start();
  must(f.store->lease_grant(100, 3));
  {
    grpc::ClientContext context;
    auto call = f.lease->LeaseKeepAlive(&context);
    pb::LeaseKeepAliveRequest request;
    pb::LeaseKeepAliveResponse response;
    for (const int64_t id : {3, 4}) {
      request.set_id(id);
      REQUIRE(call->Write(request));
      REQUIRE(call->Read(&response));
      REQUIRE(response.ttl() == (id == 3 ? 100 : 0));
    }
    call->WritesDone();
    REQUIRE(call->Finish().ok());
  }
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; !done; ++i) (void)f.store->update("/k", make_bytes(std::string(2000, 'x')), i == 0 ? 0 : kAnyRevision);
  });
  for (int i = 0; i < 60; ++i) {
    Stream stream(f);
    for (int n = 0; n < 5; ++n) {
      stream.create()->set_key("/k");
      stream.create()->set_start_revision(1);
      stream.send();
    }
    for (int n = 0; n < 4; ++n) stream.read();
    if (i % 3 == 0) stream.context.TryCancel();
    else if (i % 3 == 1) stream.call->WritesDone();
    pb::WatchResponse rest;
    if (i % 3 == 2) stream.context.TryCancel();
    while (stream.call->Read(&rest)) continue;
    (void)stream.call->Finish();
  }
  {
    Stream stream(f);
    stream.create()->set_key("/k");
    stream.send();
    stream.read();
    f.server->stop();  // with a stream open
    pb::WatchResponse rest;
    while (stream.call->Read(&rest)) continue;
    REQUIRE(!stream.call->Finish().ok());
  }
  done = true;
  writer.join();
  REQUIRE(must(f.store->status()).watches == 0);
}

}  // namespace engenho::datastore
