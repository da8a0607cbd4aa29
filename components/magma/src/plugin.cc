#include "plugin.h"

#include <filesystem>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/pki/certificate.h"
#include "go_plugin.pb.h"
#include "plugin_process.h"
#include "plugin_schema.h"
#include "tfplugin5.pb.h"
#include "tfplugin6.pb.h"

namespace engenho::magma {

namespace pb = tfplugin6;   // the messages of instances have the same wire numbers in both versions

namespace {

#if defined(__x86_64__)
constexpr const char* kPlatform = "linux_amd64";
#elif defined(__aarch64__)
constexpr const char* kPlatform = "linux_arm64";
#else
constexpr const char* kPlatform = "linux_unknown";
#endif
// Providers ask which engine they serve; some refuse very old ones.
constexpr const char* kEngineVersion = "1.11.4";
constexpr int kMaxMessage = 512 << 20;   // the schema of a large provider is many megabytes

std::vector<int64_t> numbers(std::string_view version) {
  std::vector<int64_t> out;
  for (std::string_view part : split(version.substr(0, version.find_first_of("-+")), '.')) {
    int64_t n = 0;
    if (!parse_int(part, n)) break;
    out.push_back(n);
  }
  out.resize(3);
  return out;
}

template <typename Pb>
Path path_of(const Pb& path) {
  Path out;
  for (const auto& step : path.steps()) {
    using Step = std::decay_t<decltype(step)>;
    if (step.selector_case() == Step::kAttributeName) out.push_back({step.attribute_name(), false});
    else if (step.selector_case() == Step::kElementKeyString) out.push_back({step.element_key_string(), true});
    else if (step.selector_case() == Step::kElementKeyInt) out.push_back({step.element_key_int()});
  }
  return out;
}

template <typename List>
void take(const List& diagnostics, Diagnostics& out) {
  for (const auto& d : diagnostics) {
    out.push_back({d.severity() != std::decay_t<decltype(d)>::WARNING, d.summary(), d.detail(), path_of(d.attribute())});
  }
}

class Plugin final : public Provider {
 public:
  Plugin(std::unique_ptr<PluginProcess> process, std::shared_ptr<grpc::Channel> channel, std::string name, std::string version, const EngineOptions& options)
      : process_(std::move(process)), channel_(std::move(channel)), name_(std::move(name)), version_(std::move(version)), options_(options), v5_(process_->handshake().protocol == 5) {}

  ~Plugin() override {
    plugin::Empty empty, answer;
    (void)call("/plugin.GRPCController/Shutdown", empty, answer, std::chrono::seconds(2));
    if (!process_->wait_ended(std::chrono::seconds(2))) process_->kill();
  }

  Status load_schema() {
    if (v5_) {
      tfplugin5::GetProviderSchema::Request request;
      tfplugin5::GetProviderSchema::Response response;
      ENGENHO_RETURN_IF_ERROR(call(path("GetSchema"), request, response, options_.start_timeout));
      return convert_schema(response, schema_);
    }
    pb::GetProviderSchema::Request request;
    pb::GetProviderSchema::Response response;
    ENGENHO_RETURN_IF_ERROR(call(path("GetProviderSchema"), request, response, options_.start_timeout));
    return convert_schema(response, schema_);
  }

  const ProviderSchema& schema() const override { return schema_; }

  Value validate_config(const Value& config, Diagnostics& d) override {
    if (v5_) {
      tfplugin5::PrepareProviderConfig::Request request;
      tfplugin5::PrepareProviderConfig::Response response;
      request.mutable_config()->set_msgpack(to_msgpack(config, schema_.provider.type()));
      if (!invoke("PrepareProviderConfig", request, response, options_.read_timeout, d)) return config;
      pb::DynamicValue prepared;
      prepared.set_msgpack(response.prepared_config().msgpack());
      prepared.set_json(response.prepared_config().json());
      const Value value = decode(prepared, schema_.provider, d);
      return value.holds() ? value : config;
    }
    pb::ValidateProviderConfig::Request request;
    pb::ValidateProviderConfig::Response response;
    encode(config, schema_.provider, *request.mutable_config());
    invoke("ValidateProviderConfig", request, response, options_.read_timeout, d);
    return config;
  }

  void configure(const Value& config, Diagnostics& d) override {
    pb::ConfigureProvider::Request request;
    pb::ConfigureProvider::Response response;
    request.set_terraform_version(kEngineVersion);
    encode(config, schema_.provider, *request.mutable_config());
    invoke(v5_ ? "Configure" : "ConfigureProvider", request, response, options_.read_timeout, d);
  }

  void validate_resource(const std::string& type, bool data, const Value& config, Diagnostics& d) override {
    pb::ValidateResourceConfig::Request request;
    pb::ValidateResourceConfig::Response response;
    request.set_type_name(type);
    encode(config, block(type, data), *request.mutable_config());
    const char* const method = data ? (v5_ ? "ValidateDataSourceConfig" : "ValidateDataResourceConfig") : v5_ ? "ValidateResourceTypeConfig" : "ValidateResourceConfig";
    invoke(method, request, response, options_.read_timeout, d);
  }

  Value upgrade(const std::string& type, int64_t version, const json::Value& attributes, Diagnostics& d) override {
    const ResourceSchema& schema = schema_.resources.find(type)->second;
    if (version > schema.version) {
      d.push_back(error_diagnostic("Resource instance managed by newer provider version", "the state has schema version " + std::to_string(version) + " of " + type + ", this provider knows " + std::to_string(schema.version)));
      return {};
    }
    pb::UpgradeResourceState::Request request;
    pb::UpgradeResourceState::Response response;
    request.set_type_name(type);
    request.set_version(version);
    request.mutable_raw_state()->set_json(json::dump(attributes));
    if (!invoke("UpgradeResourceState", request, response, options_.read_timeout, d)) return {};
    return decode(response.upgraded_state(), schema.block, d);
  }

  ReadResult read(const std::string& type, const Value& current, const std::string& private_data, Diagnostics& d) override {
    pb::ReadResource::Request request;
    pb::ReadResource::Response response;
    request.set_type_name(type);
    encode(current, block(type, false), *request.mutable_current_state());
    request.set_private_(private_data);
    if (!invoke("ReadResource", request, response, options_.read_timeout, d)) return {current, private_data};
    return {decode(response.new_state(), block(type, false), d), response.private_()};
  }

  PlanResult plan(const std::string& type, const Value& prior, const Value& proposed, const Value& config, const std::string& prior_private, Diagnostics& d) override {
    pb::PlanResourceChange::Request request;
    pb::PlanResourceChange::Response response;
    const Block& b = block(type, false);
    request.set_type_name(type);
    encode(prior, b, *request.mutable_prior_state());
    // As terraform proposes a new object: null, not unknown, where the provider decides. It says itself what it does not know yet.
    encode(prior.holds() || !proposed.holds() ? proposed : proposed_new(b, empty_value(b), config), b, *request.mutable_proposed_new_state());
    encode(config, b, *request.mutable_config());
    request.set_prior_private(prior_private);
    PlanResult out;
    if (!invoke("PlanResourceChange", request, response, options_.read_timeout, d)) return out;
    out.planned = decode(response.planned_state(), b, d);
    for (const auto& p : response.requires_replace()) out.requires_replace.push_back(path_of(p));
    out.private_data = response.planned_private();
    out.legacy_types = response.legacy_type_system();
    return out;
  }

  ApplyOutcome apply(const std::string& type, const Value& prior, const Value& planned, const Value& config, const std::string& planned_private, Diagnostics& d) override {
    pb::ApplyResourceChange::Request request;
    pb::ApplyResourceChange::Response response;
    const Block& b = block(type, false);
    request.set_type_name(type);
    encode(prior, b, *request.mutable_prior_state());
    encode(planned, b, *request.mutable_planned_state());
    encode(config, b, *request.mutable_config());
    request.set_planned_private(planned_private);
    ApplyOutcome out;
    // When the call itself fails, what there was is what is known.
    if (Status s = call(path("ApplyResourceChange"), request, response, options_.apply_timeout); !s.ok()) {
      d.push_back(error_diagnostic(s.message()));
      out.state = prior;
      out.private_data = planned_private;
      out.answered = false;
      return out;
    }
    take(response.diagnostics(), d);
    out.state = decode(response.new_state(), b, d);
    out.private_data = response.private_();
    out.legacy_types = response.legacy_type_system();
    return out;
  }

  std::vector<Imported> import(const std::string& type, const std::string& id, Diagnostics& d) override {
    pb::ImportResourceState::Request request;
    pb::ImportResourceState::Response response;
    request.set_type_name(type);
    request.set_id(id);
    std::vector<Imported> out;
    if (!invoke("ImportResourceState", request, response, options_.read_timeout, d)) return out;
    for (const auto& r : response.imported_resources()) {
      if (!schema_.resources.contains(r.type_name())) continue;
      out.push_back({r.type_name(), decode(r.state(), block(r.type_name(), false), d), r.private_()});
    }
    return out;
  }

  Value read_data(const std::string& type, const Value& config, Diagnostics& d) override {
    pb::ReadDataSource::Request request;
    pb::ReadDataSource::Response response;
    request.set_type_name(type);
    encode(config, block(type, true), *request.mutable_config());
    if (!invoke("ReadDataSource", request, response, options_.read_timeout, d)) return {};
    return decode(response.state(), block(type, true), d);
  }

  void stop() override {
    {
      std::lock_guard lock(mutex_);
      if (!stopped_at_) stopped_at_ = std::chrono::steady_clock::now();
    }
    changed_.notify_all();
    pb::StopProvider::Request request;
    pb::StopProvider::Response response;
    (void)call(path(v5_ ? "Stop" : "StopProvider"), request, response, std::chrono::seconds(10));
  }
  std::string version() const override { return version_; }

 private:
  std::string path(const char* method) const { return std::string(v5_ ? "/tfplugin5.Provider/" : "/tfplugin6.Provider/") + method; }
  const Block& block(const std::string& type, bool data) const { return (data ? schema_.data_sources : schema_.resources).find(type)->second.block; }
  static void encode(const Value& v, const Block& block, pb::DynamicValue& out) { out.set_msgpack(to_msgpack(v, block.type())); }

  Value decode(const pb::DynamicValue& v, const Block& block, Diagnostics& d) const {
    if (v.msgpack().empty() && v.json().empty()) return Value::null(block.type());
    Result<Value> value = Value();
    if (!v.msgpack().empty()) {
      value = from_msgpack(v.msgpack(), block.type());
    } else {
      auto parsed = json::parse(v.json());
      value = parsed ? from_json(*parsed, block.type()) : Result<Value>(err(parsed.error()));
    }
    if (value) return *value;
    d.push_back(error_diagnostic("Invalid value from the provider " + name_, value.error().message() + "; this is a defect of the provider"));
    return Value::null(block.type());
  }

  // False, with a diagnostic, when the call failed or the provider said so.
  template <typename Request, typename Response>
  bool invoke(const char* method, const Request& request, Response& response, Duration timeout, Diagnostics& d) {
    Status s = call(path(method), request, response, timeout);
    if (!s.ok()) {
      d.push_back(error_diagnostic(s.message()));
      return false;
    }
    take(response.diagnostics(), d);
    return !has_errors(d);
  }

  template <typename Request, typename Response>
  Status call(const std::string& method, const Request& request, Response& response, Duration timeout) {
    const std::string short_name = method.substr(method.rfind('/') + 1);
    if (!process_->running()) return unavailable("the provider " + name_ + " is not running: " + process_->end_reason());
    bool finished = false;   // guarded by mutex_
    grpc::Status status;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
    grpc::TemplatedGenericStub<Request, Response> stub(channel_);
    stub.UnaryCall(&context, method, {}, &request, &response, [&](grpc::Status answer) {
      std::lock_guard lock(mutex_);
      status = std::move(answer);
      finished = true;
      changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished || stopped_at_; });
    // Asked to stop, it has a while to come to an end that it chooses.
    const bool ended = finished || changed_.wait_until(lock, *stopped_at_ + options_.stop_grace, [&] { return finished; });
    if (!ended) {
      lock.unlock();
      process_->kill();
      context.TryCancel();
      lock.lock();
      changed_.wait(lock, [&] { return finished; });
      return timeout_error("the provider " + name_ + " did not end " + short_name + " after it was asked to stop; it was ended");
    }
    lock.unlock();
    if (status.ok()) return {};
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      // It hangs: whatever it does must end before the state says what became of it.
      process_->kill();
      return timeout_error("the provider " + name_ + " did not answer " + short_name + " within " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()) + " ms; it was ended");
    }
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE && process_->wait_ended(std::chrono::seconds(2))) {
      return unavailable("the provider " + name_ + " crashed during " + short_name + ": " + process_->end_reason());
    }
    return unavailable("the provider " + name_ + " failed in " + short_name + ": " + status.error_message().substr(0, 300));
  }

  std::unique_ptr<PluginProcess> process_;
  std::shared_ptr<grpc::Channel> channel_;
  const std::string name_, version_;
  const EngineOptions options_;
  const bool v5_;
  ProviderSchema schema_;
  std::mutex mutex_;   // guards what follows, and the ends of calls
  std::condition_variable changed_;
  std::optional<MonoTime> stopped_at_;
};

}  // namespace

bool version_matches(const std::string& version, const std::string& constraint) {
  const auto have = numbers(version);
  for (std::string_view part : split(constraint, ',')) {
    part = trim(part);
    if (part.empty()) continue;
    const size_t digits = part.find_first_of("0123456789");
    if (digits == std::string_view::npos) return false;
    const std::string op(trim(part.substr(0, digits)));
    const std::string_view text = part.substr(digits);
    const auto want = numbers(text);
    bool good = false;
    if (op.empty() || op == "=") good = have == want;
    else if (op == "!=") good = have != want;
    else if (op == ">") good = have > want;
    else if (op == ">=") good = have >= want;
    else if (op == "<") good = have < want;
    else if (op == "<=") good = have <= want;
    else if (op == "~>") {
      // Everything but the last number that is written stays.
      const size_t written = std::min<size_t>(static_cast<size_t>(std::count(text.begin(), text.end(), '.')) + 1, 3);
      good = have >= want && std::equal(have.begin(), have.begin() + static_cast<ptrdiff_t>(written > 1 ? written - 1 : 0), want.begin());
    }
    if (!good) return false;
  }
  return true;
}

Result<PluginLocation> find_plugin(const std::vector<std::string>& dirs, const std::string& source, const std::string& constraint) {
  const std::string type = source.substr(source.rfind('/') + 1);
  PluginLocation best;
  std::vector<std::string> seen;
  for (const std::string& dir : dirs) {
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(dir + "/" + source, code)) {
      const std::string version = entry.path().filename().string();
      const std::string place = entry.path().string() + "/" + kPlatform;
      std::error_code inner;
      for (const auto& file : std::filesystem::directory_iterator(place, inner)) {
        if (!file.path().filename().string().starts_with("terraform-provider-" + type)) continue;
        seen.push_back(version);
        if (!version_matches(version, constraint)) continue;
        if (best.path.empty() || numbers(version) > numbers(best.version)) best = {std::filesystem::absolute(file.path(), inner).string(), version};
      }
    }
  }
  if (!best.path.empty()) return best;
  const std::string places = dirs.empty() ? "no directory was given to look in" : "looked below " + join(dirs, ", ");
  if (!seen.empty()) return err(not_found_error("provider " + source + ": no version meets \"" + constraint + "\"; there is " + join(seen, ", ") + " (" + places + ")"));
  return err(not_found_error("provider " + source + ": no executable SOURCE/VERSION/" + kPlatform + "/terraform-provider-" + type + "*; " + places));
}

Result<std::unique_ptr<Provider>> start_plugin(const PluginLocation& location, const std::string& source, const EngineOptions& options) {
  // A certificate for this one process: whoever else finds the socket cannot speak to the provider, nor pose as it.
  ENGENHO_ASSIGN(const pki::Authority own, pki::Authority::make("localhost", Clock::real().wall()));
  const std::string certificate = own.certificate().pem();
  ENGENHO_ASSIGN(auto process, PluginProcess::start(location.path, certificate, options.provider_env, options.scratch_dir, options.start_timeout));
  const Handshake& handshake = process->handshake();
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetMaxSendMessageSize(kMaxMessage);
  // A channel for this process alone, with its own certificate.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!handshake.server_cert.empty()) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = handshake.server_cert;
    ssl.pem_cert_chain = certificate;
    ssl.pem_private_key = own.key().pem();
    credentials = grpc::SslCredentials(ssl);
    arguments.SetSslTargetNameOverride("localhost");
  }
  auto channel = grpc::CreateCustomChannel(handshake.target, credentials, arguments);
  const std::string name = source.substr(source.find('/') + 1);
  auto plugin = std::make_unique<Plugin>(std::move(process), std::move(channel), name, location.version, options);
  if (Status s = plugin->load_schema(); !s.ok()) return err(s.with_context("provider " + name));
  return std::unique_ptr<Provider>(std::move(plugin));
}

}  // namespace engenho::magma
