// Random requests of etcd's API, from a seed. Keys come from a small pool, so that they meet; revisions lie around the present ones,
// so that compacted and future ones occur.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "etcd.pb.h"

namespace engenho::datastore::differential {

namespace pb = etcdserverpb;

class Generator {
 public:
  explicit Generator(uint64_t seed);

  // What the answers have shown so far.
  int64_t revision = 1, compacted = 0;

  pb::RangeRequest range();
  pb::PutRequest put();
  pb::DeleteRangeRequest remove();
  pb::TxnRequest txn(int depth = 0);
  pb::CompactionRequest compact();
  pb::WatchCreateRequest watch();
  int64_t lease();            // an id of the pool, mostly granted
  int64_t some_revision();    // 0, or around [compacted, revision]
  bool chance(int percent) { return static_cast<int>(number(100)) < percent; }
  uint64_t number(uint64_t below) { return std::uniform_int_distribution<uint64_t>(0, below - 1)(random_); }

 private:
  std::string key();
  std::string value();
  std::string range_end(const std::string& key);
  pb::Compare compare();
  pb::RequestOp op(int depth);
  pb::DeleteRangeRequest remove_in_txn();

  std::mt19937_64 random_;
  std::vector<std::string> keys_;
  bool nested_deletes_ = false;
};

}  // namespace engenho::datastore::differential
