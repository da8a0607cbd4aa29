// gRPC over the http component's HTTP/2: framing, statuses as trailers, calls that answer later from any thread, and streams in both directions.
// Shaped after gRPC's callback API, but for what is not needed: no metadata of callers, no deadlines of our own (clients cancel), no compression.
//
// Why not gRPC's own server: it takes about 40 us of processor time for a call, this one a fifth of that (bench/datastore); and it
// cannot answer /metrics and /health on the same port, where etcd's clients look for them.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/status.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "engenho/http/server.h"

namespace engenho::datastore::rpc {

using Message = google::protobuf::MessageLite;

// Counts calls, so that whoever owns what they use can wait for the last one.
class CallCount {
 public:
  void add();
  void remove();
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  size_t calls_ = 0;
};

// One call with one answer. Finish() comes once, from any thread; request and response live until then.
class UnaryReactor {
 public:
  virtual ~UnaryReactor() = default;
  virtual void Finish(const grpc::Status& status) = 0;
  // In place of the response: its bytes, with room for the prefix before them (see kPrefixBytes).
  virtual void FinishEncoded(std::string framed) = 0;
};
class Context {
 public:
  explicit Context(UnaryReactor* reactor) : reactor_(reactor) {}
  UnaryReactor* DefaultReactor() { return reactor_; }

 private:
  UnaryReactor* reactor_;
};

// The bytes of a stream. One read and one write are under way at a time. Calls of the owner never overlap themselves, and none comes after
// done(). Thread-safe.
class StreamCore : public std::enable_shared_from_this<StreamCore> {
 public:
  struct Owner {
    virtual ~Owner() = default;
    virtual void read_done(const std::string* message) = 0;  // null: the client sends no more
    virtual void write_done(bool ok) = 0;
    virtual void cancelled() = 0;
    virtual void done() = 0;                                  // the last call
  };
  StreamCore(Owner* owner, size_t max_message) : owner_(owner), max_message_(max_message) {}
  void bind(std::shared_ptr<http::Exchange> exchange, CallCount* calls);

  void start_read();
  void start_write(std::string framed);
  void finish(const grpc::Status& status);

 private:
  void feed(std::string_view piece, bool end);
  void pump_reads();
  void pump_writes();
  void closed();
  bool enter(std::unique_lock<std::mutex>& lock);              // about to call the owner
  void leave(std::unique_lock<std::mutex>& lock);              // has called it; may call done()

  Owner* owner_;
  const size_t max_message_;
  std::shared_ptr<http::Exchange> exchange_;
  CallCount* calls_ = nullptr;
  std::mutex mutex_;               // all below
  std::string input_;
  bool input_ended_ = false, input_bad_ = false;
  bool want_read_ = false, reading_ = false, write_pending_ = false, writing_ = false;
  bool closed_ = false, finished_ = false, done_ = false;
  int active_ = 0;                 // calls of the owner under way
};

constexpr size_t kPrefixBytes = 5;          // before each message; FinishEncoded() fills them in
std::string frame(const Message& message);  // with that prefix

template <typename Request, typename Response>
class BidiReactor : private StreamCore::Owner {
 public:
  BidiReactor() : core_(std::make_shared<StreamCore>(static_cast<StreamCore::Owner*>(this), size_t{4} << 20)) {}
  void bind(std::shared_ptr<http::Exchange> exchange, CallCount* calls) { core_->bind(std::move(exchange), calls); }

 protected:
  ~BidiReactor() override = default;
  void StartRead(Request* into) {
    into_ = into;
    core_->start_read();
  }
  void StartWrite(const Response* response) { core_->start_write(frame(*response)); }
  // The object may be gone when this returns.
  void Finish(grpc::Status status) {
    const std::shared_ptr<StreamCore> core = core_;
    core->finish(status);
  }
  virtual void OnReadDone(bool ok) {}
  virtual void OnWriteDone(bool ok) {}
  virtual void OnCancel() {}
  virtual void OnDone() = 0;

 private:
  void read_done(const std::string* message) override {
    OnReadDone(message != nullptr && into_->ParseFromString(*message));
  }
  void write_done(bool ok) override { OnWriteDone(ok); }
  void cancelled() override { OnCancel(); }
  void done() override { OnDone(); }

  std::shared_ptr<StreamCore> core_;
  Request* into_ = nullptr;
};

// Methods by their path, "/package.Service/Method".
class Router final : public http::Handler {
 public:
  // Client certificates are wanted of every TLS connection. `max_message` bounds requests.
  explicit Router(size_t max_message) : max_message_(max_message) {}

  template <typename Request, typename Response>
  void unary(std::string path, std::function<UnaryReactor*(Context*, const Request*, Response*)> method) {
    methods_[std::move(path)].call = [this, method = std::move(method)](std::shared_ptr<http::Exchange> exchange) {
      auto* call = new Unary<Request, Response>(std::move(exchange), calls_);
      if (!call->parse()) return;
      Context context(call);
      method(&context, &call->request, &call->response);
    };
  }
  // `make` returns a new reactor, which destroys itself in OnDone().
  template <typename Request, typename Response>
  void stream(std::string path, std::function<BidiReactor<Request, Response>*()> make) {
    Method& method = methods_[std::move(path)];
    method.streams = true;
    method.call = [this, make = std::move(make)](std::shared_ptr<http::Exchange> exchange) { make()->bind(std::move(exchange), &calls_); };
  }
  // What else the port answers: GET of a path.
  void page(std::string path, std::function<std::string()> make) { pages_[std::move(path)] = std::move(make); }
  void wait_for_calls() { calls_.wait(); }

  void handle(std::shared_ptr<http::Exchange> exchange) override;
  std::optional<size_t> max_body(const http::Request&) override { return max_message_ + 5; }
  bool streams_body(const http::Request& head) override;

 private:
  struct Method {
    bool streams = false;
    std::function<void(std::shared_ptr<http::Exchange>)> call;
  };
  class UnaryBase : public UnaryReactor {
   public:
    UnaryBase(std::shared_ptr<http::Exchange> exchange, CallCount& calls) : exchange_(std::move(exchange)), calls_(calls) { calls_.add(); }
    ~UnaryBase() override { calls_.remove(); }

   protected:
    bool parse_into(Message& message);
    void answer(const grpc::Status& status, const Message& response);
    void answer(std::string framed);

   private:
    std::shared_ptr<http::Exchange> exchange_;
    CallCount& calls_;
  };
  template <typename Request, typename Response>
  class Unary final : public UnaryBase {
   public:
    using UnaryBase::UnaryBase;
    bool parse() {
      if (parse_into(request)) return true;
      delete this;
      return false;
    }
    void Finish(const grpc::Status& status) override {
      answer(status, response);
      delete this;
    }
    void FinishEncoded(std::string framed) override {
      UnaryBase::answer(std::move(framed));
      delete this;
    }
    Request request;
    Response response;
  };

  const size_t max_message_;
  std::unordered_map<std::string, Method> methods_;
  std::map<std::string, std::function<std::string()>, std::less<>> pages_;
  CallCount calls_;
};

}  // namespace engenho::datastore::rpc
