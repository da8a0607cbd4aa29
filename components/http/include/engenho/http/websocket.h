// WebSocket (RFC 6455) over a Stream, both sides; no extensions.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/status.h"
#include "engenho/http/message.h"
#include "engenho/http/stream.h"

namespace engenho::http {

bool is_websocket_upgrade(const Headers& headers);
std::vector<std::string> websocket_protocols(const Headers& headers);  // offered by the client, in its order
// The first protocol of the client's list that is in `supported`; empty when none is.
std::string select_websocket_protocol(const Headers& headers, const std::vector<std::string>& supported);
// Fields of the 101 answer, for Exchange::upgrade(). Error: BadRequest for a bad version or key. `protocol` may be empty.
Result<Headers> websocket_accept(const Headers& request, const std::string& protocol);
// Fields of a client's request; check the answer with websocket_check. `key` is set.
Headers websocket_request(const std::vector<std::string>& protocols, std::string& key);
Status websocket_check(int status, const Headers& response, const std::string& key);

// Reads by one thread, writes by any (they are serialised). Pings are answered within read().
class WebSocket {
 public:
  enum class Role { kServer, kClient };
  enum class Kind { kText, kBinary, kClose };
  struct Message {
    Kind kind = Kind::kBinary;
    std::string data;           // of a close: the reason
    uint16_t close_code = 0;    // 1005 when the close frame had none, 1006 when the connection just ended
  };
  WebSocket(std::unique_ptr<Stream> stream, Role role, size_t max_message = 16 << 20);
  ~WebSocket();

  // A whole message, fragments joined. After kClose there is nothing more; the closing handshake has been answered then.
  // A violation of the protocol or of max_message closes with the fitting code and is an error.
  Result<Message> read(MonoTime deadline = kNoDeadline);
  Status write(Kind kind, std::string_view data, MonoTime deadline = kNoDeadline);  // one frame
  // The same for a payload in two parts (a channel byte and its data).
  Status write(Kind kind, std::string_view prefix, std::string_view data, MonoTime deadline = kNoDeadline);
  Status ping(std::string_view data = {}, MonoTime deadline = kNoDeadline);
  // Sends a close frame once; read() then goes on to the peer's.
  Status send_close(uint16_t code, std::string_view reason, MonoTime deadline = kNoDeadline);
  void abort() { stream_->close(); }

 private:
  Status write_frame(uint8_t opcode, std::string_view a, std::string_view b, MonoTime deadline);
  Status fill(size_t need, MonoTime deadline);
  Result<Message> fail(uint16_t code, std::string_view why);
  std::unique_ptr<Stream> stream_;
  const Role role_;
  const size_t max_message_;
  std::string in_;              // bytes read and not yet used, from in_at_
  size_t in_at_ = 0;
  std::string message_;         // fragments so far, of message_opcode_; kept over a time-out
  uint8_t message_opcode_ = 0;
  bool ended_ = false;
  std::mutex write_mutex_;      // guards close_sent_ and the order of frames
  bool close_sent_ = false;
};

}  // namespace engenho::http
