// Plugs the Pangea component into the API server: the subresources that it answers.
#pragma once

#include <memory>

#include "engenho/apiserver/server.h"
#include "engenho/client/transport.h"

namespace engenho {

// Before api.start().
void add_pangea_subresources(const std::shared_ptr<apiserver::ApiServer>& api);

}  // namespace engenho
