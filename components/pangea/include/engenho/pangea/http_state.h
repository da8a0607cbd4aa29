// Terraform's `http` backend over a StateStore: what its client sends, as a function from request to answer. Whoever serves it authenticates, authorizes
// and limits the size of bodies.
//
//   GET                 200 and the document, with its Content-MD5; 404 when there is none
//   POST ?ID=lock       stores the body. 400 not a state, or another Content-MD5; 409 of another lineage, or its serial goes back; 423 locked by another
//   LOCK                takes the lock that the body describes; 423 with the holder's description as body. The same lock twice is one lock
//   UNLOCK              gives it back; 423 when another holds it. Without a body, and without ?ID=, whoever holds it loses it: that is what
//                       `terraform force-unlock` sends
//   DELETE ?ID=lock     the state goes into the history
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "engenho/magma/state_store.h"
#include "engenho/pangea/cluster_state.h"

namespace engenho::pangea {

struct StateRequest {
  std::string method;
  std::string lock_id;      // ?ID=
  std::string content_md5;  // header field; may be empty
  std::string body;
};
struct StateAnswer {
  int status = 200;
  std::string body;
  std::string content_md5;  // of a document; else empty
  std::string content_type = "application/json";
};

// Thread-safe.
class HttpState {
 public:
  // Over a state in the cluster, which knows its lock's id itself: an instance for each request will do. Give it ClusterStateOptions with renew = false
  // and a long lease: such a client's lock is not renewed by anyone.
  explicit HttpState(ClusterState& state);
  // Over any store. The locks are known to this instance only: it must live as long as they do.
  explicit HttpState(magma::StateStore& state);
  ~HttpState();

  StateAnswer handle(const StateRequest& request);
  // Gives back what was locked through this instance and not unlocked: its client is gone.
  void release_taken();

  // The lock's lifetime for clients that do not renew.
  static constexpr Duration kClientLease = std::chrono::hours(24);

 private:
  struct Locks;
  struct ClusterLocks;
  struct OwnLocks;
  StateAnswer get();
  StateAnswer post(const StateRequest& request);
  StateAnswer lock(const StateRequest& request);
  StateAnswer unlock(const StateRequest& request);
  StateAnswer remove(const StateRequest& request);
  // Calls `work` with a token that may write.
  StateAnswer with_token(const std::string& lock_id, const std::function<Status(uint64_t)>& work);

  magma::StateStore& state_;
  std::unique_ptr<Locks> locks_;
  std::mutex mutex_;             // guards `taken_`
  std::set<std::string> taken_;  // ids of locks
};

}  // namespace engenho::pangea
