#include "engenho/engenho/commands.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "engenho/base/bytes.h"
#include "engenho/catalog/transcode.h"
#include "engenho/cni/cni.h"
#include "engenho/engenho/version.h"

namespace engenho {

namespace {

constexpr const char* kUsage =
    "engenho: a Kubernetes cluster in one executable\n\n"
    "  engenho server [flags]      runs the cluster (control plane and node); --help lists the flags\n"
    "  engenho datastore [flags]   runs the datastore alone, with etcd's API; --help lists the flags\n"
    "  engenho snapshot save|restore|ls|prune [flags]   backups of the datastore; --help lists the flags\n"
    "  engenho encryption status|rotate [flags]   encryption at rest: what is under which key, and a new key\n"
    "  engenho transcode --from json|yaml|protobuf --to json|yaml|protobuf   (stdin to stdout)\n"
    "  engenho check [flags]       what this machine lacks, in plain words\n"
    "  engenho reset [flags]       removes the cluster: containers, mounts, interfaces, rules, data\n"
    "  engenho magma COMMAND       plans and applies Terraform JSON without a cluster; alone it lists the commands\n"
    "  engenho pangea COMMAND      infrastructure templates: render and test, without a cluster; alone it lists the commands\n"
    "  engenho version\n";

struct Command {
  const char* name;
  int (*run)(const Arguments&);
};

int version_command(const Arguments&) {
  std::cout << "engenho " << kVersion << "\nkubernetes " << kKubernetesVersion << "\n";
  return 0;
}

int agent_command(const Arguments&) {
  std::cerr << "engenho agent: nodes that join another server are not there yet; the name is reserved\n";
  return 1;
}

constexpr Command kCommands[] = {
    {"server", server_command},
    {"datastore", datastore_command},
    {"snapshot", snapshot_command}, {"encryption", encryption_command},
    {"transcode", transcode_command},
    {"magma", magma_command},
    {"pangea", pangea_command},
    {"pangea-eval-worker", pangea_eval_worker_command},   // what the Ruby evaluator starts; not for people
    {"version", version_command},
    {"check", check_command},
    {"reset", reset_command},
    {"agent", agent_command},
};

}  // namespace

int transcode_command(const Arguments& arguments) {
  std::string from, to;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string* into = arguments[i] == "--from" ? &from : arguments[i] == "--to" ? &to : nullptr;
    if (into == nullptr || i + 1 >= arguments.size()) {
      std::cerr << "engenho transcode: unexpected \"" << arguments[i] << "\"; usage: --from FORMAT --to FORMAT\n";
      return 2;
    }
    *into = arguments[++i];
  }
  auto format = [](const std::string& text, catalog::Format& out) {
    if (text == "json") out = catalog::Format::kJson;
    else if (text == "yaml") out = catalog::Format::kYaml;
    else if (text == "protobuf") out = catalog::Format::kProtobuf;
    else return false;
    return true;
  };
  catalog::Format in_format, out_format;
  if (!format(from, in_format) || !format(to, out_format)) {
    std::cerr << "engenho transcode: --from and --to take json, yaml or protobuf\n";
    return 2;
  }
  std::string input((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  auto output = catalog::transcode(input, in_format, out_format);
  if (!output) {
    std::cerr << "engenho transcode: " << output.error().message() << "\n";
    return 1;
  }
  std::cout.write(output->data(), static_cast<std::streamsize>(output->size()));
  if (out_format == catalog::Format::kJson) std::cout << "\n";
  return std::cout.flush() ? 0 : 1;
}

int run_command(const Arguments& arguments) {
  if (cni::called_as_plugin()) return cni::cni_main();   // the container runtime calls us for a pod's network
  if (arguments.size() < 2 || arguments[1] == "--help" || arguments[1] == "-h" || arguments[1] == "help") {
    std::cout << kUsage;
    return arguments.size() < 2 ? 2 : 0;
  }
  std::string name = arguments[1] == "--version" ? "version" : arguments[1];
  const Arguments rest(arguments.begin() + 2, arguments.end());
  for (const Command& c : kCommands) {
    if (name == c.name) return c.run(rest);
  }
  std::vector<std::string> names;
  for (const Command& c : kCommands) {
    if (c.run != pangea_eval_worker_command) names.emplace_back(c.name);
  }
  const std::string near = nearest(name, names);
  std::cerr << "engenho: unknown command \"" << name << "\"" << (near.empty() ? "" : "; did you mean \"" + near + "\"?") << "\n";
  return 2;
}

}  // namespace engenho
