#include "engenho/base/json.h"
#include "engenho/client/transport.h"
#include "engenho/http/client.h"
#include "engenho/schema/api_errors.h"

namespace engenho::client {

namespace {

http::ClientOptions client_options(const HttpsOptions& options) {
  http::ClientOptions out;
  out.tls.ca_pem = options.ca_pem;
  out.tls.certificate_pem = options.certificate_pem;
  out.tls.key_pem = options.key_pem;
  out.max_response_bytes = 512u << 20;
  return out;
}

class HttpsTransport final : public Transport {
 public:
  explicit HttpsTransport(HttpsOptions options) : options_(std::move(options)), client_(client_options(options_)) {}

  Result<Response> send(const Request& request) override {
    auto answer = client_.send(make(request));
    if (!answer) return err(answer.error());
    return Response{answer->status, std::move(answer->body)};
  }

  Status stream(const Request& request, const StopToken& stop, const std::function<bool(std::string_view)>& on_line) override {
    auto opened = client_.open(make(request), &stop);
    if (!opened) return opened.error();
    http::ResponseStream& stream = **opened;
    std::string pending, buffer(16 << 10, '\0');
    const bool failed = stream.status() != 200;
    for (;;) {
      auto n = stream.read(buffer.data(), buffer.size());
      if (!n) return stop.stopped() ? Status() : n.error();
      if (*n == 0) break;
      pending.append(buffer.data(), *n);
      if (failed) {
        if (pending.size() > (1u << 20)) break;
        continue;
      }
      size_t from = 0, end;
      while ((end = pending.find('\n', from)) != std::string::npos) {
        if (end > from && !on_line(std::string_view(pending).substr(from, end - from))) return {};
        from = end + 1;
      }
      pending.erase(0, from);
    }
    if (!failed) return {};
    auto document = json::parse(pending);
    if (document && document->str_at({"kind"}) == "Status") return schema::from_document(*document);
    return Status(stream.status(), "", pending);
  }

 private:
  http::ClientRequest make(const Request& request) const {
    http::ClientRequest out;
    out.method = request.method;
    out.url = options_.url + request.target;
    out.headers.add("Accept", "application/json");
    out.headers.add("User-Agent", options_.user_agent);
    if (!options_.token.empty()) out.headers.add("Authorization", "Bearer " + options_.token);
    if (!request.content_type.empty()) out.headers.add("Content-Type", request.content_type);
    if (!request.body.empty()) out.body = http::Body(request.body);
    return out;
  }
  HttpsOptions options_;
  http::Client client_;
};

}  // namespace

std::unique_ptr<Transport> https_transport(HttpsOptions options) { return std::make_unique<HttpsTransport>(std::move(options)); }

}  // namespace engenho::client
