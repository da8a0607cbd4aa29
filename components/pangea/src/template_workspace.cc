// What an executor is given: directory, variables, credentials, secret files, backend, state.
#include <algorithm>

#include "engenho/pangea/cluster_state.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

using json::Value;

// The keys of a provider's Secret, and what becomes of each: an argument of the provider's block and a variable of its environment.
struct CredentialKey {
  std::string_view provider;
  std::vector<std::string_view> keys;   // the first that the Secret has
  std::string_view argument, variable;  // either may be empty
};
const std::vector<CredentialKey>& credential_keys() {
  static const std::vector<CredentialKey> keys = {
      {"aws", {"access_key", "AWS_ACCESS_KEY_ID"}, "", "AWS_ACCESS_KEY_ID"},
      {"aws", {"secret_key", "AWS_SECRET_ACCESS_KEY"}, "", "AWS_SECRET_ACCESS_KEY"},
      {"aws", {"session_token", "AWS_SESSION_TOKEN"}, "", "AWS_SESSION_TOKEN"},
      {"aws", {"region", "AWS_REGION"}, "", "AWS_REGION"},
      {"aws", {"endpoint_url", "AWS_ENDPOINT_URL"}, "", "AWS_ENDPOINT_URL"},
      {"cloudflare", {"api_token", "CLOUDFLARE_API_TOKEN", "CF_API_TOKEN"}, "", "CLOUDFLARE_API_TOKEN"},
      {"github", {"token", "GITHUB_TOKEN"}, "", "GITHUB_TOKEN"},
      {"porkbun", {"api_key", "PORKBUN_API_KEY"}, "", "PORKBUN_API_KEY"},
      {"porkbun", {"secret_api_key", "PORKBUN_SECRET_API_KEY"}, "", "PORKBUN_SECRET_API_KEY"},
      {"akeyless", {"access_id", "AKEYLESS_ACCESS_ID"}, "", "AKEYLESS_ACCESS_ID"},
      {"akeyless", {"access_key", "AKEYLESS_ACCESS_KEY"}, "", "AKEYLESS_ACCESS_KEY"},
      {"datadog", {"api_key", "DD_API_KEY"}, "", "DD_API_KEY"},
      {"datadog", {"app_key", "DD_APP_KEY"}, "", "DD_APP_KEY"},
  };
  return keys;
}

const std::string* first_of(const std::map<std::string, std::string>& data, const std::vector<std::string_view>& keys) {
  for (std::string_view key : keys) {
    auto it = data.find(std::string(key));
    if (it != data.end()) return &it->second;
  }
  return nullptr;
}

// A GitHub App is all of its three parts or none.
Status github_app(const core_v1::Secret& secret, json::Object& block) {
  static constexpr std::string_view kParts[] = {"app_id", "installation_id", "private_key"};
  Value app = json::Object();
  std::string missing;
  for (std::string_view part : kParts) {
    auto it = secret.data.find(std::string(part));
    if (it == secret.data.end()) missing += (missing.empty() ? "" : ", ") + std::string(part);
    else app[part == "private_key" ? "pem_file" : part == "app_id" ? "id" : part] = it->second;
  }
  if (app.members().empty()) return {};
  if (!missing.empty()) return bad_request("Secret " + secret.metadata.name + ": a GitHub App needs app_id, installation_id and private_key; missing: " + missing);
  block.set("app_auth", json::Array{std::move(app)});
  return {};
}

}  // namespace

std::string TemplateWork::executor_name() const { return object_.spec.executor.empty() ? e_.options.executor : object_.spec.executor; }

Result<Executor*> TemplateWork::executor() { return e_.executors.get(executor_name()); }

Result<std::shared_ptr<magma::StateStore>> TemplateWork::state() {
  if (state_ != nullptr) return state_;
  const std::string& ns = object_.metadata.namespace_;
  const std::string& name = object_.metadata.name;
  if (around_.pangea_namespace == nullptr) return err(not_found_error("there is no PangeaNamespace " + object_.spec.pangea_namespace));
  if (around_.pangea_namespace->spec.backend.type == "local") {
    ENGENHO_ASSIGN(const std::string path, e_.artifacts.local_state(object_.spec.pangea_namespace, ns, name));
    state_ = magma::make_local_state(path);
  } else {
    state_ = std::make_shared<ClusterState>(e_.shared_client, StateName{object_.spec.pangea_namespace, ns, name}, ClusterStateOptions{.owner = e_.owner});
  }
  return state_;
}

Result<core_v1::Secret> TemplateWork::secret(const std::string& name, const std::string& ns) {
  return e_.client.get<core_v1::Secret>(ns.empty() ? object_.metadata.namespace_ : ns, name);
}

Run TemplateWork::run_options() const {
  Run run;
  run.stop = stop_;
  run.timeout = e_.options.operation_timeout;
  return run;
}

Run TemplateWork::watched(PhaseWatch& watch, bool by_progress) const {
  Run run = run_options();
  run.stop = watch.token();
  if (by_progress) run.progress = [&watch](const Event&) { watch.touch(); };
  return run;
}

std::optional<Duration> TemplateWork::phase_limit(const std::string& phase) const {
  if (around_.policy.phase_timeout.level == Level::kDefault) return {};
  const auto& t = around_.policy.phase_timeout.value;
  const std::string& limit = phase == "Compiling" || phase == "CompileBlocked" ? t.compiling
                             : phase == "Planning"                             ? t.planning
                             : phase == "Applying"                             ? t.applying
                                                                               : std::string();
  if (limit.empty()) return {};
  auto parsed = parse_duration(limit);
  return parsed ? std::optional<Duration>(*parsed) : std::nullopt;
}

Status TemplateWork::add_credentials(Workspace& workspace) {
  struct Named {
    std::string provider;
    const k8s::Box<pangea_v1::ProviderCredential>* credential;
  };
  std::vector<Named> named;
  if (object_.spec.provider_credentials) {
    const auto& c = *object_.spec.provider_credentials;
    named = {{"aws", &c.aws}, {"cloudflare", &c.cloudflare}, {"github", &c.github}, {"porkbun", &c.porkbun}, {"akeyless", &c.akeyless}, {"datadog", &c.datadog}};
  }
  std::map<std::string, json::Object> blocks;
  auto take = [&](const std::string& provider, const pangea_v1::SecretReference& reference) -> Status {
    auto found = secret(reference.name, reference.namespace_);
    if (!found) return found.error();
    bool any = false;
    for (const CredentialKey& key : credential_keys()) {
      if (key.provider != provider) continue;
      if (const std::string* value = first_of(found->data, key.keys)) {
        workspace.environment.try_emplace(std::string(key.variable), *value);
        workspace.secrets.push_back(*value);
        any = true;
      }
    }
    if (provider == "github") {
      ENGENHO_RETURN_IF_ERROR(github_app(*found, blocks["github"]));
      any = any || !blocks["github"].empty();
    }
    for (const auto& [name, value] : found->data) {
      workspace.secrets.push_back(value);
      workspace.variables.set(name, workspace.variables.contains(name) ? *workspace.variables.find(name) : Value(value));
    }
    return any ? Status() : bad_request("Secret " + reference.name + " has none of the keys that provider " + provider + " is given its credentials by");
  };
  for (const Named& n : named) {
    if (!*n.credential) continue;
    const auto& credential = **n.credential;
    if (credential.secret_ref) ENGENHO_RETURN_IF_ERROR(take(n.provider, *credential.secret_ref));
    if (!credential.region.empty()) blocks[n.provider].set("region", credential.region);
    if (!credential.role_arn.empty()) blocks[n.provider].set("assume_role", json::Array{json::Object{{"role_arn", credential.role_arn}}});
  }
  const auto& defaults = around_.pangea_namespace->spec.default_providers;
  if (defaults) {
    if (!defaults->aws_region.empty() && !blocks["aws"].contains("region")) blocks["aws"].set("region", defaults->aws_region);
    if (defaults->aws_secret_ref && !workspace.environment.contains("AWS_ACCESS_KEY_ID")) ENGENHO_RETURN_IF_ERROR(take("aws", *defaults->aws_secret_ref));
    if (defaults->cloudflare_secret_ref && !workspace.environment.contains("CLOUDFLARE_API_TOKEN")) ENGENHO_RETURN_IF_ERROR(take("cloudflare", *defaults->cloudflare_secret_ref));
  }
  if (const auto& tags = around_.pangea_namespace->spec.default_tags; !tags.empty()) {
    Value map = json::Object();
    for (const auto& [name, value] : tags) map[name] = value;
    blocks["aws"].set("default_tags", json::Array{json::Object{{"tags", std::move(map)}}});
  }
  for (auto& [provider, block] : blocks) {
    if (!block.empty()) workspace.providers.set(provider, std::move(block));
  }
  return {};
}

Status TemplateWork::add_backend(Workspace& workspace) {
  const auto& backend = around_.pangea_namespace->spec.backend;
  if (backend.type == "cluster" || backend.type == "local") return {};   // a StateStore of ours
  workspace.backend.kind = backend.type;
  auto& settings = workspace.backend.settings;
  const std::string key = object_.metadata.namespace_ + "/" + object_.metadata.name;
  if (backend.type == "pg") {
    const auto& pg = *backend.pg;
    ENGENHO_ASSIGN_OR_RETURN(const core_v1::Secret credentials, secret(pg.secret_ref.name, pg.secret_ref.namespace_));
    settings = {{"host", pg.host}, {"port", std::to_string(pg.port.value_or(5432))}, {"database", pg.database}, {"sslMode", pg.ssl_mode}};
    settings["schema"] = pg.schema_prefix + object_.spec.pangea_namespace + "_" + key;
    for (const auto& [setting, name] : {std::pair("username", pg.secret_ref.username_key), {"password", pg.secret_ref.password_key}, {"caCert", pg.secret_ref.ca_cert_key}}) {
      auto it = credentials.data.find(name);
      if (it != credentials.data.end()) settings[setting] = it->second;
    }
    return {};
  }
  const auto& s3 = *backend.s3;
  settings = {{"bucket", s3.bucket}, {"region", s3.region}, {"key", s3.key_prefix + object_.spec.pangea_namespace + "/" + key + "/terraform.tfstate"}};
  if (!s3.dynamodb_table.empty()) settings["dynamodbTable"] = s3.dynamodb_table;
  if (s3.secret_ref) {
    ENGENHO_ASSIGN_OR_RETURN(const core_v1::Secret credentials, secret(s3.secret_ref->name, s3.secret_ref->namespace_));
    for (const char* name : {"access_key", "secret_key", "session_token"}) {
      auto it = credentials.data.find(name);
      if (it != credentials.data.end()) settings[name] = it->second;
    }
  }
  return {};
}

Result<Workspace> TemplateWork::workspace(const json::Value& config) {
  Workspace out;
  out.pangea_namespace = object_.spec.pangea_namespace;
  out.namespace_name = object_.metadata.namespace_;
  out.name = object_.metadata.name;
  out.config = config;
  if (around_.pangea_namespace == nullptr) return err(not_found_error("there is no PangeaNamespace " + object_.spec.pangea_namespace));
  ENGENHO_ASSIGN(out.directory, e_.artifacts.workspace(object_.metadata.uid));
  std::string waiting;
  ENGENHO_ASSIGN(auto values, variables(waiting));
  if (values) out.variables = std::move(*values);
  ENGENHO_TRY(add_credentials(out));
  ENGENHO_TRY(add_backend(out));
  for (const auto& file : object_.spec.secret_files) {
    ENGENHO_ASSIGN(const core_v1::Secret found, secret(file.secret_ref.name, file.secret_ref.namespace_));
    auto it = found.data.find(file.key);
    if (it == found.data.end()) return err(bad_request("spec.secretFiles: Secret " + file.secret_ref.name + " has no key \"" + file.key + "\""));
    out.secret_files[file.name] = it->second;
    out.secrets.push_back(it->second);
  }
  return out;
}

}  // namespace engenho::pangea
