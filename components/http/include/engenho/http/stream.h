// A blocking duplex byte stream: an upgraded connection (exec, attach, port-forward), a dialled TCP, TLS or Unix socket.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"

namespace engenho::http {

inline constexpr MonoTime kNoDeadline = MonoTime::max();
inline MonoTime deadline_in(Duration timeout) { return std::chrono::steady_clock::now() + timeout; }

// One thread may read while another writes; close() may be called by any thread at any time and unblocks both, whose
// calls then fail. Destroy it when nobody is inside. Errors: Timeout (504) at the deadline, ServiceUnavailable (503) for
// a closed or broken connection.
class Stream {
 public:
  virtual ~Stream() = default;
  // At least one byte, at most `size`; 0 at the end of the stream.
  virtual Result<size_t> read(char* buffer, size_t size, MonoTime deadline = kNoDeadline) = 0;
  virtual Status write(std::string_view data, MonoTime deadline = kNoDeadline) = 0;  // all of it
  virtual Status shutdown_write() = 0;  // the peer reads the end; reading goes on
  virtual void close() = 0;
};

// Reads until `size` bytes are there; an early end is an error.
Status read_exactly(Stream& stream, char* buffer, size_t size, MonoTime deadline = kNoDeadline);

// Copies both directions until both have ended or one has failed; then closes both. Blocks; uses one thread more.
// An end of one side is passed on with shutdown_write(). Close either stream to cut it short.
void relay(Stream& a, Stream& b);

// Two ends of a socket pair, for tests and for plumbing within the process.
Result<std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>>> stream_pair();

}  // namespace engenho::http
