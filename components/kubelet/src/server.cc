#include "server.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/base/metrics.h"
#include "engenho/catalog/authentication_v1.h"
#include "engenho/catalog/authorization_v1.h"
#include "engenho/http/server.h"
#include "logs.h"
#include "streaming.h"

namespace engenho::kubelet {

namespace authentication_v1 = k8s::authentication_v1;
namespace authorization_v1 = k8s::authorization_v1;

namespace {

struct Query {
  std::multimap<std::string, std::string> values;
  explicit Query(std::string_view text) {
    if (text.empty()) return;
    for (std::string_view pair : split(text, '&')) {
      const size_t eq = pair.find('=');
      values.emplace(percent_decode(pair.substr(0, eq), true), eq == std::string_view::npos ? "" : percent_decode(pair.substr(eq + 1), true));
    }
  }
  std::string get(const std::string& name) const {
    auto it = values.find(name);
    return it == values.end() ? std::string() : it->second;
  }
  bool flag(const std::string& name) const {
    const std::string v = get(name);
    return v == "1" || v == "true" || v == "True" || v == "TRUE" || v == "t";
  }
  std::vector<std::string> all(const std::string& name) const {
    std::vector<std::string> out;
    auto [a, b] = values.equal_range(name);
    for (auto it = a; it != b; ++it) out.push_back(it->second);
    return out;
  }
};

void answer(http::Exchange& exchange, int status, std::string text, const char* type = "text/plain; charset=utf-8") {
  exchange.respond(status, {{"Content-Type", type}, {"X-Content-Type-Options", "nosniff"}}, std::move(text));
}

// As upstream's: 404 for what is not there, 400 for what was asked wrongly.
void answer_error(http::Exchange& exchange, const Status& s) { answer(exchange, s.code(), s.message() + "\n"); }

// Writes to an exchange at the speed of its reader. False when it is closed.
bool write_slowly(http::Exchange& exchange, std::string_view data) {
  if (!exchange.write(http::Body(std::string(data)))) return false;
  if (exchange.queued_bytes() < (1 << 20)) return true;
  struct Wait {
    std::mutex mutex;
    std::condition_variable wake;
    bool done = false;
  };
  auto wait = std::make_shared<Wait>();
  exchange.on_drain(256 << 10, [wait] {
    std::lock_guard lock(wait->mutex);
    wait->done = true;
    wait->wake.notify_all();
  });
  std::unique_lock lock(wait->mutex);
  wait->wake.wait(lock, [&] { return wait->done; });
  return !exchange.closed();
}

}  // namespace

struct KubeletServer::Impl final : http::Handler, std::enable_shared_from_this<KubeletServer::Impl> {
  Impl(Options o, client::Client& c, Cri& r) : options(std::move(o)), client(c), cri(r) {}

  void handle(std::shared_ptr<http::Exchange> exchange) override {
    auto self = shared_from_this();
    if (!pool.submit([self, exchange] { self->serve(exchange); })) answer(*exchange, 503, "too many requests at once\n");
  }

  struct User {
    std::string name;
    std::vector<std::string> groups;
    std::string uid;
  };

  // Who asks: a client certificate of our authority, else a bearer token that the API server knows.
  Result<User> authenticate(const http::Request& request) {
    const auto& peer = request.connection->peer;
    if (peer != nullptr && peer->verified) return User{peer->common_name, peer->organizations, ""};
    const std::string_view header = request.headers.get("Authorization");
    if (!header.starts_with("Bearer ")) return err(Status(401, reason::kUnauthorized, "Unauthorized"));
    authentication_v1::TokenReview review;
    review.spec.token = std::string(trim(header.substr(7)));
    ENGENHO_ASSIGN(authentication_v1::TokenReview done, client.create(review));
    if (!done.status.authenticated) return err(Status(401, reason::kUnauthorized, "Unauthorized"));
    return User{done.status.user.username, done.status.user.groups, done.status.user.uid};
  }

  Status authorize(const User& user, const std::string& verb, const std::string& subresource) {
    const std::string key = user.name + "\n" + join(user.groups, ",") + "\n" + verb + "\n" + subresource;
    const MonoTime now = std::chrono::steady_clock::now();
    {
      std::lock_guard lock(mutex);
      auto it = allowed.find(key);
      if (it != allowed.end() && it->second > now) return {};
    }
    authorization_v1::SubjectAccessReview review;
    review.spec.user = user.name;
    review.spec.groups = user.groups;
    review.spec.uid = user.uid;
    auto& r = review.spec.resource_attributes.ensure();
    r.verb = verb;
    r.version = "v1";
    r.resource = "nodes";
    r.subresource = subresource;
    r.name = options.node_name;
    ENGENHO_ASSIGN_OR_RETURN(auto done, client.create(review));
    if (!done.status.allowed) {
      return Status(403, reason::kForbidden, "Forbidden (user=" + user.name + ", verb=" + verb + ", resource=nodes, subresource=" + subresource + ")");
    }
    std::lock_guard lock(mutex);
    if (allowed.size() > 1000) allowed.clear();
    allowed[key] = now + std::chrono::seconds(30);   // refusals are asked again every time
    return {};
  }

  void serve(const std::shared_ptr<http::Exchange>& exchange) {
    const http::Request& request = exchange->request();
    const std::string path(request.path());
    auto user = authenticate(request);
    if (!user) return answer_error(*exchange, user.error());
    const std::string verb = request.method == "POST" ? "create" : request.method == "PUT" ? "update" : request.method == "DELETE" ? "delete" : request.method == "PATCH" ? "patch" : "get";
    const auto below = [&](std::string_view prefix) { return path == prefix || path.starts_with(std::string(prefix) + "/"); };
    const std::string subresource = below("/stats") ? "stats" : below("/metrics") ? "metrics" : below("/logs") ? "log" : below("/healthz") ? "healthz" : below("/pods") ? "pods" : "proxy";
    if (Status s = authorize(*user, verb, subresource); !s.ok()) {
      // The finer names are new: whoever may do everything through "proxy" may do these too.
      if (s.code() != 403 || subresource == "proxy" || !authorize(*user, verb, "proxy").ok()) return answer_error(*exchange, s);
    }
    std::vector<std::string> parts;
    for (std::string_view p : split(std::string_view(path).substr(1), '/')) parts.push_back(percent_decode(p));
    const Query query(request.query());
    if (path == "/healthz" || path == "/healthz/ping") return answer(*exchange, 200, "ok");
    if (path == "/metrics") return answer(*exchange, 200, metrics::Registry::global().text(), "text/plain; version=0.0.4");
    if (path == "/pods" || path == "/pods/") return pods(*exchange);
    if (parts[0] == "containerLogs" && parts.size() == 4) return logs(*exchange, parts, query);
    if ((parts[0] == "exec" || parts[0] == "attach" || parts[0] == "run") && (parts.size() == 4 || parts.size() == 5)) return command(*exchange, parts, query);
    if (parts[0] == "portForward" && (parts.size() == 3 || parts.size() == 4)) return port_forward(*exchange, parts);
    answer(*exchange, 404, "404 page not found\n");
  }

  void pods(http::Exchange& exchange) {
    json::Value list = json::Object();
    list["kind"] = "PodList";
    list["apiVersion"] = "v1";
    list["metadata"] = json::Object();
    json::Array items;
    for (const PodPtr& p : options.pods()) items.push_back(k8s::to_json(*p));
    list["items"] = std::move(items);
    answer(exchange, 200, json::dump(list), "application/json");
  }

  Result<PodPtr> find_pod(const std::string& ns, const std::string& name, const std::string& uid) {
    for (const PodPtr& p : options.pods()) {
      if (p->metadata.namespace_ == ns && p->metadata.name == name && (uid.empty() || p->metadata.uid == uid)) return p;
    }
    return err(not_found_error("pod " + ns + "/" + name + " not found"));
  }

  // The newest container of that name, or the one before it.
  Result<rt::ContainerStatus> find(const Pod& pod, const std::string& name, bool previous) {
    ENGENHO_ASSIGN(auto list, cri.list_containers(pod.metadata.uid));
    std::erase_if(list, [&](const rt::Container& c) { return c.metadata().name() != name; });
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.created_at() > b.created_at(); });
    // While it waits for its restart, the one that has ended is both.
    size_t index = 0;
    if (previous) {
      index = !list.empty() && list[0].state() == rt::CONTAINER_EXITED && list.size() == 1 && waits(pod, name) ? 0 : 1;
    }
    if (index >= list.size()) {
      return err(bad_request((previous ? "previous terminated container \"" : "container \"") + name + "\" in pod \"" + pod.metadata.name + "\" " +
                             (previous ? "not found" : "is waiting to start: ContainerCreating")));
    }
    return cri.container_status(list[index].id());
  }
  static bool waits(const Pod& pod, const std::string& name) {
    for (const auto& s : pod.status.container_statuses) {
      if (s.name == name) return bool(s.state.waiting);
    }
    return false;
  }

  void logs(http::Exchange& exchange, const std::vector<std::string>& parts, const Query& query) {
    auto pod = find_pod(parts[1], parts[2], "");
    if (!pod) return answer_error(exchange, pod.error());
    LogOptions o;
    o.follow = query.flag("follow");
    o.timestamps = query.flag("timestamps");
    int64_t n = 0;
    for (auto [name, into] : {std::pair{"tailLines", &o.tail_lines}, {"limitBytes", &o.limit_bytes}}) {
      if (const std::string v = query.get(name); !v.empty()) {
        if (!parse_int(v, n) || n < 0) return answer(exchange, 422, std::string("invalid ") + name + "\n");
        *into = n;
      }
    }
    if (const std::string v = query.get("sinceSeconds"); parse_int(v, n)) o.since = Clock::real().wall() - std::chrono::seconds(n);
    if (const std::string v = query.get("sinceTime"); !v.empty()) {
      auto t = parse_rfc3339(v);
      if (!t) return answer(exchange, 422, "invalid sinceTime\n");
      o.since = *t;
    }
    if (const std::string v = query.get("stream"); v == "Stdout" || v == "Stderr") o.stream = to_lower(v);
    auto status = find(**pod, parts[3], query.flag("previous"));
    if (!status) return answer_error(exchange, status.error());
    bool started = false;
    StopToken ended = stop_token;
    auto begin = [&] {
      if (!started) exchange.start(200, {{"Content-Type", "text/plain"}});
      started = true;
    };
    if (o.follow) begin();
    const std::string id = status->id();
    const Status done = read_log(
        status->log_path(), o,
        [&] {
          if (exchange.closed()) return false;
          auto s = cri.container_status(id);
          return s && s->state() == rt::CONTAINER_RUNNING;
        },
        ended,
        [&](std::string_view data) {
          begin();
          return write_slowly(exchange, data);
        });
    if (!done.ok() && !started) return answer_error(exchange, done);
    begin();
    exchange.finish();
  }

  // /exec/{namespace}/{pod}[/{uid}]/{container}
  void command(http::Exchange& exchange, const std::vector<std::string>& parts, const Query& query) {
    auto pod = find_pod(parts[1], parts[2], parts.size() == 5 ? parts[3] : "");
    if (!pod) return answer_error(exchange, pod.error());
    auto status = find(**pod, parts.back(), false);
    if (!status) return answer_error(exchange, status.error());
    StreamRequest streams{query.flag("input"), query.flag("output"), query.flag("error"), query.flag("tty")};
    if (streams.tty) streams.err = false;   // one terminal, one output
    Result<std::string> url = err(internal_error(""));
    if (parts[0] == "attach") {
      rt::AttachRequest r;
      r.set_container_id(status->id());
      r.set_stdin(streams.in);
      r.set_stdout(streams.out);
      r.set_stderr(streams.err);
      r.set_tty(streams.tty);
      url = cri.attach_url(r);
    } else {
      rt::ExecRequest r;
      r.set_container_id(status->id());
      for (const std::string& c : query.all("command")) r.add_cmd(c);
      r.set_stdin(streams.in);
      r.set_stdout(streams.out);
      r.set_stderr(streams.err);
      r.set_tty(streams.tty);
      url = cri.exec_url(r);
    }
    if (!url) return answer_error(exchange, url.error());
    serve_remote_command(exchange, *url, streams, stop_token);
  }

  void port_forward(http::Exchange& exchange, const std::vector<std::string>& parts) {
    auto pod = find_pod(parts[1], parts[2], parts.size() == 4 ? parts[3] : "");
    if (!pod) return answer_error(exchange, pod.error());
    auto sandboxes = cri.list_sandboxes((*pod)->metadata.uid);
    if (!sandboxes) return answer_error(exchange, sandboxes.error());
    for (const auto& s : *sandboxes) {
      if (s.state() != rt::SANDBOX_READY) continue;
      rt::PortForwardRequest r;
      r.set_pod_sandbox_id(s.id());
      auto url = cri.port_forward_url(r);
      if (!url) return answer_error(exchange, url.error());
      return serve_port_forward(exchange, *url, stop_token);
    }
    answer(exchange, 404, "pod " + parts[2] + " is not running\n");
  }

  const Options options;
  client::Client& client;
  Cri& cri;
  StopToken stop_token;
  std::mutex mutex;                          // guards allowed
  std::map<std::string, MonoTime> allowed;   // until when
  ThreadPool pool{"kubelet-http", 128, 256};
  std::unique_ptr<http::Server> server;
};

KubeletServer::KubeletServer(Options options, client::Client& client, Cri& cri) : impl_(std::make_shared<Impl>(std::move(options), client, cri)) {}
KubeletServer::~KubeletServer() { stop(); }

Status KubeletServer::start() {
  http::ServerOptions options;
  options.name = "kubelet";
  impl_->server = std::make_unique<http::Server>(options);
  http::TlsServerOptions tls;
  tls.certificate_pem = impl_->options.certificate_pem;
  tls.key_pem = impl_->options.key_pem;
  tls.request_client_certificate = true;
  tls.client_ca_pem = impl_->options.client_ca_pem;
  tls.http2 = false;   // every stream here is an upgrade, which HTTP/2 has not
  auto listener = impl_->server->listen_tcp(impl_->options.address, static_cast<uint16_t>(impl_->options.port), impl_, tls);
  if (!listener) return listener.error();
  return impl_->server->start();
}

void KubeletServer::stop() {
  if (impl_ == nullptr || impl_->server == nullptr) return;
  impl_->stop_token.request_stop();
  impl_->server->stop(std::chrono::seconds(1));
  impl_->pool.stop();
  impl_->server.reset();
}

}  // namespace engenho::kubelet
