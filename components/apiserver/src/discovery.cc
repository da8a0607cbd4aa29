#include "discovery.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "encode.h"
#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"
#include "openapi_custom.h"
#include "openapi_v2.h"

namespace engenho::apiserver {

namespace {

using json::Value;

// A group as it is served: built-in resources and custom ones.
struct ServedVersion {
  std::string version;
  std::vector<const catalog::Resource*> resources;
  std::vector<ResourcePtr> held;  // keeps the custom ones alive
};
struct ServedGroup {
  std::string name;
  std::vector<ServedVersion> versions;
};

std::vector<ServedGroup> served_groups(const ResourceTable& table) {
  std::vector<ServedGroup> out;
  auto custom = table.custom_groups();
  for (const catalog::Group& g : catalog::groups()) {
    if (!is_served(g) && !custom.contains(std::string(g.name))) continue;
    ServedGroup group{std::string(g.name), {}};
    for (const catalog::GroupVersion& gv : g.versions) {
      if (!is_served(gv)) continue;
      ServedVersion version{std::string(gv.version), {}, {}};
      for (const catalog::Resource& r : gv.resources) version.resources.push_back(&r);
      group.versions.push_back(std::move(version));
    }
    out.push_back(std::move(group));
  }
  for (const auto& [name, versions] : custom) {
    auto it = std::find_if(out.begin(), out.end(), [&, n = name](const ServedGroup& g) { return g.name == n; });
    if (it == out.end()) it = out.insert(out.end(), ServedGroup{name, {}});
    for (const std::string& v : versions) {
      auto at = std::find_if(it->versions.begin(), it->versions.end(), [&](const ServedVersion& x) { return x.version == v; });
      if (at == it->versions.end()) at = it->versions.insert(it->versions.end(), ServedVersion{v, {}, {}});
      at->held = table.custom_resources(name, v);
      for (const ResourcePtr& r : at->held) at->resources.push_back(r->facts);
    }
  }
  return out;
}

json::Array strings(std::span<const std::string_view> list) {
  json::Array out;
  for (std::string_view s : list) out.push_back(s);
  return out;
}

std::string storage_version_hash(const catalog::Resource& r) {
  const catalog::Resource& s = catalog::find_resource(r.group, r.plural) != nullptr ? catalog::storage_resource(r) : r;
  const std::string gvk = std::string(s.group) + "/" + std::string(s.version) + "/" + std::string(s.kind);
  return base64_encode(sha256(gvk).substr(0, 8));
}

Value group_document(const ServedGroup& g) {
  Value out = json::Object();
  out["name"] = g.name;
  json::Array versions;
  for (const ServedVersion& served : g.versions) {
    Value v = json::Object();
    v["groupVersion"] = g.name + "/" + served.version;
    v["version"] = served.version;
    versions.push_back(std::move(v));
  }
  out["preferredVersion"] = versions.empty() ? Value(json::Object()) : versions[0];
  out["versions"] = std::move(versions);
  return out;
}

}  // namespace

Discovery::Discovery(std::string server_address, ServerVersion version, const ResourceTable& table)
    : server_address_(std::move(server_address)), version_(std::move(version)), table_(table) {}

Value Discovery::api_versions() const {
  Value out = json::Object();
  out["kind"] = "APIVersions";
  out["versions"] = json::Array{"v1"};
  Value address = json::Object();
  address["clientCIDR"] = "0.0.0.0/0";
  address["serverAddress"] = server_address_;
  out["serverAddressByClientCIDRs"] = json::Array{address};
  return out;
}

Value Discovery::group_list() const {
  Value out = json::Object();
  out["kind"] = "APIGroupList";
  out["apiVersion"] = "v1";
  json::Array& groups = out["groups"].make_array();
  for (const ServedGroup& g : served_groups(table_)) {
    if (!g.name.empty()) groups.push_back(group_document(g));
  }
  return out;
}

Value Discovery::group(std::string_view name) const {
  Value out = json::Object();
  for (const ServedGroup& g : served_groups(table_)) {
    if (g.name == name) out = group_document(g);
  }
  out["kind"] = "APIGroup";
  out["apiVersion"] = "v1";
  return out;
}

Value Discovery::resource_list(std::string_view group, std::string_view version) const {
  Value out = json::Object();
  out["kind"] = "APIResourceList";
  if (!group.empty()) out["apiVersion"] = "v1";
  out["groupVersion"] = catalog::join_api_version(group, version);
  std::vector<std::pair<std::string, Value>> resources;
  ServedVersion served;
  for (ServedGroup& g : served_groups(table_)) {
    for (ServedVersion& v : g.versions) {
      if (g.name == group && v.version == version) served = std::move(v);
    }
  }
  const bool custom = !served.held.empty();
  for (const catalog::Resource* each : served.resources) {
    const catalog::Resource& r = *each;
    Value item = json::Object();
    item["name"] = r.plural;
    item["singularName"] = r.singular;
    item["namespaced"] = r.namespaced;
    item["kind"] = r.kind;
    item["verbs"] = strings(r.verbs);
    if (!r.short_names.empty()) item["shortNames"] = strings(r.short_names);
    if (!r.categories.empty()) item["categories"] = strings(r.categories);
    if (r.persisted()) item["storageVersionHash"] = storage_version_hash(r);
    resources.emplace_back(r.plural, std::move(item));
    auto subresources = std::vector<catalog::Subresource>(r.subresources.begin(), r.subresources.end());
    if (custom) std::reverse(subresources.begin(), subresources.end());  // status before scale
    for (const catalog::Subresource& s : subresources) {
      Value sub = json::Object();
      const std::string name = std::string(r.plural) + "/" + std::string(s.name);
      sub["name"] = name;
      sub["singularName"] = "";
      sub["namespaced"] = r.namespaced;
      sub["kind"] = s.kind;
      sub["verbs"] = strings(s.verbs);
      if (!s.group.empty() && (s.group != r.group || s.version != r.version)) {
        sub["group"] = s.group;
        sub["version"] = s.version;
      } else if (s.kind == "Scale" || s.kind == "TokenRequest" || s.kind == "Eviction") {
        sub["group"] = s.group;
        sub["version"] = s.version;
      }
      resources.emplace_back(name, std::move(sub));
    }
  }
  // Sorted by name, as upstream lists built-in ones.
  if (!custom) std::sort(resources.begin(), resources.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  json::Array& list = out["resources"].make_array();
  for (auto& [name, r] : resources) list.push_back(std::move(r));
  return out;
}

Value Discovery::aggregated(bool core, const std::string& version) const {
  Value out = json::Object();
  out["kind"] = "APIGroupDiscoveryList";
  out["apiVersion"] = "apidiscovery.k8s.io/" + version;
  out["metadata"] = json::Object();
  json::Array& items = out["items"].make_array();
  for (const ServedGroup& g : served_groups(table_)) {
    if (g.name.empty() != core) continue;
    Value group = json::Object();
    group["metadata"] = json::Object();
    if (!core) group["metadata"]["name"] = g.name;
    json::Array& versions = group["versions"].make_array();
    for (const ServedVersion& gv : g.versions) {
      Value v = json::Object();
      v["version"] = gv.version;
      v["freshness"] = "Current";
      json::Array& resources = v["resources"].make_array();
      for (const catalog::Resource* each : gv.resources) {
        const catalog::Resource& r = *each;
        Value item = json::Object();
        item["resource"] = r.plural;
        Value kind = json::Object();
        kind["group"] = gv.held.empty() ? "" : g.name;
        kind["version"] = gv.held.empty() ? "" : gv.version;
        kind["kind"] = r.kind;
        item["responseKind"] = kind;
        item["scope"] = r.namespaced ? "Namespaced" : "Cluster";
        item["singularResource"] = r.singular;
        item["verbs"] = strings(r.verbs);
        if (!r.short_names.empty()) item["shortNames"] = strings(r.short_names);
        if (!r.categories.empty()) item["categories"] = strings(r.categories);
        if (!r.subresources.empty()) {
          json::Array& subs = item["subresources"].make_array();
          for (const catalog::Subresource& s : r.subresources) {
            Value sub = json::Object();
            sub["subresource"] = s.name;
            const bool foreign = s.kind == "Scale" || s.kind == "TokenRequest" || s.kind == "Eviction";
            sub["responseKind"]["group"] = foreign ? s.group : std::string_view();
            sub["responseKind"]["version"] = foreign ? s.version : std::string_view();
            sub["responseKind"]["kind"] = s.kind;
            sub["verbs"] = strings(s.verbs);
            subs.push_back(std::move(sub));
          }
        }
        resources.push_back(std::move(item));
      }
      versions.push_back(std::move(v));
    }
    items.push_back(std::move(group));
  }
  return out;
}

void Discovery::openapi_index(Context& context) const {
  Value out = json::Object();
  Value& paths = out["paths"];
  paths.make_object();
  for (const catalog::GroupVersion& gv : catalog::group_versions()) {
    if (!is_served(gv)) continue;
    const std::string path = (gv.group.empty() ? "api/" : "apis/") + std::string(gv.api_version);
    const std::string_view document = catalog::openapi_v3(gv.group, gv.version);
    if (document.empty()) continue;
    std::string hash = hex_encode(sha256(document));
    for (char& c : hash) c = static_cast<char>(c >= 'a' ? c - 'a' + 'A' : c);
    paths[path]["serverRelativeURL"] = "/openapi/v3/" + path + "?hash=" + hash;
  }
  for (const auto& [group, versions] : table_.custom_groups()) {
    for (const std::string& version : versions) {
      const auto resources = table_.custom_resources(group, version);
      const catalog::GroupVersion* built_in = catalog::find_group_version(group, version);
      if (resources.empty() || (built_in != nullptr && is_served(*built_in))) continue;
      std::string hash = hex_encode(sha256(json::dump(openapi_of_custom(resources))));
      for (char& c : hash) c = static_cast<char>(c >= 'a' ? c - 'a' + 'A' : c);
      const std::string path = "apis/" + group + "/" + version;
      paths[path]["serverRelativeURL"] = "/openapi/v3/" + path + "?hash=" + hash;
    }
  }
  send_text(context, 200, json::dump(out), "text/plain; charset=utf-8");
}

void Discovery::openapi_document(Context& context, std::string_view rest) const {
  std::string_view group, version;
  if (rest.starts_with("api/")) version = rest.substr(4);
  else if (rest.starts_with("apis/")) catalog::split_api_version(rest.substr(5), group, version);
  const std::string_view known = catalog::openapi_v3(group, version);
  std::string made;
  if (known.empty()) {
    const auto resources = table_.custom_resources(group, version);
    if (resources.empty()) return send_text(context, 404, "404 page not found\n");
    made = json::dump(openapi_of_custom(resources));
  }
  const std::string_view document = known.empty() ? std::string_view(made) : known;
  http::Headers headers = answer_headers(context, "application/json");
  std::string tag = "\"" + hex_encode(sha256(document)) + "\"";
  for (char& c : tag) c = static_cast<char>(c >= 'a' && c <= 'f' ? c - 'a' + 'A' : c);
  headers.add("ETag", tag);
  headers.add("Vary", "Accept");
  if (context.request().headers.get("If-None-Match") == tag) return context.exchange->respond(304, std::move(headers), {});
  context.exchange->respond(200, std::move(headers), known.empty() ? http::Body(std::move(made)) : http::Body::fixed(known));
}

bool Discovery::handle(Context& context) const {
  std::string path = context.info.path;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string_view accept = context.request().headers.get("Accept");
  auto wants_aggregated = [&]() -> std::string {
    for (std::string_view part : split(accept, ',')) {
      if (part.find("as=APIGroupDiscoveryList") == std::string_view::npos || part.find("g=apidiscovery.k8s.io") == std::string_view::npos) continue;
      if (part.find("protobuf") != std::string_view::npos) continue;
      if (part.find("v=v2beta1") != std::string_view::npos) return "v2beta1";
      if (part.find("v=v2") != std::string_view::npos) return "v2";
    }
    return "";
  };
  if (path == "/api" || path == "/apis") {
    const std::string version = wants_aggregated();
    if (!version.empty()) {
      const std::string text = json::dump(aggregated(path == "/api", version)) + "\n";
      http::Headers headers = answer_headers(context, "application/json;g=apidiscovery.k8s.io;v=" + version + ";as=APIGroupDiscoveryList");
      std::string tag = "\"" + sha256_hex(text) + "\"";
      for (char& c : tag) c = static_cast<char>(c >= 'a' && c <= 'f' ? c - 'a' + 'A' : c);
      headers.add("ETag", tag);
      headers.add("Vary", "Accept");
      if (context.request().headers.get("If-None-Match") == tag) context.exchange->respond(304, std::move(headers), {});
      else context.exchange->respond(200, std::move(headers), http::Body(text));
      return true;
    }
    send_document(context, 200, path == "/api" ? api_versions() : group_list());
    return true;
  }
  if (path == "/version") {
    Value out = json::Object();
    out["major"] = version_.major;
    out["minor"] = version_.minor;
    out["emulationMajor"] = version_.major;
    out["emulationMinor"] = version_.minor;
    out["minCompatibilityMajor"] = version_.major;
    out["minCompatibilityMinor"] = std::to_string(std::stoi(version_.minor) - 1);
    out["gitVersion"] = version_.git_version;
    out["gitCommit"] = version_.git_commit;
    out["gitTreeState"] = "clean";
    out["buildDate"] = version_.build_date;
    out["goVersion"] = "";
    out["compiler"] = "gcc";
    out["platform"] = version_.platform;
    send_text(context, 200, json::dump_pretty(out), "application/json");
    return true;
  }
  if (path == "/openapi/v3") {
    openapi_index(context);
    return true;
  }
  if (path.starts_with("/openapi/v3/")) {
    openapi_document(context, std::string_view(path).substr(12));
    return true;
  }
  if (path == "/openapi/v2") {
    send_openapi_v2(context);
    return true;
  }
  const auto parts = split(std::string_view(path).substr(1), '/');
  if (parts[0] == "api" && parts.size() == 2 && catalog::find_group_version("", parts[1])) {
    send_document(context, 200, resource_list("", parts[1]));
    return true;
  }
  if (parts[0] == "apis" && parts.size() == 2 && !parts[1].empty() && table_.has_group(parts[1])) {
    send_document(context, 200, group(parts[1]));
    return true;
  }
  if (parts[0] == "apis" && parts.size() == 3 && table_.has_group_version(parts[1], parts[2])) {
    send_document(context, 200, resource_list(parts[1], parts[2]));
    return true;
  }
  return false;
}

}  // namespace engenho::apiserver
