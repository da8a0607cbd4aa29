#include "engenho/apiserver/request_info.h"

#include "engenho/base/bytes.h"

namespace engenho::apiserver {

Query::Query(std::string_view text) {
  if (text.empty()) return;
  for (std::string_view pair : split(text, '&')) {
    if (pair.empty()) continue;
    const size_t at = pair.find('=');
    items_.emplace_back(percent_decode(pair.substr(0, at), true),
                        at == std::string_view::npos ? std::string() : percent_decode(pair.substr(at + 1), true));
  }
}

const std::string* Query::find(std::string_view name) const {
  for (const auto& [k, v] : items_) {
    if (k == name) return &v;
  }
  return nullptr;
}
std::string_view Query::get(std::string_view name) const {
  const std::string* v = find(name);
  return v == nullptr ? std::string_view() : std::string_view(*v);
}
std::vector<std::string> Query::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [k, v] : items_) {
    if (k == name) out.push_back(v);
  }
  return out;
}
bool Query::flag(std::string_view name) const {
  const std::string* v = find(name);
  return v != nullptr && *v != "false" && *v != "0";
}

RequestInfo parse_request(std::string_view method, std::string_view target, const Query& query) {
  RequestInfo info;
  std::string_view raw = target.substr(0, target.find('?'));
  info.path = percent_decode(raw);
  info.verb = to_lower(method);

  std::vector<std::string> segments;
  std::string_view rest = raw;
  while (rest.starts_with('/')) rest.remove_prefix(1);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (!rest.empty()) {
    for (std::string_view s : split(rest, '/')) segments.push_back(percent_decode(s));
  }
  if (segments.size() < 3 || (segments[0] != "api" && segments[0] != "apis")) return info;
  size_t at = 0;
  info.prefix = segments[at++];
  if (info.prefix == "apis") {
    if (segments.size() < 4) return info;
    info.group = segments[at++];
  }
  info.version = segments[at++];
  info.is_resource = true;

  if (method == "POST") info.verb = "create";
  else if (method == "GET" || method == "HEAD") info.verb = "get";
  else if (method == "PUT") info.verb = "update";
  else if (method == "PATCH") info.verb = "patch";
  else if (method == "DELETE") info.verb = "delete";

  // The old form /api/v1/watch/pods. "proxy" in that place has long been gone.
  bool watch_prefix = false;
  if (segments[at] == "watch" && segments.size() > at + 1) {
    watch_prefix = true;
    ++at;
  }
  if (segments[at] == "namespaces") {
    if (segments.size() > at + 1) {
      info.namespace_ = segments[at + 1];
      // /namespaces/x, /namespaces/x/status and /namespaces/x/finalize are about the namespace itself.
      if (segments.size() > at + 2 && segments[at + 2] != "status" && segments[at + 2] != "finalize") at += 2;
    }
  }
  info.parts.assign(segments.begin() + static_cast<long>(at), segments.end());
  info.resource = info.parts[0];
  if (info.parts.size() > 1) info.name = info.parts[1];
  if (info.parts.size() > 2) info.subresource = info.parts[2];

  if (info.name.empty() && info.verb == "get") {
    info.verb = query.flag("watch") || (query.contains("watch") && query.get("watch") == "") ? "watch" : "list";
    // A field selector for one name is about that object: authorization by name covers it.
    const std::string_view selector = query.get("fieldSelector");
    constexpr std::string_view kByName = "metadata.name=";
    if (selector.starts_with(kByName) && selector.find(',') == std::string_view::npos) {
      info.name = selector.substr(kByName.size());
    }
  } else if (watch_prefix) {
    info.verb = "watch";
  }
  if (info.name.empty() && info.verb == "delete") info.verb = "deletecollection";
  return info;
}

}  // namespace engenho::apiserver
