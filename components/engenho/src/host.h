// Facts about this machine.
#pragma once

#include <string>

namespace engenho {

// The IPv4 address of the interface of the default route, else of the first interface that is up and not
// loopback, else 127.0.0.1. Sends nothing.
std::string default_address();

}  // namespace engenho
