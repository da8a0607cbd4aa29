#include "engenho/engenho/config.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/ipv4.h"
#include "engenho/base/log.h"
#include "engenho/base/yaml.h"
#include "flags.h"

namespace engenho {

namespace {

using Setter = std::function<Status(ServerConfig&, const std::string& value)>;

struct Option {
  std::string name;
  std::string value_name;   // empty: a switch
  std::string help;
  Setter set;
  bool list = false;        // may be given several times, or with commas
};

Status invalid(const std::string& value, const std::string& expected) {
  return bad_request("invalid value \"" + value + "\": expected " + expected);
}

Setter text(std::string ServerConfig::* member) {
  return [member](ServerConfig& c, const std::string& v) -> Status {
    if (v.empty()) return invalid(v, "a text that is not empty");
    c.*member = v;
    return {};
  };
}
Setter port(int ServerConfig::* member) {
  return [member](ServerConfig& c, const std::string& v) -> Status {
    int64_t n;
    if (!parse_int(v, n) || n < 1 || n > 65535) return invalid(v, "a port number from 1 to 65535");
    c.*member = static_cast<int>(n);
    return {};
  };
}
Setter address(std::string ServerConfig::* member) {
  return [member](ServerConfig& c, const std::string& v) -> Status {
    unsigned char buffer[16];
    if (inet_pton(AF_INET, v.c_str(), buffer) != 1 && inet_pton(AF_INET6, v.c_str(), buffer) != 1) return invalid(v, "an IP address");
    c.*member = v;
    return {};
  };
}
Setter cidr(std::string ServerConfig::* member) {
  return [member](ServerConfig& c, const std::string& v) -> Status {
    const auto range = parse_ipv4_range(v);
    if (!range || range->bits < 8 || range->bits > 28) {
      return invalid(v, "an IPv4 range such as 10.42.0.0/16, with a prefix of 8 to 28");
    }
    c.*member = v;
    return {};
  };
}
Setter flag(bool ServerConfig::* member) {
  return [member](ServerConfig& c, const std::string& v) -> Status {
    if (v == "true" || v == "1" || v.empty()) c.*member = true;
    else if (v == "false" || v == "0") c.*member = false;
    else return invalid(v, "true or false");
    return {};
  };
}

const std::vector<std::string> kComponents = {"controllers", "scheduler", "proxy", "dns", "pangea"};

const std::vector<Option>& options() {
  static const std::vector<Option> table = {
      {"config", "FILE", "YAML file whose keys are the names of these flags", text(&ServerConfig::config_file)},
      {"data-dir", "DIR", "everything this cluster keeps lives below it (default /var/lib/engenho)", text(&ServerConfig::data_dir)},
      {"bind-address", "IP", "address to listen on (default 0.0.0.0)", address(&ServerConfig::bind_address)},
      {"advertise-address", "IP", "address under which pods reach the API server (default: that of the default route)",
       address(&ServerConfig::advertise_address)},
      {"https-listen-port", "PORT", "port of the API server (default 6443)", port(&ServerConfig::https_listen_port)},
      {"write-kubeconfig", "FILE", "where to write the administrator's kubeconfig (default <data-dir>/server/admin.kubeconfig)",
       text(&ServerConfig::write_kubeconfig)},
      {"write-kubeconfig-mode", "MODE", "its file mode, octal (default 0600)",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (v.empty() || v.size() > 4 || v.find_first_not_of("01234567") != std::string::npos) return invalid(v, "an octal file mode such as 0600");
         c.write_kubeconfig_mode = v;
         return {};
       }},
      {"node-name", "NAME", "name of this node (default: the host's name)",
       [](ServerConfig& c, const std::string& v) -> Status {
         const bool good = !v.empty() && v.size() <= 63 && v.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos &&
                           v.front() != '-' && v.back() != '-' && v.front() != '.' && v.back() != '.';
         if (!good) return invalid(v, "lower case letters, digits, '-' and '.', beginning and ending with a letter or digit");
         c.node_name = v;
         return {};
       }},
      {"cluster-cidr", "CIDR", "addresses of pods (default 10.42.0.0/16)", cidr(&ServerConfig::cluster_cidr)},
      {"service-cidr", "CIDR", "addresses of services (default 10.43.0.0/16)", cidr(&ServerConfig::service_cidr)},
      {"cluster-dns", "IP", "address of the cluster's DNS (default 10.43.0.10)", address(&ServerConfig::cluster_dns)},
      {"cluster-domain", "DOMAIN", "DNS domain of the cluster (default cluster.local)", text(&ServerConfig::cluster_domain)},
      {"resolv-conf", "FILE", "the host's resolvers, for names outside the cluster and pods with dnsPolicy Default (default /etc/resolv.conf)",
       text(&ServerConfig::resolv_conf)},
      {"container-runtime-endpoint", "SOCKET", "a CRI socket to use (default: a containerd of our own)",
       text(&ServerConfig::container_runtime_endpoint)},
      {"tls-san", "NAME", "another name or address for the server's certificate; may be repeated",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (v.empty()) return invalid(v, "a host name or an IP address");
         c.tls_san.push_back(v);
         return {};
       },
       true},
      {"datastore-endpoint", "URL", "an etcd cluster instead of the datastore of our own: https://host:2379 of each member; may be repeated",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (!v.starts_with("https://") && !v.starts_with("http://") && !v.starts_with("unix:///")) {
           return invalid(v, "https://host:port, http://host:port or unix:///path");
         }
         c.datastore_endpoint.push_back(v);
         return {};
       },
       true},
      {"datastore-cafile", "FILE", "authority of that etcd's certificates, PEM (default: the system's)", text(&ServerConfig::datastore_cafile)},
      {"datastore-certfile", "FILE", "client certificate for that etcd, PEM", text(&ServerConfig::datastore_certfile)},
      {"datastore-keyfile", "FILE", "its key, PEM", text(&ServerConfig::datastore_keyfile)},
      {"token", "TEXT", "the secret that the servers on one etcd share, 16 characters or more; it seals the cluster's keys there",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (v.size() < 16) return bad_request("a secret of 16 characters or more is expected, this one has " + std::to_string(v.size()));
         c.token = v;
         return {};
       }},
      {"token-auth-file", "FILE", "static tokens: lines of token,user,uid,\"group1,group2\"", text(&ServerConfig::token_auth_file)},
      {"disable", "COMPONENT", "leave a component out: controllers, scheduler, proxy, dns, pangea; may be repeated",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (std::find(kComponents.begin(), kComponents.end(), v) == kComponents.end()) {
           const std::string near = nearest(v, kComponents);
           return invalid(v, "one of " + join(kComponents, ", ") + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
         }
         c.disable.push_back(v);
         return {};
       },
       true},
      {"pangea-executor", "NAME", "what carries out templates that name no executor: magma or tofu (default magma)",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (v != "magma" && v != "tofu") return invalid(v, "magma or tofu");
         c.pangea_executor = v;
         return {};
       }},
      {"pangea-plugin-dir", "DIR", "provider executables: HOST/NAMESPACE/TYPE/VERSION/OS_ARCH below it; may be repeated (default <data-dir>/pangea/plugins and terraform's own directories)",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (!v.starts_with('/')) return invalid(v, "an absolute path");
         c.pangea_plugin_dirs.push_back(v);
         return {};
       },
       true},
      {"pangea-workers", "N", "templates that are worked on at the same time, 1 to 32 (default 4)",
       [](ServerConfig& c, const std::string& v) -> Status {
         int64_t n = 0;
         if (!parse_int(v, n) || n < 1 || n > 32) return invalid(v, "a number from 1 to 32");
         c.pangea_workers = static_cast<int>(n);
         return {};
       }},
      {"pangea-template-repositories", "DIR",
       "a directory in which git repositories may be that a template names by file://; may be repeated (default none; gems and catalogs may name any)",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (!v.starts_with('/')) return invalid(v, "an absolute path");
         c.pangea_template_repositories.push_back(v);
         return {};
       },
       true},
      {"pangea-ntfy-url", "URL", "where news of templates is posted whose route names a topic and no server (default https://ntfy.sh)",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (!v.starts_with("https://") && !v.starts_with("http://")) return invalid(v, "an http or https URL");
         c.pangea_ntfy_url = v;
         return {};
       }},
      {"disable-agent", "", "run the API server alone, without a node", flag(&ServerConfig::disable_agent)},
      {"kubelet-port", "PORT", "port of the kubelet's server (default 10250)", port(&ServerConfig::kubelet_port)},
      {"encrypt-resources", "RESOURCE", "what is encrypted at rest: plural names, or group/name, or none; may be repeated (default secrets)",
       [](ServerConfig& c, const std::string& v) -> Status {
         if (v.empty() || v.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-./") != std::string::npos || v.front() == '/' || v.back() == '/')
           return invalid(v, "a resource such as configmaps or example.org/widgets, or none");
         c.encrypt_resources.push_back(v);
         return {};
       },
       true},
      {"snapshot-interval", "TIME", "how often to save the datastore: 30m, 6h, 1d (default 0: not)",
       [](ServerConfig& c, const std::string& v) -> Status {
         ENGENHO_ASSIGN_OR_RETURN(c.snapshot_interval, parse_duration(v));
         return {};
       }},
      {"snapshot-retention", "COUNT", "how many scheduled snapshots are kept (default 5)",
       [](ServerConfig& c, const std::string& v) -> Status {
         int64_t n;
         if (!parse_int(v, n) || n < 1 || n > 10000) return invalid(v, "a number from 1 to 10000");
         c.snapshot_retention = static_cast<int>(n);
         return {};
       }},
      {"snapshot-dir", "DIR", "where they are kept (default <data-dir>/server/snapshots)", text(&ServerConfig::snapshot_dir)},
      {"log-level", "LEVEL", "trace, debug, info, warn, error or off (default info)",
       [](ServerConfig& c, const std::string& v) -> Status {
         log::Level level;
         if (!log::parse_level(v, level)) return invalid(v, "one of trace, debug, info, warn, error, off");
         c.log_level = v;
         return {};
       }},
  };
  return table;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const Option& o : options()) out.push_back(o.name);
  return out;
}

const Option* find(std::string_view name) {
  for (const Option& o : options()) {
    if (o.name == name) return &o;
  }
  return nullptr;
}

std::string variable_name(const std::string& option) {
  std::string out = "ENGENHO_";
  for (char c : option) out += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return out;
}

Status unknown(const std::string& what, const std::string& shown, const std::string& name) {
  const std::string near = nearest(name, names());
  return bad_request("unknown " + what + " " + shown + (near.empty() ? "; see engenho server --help" : "; did you mean \"" + near + "\"?"));
}

Status apply(const Option& option, ServerConfig& config, const std::string& value, const std::string& where) {
  if (!option.list) {
    Status s = option.set(config, value);
    return s.ok() ? s : s.with_context(where);
  }
  for (std::string_view part : split(value, ',')) {
    if (Status s = option.set(config, std::string(trim(part))); !s.ok()) return s.with_context(where);
  }
  return {};
}

Status apply_file(ServerConfig& config, const std::set<std::string>& settled) {
  auto text = read_file(config.config_file);
  if (!text) return text.error().with_context("--config");
  auto parsed = yaml::parse(*text);
  if (!parsed) return bad_request(config.config_file + ": " + parsed.error().message());
  if (!parsed->duplicate_keys.empty()) return bad_request(config.config_file + ": key \"" + parsed->duplicate_keys[0] + "\" stands there twice");
  if (parsed->value.is_null()) return {};
  if (!parsed->value.is_object()) return bad_request(config.config_file + ": expected a mapping of option names to values");
  for (const auto& [name, value] : parsed->value.as_object()) {
    const Option* option = find(name);
    if (option == nullptr || name == "config") return unknown("key", "\"" + name + "\" in " + config.config_file, name);
    if (settled.contains(name)) continue;
    const std::string where = config.config_file + ": " + name;
    std::vector<const json::Value*> values;
    if (value.is_array()) {
      if (!option->list) return bad_request(where + ": a list was given where one value is expected");
      for (const json::Value& item : value.as_array()) values.push_back(&item);
    } else {
      values.push_back(&value);
    }
    for (const json::Value* v : values) {
      if (v->is_object() || v->is_null()) return bad_request(where + ": expected " + (option->value_name.empty() ? "true or false" : option->value_name));
      std::string plain = v->is_string() ? v->as_string() : json::dump(*v);
      // YAML reads 0600 as the number 384: the mode is meant in octal.
      if (name == "write-kubeconfig-mode" && v->is_int()) {
        char octal[16];
        std::snprintf(octal, sizeof octal, "%04o", static_cast<unsigned>(v->as_int()));
        plain = octal;
      }
      ENGENHO_RETURN_IF_ERROR(apply(*option, config, plain, where));
    }
  }
  return {};
}

}  // namespace

std::vector<std::string> ServerConfig::encrypted_prefixes() const {
  const std::vector<std::string> resources = encrypt_resources.empty() ? std::vector<std::string>{"secrets"} : encrypt_resources;
  std::vector<std::string> prefixes;
  for (const std::string& resource : resources)
    if (resource != "none") prefixes.push_back("/registry/" + resource + "/");
  return prefixes;
}

bool ServerConfig::disabled(std::string_view component) const {
  return std::find(disable.begin(), disable.end(), component) != disable.end();
}

Result<ServerConfig> parse_server_config(const std::vector<std::string>& args, const std::vector<std::string>& env) {
  ServerConfig config;
  std::set<std::string> settled;  // what a flag or variable has said, the file does not change
  std::vector<std::pair<const Option*, std::string>> flags;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (!arg.starts_with("--")) return err(bad_request("unexpected argument \"" + arg + "\"; see engenho server --help"));
    const size_t eq = arg.find('=');
    const std::string name = arg.substr(2, eq == std::string::npos ? std::string::npos : eq - 2);
    const Option* option = find(name);
    if (option == nullptr) return err(unknown("flag", "--" + name, name));
    std::string value;
    if (eq != std::string::npos) {
      value = arg.substr(eq + 1);
    } else if (!option->value_name.empty()) {
      if (i + 1 >= args.size()) return err(bad_request("--" + name + " needs a value (" + option->value_name + ")"));
      value = args[++i];
    }
    flags.emplace_back(option, std::move(value));
    settled.insert(name);
  }
  for (const std::string& variable : env) {
    if (!variable.starts_with("ENGENHO_") || variable.starts_with("ENGENHO_TEST_")) continue;
    const size_t eq = variable.find('=');
    const std::string name = variable.substr(0, eq);
    const Option* option = nullptr;
    for (const Option& o : options()) {
      if (variable_name(o.name) == name) option = &o;
    }
    if (option == nullptr) return err(unknown("variable", name, to_lower(name.substr(8))));
    if (settled.contains(option->name)) continue;
    ENGENHO_TRY(apply(*option, config, variable.substr(eq + 1), name));
    settled.insert(option->name);
  }
  for (const auto& [option, value] : flags) ENGENHO_TRY(apply(*option, config, value, "--" + option->name));
  if (!config.config_file.empty()) ENGENHO_TRY(apply_file(config, settled));
  if (!config.datastore_endpoint.empty() && config.token.empty()) {
    return err(bad_request("--datastore-endpoint needs --token: it seals the cluster's keys in that datastore, and the other servers of the cluster are given the same"));
  }
  for (const auto& [name, value] : {std::pair("datastore-cafile", &config.datastore_cafile), {"datastore-certfile", &config.datastore_certfile}, {"datastore-keyfile", &config.datastore_keyfile}}) {
    if (!value->empty() && config.datastore_endpoint.empty()) return err(bad_request(std::string("--") + name + " is for --datastore-endpoint, which is not given"));
  }
  if (config.datastore_certfile.empty() != config.datastore_keyfile.empty()) return err(bad_request("--datastore-certfile and --datastore-keyfile go together"));
  if (config.node_name.empty()) {
    char host[256] = {};
    gethostname(host, sizeof host - 1);
    config.node_name = to_lower(host);
  }
  while (config.data_dir.size() > 1 && config.data_dir.back() == '/') config.data_dir.pop_back();
  if (config.data_dir.empty() || config.data_dir[0] != '/') {
    char cwd[4096];
    if (getcwd(cwd, sizeof cwd) != nullptr) config.data_dir = std::string(cwd) + "/" + config.data_dir;
  }
  return config;
}

std::string server_help() {
  std::string out = "engenho server: runs a Kubernetes cluster on this machine.\n\nFlags (also keys of the --config file, and variables ENGENHO_…):\n";
  for (const Option& o : options()) {
    std::string head = "  --" + o.name + (o.value_name.empty() ? "" : " " + o.value_name);
    if (head.size() < 38) head.resize(38, ' ');
    out += head + " " + o.help + "\n";
  }
  return out;
}

}  // namespace engenho
