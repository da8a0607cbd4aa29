#include "engenho/http/spdy.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "engenho/base/log.h"
#include "engenho/base/threads.h"
#include "spdy_codec.h"

namespace engenho::http {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint16_t kSynStream = 1, kSynReply = 2, kRstStream = 3, kSettings = 4, kPingFrame = 6, kGoAway = 7, kHeadersFrame = 8,
                   kWindowUpdate = 9;
constexpr uint8_t kFin = 1;
constexpr uint32_t kStatusRefused = 3, kStatusCancel = 5;
constexpr int64_t kInitialWindow = 64 << 10;
constexpr size_t kMaxControlFrame = 64 << 10;
constexpr size_t kWriteChunk = 32 << 10;
constexpr size_t kReceiveBuffer = 256 << 10;   // per stream; beyond it the reader thread waits
constexpr size_t kMaxStreams = 1024;
constexpr auto kControlWrite = std::chrono::seconds(30);

// Peers as Kubernetes has them (the Go library behind containerd and client-go) know no flow control: they never grant
// window and never look at ours. So windows count only once the peer has shown that it plays along (SETTINGS with a window,
// WINDOW_UPDATE), and what protects our memory is that the reader thread stops reading when a stream's buffer is full.

struct StreamState {
  uint32_t id = 0;
  Headers headers, reply;
  std::condition_variable changed;
  std::deque<std::string> in;
  size_t in_at = 0, in_bytes = 0;
  size_t to_grant = 0;             // consumed, window not yet given back
  int64_t send_window = kInitialWindow;
  bool replied = false, read_end = false, write_end = false, reset = false, closed = false;
};

class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(std::unique_ptr<Stream> stream, SpdySession::Role role)
      : transport(std::move(stream)), client(role == SpdySession::Role::kClient), next_id(client ? 1 : 2), next_ping(client ? 1 : 2) {}

  // Writers: control frames and data in whole frames.
  Status send(std::string_view frame, MonoTime deadline) {
    std::lock_guard lock(write_mutex);
    return send_locked(frame, deadline);
  }
  Status send_locked(std::string_view frame, MonoTime deadline) {
    Status sent = transport->write(frame, deadline);
    if (!sent.ok()) transport->close();  // half a frame cannot be taken back
    return sent;
  }
  static std::string control(uint16_t type, uint8_t flags, std::string_view payload) {
    std::string out;
    put_u16(out, 0x8000 | kVersion);
    put_u16(out, type);
    put_u32(out, static_cast<uint32_t>(flags) << 24 | static_cast<uint32_t>(payload.size()));
    out += payload;
    return out;
  }
  Status send_words(uint16_t type, std::initializer_list<uint32_t> words) {
    std::string payload;
    for (uint32_t word : words) put_u32(payload, word);
    return send(control(type, 0, payload), deadline_in(kControlWrite));
  }

  void read_loop();
  Status read_frame();
  Status on_control(uint16_t type, uint8_t flags, std::string_view payload);
  Status on_data(uint32_t id, uint8_t flags, uint32_t size);
  void end(const std::string& why);
  void forget_if_done(std::unique_lock<std::mutex>& lock, const std::shared_ptr<StreamState>& s);
  // The peer has flow control: our streams' buffers are bounded by the transport, so its windows shall not bind.
  Status open_windows() { return send_words(kSettings, {1, 7, 0x7fffffff}); }

  std::unique_ptr<Stream> transport;
  const bool client;
  std::mutex write_mutex;              // order of frames, and deflater; taken before `mutex`, never after it
  SpdyDeflater deflater;
  SpdyInflater inflater;               // reader thread only

  std::mutex mutex;                    // guards what follows, and all StreamState
  std::condition_variable changed;     // accept queue, pings, the end
  std::map<uint32_t, std::shared_ptr<StreamState>> streams;
  std::deque<std::shared_ptr<StreamState>> accepted;
  std::set<uint32_t> pongs;
  uint32_t next_id, next_ping, last_peer_id = 0;
  int64_t initial_window = kInitialWindow;
  bool peer_has_flow_control = false, going_away = false, ended = false;
  std::string why;
};

template <typename Predicate>
bool wait(std::condition_variable& cv, std::unique_lock<std::mutex>& lock, MonoTime deadline, Predicate ready) {
  if (deadline == kNoDeadline) {
    cv.wait(lock, ready);
    return true;
  }
  return cv.wait_until(lock, deadline, ready);
}

void Core::forget_if_done(std::unique_lock<std::mutex>&, const std::shared_ptr<StreamState>& s) {
  if ((s->read_end && s->write_end) || s->reset) streams.erase(s->id);
}

void Core::end(const std::string& reason) {
  transport->close();
  std::lock_guard lock(mutex);
  if (ended) return;
  ended = true;
  why = reason;
  for (auto& [id, s] : streams) s->changed.notify_all();
  changed.notify_all();
}

void Core::read_loop() {
  for (;;) {
    Status status = read_frame();
    if (status.ok()) continue;
    end(status.message());
    return;
  }
}

Status Core::read_frame() {
  char head[8];
  ENGENHO_RETURN_IF_ERROR(read_exactly(*transport, head, sizeof head));
  const uint32_t first = get_u32(head), second = get_u32(head + 4);
  const uint8_t flags = static_cast<uint8_t>(second >> 24);
  const uint32_t size = second & 0xffffff;
  if (!(first & 0x80000000u)) return on_data(first, flags, size);
  if ((first >> 16 & 0x7fff) != kVersion) return bad_request("spdy: unknown version");
  if (size > kMaxControlFrame) return bad_request("spdy: control frame too large");
  std::string payload(size, '\0');
  ENGENHO_RETURN_IF_ERROR(read_exactly(*transport, payload.data(), size));
  return on_control(static_cast<uint16_t>(first & 0xffff), flags, payload);
}

Status Core::on_control(uint16_t type, uint8_t flags, std::string_view payload) {
  auto word = [&](size_t i) { return get_u32(payload.data() + 4 * i); };
  auto short_frame = [] { return bad_request("spdy: short frame"); };
  switch (type) {
    case kSynStream: {
      if (payload.size() < 10) return short_frame();
      auto headers = inflater.decode(payload.substr(10));
      if (!headers) return headers.error();
      auto s = std::make_shared<StreamState>();
      s->id = word(0) & 0x7fffffff;
      s->headers = std::move(*headers);
      s->read_end = flags & kFin;
      s->replied = true;
      bool refuse;
      {
        std::lock_guard lock(mutex);
        // The peer's parity, and rising.
        if (s->id == 0 || (s->id & 1) == (client ? 1u : 0u) || s->id <= last_peer_id) return bad_request("spdy: bad stream id");
        last_peer_id = s->id;
        refuse = client || streams.size() >= kMaxStreams || going_away;
        if (!refuse) {
          s->send_window = initial_window;
          streams.emplace(s->id, s);
        }
      }
      if (refuse) return send_words(kRstStream, {s->id, kStatusRefused});
      {
        std::lock_guard lock(write_mutex);
        auto block = deflater.encode({});
        if (!block) return block.error();
        std::string reply;
        put_u32(reply, s->id);
        reply += *block;
        ENGENHO_RETURN_IF_ERROR(send_locked(control(kSynReply, 0, reply), deadline_in(kControlWrite)));
      }
      std::lock_guard lock(mutex);
      accepted.push_back(std::move(s));
      changed.notify_all();
      return {};
    }
    case kSynReply:
    case kHeadersFrame: {
      if (payload.size() < 4) return short_frame();
      auto headers = inflater.decode(payload.substr(4));  // also for a stream that is gone: the state is shared
      if (!headers) return headers.error();
      std::unique_lock lock(mutex);
      auto it = streams.find(word(0) & 0x7fffffff);
      if (it == streams.end()) return {};
      auto s = it->second;
      if (type == kSynReply && !s->replied) {
        s->replied = true;
        s->reply = std::move(*headers);
      }
      if (flags & kFin) s->read_end = true;
      s->changed.notify_all();
      forget_if_done(lock, s);
      return {};
    }
    case kRstStream: {
      if (payload.size() < 8) return short_frame();
      std::lock_guard lock(mutex);
      auto it = streams.find(word(0) & 0x7fffffff);
      if (it == streams.end()) return {};
      it->second->reset = true;
      it->second->changed.notify_all();
      streams.erase(it);
      return {};
    }
    case kSettings: {
      if (payload.size() < 4) return short_frame();
      const uint32_t count = word(0);
      if (payload.size() - 4 < uint64_t{count} * 8) return short_frame();
      bool first = false;
      std::unique_lock lock(mutex);
      for (uint32_t i = 0; i < count; ++i) {
        if ((word(1 + 2 * i) & 0xffffff) != 7) continue;  // INITIAL_WINDOW_SIZE
        int64_t window = word(2 + 2 * i) & 0x7fffffff;
        for (auto& [id, s] : streams) {
          s->send_window += window - initial_window;
          s->changed.notify_all();
        }
        initial_window = window;
        first = !peer_has_flow_control;
        peer_has_flow_control = true;
      }
      lock.unlock();
      return first ? open_windows() : Status();
    }
    case kPingFrame: {
      if (payload.size() < 4) return short_frame();
      const uint32_t id = word(0);
      if ((id & 1) != (client ? 1u : 0u)) return send_words(kPingFrame, {id});  // the peer's: echo
      std::lock_guard lock(mutex);
      pongs.insert(id);
      if (pongs.size() > 16) pongs.erase(pongs.begin());
      changed.notify_all();
      return {};
    }
    case kGoAway: {
      std::lock_guard lock(mutex);
      going_away = true;
      if (streams.empty()) return unavailable("spdy: the peer is going away");
      changed.notify_all();
      return {};
    }
    case kWindowUpdate: {
      if (payload.size() < 8) return short_frame();
      std::unique_lock lock(mutex);
      const bool first = !peer_has_flow_control;
      peer_has_flow_control = true;
      auto it = streams.find(word(0) & 0x7fffffff);
      if (it != streams.end()) {
        it->second->send_window += word(1) & 0x7fffffff;
        it->second->changed.notify_all();
      }
      lock.unlock();
      return first ? open_windows() : Status();
    }
    default: return {};  // unknown control frames are ignored
  }
}

Status Core::on_data(uint32_t id, uint8_t flags, uint32_t size) {
  std::shared_ptr<StreamState> s;
  {
    std::lock_guard lock(mutex);
    auto it = streams.find(id);
    if (it != streams.end()) s = it->second;
  }
  while (size > 0) {
    std::string chunk(std::min<size_t>(size, kWriteChunk), '\0');
    ENGENHO_RETURN_IF_ERROR(read_exactly(*transport, chunk.data(), chunk.size()));
    size -= static_cast<uint32_t>(chunk.size());
    if (!s) continue;  // gone already
    std::unique_lock lock(mutex);
    s->changed.wait(lock, [&] { return s->in_bytes < kReceiveBuffer || s->reset || s->closed || ended; });
    if (ended) return unavailable("spdy: closed");
    if (s->reset || s->closed || s->read_end) continue;
    s->in_bytes += chunk.size();
    s->in.push_back(std::move(chunk));
    s->changed.notify_all();
  }
  if (s && (flags & kFin)) {
    std::unique_lock lock(mutex);
    s->read_end = true;
    s->changed.notify_all();
    forget_if_done(lock, s);
  }
  return {};
}

class StreamImpl final : public SpdyStream {
 public:
  StreamImpl(std::shared_ptr<Core> core, std::shared_ptr<StreamState> state) : core_(std::move(core)), s_(std::move(state)) {}
  ~StreamImpl() override { close(); }

  uint32_t id() const override { return s_->id; }
  const Headers& headers() const override { return s_->headers; }

  Result<Headers> wait_reply(MonoTime deadline) override {
    std::unique_lock lock(core_->mutex);
    if (!wait(s_->changed, lock, deadline, [&] { return s_->replied || broken(); }))
      return err(timeout_error("spdy: no reply to a stream"));
    if (!s_->replied) return err(failure());
    return s_->reply;
  }

  Result<size_t> read(char* buffer, size_t size, MonoTime deadline) override {
    size_t grant = 0, n = 0;
    {
      std::unique_lock lock(core_->mutex);
      if (!wait(s_->changed, lock, deadline, [&] { return s_->in_bytes > 0 || s_->read_end || broken(); }))
        return err(timeout_error("spdy: timed out"));
      if (s_->closed) return err(failure());
      if (s_->in_bytes == 0) {
        if (s_->read_end && !s_->reset) return 0;
        return err(failure());
      }
      while (n < size && s_->in_bytes > 0) {
        std::string& first = s_->in.front();
        size_t part = std::min(size - n, first.size() - s_->in_at);
        std::memcpy(buffer + n, first.data() + s_->in_at, part);
        n += part;
        s_->in_at += part;
        s_->in_bytes -= part;
        if (s_->in_at == first.size()) {
          s_->in.pop_front();
          s_->in_at = 0;
        }
      }
      s_->to_grant += n;
      if (core_->peer_has_flow_control && s_->to_grant >= static_cast<size_t>(kInitialWindow) / 2 && !s_->read_end) {
        grant = s_->to_grant;
        s_->to_grant = 0;
      }
      s_->changed.notify_all();  // the reader thread may go on
    }
    if (grant > 0) (void)core_->send_words(kWindowUpdate, {s_->id, static_cast<uint32_t>(grant)});
    return n;
  }

  Status write(std::string_view data, MonoTime deadline) override {
    while (!data.empty()) {
      size_t n = std::min(data.size(), kWriteChunk);
      {
        std::unique_lock lock(core_->mutex);
        if (!wait(s_->changed, lock, deadline, [&] {
              return broken() || s_->write_end || !core_->peer_has_flow_control || s_->send_window > 0;
            }))
          return timeout_error("spdy: the peer grants no window");
        if (broken()) return failure();
        if (s_->write_end) return unavailable("spdy: the stream is finished");
        if (core_->peer_has_flow_control) n = std::min<size_t>(n, static_cast<size_t>(s_->send_window));
        s_->send_window -= static_cast<int64_t>(n);
      }
      ENGENHO_RETURN_IF_ERROR(send_data(data.substr(0, n), 0, deadline));
      data.remove_prefix(n);
    }
    return {};
  }

  Status shutdown_write() override {
    {
      std::lock_guard lock(core_->mutex);
      if (broken()) return failure();
      if (s_->write_end) return {};
      s_->write_end = true;
    }
    ENGENHO_RETURN_IF_ERROR(send_data({}, kFin, deadline_in(kControlWrite)));
    std::unique_lock lock(core_->mutex);
    core_->forget_if_done(lock, s_);
    return {};
  }

  void close() override {
    bool reset;
    {
      std::lock_guard lock(core_->mutex);
      if (s_->closed) return;
      s_->closed = true;
      reset = !core_->ended && !s_->reset && !(s_->read_end && s_->write_end);
      core_->streams.erase(s_->id);
      s_->changed.notify_all();
    }
    if (reset) (void)core_->send_words(kRstStream, {s_->id, kStatusCancel});
  }

 private:
  bool broken() const { return s_->reset || s_->closed || core_->ended; }  // under the mutex
  Status failure() const {
    if (s_->closed) return unavailable("spdy: the stream is closed");
    if (s_->reset) return unavailable("spdy: the peer reset the stream");
    return unavailable("spdy: the session has ended: " + core_->why);
  }
  Status send_data(std::string_view data, uint8_t flags, MonoTime deadline) {
    std::string frame;
    frame.reserve(8 + data.size());
    put_u32(frame, s_->id);
    put_u32(frame, static_cast<uint32_t>(flags) << 24 | static_cast<uint32_t>(data.size()));
    frame += data;
    return core_->send(frame, deadline);
  }
  const std::shared_ptr<Core> core_;
  const std::shared_ptr<StreamState> s_;
};

class SessionImpl final : public SpdySession {
 public:
  explicit SessionImpl(std::shared_ptr<Core> core)
      : core_(std::move(core)), reader_([core = core_] {
          set_thread_name("spdy-reader");
          core->read_loop();
        }) {}
  ~SessionImpl() override {
    close();
    reader_.join();
  }

  Result<std::shared_ptr<SpdyStream>> open(const Headers& headers, bool fin, MonoTime deadline) override {
    auto s = std::make_shared<StreamState>();
    s->headers = headers;
    s->write_end = fin;
    // Ids must rise on the wire, and blocks be compressed in that order.
    std::lock_guard write_lock(core_->write_mutex);
    {
      std::lock_guard lock(core_->mutex);
      if (core_->ended || core_->going_away) return err(unavailable("spdy: the session has ended: " + core_->why));
      if (core_->streams.size() >= kMaxStreams || core_->next_id > 0x7ffffff0) return err(unavailable("spdy: too many streams"));
      s->id = core_->next_id;
      core_->next_id += 2;
      s->send_window = core_->initial_window;
      core_->streams.emplace(s->id, s);
    }
    auto forget = [&] {
      std::lock_guard lock(core_->mutex);
      core_->streams.erase(s->id);
    };
    auto block = core_->deflater.encode(headers);
    if (!block) {
      forget();
      return err(block.error());
    }
    std::string payload;
    put_u32(payload, s->id);
    put_u32(payload, 0);
    put_u16(payload, 0);  // highest priority, no credential slot
    payload += *block;
    if (Status sent = core_->send_locked(Core::control(kSynStream, fin ? kFin : 0, payload), deadline); !sent.ok()) {
      forget();
      return err(sent);
    }
    return std::make_shared<StreamImpl>(core_, std::move(s));
  }

  Result<std::shared_ptr<SpdyStream>> accept(MonoTime deadline) override {
    std::unique_lock lock(core_->mutex);
    if (!wait(core_->changed, lock, deadline, [&] { return !core_->accepted.empty() || core_->ended; }))
      return err(timeout_error("spdy: no stream came"));
    if (core_->accepted.empty()) return err(unavailable("spdy: the session has ended: " + core_->why));
    auto s = std::move(core_->accepted.front());
    core_->accepted.pop_front();
    return std::make_shared<StreamImpl>(core_, std::move(s));
  }

  Status ping(MonoTime deadline) override {
    uint32_t id;
    {
      std::lock_guard lock(core_->mutex);
      id = core_->next_ping;
      core_->next_ping += 2;
    }
    ENGENHO_RETURN_IF_ERROR(core_->send_words(kPingFrame, {id}));
    std::unique_lock lock(core_->mutex);
    if (!wait(core_->changed, lock, deadline, [&] { return core_->pongs.contains(id) || core_->ended; }))
      return timeout_error("spdy: no answer to a ping");
    if (core_->pongs.erase(id) == 0) return unavailable("spdy: the session has ended: " + core_->why);
    return {};
  }

  void close() override {
    bool say;
    uint32_t last;
    {
      std::lock_guard lock(core_->mutex);
      say = !core_->ended;
      last = core_->last_peer_id;
    }
    // A peer that does not read must not keep us here: one second for the farewell.
    if (say) {
      if (std::unique_lock lock(core_->write_mutex, std::try_to_lock); lock) {
        std::string payload;
        put_u32(payload, last);
        put_u32(payload, 0);
        (void)core_->send_locked(Core::control(kGoAway, 0, payload), deadline_in(std::chrono::seconds(1)));
      }
    }
    core_->end("closed");
  }
  bool ended() const override {
    std::lock_guard lock(core_->mutex);
    return core_->ended;
  }

 private:
  const std::shared_ptr<Core> core_;
  std::thread reader_;
};

}  // namespace

std::unique_ptr<SpdySession> SpdySession::start(std::unique_ptr<Stream> stream, Role role) {
  return std::make_unique<SessionImpl>(std::make_shared<Core>(std::move(stream), role));
}

}  // namespace engenho::http
