// Leader election by a Lease object, as client-go's: of several processes that share a cluster, one at a time works.
#pragma once

#include <functional>
#include <string>

#include "engenho/base/clock.h"
#include "engenho/base/threads.h"
#include "engenho/client/client.h"

namespace engenho::client {

struct LeaderOptions {
  std::string namespace_name = "kube-system", name;  // of the Lease
  std::string identity;                               // of this process, unlike any other's
  Duration lease = std::chrono::seconds(15);          // whole seconds; others wait so long after the last renewal that they saw
  Duration renew_deadline = std::chrono::seconds(10); // less than `lease`: without a renewal for so long, leading ends
  Duration retry = std::chrono::seconds(2);
};

// Until `stop`: waits for the Lease, and runs `lead` while it is held. Its token stops when the Lease is lost; it must then return before others take over, that
// is within lease - renew_deadline. At the end the Lease is given up at once. Blocks.
void lead_while_elected(Client& client, const LeaderOptions& options, const StopToken& stop, const std::function<void(StopToken)>& lead);

}  // namespace engenho::client
