// The Kubernetes API server: one pipeline for every verb and every caller. It is an http::Handler; who listens where is decided by
// whoever wires it (engenho). Behaviour: https://kubernetes.io/docs/reference/using-api/ and kube-apiserver 1.36.
//
// Threads: handle() is called on I/O threads; what is in memory is answered there, everything else on a pool of workers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/apiserver/admission.h"
#include "engenho/apiserver/extension.h"
#include "engenho/apiserver/user.h"
#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/datastore/store.h"
#include "engenho/http/server.h"
#include "engenho/pki/keys.h"

namespace engenho::apiserver {

struct Options {
  datastore::Store* store = nullptr;            // must outlive the server
  Clock* clock = &Clock::real();
  std::string service_cidr = "10.43.0.0/16";
  int node_port_first = 30000, node_port_last = 32767;
  std::string issuer = "https://kubernetes.default.svc.cluster.local";
  std::string advertise_address;                // where pods reach this server: endpoints of the service "kubernetes"
  int advertise_port = 6443;
  pki::PrivateKey service_account_key;
  std::string token_auth_file;                  // upstream's CSV; may be empty
  std::string kubelet_ca_pem, kubelet_client_certificate_pem, kubelet_client_key_pem;
  std::string git_version = "v1.36.2+engenho", git_commit, build_date;
  size_t max_workers = 256;                     // requests that wait (writes, proxies) at the same time
};

class ApiServer final : public http::Handler {
 public:
  // Errors: BadRequest for options that make no sense.
  static Result<std::unique_ptr<ApiServer>> create(Options options);
  ~ApiServer() override;

  // Before start().
  void add_admission(std::unique_ptr<AdmissionPlugin> plugin);
  // Who answers a subresource that a declared kind names. Without a handler it answers 501.
  void add_subresource(std::string_view group, std::string_view plural, std::string_view name, ExtensionHandler handler);
  // Loads the caches and makes the objects every cluster has (namespaces, roles, the service "kubernetes"...).
  Status start();
  void stop();  // ends watches and proxied connections; waits for workers

  void handle(std::shared_ptr<http::Exchange> exchange) override;
  // From within the process: no authentication, everything else.
  void handle_as(std::shared_ptr<http::Exchange> exchange, const UserInfo& user);

 private:
  struct Impl;
  explicit ApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::apiserver
