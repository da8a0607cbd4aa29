#include "engenho/client/kubeconfig.h"

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/yaml.h"

namespace engenho::client {

namespace {

using json::Value;

const Value* named(const Value& file, std::string_view list, std::string_view name, std::string_view member) {
  const Value* entries = file.get(list);
  if (entries == nullptr) return nullptr;
  for (const Value& e : entries->items()) {
    if (e.str_at({"name"}) == name) return e.get(member);
  }
  return nullptr;
}

// `name`-data in base64, or the file that `name` names, relative to the kubeconfig.
Result<std::string> material(const Value& from, const std::string& name, const std::string& directory) {
  if (const std::string_view data = from.str_at({name + "-data"}); !data.empty()) return base64_decode(data);
  const std::string path(from.str_at({name}));
  if (path.empty()) return std::string();
  return read_file(path.starts_with('/') ? path : directory + "/" + path);
}

}  // namespace

Result<Kubeconfig> read_kubeconfig(const std::string& path, const std::string& context) {
  auto refuse = [&](const std::string& why) { return err(bad_request(path + ": " + why)); };
  auto text = read_file(path);
  if (!text) return err(text.error());
  auto parsed = yaml::parse(*text);
  if (!parsed) return refuse(parsed.error().message());
  const Value& file = parsed->value;
  const std::string current = context.empty() ? std::string(file.str_at({"current-context"})) : context;
  if (current.empty()) return refuse("it has no current-context");
  const Value* chosen = named(file, "contexts", current, "context");
  if (chosen == nullptr) return refuse("it has no context \"" + current + "\"");
  const Value* cluster = named(file, "clusters", chosen->str_at({"cluster"}), "cluster");
  if (cluster == nullptr) return refuse("it has no cluster \"" + std::string(chosen->str_at({"cluster"})) + "\"");
  const Value* user = named(file, "users", chosen->str_at({"user"}), "user");
  if (user == nullptr) return refuse("it has no user \"" + std::string(chosen->str_at({"user"})) + "\"");
  if (user->get("exec") != nullptr || user->get("auth-provider") != nullptr) return refuse("users by exec or auth-provider are not supported here: certificates and tokens are");

  Kubeconfig out;
  out.user = chosen->str_at({"user"});
  if (const std::string_view ns = chosen->str_at({"namespace"}); !ns.empty()) out.namespace_name = ns;
  out.https.url = cluster->str_at({"server"});
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  for (const auto& [from, name, into] : {std::tuple(cluster, "certificate-authority", &out.https.ca_pem), {user, "client-certificate", &out.https.certificate_pem},
                                         {user, "client-key", &out.https.key_pem}}) {
    auto read = material(*from, name, directory);
    if (!read) return refuse(std::string(name) + ": " + read.error().message());
    *into = std::move(*read);
  }
  out.https.token = user->str_at({"token"});
  if (const std::string file_name(user->str_at({"tokenFile"})); out.https.token.empty() && !file_name.empty()) {
    auto token = read_file(file_name.starts_with('/') ? file_name : directory + "/" + file_name);
    if (!token) return refuse("tokenFile: " + token.error().message());
    out.https.token = trim(*token);
  }
  return out;
}

}  // namespace engenho::client
