// The command line alone, without the rest of engenho: for tests that kill it.
#include <csignal>

#include "engenho/magma/command.h"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return engenho::magma::magma_command({argv + 1, argv + argc});
}
