// Random sequences of requests against our store and a real etcd side by side: every answer and every watch event must be equal.
//
//   etcd_differential --engenho build/engenho --etcd /usr/bin/etcd [--ops 20000] [--seed N] [--dir DIR] [--seconds LIMIT]
//
// Ends with 0 when nothing differed; else it shows the first difference and the requests before it, and keeps both logs.
#include <unistd.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <iostream>
#include <set>

#include "compare.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "generator.h"
#include "watches.h"

namespace engenho::datastore::differential {

namespace {

struct Options {
  std::string engenho, etcd, dir = "/dev/shm";
  uint64_t seed = 0, ops = 20000;
  int64_t seconds = 0;
};

// One stream of watches to each peer, and what is known of them.
struct StreamPair {
  std::unique_ptr<WatchStream> ours, theirs;
  std::map<int64_t, pb::WatchCreateRequest> open;
};

class Run {
 public:
  Run(const Options& options, std::string dir)
      : options_(options), ours_(engenho_peer(options.engenho, dir, false)), theirs_(etcd_peer(options.etcd, dir, false)), generate_(options.seed) {}

  int go();

 private:
  bool step();
  bool range();
  bool lease_step();
  bool watch_step();
  bool settle(StreamPair& pair);  // waits until both streams have delivered everything, and compares
  bool settle_all();
  bool hash();
  bool restart();
  void open_stream();
  bool differ(const std::string& what, const std::string& ours, const std::string& theirs);
  bool failed(const std::string& why) { return differ(why, "", ""); }

  const Options options_;
  Peer ours_, theirs_;
  Generator generate_;
  std::vector<StreamPair> streams_;
  std::deque<std::string> recent_;
  std::map<std::string, uint64_t> counts_;
  std::set<int64_t> compactions_;
  int64_t asked_compaction_ = 0;  // the highest revision whose compaction was accepted
  uint64_t events_ = 0, step_ = 0;
};

bool Run::differ(const std::string& what, const std::string& ours, const std::string& theirs) {
  std::cout << "DIFFERENCE after " << step_ << " requests, seed " << options_.seed << ": " << what << "\n  engenho: " << ours
            << "\n  etcd:    " << theirs << "\nthe requests before it:\n";
  for (const std::string& one : recent_) std::cout << "  " << one << "\n";
  std::cout << std::flush;
  return false;
}

std::string outcome(const grpc::Status& status, const std::string& text) {
  return status.ok() ? text : "error " + std::to_string(status.error_code()) + " " + status.error_message();
}

// Sends one request to both at once and compares the answers, the header first taken out of account. `describe` shows a response.
template <typename Request, typename Response, typename Start, typename Normalise, typename Describe>
bool ask_both(Peer& a, Peer& b, const Request& request, Start start, Normalise normalise_one, Describe describe, Response& answer,
              grpc::Status& status, std::string& shown_a, std::string& shown_b) {
  grpc::CompletionQueue queue;
  grpc::ClientContext context_a, context_b;
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(30);
  context_a.set_deadline(deadline);
  context_b.set_deadline(deadline);
  Response answer_a, answer_b;
  grpc::Status status_a, status_b;
  auto call_a = start(a, &context_a, request, &queue);
  auto call_b = start(b, &context_b, request, &queue);
  call_a->Finish(&answer_a, &status_a, reinterpret_cast<void*>(1));
  call_b->Finish(&answer_b, &status_b, reinterpret_cast<void*>(2));
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  normalise_one(answer_a);
  normalise_one(answer_b);
  const bool equal = status_a.error_code() == status_b.error_code() && status_a.error_message() == status_b.error_message() &&
                     (!status_a.ok() || answer_a.SerializeAsString() == answer_b.SerializeAsString());
  if (!equal) {
    shown_a = outcome(status_a, describe(answer_a));
    shown_b = outcome(status_b, describe(answer_b));
  }
  answer = std::move(answer_a);
  status = status_a;
  return equal;
}

template <typename Message>
void strip(Message& message) {
  if (message.has_header()) normalise(message.mutable_header());
}

#define ENGENHO_START(stub, method) \
  [](Peer& peer, grpc::ClientContext* context, const auto& request, grpc::CompletionQueue* queue) { \
    return peer.stub->Async##method(context, request, queue); \
  }

bool Run::range() {
  const pb::RangeRequest request = generate_.range();
  recent_.push_back(show(request));
  pb::RangeResponse answer;
  grpc::Status status;
  std::string a, b;
  if (!ask_both(ours_, theirs_, request, ENGENHO_START(kv, Range), [&](auto& one) { normalise(request, &one); },
                [](const auto& one) { return show(one); }, answer, status, a, b))
    return differ(show(request), a, b);
  ++counts_["range"];
  return true;
}

bool Run::lease_step() {
  grpc::Status status;
  std::string a, b;
  const int64_t id = generate_.lease();
  switch (generate_.number(6)) {
    case 0:
    case 1: {
      pb::LeaseGrantRequest request;
      request.set_id(id);
      const int64_t ttls[] = {1000, 5000, 86400, 9'000'000'001};
      request.set_ttl(ttls[generate_.number(4)]);
      recent_.push_back("grant " + std::to_string(id) + " " + std::to_string(request.ttl()));
      pb::LeaseGrantResponse answer;
      const auto describe = [](const auto& one) { return "rev=" + std::to_string(one.header().revision()) + " ttl=" + std::to_string(one.ttl()); };
      if (!ask_both(ours_, theirs_, request, ENGENHO_START(lease, LeaseGrant), [](auto& one) { strip(one); }, describe, answer, status, a, b))
        return differ(recent_.back(), a, b);
      break;
    }
    case 2: {
      pb::LeaseRevokeRequest request;
      request.set_id(id);
      recent_.push_back("revoke " + std::to_string(id));
      pb::LeaseRevokeResponse answer;
      if (!ask_both(ours_, theirs_, request, ENGENHO_START(lease, LeaseRevoke), [](auto& one) { strip(one); },
                    [](const auto& one) { return "rev=" + std::to_string(one.header().revision()); }, answer, status, a, b))
        return differ(recent_.back(), a, b);
      if (status.ok()) generate_.revision = std::max(generate_.revision, answer.header().revision());
      break;
    }
    case 3:
    case 4: {
      pb::LeaseTimeToLiveRequest request;
      request.set_id(id);
      request.set_keys(true);
      recent_.push_back("time to live " + std::to_string(id));
      pb::LeaseTimeToLiveResponse answer;
      const auto strip_ttl = [](pb::LeaseTimeToLiveResponse& one) {
        strip(one);
        if (one.ttl() > 0) one.set_ttl(1);  // it runs
        std::sort(one.mutable_keys()->begin(), one.mutable_keys()->end());
      };
      const auto describe = [](const auto& one) {
        std::string out = "rev=" + std::to_string(one.header().revision()) + " ttl=" + std::to_string(one.ttl()) + " granted=" + std::to_string(one.grantedttl());
        for (const auto& key : one.keys()) out += " " + quoted(key);
        return out;
      };
      if (!ask_both(ours_, theirs_, request, ENGENHO_START(lease, LeaseTimeToLive), strip_ttl, describe, answer, status, a, b))
        return differ(recent_.back(), a, b);
      break;
    }
    default: {
      pb::LeaseLeasesRequest request;
      recent_.push_back("leases");
      pb::LeaseLeasesResponse answer;
      const auto sort = [](pb::LeaseLeasesResponse& one) {
        strip(one);
        std::sort(one.mutable_leases()->begin(), one.mutable_leases()->end(), [](const auto& x, const auto& y) { return x.id() < y.id(); });
      };
      const auto describe = [](const auto& one) {
        std::string out;
        for (const auto& lease : one.leases()) out += " " + std::to_string(lease.id());
        return out;
      };
      if (!ask_both(ours_, theirs_, request, ENGENHO_START(lease, LeaseLeases), sort, describe, answer, status, a, b)) return differ(recent_.back(), a, b);
    }
  }
  ++counts_["lease"];
  return true;
}

void Run::open_stream() {
  StreamPair pair;
  pair.ours = std::make_unique<WatchStream>(ours_);
  pair.theirs = std::make_unique<WatchStream>(theirs_);
  streams_.push_back(std::move(pair));
}

bool Run::settle(StreamPair& pair) {
  if (!pair.open.empty() && !pair.ours->wait_progress(generate_.revision))
    return failed("our watch stream does not come to revision " + std::to_string(generate_.revision));
  if (const std::string broken = pair.ours->broken(); !broken.empty()) return failed("our watch stream: " + broken);
  for (const auto& [id, request] : pair.open) {
    const std::vector<mvccpb::Event> ours = pair.ours->record(id).events;
    const bool came = pair.theirs->wait_events(id, ours.size());
    const std::vector<mvccpb::Event> theirs = pair.theirs->record(id).events;
    const std::string name = show(request) + " (watch " + std::to_string(id) + ")";
    for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
      mvccpb::Event one = ours[i];
      // From the compacted revision on etcd has the events but not always what was before; we keep that, too.
      if (one.has_prev_kv() && !theirs[i].has_prev_kv() && one.kv().mod_revision() <= asked_compaction_) one.clear_prev_kv();
      if (one.SerializeAsString() != theirs[i].SerializeAsString())
        return differ(name + ", event " + std::to_string(i), show(ours[i]), show(theirs[i]));
    }
    if (!came || ours.size() != theirs.size())
      return differ(name, std::to_string(ours.size()) + " events" + (ours.empty() ? "" : ", the last " + show(ours.back())),
                    std::to_string(theirs.size()) + " events" + (theirs.empty() ? "" : ", the last " + show(theirs.back())));
    events_ += ours.size();
  }
  pair.ours->clear_events();
  pair.theirs->clear_events();
  return true;
}

bool Run::settle_all() {
  for (StreamPair& pair : streams_)
    if (!settle(pair)) return false;
  return true;
}

bool Run::watch_step() {
  if (streams_.empty() || (streams_.size() < 4 && generate_.chance(10))) open_stream();
  StreamPair& pair = streams_[generate_.number(streams_.size())];
  ++counts_["watch"];
  if (pair.open.size() > 12 || (!pair.open.empty() && generate_.chance(30))) {
    if (!settle(pair)) return false;
    auto at = pair.open.begin();
    std::advance(at, static_cast<long>(generate_.number(pair.open.size())));
    const int64_t id = at->first;
    recent_.push_back("cancel watch " + std::to_string(id));
    for (WatchStream* stream : {pair.ours.get(), pair.theirs.get()}) stream->cancel(id);
    for (WatchStream* stream : {pair.ours.get(), pair.theirs.get()})
      if (!stream->wait_canceled(id)) return failed("no answer to a cancellation from " + std::string(stream == pair.ours.get() ? "engenho" : "etcd"));
    const WatchRecord a = pair.ours->record(id), b = pair.theirs->record(id);
    if (a.compact_revision != b.compact_revision || a.cancel_header_revision != b.cancel_header_revision || a.cancel_reason != b.cancel_reason)
      return differ(recent_.back(), std::to_string(a.cancel_header_revision) + " " + a.cancel_reason, std::to_string(b.cancel_header_revision) + " " + b.cancel_reason);
    pair.ours->forget(id);
    pair.theirs->forget(id);
    pair.open.erase(at);
    return true;
  }
  const pb::WatchCreateRequest request = generate_.watch();
  recent_.push_back(show(request));
  auto a = pair.ours->create(request), b = pair.theirs->create(request);
  if (!a || !b) return failed(std::string("no answer to a new watch from ") + (a ? "etcd" : "engenho"));
  normalise(a->mutable_header());
  normalise(b->mutable_header());
  const auto describe = [](const pb::WatchResponse& one) {
    return "id=" + std::to_string(one.watch_id()) + " rev=" + std::to_string(one.header().revision()) + (one.canceled() ? " canceled " : " ") + one.cancel_reason();
  };
  if (a->SerializeAsString() != b->SerializeAsString()) return differ(recent_.back(), describe(*a), describe(*b));
  if (a->canceled()) return true;
  const int64_t id = a->watch_id();
  if (request.start_revision() > 0 && request.start_revision() < asked_compaction_) {
    // Both end it, and say from where on there is something.
    if (!pair.ours->wait_canceled(id)) return failed("engenho does not end a watch from a compacted revision");
    if (!pair.theirs->wait_canceled(id)) return failed("etcd does not end a watch from a compacted revision");
    const WatchRecord x = pair.ours->record(id), y = pair.theirs->record(id);
    const auto show_end = [](const WatchRecord& one) {
      return "compacted at " + std::to_string(one.compact_revision) + " rev=" + std::to_string(one.cancel_header_revision) + " " + one.cancel_reason;
    };
    if (show_end(x) != show_end(y) || !x.events.empty() || !y.events.empty()) return differ(recent_.back(), show_end(x), show_end(y));
    // etcd keeps the id of such a watch taken until it is canceled; clients never use one again. So this stream is given up.
    if (!settle(pair)) return false;
    streams_.erase(streams_.begin() + (&pair - streams_.data()));
    return true;
  }
  pair.open[id] = request;
  return true;
}

bool Run::hash() {
  pb::HashKVRequest request;
  if (generate_.chance(50)) request.set_revision(std::max<int64_t>(0, generate_.some_revision()));
  // etcd remembers the hashes that it made while compacting, and answers those for these revisions.
  if (compactions_.contains(request.revision())) request.set_revision(0);
  recent_.push_back("hashkv " + std::to_string(request.revision()));
  pb::HashKVResponse answer;
  grpc::Status status;
  std::string a, b;
  const auto describe = [](const auto& one) {
    return "rev=" + std::to_string(one.header().revision()) + " hash=" + std::to_string(one.hash()) + " compacted=" + std::to_string(one.compact_revision());
  };
  ++counts_["hashkv"];
  return ask_both(ours_, theirs_, request, ENGENHO_START(maintenance, HashKV), [](auto& one) { strip(one); }, describe, answer, status, a, b) ||
         differ(recent_.back(), a, b);
}

// Both end in the middle of everything and come back.
bool Run::restart() {
  if (!settle_all()) return false;
  recent_.push_back("restart");
  streams_.clear();
  for (Peer* peer : {&ours_, &theirs_}) {
    peer->process->stop(std::chrono::seconds(20));
    if (Status status = start_peer(*peer); !status.ok()) return failed(status.message());
  }
  ++counts_["restart"];
  return hash();
}

bool Run::step() {
  grpc::Status status;
  std::string a, b;
  const uint64_t kind = generate_.number(1000);
  if (kind < 300) return range();
  if (kind < 620) {
    const pb::PutRequest request = generate_.put();
    recent_.push_back(show(request));
    pb::PutResponse answer;
    const auto describe = [](const auto& one) { return "rev=" + std::to_string(one.header().revision()) + (one.has_prev_kv() ? " before: " + show(one.prev_kv()) : ""); };
    if (!ask_both(ours_, theirs_, request, ENGENHO_START(kv, Put), [](auto& one) { strip(one); }, describe, answer, status, a, b))
      return differ(show(request), a, b);
    if (status.ok()) generate_.revision = answer.header().revision();
    ++counts_["put"];
    return true;
  }
  if (kind < 740) {
    const pb::DeleteRangeRequest request = generate_.remove();
    recent_.push_back(show(request));
    pb::DeleteRangeResponse answer;
    const auto describe = [](const auto& one) { return "rev=" + std::to_string(one.header().revision()) + " deleted=" + std::to_string(one.deleted()); };
    if (!ask_both(ours_, theirs_, request, ENGENHO_START(kv, DeleteRange), [](auto& one) { strip(one); }, describe, answer, status, a, b))
      return differ(show(request), a, b);
    if (status.ok()) generate_.revision = answer.header().revision();
    ++counts_["delete"];
    return true;
  }
  if (kind < 920) {
    const pb::TxnRequest request = generate_.txn();
    recent_.push_back(show(request));
    pb::TxnResponse answer;
    if (!ask_both(ours_, theirs_, request, ENGENHO_START(kv, Txn), [&](auto& one) { normalise(request, &one); },
                  [](const auto& one) { return show(one); }, answer, status, a, b))
      return differ(show(request), a, b);
    if (status.ok()) generate_.revision = answer.header().revision();
    ++counts_[status.ok() ? "txn" : "txn refused"];
    return true;
  }
  if (kind < 965) return lease_step();
  if (kind < 996) return watch_step();
  if (kind < 999) {
    if (!settle_all()) return false;
    // A watch of etcd's that is still behind would be ended by it. Twice: an answer may be one to an earlier request.
    for (StreamPair& pair : streams_)
      for (int i = 0; i < 2 && !pair.open.empty(); ++i)
        if (!pair.theirs->wait_progress(generate_.revision)) return failed("etcd's watch stream does not come to the newest revision");
    const pb::CompactionRequest request = generate_.compact();
    recent_.push_back("compact " + std::to_string(request.revision()) + (request.physical() ? " physical" : ""));
    pb::CompactionResponse answer;
    if (!ask_both(ours_, theirs_, request, ENGENHO_START(kv, Compact), [](auto& one) { strip(one); },
                  [](const auto& one) { return "rev=" + std::to_string(one.header().revision()); }, answer, status, a, b))
      return differ(recent_.back(), a, b);
    if (status.ok()) {
      generate_.compacted = asked_compaction_ = request.revision();
      compactions_.insert(request.revision());
    }
    ++counts_["compact"];
    return !request.physical() || hash();
  }
  return generate_.chance(10) ? restart() : hash();
}

int Run::go() {
  for (Peer* peer : {&ours_, &theirs_}) {
    if (Status status = start_peer(*peer); !status.ok()) {
      std::cerr << "etcd_differential: " << status.message() << "\n";
      return 2;
    }
  }
  const auto began = std::chrono::steady_clock::now();
  const auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(); };
  for (step_ = 0; step_ < options_.ops && (options_.seconds == 0 || spent() < static_cast<double>(options_.seconds)); ++step_) {
    if (!step()) return 1;
    while (recent_.size() > 40) recent_.pop_front();
    if (step_ % 2000 == 1999 && !settle_all()) return 1;
    if (step_ % 100000 == 99999) std::cout << step_ + 1 << " requests after " << static_cast<int>(spent()) << " s" << std::endl;
  }
  if (!settle_all() || !hash()) return 1;
  std::cout << step_ << " requests without a difference in " << static_cast<int>(spent()) << " s, " << events_ << " watch events, revision "
            << generate_.revision << ", compacted " << generate_.compacted << ";";
  for (const auto& [name, count] : counts_) std::cout << " " << name << " " << count;
  std::cout << std::endl;
  return 0;
}

}  // namespace

}  // namespace engenho::datastore::differential

int main(int argc, char** argv) {
  using namespace engenho;
  using namespace engenho::datastore::differential;
  Options options;
  options.seed = random_u64() % 1'000'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    int64_t number = 0;
    const bool numeric = parse_int(value, number) && number >= 0;
    if (name == "--engenho") options.engenho = value;
    else if (name == "--etcd") options.etcd = value;
    else if (name == "--dir") options.dir = value;
    else if (name == "--ops" && numeric) options.ops = static_cast<uint64_t>(number);
    else if (name == "--seed" && numeric) options.seed = static_cast<uint64_t>(number);
    else if (name == "--seconds" && numeric) options.seconds = number;
    else {
      std::cerr << "etcd_differential: unexpected " << name << " " << value << "\n";
      return 2;
    }
  }
  if (argc % 2 == 0 || options.engenho.empty() || options.etcd.empty()) {
    std::cerr << "usage: etcd_differential --engenho PROGRAM --etcd PROGRAM [--ops N] [--seed N] [--seconds LIMIT] [--dir DIR]\n";
    return 2;
  }
  std::string dir = options.dir + "/engenho-differential-XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) {
    std::cerr << "etcd_differential: mkdtemp " << dir << ": " << std::strerror(errno) << "\n";
    return 2;
  }
  std::cout << "seed " << options.seed << std::endl;
  int result;
  {
    Run run(options, dir);
    result = run.go();
  }
  if (result == 0) std::filesystem::remove_all(dir);
  else std::cout << "data and logs are kept in " << dir << std::endl;
  return result;
}
