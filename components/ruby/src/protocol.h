// Between the evaluator and its child: packets of one SOCK_SEQPACKET socket, with descriptors beside them.
//
//   evaluator -> child, first: {"libraries": [...], "idle_ms": n};   child -> evaluator: {"ready": "3.1.2 (...)"} or {"error": "..."}
//   evaluator -> child, each call: {"gems": [{name, dir}], "tree": "", "memory": n, "cpu_seconds": n,
//     "slot": n} with four descriptors (Job)
//
// The call's own status socket: the child's side writes "started", then the wait status in decimal; when the evaluator writes to it or closes it, the call is
// killed. The answer itself (JSON) comes through a pipe that only the forked process has.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::ruby {

constexpr int kControlDescriptor = 3;
constexpr size_t kMaxPacket = 64 << 10;

// The order of a call's descriptors: the request's text (a file), where the answer goes, where stdout and stderr go, the status socket.
enum JobDescriptor { kBody, kReply, kOutput, kStatus, kJobDescriptors };

// A descriptor that is closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void reset();
  int release();

 private:
  int fd_ = -1;
};

Status send_packet(int socket, const std::string& text, const std::vector<int>& descriptors = {});
struct Packet {
  std::string text;  // empty: the other side is gone
  std::vector<Descriptor> descriptors;
};
Result<Packet> receive_packet(int socket);

}  // namespace engenho::ruby
