// The head of a state in the cluster, as a value, and its Secret.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engenho/catalog/core_v1.h"
#include "engenho/pangea/cluster_state.h"

namespace engenho::pangea {

inline constexpr const char* kStateLabel = "pangea.pleme.io/state";          // the key
inline constexpr const char* kPartLabel = "pangea.pleme.io/state-part";      // head, piece, cursor
inline constexpr const char* kFenceLabel = "pangea.pleme.io/fencing-token";  // of a piece
inline constexpr const char* kEpochLabel = "pangea.pleme.io/cursor-epoch";

struct StoredVersion {
  StateVersion info;
  uint64_t fence = 0;               // token under which it was written
  bool in_head = false;             // the bytes are in the head itself
  std::vector<std::string> pieces;  // names of Secrets, in order
};

struct Head {
  std::string resource_version;  // empty: not stored yet
  uint64_t fence = 0;            // the newest lock's token
  std::string lock_id;           // and id
  int64_t last_version = 0;
  std::optional<StoredVersion> current;
  std::vector<StoredVersion> history;  // newest first
  std::string bytes;                   // of `current` when in_head
  uint64_t cursor_epoch = 0;
  int cursor_segments = 0;

  bool refers_to(const std::string& piece) const;
};

std::string head_name(const std::string& key);
std::string cursor_name(const std::string& key, uint64_t epoch, int segment);
std::string piece_name(const std::string& key, uint64_t token, std::string_view bytes);

k8s::core_v1::Secret head_secret(const StateName& name, const Head& head);
Result<Head> parse_head(const k8s::core_v1::Secret& secret);
// A Secret of the state with labels and annotations; without data.
k8s::core_v1::Secret state_secret(const StateName& name, std::string object_name, const char* part);

}  // namespace engenho::pangea
