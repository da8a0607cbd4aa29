#include "engenho/apiserver/request_info.h"

#include "engenho/testing/catch.h"

using namespace engenho::apiserver;

namespace {
RequestInfo parse(const char* method, const std::string& target) {
  const size_t q = target.find('?');
  return parse_request(method, target, Query(q == std::string::npos ? "" : std::string_view(target).substr(q + 1)));
}
}  // namespace

TEST_CASE("paths of resources", "[request]") {
  auto i = parse("GET", "/api/v1/namespaces/a/pods/b/log?follow=true");
  CHECK(i.is_resource);
  CHECK((i.verb == "get" && i.namespace_ == "a" && i.resource == "pods" && i.name == "b" && i.subresource == "log"));
  i = parse("GET", "/apis/apps/v1/deployments");
  CHECK((i.verb == "list" && i.group == "apps" && i.namespace_.empty() && i.resource == "deployments"));
  i = parse("GET", "/api/v1/pods?watch=1");
  CHECK(i.verb == "watch");
  i = parse("GET", "/api/v1/pods?watch=false");
  CHECK(i.verb == "list");
  i = parse("DELETE", "/api/v1/namespaces/a/pods");
  CHECK(i.verb == "deletecollection");
  i = parse("GET", "/api/v1/namespaces/a");
  CHECK((i.resource == "namespaces" && i.name == "a" && i.namespace_ == "a"));
  i = parse("PUT", "/api/v1/namespaces/a/finalize");
  CHECK((i.resource == "namespaces" && i.subresource == "finalize" && i.verb == "update"));
  CHECK_FALSE(parse("GET", "/apis/apps/v1").is_resource);
}

TEST_CASE("an encoded slash stays inside its segment", "[request]") {
  // Otherwise a right on serviceaccounts would reach serviceaccounts/token.
  const auto i = parse("POST", "/api/v1/namespaces/a/serviceaccounts/foo%2Ftoken");
  CHECK(i.name == "foo/token");
  CHECK(i.subresource.empty());
}

TEST_CASE("queries are decoded and keep order and repeats", "[request]") {
  const Query q("command=sh&command=-c&command=a%26b+c&flag&no=false");
  CHECK(q.all("command") == std::vector<std::string>{"sh", "-c", "a&b c"});
  CHECK(q.flag("flag"));
  CHECK_FALSE(q.flag("no"));
  CHECK_FALSE(q.flag("absent"));
}
