#include "cli_support.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/yaml.h"
#include "engenho/client/kubeconfig.h"

namespace engenho::pangea::cli {

namespace {

constexpr const char* kDefaultKubeconfig = "/var/lib/engenho/server/admin.kubeconfig";

const std::map<std::string, std::string>& common_flags() {
  static const std::map<std::string, std::string> flags = {
      {"--kubeconfig", "FILE: default KUBECONFIG, else ~/.kube/config, else engenho's own"},
      {"--context", "NAME: of the kubeconfig"},
      {"--namespace", "NAME (-n): default that of the context"},
      {"--output", "table, json or yaml (-o)"},
  };
  return flags;
}

std::string help_of(const Usage& usage) {
  std::string out = "usage: engenho pangea " + usage.line + "\n";
  auto add = [&](const std::map<std::string, std::string>& flags) {
    for (const auto& [name, help] : flags) out += "  " + name + std::string(name.size() < 16 ? 16 - name.size() : 1, ' ') + help + "\n";
  };
  add(usage.flags);
  add(usage.switches);
  add(common_flags());
  return out;
}

Result<Invocation> parse(const Usage& usage, const std::vector<std::string>& arguments) {
  Invocation out;
  std::vector<std::string> known;
  for (const auto* set : {&usage.flags, &usage.switches, &common_flags()}) {
    for (const auto& [name, help] : *set) known.push_back(name);
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string a = arguments[i];
    if (a.size() < 2 || a[0] != '-') {
      out.arguments.push_back(a);
      continue;
    }
    std::string value;
    bool has_value = false;
    if (const size_t equal = a.find('='); equal != std::string::npos) {
      value = a.substr(equal + 1);
      a.resize(equal);
      has_value = true;
    }
    if (a == "-n") a = "--namespace";
    if (a == "-o") a = "--output";
    if (usage.switches.contains(a)) {
      out.flags[a] = "true";
      continue;
    }
    if (!usage.flags.contains(a) && !common_flags().contains(a)) {
      const std::string near = nearest(a, known);
      return err(bad_request("unknown flag " + a + (near.empty() ? "" : "; did you mean " + near + "?")));
    }
    if (!has_value) {
      if (i + 1 == arguments.size()) return err(bad_request(a + " needs a value"));
      value = arguments[++i];
    }
    out.flags[a] = value;
  }
  if (out.arguments.size() < usage.least || out.arguments.size() > usage.most) return err(bad_request("expected: engenho pangea " + usage.line));
  return out;
}

std::string kubeconfig_path(const Invocation& invocation) {
  if (invocation.has("--kubeconfig")) return invocation.get("--kubeconfig");
  if (const char* env = std::getenv("KUBECONFIG"); env != nullptr && *env != '\0') return std::string(split(env, ':')[0]);
  if (const char* home = std::getenv("HOME")) {
    const std::string path = std::string(home) + "/.kube/config";
    if (path_exists(path)) return path;
  }
  return kDefaultKubeconfig;
}

Result<Connection> connect(const Invocation& invocation) {
  ENGENHO_ASSIGN(client::Kubeconfig config, client::read_kubeconfig(kubeconfig_path(invocation), invocation.get("--context")));
  config.https.user_agent = "engenho-pangea";
  Connection out;
  out.namespace_name = invocation.get("--namespace", config.namespace_name);
  out.user = config.user;
  out.client = std::make_shared<client::Client>(client::https_transport(std::move(config.https)), "engenho-pangea");
  return out;
}

std::string shown(const json::Value* value) {
  if (value == nullptr || value->is_null()) return "null";
  const std::string text = json::dump(*value);
  return text.size() > 160 ? text.substr(0, 157) + "..." : text;
}

// Whether anything within is marked.
bool any_true(const json::Value& marks) {
  if (marks.is_bool()) return marks.as_bool();
  const auto& items = marks.items();
  if (std::any_of(items.begin(), items.end(), any_true)) return true;
  const auto& members = marks.members();
  return std::any_of(members.begin(), members.end(), [](const auto& member) { return any_true(member.second); });
}
bool flagged(const json::Value* marks, const std::string& name) {
  if (marks == nullptr) return false;
  if (marks->is_bool()) return marks->as_bool();
  const json::Value* own = marks->get(name);
  return own != nullptr && any_true(*own);
}

}  // namespace

int run_command(const Usage& usage, const std::vector<std::string>& arguments, const std::function<Status(const Invocation&, Connection&)>& body) {
  for (const std::string& a : arguments) {
    if (a == "--help" || a == "-h") {
      std::cout << help_of(usage);
      return 0;
    }
  }
  auto invocation = parse(usage, arguments);
  if (!invocation) {
    std::cerr << "engenho pangea: " << invocation.error().message() << "\n";
    return 2;
  }
  const std::string output = invocation->get("--output", "table");
  if (output != "table" && output != "json" && output != "yaml") {
    std::cerr << "engenho pangea: --output: invalid value \"" << output << "\": expected table, json or yaml\n";
    return 2;
  }
  auto connection = connect(*invocation);
  if (!connection) {
    std::cerr << "engenho pangea: " << connection.error().message() << "\n";
    return 1;
  }
  const Status status = body(*invocation, *connection);
  if (!status.ok()) std::cerr << "engenho pangea: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}

void split_reference(const std::string& text, const Connection& connection, std::string& ns, std::string& name) {
  const size_t slash = text.find('/');
  ns = slash == std::string::npos ? connection.namespace_name : text.substr(0, slash);
  name = slash == std::string::npos ? text : text.substr(slash + 1);
}

void print_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& h : head) widths.push_back(h.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  auto line = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (size_t i = 0; i < cells.size(); ++i) out += cells[i] + (i + 1 < cells.size() ? std::string(widths[i] - cells[i].size() + 3, ' ') : "");
    std::cout << out << "\n";
  };
  line(head);
  for (const auto& row : rows) line(row);
}

Result<bool> print_document(const Invocation& invocation, const json::Value& document) {
  const std::string output = invocation.get("--output", "table");
  if (output == "table") return false;
  std::cout << (output == "json" ? json::dump_pretty(document) + "\n" : yaml::dump(document));
  return true;
}

std::string readable_diff(const json::Value& plan, bool colour) {
  auto paint = [&](const char* code, const std::string& text) { return colour ? "\033[" + std::string(code) + "m" + text + "\033[0m" : text; };
  std::string out;
  const json::Value* changes = plan.get("resource_changes");
  for (const json::Value& change : changes == nullptr ? json::Array() : changes->items()) {
    if (change.str_at({"mode"}) == "data") continue;
    std::vector<std::string> actions;
    if (const json::Value* list = change.at({"change", "actions"})) {
      for (const json::Value& a : list->items()) actions.emplace_back(a.str());
    }
    if (actions.empty() || (actions.size() == 1 && (actions[0] == "no-op" || actions[0] == "read"))) continue;
    const bool replace = actions.size() == 2;
    const char* sign = replace ? "-/+" : actions[0] == "create" ? "+" : actions[0] == "delete" ? "-" : "~";
    const char* tint = replace || actions[0] == "delete" ? "31" : actions[0] == "create" ? "32" : "33";
    out += paint(tint, sign) + " " + std::string(change.str_at({"address"})) + (replace ? " (replaced)" : "") + "\n";
    const json::Value *before = change.at({"change", "before"}), *after = change.at({"change", "after"}), *unknown = change.at({"change", "after_unknown"});
    const json::Value *secret_before = change.at({"change", "before_sensitive"}), *secret_after = change.at({"change", "after_sensitive"});
    std::map<std::string, bool> names;
    for (const json::Value* side : {before, after, unknown}) {
      if (side == nullptr) continue;
      for (const auto& [name, value] : side->members()) names[name] = true;
    }
    for (const auto& [name, yes] : names) {
      const json::Value *b = before == nullptr ? nullptr : before->get(name), *a = after == nullptr ? nullptr : after->get(name);
      const bool known_later = flagged(unknown, name) && (a == nullptr || a->is_null());
      const bool secret = flagged(secret_before, name) || flagged(secret_after, name);
      const bool same = !known_later && ((a == nullptr || a->is_null()) ? (b == nullptr || b->is_null()) : (b != nullptr && *a == *b));
      if (same && !secret) continue;
      const std::string now = secret ? "(sensitive)" : known_later ? "(known after apply)" : shown(a), was = secret ? "(sensitive)" : shown(b);
      if (actions[0] == "create") out += "      " + name + " = " + now + "\n";
      else if (!replace && actions[0] == "delete") out += "      " + name + " = " + was + "\n";
      else if (!same) out += "      " + name + ": " + was + " -> " + now + "\n";
    }
  }
  const json::Value* outputs = plan.get("output_changes");
  for (const auto& [name, change] : outputs == nullptr ? json::Object() : outputs->members()) {
    const json::Value* actions = change.get("actions");
    if (actions == nullptr || actions->items().empty() || actions->items()[0].str() == "no-op") continue;
    out += paint("36", "output ") + name + ": " + std::string(actions->items()[0].str()) + "\n";
  }
  return out.empty() ? "no changes\n" : out;
}

}  // namespace engenho::pangea::cli
