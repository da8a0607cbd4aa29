// What the commands share: flags, the connection, tables.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engenho/catalog/pangea_v1.h"
#include "engenho/client/client.h"

namespace engenho::pangea::cli {

namespace pangea_v1 = k8s::pangea_v1;

// Flags that every command has are --kubeconfig, --context, -n/--namespace, -o/--output; a command names its own. Without a value: switches.
struct Usage {
  std::string line;                                   // "approve [NAMESPACE/]NAME [--plan HASH]"
  std::map<std::string, std::string> flags;           // "--plan" -> help
  std::map<std::string, std::string> switches;        // "--yes" -> help
  size_t least = 0, most = 0;                         // positional arguments
};

struct Invocation {
  std::vector<std::string> arguments;
  std::map<std::string, std::string> flags;           // by "--name"; a switch has "true"
  bool has(const std::string& flag) const { return flags.contains(flag); }
  std::string get(const std::string& flag, const std::string& otherwise = "") const {
    auto it = flags.find(flag);
    return it == flags.end() ? otherwise : it->second;
  }
};

struct Connection {
  std::shared_ptr<client::Client> client;
  std::string namespace_name, user;
};

// Parses, connects, runs, prints errors. `body` returns a Status: its error is printed, and the exit code is 1.
int run_command(const Usage& usage, const std::vector<std::string>& arguments, const std::function<Status(const Invocation&, Connection&)>& body);

// "NAMESPACE/NAME", or a name in the connection's namespace.
void split_reference(const std::string& text, const Connection& connection, std::string& ns, std::string& name);

// Left-aligned columns with a head.
void print_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);
// As -o asks: json or yaml; false for a table.
Result<bool> print_document(const Invocation& invocation, const json::Value& document);

// What happens to whom, attribute by attribute; `plan` is in the shape of `terraform show -json`, redacted.
std::string readable_diff(const json::Value& plan, bool colour);

}  // namespace engenho::pangea::cli
