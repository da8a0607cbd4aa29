// The objects that every cluster has, made at start when they are missing: namespaces, roles and bindings, priority classes, flow
// schemas, the service "kubernetes" (endpoint_keeper.h has its endpoints).
#pragma once

#include <initializer_list>
#include <string>

#include "context.h"
#include "rest.h"

namespace engenho::apiserver {

// Writes objects as the server itself.
class Bootstrapper {
 public:
  explicit Bootstrapper(Rest& rest);
  // Creates `object` unless one of that name is there.
  Status ensure(json::Value object);
  // A role that is there from an earlier version gets the rules it lacks; what others added stays.
  Status add_rules(json::Value object);
  // Replaces what differs in these members: for objects that the server itself keeps.
  Status keep(json::Value object, std::initializer_list<const char*> members);

 private:
  Rest& rest_;
  Context context_;
};

json::Value object_of(const char* api_version, const char* kind, const std::string& name, const std::string& ns = "");

struct BootstrapOptions {
  std::string service_address;      // the first of the service range
  int advertise_port = 6443;
  std::string service_cidr;
};
Status bootstrap(Rest& rest, const BootstrapOptions& options);

}  // namespace engenho::apiserver
