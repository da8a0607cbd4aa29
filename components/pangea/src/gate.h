// The OperatorPolicy `default`: who may work. The first of template, catalog, controller and global that says something wins; `active` runs while all
// else is paused. No OperatorPolicy: all may.
#pragma once

#include <string>

#include "environment.h"

namespace engenho::pangea {

struct Gate {
  bool run = true;
  std::string source;    // "template", "catalog", "controller", "global": who keeps it from running
  std::string reason;
};

// `controller`: template, namespace, workspaceCatalog, architectureGem. `name`: of a template "namespace/name". `catalog`: of a template, its
// workspace; of a catalog, itself; else empty. `policy` may be null.
Gate gate(const pangea_v1::OperatorPolicy* policy, const std::string& controller, const std::string& name, const std::string& catalog);

// The same with the policy that is there, counted; false: come back later.
int64_t skips();   // how often that was so, since the start of this process
bool may_run(Environment& e, const std::string& controller, const std::string& name, const std::string& catalog);

}  // namespace engenho::pangea
