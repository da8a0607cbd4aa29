// How a client reaches the API server. Two ways: in the process (no sockets, no TLS, no authentication; everything else,
// authorization and admission included, is the same) and HTTPS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engenho/apiserver/server.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"

namespace engenho::client {

struct Request {
  std::string method = "GET";
  std::string target;         // path and query
  std::string content_type;   // of the body
  std::string body;
};
struct Response {
  int status = 0;
  std::string body;           // JSON
};

// Thread-safe. Calls block.
class Transport {
 public:
  virtual ~Transport() = default;
  // Errors: only when there is no answer (Timeout, ServiceUnavailable). An error answer of the server is a Response.
  virtual Result<Response> send(const Request& request) = 0;
  // Streams newline-delimited JSON: calls `on_line` for each until it returns false, the stream ends or `stop` is stopped. An error
  // answer comes back as that error (Status from the body).
  virtual Status stream(const Request& request, const StopToken& stop, const std::function<bool(std::string_view line)>& on_line) = 0;
};

std::unique_ptr<Transport> local_transport(apiserver::ApiServer& server, apiserver::UserInfo user);

struct HttpsOptions {
  std::string url;            // "https://127.0.0.1:6443"
  std::string ca_pem, certificate_pem, key_pem;
  std::string token;          // bearer; may be empty
  std::string user_agent = "engenho";
};
std::unique_ptr<Transport> https_transport(HttpsOptions options);

}  // namespace engenho::client
