// terraform's backend for each kind of Backend: the block, and what goes with it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engenho/pangea/executor.h"

namespace engenho::pangea {

struct TofuBackend {
  json::Value document;                                    // backend.tf.json
  std::vector<std::string> environment;                    // "NAME=value"
  std::vector<std::pair<std::string, std::string>> files;  // name -> content, for the time of the run
};
// Errors: BadRequest for an unknown kind (with the known ones) and for settings that are missing or unknown.
Result<TofuBackend> tofu_backend(const Backend& backend, const std::string& directory);

}  // namespace engenho::pangea
