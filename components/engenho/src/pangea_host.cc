#include "pangea_host.h"

#include "engenho/base/clock.h"
#include "engenho/client/client.h"
#include "engenho/pangea/commands.h"
#include "engenho/schema/api_errors.h"

namespace engenho {

namespace {

constexpr const char* kGroup = "pangea.pleme.io";

Status only(const apiserver::ExtensionRequest& r, std::string_view method) {
  if (r.method == method && r.rest.empty()) return {};
  return schema::method_not_supported({kGroup, "infrastructuretemplates"}, r.verb);
}

Result<apiserver::ExtensionResponse> answer(Result<json::Value> document) {
  if (!document) return err(document.error());
  return apiserver::ExtensionResponse{201, "application/json", json::dump(*document)};
}

}  // namespace

void add_pangea_subresources(const std::shared_ptr<apiserver::ApiServer>& api) {
  // The server owns the handlers: they hold it weakly, through a client that is made at the first call.
  struct Lazy {
    std::weak_ptr<apiserver::ApiServer> api;
    std::once_flag once;
    std::shared_ptr<client::Client> made;
    client::Client& get() {
      std::call_once(once, [this] {
        if (auto server = api.lock()) made = std::make_shared<client::Client>(client::local_transport(*server, {"system:pangea", "", {}, {}}), "pangea");
      });
      return *made;
    }
  };
  auto lazy = std::make_shared<Lazy>();
  lazy->api = api;
  api->add_subresource(kGroup, "infrastructuretemplates", "approve", [lazy](const apiserver::ExtensionRequest& r) -> Result<apiserver::ExtensionResponse> {
    ENGENHO_TRY(only(r, "POST"));
    return answer(pangea::approve(lazy->get(), r.namespace_name, r.name, r.body, {r.user.name, r.user.groups}, Clock::real().wall()));
  });
  for (const char* action : {"reconcile", "unlock"}) {
    api->add_subresource(kGroup, "infrastructuretemplates", action, [lazy, action](const apiserver::ExtensionRequest& r) -> Result<apiserver::ExtensionResponse> {
      ENGENHO_TRY(only(r, "POST"));
      return answer(pangea::command(lazy->get(), r.namespace_name, r.name, action, {r.user.name, r.user.groups}, Clock::real().wall()));
    });
  }
  api->add_subresource(kGroup, "infrastructuretemplates", "plan", [lazy](const apiserver::ExtensionRequest& r) -> Result<apiserver::ExtensionResponse> {
    ENGENHO_TRY(only(r, "GET"));
    ENGENHO_ASSIGN(const json::Value plan, pangea::pending_plan(lazy->get(), r.namespace_name, r.name));
    return apiserver::ExtensionResponse{200, "application/json", json::dump(plan)};
  });
  api->add_subresource(kGroup, "pangeanamespaces", "state", [lazy](const apiserver::ExtensionRequest& r) -> Result<apiserver::ExtensionResponse> {
    if (r.rest.size() != 2) return err(bad_request("the path must end in state/NAMESPACE/TEMPLATE"));
    lazy->get();
    auto reply = pangea::serve_state(lazy->made, {r.name, r.rest[0], r.rest[1], r.method, std::string(r.query.get("ID")), r.content_md5, r.body});
    if (!reply) return err(reply.error());
    return apiserver::ExtensionResponse{reply->code, std::move(reply->content_type), std::move(reply->body)};
  });
}

}  // namespace engenho
