// `engenho magma …`: the native executor on a directory, without a cluster. The commands and flags are those of terraform.
#pragma once

#include <string>
#include <vector>

#include "engenho/base/json.h"

namespace engenho::magma {

// Without the program's and the command's own name. 0 good, 1 failed, 2 wrong usage or, with -detailed-exitcode, a plan with changes.
int magma_command(const std::vector<std::string>& arguments);

// All *.tf.json files of a directory as one configuration document. HCL (*.tf) is refused.
Result<json::Value> read_configuration(const std::string& directory);

}  // namespace engenho::magma
