// The etcd v3 API over a Store, for etcdctl, backup tools and other API servers: KV, Watch, Lease, Maintenance and what
// Cluster can say about one member. Authentication and membership changes answer Unimplemented.
//
// Whoever can connect can read and write everything. So it listens on a Unix socket with mode 0600, on loopback, or with TLS for
// clients whose certificate a given authority has signed.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/status.h"
#include "engenho/datastore/store.h"

namespace engenho::datastore {

class EtcdServer {
 public:
  struct Options {
    // "unix:///path" (an absolute path; a socket left over there is replaced), "http://127.0.0.1:2379" (or [::1]), or
    // "https://address:port", which wants all three of the below.
    std::vector<std::string> listen;
    std::string certificate_pem, key_pem;
    std::string client_ca_pem;   // a client without a certificate of this authority is not let in
    std::string member_name = "engenho";
    std::string scratch_dir;     // where a snapshot that a client asks for is built, of this server alone; empty: the system's for temporary files
  size_t max_request_bytes = 2 << 20;
    size_t max_watches = 10000;                           // all connections together
    std::chrono::milliseconds progress_interval = std::chrono::minutes(10);  // for watches with progress_notify
  };
  // `store` must outlive the server.
  static Result<std::unique_ptr<EtcdServer>> start(Store& store, Options options);
  ~EtcdServer();
  // What it listens on, with the port that was taken where 0 was asked for.
  std::vector<std::string> addresses() const;
  void stop();  // ends all streams and waits for all calls; may be called twice

 private:
  struct Impl;
  explicit EtcdServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::datastore
