#include "endpoints.h"

#include "engenho/base/log.h"
#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace {

constexpr int kKeepAliveMs = 10'000, kKeepAliveTimeoutMs = 5'000, kFirstReconnectMs = 100, kLongestReconnectMs = 1'000;

Result<std::string> target_of(const std::string& endpoint, bool& tls) {
  for (const auto& [scheme, secure] : {std::pair<std::string, bool>{"https://", true}, {"http://", false}}) {
    if (!endpoint.starts_with(scheme)) continue;
    std::string host = endpoint.substr(scheme.size());
    if (host.ends_with('/')) host.pop_back();
    if (host.empty() || host.find('/') != std::string::npos) break;
    if (host.rfind(':') == std::string::npos || host.ends_with(']')) host += ":2379";
    tls = secure;
    return host;
  }
  tls = false;
  if (endpoint.starts_with("unix:///")) return endpoint;
  return err(bad_request("etcd endpoint \"" + endpoint + "\": expected https://host:port, http://host:port or unix:///path"));
}

}  // namespace

Result<std::unique_ptr<Endpoints>> Endpoints::create(const RemoteOptions& options) {
  if (options.endpoints.empty()) return err(bad_request("no etcd endpoints: expected one or more of https://host:port, http://host:port, unix:///path"));
  if (options.certificate_pem.empty() != options.key_pem.empty()) return err(bad_request("etcd client certificate: certificate and key go together"));
  auto out = std::make_unique<Endpoints>();
  out->call_timeout_ = options.call_timeout;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestReconnectMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  for (const std::string& endpoint : options.endpoints) {
    bool tls = false;
    ENGENHO_ASSIGN(const std::string target, target_of(endpoint, tls));
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    if (tls) {
      grpc::SslCredentialsOptions ssl;
      ssl.pem_root_certs = options.ca_pem;
      ssl.pem_cert_chain = options.certificate_pem;
      ssl.pem_private_key = options.key_pem;
      credentials = grpc::SslCredentials(ssl);
    }
    out->members_.push_back(std::make_unique<Member>(grpc::CreateCustomChannel(target, credentials, arguments)));
  }
  return out;
}

void Endpoints::failed(size_t index) {
  if (members_.size() == 1) return;
  if (current_.compare_exchange_strong(index, (index + 1) % members_.size())) {
    log::warn("datastore", "etcd member {} of {} does not answer; the next one is asked", index + 1, members_.size());
  }
}

void Endpoints::wait_for(size_t index) { members_[index]->channel->WaitForConnected(std::chrono::system_clock::now() + kRoundPause); }

void Endpoints::prepare(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() + call_timeout_);
  context.AddMetadata("hasleader", "true");
}

bool Endpoints::gone(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

bool Endpoints::unsent(const grpc::Status& status) {
  const std::string text = status.error_message();
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (text == "etcdserver: no leader" || text.find("failed to connect") != std::string::npos || text.find("onnection refused") != std::string::npos);
}

Status Endpoints::from_grpc(const grpc::Status& status) {
  const std::string text = status.error_message();
  for (const Status& known : {compacted_error(), future_revision_error(), key_not_found_error(), empty_key_error(), duplicate_key_error(), too_many_ops_error(),
                              request_too_large_error(), lease_not_found_error(), lease_exists_error(), lease_ttl_error(), too_many_requests_error(), no_space_error(),
                              corrupt_error()}) {
    if (text == known.message()) return known;
  }
  if (gone(status)) return unavailable("etcd: " + text);
  return internal_error("etcd: " + text);
}

}  // namespace engenho::datastore
