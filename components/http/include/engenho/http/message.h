// What a request and a response are made of: header fields, a body of shared segments, and who is at the other end.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/clock.h"

namespace engenho::http {

bool iequals(std::string_view a, std::string_view b);  // ASCII

// Header fields in order of appearance. Names compare without case.
class Headers {
 public:
  struct Field {
    std::string name, value;
  };
  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  const std::string* find(std::string_view name) const;  // the first, or null
  std::string_view get(std::string_view name) const;     // the first, or empty
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  std::vector<std::string_view> all(std::string_view name) const;
  // Whether a comma-separated list field (Connection, Upgrade) holds `token`, without case, over all its fields.
  bool has_token(std::string_view name, std::string_view token) const;

  void add(std::string name, std::string value) { fields_.push_back({std::move(name), std::move(value)}); }
  void set(std::string_view name, std::string value);  // replaces all of that name
  size_t remove(std::string_view name);                // how many there were

  bool empty() const { return fields_.empty(); }
  size_t size() const { return fields_.size(); }
  void reserve(size_t count) { fields_.reserve(count); }
  void clear() { fields_.clear(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Field> fields_;
};

// Bytes that somebody keeps alive. They must not change while a segment refers to them.
struct Segment {
  std::shared_ptr<const void> owner;  // null: static storage
  const char* data = nullptr;
  size_t size = 0;
};

// A body: segments that are sent one after the other and never concatenated. Cheap to move; a copy shares the bytes.
class Body {
 public:
  Body() = default;
  Body(std::string text);                                  // takes the text over
  Body(const char* text) : Body(std::string(text)) {}
  Body(std::shared_ptr<const std::string> text);           // shares it
  static Body fixed(std::string_view text);                // static storage only
  static Body view(std::shared_ptr<const void> owner, std::string_view bytes);

  void append(Segment segment);
  void append(Body body);
  void append(std::shared_ptr<const void> owner, std::string_view bytes) {
    append(Segment{std::move(owner), bytes.data(), bytes.size()});
  }
  void append_fixed(std::string_view text) { append(Segment{nullptr, text.data(), text.size()}); }
  void reserve(size_t segments) { segments_.reserve(segments); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const std::vector<Segment>& segments() const { return segments_; }
  std::vector<Segment>& segments() { return segments_; }
  std::string to_string() const;

 private:
  std::vector<Segment> segments_;
  size_t size_ = 0;
};

enum class Protocol : uint8_t { kHttp10, kHttp11, kHttp2 };
std::string_view protocol_name(Protocol protocol);  // "HTTP/1.1", "HTTP/2.0"

// The client certificate of a TLS connection.
struct PeerIdentity {
  bool verified = false;                  // chains to the listener's client CA pool, in time, for client authentication
  std::string error;                      // why not; the API server answers 401 then
  std::string common_name;
  std::vector<std::string> organizations;
  WallTime not_after;                     // a long-lived connection may outlive it
  std::vector<std::string> chain_der;     // leaf first, as sent: to verify against another pool (front proxy CA)
};

struct ConnectionInfo {
  std::string remote_address;             // "10.0.0.7:40312", "[fd00::7]:40312", "@" for a Unix socket
  std::string remote_ip;                  // "10.0.0.7", "fd00::7", "" for a Unix socket
  std::string local_address;              // as remote_address
  bool tls = false;
  std::string server_name;                // SNI, may be empty
  std::shared_ptr<const PeerIdentity> peer;  // null when no certificate was presented
};

struct Request {
  std::string method;
  std::string target;                     // raw path and query exactly as sent
  std::string host;                       // Host or :authority
  Headers headers;                        // names as sent (HTTP/2: lower case); "host" is there for HTTP/2 too
  std::string body;                       // whole; empty when body_too_large
  bool body_too_large = false;            // over Handler::max_body(): answer 413
  Protocol protocol = Protocol::kHttp11;
  std::shared_ptr<const ConnectionInfo> connection;  // never null

  std::string_view scheme() const { return connection->tls ? "https" : "http"; }
  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  std::string_view query() const {        // without the question mark
    size_t at = target.find('?');
    return at == std::string::npos ? std::string_view() : std::string_view(target).substr(at + 1);
  }
};

std::string_view status_text(int status);  // "Not Found"

}  // namespace engenho::http
