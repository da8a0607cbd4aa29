// The lock of a state: a Lease object, renewed by a thread while it is held.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engenho/catalog/coordination_v1.h"
#include "engenho/pangea/cluster_state.h"

namespace engenho::pangea {

class StateLease {
 public:
  StateLease(std::shared_ptr<client::Client> client, StateName name, ClusterStateOptions options);
  ~StateLease();

  // Takes it for `token`. `token` is made larger when the Lease has seen a larger one. Conflict while another holds it.
  Status take(const magma::LockInfo& info, uint64_t& token);
  Status release();  // what take() took; an error when it was lost
  bool held() const;
  StopToken lost() const;

  Result<std::optional<StateLock>> holder();
  Status force_release(const std::string& id);
  Status remove();

 private:
  using Lease = k8s::coordination_v1::Lease;
  StateLock lock_of(const Lease& lease) const;
  bool free(const Lease& lease) const;
  Status locked(const Lease& lease) const;
  Status renew();

  const std::shared_ptr<client::Client> client_;
  const StateName name_;
  const ClusterStateOptions options_;
  mutable std::mutex mutex_;   // guards what follows
  std::optional<Lease> mine_;  // as last written
  StopToken lost_;
  std::unique_ptr<TaskGroup> renewal_;
};

// Creates; makes the namespace pangea-system when it is not there.
Status ensure_system_namespace(client::Client& client);
template <typename T>
Result<T> create_in_system(client::Client& client, const T& object) {
  auto made = client.create(object);
  if (made || !made.error().not_found()) return made;
  ENGENHO_TRY(ensure_system_namespace(client));
  return client.create(object);
}

}  // namespace engenho::pangea
