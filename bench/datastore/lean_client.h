// A gRPC client that costs little, so that the server is what is measured: nghttp2 over a few connections on one thread, requests encoded by the
// caller, answers counted and their status looked at, not decoded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace engenho::bench {

class LeanClient {
 public:
  LeanClient(uint16_t port, int connections);  // on 127.0.0.1
  ~LeanClient();
  // Sends `count` calls of `path` with the messages that `message(i)` encodes, `in_flight` at a time. Calls a second; 0, and a line on
  // stderr, when one failed.
  double run(const std::string& path, uint64_t count, int in_flight, const std::function<std::string(uint64_t)>& message);

 private:
  struct Connection;
  struct Run;
  std::vector<std::unique_ptr<Connection>> connections_;
  int epoll_ = -1;
};

}  // namespace engenho::bench
