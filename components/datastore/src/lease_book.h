// The leases and when they expire. In memory; the rows on disk are the writer's. Which keys hang on a lease is on disk
// only, so that a lease costs the same whatever hangs on it.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "codec.h"
#include "engenho/base/clock.h"
#include "engenho/datastore/store.h"

namespace engenho::datastore {

// Thread-safe.
class LeaseBook {
 public:
  explicit LeaseBook(Clock& clock) : clock_(clock) {}

  // Starts a lease read from disk. One that a client renews gets its whole TTL again, for the client could not renew it while
  // we were away; any other ends when it would have ended.
  void load(LeaseId id, const GrantRow& row);
  void clear();
  // What to write on disk for a lease granted now.
  GrantRow grant(LeaseId id, int64_t ttl_seconds);
  bool exists(LeaseId id) const;
  bool expired(LeaseId id) const;
  std::optional<GrantRow> row(LeaseId id) const;
  void remove(LeaseId id);

  struct Renewal {
    int64_t ttl_seconds = 0;
    bool first = false;  // the row on disk must now say kept_alive
  };
  // nullopt: no such lease, or it has expired and waits to be revoked.
  std::optional<Renewal> renew(LeaseId id);
  std::optional<LeaseInfo> info(LeaseId id) const;
  std::vector<LeaseId> ids() const;  // the soonest to expire first
  size_t size() const;

  // Up to `limit` leases that are due. Each is out of the line of deadlines until retry() or remove().
  std::vector<LeaseId> take_due(size_t limit);
  void retry(LeaseId id, Duration delay);
  std::optional<MonoTime> next_deadline() const;

 private:
  struct Lease {
    GrantRow row;
    MonoTime deadline;  // when it expires
    MonoTime line;      // its place in deadlines_: the deadline, or later after a failed attempt to revoke it
  };
  void insert(LeaseId id, const GrantRow& row, Duration remaining);

  Clock& clock_;
  mutable std::mutex mutex_;
  std::map<LeaseId, Lease> leases_;
  std::set<std::pair<MonoTime, LeaseId>> deadlines_;
};

}  // namespace engenho::datastore
