// Concurrent clients of the etcd face while the server is killed again and again: is there one order of all that they saw? Revisions make the
// question easy: they are that order, so it is enough that each answer fits the log at its revision, and that revisions never run against time.
// ENGENHO_TEST_ROUNDS sets the number of kills (make soak: 200).
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "engenho/base/bytes.h"
#include "engenho/datastore/etcd_server.h"
#include "etcd.grpc.pb.h"
#include "support.h"

namespace engenho::datastore {

namespace pb = etcdserverpb;

namespace {

int rounds(int usual) {
  const char* given = std::getenv("ENGENHO_TEST_ROUNDS");
  int64_t number = 0;
  return given != nullptr && parse_int(given, number) ? static_cast<int>(number) : usual;
}

using Nanoseconds = int64_t;
Nanoseconds now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// One call, as its client saw it.
struct Call {
  enum class Kind { kPut, kDelete, kSwap, kGet } kind = Kind::kGet;
  Nanoseconds began = 0, ended = 0;
  bool answered = false;              // else nobody knows whether it took place
  std::string key, value;             // of a write: what it writes, given to no other
  bool wrote = false;                 // it changed something
  Revision revision = 0;              // of the answer
  Revision found_revision = 0;        // kGet, and kSwap that failed: the key as it was; 0: absent
  std::string found_value;
};

class Server {
 public:
  explicit Server(std::string dir) : dir_(std::move(dir)) {}
  ~Server() { kill(); }
  void start() {
    ::setenv("ENGENHO_CHILD_DIR", dir_.c_str(), 1);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    const char* argv[] = {"/proc/self/exe", "the server that is killed", nullptr};
    REQUIRE(::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, const_cast<char**>(argv), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::unsetenv("ENGENHO_CHILD_DIR");
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::shared_ptr<grpc::Channel> channel() const {
    grpc::ChannelArguments arguments;
    for (const char* name : {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS})
      arguments.SetInt(name, 20);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("unix:" + dir_ + "/s", grpc::InsecureChannelCredentials(), arguments);
  }

 private:
  const std::string dir_;
  pid_t pid_ = -1;
};

class Client {
 public:
  Client(const Server& server, int id, uint64_t seed) : kv_(pb::KV::NewStub(server.channel())), id_(id), random_(seed) {}

  void run(const std::atomic<bool>& stop) {
    while (!stop) {
      Call call;
      call.key = "/" + std::to_string(random_() % 4);
      call.value = std::to_string(id_) + "." + std::to_string(calls.size());
      const uint64_t kind = random_() % 10;
      call.kind = kind < 4 ? Call::Kind::kGet : kind < 7 ? Call::Kind::kPut : kind < 9 ? Call::Kind::kSwap : Call::Kind::kDelete;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
      context.set_wait_for_ready(true);
      call.began = now();
      switch (call.kind) {
        case Call::Kind::kGet: get(context, call); break;
        case Call::Kind::kPut: put(context, call); break;
        case Call::Kind::kDelete: remove(context, call); break;
        case Call::Kind::kSwap: swap(context, call); break;
      }
      call.ended = now();
      calls.push_back(std::move(call));
    }
  }
  std::vector<Call> calls;

 private:
  void found(const pb::RangeResponse& response, Call& call) {
    call.found_revision = response.kvs_size() > 0 ? response.kvs(0).mod_revision() : 0;
    call.found_value = response.kvs_size() > 0 ? response.kvs(0).value() : "";
    seen_[call.key] = call.found_revision;
  }
  void get(grpc::ClientContext& context, Call& call) {
    pb::RangeRequest request;
    pb::RangeResponse response;
    request.set_key(call.key);
    call.answered = kv_->Range(&context, request, &response).ok();
    call.revision = response.header().revision();
    if (call.answered) found(response, call);
  }
  void put(grpc::ClientContext& context, Call& call) {
    pb::PutRequest request;
    pb::PutResponse response;
    request.set_key(call.key);
    request.set_value(call.value);
    call.answered = call.wrote = kv_->Put(&context, request, &response).ok();
    call.revision = response.header().revision();
    if (call.answered) seen_[call.key] = call.revision;
  }
  void remove(grpc::ClientContext& context, Call& call) {
    pb::DeleteRangeRequest request;
    pb::DeleteRangeResponse response;
    request.set_key(call.key);
    call.value.clear();
    call.answered = kv_->DeleteRange(&context, request, &response).ok();
    call.wrote = response.deleted() > 0;
    call.revision = response.header().revision();
  }
  void swap(grpc::ClientContext& context, Call& call) {
    pb::TxnRequest request;
    pb::TxnResponse response;
    pb::Compare* compare = request.add_compare();
    compare->set_key(call.key);
    compare->set_target(pb::Compare::MOD);
    compare->set_mod_revision(seen_[call.key]);
    request.add_success()->mutable_request_put()->set_key(call.key);
    request.mutable_success(0)->mutable_request_put()->set_value(call.value);
    request.add_failure()->mutable_request_range()->set_key(call.key);
    call.answered = kv_->Txn(&context, request, &response).ok();
    call.wrote = call.answered && response.succeeded();
    call.revision = response.header().revision();
    if (call.answered && !call.wrote) found(response.responses(0).response_range(), call);
    else if (call.answered) seen_[call.key] = call.revision;
  }

  std::unique_ptr<pb::KV::Stub> kv_;
  const int id_;
  std::mt19937_64 random_;
  std::map<std::string, Revision> seen_;
};

// Follows all keys over every restart: what it has got must be the log, once each.
void follow(const Server& server, const std::atomic<bool>& stop, std::atomic<Revision>& reached, std::vector<mvccpb::Event>& events) {
  const auto stub = pb::Watch::NewStub(server.channel());
  Revision next = 2;
  while (!stop) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
    const auto call = stub->Watch(&context);
    pb::WatchRequest request;
    request.mutable_create_request()->set_key("/");
    request.mutable_create_request()->set_range_end("0");
    request.mutable_create_request()->set_start_revision(next);
    if (!call->Write(request)) continue;
    pb::WatchResponse response;
    while (!stop && call->Read(&response)) {
      for (const auto& event : response.events()) {
        events.push_back(event);
        next = event.kv().mod_revision() + 1;
        reached = event.kv().mod_revision();
      }
    }
    context.TryCancel();
  }
}

}  // namespace

TEST_CASE("the server that is killed", "[.child]") {
  const std::string dir = std::getenv("ENGENHO_CHILD_DIR");
  RocksdbOptions options = test_options(dir + "/store");
  options.write_buffer_bytes = 512 << 10;
  options.compaction_interval = Duration(0);
  auto store = open_store(options);
  EtcdServer::Options etcd;
  etcd.listen = {"unix://" + dir + "/s"};
  auto server = must(EtcdServer::start(*store, etcd));
  for (;;) ::pause();
}

TEST_CASE("concurrent clients see one order, over kill -9") {
  std::mt19937_64 random(engenho::testing::seed());
  TempDir dir;
  Server server(dir.path());
  server.start();
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<Client>(server, i, random()));
    threads.emplace_back([&, i] { clients[static_cast<size_t>(i)]->run(stop); });
  }
  std::atomic<Revision> reached{0};
  std::vector<mvccpb::Event> followed;
  std::thread follower([&] { follow(server, stop, reached, followed); });
  for (int round = 0; round < rounds(5); ++round) {
    // Some hundred revisions each time, so that it dies under load.
    const Revision until = reached + 100 + static_cast<Revision>(random() % 900);
    REQUIRE(eventually([&] { return reached >= until; }));
    server.kill();
    server.start();
  }
  const Revision until = reached + 200;
  REQUIRE(eventually([&] { return reached >= until; }));
  stop = true;
  for (auto& thread : threads) thread.join();
  server.kill();
  follower.join();

  // The log, from the data that is left.
  auto store = open_store(test_options(dir.path() + "/store"));
  RecordingSink sink;
  WatchRequest request;
  request.from_revision = 2;
  auto watch = must(store->watch(request, &sink));
  REQUIRE(sink.wait_through(*watch, store->revision()));
  const auto log = sink.events();
  REQUIRE(static_cast<Revision>(log.size()) == store->revision() - 1);
  std::map<std::string, Revision> written;                        // value -> revision
  std::map<std::string, std::map<Revision, std::string>> history;  // key -> revision -> value; "" deleted
  for (size_t i = 0; i < log.size(); ++i) {
    const Event& event = *log[i];
    REQUIRE(event.kv.mod_revision == static_cast<Revision>(i) + 2);
    const bool deleted = event.type == Event::Type::kDelete;
    history[event.kv.key][event.kv.mod_revision] = deleted ? "" : *event.kv.value;
    // Nothing takes place twice, also when its client was cut off.
    if (!deleted) REQUIRE(written.emplace(*event.kv.value, event.kv.mod_revision).second);
  }
  REQUIRE(followed.size() <= log.size());
  for (size_t i = 0; i < followed.size(); ++i) {
    REQUIRE(followed[i].kv().mod_revision() == log[i]->kv.mod_revision);
    REQUIRE(followed[i].kv().key() == log[i]->kv.key);
    REQUIRE(followed[i].kv().value() == *log[i]->kv.value);
  }

  std::vector<const Call*> calls;
  std::set<std::string> intended;
  for (const auto& client : clients) {
    for (const Call& call : client->calls) {
      calls.push_back(&call);
      if (call.kind != Call::Kind::kGet && !call.value.empty()) intended.insert(call.value);
    }
  }
  for (const auto& [value, revision] : written) REQUIRE(intended.contains(value));
  std::set<Revision> taken;
  size_t unknown = 0;
  for (const Call* call : calls) {
    if (!call->answered) {
      ++unknown;
      continue;
    }
    REQUIRE(call->revision <= store->revision());
    if (call->wrote) {
      REQUIRE(taken.insert(call->revision).second);
      REQUIRE(history[call->key].contains(call->revision));
      REQUIRE(history[call->key][call->revision] == call->value);
      continue;
    }
    // What it found is what the log says of that revision.
    const auto& of_key = history[call->key];
    auto at = of_key.upper_bound(call->revision);
    const bool there = at != of_key.begin() && !(--at)->second.empty();
    if (call->kind == Call::Kind::kDelete) {
      REQUIRE(!there);
    } else {
      REQUIRE(call->found_revision == (there ? at->first : 0));
      REQUIRE(call->found_value == (there ? at->second : ""));
    }
  }
  // Real time: who begins after another has ended sees at least its revision, and writes a higher one.
  std::vector<const Call*> by_begin = calls, by_end;
  for (const Call* call : calls)
    if (call->answered) by_end.push_back(call);
  std::sort(by_begin.begin(), by_begin.end(), [](auto* a, auto* b) { return a->began < b->began; });
  std::sort(by_end.begin(), by_end.end(), [](auto* a, auto* b) { return a->ended < b->ended; });
  Revision floor = 0;
  size_t ended = 0;
  for (const Call* call : by_begin) {
    for (; ended < by_end.size() && by_end[ended]->ended < call->began; ++ended) floor = std::max(floor, by_end[ended]->revision);
    if (call->answered) {
      REQUIRE(call->revision >= floor + (call->wrote ? 1 : 0));
    } else if (const auto it = written.find(call->value); it != written.end()) {
      REQUIRE(it->second > floor);
    }
  }
  INFO(calls.size() << " calls, " << unknown << " without an answer, revision " << store->revision());
  REQUIRE(calls.size() > 1000);
}

}  // namespace engenho::datastore
