// The datastore and a real etcd in one run on one machine, one after the other, fsync on for both, over gRPC on loopback TCP from the same client.
//
//   bench_datastore --engenho PROGRAM --etcd PROGRAM [--dir DIR] [--keys 1000000] [--only engenho|etcd]
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "engenho/base/bytes.h"
#include "peer.h"

extern "C" const char* malloc_conf = "narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:false";

namespace engenho::datastore::differential {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kConnections = 8;

double seconds_since(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

struct Row {
  std::string name, unit;
  bool higher_is_better;
  std::map<std::string, double> value;
};
std::vector<Row> rows;

void record(const std::string& peer, const std::string& name, const std::string& unit, bool higher, double value) {
  for (Row& row : rows) {
    if (row.name != name) continue;
    row.value[peer] = value;
    return;
  }
  rows.push_back({name, unit, higher, {{peer, value}}});
  std::cerr << "  " << peer << ": " << name << ": " << value << " " << unit << "\n";
}

// Keeps `in_flight` calls of one kind under way over a few connections until `count` have ended.
template <typename Request, typename Response, typename Start>
class Load {
 public:
  Load(const std::vector<std::unique_ptr<pb::KV::Stub>>& stubs, Start start, std::function<void(Request&, uint64_t)> fill, uint64_t count)
      : stubs_(stubs), start_(start), fill_(std::move(fill)), count_(count) {}

  // Calls a second.
  double run(int in_flight) {
    const auto began = Clock::now();
    slots_.resize(static_cast<size_t>(in_flight));
    live_ = in_flight;
    for (int i = 0; i < in_flight; ++i) {
      slots_[static_cast<size_t>(i)] = std::make_unique<Slot>();
      slots_[static_cast<size_t>(i)]->stub = stubs_[static_cast<size_t>(i) % stubs_.size()].get();
      next(*slots_[static_cast<size_t>(i)]);
    }
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return live_ == 0; });
    if (!error_.empty()) std::cerr << "  FAILED: " << error_ << "\n";
    return static_cast<double>(count_) / seconds_since(began);
  }

 private:
  struct Slot {
    pb::KV::Stub* stub;
    std::unique_ptr<grpc::ClientContext> context;
    Request request;
    Response response;
  };
  void next(Slot& slot) {
    const uint64_t i = given_.fetch_add(1);
    if (i >= count_) {
      std::lock_guard lock(mutex_);
      if (--live_ == 0) ended_.notify_one();
      return;
    }
    slot.context = std::make_unique<grpc::ClientContext>();
    fill_(slot.request, i);
    start_(slot.stub, slot.context.get(), &slot.request, &slot.response, [this, &slot](grpc::Status status) {
      if (!status.ok()) {
        std::lock_guard lock(mutex_);
        error_ = status.error_message();
      }
      next(slot);
    });
  }

  const std::vector<std::unique_ptr<pb::KV::Stub>>& stubs_;
  Start start_;
  std::function<void(Request&, uint64_t)> fill_;
  const uint64_t count_;
  std::atomic<uint64_t> given_{0};
  std::vector<std::unique_ptr<Slot>> slots_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int live_ = 0;
  std::string error_;
};

const auto start_put = [](pb::KV::Stub* stub, auto... rest) { stub->async()->Put(rest...); };
const auto start_range = [](pb::KV::Stub* stub, auto... rest) { stub->async()->Range(rest...); };
const auto start_txn = [](pb::KV::Stub* stub, auto... rest) { stub->async()->Txn(rest...); };

// Not to be compressed to nothing: what a datastore holds is text with names and ids.
std::string value_of(uint64_t seed, size_t size) {
  std::string out;
  out.reserve(size + 16);
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  while (out.size() < size) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    char text[24];
    out.append(text, static_cast<size_t>(snprintf(text, sizeof(text), "%llx,\"a\":", static_cast<unsigned long long>(state >> 20))));
  }
  out.resize(size);
  return out;
}

std::string key_of(uint64_t i) {
  char text[48];
  snprintf(text, sizeof(text), "/registry/things/default/%010llu", static_cast<unsigned long long>(i));
  return text;
}

double resident_mb(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

double disk_mb(const std::string& dir) {
  double blocks = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir, error)) {
    struct stat have{};
    if (::lstat(entry.path().c_str(), &have) == 0 && S_ISREG(have.st_mode)) blocks += static_cast<double>(have.st_blocks);
  }
  return blocks * 512 / 1048576;
}

std::vector<std::unique_ptr<pb::KV::Stub>> connect(const Peer& peer, int count) {
  std::vector<std::unique_ptr<pb::KV::Stub>> stubs;
  for (int i = 0; i < count; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    stubs.push_back(pb::KV::NewStub(grpc::CreateCustomChannel(peer.address, grpc::InsecureChannelCredentials(), arguments)));
  }
  return stubs;
}

// One write at a time, each delivered to all watchers before the next: deliveries a second.
double fan_out(Peer& peer, pb::KV::Stub& stub, int watchers, int writes) {
  struct Watcher {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<pb::WatchRequest, pb::WatchResponse>> call;
    std::thread thread;
  };
  std::atomic<int64_t> seen{0};
  constexpr int kStreams = 10;
  std::vector<std::unique_ptr<Watcher>> streams;
  std::atomic<int> created{0};
  for (int s = 0; s < kStreams; ++s) {
    auto watcher = std::make_unique<Watcher>();
    watcher->call = peer.watch->Watch(&watcher->context);
    for (int w = 0; w < watchers / kStreams; ++w) {
      pb::WatchRequest request;
      request.mutable_create_request()->set_key("/fan/");
      request.mutable_create_request()->set_range_end("/fan0");
      watcher->call->Write(request);
    }
    Watcher* raw = watcher.get();
    watcher->thread = std::thread([raw, &seen, &created] {
      pb::WatchResponse response;
      while (raw->call->Read(&response)) {
        if (response.created()) ++created;
        seen += response.events_size();
      }
    });
    streams.push_back(std::move(watcher));
  }
  while (created < watchers) std::this_thread::yield();
  const auto began = Clock::now();
  for (int i = 0; i < writes; ++i) {
    grpc::ClientContext context;
    pb::PutRequest request;
    pb::PutResponse response;
    request.set_key("/fan/key");
    request.set_value(value_of(static_cast<uint64_t>(i), 1024));
    if (!stub.Put(&context, request, &response).ok()) std::cerr << "  FAILED: a put\n";
    while (seen < static_cast<int64_t>(i + 1) * watchers) std::this_thread::yield();
  }
  const double rate = static_cast<double>(writes) * watchers / seconds_since(began);
  for (auto& watcher : streams) {
    watcher->context.TryCancel();
    watcher->thread.join();
  }
  return rate;
}

int measure(Peer peer, const std::string& data, uint64_t keys) {
  if (Status status = start_peer(peer); !status.ok()) {
    std::cerr << status.message() << "\n";
    return 2;
  }
  const std::string& name = peer.name;
  const auto stubs = connect(peer, kConnections);
  using Put = Load<pb::PutRequest, pb::PutResponse, decltype(start_put)>;
  using Range = Load<pb::RangeRequest, pb::RangeResponse, decltype(start_range)>;
  using Txn = Load<pb::TxnRequest, pb::TxnResponse, decltype(start_txn)>;
  const auto fill_put = [](uint64_t base) {
    return [base](pb::PutRequest& request, uint64_t i) {
      request.set_key(key_of(base + i));
      request.set_value(value_of(base + i, 1024));
    };
  };
  record(name, "put of 1 KB, 1 in flight", "/s", true, Put(stubs, start_put, fill_put(10'000'000), 3000).run(1));
  record(name, "put of 1 KB, 128 in flight", "/s", true, Put(stubs, start_put, fill_put(11'000'000), 60000).run(128));
  record(name, "range of one key, 1 in flight", "/s", true,
         Range(stubs, start_range, [](pb::RangeRequest& request, uint64_t i) { request.set_key(key_of(11'000'000 + i * 7919 % 60000)); }, 10000).run(1));
  record(name, "range of one key, 128 in flight", "/s", true,
         Range(stubs, start_range, [](pb::RangeRequest& request, uint64_t i) { request.set_key(key_of(11'000'000 + i * 7919 % 60000)); }, 100000).run(128));
  record(name, "range of 10,000 keys", "/s", true,
         Range(stubs, start_range, [](pb::RangeRequest& request, uint64_t) {
           request.set_key(key_of(11'000'000));
           request.set_range_end(key_of(11'010'000));
         }, 40).run(2));
  record(name, "txn: create if absent, 128 in flight", "/s", true,
         Txn(stubs, start_txn, [](pb::TxnRequest& request, uint64_t i) {
           request.Clear();
           const std::string key = key_of(12'000'000 + i);
           pb::Compare* compare = request.add_compare();
           compare->set_key(key);
           compare->set_target(pb::Compare::MOD);
           compare->set_mod_revision(0);
           pb::PutRequest* put = request.add_success()->mutable_request_put();
           put->set_key(key);
           put->set_value(value_of(i, 1024));
           request.add_failure()->mutable_request_range()->set_key(key);
         }, 40000).run(128));
  record(name, "watch: deliveries to 1,000 watchers", "/s", true, fan_out(peer, *stubs[0], 1000, 200));

  const uint64_t have = 3000 + 60000 + 40000;
  if (keys > have) record(name, "filling: put of 200 B, 256 in flight", "/s", true,
    Put(stubs, start_put, [](pb::PutRequest& request, uint64_t i) {
      request.set_key(key_of(i));
      request.set_value(value_of(i, 200));
    }, keys - have).run(256));
  record(name, "memory at " + std::to_string(keys) + " keys", "MB", false, resident_mb(peer.process->pid()));
  peer.process->stop(std::chrono::seconds(60));
  record(name, "disk at " + std::to_string(keys) + " keys", "MB", false, disk_mb(data));
  const auto began = Clock::now();
  if (Status status = start_peer(peer); !status.ok()) {
    std::cerr << status.message() << "\n";
    return 2;
  }
  record(name, "restart with " + std::to_string(keys) + " keys", "s", false, seconds_since(began));
  record(name, "memory after the restart", "MB", false, resident_mb(peer.process->pid()));
  peer.process->stop(std::chrono::seconds(60));
  return 0;
}

}  // namespace

}  // namespace engenho::datastore::differential

int main(int argc, char** argv) {
  using namespace engenho;
  using namespace engenho::datastore::differential;
  std::string engenho, etcd, dir = "/var/tmp", only;
  int64_t keys = 1'000'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--engenho") engenho = value;
    else if (name == "--etcd") etcd = value;
    else if (name == "--dir") dir = value;
    else if (name == "--only") only = value;
    else if (name != "--keys" || !parse_int(value, keys)) {
      std::cerr << "bench_datastore: unexpected " << name << "\n";
      return 2;
    }
  }
  if (engenho.empty() || etcd.empty()) {
    std::cerr << "usage: bench_datastore --engenho PROGRAM --etcd PROGRAM [--dir DIR] [--keys N] [--only engenho|etcd]\n";
    return 2;
  }
  dir += "/engenho-bench-XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) {
    std::cerr << "bench_datastore: mkdtemp " << dir << ": " << std::strerror(errno) << "\n";
    return 2;
  }
  int result = 0;
  if (only != "engenho") result |= measure(etcd_peer(etcd, dir, true), dir + "/etcd", static_cast<uint64_t>(keys));
  if (only != "etcd") result |= measure(engenho_peer(engenho, dir, true), dir + "/engenho", static_cast<uint64_t>(keys));
  std::filesystem::remove_all(dir);
  printf("%-42s %12s %12s %8s\n", "", "engenho", "etcd", "ahead");
  for (Row& row : rows) {
    const double ours = row.value["engenho"], theirs = row.value["etcd"];
    const double ratio = row.higher_is_better ? ours / theirs : theirs / ours;
    printf("%-42s %12.*f %12.*f %7.2fx  %s\n", row.name.c_str(), ours < 10 ? 2 : 0, ours, theirs < 10 ? 2 : 0, theirs, ratio, row.unit.c_str());
  }
  return result;
}
