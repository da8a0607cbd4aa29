#include "engenho/engenho/commands.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "engenho/base/bytes.h"
#include "engenho/catalog/transcode.h"
#include "engenho/cni/cni.h"
#include "engenho/engenho/version.h"
#include "engenho/kubelet/kubelet.h"

namespace engenho {

namespace {

constexpr const char* kUsage =
    "engenho: a Kubernetes cluster in one executable\n\n"
    "  engenho server [flags]      runs the cluster (control plane and node); --help lists the flags\n"
    "  engenho transcode --from json|yaml|protobuf --to json|yaml|protobuf   (stdin to stdout)\n"
    "  engenho reset --yes         ends the node's pods and removes what is theirs (stop the server first)\n"
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

// The node's part: pods, container runtime, mounts, network. The store and the certificates stay.
int reset_command(const Arguments& arguments) {
  std::string data_dir = "/var/lib/engenho";
  bool yes = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--data-dir" && i + 1 < arguments.size()) data_dir = arguments[++i];
    else if (arguments[i] == "--yes") yes = true;
    else {
      std::cerr << "engenho reset: unexpected \"" << arguments[i] << "\"; usage: engenho reset [--data-dir DIR] --yes\n";
      return 2;
    }
  }
  if (!yes) {
    std::cerr << "engenho reset ends every pod of the node that lives in " << data_dir << " and removes what they kept there; say --yes to do it\n";
    return 2;
  }
  int code = 0;
  for (const Status& s : {kubelet::reset(data_dir), cni::remove_all(data_dir)}) {
    if (s.ok()) continue;
    std::cerr << "engenho reset: " << s.message() << "\n";
    code = 1;
  }
  return code;
}

constexpr Command kCommands[] = {
    {"server", server_command}, {"transcode", transcode_command}, {"version", version_command}, {"agent", agent_command}, {"reset", reset_command}};

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
  for (const Command& c : kCommands) names.emplace_back(c.name);
  const std::string near = nearest(name, names);
  std::cerr << "engenho: unknown command \"" << name << "\"" << (near.empty() ? "" : "; did you mean \"" + near + "\"?") << "\n";
  return 2;
}

}  // namespace engenho
