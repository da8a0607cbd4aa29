#include "state_lease.h"

#include <algorithm>

#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "engenho/catalog/core_v1.h"
#include "state_head.h"

namespace engenho::pangea {

namespace {

constexpr const char* kLockAnnotation = "pangea.pleme.io/lock";

// Which process this is; tells a live lock of ours from one that an earlier process of the same server left.
const std::string& this_process() {
  static const std::string id = random_uuid();
  return id;
}

Status taken(const std::string& why) {
  return Status(409, reason::kConflict, "the state is locked" + (why.empty() ? "" : ": " + why));
}

}  // namespace

Status ensure_system_namespace(client::Client& client) {
  k8s::core_v1::Namespace ns;
  ns.metadata.name = kSystemNamespace;
  auto made = client.create(ns);
  return made || made.error().already_exists() ? Status() : made.error();
}

StateLease::StateLease(std::shared_ptr<client::Client> client, StateName name, ClusterStateOptions options)
    : client_(std::move(client)), name_(std::move(name)), options_(std::move(options)) {}
StateLease::~StateLease() {
  if (options_.renew) (void)release();  // else the lock belongs to a client that comes back with its id
}

StateLock StateLease::lock_of(const Lease& lease) const {
  StateLock out;
  out.id = lease.spec.holder_identity.value_or("");
  auto text = lease.metadata.annotations.find(kLockAnnotation);
  if (text != lease.metadata.annotations.end()) {
    if (auto v = json::parse(text->second)) {
      out.operation = v->str_at({"operation"});
      out.who = v->str_at({"who"});
      out.info = v->str_at({"info"});
    }
  }
  out.since = lease.spec.acquire_time.value_or({});
  out.until = lease.spec.renew_time.value_or({}) + std::chrono::seconds(lease.spec.lease_duration_seconds.value_or(0));
  return out;
}

// Clocks of several machines need not agree: fencing keeps a state right whatever they say, they only decide how soon a dead holder's lock is taken.
bool StateLease::free(const Lease& lease) const {
  if (lease.spec.holder_identity.value_or("").empty() || lock_of(lease).until < options_.clock->wall()) return true;
  auto text = lease.metadata.annotations.find(kLockAnnotation);
  auto lock = text == lease.metadata.annotations.end() ? Result<json::Value>(json::Value()) : json::parse(text->second);
  return lock && !options_.owner.empty() && lock->str_at({"owner"}) == options_.owner && lock->str_at({"process"}) != this_process();
}

Status StateLease::locked(const Lease& lease) const {
  const StateLock lock = lock_of(lease);
  return taken("lock " + lock.id + (lock.operation.empty() ? "" : ", " + lock.operation) + (lock.who.empty() ? "" : ", by " + lock.who) + ", since " +
               format_rfc3339(lock.since) + ", until " + format_rfc3339(lock.until));
}

Status StateLease::take(const magma::LockInfo& info, uint64_t& token) {
  std::lock_guard guard(mutex_);
  if (mine_) return taken("this process holds it");
  const std::string object = head_name(name_.key());
  auto found = client_->get<Lease>(kSystemNamespace, object);
  if (!found && !found.error().not_found()) return found.error();
  Lease lease;
  if (found) {
    if (!free(*found)) return locked(*found);
    lease = *found;
    token = std::max(token, static_cast<uint64_t>(std::max(0, lease.spec.lease_transitions.value_or(0))) + 1);
  } else {
    const auto model = state_secret(name_, object, "lock");
    lease.metadata = model.metadata;
  }
  lease.spec.holder_identity = info.id;
  lease.spec.lease_duration_seconds = static_cast<int32_t>(std::max<int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(options_.lease).count()));
  lease.spec.acquire_time = lease.spec.renew_time = options_.clock->wall();
  lease.spec.lease_transitions = static_cast<int32_t>(std::min<uint64_t>(token, INT32_MAX));
  lease.metadata.annotations[kLockAnnotation] =
      json::dump(json::Object{{"operation", info.operation}, {"who", info.who}, {"info", info.info}, {"owner", options_.owner}, {"process", this_process()}});
  auto written = found ? client_->update(lease) : create_in_system(*client_, lease);
  if (!written) {
    if (written.error().conflict() || written.error().already_exists()) return taken("another was faster");
    return written.error();
  }
  mine_ = std::move(*written);
  lost_ = StopToken();
  if (options_.renew) {
    renewal_ = std::make_unique<TaskGroup>("state-lock");
    renewal_->spawn("renew", [this, lost = lost_](StopToken end) mutable {
      while (!end.wait_for(options_.lease / 3)) {
        const Status s = renew();
        if (s.ok()) continue;
        if (!s.conflict()) {
          log::debug("pangea", "lock of state {}: {}", name_.key(), s.message());
          continue;  // the next time may do; until then the lease still runs, and after it fencing decides
        }
        log::warn("pangea", "lost the lock of the state of {}/{} in {}: {}", name_.template_namespace, name_.template_name, name_.pangea_namespace,
                  s.message());
        lost.request_stop();
        return;
      }
    });
  }
  return {};
}

Status StateLease::renew() {
  std::lock_guard guard(mutex_);
  if (!mine_) return {};
  mine_->spec.renew_time = options_.clock->wall();
  auto written = client_->update(*mine_);
  if (written) {
    mine_ = std::move(*written);
    return {};
  }
  if (!written.error().conflict() && !written.error().not_found()) return written.error();
  auto found = client_->get<Lease>(kSystemNamespace, mine_->metadata.name);
  if (!found && !found.error().not_found()) return found.error();
  if (!found || found->spec.holder_identity != mine_->spec.holder_identity || found->spec.lease_transitions != mine_->spec.lease_transitions) {
    mine_.reset();
    return taken(!found ? "the Lease is gone" : lock_of(*found).id.empty() ? "the lock was broken by force" : "by " + lock_of(*found).id);
  }
  // Somebody changed something else about it.
  found->spec.renew_time = options_.clock->wall();
  written = client_->update(*found);
  if (written) mine_ = std::move(*written);
  return written ? Status() : unavailable(written.error().message());
}

Status StateLease::release() {
  std::unique_ptr<TaskGroup> renewal;
  {
    std::lock_guard guard(mutex_);
    renewal = std::move(renewal_);
  }
  if (renewal) renewal->stop();  // not under the mutex: the thread takes it
  std::lock_guard guard(mutex_);
  if (!mine_) return taken("by another since: it ran out");
  Lease lease = std::move(*mine_);
  mine_.reset();
  const std::string id = lease.spec.holder_identity.value_or("");
  for (int attempt = 0; attempt < 3; ++attempt) {
    lease.spec.holder_identity = "";
    lease.spec.lease_duration_seconds = 1;
    auto written = client_->update(lease);
    if (written) return {};
    if (!written.error().conflict()) return written.error();  // it runs out by itself
    auto found = client_->get<Lease>(kSystemNamespace, lease.metadata.name);
    if (!found) return found.error();
    if (found->spec.holder_identity.value_or("") != id) return taken("by another since");
    lease = std::move(*found);
  }
  return taken("the Lease could not be given back");
}

bool StateLease::held() const {
  std::lock_guard guard(mutex_);
  return mine_.has_value();
}

StopToken StateLease::lost() const {
  std::lock_guard guard(mutex_);
  return lost_;
}

Result<std::optional<StateLock>> StateLease::holder() {
  auto found = client_->get<Lease>(kSystemNamespace, head_name(name_.key()));
  if (!found && found.error().not_found()) return std::optional<StateLock>();
  if (!found) return err(found.error());
  if (free(*found)) return std::optional<StateLock>();
  return std::optional<StateLock>(lock_of(*found));
}

Status StateLease::force_release(const std::string& id) {
  for (int attempt = 0; attempt < 5; ++attempt) {
    auto found = client_->get<Lease>(kSystemNamespace, head_name(name_.key()));
    if (!found && !found.error().not_found()) return found.error();
    if (!found || free(*found)) return not_found_error("the state is not locked");
    if (!id.empty() && found->spec.holder_identity.value_or("") != id) return locked(*found);
    found->spec.holder_identity = "";
    found->spec.lease_duration_seconds = 1;
    auto written = client_->update(*found);
    if (written || !written.error().conflict()) return written ? Status() : written.error();
  }
  return taken("it changes all the time");
}

Status StateLease::remove() {
  const Status s = client_->remove<Lease>(kSystemNamespace, head_name(name_.key()));
  return s.not_found() ? Status() : s;
}

}  // namespace engenho::pangea
