// `engenho pangea COMMAND`: one table, a line for each.
#include <iostream>

#include "engenho/base/bytes.h"
#include "engenho/engenho/commands.h"
#include "engenho/pangea/cli.h"
#include "engenho/ruby/evaluator.h"

namespace engenho {

namespace {

// Those that need no cluster come first.
std::vector<pangea::CliCommand> pangea_commands() {
  std::vector<pangea::CliCommand> out = {
      {"render", ruby::render_command, "the Terraform JSON of a template, offline"},
      {"test", ruby::test_command, "checks rendered templates against assertions and golden files, offline"},
  };
  out.insert(out.end(), pangea::cli_commands().begin(), pangea::cli_commands().end());
  return out;
}

}  // namespace

int pangea_command(const Arguments& arguments) {
  const auto commands = pangea_commands();
  const bool help = !arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help");
  if (arguments.empty() || help) {
    std::ostream& out = help ? std::cout : std::cerr;
    out << "engenho pangea: infrastructure templates\n\n";
    for (const pangea::CliCommand& command : commands) {
      out << "  engenho pangea " << command.name << std::string(12 - std::min<size_t>(11, std::string_view(command.name).size()), ' ') << command.help << "\n";
    }
    return help ? 0 : 2;
  }
  std::vector<std::string> names;
  for (const pangea::CliCommand& command : commands) {
    if (arguments[0] == command.name) return command.run({arguments.begin() + 1, arguments.end()});
    names.emplace_back(command.name);
  }
  const std::string near = nearest(arguments[0], names);
  std::cerr << "engenho pangea: unknown command \"" << arguments[0] << "\"" << (near.empty() ? "" : "; did you mean \"" + near + "\"?") << "\n";
  return 2;
}

int pangea_eval_worker_command(const Arguments& arguments) { return ruby::worker_main(arguments); }

}  // namespace engenho
