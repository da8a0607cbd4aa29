// Connections that the kernel tracks. UDP has none that end: a flow that once was sent to a target goes on to it, also when the target is gone, until it is
// forgotten here.
#pragma once

#include <vector>

#include "engenho/base/status.h"
#include "services.h"

namespace engenho::proxy {

// Forgets the UDP flows to services whose answers do not come from one of the service's present targets. Returns how many.
Result<size_t> forget_stale_udp(const std::vector<ServicePort>& services);

}  // namespace engenho::proxy
