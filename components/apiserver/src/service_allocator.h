// Cluster IPs and node ports of Services: taken before a write is stored, given back when it is not, or when the Service goes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "rest.h"

namespace engenho::apiserver {

// Error: BadRequest for a CIDR that is not IPv4.
Result<std::unique_ptr<WriteHook>> make_service_allocator(Hub& hub, ResourceTable& resources, const std::string& cidr, int first_port,
                                                          int last_port);

}  // namespace engenho::apiserver
