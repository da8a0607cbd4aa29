#include "engenho/http/client.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>

#include "dial.h"
#include "h1_parser.h"

namespace engenho::http {
namespace {

constexpr size_t kReadSize = 16 << 10;
constexpr size_t kInlineBody = 16 << 10;      // sent in one write with the head
constexpr size_t kRefusalBody = 64 << 10;

struct Connection {
  std::unique_ptr<Stream> stream;
  std::string in;          // read and not used, from in_at
  size_t in_at = 0;
  std::string key;
  MonoTime idle_since;
  bool reused = false;

  Status fill(MonoTime deadline, bool& end) {
    if (in_at > 0) {
      in.erase(0, in_at);
      in_at = 0;
    }
    size_t have = in.size();
    in.resize(have + kReadSize);
    auto n = stream->read(in.data() + have, kReadSize, deadline);
    in.resize(have + (n ? *n : 0));
    if (!n) return n.error();
    end = *n == 0;
    return {};
  }
  bool quiet() const {
    Stream* under = stream.get();
    if (auto* tls = dynamic_cast<TlsStream*>(under)) under = &tls->under();
    auto* socket = dynamic_cast<SocketStream*>(under);
    return in_at == in.size() && (!socket || socket->quiet());
  }
};

bool idempotent(const std::string& method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

class Pool {
 public:
  explicit Pool(const ClientOptions& options) : options_(options) {}
  std::unique_ptr<Connection> take(const std::string& key) {
    std::vector<std::unique_ptr<Connection>> dead;  // closed outside the lock
    std::lock_guard lock(mutex_);
    auto now = std::chrono::steady_clock::now();
    for (auto it = idle_.begin(); it != idle_.end();) {
      if (now - (*it)->idle_since > options_.idle_timeout) {
        dead.push_back(std::move(*it));
        it = idle_.erase(it);
      } else {
        ++it;
      }
    }
    for (auto it = idle_.end(); it != idle_.begin();) {  // the youngest first
      --it;
      if ((*it)->key != key) continue;
      auto connection = std::move(*it);
      it = idle_.erase(it);
      if (connection->quiet()) {
        connection->reused = true;
        return connection;
      }
      dead.push_back(std::move(connection));
    }
    return nullptr;
  }
  void give(std::unique_ptr<Connection> connection) {
    std::unique_ptr<Connection> dead;
    connection->idle_since = std::chrono::steady_clock::now();
    if (connection->in_at == connection->in.size()) {
      connection->in = std::string();
      connection->in_at = 0;
    }
    std::lock_guard lock(mutex_);
    if (options_.max_idle_connections == 0) return;
    if (idle_.size() >= options_.max_idle_connections) {
      dead = std::move(idle_.front());
      idle_.pop_front();
    }
    idle_.push_back(std::move(connection));
  }
  void clear() {
    std::deque<std::unique_ptr<Connection>> dead;
    std::lock_guard lock(mutex_);
    dead.swap(idle_);
  }

 private:
  const ClientOptions& options_;
  std::mutex mutex_;
  std::deque<std::unique_ptr<Connection>> idle_;  // guarded by mutex_; oldest first
};

}  // namespace

struct Client::Impl : std::enable_shared_from_this<Client::Impl> {
  explicit Impl(ClientOptions o) : options(std::move(o)), pool(options) {}

  Result<std::shared_ptr<const TlsContext>> tls() {
    std::lock_guard lock(mutex);
    if (!tls_context) {
      ENGENHO_ASSIGN(tls_context, TlsContext::for_client(options.tls));
    }
    return tls_context;
  }

  Result<std::unique_ptr<Connection>> connect(const Url& url, const std::string& key, MonoTime deadline,
                                              const StopToken* stop) {
    deadline = std::min(deadline, deadline_in(options.connect_timeout));
    auto connection = std::make_unique<Connection>();
    connection->key = key;
    if (!options.unix_socket.empty()) {
      ENGENHO_ASSIGN(connection->stream, dial_unix(options.unix_socket, deadline));
    } else if (options.dial) {
      ENGENHO_ASSIGN(connection->stream, options.dial(url.host, url.port, deadline, stop));
    } else {
      ENGENHO_ASSIGN(connection->stream, dial_tcp(url.host, url.port, deadline, stop));
    }
    if (url.scheme == "https" || url.scheme == "wss") {
      ENGENHO_ASSIGN(auto context, tls());
      ENGENHO_ASSIGN(connection->stream,
                     start_client_tls(std::move(connection->stream), context, url.host, deadline, stop));
    }
    return connection;
  }

  const ClientOptions options;
  Pool pool;
  std::mutex mutex;
  std::shared_ptr<const TlsContext> tls_context;  // guarded by mutex; made on first use
};

namespace {

// A response under way. Holds the client's state, so that the pool outlives it.
class Response final : public ResponseStream {
 public:
  Response(std::function<void(std::unique_ptr<Connection>)> give, std::unique_ptr<Connection> connection, const StopToken* stop)
      : give_(std::move(give)), connection_(std::move(connection)), closer_(stop, connection_->stream.get()) {}

  // Sends the request and reads the response's head. `started`: some byte of the response came.
  Status exchange(const ClientRequest& request, const Url& url, size_t max_head, MonoTime deadline, bool& started);
  bool upgraded() const { return status_ == 101; }
  std::unique_ptr<Stream> take_stream();

  int status() const override { return status_; }
  const Headers& headers() const override { return headers_; }
  Result<size_t> read(char* buffer, size_t size, MonoTime deadline) override;
  void close() override { closer_.close(); }

 private:
  Status read_head(bool head_request, size_t max_head, MonoTime deadline, bool& started);
  void finish();

  std::function<void(std::unique_ptr<Connection>)> give_;
  std::unique_ptr<Connection> connection_;  // lives as long as this unless finish() gave it back
  StopCloser closer_;
  int status_ = 0;
  Headers headers_;
  Framing framing_;
  ChunkedDecoder chunks_;
  uint64_t left_ = 0;
  bool keep_alive_ = false, done_ = false;
};

Result<std::string> request_head(const ClientRequest& request, const Url& url) {
  if (!valid_field_name(request.method)) return err(bad_request("invalid method"));
  std::string head = request.method + " " + url.target + " HTTP/1.1\r\n";
  if (!request.headers.contains("host")) head += "Host: " + url.authority() + "\r\n";
  for (const Headers::Field& field : request.headers) {
    if (!valid_field_name(field.name) || !valid_field_value(field.value))
      return err(bad_request("invalid header field " + field.name.substr(0, 100)));
    if (iequals(field.name, "content-length") || iequals(field.name, "transfer-encoding")) continue;
    head.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  const bool has_body_method = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  if (!request.body.empty() || has_body_method) head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  head += "\r\n";
  return head;
}

Status Response::exchange(const ClientRequest& request, const Url& url, size_t max_head, MonoTime deadline, bool& started) {
  auto head = request_head(request, url);
  if (!head) return head.error();
  Status sent;
  if (request.body.size() <= kInlineBody) {
    for (const Segment& segment : request.body.segments()) head->append(segment.data, segment.size);
    sent = connection_->stream->write(*head, deadline);
  } else {
    sent = connection_->stream->write(*head, deadline);
    for (const Segment& segment : request.body.segments()) {
      if (!sent.ok()) break;
      sent = connection_->stream->write({segment.data, segment.size}, deadline);
    }
  }
  // A server that refuses a large body answers and closes while we write: what it said counts more than our error.
  Status read = read_head(request.method == "HEAD", max_head, deadline, started);
  if (!sent.ok()) keep_alive_ = false;
  return read.ok() || sent.ok() ? read : sent;
}

Status Response::read_head(bool head_request, size_t max_head, MonoTime deadline, bool& started) {
  Connection& c = *connection_;
  for (;;) {
    size_t end = 0, searched = 0;
    while ((end = find_head_end(std::string_view(c.in).substr(c.in_at), searched)) == 0) {
      searched = c.in.size() - c.in_at;
      if (searched > max_head) return internal_error("the response's head is too long");
      bool closed = false;
      ENGENHO_RETURN_IF_ERROR(c.fill(deadline, closed));
      if (closed) return unavailable("the server closed the connection");
      started = true;
    }
    bool http11 = false;
    headers_.clear();
    if (!parse_response_head(std::string_view(c.in).substr(c.in_at, end), status_, http11, headers_))
      return internal_error("malformed response head");
    c.in_at += end;
    if (status_ < 200 && status_ != 101) continue;  // 100 Continue, 103 Early Hints
    if (!response_framing(headers_, status_, head_request, framing_)) return internal_error("malformed response framing");
    left_ = framing_.length;
    keep_alive_ = http11 ? !headers_.has_token("connection", "close") : headers_.has_token("connection", "keep-alive");
    if (framing_.kind == Framing::Kind::kUntilClose || status_ == 101) keep_alive_ = false;
    if (framing_.kind == Framing::Kind::kNone && status_ != 101) finish();
    return {};
  }
}

void Response::finish() {
  done_ = true;
  if (!keep_alive_) return;
  closer_.clear();
  give_(std::move(connection_));
}

std::unique_ptr<Stream> Response::take_stream() {
  closer_.clear();
  std::string early = connection_->in.substr(connection_->in_at);
  if (early.empty()) return std::move(connection_->stream);
  return with_input(std::move(connection_->stream), std::move(early));
}

Result<size_t> Response::read(char* buffer, size_t size, MonoTime deadline) {
  if (done_ || size == 0) return 0;
  Connection& c = *connection_;
  for (;;) {
    std::string_view have = std::string_view(c.in).substr(c.in_at);
    if (framing_.kind == Framing::Kind::kChunked && !have.empty()) {
      std::string_view rest = have.substr(0, std::max<size_t>(1, std::min(have.size(), size))), payload;
      const size_t before = rest.size();
      ChunkedDecoder::State state = chunks_.feed(rest, payload);
      c.in_at += before - rest.size();
      if (state == ChunkedDecoder::State::kBad) return err(internal_error("malformed chunked response"));
      if (!payload.empty()) std::memcpy(buffer, payload.data(), payload.size());
      size_t n = payload.size();
      if (state == ChunkedDecoder::State::kDone) finish();
      if (n > 0 || done_) return n;
      continue;
    }
    if (framing_.kind != Framing::Kind::kChunked && !have.empty()) {
      size_t n = std::min(size, have.size());
      if (framing_.kind == Framing::Kind::kLength) n = static_cast<size_t>(std::min<uint64_t>(n, left_));
      std::memcpy(buffer, have.data(), n);
      c.in_at += n;
      left_ -= std::min<uint64_t>(left_, n);
      if (framing_.kind == Framing::Kind::kLength && left_ == 0) finish();
      return n;
    }
    bool end = false;
    ENGENHO_TRY(c.fill(deadline, end));
    if (!end) continue;
    if (framing_.kind != Framing::Kind::kUntilClose) return err(unavailable("the response was cut short"));
    done_ = true;
    return 0;
  }
}

}  // namespace

Client::Client(ClientOptions options) : impl_(std::make_shared<Impl>(std::move(options))) {}
Client::~Client() = default;
void Client::close_idle() { impl_->pool.clear(); }

namespace {

// One request up to the response's head.
template <typename ImplPtr>
Result<std::unique_ptr<Response>> begin(const ImplPtr& impl, const ClientRequest& request, const Url& url, MonoTime deadline,
                                        const StopToken* stop) {
  const ClientOptions& options = impl->options;
  if (stop && stop->stopped()) return err(unavailable("stopped"));
  const std::string key = url.scheme + "://" + url.host + ":" + std::to_string(url.port);
  auto give = [impl](std::unique_ptr<Connection> c) { impl->pool.give(std::move(c)); };
  const bool upgrade = request.headers.contains("upgrade");
  for (bool retried = false;; retried = true) {
    auto connection = upgrade || retried ? nullptr : impl->pool.take(key);
    if (!connection) {
      ENGENHO_ASSIGN(connection, impl->connect(url, key, deadline, stop));
    }
    const bool reused = connection->reused;
    auto response = std::make_unique<Response>(give, std::move(connection), stop);
    bool started = false;
    Status status = response->exchange(request, url, options.max_head_bytes,
                                       std::min(deadline, deadline_in(options.header_timeout)), started);
    if (status.ok()) return response;
    if (stop && stop->stopped()) return err(unavailable("stopped"));
    // The server closed the idle connection while our request was on its way.
    if (reused && !started && !retried && idempotent(request.method) && !status.is(reason::kTimeout)) continue;
    return err(status.with_context(request.method + " " + url.scheme + "://" + url.authority()));
  }
}

Result<std::string> read_all(ResponseStream& response, size_t limit, MonoTime deadline) {
  std::string body;
  char buffer[16 << 10];
  for (;;) {
    ENGENHO_ASSIGN(size_t n, response.read(buffer, sizeof buffer, deadline));
    if (n == 0) return body;
    if (body.size() + n > limit) return err(internal_error("the response is larger than " + std::to_string(limit) + " bytes"));
    body.append(buffer, n);
  }
}

// Location relative to the URL it came from.
Result<Url> resolve(const Url& from, std::string_view location) {
  if (location.find("://") != std::string_view::npos) return parse_url(location);
  Url out = from;
  if (location.starts_with("//")) return parse_url(from.scheme + ":" + std::string(location));
  std::string base = from.scheme + "://" + from.authority();
  if (location.starts_with("/")) return parse_url(base + std::string(location));
  std::string path = from.target.substr(0, from.target.find('?'));
  return parse_url(base + path.substr(0, path.rfind('/') + 1) + std::string(location));
}

}  // namespace

Result<ClientResponse> Client::send(const ClientRequest& request, const StopToken* stop) {
  const MonoTime deadline = deadline_in(request.timeout);
  ENGENHO_ASSIGN(Url url, parse_url(request.url));
  ClientRequest current = request;
  for (int hops = 0;; ++hops) {
    ENGENHO_ASSIGN(auto response, begin(impl_, current, url, deadline, stop));
    const int status = response->status();
    const bool redirect = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    const std::string* location = response->headers().find("location");
    bool follow = redirect && location && impl_->options.max_redirects > 0 && (current.method == "GET" || current.method == "HEAD");
    if (follow && impl_->options.redirects_stay) {
      const auto next = resolve(url, *location);
      follow = next && next->host == url.host;
    }
    if (follow && hops >= impl_->options.max_redirects) return err(internal_error("too many redirects"));
    auto body = read_all(*response, impl_->options.max_response_bytes, deadline);
    if (!body) {
      if (stop && stop->stopped()) return err(unavailable("stopped"));
      return err(body.error().with_context(current.method + " " + url.scheme + "://" + url.authority()));
    }
    if (!follow) return ClientResponse{status, response->headers(), std::move(*body)};
    ENGENHO_ASSIGN(Url next, resolve(url, *location));
    if (url.scheme == "https" && next.scheme != "https") return err(internal_error("redirected from https to http"));
    if (next.host != url.host || next.port != url.port) {
      for (const char* name : {"authorization", "cookie", "proxy-authorization", "host"}) current.headers.remove(name);
    }
    url = std::move(next);
  }
}

Result<std::unique_ptr<ResponseStream>> Client::open(const ClientRequest& request, const StopToken* stop) {
  ENGENHO_ASSIGN(Url url, parse_url(request.url));
  ENGENHO_ASSIGN(auto response, begin(impl_, request, url, deadline_in(request.timeout), stop));
  return response;
}

Result<Upgraded> Client::upgrade(const ClientRequest& request, const StopToken* stop) {
  const MonoTime deadline = deadline_in(request.timeout);
  ENGENHO_ASSIGN(Url url, parse_url(request.url));
  ENGENHO_ASSIGN(auto response, begin(impl_, request, url, deadline, stop));
  Upgraded out;
  out.status = response->status();
  out.headers = response->headers();
  if (response->upgraded()) {
    out.stream = response->take_stream();
  } else if (auto body = read_all(*response, kRefusalBody, deadline)) {
    out.body = std::move(*body);
  }
  return out;
}

}  // namespace engenho::http
