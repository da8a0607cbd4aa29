// `engenho pangea …` against a cluster. Each returns the process's exit code: 0 good, 1 failed, 2 wrong usage.
#pragma once

#include <string>
#include <vector>

namespace engenho::pangea {

struct CliCommand {
  const char* name;
  int (*run)(const std::vector<std::string>& arguments);   // without the command's own name
  const char* help;
};
const std::vector<CliCommand>& cli_commands();

}  // namespace engenho::pangea
