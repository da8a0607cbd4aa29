// A state in the cluster's own store, seen through the client alone. One state belongs to one template of one PangeaNamespace; two never share.
//
// Objects, all in namespace pangea-system, the Secrets of type pangea.pleme.io/state (and so encrypted at rest):
//   Secret state-KEY                  the head: serial, lineage, digest, pieces, history, the newest lock's fencing token. Replaced by compare-and-swap on
//                                     its resourceVersion: that is the moment at which a write counts. A small state is in it.
//   Secret state-KEY-TOKEN-DIGEST     a piece: up to 700 KB of the compressed document, immutable, named by its content and its writer's token
//   Secret cursor-KEY-EPOCH-N         lines of the cursor of an apply
//   Lease  state-KEY                  who holds the lock, and until when
// KEY is a digest of the three names. What a crash leaves behind is unreferenced and collected.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/client/client.h"
#include "engenho/magma/state_store.h"

namespace engenho::pangea {

inline constexpr const char* kSystemNamespace = "pangea-system";
inline constexpr const char* kStateSecretType = "pangea.pleme.io/state";

struct StateName {
  std::string pangea_namespace, template_namespace, template_name;
  std::string key() const;  // 32 hexadecimal digits
};

struct ClusterStateOptions {
  int history = 10;                           // earlier versions that are kept
  Duration lease = std::chrono::seconds(30);  // a lock that is not renewed for so long may be taken over
  bool renew = true;                          // renew as long as this object lives; false for locks of clients that only come and go
  // A server by a name that outlives its process (one process at a time has it): what an earlier process of it left locked is free at once. Empty: such
  // locks run out by themselves.
  std::string owner;
  size_t inline_bytes = 48 << 10;  // a compressed state up to this size is in the head
  size_t piece_bytes = 700'000;
  Clock* clock = &Clock::real();  // of the lease
};

struct StateVersion {
  int64_t version = 0;  // grows by one with each operation that changed the state
  uint64_t serial = 0;
  std::string lineage, digest;  // SHA-256 of the document
  size_t size = 0;              // of the document
  WallTime time{};
  bool current = false;
};

struct StateLock {
  std::string id, operation, who, info;
  WallTime since{}, until{};
};

// Thread-safe. Errors beside those of StateStore: what the API server answers.
class ClusterState final : public magma::StateStore {
 public:
  ClusterState(std::shared_ptr<client::Client> client, StateName name, ClusterStateOptions options = {});
  ~ClusterState() override;  // a lock that is held is given up

  Result<std::string> read() override;
  Status write(const std::string& document, uint64_t expected_serial, const std::string& expected_lineage, uint64_t fencing_token) override;
  Result<std::vector<std::string>> read_cursor() override;
  Status append_cursor(const std::string& line, uint64_t fencing_token) override;
  Status clear_cursor(uint64_t fencing_token) override;
  Result<uint64_t> lock(const magma::LockInfo& info) override;
  Status unlock(uint64_t fencing_token) override;

  // Serial and lineage of what is there; 0 and empty when nothing is. Without the document.
  Result<StateVersion> current();
  // Newest first, with the current one.
  Result<std::vector<StateVersion>> versions();
  Result<std::string> read_version(int64_t version);
  // Makes the content of an earlier version the newest, under the next serial; the present one goes into the history. Takes the lock.
  Status rollback(int64_t version, const std::string& who);
  // The state goes into the history and nothing is there. Terraform's DELETE.
  Status clear(uint64_t fencing_token);
  // All of it goes, history too. For a template that is destroyed. Takes the lock.
  Status purge(const std::string& who);

  // The lock as it stands; nothing when it is free or has run out.
  Result<std::optional<StateLock>> holder();
  // The token of the lock with this id, for clients that know only the id. Conflict when it is not the one that holds.
  Result<uint64_t> token_of(const std::string& lock_id);
  // Whoever holds it loses it; its writes fail from now on. NotFound when the lock is free; Conflict when `lock_id` is not the holder's ("": any).
  Status force_unlock(const std::string& lock_id);
  // Stops when a lock that this object holds is lost to another.
  StopToken lost() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Removes pieces and cursors that no head refers to and no holder of a lock can come to refer to. Returns how many.
Result<int> collect_state_orphans(client::Client& client);

}  // namespace engenho::pangea
