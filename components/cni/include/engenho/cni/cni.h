// The executable as a CNI plugin (CNI specification 0.3.1 to 1.0.0): types "engenho" (bridge, host-local addresses, host ports)
// and "loopback". The runtime calls it by the symlinks that install() makes.
#pragma once

#include <string>

#include "engenho/base/status.h"

namespace engenho::cni {

struct Layout {
  std::string bin_dir;    // symlinks to the executable, for the runtime's plugin directory
  std::string conf_dir;   // holds 10-engenho.conflist
  std::string state_dir;  // address reservations and host port records, one file each
};
// Below <data-dir>/agent/cni.
Layout layout(const std::string& data_dir);

struct NetworkOptions {
  std::string bridge = "engenho0";
  std::string subnet;     // this node's pod CIDR, IPv4: the first address is the bridge's
  int mtu = 1500;
};
// Makes the directories, the symlinks to `executable` and the network configuration. Idempotent.
Status install(const std::string& data_dir, const std::string& executable, const NetworkOptions& options);
// For `engenho reset`: bridge, host port rules and the state directory. What is not there is fine.
Status remove_all(const std::string& data_dir, const std::string& bridge = "engenho0");

// Whether the process was called as a plugin (CNI_COMMAND is set).
bool called_as_plugin();
// Runs one command: configuration on stdin, result or error on stdout. The process's exit code.
int cni_main();

}  // namespace engenho::cni
