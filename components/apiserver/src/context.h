// One request on its way through the pipeline.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/apiserver/request_info.h"
#include "engenho/apiserver/user.h"
#include "engenho/base/clock.h"
#include "engenho/http/server.h"
#include "negotiate.h"
#include "resource_table.h"

namespace engenho::apiserver {

struct Context {
  std::shared_ptr<http::Exchange> exchange;
  RequestInfo info;
  Query query;
  UserInfo user;
  ResourcePtr resource;                // null for paths that name none
  Accepted accepted;
  std::vector<std::string> warnings;   // each becomes a Warning header
  WallTime received;

  const http::Request& request() const { return exchange->request(); }
};

// Answers. Each ends the exchange.
void send_bytes(Context& context, int code, std::string_view content_type, http::Body body);
void send_status(Context& context, const Status& status);          // in the accepted encoding
void send_text(Context& context, int code, std::string text, std::string_view content_type = "text/plain; charset=utf-8");
void send_document(Context& context, int code, const json::Value& document);  // JSON, or YAML when accepted
http::Headers answer_headers(const Context& context, std::string_view content_type);

}  // namespace engenho::apiserver
