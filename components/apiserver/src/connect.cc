#include "connect.h"

#include <arpa/inet.h>

#include <algorithm>

#include "encode.h"
#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

http::ClientOptions with_tls(const Connector::Options& options) {
  http::ClientOptions out;
  out.tls.ca_pem = options.ca_pem;
  out.tls.certificate_pem = options.certificate_pem;
  out.tls.key_pem = options.key_pem;
  return out;
}
http::ClientOptions insecure() {
  http::ClientOptions out;
  out.tls.insecure_skip_verify = true;
  return out;
}

// Headers that belong to one connection and are not passed on.
bool hop_by_hop(std::string_view name) {
  for (std::string_view h : {"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding",
                             "Upgrade", "Content-Length", "Host", "Authorization"}) {
    if (http::iequals(h, name)) return true;
  }
  // Whom the caller acts as is settled, and no business of the other end.
  return http::iequals(name.substr(0, 12), "Impersonate-");
}

// Addresses come from objects that more people may write than may reach what this server reaches: its own loopback, a cloud's metadata
// service (link-local) and groups of machines are none of a pod's.
bool may_be_a_pod(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    const uint32_t ip = ntohl(v4.s_addr);
    return ip != 0 && ip != 0xffffffff && ip >> 24 != 127 && ip >> 16 != 0xa9fe && ip >> 28 != 0xe;
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1 || IN6_IS_ADDR_V4MAPPED(&v6)) return false;
  return !IN6_IS_ADDR_UNSPECIFIED(&v6) && !IN6_IS_ADDR_LOOPBACK(&v6) && !IN6_IS_ADDR_LINKLOCAL(&v6) && !IN6_IS_ADDR_MULTICAST(&v6);
}

std::string container_of(const Value& pod, std::string_view wanted, Status& error) {
  std::vector<std::string> names, inits;
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    if (const Value* c = pod.at({"spec", list})) {
      for (const Value& one : c->items()) {
        (std::string_view(list) == "containers" ? names : inits).emplace_back(one.str_at({"name"}));
      }
    }
  }
  const std::string pod_name(pod.str_at({"metadata", "name"}));
  if (wanted.empty()) {
    if (names.size() == 1) return names[0];
    std::string text = "a container name must be specified for pod " + pod_name + ", choose one of: [" + join(names, " ") + "]";
    if (!inits.empty()) text += " or one of the init containers: [" + join(inits, " ") + "]";
    error = bad_request(std::move(text));
    return "";
  }
  for (const auto* list : {&names, &inits}) {
    for (const std::string& n : *list) {
      if (n == wanted) return n;
    }
  }
  error = bad_request("container " + std::string(wanted) + " is not valid for pod " + pod_name);
  return "";
}

// "name", "name:port", "https:name:port".
struct Target {
  std::string scheme = "http", name, port;
};
std::optional<Target> split_target(const std::string& text) {
  Target out;
  const auto parts = split(text, ':');
  if (parts.size() == 1) out.name = parts[0];
  else if (parts.size() == 2) out.name = parts[0], out.port = parts[1];
  else if (parts.size() == 3) out.scheme = parts[0].empty() ? "http" : parts[0], out.name = parts[1], out.port = parts[2];
  if (out.name.empty() || (out.scheme != "http" && out.scheme != "https")) return std::nullopt;
  return out;
}

}  // namespace

Connector::Connector(Options options) : kubelets_(with_tls(options)), insecure_(insecure()) {}

Result<std::string> Connector::kubelet_url(Services& services, const std::string& node_name) {
  auto nodes = services.rest.resources().find("", "v1", "nodes");
  ENGENHO_ASSIGN(Value node, services.rest.read(*nodes, "", node_name));
  const Value* port = node.at({"status", "daemonEndpoints", "kubeletEndpoint", "Port"});
  const int64_t number = port != nullptr ? port->int_or(10250) : 10250;
  for (const char* type : {"InternalIP", "Hostname", "ExternalIP"}) {
    if (const Value* addresses = node.at({"status", "addresses"})) {
      for (const Value& a : addresses->items()) {
        if (a.str_at({"type"}) != type) continue;
        std::string host(a.str_at({"address"}));
        if (host.find(':') != std::string::npos) host = "[" + host + "]";
        return "https://" + host + ":" + std::to_string(number);
      }
    }
  }
  return err(internal_error("node " + node_name + " has no address"));
}

void Connector::relay_response(Context& context, http::Client& client, http::ClientRequest request, const std::string& location_prefix) {
  auto response = client.open(request, &stop_);
  if (!response) {
    return send_status(context, Status(503, reason::kServiceUnavailable, "error trying to reach service: " + response.error().message()));
  }
  http::ResponseStream* stream = response->get();
  http::Headers headers;
  for (const auto& field : stream->headers()) {
    if (hop_by_hop(field.name)) continue;
    std::string value = field.value;
    if (http::iequals(field.name, "Location") && value.starts_with('/')) value = location_prefix + value;
    headers.add(field.name, std::move(value));
  }
  context.exchange->start(stream->status(), std::move(headers));
  std::shared_ptr<http::ResponseStream> shared = std::move(*response);
  std::weak_ptr<http::ResponseStream> weak = shared;
  context.exchange->on_close([weak] {
    if (auto s = weak.lock()) s->close();
  });
  std::string buffer(32 << 10, '\0');
  for (;;) {
    auto n = shared->read(buffer.data(), buffer.size());
    if (!n) return context.exchange->abort();
    if (*n == 0) break;
    if (!context.exchange->write(http::Body(buffer.substr(0, *n)))) return;
    // A reader that is slower than the source holds the source back.
    if (context.exchange->queued_bytes() > (1u << 20)) {
      auto state = std::make_shared<std::pair<std::mutex, std::condition_variable>>();
      auto flag = std::make_shared<bool>(false);
      context.exchange->on_drain(256 << 10, [state, flag] {
        std::lock_guard lock(state->first);
        *flag = true;
        state->second.notify_all();
      });
      std::unique_lock lock(state->first);
      state->second.wait(lock, [&] { return *flag; });
    }
  }
  context.exchange->finish();
}

void Connector::relay_upgrade(Context& context, http::Client& client, const std::string& url) {
  http::ClientRequest request;
  request.method = context.request().method;
  request.url = url;
  for (const auto& field : context.request().headers) {
    if (http::iequals(field.name, "Connection") || http::iequals(field.name, "Upgrade") || !hop_by_hop(field.name)) {
      request.headers.add(field.name, field.value);
    }
  }
  auto upgraded = client.upgrade(request, &stop_);
  if (!upgraded) {
    return send_status(context, Status(500, reason::kInternalError, "error dialing backend: " + upgraded.error().message()));
  }
  if (upgraded->status != 101) {
    http::Headers headers;
    for (const auto& field : upgraded->headers) {
      if (!hop_by_hop(field.name)) headers.add(field.name, field.value);
    }
    return context.exchange->respond(upgraded->status, std::move(headers), http::Body(std::move(upgraded->body)));
  }
  auto client_stream = context.exchange->upgrade(upgraded->headers);
  if (!client_stream) {
    upgraded->stream->close();
    return;
  }
  const uint64_t id = stop_.on_stop([&] {
    upgraded->stream->close();
    (*client_stream)->close();
  });
  http::relay(**client_stream, *upgraded->stream);
  stop_.remove(id);
}

void Connector::log(const std::shared_ptr<Context>& context, Services& services) {
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto pods = services.rest.resources().find("", "v1", "pods");
  auto pod = services.rest.read(*pods, context->info.namespace_, context->info.name);
  if (!pod) return fail(pod.error());
  Status error;
  const std::string container = container_of(*pod, context->query.get("container"), error);
  if (!error.ok()) return fail(error);
  schema::FieldErrors errors;
  for (const char* name : {"tailLines", "limitBytes", "sinceSeconds"}) {
    const std::string* text = context->query.find(name);
    if (text == nullptr) continue;
    int64_t n;
    if (!parse_int(*text, n)) return fail(bad_request("strconv.ParseInt: parsing \"" + *text + "\": invalid syntax"));
    if (std::string_view(name) == "tailLines" && n < 0) errors.invalid(name, n, "must be greater than or equal to 0");
    if (std::string_view(name) != "tailLines" && n < 1) errors.invalid(name, n, "must be greater than 0");
  }
  if (context->query.contains("sinceSeconds") && context->query.contains("sinceTime")) {
    errors.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified");
  }
  if (Status s = errors.to_status("", "PodLogOptions", context->info.name); !s.ok()) return fail(s);
  const std::string node(pod->str_at({"spec", "nodeName"}));
  if (node.empty()) return context->exchange->respond(204, answer_headers(*context, "text/plain"), {});
  auto base = kubelet_url(services, node);
  if (!base) return fail(base.error());
  std::string url = *base + "/containerLogs/" + context->info.namespace_ + "/" + context->info.name + "/" + container;
  char separator = '?';
  for (const auto& [k, v] : context->query.items()) {
    if (k == "container" || k == "insecureSkipTLSVerifyBackend") continue;
    url += separator + percent_encode(k) + "=" + percent_encode(v);
    separator = '&';
  }
  http::ClientRequest request;
  request.url = url;
  auto response = kubelets_.open(request, &stop_);
  if (!response) return fail(Status(500, reason::kInternalError, "Get \"" + url + "\": " + response.error().message()));
  if ((*response)->status() != 200) {
    std::string text(64 << 10, '\0');
    auto n = (*response)->read(text.data(), text.size(), http::deadline_in(std::chrono::seconds(10)));
    text.resize(n ? *n : 0);
    return fail((*response)->status() == 404 ? not_found_error(text) : (*response)->status() == 400 ? bad_request(text) : internal_error(text));
  }
  std::shared_ptr<http::ResponseStream> stream = std::move(*response);
  context->exchange->start(200, answer_headers(*context, "text/plain"));
  std::weak_ptr<http::ResponseStream> weak = stream;
  context->exchange->on_close([weak] {
    if (auto s = weak.lock()) s->close();
  });
  std::string buffer(32 << 10, '\0');
  for (;;) {
    auto n = stream->read(buffer.data(), buffer.size());
    if (!n || *n == 0) break;
    if (!context->exchange->write(http::Body(buffer.substr(0, *n)))) return;
  }
  context->exchange->finish();
}

void Connector::exec_attach_port_forward(const std::shared_ptr<Context>& context, Services& services) {
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto pods = services.rest.resources().find("", "v1", "pods");
  auto pod = services.rest.read(*pods, context->info.namespace_, context->info.name);
  if (!pod) return fail(pod.error());
  if (Status s = services.rest.admit_connect(*context, *pods, nullptr); !s.ok()) return fail(s);
  const std::string& what = context->info.subresource;
  const std::string node(pod->str_at({"spec", "nodeName"}));
  if (node.empty()) return fail(bad_request("pod " + context->info.name + " does not have a host assigned"));
  auto base = kubelet_url(services, node);
  if (!base) return fail(base.error());
  std::string url = *base + "/" + (what == "portforward" ? "portForward" : what) + "/" + context->info.namespace_ + "/" + context->info.name;
  if (what != "portforward") {
    Status error;
    const std::string container = container_of(*pod, context->query.get("container"), error);
    if (!error.ok()) return fail(error);
    const std::string_view phase = pod->str_at({"status", "phase"});
    if (phase == "Succeeded" || phase == "Failed") {
      return fail(bad_request("cannot exec into a container in a completed pod; current phase is " + std::string(phase)));
    }
    if (what == "exec" && context->query.all("command").empty()) return fail(bad_request("you must specify at least 1 command for the exec"));
    bool any = false;
    for (const char* stream : {"stdin", "stdout", "stderr"}) any = any || context->query.flag(stream);
    if (!any) return fail(bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    url += "/" + container;
  }
  // The order and repetition of parameters is part of the request (command=).
  char separator = '?';
  for (const auto& [k, v] : context->query.items()) {
    if (k == "container") continue;
    const std::string name = k == "stdin" ? "input" : k == "stdout" ? "output" : k == "stderr" ? "error" : k;
    const std::string value = (k == "stdin" || k == "stdout" || k == "stderr" || k == "tty") ? (v == "true" || v == "1" ? "1" : "0") : v;
    if (value == "0" && name != k) continue;
    url += separator + percent_encode(name) + "=" + percent_encode(value);
    separator = '&';
  }
  if (!context->request().headers.has_token("Connection", "upgrade")) {
    return fail(bad_request("Upgrade request required"));
  }
  relay_upgrade(*context, kubelets_, url);
}

void Connector::proxy(const std::shared_ptr<Context>& context, Services& services) {
  auto fail = [&](const Status& s) { send_status(*context, s); };
  const RequestInfo& info = context->info;
  const std::optional<Target> split_name = split_target(info.name);
  const Status invalid = bad_request("invalid " + info.resource.substr(0, info.resource.size() - 1) + " request \"" + info.name + "\"");
  if (!split_name) return fail(invalid);
  const Target& target = *split_name;
  Rest& rest = services.rest;
  std::string host, port = target.port;
  const std::string& scheme = target.scheme;
  std::string base;
  http::Client* client = scheme == "https" ? &insecure_ : &plain_;
  if (info.resource == "nodes") {
    auto url = kubelet_url(services, target.name);
    if (!url) return fail(url.error());
    base = *url;
    client = &kubelets_;
  } else if (info.resource == "pods") {
    auto pods = rest.resources().find("", "v1", "pods");
    auto pod = rest.read(*pods, info.namespace_, target.name);
    if (!pod) return fail(pod.error());
    host = pod->str_at({"status", "podIP"});
    if (!may_be_a_pod(host)) return fail(bad_request("address not allowed"));
    if (port.empty()) {
      port = "80";
      if (const Value* containers = pod->at({"spec", "containers"})) {
        for (const Value& c : containers->items()) {
          const Value* ports = c.get("ports");
          if (ports == nullptr || ports->items().empty()) continue;
          if (const Value* p = ports->items()[0].get("containerPort")) port = std::to_string(p->int_or(80));
          break;
        }
      }
    }
    if (int64_t number = 0; !parse_int(port, number) || number < 1 || number > 65535) return fail(invalid);
    base = scheme + "://" + (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + port;
  } else {
    auto service_resource = rest.resources().find("", "v1", "services");
    auto service = rest.read(*service_resource, info.namespace_, target.name);
    if (!service) return fail(service.error());
    // A port by number or name; one alone needs no naming.
    std::string port_name;
    bool found = false;
    if (const Value* ports = service->at({"spec", "ports"})) {
      for (const Value& p : ports->items()) {
        const int64_t number = p.get("port") ? p.get("port")->int_or(0) : 0;
        if ((port.empty() && ports->items().size() == 1) || p.str_at({"name"}) == port || std::to_string(number) == port) {
          port_name = p.str_at({"name"});
          found = true;
          break;
        }
      }
    }
    const Status none(503, reason::kServiceUnavailable, "no endpoints available for service \"" + info.name + "\"");
    if (!found) return fail(Status(503, reason::kServiceUnavailable, "no service port \"" + port + "\" found for service \"" + target.name + "\""));
    auto slices = rest.resources().find("discovery.k8s.io", "v1", "endpointslices");
    // Whoever may write endpoints may name any address: only one that the pod it is said to be of has itself is gone to.
    auto pods = rest.resources().find("", "v1", "pods");
    const auto belongs = [&](const Value& endpoint, const std::string& ip) {
      if (endpoint.str_at({"targetRef", "kind"}) != "Pod" || endpoint.str_at({"targetRef", "namespace"}) != info.namespace_ || !may_be_a_pod(ip)) return false;
      const auto pod = rest.read(*pods, info.namespace_, std::string(endpoint.str_at({"targetRef", "name"})));
      const Value* ips = pod ? pod->at({"status", "podIPs"}) : nullptr;
      return ips != nullptr && std::any_of(ips->items().begin(), ips->items().end(), [&](const Value& one) { return one.str_at({"ip"}) == ip; });
    };
    std::atomic<Revision> unused{0};
    std::vector<std::string> addresses;
    for (const ObjectPtr& s : slices->cacher->list(slices->store_prefix + info.namespace_ + "/", unused)) {
      const std::string* owner = s->label("kubernetes.io/service-name");
      if (owner == nullptr || *owner != target.name) continue;
      const Value slice = s->value();
      int64_t number = 0;
      if (const Value* ports = slice.get("ports")) {
        for (const Value& p : ports->items()) {
          if (p.str_at({"name"}) == port_name && p.get("port") != nullptr) number = p.get("port")->int_or(0);
        }
      }
      if (number == 0) continue;
      if (const Value* endpoints = slice.get("endpoints")) {
        for (const Value& e : endpoints->items()) {
          const Value* ready = e.at({"conditions", "ready"});
          if (ready != nullptr && !ready->bool_or(true)) continue;
          if (const Value* a = e.get("addresses"); a != nullptr && !a->items().empty()) {
            std::string ip(a->items()[0].str());
            if (!belongs(e, ip)) continue;
            if (ip.find(':') != std::string::npos) ip = "[" + ip + "]";
            addresses.push_back(ip + ":" + std::to_string(number));
          }
        }
      }
    }
    if (addresses.empty()) return fail(none);
    base = scheme + "://" + addresses[static_cast<size_t>(rest.clock().mono().time_since_epoch().count()) % addresses.size()];
  }
  // What follows "proxy" in the raw path is passed on as it came.
  const std::string& target_path = context->request().target;
  // /api/v1/nodes/NAME/proxy or /api/v1/namespaces/NAMESPACE/RESOURCE/NAME/proxy: counted, because names may begin with "proxy".
  size_t at = target_path.find_first_not_of('/') - 1;
  for (int slashes = info.resource == "nodes" ? 4 : 6; slashes > 0 && at != std::string::npos; --slashes) at = target_path.find('/', at + 1);
  if (at != std::string::npos && target_path.compare(at, 6, "/proxy") != 0) at = std::string::npos;
  std::string rest_of_path = at == std::string::npos ? "/" : target_path.substr(at + 6);
  const std::string prefix = at == std::string::npos ? "" : target_path.substr(0, at + 6);
  if (rest_of_path.empty() || rest_of_path[0] == '?') {
    if (context->request().method == "GET" && !context->request().headers.has_token("Connection", "upgrade") && rest_of_path.empty()) {
      // Relative links work only below a slash.
      http::Headers headers = answer_headers(*context, "text/html; charset=utf-8");
      headers.add("Location", prefix + "/" + rest_of_path);
      return context->exchange->respond(301, std::move(headers), {});
    }
    rest_of_path = "/" + rest_of_path;
  }
  if (context->request().headers.has_token("Connection", "upgrade")) return relay_upgrade(*context, *client, base + rest_of_path);
  http::ClientRequest request;
  request.method = context->request().method;
  request.url = base + rest_of_path;
  for (const auto& field : context->request().headers) {
    if (!hop_by_hop(field.name) && !field.name.starts_with(':')) request.headers.add(field.name, field.value);
  }
  request.body = http::Body(context->request().body);
  relay_response(*context, *client, std::move(request), prefix);
}

}  // namespace engenho::apiserver
