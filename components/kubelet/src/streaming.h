// Exec, attach and port-forward: from what clients speak (WebSocket, or SPDY/3.1 passed through) to the runtime's streaming server.
#pragma once

#include <memory>
#include <string>

#include "engenho/base/threads.h"
#include "engenho/http/server.h"

namespace engenho::kubelet {

struct StreamRequest {
  bool in = false, out = false, err = false, tty = false;
};
// `url`: of the runtime, for this one call. Answers the exchange. Blocks until the streams have ended.
void serve_remote_command(http::Exchange& exchange, const std::string& url, const StreamRequest& streams, const StopToken& stop);
void serve_port_forward(http::Exchange& exchange, const std::string& url, const StopToken& stop);

}  // namespace engenho::kubelet
