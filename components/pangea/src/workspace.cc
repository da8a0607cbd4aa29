#include "workspace.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"

namespace engenho::pangea {

namespace {

// "${" and "%{" in a credential mean themselves.
void escape_templates(json::Value& value) {
  if (value.is_string()) {
    std::string out;
    const std::string& text = value.as_string();
    for (size_t i = 0; i < text.size(); ++i) {
      if ((text[i] == '$' || text[i] == '%') && i + 1 < text.size() && text[i + 1] == '{') out += text[i];
      out += text[i];
    }
    value = std::move(out);
  } else if (value.is_array()) {
    for (json::Value& item : value.as_array()) escape_templates(item);
  } else if (value.is_object()) {
    for (auto& [name, member] : value.as_object()) escape_templates(member);
  }
}

void fill(json::Value& block, const json::Value& from) {
  for (const auto& [name, member] : from.members()) {
    if (block.get(name) == nullptr) block[name] = member;
  }
}

// Into the type's configuration without an alias, or as one.
Status add_provider(json::Value& config, const std::string& type, json::Value block) {
  if (!block.is_object()) return bad_request("the block of provider \"" + type + "\" is no object");
  escape_templates(block);
  json::Value& there = config["provider"];
  // "provider" may be a list of objects.
  if (there.is_array()) {
    for (json::Value& part : there.as_array()) {
      if (json::Value* found = part.get(type); found != nullptr && found->is_object() && found->get("alias") == nullptr) {
        fill(*found, block);
        return {};
      }
    }
    there.as_array().push_back(json::Object{{type, std::move(block)}});
    return {};
  }
  if (!there.is_null() && !there.is_object()) return bad_request("\"provider\" of the configuration is no object");
  json::Value& found = there[type];
  if (found.is_null()) {
    found = std::move(block);
  } else if (found.is_array()) {
    for (json::Value& one : found.as_array()) {
      if (one.get("alias") == nullptr) {
        fill(one, block);
        return {};
      }
    }
    found.as_array().push_back(std::move(block));
  } else if (found.get("alias") == nullptr) {
    fill(found, block);
  } else {
    json::Value before = std::move(found);
    found = json::Array{std::move(before), std::move(block)};
  }
  return {};
}

bool declares_sensitive(const json::Value& declaration) {
  const json::Value* one = declaration.is_array() && !declaration.items().empty() ? &declaration.items()[0] : &declaration;
  return one->get("sensitive") != nullptr && one->get("sensitive")->bool_or(false);
}

// A section of the configuration may be an object, or a list of them; so may a type and a name in it.
void each_object(const json::Value* value, const std::function<void(const json::Value&)>& visit) {
  if (value == nullptr) return;
  if (value->is_object()) visit(*value);
  for (const json::Value& item : value->items()) each_object(&item, visit);
}

// Whether the configuration has to do with a provider: a block for one that it does not use would make terraform want it.
bool uses_provider(const json::Value& config, const std::string& type) {
  bool used = false;
  each_object(config.get("provider"), [&](const json::Value& blocks) { used = used || blocks.get(type) != nullptr; });
  each_object(config.get("terraform"), [&](const json::Value& settings) {
    each_object(settings.get("required_providers"), [&](const json::Value& required) { used = used || required.get(type) != nullptr; });
  });
  for (const char* section : {"resource", "data", "ephemeral"}) {
    each_object(config.get(section), [&](const json::Value& types) {
      for (const auto& [resource, names] : types.members()) {
        used = used || resource == type || resource.starts_with(type + "_");
        each_object(&names, [&](const json::Value& bodies) {
          for (const auto& [name, body] : bodies.members()) {
            each_object(&body, [&](const json::Value& one) {
              const std::string_view named = one.str_at({"provider"});
              used = used || named == type || named.starts_with(type + ".");
            });
          }
        });
      }
    });
  }
  return used || config.get("module") != nullptr;  // what modules use is not known here
}

// Commands on this machine, as whoever this process is: magma has no provisioners, and terraform's are refused.
Status refuse_provisioners(const json::Value& config) {
  Status found;
  each_object(config.get("resource"), [&](const json::Value& types) {
    for (const auto& [type, names] : types.members()) {
      each_object(&names, [&, type = type](const json::Value& bodies) {
        for (const auto& [name, body] : bodies.members()) {
          each_object(&body, [&, name = name](const json::Value& one) {
            if (one.get("provisioner") != nullptr)
              found = bad_request(type + "." + name + " has a provisioner: it would run commands on this machine, and is not supported");
          });
        }
      });
    }
  });
  return found;
}

// name -> declaration; "variable" may be a list of objects.
std::vector<std::pair<std::string, const json::Value*>> declared_variables(const json::Value& config) {
  std::vector<std::pair<std::string, const json::Value*>> out;
  const json::Value* variables = config.get("variable");
  if (variables == nullptr) return out;
  for (const auto& [name, declaration] : variables->members()) out.emplace_back(name, &declaration);
  for (const json::Value& part : variables->items()) {
    for (const auto& [name, declaration] : part.members()) out.emplace_back(name, &declaration);
  }
  return out;
}

// Names of settings whose values are no secrets, and would only make messages unreadable.
bool is_open_setting(std::string_view name) {
  const std::string lower = to_lower(name);
  for (const char* word : {"region", "host", "url", "endpoint", "profile", "alias", "version", "zone", "location", "owner", "organization"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

void add_secrets(Redactor& redactor, const json::Value& block) {
  for (const auto& [name, member] : block.members()) {
    if (member.is_object() || member.is_array())
      add_secrets(redactor, member);
    else if (!is_open_setting(name))
      redactor.add_all(member);
  }
  for (const json::Value& item : block.items()) {
    if (item.is_object() || item.is_array())
      add_secrets(redactor, item);
    else
      redactor.add_all(item);
  }
}

Status check_environment_name(const std::string& name) {
  static const std::set<std::string> kOurs = {"PATH", "HOME", "TMPDIR", "SHELL", "IFS", "ENV", "BASH_ENV", "GODEBUG"};
  const bool good = !name.empty() && (isdigit(static_cast<unsigned char>(name[0])) == 0) &&
                    std::all_of(name.begin(), name.end(), [](char c) { return isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; });
  if (!good) return bad_request("\"" + name + "\" is no name of an environment variable");
  // What would change the program that runs, not the provider's credentials.
  if (kOurs.contains(name) || name.starts_with("LD_") || name.starts_with("TF_") || name.starts_with("PLUGIN_"))
    return bad_request("the environment variable " + name + " cannot be set for an executor");
  return {};
}

Status check_file_name(const std::string& name) {
  const bool bare = !name.empty() && name.size() <= 200 && name[0] != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
  if (!bare) return bad_request("secret file \"" + name + "\": the name must be letters, digits, '.', '_' and '-', and not begin with a dot");
  for (const char* end : {".tf", ".tf.json", ".tofu", ".tofu.json", ".tfvars", ".tfvars.json", ".tfrc", ".tfstate", ".hcl"}) {
    if (name.ends_with(end)) return bad_request("secret file \"" + name + "\": files that end in " + end + " are the executor's own");
  }
  for (const char* ours : {"tfplan", "terraform.", "errored."}) {
    if (name.starts_with(ours)) return bad_request("secret file \"" + name + "\": the name is the executor's own");
  }
  return {};
}

}  // namespace

Result<Prepared> prepare(const Workspace& w) {
  Prepared out;
  if (!w.config.is_object() || w.config.members().empty())
    return err(failure_status(FailureKind::kEmptyWorkspace, "there are no configuration files: the rendered document is empty"));
  if (w.directory.empty() || w.directory[0] != '/') return err(bad_request("the workspace directory must be an absolute path"));
  const json::Value* settings = w.config.get("terraform");
  for (const char* name : {"backend", "cloud"}) {
    const bool there = settings != nullptr &&
                       (settings->get(name) != nullptr ||
                        std::any_of(settings->items().begin(), settings->items().end(), [&](const json::Value& part) { return part.get(name) != nullptr; }));
    if (there) return err(bad_request(std::string("the configuration has a ") + name + " block: where the state lives is for its PangeaNamespace to say"));
  }
  ENGENHO_TRY(refuse_provisioners(w.config));
  out.config = w.config;
  for (const auto& [type, block] : w.providers) {
    if (uses_provider(w.config, type)) ENGENHO_TRY(add_provider(out.config, type, block));
  }
  for (const auto& [name, declaration] : declared_variables(w.config)) {
    const json::Value* value = w.variables.find(name);
    if (value == nullptr) continue;
    out.variables.set(name, *value);
    if (declares_sensitive(*declaration)) out.redactor.add_all(*value);
  }
  for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && !w.environment.contains(name)) out.environment.push_back(std::string(name) + "=" + value);
  }
  out.environment.emplace_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  out.environment.push_back("HOME=" + w.directory);  // no configuration of whoever runs this program
  out.environment.emplace_back("LANG=C.UTF-8");
  for (const auto& [name, value] : w.environment) {
    ENGENHO_TRY(check_environment_name(name));
    if (value.find('\0') != std::string::npos) return err(bad_request("the environment variable " + name + " holds a zero byte"));
    out.environment.push_back(name + "=" + value);
    if (!is_open_setting(name)) out.redactor.add(value);
  }
  for (const auto& [name, content] : w.secret_files) {
    ENGENHO_TRY(check_file_name(name));
    out.redactor.add(content);
  }
  add_secrets(out.redactor, json::Value(w.providers));
  for (const std::string& secret : w.secrets) out.redactor.add(secret);
  for (const char* name : {"password", "access_key", "secret_key", "session_token"}) {
    if (auto at = w.backend.settings.find(name); at != w.backend.settings.end()) out.redactor.add(at->second);
  }
  return out;
}

Result<std::unique_ptr<RunDirectory>> RunDirectory::enter(const Workspace& w) {
  ENGENHO_TRY(make_dirs(w.directory, 0700));
  struct stat info {};
  if (lstat(w.directory.c_str(), &info) != 0) return err(errno_error("look at " + w.directory, errno));
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid()) return err(bad_request("the workspace directory is not a directory of this user"));
  if ((info.st_mode & 0777) != 0700 && chmod(w.directory.c_str(), 0700) != 0) return err(errno_error("chmod " + w.directory, errno));
  std::unique_ptr<RunDirectory> out(new RunDirectory(w.directory));
  const std::string lock = w.directory + "/.run.lock";
  out->lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (out->lock_ < 0) return err(errno_error("open " + lock, errno));
  if (flock(out->lock_, LOCK_EX | LOCK_NB) != 0)
    return err(failure_status(FailureKind::kStateLocked, "another run is in the workspace directory: it is locked"));
  for (const auto& [name, content] : w.secret_files) ENGENHO_TRY(out->write(name, content));
  return out;
}

Status RunDirectory::write(const std::string& name, std::string_view content) {
  written_.push_back(name);
  return write_file_atomic(path_ + "/" + name, content, 0600);
}

RunDirectory::~RunDirectory() {
  for (const std::string& name : written_) unlink((path_ + "/" + name).c_str());
  if (lock_ >= 0) close(lock_);
}

Limit::Limit(const Run& run) : run_(run) {
  chained_ = run.stop.on_stop([token = token_]() mutable { token.request_stop(); });
  group_.spawn("time", [this](StopToken end) {
    const MonoTime deadline = std::chrono::steady_clock::now() + run_.timeout;
    // Ends with the group or at the deadline, whichever is first.
    if (end.wait_for(deadline - std::chrono::steady_clock::now())) return;
    late_ = true;
    token_.request_stop();
  });
}

Limit::~Limit() {
  group_.stop();
  run_.stop.remove(chained_);
}

Status Limit::explain(const Status& status) const {
  if (status.ok()) return status;
  if (late_) {
    return failure_status(FailureKind::kStopped, "not finished within " +
                                                     std::to_string(std::chrono::duration_cast<std::chrono::seconds>(run_.timeout).count()) + " s" +
                                                     (status.message().empty() ? "" : ": " + status.message()));
  }
  if (run_.stop.stopped()) return failure_status(FailureKind::kStopped, "stopped" + (status.message().empty() ? "" : ": " + status.message()));
  return status;
}

Failure classify_all(const std::vector<std::string>& errors) {
  for (const std::string& e : errors) {
    const Failure f = classify_failure(e);
    if (f.kind != FailureKind::kUnclassified) return f;
  }
  return {};
}

}  // namespace engenho::pangea
