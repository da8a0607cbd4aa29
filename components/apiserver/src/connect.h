// Connections to kubelets and pods through the API server: logs, exec, attach, port-forward and proxy.
#pragma once

#include <memory>
#include <string>

#include "engenho/base/threads.h"
#include "engenho/http/client.h"
#include "handlers.h"

namespace engenho::apiserver {

class Connector {
 public:
  struct Options {
    std::string ca_pem;                       // that signed the kubelets' serving certificates
    std::string certificate_pem, key_pem;     // the API server's client certificate
  };
  explicit Connector(Options options);
  void log(const std::shared_ptr<Context>& context, Services& services);
  void exec_attach_port_forward(const std::shared_ptr<Context>& context, Services& services);
  void proxy(const std::shared_ptr<Context>& context, Services& services);
  void stop() { stop_.request_stop(); }

 private:
  Result<std::string> kubelet_url(Services& services, const std::string& node);
  void relay_upgrade(Context& context, http::Client& client, const std::string& url);
  void relay_response(Context& context, http::Client& client, http::ClientRequest request, const std::string& strip_location);
  http::Client kubelets_;
  http::Client plain_;
  http::Client insecure_;
  StopToken stop_;
};

}  // namespace engenho::apiserver
