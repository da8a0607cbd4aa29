#include "state_listener.h"

#include "engenho/base/bytes.h"
#include "engenho/pki/keys.h"

namespace engenho::pangea {

struct StateListener::Impl final : http::Handler {
  Impl(magma::StateStore& s, std::string p)
      : state(s), password(std::move(p)), credentials("Basic " + base64_encode("pangea:" + password)), pool("pangea-state", 4, 64) {}

  void handle(std::shared_ptr<http::Exchange> exchange) override {
    const http::Request& r = exchange->request();
    if (!pki::constant_time_equal(r.headers.get("authorization"), credentials)) return exchange->respond(401, {}, {});
    if (r.path() != "/state") return exchange->respond(404, {}, {});
    if (r.body_too_large) return exchange->respond(413, {}, {});
    const bool queued = pool.submit([this, exchange] {
      http::Request& request = exchange->request();
      StateRequest in;
      in.method = request.method;
      in.content_md5 = request.headers.get("content-md5");
      for (std::string_view part : split(request.query(), '&')) {
        if (part.starts_with("ID=")) in.lock_id = percent_decode(part.substr(3), true);
      }
      in.body = std::move(request.body);
      StateAnswer out = state.handle(in);
      http::Headers headers{{"Content-Type", out.content_type}};
      if (!out.content_md5.empty()) headers.add("Content-MD5", out.content_md5);
      exchange->respond(out.status, std::move(headers), http::Body(std::move(out.body)));
    });
    if (!queued) exchange->respond(503, {}, {});
  }
  std::optional<size_t> max_body(const http::Request&) override { return size_t{256} << 20; }

  HttpState state;
  const std::string password, credentials;
  ThreadPool pool;
  http::ServerOptions options() const {
    http::ServerOptions out;
    out.name = "pangea-state";
    out.threads = 1;
    return out;
  }
  std::unique_ptr<http::Server> server = std::make_unique<http::Server>(options());
  uint16_t port = 0;
};

StateListener::StateListener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateListener::~StateListener() {
  impl_->server->stop(std::chrono::seconds(2));
  impl_->pool.stop();
  impl_->state.release_taken();  // a child that was killed left its lock
}
uint16_t StateListener::port() const {
  return impl_->port;
}
std::string StateListener::url() const {
  return "http://127.0.0.1:" + std::to_string(impl_->port) + "/state";
}
const std::string& StateListener::password() const {
  return impl_->password;
}

Result<std::unique_ptr<StateListener>> StateListener::start(magma::StateStore& state, uint16_t port, std::string password) {
  auto impl = std::make_unique<Impl>(state, std::move(password));
  // The server keeps the handler by a pointer of its own; this object outlives it.
  const std::shared_ptr<http::Handler> handler(std::shared_ptr<void>(), impl.get());
  auto listener = impl->server->listen_tcp("127.0.0.1", port, handler);
  if (!listener && port != 0) listener = impl->server->listen_tcp("127.0.0.1", 0, handler);
  if (!listener) return err(listener.error());
  ENGENHO_TRY(impl->server->start());
  impl->port = impl->server->port(*listener);
  return std::unique_ptr<StateListener>(new StateListener(std::move(impl)));
}

}  // namespace engenho::pangea
