#include "engenho/client/client.h"

#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"

namespace engenho::client {

const catalog::Resource& resource_of_schema(const schema::Schema& schema) {
  for (const catalog::GroupVersion& gv : catalog::group_versions()) {
    for (const catalog::Resource& r : gv.resources) {
      if (r.schema == &schema) return r;
    }
  }
  // A struct without a resource is a programming error that no input can cause.
  std::abort();
}

std::string path_of(const catalog::Resource& r, std::string_view ns, std::string_view name, std::string_view subresource) {
  std::string out = r.group.empty() ? "/api/" : "/apis/";
  out += r.api_version();
  if (r.namespaced && !ns.empty()) out += "/namespaces/" + percent_encode(ns);
  out += "/";
  out += r.plural;
  if (!name.empty()) out += "/" + percent_encode(name);
  if (!subresource.empty()) {
    out += "/";
    out += subresource;
  }
  return out;
}

namespace {

constexpr std::string_view kJson = "application/json";

Result<json::Value> parse_answer(const Response& response) {
  auto document = json::parse(response.body);
  if (response.status >= 400) {
    if (document && document->str_at({"kind"}) == "Status") return err(schema::from_document(*document));
    return err(Status(response.status, "", "the server answered " + std::to_string(response.status) + ": " + response.body.substr(0, 512)));
  }
  if (response.body.empty()) return json::Value();
  if (!document) return err(internal_error("the server's answer is no JSON: " + document.error().message()));
  return std::move(*document);
}

std::string selectors(const ListOptions& options) {
  std::string out;
  auto add = [&](std::string_view name, const std::string& value) {
    if (value.empty()) return;
    out += out.empty() ? '?' : '&';
    out += std::string(name) + "=" + percent_encode(value);
  };
  add("labelSelector", options.label_selector);
  add("fieldSelector", options.field_selector);
  add("resourceVersion", options.resource_version);
  return out;
}

}  // namespace

Client::Client(std::shared_ptr<Transport> transport, std::string field_manager)
    : transport_(std::move(transport)), field_manager_(std::move(field_manager)) {}

Result<json::Value> Client::request(std::string_view method, std::string_view target, std::string_view content_type, std::string body) {
  Request r;
  r.method = method;
  r.target = target;
  r.content_type = content_type;
  r.body = std::move(body);
  ENGENHO_ASSIGN(Response response, transport_->send(r));
  return parse_answer(response);
}

Result<json::Value> Client::get_raw(const catalog::Resource& r, std::string_view ns, std::string_view name, std::string_view subresource) {
  return request("GET", path_of(r, ns, name, subresource));
}

Result<RawList> Client::list_raw(const catalog::Resource& r, const ListOptions& options) {
  ENGENHO_ASSIGN(json::Value list, request("GET", path_of(r, options.namespace_name) + selectors(options)));
  RawList out;
  out.resource_version = list.str_at({"metadata", "resourceVersion"});
  if (json::Value* items = list.get("items"); items != nullptr && items->is_array()) out.items = std::move(items->as_array());
  return out;
}

Result<json::Value> Client::create_raw(const catalog::Resource& r, std::string_view ns, const json::Value& object, std::string_view name,
                                       std::string_view subresource) {
  return request("POST", path_of(r, ns, name, subresource) + "?fieldManager=" + field_manager_, kJson, json::dump(object));
}

Result<json::Value> Client::update_raw(const catalog::Resource& r, const json::Value& object, std::string_view subresource) {
  return request("PUT",
                 path_of(r, object.str_at({"metadata", "namespace"}), object.str_at({"metadata", "name"}), subresource) +
                     "?fieldManager=" + field_manager_,
                 kJson, json::dump(object));
}

Result<json::Value> Client::patch_raw(const catalog::Resource& r, std::string_view ns, std::string_view name, PatchType type,
                                      std::string_view patch, std::string_view subresource) {
  const std::string_view media = type == PatchType::kJson    ? "application/json-patch+json"
                                 : type == PatchType::kMerge ? "application/merge-patch+json"
                                                             : "application/strategic-merge-patch+json";
  return request("PATCH", path_of(r, ns, name, subresource) + "?fieldManager=" + field_manager_, media, std::string(patch));
}

Status Client::remove_raw(const catalog::Resource& r, std::string_view ns, std::string_view name, const DeleteOptions& options) {
  json::Value body = json::Object();
  body["apiVersion"] = "v1";
  body["kind"] = "DeleteOptions";
  if (options.grace_period_seconds >= 0) body["gracePeriodSeconds"] = options.grace_period_seconds;
  if (!options.propagation_policy.empty()) body["propagationPolicy"] = options.propagation_policy;
  if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
  if (!options.resource_version.empty()) body["preconditions"]["resourceVersion"] = options.resource_version;
  auto answer = request("DELETE", path_of(r, ns, name), kJson, json::dump(body));
  return answer ? Status() : answer.error();
}

Status Client::remove_collection_raw(const catalog::Resource& r, std::string_view ns, const ListOptions& options) {
  auto answer = request("DELETE", path_of(r, ns) + selectors(options));
  return answer ? Status() : answer.error();
}

}  // namespace engenho::client
