// A connection on its I/O thread: accepts TLS, finds the protocol, moves bytes between transport and session, and is cut
// when it is overdue.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "loop.h"
#include "out_queue.h"
#include "reply.h"
#include "tls.h"
#include "transport.h"

namespace engenho::http {

class Connection;

// What all connections of a server share. Counters: any thread.
struct ServerShared {
  std::string name;
  Limits limits;
  std::atomic<uint64_t> connections{0}, accepted{0}, refused{0}, requests{0}, shed{0};
  std::atomic<size_t> buffered_bodies{0};
};

// One I/O thread. The map is its thread's only.
struct IoThread {
  ServerShared& shared;
  std::atomic<size_t> load{0};       // connections, including those on their way here
  Loop loop;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  bool draining = false;             // loop thread
  std::function<void()> on_empty;    // loop thread; a connection has gone while draining
  explicit IoThread(ServerShared& s) : shared(s) {}
};

// A protocol on a connection. Everything on the loop's thread.
class Session : public ReplyOwner {
 public:
  virtual bool on_data(std::string_view data) = 0;   // false: cut the connection
  virtual bool produce() = 0;                        // fills the out queue up to the high-water mark; false: cut
  virtual void flushed() {}                          // after a flush: callbacks that are due
  virtual bool done() const = 0;                     // close once everything is flushed
  virtual bool linger() const { return false; }      // the peer is still sending: see Connection::start_linger
  virtual bool paused() const { return false; }      // wants no more input for now
  virtual const char* overdue(MonoTime now) = 0;     // why it has to be cut; null: it has not
  virtual void drain() = 0;                          // finish what is in flight, take nothing new
  virtual void closed() = 0;                         // the connection is going; close all replies
};

class Connection final : public Loop::Watcher, public Loop::Deferred, public std::enable_shared_from_this<Connection> {
 public:
  static constexpr size_t kHighWater = 128 << 10;

  Connection(IoThread& io, int fd, std::shared_ptr<Handler> handler, std::shared_ptr<const TlsContext> tls,
             ConnectionInfo info);
  ~Connection() override;

  bool start();                     // registers; false when that failed
  void on_ready(uint32_t events) override;
  bool end_of_turn() override;
  void tick(MonoTime now);
  void drain();
  void close(const char* shed_reason = nullptr);

  // For sessions.
  IoThread& io() { return io_; }
  Loop& loop() { return io_.loop; }
  const Limits& limits() const { return io_.shared.limits; }
  OutQueue& out() { return out_; }
  Handler& handler() { return *handler_; }
  const std::shared_ptr<const ConnectionInfo>& info() const { return info_; }
  void wake() { io_.loop.defer(this); }  // pump at the end of the turn
  void dispatch(std::shared_ptr<ExchangeImpl> exchange);
  // Takes the connection away from the server. `input`: bytes that were read and belong to the stream.
  Result<std::unique_ptr<Stream>> detach(std::string input);
  bool read_rest(std::string& into);     // what the thread's scratch still holds; before detach()

 private:
  enum class State { kHandshake, kOpen, kLinger, kClosed };
  void read_some();
  void open_session();
  void start_linger();

  IoThread& io_;
  std::shared_ptr<Handler> handler_;
  std::shared_ptr<const TlsContext> tls_;
  std::shared_ptr<const ConnectionInfo> info_;
  Transport transport_;
  OutQueue out_;
  std::unique_ptr<Session> session_;
  State state_;
  bool readable_ = false, pumping_ = false;
  MonoTime since_;           // of the state
  MonoTime sent_at_;         // last progress of sending, or the last time there was nothing to send
  size_t lingered_ = 0;
};

std::unique_ptr<Session> make_h1_session(Connection& connection);
std::unique_ptr<Session> make_h2_session(Connection& connection);

// server-wide helpers of the sessions
bool hop_by_hop(std::string_view name);  // fields that HTTP/2 forbids

}  // namespace engenho::http
