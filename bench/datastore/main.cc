// The datastore and a real etcd in one run on one machine, one after the other, fsync on for both, over gRPC on loopback TCP from the
// same client.
//
//   bench_datastore --engenho PROGRAM --etcd PROGRAM [--dir DIR] [--keys 1000000] [--only engenho|etcd] [--rows TEXT] [--turns 3]
//
// --rows: only those whose name holds TEXT, beside the first, which makes the keys that they read.
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
#include <sstream>
#include <mutex>
#include <thread>

#include "engenho/base/bytes.h"
#include "lean_client.h"
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

// `of_last`: a row of its own below the last one of another name.
void record(const std::string& peer, const std::string& name, const std::string& unit, bool higher, double value, bool of_last = false) {
  for (size_t i = rows.size(); i-- > 0;) {
    if (rows[i].name == name && !rows[i].value.contains(peer)) {
      rows[i].value[peer] = value;
      return;
    }
    if (of_last && rows[i].name == name) break;
  }
  rows.push_back({name, unit, higher, {{peer, value}}});
}

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

// Processor time that a process has used, in seconds.
double cpu_of(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skip;
  for (int i = 0; i < 11; ++i) fields >> skip;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
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

// Both run all the time; each row is measured in turns, three times for each, and the best counts: what else the machine does meets both.
class Bench {
 public:
  Bench(std::vector<Peer> peers, std::string dir, uint64_t keys, std::string rows, int turns)
      : peers_(std::move(peers)), dir_(std::move(dir)), keys_(keys), wanted_(std::move(rows)), turns_(turns) {}

  int run() {
    for (Peer& peer : peers_) {
      if (Status status = start_peer(peer); !status.ok()) return fail(status);
      clients_.push_back(connect(peer));
    }
    const auto put = [this](size_t peer, uint64_t count, int in_flight, size_t size) {
      const uint64_t base = base_;
      return clients_[peer]->run("/etcdserverpb.KV/Put", count, in_flight, [base, size](uint64_t i) {
        pb::PutRequest request;
        request.set_key(key_of(base + i));
        request.set_value(value_of(base + i, size));
        return request.SerializeAsString();
      });
    };
    const auto one = [](uint64_t i) {
      pb::RangeRequest request;
      request.set_key(key_of(10'000'000 + i * 7919 % 20000));
      return request.SerializeAsString();
    };
    const auto many = [](uint64_t) {
      pb::RangeRequest request;
      request.set_key(key_of(10'000'000));
      request.set_range_end(key_of(10'010'000));
      return request.SerializeAsString();
    };
    const auto create = [this](uint64_t i) {
      pb::TxnRequest request;
      const std::string key = key_of(base_ + i);
      pb::Compare* compare = request.add_compare();
      compare->set_key(key);
      compare->set_target(pb::Compare::MOD);
      compare->set_mod_revision(0);
      pb::PutRequest* put = request.add_success()->mutable_request_put();
      put->set_key(key);
      put->set_value(value_of(i, 1024));
      request.add_failure()->mutable_request_range()->set_key(key);
      return request.SerializeAsString();
    };
    const auto range = [this](size_t peer, uint64_t count, int in_flight, const std::function<std::string(uint64_t)>& message) {
      return clients_[peer]->run("/etcdserverpb.KV/Range", count, in_flight, message);
    };
    turns("put of 1 KB, 128 in flight", "/s", [&](size_t peer) { return put(peer, 20000, 128, 1024); }, 20000);
    turns("put of 1 KB, 1 in flight", "/s", [&](size_t peer) { return put(peer, 1500, 1, 1024); }, 1500);
    turns("range of one key, 1 in flight", "/s", [&](size_t peer) { return range(peer, 10000, 1, one); }, 10000);
    turns("range of one key, 128 in flight", "/s", [&](size_t peer) { return range(peer, 60000, 128, one); }, 60000);
    turns("range of 10,000 keys (11 MB)", "/s", [&](size_t peer) { return range(peer, 30, 2, many); }, 30);
    turns("txn: create if absent, 128 in flight", "/s",
          [&](size_t peer) { return clients_[peer]->run("/etcdserverpb.KV/Txn", 20000, 128, create); }, 20000);
    turns("watch: deliveries to 1,000 watchers", "/s", [&](size_t peer) { return fan_out(peers_[peer], *peers_[peer].kv, 1000, 100); }, 100'000);

    if (!wanted_.empty()) return 0;
    for (size_t peer = 0; peer < peers_.size(); ++peer) {
      const uint64_t have = base_ - 10'000'000;
      base_ = 20'000'000;
      if (keys_ > have) put(peer, keys_ - have, 256, 200);
      base_ = 10'000'000 + have;
      const std::string at = " at " + std::to_string(keys_) + " keys";
      record(peers_[peer].name, "memory" + at, "MB", false, resident_mb(peers_[peer].process->pid()));
      peers_[peer].process->stop(std::chrono::seconds(60));
      record(peers_[peer].name, "disk" + at, "MB", false, disk_mb(dir_ + "/" + peers_[peer].name));
      const auto began = Clock::now();
      if (Status status = start_peer(peers_[peer]); !status.ok()) return fail(status);
      record(peers_[peer].name, "restart" + at, "s", false, seconds_since(began));
      record(peers_[peer].name, "memory after the restart", "MB", false, resident_mb(peers_[peer].process->pid()));
      peers_[peer].process->stop(std::chrono::seconds(60));
    }
    return 0;
  }

 private:
  static std::unique_ptr<bench::LeanClient> connect(const Peer& peer) {
    int64_t port = 0;
    parse_int(peer.address.substr(peer.address.rfind(':') + 1), port);
    return std::make_unique<bench::LeanClient>(static_cast<uint16_t>(port), kConnections);
  }
  static int fail(const Status& status) {
    std::cerr << "bench_datastore: " << status.message() << "\n";
    return 2;
  }
  void turns(const std::string& name, const std::string& unit, const std::function<double(size_t)>& measure, uint64_t calls) {
    const bool first = rows.empty();
    if (!first && name.find(wanted_) == std::string::npos) return;
    std::vector<double> best(peers_.size()), cpu(peers_.size(), 1e9);
    for (int turn = 0; turn < (first ? 3 : turns_); ++turn) {
      for (size_t peer = 0; peer < peers_.size(); ++peer) {
        const double before = cpu_of(peers_[peer].process->pid());
        best[peer] = std::max(best[peer], measure(peer));
        cpu[peer] = std::min(cpu[peer], (cpu_of(peers_[peer].process->pid()) - before) * 1e6 / static_cast<double>(calls));
      }
      base_ += calls;  // the same new keys for both
    }
    for (size_t peer = 0; peer < peers_.size(); ++peer) {
      record(peers_[peer].name, name, unit, true, best[peer]);
      record(peers_[peer].name, "    server's processor time for each", "us", false, cpu[peer], true);
    }
  }

  std::vector<Peer> peers_;
  const std::string dir_;
  const uint64_t keys_;
  const std::string wanted_;
  const int turns_;
  std::vector<std::unique_ptr<bench::LeanClient>> clients_;
  uint64_t base_ = 10'000'000;
};

}  // namespace

}  // namespace engenho::datastore::differential

int main(int argc, char** argv) {
  using namespace engenho;
  using namespace engenho::datastore::differential;
  std::string engenho, etcd, dir = "/var/tmp", only, wanted;
  int64_t keys = 1'000'000, turns = 3;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--engenho") engenho = value;
    else if (name == "--etcd") etcd = value;
    else if (name == "--dir") dir = value;
    else if (name == "--only") only = value;
    else if (name == "--rows") wanted = value;
    else if (name == "--turns" && parse_int(value, turns) && turns > 0) continue;
    else if (name != "--keys" || !parse_int(value, keys)) {
      std::cerr << "bench_datastore: unexpected " << name << "\n";
      return 2;
    }
  }
  if (engenho.empty() || etcd.empty()) {
    std::cerr << "usage: bench_datastore --engenho PROGRAM --etcd PROGRAM [--dir DIR] [--keys N] [--only engenho|etcd] [--rows TEXT] [--turns N]\n";
    return 2;
  }
  dir += "/engenho-bench-XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) {
    std::cerr << "bench_datastore: mkdtemp " << dir << ": " << std::strerror(errno) << "\n";
    return 2;
  }
  int result = 0;
  std::vector<Peer> peers;
  if (only != "engenho") peers.push_back(etcd_peer(etcd, dir, true));
  if (only != "etcd") peers.push_back(engenho_peer(engenho, dir, true));
  result = Bench(std::move(peers), dir, static_cast<uint64_t>(keys), wanted, static_cast<int>(turns)).run();
  std::filesystem::remove_all(dir);
  printf("%-42s %12s %12s %8s\n", "", "engenho", "etcd", "ahead");
  for (Row& row : rows) {
    const double ours = row.value["engenho"], theirs = row.value["etcd"];
    const double ratio = row.higher_is_better ? ours / theirs : theirs / ours;
    printf("%-42s %12.*f %12.*f %7.2fx  %s\n", row.name.c_str(), ours < 10 ? 2 : 0, ours, theirs < 10 ? 2 : 0, theirs, ratio, row.unit.c_str());
  }
  return result;
}
