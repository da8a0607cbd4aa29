// Subresources of declared kinds (openapi/*/kinds.yaml) that other parts of the program answer. The server has authenticated and authorized the
// request; the verb asked for is create for POST, get, update, delete as everywhere, and the lower-case method for others ("lock").
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engenho/apiserver/request_info.h"
#include "engenho/apiserver/user.h"
#include "engenho/base/status.h"

namespace engenho::apiserver {

struct ExtensionRequest {
  std::string method, verb;
  std::string namespace_name, name;
  std::vector<std::string> rest;     // path segments after the subresource, decoded
  Query query;
  std::string content_type, content_md5;
  std::string body;
  UserInfo user;
};
struct ExtensionResponse {
  int code = 200;
  std::string content_type = "application/json";
  std::string body;
};
// Runs on a worker; may block. An error is answered as a Status.
using ExtensionHandler = std::function<Result<ExtensionResponse>(const ExtensionRequest&)>;

}  // namespace engenho::apiserver
