#include "engenho/magma/command.h"

#include "engenho/engenho/commands.h"

namespace engenho {

int magma_command(const Arguments& arguments) { return magma::magma_command(arguments); }

}  // namespace engenho
