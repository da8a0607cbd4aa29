// ruby_tool: the evaluator's worker for the tests, and render by hand.
#include <csignal>
#include <iostream>

#include "engenho/ruby/evaluator.h"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> arguments(argv + std::min(argc, 2), argv + argc);
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "pangea-eval-worker") return engenho::ruby::worker_main(arguments);
  if (verb == "render") return engenho::ruby::render_command(arguments);
  if (verb == "test") return engenho::ruby::test_command(arguments);
  std::cerr << "usage: ruby_tool render|test ...\n";
  return 2;
}
