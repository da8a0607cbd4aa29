#include "engenho/engenho/commands.h"

#include <csignal>

// Few arenas, and freed pages go back to the system soon.
extern "C" {
const char* malloc_conf = "narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:false";
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return engenho::run_command({argv, argv + argc});
}
