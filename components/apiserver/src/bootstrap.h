// The objects that every cluster has, made at start when they are missing: namespaces, roles and bindings, priority classes, flow
// schemas, the service "kubernetes" with its endpoints.
#pragma once

#include <string>

#include "rest.h"

namespace engenho::apiserver {

struct BootstrapOptions {
  std::string service_address;      // the first of the service range
  std::string advertise_address;
  int advertise_port = 6443;
  std::string service_cidr;
};
Status bootstrap(Rest& rest, const BootstrapOptions& options);

}  // namespace engenho::apiserver
