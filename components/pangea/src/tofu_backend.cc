#include "tofu_backend.h"

#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

struct Settings {
  const Backend& backend;
  std::string get(const std::string& name, const std::string& otherwise = "") const {
    auto at = backend.settings.find(name);
    return at == backend.settings.end() || at->second.empty() ? otherwise : at->second;
  }
  Status check(const std::vector<std::string>& needed, const std::vector<std::string>& allowed) const {
    for (const std::string& name : needed) {
      if (get(name).empty()) return bad_request("backend " + backend.kind + ": " + name + " is missing");
    }
    for (const auto& [name, value] : backend.settings) {
      const bool known = std::find(needed.begin(), needed.end(), name) != needed.end() || std::find(allowed.begin(), allowed.end(), name) != allowed.end();
      if (!known) return bad_request("backend " + backend.kind + ": unknown setting " + name);
      // They go into a configuration and into an environment.
      if (name != "caCert" && value.find_first_of(std::string_view("\0\r\n", 3)) != std::string::npos)
        return bad_request("backend " + backend.kind + ": " + name + " holds a line break or a zero byte");
    }
    return {};
  }
};

// "${" in a setting means itself.
std::string literal(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == '$' || text[i] == '%') && i + 1 < text.size() && text[i + 1] == '{') out += text[i];
    out += text[i];
  }
  return out;
}

json::Value block(const std::string& type, json::Object body) {
  return json::Object{{"terraform", json::Object{{"backend", json::Object{{type, std::move(body)}}}}}};
}

}  // namespace

Result<TofuBackend> tofu_backend(const Backend& backend, const std::string& directory) {
  const Settings s{backend};
  TofuBackend out;
  if (backend.kind == "cluster") {
    ENGENHO_TRY(s.check({}, {}));
    out.document = block("http", {});  // where it is comes by the environment: it must not be in a saved plan
    return out;
  }
  if (backend.kind == "local") {
    ENGENHO_TRY(s.check({}, {}));
    out.document = block("local", {{"path", "terraform.tfstate"}});
    return out;
  }
  if (backend.kind == "pg") {
    ENGENHO_TRY(s.check({"host", "database", "schema"}, {"port", "sslMode", "username", "password", "caCert"}));
    static const std::set<std::string> kModes = {"disable", "require", "verify-ca", "verify-full"};
    const std::string mode = s.get("sslMode", "verify-full");
    if (!kModes.contains(mode)) return err(bad_request("backend pg: sslMode must be one of disable, require, verify-ca, verify-full"));
    int64_t port = 0;
    if (!parse_int(s.get("port", "5432"), port) || port < 1 || port > 65535) return err(bad_request("backend pg: port must be from 1 to 65535"));
    const std::string host = s.get("host");
    std::string url = "postgres://" + (host.find(':') != std::string::npos ? "[" + host + "]" : percent_encode(host)) + ":" + std::to_string(port) + "/" +
                      percent_encode(s.get("database")) + "?sslmode=" + mode;
    if (!s.get("caCert").empty()) {
      out.files.emplace_back("backend-ca.pem", s.get("caCert"));
      url += "&sslrootcert=" + percent_encode(directory + "/backend-ca.pem");
    }
    out.document = block("pg", {{"conn_str", literal(url)}, {"schema_name", literal(s.get("schema"))}});
    if (!s.get("username").empty()) out.environment.push_back("PGUSER=" + s.get("username"));
    if (!s.get("password").empty()) out.environment.push_back("PGPASSWORD=" + s.get("password"));
    return out;
  }
  if (backend.kind == "s3") {
    ENGENHO_TRY(s.check({"bucket", "region", "key"}, {"dynamodbTable", "endpoint", "access_key", "secret_key", "session_token"}));
    json::Object body{{"bucket", literal(s.get("bucket"))}, {"region", literal(s.get("region"))}, {"key", literal(s.get("key"))}, {"encrypt", true}};
    if (!s.get("dynamodbTable").empty()) body.set("dynamodb_table", literal(s.get("dynamodbTable")));
    if (!s.get("endpoint").empty()) {
      body.set("endpoints", json::Object{{"s3", literal(s.get("endpoint"))}});
      body.set("use_path_style", true);
    }
    if (!s.get("access_key").empty()) {
      // Not by the environment: the aws provider would take them for its own.
      std::string text = "[pangea-state]\naws_access_key_id = " + s.get("access_key") + "\naws_secret_access_key = " + s.get("secret_key") + "\n";
      if (!s.get("session_token").empty()) text += "aws_session_token = " + s.get("session_token") + "\n";
      out.files.emplace_back("backend-credentials", std::move(text));
      body.set("shared_credentials_files", json::Array{literal(directory + "/backend-credentials")});
      body.set("profile", "pangea-state");
    }
    out.document = block("s3", std::move(body));
    return out;
  }
  return err(bad_request("unknown backend \"" + backend.kind + "\"; known are cluster, local, pg, s3"));
}

}  // namespace engenho::pangea
