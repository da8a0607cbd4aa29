// SPDY/3.1 framing over a Stream, as containerd's CRI streaming server speaks it for exec, attach and port-forward.
// Both roles; one reader thread per session.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engenho/base/status.h"
#include "engenho/http/message.h"
#include "engenho/http/stream.h"

namespace engenho::http {

class SpdySession;

// One stream of a session. As Stream: one reader, one writer, close() from anywhere (sends RST_STREAM unless both
// directions have ended). It may outlive the session object, and is broken then.
class SpdyStream : public Stream {
 public:
  virtual uint32_t id() const = 0;
  virtual const Headers& headers() const = 0;       // of an accepted stream
  // Opened streams: blocks until the peer's SYN_REPLY; refused streams give an error.
  virtual Result<Headers> wait_reply(MonoTime deadline) = 0;
};

class SpdySession {
 public:
  enum class Role { kClient, kServer };
  // Takes the byte stream over and starts the reader thread.
  static std::unique_ptr<SpdySession> start(std::unique_ptr<Stream> stream, Role role);
  virtual ~SpdySession() = default;  // closes

  // SYN_STREAM with these fields (names go out in lower case). `fin`: nothing will be written.
  virtual Result<std::shared_ptr<SpdyStream>> open(const Headers& headers, bool fin, MonoTime deadline) = 0;
  // The next stream that the peer opened, already replied to. Error: Timeout, or the session has ended.
  virtual Result<std::shared_ptr<SpdyStream>> accept(MonoTime deadline) = 0;
  virtual Status ping(MonoTime deadline) = 0;        // until the answer
  virtual void close() = 0;                          // GOAWAY, then everything fails
  virtual bool ended() const = 0;
};

}  // namespace engenho::http
