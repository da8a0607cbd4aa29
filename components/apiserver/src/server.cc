#include "engenho/apiserver/server.h"

#include <atomic>

#include "admission_plugins.h"
#include "authenticator.h"
#include "authorizer.h"
#include "bootstrap.h"
#include "connect.h"
#include "custom_resources.h"
#include "definitions.h"
#include "discovery.h"
#include "encode.h"
#include "endpoint_keeper.h"
#include "engenho/base/bytes.h"
#include "engenho/base/ipv4.h"
#include "engenho/base/log.h"
#include "engenho/base/metrics.h"
#include "engenho/base/random.h"
#include "engenho/base/threads.h"
#include "engenho/schema/api_errors.h"
#include "handlers.h"
#include "impersonation.h"
#include "service_allocator.h"
#include "subresources.h"
#include "watch.h"

namespace engenho::apiserver {

namespace {

Authenticator::Options authenticator_options(const Options& options) {
  Authenticator::Options out;
  out.issuer = options.issuer;
  out.api_audiences = {options.issuer};
  out.signing_key = options.service_account_key;
  out.clock = options.clock;
  return out;
}

// The group in /apis/<group>/...
std::string_view info_group(std::string_view path) {
  path.remove_prefix(6);
  return path.substr(0, path.find('/'));
}

ServerVersion version_of(const Options& options) {
  ServerVersion out;
  out.git_version = options.git_version;
  out.git_commit = options.git_commit;
  out.build_date = options.build_date;
  return out;
}

}  // namespace

struct ApiServer::Impl {
  explicit Impl(Options o)
      : options(std::move(o)),
        hub(*options.store),
        resources(hub),
        rest(hub, resources, *options.clock),
        definitions(rest),
        watches(hub),
        authenticator(authenticator_options(options), resources),
        authorizer(hub, resources),
        discovery((options.advertise_address.empty() ? "127.0.0.1" : options.advertise_address) + ":" +
                      std::to_string(options.advertise_port),
                  version_of(options), resources),
        connector({options.kubelet_ca_pem, options.kubelet_client_certificate_pem, options.kubelet_client_key_pem}),
        services{rest, watches},
        security{authenticator, authorizer},
        endpoints(rest, *options.store, options.advertise_address, options.advertise_port),
        workers("api-worker", options.max_workers, 10'000) {}

  void route(std::shared_ptr<Context> context);
  void dispatch(const std::shared_ptr<Context>& context);
  void dispatch_resource(const std::shared_ptr<Context>& context);
  bool health(Context& context);
  void run_pooled(const std::shared_ptr<Context>& context);
  const ExtensionHandler* extension(const RequestInfo& info) const;
  void run_extension(Context& context, const ExtensionHandler& handler);

  Options options;
  Hub hub;
  ResourceTable resources;
  Rest rest;
  Definitions definitions;
  WatchManager watches;
  Authenticator authenticator;
  Authorizer authorizer;
  Discovery discovery;
  Connector connector;
  Services services;
  Security security;
  EndpointKeeper endpoints;
  std::map<std::string, ExtensionHandler, std::less<>> extensions;  // "group/plural/subresource"; complete before start()
  ThreadPool workers;
  std::atomic<bool> ready{false};
  std::atomic<bool> stopping{false};
};

Result<std::unique_ptr<ApiServer>> ApiServer::create(Options options) {
  if (options.store == nullptr) return err(internal_error("an API server needs a store"));
  auto impl = std::make_unique<Impl>(std::move(options));
  const Options& o = impl->options;
  if (!o.token_auth_file.empty()) ENGENHO_TRY(impl->authenticator.load_token_file(o.token_auth_file));
  ENGENHO_ASSIGN(std::unique_ptr<WriteHook> allocator,
                 make_service_allocator(impl->hub, impl->resources, o.service_cidr, o.node_port_first, o.node_port_last));
  impl->rest.add_hook(std::move(allocator));
  Rest& rest = impl->rest;
  rest.add_admission(namespace_lifecycle(rest));
  rest.add_admission(limit_ranger(rest));
  rest.add_admission(node_restriction(rest));
  rest.add_admission(service_account(rest));
  rest.add_admission(taint_nodes_by_condition());
  rest.add_admission(pod_priority(rest));
  rest.add_admission(default_toleration_seconds());
  rest.add_admission(storage_in_use_protection());
  rest.add_admission(default_storage_class(rest));
  rest.add_admission(default_ingress_class(rest));
  rest.add_admission(escalation_check(impl->authorizer));
  rest.add_admission(certificate_requests(impl->authorizer));
  rest.add_admission(plan_approvals(impl->authorizer));
  rest.add_admission(resource_quota(rest));
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ApiServer::~ApiServer() { stop(); }

void ApiServer::add_admission(std::unique_ptr<AdmissionPlugin> plugin) { impl_->rest.add_admission(std::move(plugin)); }

void ApiServer::add_subresource(std::string_view group, std::string_view plural, std::string_view name, ExtensionHandler handler) {
  impl_->extensions[std::string(group) + "/" + std::string(plural) + "/" + std::string(name)] = std::move(handler);
}

Status ApiServer::start() {
  ENGENHO_RETURN_IF_ERROR(impl_->definitions.load());
  ENGENHO_RETURN_IF_ERROR(impl_->hub.start());
  BootstrapOptions options;
  options.service_cidr = impl_->options.service_cidr;
  const auto services = parse_ipv4_range(impl_->options.service_cidr);
  if (!services) return bad_request("service-cidr: invalid value \"" + impl_->options.service_cidr + "\": expected an IPv4 range such as 10.43.0.0/16");
  options.service_address = ipv4_text(services->first + 1);
  options.advertise_port = impl_->options.advertise_port;
  ENGENHO_RETURN_IF_ERROR(bootstrap(impl_->rest, options));
  ENGENHO_RETURN_IF_ERROR(impl_->endpoints.start());
  ENGENHO_RETURN_IF_ERROR(impl_->hub.wait_for(impl_->options.store->revision(), std::chrono::seconds(10)));
  impl_->definitions.start();
  impl_->ready = true;
  return {};
}

void ApiServer::stop() {
  if (impl_->stopping.exchange(true)) return;
  impl_->ready = false;
  impl_->connector.stop();
  impl_->watches.stop();
  impl_->workers.stop();
  impl_->definitions.stop();
  impl_->endpoints.stop();
  impl_->hub.stop();
}

void ApiServer::handle(std::shared_ptr<http::Exchange> exchange) {
  auto context = std::make_shared<Context>();
  context->exchange = std::move(exchange);
  context->received = impl_->options.clock->wall();
  context->query = Query(context->request().query());
  context->info = parse_request(context->request().method, context->request().target, context->query);
  auto user = impl_->authenticator.authenticate(context->request());
  if (!user) return send_status(*context, user.error());
  context->user = std::move(*user);
  if (Status s = impersonate(*context, impl_->authorizer); !s.ok()) return send_status(*context, s);
  impl_->route(std::move(context));
}

void ApiServer::handle_as(std::shared_ptr<http::Exchange> exchange, const UserInfo& user) {
  auto context = std::make_shared<Context>();
  context->exchange = std::move(exchange);
  context->received = impl_->options.clock->wall();
  context->query = Query(context->request().query());
  context->info = parse_request(context->request().method, context->request().target, context->query);
  context->user = user;
  impl_->route(std::move(context));
}

void ApiServer::Impl::route(std::shared_ptr<Context> context) {
  const RequestInfo& info = context->info;
  if (stopping) return send_status(*context, unavailable("the server is shutting down"));
  const Decision decision = authorizer.authorize(attributes_of(info, context->user));
  if (!decision.allowed) return send_status(*context, forbidden_status(info, context->user, decision.reason));
  if (context->query.flag("pretty") && context->query.contains("pretty")) context->accepted.pretty = true;
  if (!info.is_resource) return dispatch(context);
  context->resource = resources.find(info.group, info.version, info.resource);
  if (context->resource != nullptr) {
    if (info.group.empty() && info.resource == "endpoints") {
      context->warnings.push_back("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    } else if (info.group.empty() && info.resource == "componentstatuses") {
      context->warnings.push_back("v1 ComponentStatus is deprecated in v1.19+");
    }
    if (context->resource->custom != nullptr && !context->resource->custom->warning.empty()) context->warnings.push_back(context->resource->custom->warning);
    const bool pretty = context->accepted.pretty;
    const bool stream = info.verb == "watch";
    const bool raw = info.subresource == "log" || info.subresource == "proxy" || info.subresource == "exec" ||
                     info.subresource == "attach" || info.subresource == "portforward";
    auto accepted = negotiate(context->request().headers.get("Accept"), info.subresource.empty() || info.subresource == "status", stream);
    if (!accepted && !raw) return send_status(*context, accepted.error());
    if (accepted) context->accepted = std::move(*accepted);
    context->accepted.pretty = context->accepted.pretty || pretty;
    if (is_quick(*context, rest)) return dispatch_resource(context);
  }
  run_pooled(context);
}

void ApiServer::Impl::run_pooled(const std::shared_ptr<Context>& context) {
  if (!workers.submit([this, context] { dispatch_resource(context); })) {
    send_status(*context, schema::too_many_requests("Too many requests, please try again later.", 1));
  }
}

bool ApiServer::Impl::health(Context& context) {
  const std::string& path = context.info.path;
  for (const char* endpoint : {"/readyz", "/livez", "/healthz"}) {
    if (path != endpoint && !path.starts_with(std::string(endpoint) + "/")) continue;
    if (path.ends_with('/')) {
      send_text(context, 404, "404 page not found\n");
      return true;
    }
    const bool good = std::string_view(endpoint) == "/livez" ? !stopping : ready.load();
    const std::string check = path.size() > std::strlen(endpoint) + 1 ? path.substr(std::strlen(endpoint) + 1) : "";
    const auto status = options.store->status();
    const bool store_good = status.has_value() && status->alarm.empty();
    struct Check {
      const char* name;
      bool good;
    };
    const Check checks[] = {{"ping", true}, {"log", true}, {"etcd", store_good}, {"poststarthook/start-apiserver", good},
                            {"informer-sync", good}, {"shutdown", !stopping}};
    if (!check.empty()) {
      for (const Check& c : checks) {
        if (c.name != check) continue;
        send_text(context, c.good ? 200 : 500, c.good ? "ok" : "internal server error: " + check + "\n");
        return true;
      }
      send_text(context, 404, "404 page not found\n");
      return true;
    }
    bool all = good && store_good;
    if (context.query.contains("verbose") || !all) {
      std::string text;
      for (const Check& c : checks) {
        text += std::string(c.good ? "[+]" : "[-]") + c.name + (c.good ? " ok\n" : " failed: reason withheld\n");
      }
      text += std::string(endpoint + 1) + " check " + (all ? "passed\n" : "failed\n");
      send_text(context, all ? 200 : 500, std::move(text));
    } else {
      send_text(context, 200, "ok");
    }
    return true;
  }
  return false;
}

void ApiServer::Impl::dispatch(const std::shared_ptr<Context>& context) {
  const std::string& path = context->info.path;
  const std::string& method = context->request().method;
  if (health(*context)) return;
  if (path == "/metrics" && method == "GET") {
    return send_text(*context, 200, metrics::Registry::global().text(), "text/plain; version=0.0.4; charset=utf-8");
  }
  if (path == "/.well-known/openid-configuration") {
    return send_text(*context, 200, json::dump(authenticator.openid_configuration(
                                        "https://" + options.advertise_address + ":" + std::to_string(options.advertise_port))),
                     "application/json");
  }
  if (path == "/openid/v1/jwks") return send_text(*context, 200, json::dump(authenticator.jwks()), "application/jwk-set+json");
  const bool discovery_path = path == "/api" || path == "/apis" || path.starts_with("/api/") || path.starts_with("/apis/");
  if (discovery_path || path.starts_with("/openapi") || path == "/version" || path == "/version/") {
    auto accepted = negotiate(context->request().headers.get("Accept"), false, false);
    if (accepted) {
      const bool pretty = context->accepted.pretty;
      context->accepted = std::move(*accepted);
      context->accepted.pretty = pretty;
    }
    if (path.starts_with("/openapi/")) {
      if (!workers.submit([this, context] { discovery.handle(*context); })) {
        send_status(*context, schema::too_many_requests("Too many requests, please try again later.", 1));
      }
      return;
    }
    if ((discovery_path || path.starts_with("/version")) && (method == "HEAD" || method == "OPTIONS" || method == "POST")) {
      return send_status(*context, Status(405, reason::kMethodNotAllowed, "the server does not allow this method on the requested resource"));
    }
    if (!accepted && discovery_path && (path == "/api" || path == "/apis")) {
      StatusDetails details;
      details.causes.emplace_back();
      return send_status(*context, path == "/apis" ? accepted.error()
                                                   : Status(406, reason::kNotAcceptable,
                                                            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, "
                                                            "application/vnd.kubernetes.protobuf", std::move(details)));
    }
    if (!accepted && discovery_path) return send_status(*context, accepted.error());
    if (discovery.handle(*context)) return;
    if (path.starts_with("/api/") || (path.starts_with("/apis/") && resources.has_group(info_group(path)))) {
      return send_status(*context, schema::unknown_resource());
    }
  }
  if (path == "/" || path == "/index.html") {
    json::Value out = json::Object();
    json::Array paths{"/.well-known/openid-configuration", "/api", "/api/v1", "/apis"};
    for (const catalog::Group& g : catalog::groups()) {
      if (g.name.empty()) continue;
      paths.push_back("/apis/" + std::string(g.name));
      for (const catalog::GroupVersion& gv : g.versions) paths.push_back("/apis/" + std::string(gv.api_version));
    }
    for (const auto& [group, versions] : resources.custom_groups()) {
      if (catalog::find_group(group) == nullptr) paths.push_back("/apis/" + group);
      for (const std::string& version : versions) paths.push_back("/apis/" + group + "/" + version);
    }
    for (const char* p : {"/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"}) paths.push_back(p);
    std::sort(paths.begin(), paths.end(), [](const json::Value& a, const json::Value& b) { return a.str() < b.str(); });
    out["paths"] = std::move(paths);
    return send_text(*context, 200, json::dump_pretty(out), "application/json");
  }
  send_text(*context, 404, "404 page not found\n");
}

const ExtensionHandler* ApiServer::Impl::extension(const RequestInfo& info) const {
  if (info.subresource.empty()) return nullptr;
  auto it = extensions.find(info.group + "/" + info.resource + "/" + info.subresource);
  return it == extensions.end() ? nullptr : &it->second;
}

void ApiServer::Impl::run_extension(Context& context, const ExtensionHandler& handler) {
  const RequestInfo& info = context.info;
  ExtensionRequest request;
  request.method = context.request().method;
  request.verb = info.verb;
  request.namespace_name = info.namespace_;
  request.name = info.name;
  request.rest.assign(info.parts.begin() + 3, info.parts.end());
  request.query = context.query;
  request.content_type = context.request().headers.get("Content-Type");
  request.content_md5 = context.request().headers.get("Content-MD5");
  request.body = context.request().body;
  request.user = context.user;
  auto response = handler(request);
  if (!response) return send_status(context, response.error());
  send_bytes(context, response->code, response->content_type, http::Body(std::move(response->body)));
}

void ApiServer::Impl::dispatch_resource(const std::shared_ptr<Context>& context) {
  const RequestInfo& info = context->info;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  if (!resources.has_group(info.group)) return send_text(*context, 404, "404 page not found\n");
  if (!resources.has_group_version(info.group, info.version)) {
    return catalog::find_group(info.group) == nullptr ? send_text(*context, 404, "404 page not found\n") : fail(schema::unknown_resource());
  }
  const ResourcePtr& resource = context->resource;
  // The handler of custom resources answers for groups that only they have, and knows no more of them than their paths.
  if (resource == nullptr && catalog::find_group(info.group) == nullptr) return send_text(*context, 404, "404 page not found\n");
  if (resource != nullptr && resource->namespaced == !info.namespace_.empty()) {
    if (const ExtensionHandler* handler = extension(info)) return run_extension(*context, *handler);
  }
  if (resource == nullptr || info.parts.size() > 3) {
    // POST .../namespaces/x/bindings is the old way to bind a pod.
    if (info.parts.size() <= 3 || info.subresource != "proxy") return fail(schema::unknown_resource());
  }
  const std::string& sub = info.subresource;
  const std::string& method = context->request().method;
  if (sub == "proxy" && (info.resource == "pods" || info.resource == "services" || info.resource == "nodes") && info.group.empty()) {
    return connector.proxy(context, services);
  }
  auto not_allowed = [&] {
    fail(Status(405, reason::kMethodNotAllowed, "the server does not allow this method on the requested resource"));
  };
  if (method == "HEAD" || method == "OPTIONS") return not_allowed();
  // A collection is not written as a whole, an object not created under its own path.
  if (sub.empty() && info.name.empty() && (method == "PUT" || method == "PATCH")) return not_allowed();
  if (sub.empty() && info.parts.size() > 1 && method == "POST") return not_allowed();
  if (resource->namespaced && info.namespace_.empty() && info.verb != "list" && info.verb != "watch") {
    if (info.verb == "create" || info.verb == "deletecollection") return not_allowed();
    return fail(schema::unknown_resource());
  }
  if (!resource->namespaced && !info.namespace_.empty() && info.resource != "namespaces") {
    return resource->custom != nullptr ? send_text(*context, 404, "404 page not found\n") : fail(schema::unknown_resource());
  }

  if (!sub.empty()) {
    const catalog::Subresource* known = resource->facts->subresource(sub);
    if (known == nullptr) {
      return fail(resource->custom != nullptr ? schema::not_found({info.group, info.resource}, info.name) : schema::unknown_resource());
    }
    const bool connect = sub == "exec" || sub == "attach" || sub == "portforward";
    if (connect && method != "GET" && method != "POST") return not_allowed();
    if (!connect && std::find(known->verbs.begin(), known->verbs.end(), info.verb) == known->verbs.end()) {
      return resource->custom != nullptr ? fail(schema::method_not_supported({info.group, info.resource}, info.verb)) : not_allowed();
    }
    if (sub == "scale") return handle_scale(context, services);
    if (resource->custom != nullptr && sub != "status") return fail(Status(501, "", "this server has nobody who answers " + info.resource + "/" + sub));
    if (info.group.empty() && info.resource == "pods") {
      if (sub == "log") return connector.log(context, services);
      if (connect) return connector.exec_attach_port_forward(context, services);
      if (sub == "binding") return handle_binding(context, services, info.name);
      if (sub == "eviction") return handle_eviction(context, services);
    }
    if (info.group.empty() && info.resource == "serviceaccounts" && sub == "token") return handle_token(context, services, security);
  } else {
    if (!resource->facts->has_verb(info.verb)) return not_allowed();
    if (!resource->facts->persisted()) {
      if (info.resource == "bindings") return handle_binding(context, services, "");
      if (info.group == "authentication.k8s.io" || info.group == "authorization.k8s.io") return handle_review(context, services, security);
      return fail(Status(501, "", "this server does not implement " + info.resource));
    }
  }
  if (info.verb == "get") return handle_get(context, services);
  if (info.verb == "list") return handle_list(context, services);
  if (info.verb == "watch") return handle_watch(context, services);
  if (info.verb == "create") return handle_create(context, services);
  if (info.verb == "update") return handle_update(context, services);
  if (info.verb == "patch") return handle_patch(context, services);
  if (info.verb == "delete") return handle_delete(context, services);
  if (info.verb == "deletecollection") return handle_delete_collection(context, services);
  not_allowed();
}

}  // namespace engenho::apiserver
