#include "impersonation.h"

#include <map>

#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

Status forbidden_status(const RequestInfo& info, const UserInfo& user, std::string_view reason) {
  const std::string who = "User \"" + user.name + "\" cannot " + info.verb + " ";
  std::string text;
  if (!info.is_resource) {
    text = who + "path \"" + info.path + "\"";
  } else {
    std::string resource = info.resource;
    if (!info.subresource.empty()) resource += "/" + info.subresource;
    text = who + "resource \"" + resource + "\" in API group \"" + info.group + "\"";
    if (!info.namespace_.empty()) text += " in the namespace \"" + info.namespace_ + "\"";
    else text += " at the cluster scope";
  }
  if (!reason.empty()) text += ": " + std::string(reason);
  return schema::forbidden({info.group, info.resource}, info.name, text);
}

Status impersonate(Context& context, Authorizer& authorizer) {
  const http::Headers& headers = context.request().headers;
  const std::string name(headers.get("Impersonate-User"));
  const auto groups = headers.all("Impersonate-Group");
  const std::string uid(headers.get("Impersonate-Uid"));
  std::vector<std::pair<std::string, std::string>> extra;
  constexpr std::string_view kExtra = "impersonate-extra-";
  for (const auto& field : headers) {
    const std::string lower = to_lower(field.name);
    if (lower.starts_with(kExtra)) extra.emplace_back(percent_decode(lower.substr(kExtra.size())), field.value);
  }
  if (name.empty()) {
    if (groups.empty() && uid.empty() && extra.empty()) return {};
    // As Go prints the user that was asked for.
    auto strings = [](const auto& items) {
      std::string out = "[]string";
      if (items.empty()) return out + "(nil)";
      out += "{";
      for (size_t i = 0; i < items.size(); ++i) out += (i > 0 ? ", " : "") + json::dump(json::Value(std::string(items[i])));
      return out + "}";
    };
    std::map<std::string, std::vector<std::string>> more;
    for (const auto& [k, v] : extra) more[k].push_back(v);
    std::string shown = "map[string][]string(nil)";
    if (!more.empty()) {
      shown = "map[string][]string{";
      for (const auto& [k, v] : more) shown += (shown.back() == '{' ? "" : ", ") + json::dump(json::Value(k)) + ":" + strings(v);
      shown += "}";
    }
    return bad_request("requested &user.DefaultInfo{Name:\"\", UID:" + json::dump(json::Value(uid)) + ", Groups:" + strings(groups) + ", Extra:" + shown +
                       "} without impersonating a user name");
  }
  auto check = [&](std::string_view resource, std::string_view sub, std::string_view group, std::string_view ns, std::string_view target) -> Status {
    Attributes a;
    a.user = &context.user;
    a.is_resource = true;
    a.verb = "impersonate";
    a.group = group;
    a.version = "v1";
    a.resource = resource;
    a.subresource = sub;
    a.namespace_name = ns;
    a.name = target;
    if (authorizer.authorize(a).allowed) return {};
    RequestInfo info;
    info.is_resource = true;
    info.verb = "impersonate";
    info.group = group;
    info.resource = resource;
    info.subresource = sub;
    info.namespace_ = ns;
    info.name = target;
    return forbidden_status(info, context.user, "");
  };
  UserInfo next;
  next.name = name;
  constexpr std::string_view kAccount = "system:serviceaccount:";
  if (name.starts_with(kAccount)) {
    const auto parts = split(std::string_view(name).substr(kAccount.size()), ':');
    if (parts.size() == 2) {
      ENGENHO_RETURN_IF_ERROR(check("serviceaccounts", "", "", parts[0], parts[1]));
      if (groups.empty()) {
        next.groups = {"system:serviceaccounts", "system:serviceaccounts:" + std::string(parts[0])};
      }
    }
  } else {
    ENGENHO_RETURN_IF_ERROR(check("users", "", "", "", name));
  }
  for (std::string_view g : groups) {
    ENGENHO_RETURN_IF_ERROR(check("groups", "", "", "", g));
    next.groups.emplace_back(g);
  }
  if (!uid.empty()) {
    ENGENHO_RETURN_IF_ERROR(check("uids", "", "authentication.k8s.io", "", uid));
    next.uid = uid;
  }
  for (const auto& [k, v] : extra) {
    ENGENHO_RETURN_IF_ERROR(check("userextras", k, "authentication.k8s.io", "", v));
    next.extra[k].push_back(v);
  }
  if (name == kAnonymous) {
    if (!next.in_group(kUnauthenticated)) next.groups.emplace_back(kUnauthenticated);
  } else if (!next.in_group(kAuthenticated)) {
    next.groups.emplace_back(kAuthenticated);
  }
  context.user = std::move(next);
  return {};
}

}  // namespace engenho::apiserver
