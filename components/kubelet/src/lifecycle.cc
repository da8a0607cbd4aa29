#include "lifecycle.h"

#include <fstream>

#include "engenho/base/bytes.h"
#include "probes.h"

namespace engenho::kubelet {

Status run_hook(Cri& cri, const std::string& container_id, const core_v1::LifecycleHandler& hook, const core_v1::Container& container,
                const std::string& pod_ip, Duration timeout, const StopToken& stop) {
  const int64_t seconds = std::max<int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(timeout).count());
  if (hook.exec) return run_exec(cri, container_id, hook.exec->command, seconds);
  if (hook.http_get) return run_http_get(*hook.http_get, container, pod_ip, timeout, true);
  if (hook.sleep) {
    stop.wait_for(std::min<Duration>(timeout, std::chrono::seconds(hook.sleep->seconds)));
    return {};
  }
  return {};   // tcpSocket is documented to be ignored
}

namespace {

std::string registry_of(const std::string& image) {
  const size_t slash = image.find('/');
  const std::string first = slash == std::string::npos ? "" : image.substr(0, slash);
  // A first part without a dot, a port or "localhost" is a repository of the default registry.
  if (first.find('.') == std::string::npos && first.find(':') == std::string::npos && first != "localhost") return "docker.io";
  return first;
}

std::string host_of(std::string key) {
  for (const char* scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key = key.substr(std::string_view(scheme).size());
  }
  key = key.substr(0, key.find('/'));
  return key == "index.docker.io" ? "docker.io" : key;
}

}  // namespace

std::vector<rt::AuthConfig> pull_credentials(Cluster& cluster, const Pod& pod, const std::string& image) {
  std::vector<rt::AuthConfig> out;
  for (const auto& ref : pod.spec.image_pull_secrets) {
    auto secret = cluster.secret(pod.metadata.namespace_, ref.name);
    if (!secret) continue;   // as upstream: a missing one is not an error, the pull says what is wrong
    auto it = secret->data.find(".dockerconfigjson");
    if (it == secret->data.end()) continue;
    auto config = json::parse(it->second);
    if (!config) continue;
    const json::Value* auths = config->get("auths");
    if (auths == nullptr) continue;
    for (const auto& [key, value] : auths->members()) {
      if (host_of(key) != registry_of(image)) continue;
      rt::AuthConfig auth;
      auth.set_username(std::string(value.str_at({"username"})));
      auth.set_password(std::string(value.str_at({"password"})));
      auth.set_auth(std::string(value.str_at({"auth"})));
      auth.set_identity_token(std::string(value.str_at({"identitytoken"})));
      out.push_back(std::move(auth));
    }
  }
  return out;
}

std::string last_log_lines(const std::string& path, size_t lines, size_t bytes) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return {};
  in.seekg(0, std::ios::end);
  const auto size = static_cast<int64_t>(in.tellg());
  const int64_t from = std::max<int64_t>(0, size - static_cast<int64_t>(bytes * 2 + lines * 64));
  in.seekg(from);
  std::vector<std::string> kept;
  std::string line;
  if (from > 0) std::getline(in, line);
  while (std::getline(in, line)) {
    // time, stream, tag, text
    size_t at = 0;
    for (int i = 0; i < 3 && at != std::string::npos; ++i) {
      at = line.find(' ', at);
      if (at != std::string::npos) ++at;
    }
    if (at != std::string::npos) kept.push_back(line.substr(at));
  }
  std::string out;
  for (size_t i = kept.size() > lines ? kept.size() - lines : 0; i < kept.size(); ++i) out += kept[i] + "\n";
  return out.size() > bytes ? out.substr(out.size() - bytes) : out;
}

}  // namespace engenho::kubelet
