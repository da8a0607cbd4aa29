// A provider's process: launch, handshake, end. HashiCorp's go-plugin protocol, core version 1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/process.h"
#include "engenho/base/threads.h"

namespace engenho::magma {

struct Handshake {
  int protocol = 0;            // 5 or 6
  std::string target;          // for gRPC: "unix:///…" or "127.0.0.1:port"
  std::string server_cert;     // PEM; empty without TLS
};

// "1|6|unix|/tmp/plugin123|grpc|BASE64" -> Handshake. Errors say which part is not understood.
Result<Handshake> parse_handshake(std::string_view line);

class PluginProcess {
 public:
  // `client_cert`: PEM that the provider is to accept. Waits for the handshake.
  static Result<std::unique_ptr<PluginProcess>> start(const std::string& path, const std::string& client_cert, const std::vector<std::string>& env, const std::string& scratch_dir, Duration timeout);
  ~PluginProcess();            // kills what still runs
  const Handshake& handshake() const;
  bool running() const;
  // "it panicked: …" or "it exited with code 2"; nothing else of what it printed, which could hold secrets.
  std::string end_reason() const;
  void kill();
  bool wait_ended(Duration timeout) const;

 private:
  struct Shared;
  explicit PluginProcess(std::shared_ptr<Shared> shared);
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<TaskGroup> thread_;
};

}  // namespace engenho::magma
