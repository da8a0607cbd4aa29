#include "engenho/http/websocket.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::http {
namespace {

constexpr uint8_t kContinuation = 0, kTextFrame = 1, kBinaryFrame = 2, kCloseFrame = 8, kPing = 9, kPong = 10;
constexpr size_t kReadSize = 16 << 10;
constexpr size_t kMaxControl = 125;
constexpr auto kControlWrite = std::chrono::seconds(10);

std::string accept_for(std::string_view key) {
  std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1) return {};
  return base64_encode({reinterpret_cast<char*>(digest), size});
}

void apply_mask(char* data, size_t size, const unsigned char mask[4], size_t phase) {
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>(static_cast<unsigned char>(data[i]) ^ mask[(phase + i) & 3]);
}

bool valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (n == 0 || i + n > text.size()) return false;
    uint32_t code = n == 1 ? c : c & (0xffu >> (n + 1));
    for (size_t k = 1; k < n; ++k) {
      auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    if ((n == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) || (n == 4 && (code < 0x10000 || code > 0x10ffff)))
      return false;
    i += n;
  }
  return true;
}

bool valid_close_code(uint16_t code) {
  return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
}

}  // namespace

bool is_websocket_upgrade(const Headers& headers) {
  return headers.has_token("connection", "upgrade") && headers.has_token("upgrade", "websocket");
}

std::vector<std::string> websocket_protocols(const Headers& headers) {
  std::vector<std::string> out;
  for (std::string_view value : headers.all("sec-websocket-protocol"))
    for (std::string_view one : split(value, ','))
      if (one = trim(one); !one.empty()) out.emplace_back(one);
  return out;
}

std::string select_websocket_protocol(const Headers& headers, const std::vector<std::string>& supported) {
  for (std::string& offered : websocket_protocols(headers))
    if (std::find(supported.begin(), supported.end(), offered) != supported.end()) return offered;
  return {};
}

Result<Headers> websocket_accept(const Headers& request, const std::string& protocol) {
  if (!is_websocket_upgrade(request)) return err(bad_request("not a WebSocket request"));
  if (request.get("sec-websocket-version") != "13") return err(bad_request("unsupported WebSocket version"));
  std::string_view key = trim(request.get("sec-websocket-key"));
  auto nonce = base64_decode(key);
  if (!nonce || nonce->size() != 16) return err(bad_request("bad Sec-WebSocket-Key"));
  Headers out{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", accept_for(key)}};
  if (!protocol.empty()) out.add("Sec-WebSocket-Protocol", protocol);
  return out;
}

Headers websocket_request(const std::vector<std::string>& protocols, std::string& key) {
  key = base64_encode(random_bytes(16));
  Headers out{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Key", key}, {"Sec-WebSocket-Version", "13"}};
  if (!protocols.empty()) out.add("Sec-WebSocket-Protocol", join(protocols, ", "));
  return out;
}

Status websocket_check(int status, const Headers& response, const std::string& key) {
  if (status != 101) return unavailable("WebSocket handshake: status " + std::to_string(status));
  if (!is_websocket_upgrade(response) || trim(response.get("sec-websocket-accept")) != accept_for(key))
    return unavailable("WebSocket handshake: wrong answer");
  return {};
}

WebSocket::WebSocket(std::unique_ptr<Stream> stream, Role role, size_t max_message)
    : stream_(std::move(stream)), role_(role), max_message_(max_message) {}

WebSocket::~WebSocket() { stream_->close(); }

// At least `need` unused bytes in in_.
Status WebSocket::fill(size_t need, MonoTime deadline) {
  while (in_.size() - in_at_ < need) {
    if (in_at_ > 0 && (in_at_ == in_.size() || in_at_ > (64 << 10))) {
      in_.erase(0, in_at_);
      in_at_ = 0;
    }
    const size_t have = in_.size();
    const size_t want = std::max(kReadSize, std::min(need, size_t{1} << 20));
    in_.resize(have + want);
    auto n = stream_->read(in_.data() + have, want, deadline);
    in_.resize(have + (n ? *n : 0));
    if (!n) return n.error();
    if (*n == 0) return Status(503, reason::kServiceUnavailable, "websocket: the connection ended");
  }
  return {};
}

Result<WebSocket::Message> WebSocket::fail(uint16_t code, std::string_view why) {
  (void)send_close(code, why, deadline_in(kControlWrite));
  stream_->close();
  ended_ = true;
  return err(bad_request("websocket: " + std::string(why)));
}

Result<WebSocket::Message> WebSocket::read(MonoTime deadline) {
  if (ended_) return err(unavailable("websocket: ended"));
  for (;;) {
    // A frame is used up only when it is there as a whole: a time-out loses nothing.
    auto lost = [&](Status status) -> Result<Message> {
      if (status.is(reason::kTimeout)) return err(status);
      ended_ = true;
      if (status.message() == "websocket: the connection ended") return Message{Kind::kClose, {}, 1006};
      return err(status);
    };
    if (Status s = fill(2, deadline); !s.ok()) return lost(s);
    auto byte = [&](size_t i) { return static_cast<unsigned char>(in_[in_at_ + i]); };
    const bool final = byte(0) & 0x80;
    const uint8_t opcode = byte(0) & 0x0f;
    const bool masked = byte(1) & 0x80;
    if (byte(0) & 0x70) return fail(1002, "reserved bits are set");
    if (masked != (role_ == Role::kServer)) return fail(1002, masked ? "masked frame from a server" : "unmasked frame");
    uint64_t size = byte(1) & 0x7f;
    size_t head = 2 + (size == 126 ? 2 : size == 127 ? 8 : 0) + (masked ? 4 : 0);
    const bool control = opcode >= 8;
    if (control && (size > kMaxControl || !final)) return fail(1002, "bad control frame");
    if (Status s = fill(head, deadline); !s.ok()) return lost(s);
    if (size == 126) {
      size = static_cast<uint64_t>(byte(2)) << 8 | byte(3);
    } else if (size == 127) {
      size = 0;
      for (size_t i = 2; i < 10; ++i) size = size << 8 | byte(i);
    }
    if (!control && (size > max_message_ || message_.size() + size > max_message_)) return fail(1009, "message too large");
    if (Status s = fill(head + static_cast<size_t>(size), deadline); !s.ok()) return lost(s);
    char* payload = in_.data() + in_at_ + head;
    if (masked) {
      unsigned char mask[4];
      for (size_t i = 0; i < 4; ++i) mask[i] = byte(head - 4 + i);
      apply_mask(payload, static_cast<size_t>(size), mask, 0);
    }
    std::string_view data(payload, static_cast<size_t>(size));
    in_at_ += head + static_cast<size_t>(size);
    switch (opcode) {
      case kPing: {
        std::string echo(data);
        if (Status s = write_frame(kPong, echo, {}, deadline_in(kControlWrite)); !s.ok()) return lost(s);
        break;
      }
      case kPong: break;
      case kCloseFrame: {
        Message out{Kind::kClose, {}, 1005};
        if (data.size() == 1) return fail(1002, "bad close frame");
        if (data.size() >= 2) {
          out.close_code = static_cast<uint16_t>(static_cast<unsigned char>(data[0]) << 8 | static_cast<unsigned char>(data[1]));
          out.data = std::string(data.substr(2));
          if (!valid_close_code(out.close_code)) return fail(1002, "bad close code");
        }
        (void)send_close(out.close_code == 1005 ? 1000 : out.close_code, {}, deadline_in(kControlWrite));
        ended_ = true;
        return out;
      }
      case kTextFrame:
      case kBinaryFrame:
      case kContinuation: {
        if ((opcode == kContinuation) != (message_opcode_ != 0)) return fail(1002, "unexpected fragment");
        const uint8_t kind = opcode == kContinuation ? message_opcode_ : opcode;
        if (!final) {
          message_opcode_ = kind;
          message_.append(data);
          break;
        }
        Message out;
        out.kind = kind == kTextFrame ? Kind::kText : Kind::kBinary;
        out.data = std::move(message_);
        out.data.append(data);
        message_ = std::string();
        message_opcode_ = 0;
        if (in_at_ == in_.size() && in_.capacity() > 4 * kReadSize) {
          in_ = std::string();
          in_at_ = 0;
        }
        if (out.kind == Kind::kText && !valid_utf8(out.data)) return fail(1007, "text that is not UTF-8");
        return out;
      }
      default: return fail(1002, "unknown opcode");
    }
  }
}

Status WebSocket::write_frame(uint8_t opcode, std::string_view a, std::string_view b, MonoTime deadline) {
  const uint64_t size = a.size() + b.size();
  std::string frame;
  frame.reserve(static_cast<size_t>(size) + 14);
  frame += static_cast<char>(0x80 | opcode);
  const uint8_t mask_bit = role_ == Role::kClient ? 0x80 : 0;
  if (size < 126) {
    frame += static_cast<char>(mask_bit | size);
  } else if (size <= 0xffff) {
    frame += static_cast<char>(mask_bit | 126);
    frame += static_cast<char>(size >> 8);
    frame += static_cast<char>(size & 0xff);
  } else {
    frame += static_cast<char>(mask_bit | 127);
    for (int shift = 56; shift >= 0; shift -= 8) frame += static_cast<char>(size >> shift & 0xff);
  }
  unsigned char mask[4] = {};
  if (mask_bit) {
    std::string key = random_bytes(4);
    std::memcpy(mask, key.data(), 4);
    frame += key;
  }
  const size_t at = frame.size();
  frame.append(a).append(b);
  if (mask_bit) apply_mask(frame.data() + at, static_cast<size_t>(size), mask, 0);
  std::lock_guard lock(write_mutex_);
  if (close_sent_) return unavailable("websocket: closed");
  if (opcode == kCloseFrame) close_sent_ = true;
  Status sent = stream_->write(frame, deadline);
  // Half a frame on the wire cannot be taken back.
  if (!sent.ok()) stream_->close();
  return sent;
}

Status WebSocket::write(Kind kind, std::string_view data, MonoTime deadline) { return write(kind, {}, data, deadline); }

Status WebSocket::write(Kind kind, std::string_view prefix, std::string_view data, MonoTime deadline) {
  if (kind == Kind::kClose) return send_close(1000, data, deadline);
  return write_frame(kind == Kind::kText ? kTextFrame : kBinaryFrame, prefix, data, deadline);
}

Status WebSocket::ping(std::string_view data, MonoTime deadline) {
  return write_frame(kPing, data.substr(0, kMaxControl), {}, deadline);
}

Status WebSocket::send_close(uint16_t code, std::string_view reason, MonoTime deadline) {
  const char head[2] = {static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  return write_frame(kCloseFrame, {head, 2}, reason.substr(0, kMaxControl - 2), deadline);
}

}  // namespace engenho::http
