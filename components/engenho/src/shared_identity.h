// What makes several servers on one external datastore the same cluster: its authorities, the key of its ServiceAccount tokens, and the
// keys of encryption at rest. The first server makes them and
// leaves them in the datastore, sealed under the token that all of them are given.
#pragma once

#include <string>

#include "engenho/base/status.h"
#include "engenho/datastore/store.h"

namespace engenho {

// Brings `server_dir` (<data-dir>/server) to what the datastore has, or the datastore to what the directory has. Errors name what to do: the token is another, or the directory
// is another cluster's.
Status share_identity(datastore::Store& store, const std::string& server_dir, const std::string& token);

}  // namespace engenho
