#include "engenho/client/leader.h"

#include <atomic>
#include <mutex>

#include "engenho/base/log.h"
#include "engenho/catalog/coordination_v1.h"

namespace engenho::client {

namespace coordination_v1 = k8s::coordination_v1;

namespace {

class Election {
 public:
  Election(Client& client, const LeaderOptions& options) : client_(client), options_(options) {}

  // Takes the Lease, or holds it for longer. False: somebody else has it.
  Result<bool> take() {
    const WallTime now = Clock::real().wall();
    auto found = client_.get<coordination_v1::Lease>(options_.namespace_name, options_.name);
    if (!found && !found.error().not_found()) return err(found.error());
    if (!found) {
      coordination_v1::Lease fresh;
      fresh.metadata.namespace_ = options_.namespace_name;
      fresh.metadata.name = options_.name;
      hold(fresh, now, 0);
      auto made = client_.create(fresh);
      if (!made && made.error().already_exists()) return false;
      if (!made) return err(made.error());
      return true;
    }
    // Whether the holder lives is judged by this process's own clock: has the Lease changed of late?
    if (found->metadata.resource_version != seen_version_) {
      seen_version_ = found->metadata.resource_version;
      seen_at_ = std::chrono::steady_clock::now();
    }
    const std::string holder = found->spec.holder_identity.value_or("");
    const bool ours = holder == options_.identity;
    const auto valid = std::chrono::seconds(found->spec.lease_duration_seconds.value_or(0));
    if (!ours && !holder.empty() && std::chrono::steady_clock::now() < seen_at_ + valid) return false;
    const int32_t transitions = found->spec.lease_transitions.value_or(0);
    const auto since = found->spec.acquire_time;
    hold(*found, now, ours ? transitions : transitions + 1);
    if (ours) found->spec.acquire_time = since;
    auto updated = client_.update(*found);
    if (!updated && updated.error().conflict()) return false;
    if (!updated) return err(updated.error());
    seen_version_ = updated->metadata.resource_version;
    seen_at_ = std::chrono::steady_clock::now();
    return true;
  }

  void give_up() {
    auto found = client_.get<coordination_v1::Lease>(options_.namespace_name, options_.name);
    if (!found || found->spec.holder_identity.value_or("") != options_.identity) return;
    found->spec.holder_identity = "";
    found->spec.lease_duration_seconds = 1;
    (void)client_.update(*found);  // else it runs out by itself
  }

 private:
  void hold(coordination_v1::Lease& lease, WallTime now, int32_t transitions) const {
    lease.spec.holder_identity = options_.identity;
    lease.spec.lease_duration_seconds = static_cast<int32_t>(std::chrono::duration_cast<std::chrono::seconds>(options_.lease).count());
    lease.spec.acquire_time = now;
    lease.spec.renew_time = now;
    lease.spec.lease_transitions = transitions;
  }

  Client& client_;
  const LeaderOptions& options_;
  std::string seen_version_;
  MonoTime seen_at_{};
};

}  // namespace

void lead_while_elected(Client& client, const LeaderOptions& options, const StopToken& stop, const std::function<void(StopToken)>& lead) {
  Election election(client, options);
  while (!stop.stopped()) {
    MonoTime asked = std::chrono::steady_clock::now();
    auto taken = election.take();
    if (!taken || !*taken) {
      if (!taken) log::debug("leader", "{}: {}", options.name, taken.error().message());
      if (stop.wait_for(options.retry)) return;
      continue;
    }
    log::info("leader", "{} leads {}", options.identity, options.name);
    // A renewal may hang for longer than the Lease is good, so another thread does it. The time that counts is when it was asked for.
    std::atomic<MonoTime> renewed{asked};
    std::atomic<bool> lost{false};
    TaskGroup work("lead"), renewals("renew");
    work.spawn(options.name, lead);
    renewals.spawn(options.name, [&](StopToken end) {
      while (!end.wait_for(options.retry)) {
        const MonoTime at = std::chrono::steady_clock::now();
        auto again = election.take();
        if (again && *again) renewed = at;
        else if (again) lost = true;
        if (lost) return;
      }
    });
    bool ending = false;
    while (!ending && !lost) {
      const Duration left = renewed.load() + options.renew_deadline - std::chrono::steady_clock::now();
      if (left <= Duration::zero()) break;
      ending = stop.wait_for(std::min<Duration>(left, options.retry / 4));
    }
    if (!ending) log::warn("leader", "{} no longer leads {}", options.identity, options.name);
    work.stop();
    renewals.stop();
    if (ending) election.give_up();
  }
}

}  // namespace engenho::client
