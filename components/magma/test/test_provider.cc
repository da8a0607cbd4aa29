// A provider executable for tests: speaks the plugin protocol in version 5 or 6 and misbehaves on request. Its "cloud" is a directory with
// one file an object; a log has one line for each object made or destroyed.
//
//   TEST_PROVIDER_PROTOCOL  5 or 6 (default 6)
//   TEST_PROVIDER_CLOUD     the directory
//   TEST_PROVIDER_START     "silent": no handshake; "garbage": a wrong one; "die": ends at once; "plain": no TLS although a certificate came
//
// Resource test_thing: name, size (changed in place), zone (forces a new one), secret (sensitive), mode, rule blocks; computed id, serial.
// A provider block with an absolute path as endpoint names the directory, too. Modes: exists (a create finds an object of that name, whose file is
// NAME.json), crash_plan, crash_apply, hang_apply, lie_apply, lie_plan, unknown_apply, fail_create, fail_after_create, fail_delete, slow, leak.
// Data source test_lookup: name -> value.
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/server_credentials.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "builtin.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "engenho/pki/certificate.h"
#include "go_plugin.grpc.pb.h"
#include "tfplugin5.grpc.pb.h"
#include "tfplugin6.grpc.pb.h"

namespace {

using namespace engenho;
using namespace engenho::magma;
namespace pb = tfplugin6;

std::string& configured() {
  static std::string* const dir = new std::string;
  return *dir;
}
std::string cloud() {
  if (!configured().empty()) return configured();
  const char* dir = std::getenv("TEST_PROVIDER_CLOUD");
  return dir != nullptr ? dir : ".";
}
void log_line(const std::string& text) {
  std::ofstream(cloud() + "/log", std::ios::app) << text + "\n" << std::flush;
}

const Block& thing_block() {
  static const Block b = [] {
    NestedBlock rule;
    rule.name = "rule";
    rule.block = std::make_shared<Block>(block({attribute("port", Type::number(), "r"), attribute("note", Type::string(), "oc")}));
    rule.nesting = Nesting::kList;
    return block({attribute("id", Type::string(), "c"), attribute("mode", Type::string(), "o"), attribute("name", Type::string(), "r"), attribute("secret", Type::string(), "os"),
                  attribute("serial", Type::number(), "c"), attribute("size", Type::number(), "o"), attribute("zone", Type::string(), "o")}, {rule});
  }();
  return b;
}
const Block& lookup_block() {
  static const Block b = block({attribute("name", Type::string(), "r"), attribute("value", Type::string(), "c")});
  return b;
}
const Block& config_block() {
  static const Block b = block({attribute("endpoint", Type::string(), "o"), attribute("token", Type::string(), "os")});
  return b;
}

template <typename Pb>
void fill(const Block& from, Pb& to) {
  for (const Attribute& a : from.attributes) {
    auto* out = to.add_attributes();
    out->set_name(a.name);
    out->set_type(json::dump(a.type.to_json()));
    out->set_required(a.required);
    out->set_optional(a.optional);
    out->set_computed(a.computed);
    out->set_sensitive(a.sensitive);
  }
  for (const NestedBlock& b : from.blocks) {
    auto* out = to.add_block_types();
    out->set_type_name(b.name);
    out->set_nesting(std::decay_t<decltype(*out)>::LIST);
    fill(*b.block, *out->mutable_block());
  }
}

template <typename Response>
void schema(Response& out) {
  fill(config_block(), *out.mutable_provider()->mutable_block());
  auto& thing = (*out.mutable_resource_schemas())["test_thing"];
  thing.set_version(1);
  fill(thing_block(), *thing.mutable_block());
  fill(lookup_block(), *(*out.mutable_data_source_schemas())["test_lookup"].mutable_block());
}

Value decode(const pb::DynamicValue& v, const Block& b) {
  auto value = from_msgpack(v.msgpack(), b.type());
  if (!value) {
    std::cerr << "undecodable: " << value.error().message() << std::endl;
    _exit(3);
  }
  return *value;
}
void encode(const Value& v, const Block& b, pb::DynamicValue* out) { out->set_msgpack(to_msgpack(v, b.type())); }

template <typename Response>
void complain(Response& out, const std::string& summary) {
  auto* d = out.add_diagnostics();
  d->set_severity(pb::Diagnostic::ERROR);
  d->set_summary(summary);
}

[[noreturn]] void crash() {
  std::cerr << "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nsecret=hunter2" << std::endl;
  _exit(2);
}

std::string file_of(const Value& v) { return cloud() + "/" + text_of(v, "id") + ".json"; }

void handle(const pb::ConfigureProvider::Request& in, pb::ConfigureProvider::Response& out) {
  const Value config = decode(in.config(), config_block());
  if (text_of(config, "endpoint").starts_with("/")) configured() = text_of(config, "endpoint");
  if (text_of(config, "endpoint") == "unreachable") complain(out, "cannot reach the endpoint with token " + text_of(config, "token"));
}
void handle(const pb::ValidateProviderConfig::Request&, pb::ValidateProviderConfig::Response&) {}
void handle(const pb::ValidateResourceConfig::Request& in, pb::ValidateResourceConfig::Response& out) {
  const Value config = decode(in.config(), thing_block());
  if (text_of(config, "name") == "invalid") {
    complain(out, "name is invalid");
    out.mutable_diagnostics(0)->mutable_attribute()->add_steps()->set_attribute_name("name");
  }
}
void handle(const pb::ValidateDataResourceConfig::Request&, pb::ValidateDataResourceConfig::Response&) {}
void handle(const pb::UpgradeResourceState::Request& in, pb::UpgradeResourceState::Response& out) {
  auto parsed = json::parse(in.raw_state().json());
  // Version 0 called it "title".
  if (in.version() == 0) {
    json::Value title = *parsed->get("title");   // a copy: adding a member moves the others
    (*parsed)["name"] = std::move(title);
    parsed->as_object().erase("title");
  }
  auto value = from_json(*parsed, thing_block().type());
  if (!value) return complain(out, value.error().message());
  encode(*value, thing_block(), out.mutable_upgraded_state());
}
void handle(const pb::ReadResource::Request& in, pb::ReadResource::Response& out) {
  const Value current = decode(in.current_state(), thing_block());
  out.set_private_(in.private_());
  auto text = read_file(file_of(current));
  if (!text) return encode(Value::null(thing_block().type()), thing_block(), out.mutable_new_state());
  auto parsed = json::parse(*text);
  auto value = from_json(*parsed, thing_block().type());
  encode(*value, thing_block(), out.mutable_new_state());
}
void handle(const pb::PlanResourceChange::Request& in, pb::PlanResourceChange::Response& out) {
  const Value prior = decode(in.prior_state(), thing_block());
  Value planned = decode(in.proposed_new_state(), thing_block());
  const std::string mode = text_of(planned, "mode");
  if (mode == "crash_plan") crash();
  if (mode == "lie_plan") planned = planned.with("name", Value::string("something else"));
  // What it decides itself is not known before: terraform proposes null there.
  if (!prior.holds() && planned.holds()) planned = planned.with("id", Value::unknown(Type::string())).with("serial", Value::unknown(Type::number()));
  if (prior.holds() && !planned.equals(prior)) planned = planned.with("serial", Value::unknown(Type::number()));
  if (prior.holds() && !planned.get("zone").equals(prior.get("zone"))) out.add_requires_replace()->add_steps()->set_attribute_name("zone");
  encode(planned, thing_block(), out.mutable_planned_state());
  out.set_planned_private("planned");
}
void handle(const pb::ApplyResourceChange::Request& in, pb::ApplyResourceChange::Response& out) {
  const Block& b = thing_block();
  const Value prior = decode(in.prior_state(), b);
  const Value planned = decode(in.planned_state(), b);
  if (!planned.holds()) {
    if (text_of(prior, "mode") == "fail_delete") {
      complain(out, "cannot be deleted");
      return encode(prior, b, out.mutable_new_state());
    }
    unlink(file_of(prior).c_str());
    log_line("destroy " + text_of(prior, "name"));
    return encode(planned, b, out.mutable_new_state());
  }
  const std::string mode = text_of(planned, "mode");
  if (mode == "exists" && !prior.holds()) return complain(out, "thing " + text_of(planned, "name") + " already exists");
  if (mode == "fail_create") return complain(out, "cannot be created");
  if (mode == "leak") return complain(out, "refused: the secret " + text_of(planned, "secret") + " is too short");
  if (mode == "crash_apply") crash();
  if (mode == "hang_apply") std::this_thread::sleep_for(std::chrono::seconds(3600));
  if (mode == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(20));
  Value state = planned;
  if (!prior.holds()) state = state.with("id", Value::string("thing-" + hex_encode(random_bytes(6))));
  state = state.with("serial", Value::number(static_cast<Number>(int_of(prior, "serial") + 1)));
  state = transform(state, [](const Path&, const Value& v) { return v.is_known() ? v : Value::null(v.type()); });
  (void)write_file_atomic(file_of(state), json::dump(to_json(state, b.type())), 0600);
  log_line((prior.holds() ? "update " : "create ") + text_of(planned, "name"));
  if (mode == "fail_after_create") complain(out, "created, but not healthy");
  if (mode == "lie_apply") state = state.with("size", Value::number(666));
  if (mode == "unknown_apply") state = state.with("serial", Value::unknown(Type::number()));
  encode(state, b, out.mutable_new_state());
  out.set_private_("private");
}
void handle(const pb::ImportResourceState::Request& in, pb::ImportResourceState::Response& out) {
  Value state = empty_value(thing_block()).with("id", Value::string(in.id()));
  auto* one = out.add_imported_resources();
  one->set_type_name("test_thing");
  encode(state, thing_block(), one->mutable_state());
}
void handle(const pb::ReadDataSource::Request& in, pb::ReadDataSource::Response& out) {
  const Value config = decode(in.config(), lookup_block());
  encode(config.with("value", Value::string("value of " + text_of(config, "name"))), lookup_block(), out.mutable_state());
}

// Both versions carry the same bytes.
template <typename Request6, typename Response6, typename Request, typename Response>
grpc::Status bridge(const Request& in, Response* out) {
  Request6 request;
  Response6 response;
  request.ParseFromString(in.SerializeAsString());
  handle(request, response);
  out->ParseFromString(response.SerializeAsString());
  return grpc::Status::OK;
}

#define METHOD(ns, name, message, message6)                                                                            \
  grpc::Status name(grpc::ServerContext*, const ns::message::Request* in, ns::message::Response* out) override {       \
    return bridge<pb::message6::Request, pb::message6::Response>(*in, out);                                            \
  }

class Service5 final : public tfplugin5::Provider::Service {
  grpc::Status GetSchema(grpc::ServerContext*, const tfplugin5::GetProviderSchema::Request*, tfplugin5::GetProviderSchema::Response* out) override {
    schema(*out);
    return grpc::Status::OK;
  }
  grpc::Status PrepareProviderConfig(grpc::ServerContext*, const tfplugin5::PrepareProviderConfig::Request* in, tfplugin5::PrepareProviderConfig::Response* out) override {
    *out->mutable_prepared_config() = in->config();
    return grpc::Status::OK;
  }
  METHOD(tfplugin5, Configure, Configure, ConfigureProvider)
  METHOD(tfplugin5, ValidateResourceTypeConfig, ValidateResourceTypeConfig, ValidateResourceConfig)
  METHOD(tfplugin5, ValidateDataSourceConfig, ValidateDataSourceConfig, ValidateDataResourceConfig)
  METHOD(tfplugin5, UpgradeResourceState, UpgradeResourceState, UpgradeResourceState)
  METHOD(tfplugin5, ReadResource, ReadResource, ReadResource)
  METHOD(tfplugin5, PlanResourceChange, PlanResourceChange, PlanResourceChange)
  METHOD(tfplugin5, ApplyResourceChange, ApplyResourceChange, ApplyResourceChange)
  METHOD(tfplugin5, ImportResourceState, ImportResourceState, ImportResourceState)
  METHOD(tfplugin5, ReadDataSource, ReadDataSource, ReadDataSource)
};

class Service6 final : public tfplugin6::Provider::Service {
  grpc::Status GetProviderSchema(grpc::ServerContext*, const pb::GetProviderSchema::Request*, pb::GetProviderSchema::Response* out) override {
    schema(*out);
    return grpc::Status::OK;
  }
  METHOD(tfplugin6, ValidateProviderConfig, ValidateProviderConfig, ValidateProviderConfig)
  METHOD(tfplugin6, ConfigureProvider, ConfigureProvider, ConfigureProvider)
  METHOD(tfplugin6, ValidateResourceConfig, ValidateResourceConfig, ValidateResourceConfig)
  METHOD(tfplugin6, ValidateDataResourceConfig, ValidateDataResourceConfig, ValidateDataResourceConfig)
  METHOD(tfplugin6, UpgradeResourceState, UpgradeResourceState, UpgradeResourceState)
  METHOD(tfplugin6, ReadResource, ReadResource, ReadResource)
  METHOD(tfplugin6, PlanResourceChange, PlanResourceChange, PlanResourceChange)
  METHOD(tfplugin6, ApplyResourceChange, ApplyResourceChange, ApplyResourceChange)
  METHOD(tfplugin6, ImportResourceState, ImportResourceState, ImportResourceState)
  METHOD(tfplugin6, ReadDataSource, ReadDataSource, ReadDataSource)
};

class Controller final : public plugin::GRPCController::Service {
  grpc::Status Shutdown(grpc::ServerContext*, const plugin::Empty*, plugin::Empty*) override {
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      _exit(0);
    }).detach();
    return grpc::Status::OK;
  }
};

}  // namespace

int main() {
  if (std::getenv("TF_PLUGIN_MAGIC_COOKIE") == nullptr) {
    std::cerr << "this is a plugin, not to be run by hand\n";
    return 1;
  }
  const std::string start = std::getenv("TEST_PROVIDER_START") != nullptr ? std::getenv("TEST_PROVIDER_START") : "";
  if (start == "die") return 7;
  if (start == "silent") std::this_thread::sleep_for(std::chrono::seconds(3600));
  if (start == "garbage") {
    std::cout << "1|9|carrier-pigeon|x|smoke" << std::endl;
    std::this_thread::sleep_for(std::chrono::seconds(3600));
  }
  const bool v5 = std::getenv("TEST_PROVIDER_PROTOCOL") != nullptr && std::string_view(std::getenv("TEST_PROVIDER_PROTOCOL")) == "5";
  const char* const tmp = std::getenv("TMPDIR");
  const std::string socket = std::string(tmp != nullptr ? tmp : "/tmp") + "/plugin-" + hex_encode(random_bytes(6));
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  std::string certificate;
  const char* const client = std::getenv("PLUGIN_CLIENT_CERT");
  if (client != nullptr && start != "plain") {
    auto authority = pki::Authority::make("localhost", Clock::real().wall());
    auto pair = pki::issue_key_pair(*authority, pki::server_template("localhost", {"localhost"}, {}), Clock::real().wall());
    grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    ssl.pem_root_certs = client;
    ssl.pem_key_cert_pairs.push_back({pair->key.pem(), pair->certificate.pem()});
    credentials = grpc::SslServerCredentials(ssl);
    certificate = base64_encode(authority->certificate().der());
    while (certificate.ends_with("=")) certificate.pop_back();
  }
  Service5 five;
  Service6 six;
  Controller controller;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix://" + socket, credentials);
  if (v5) builder.RegisterService(&five);
  else builder.RegisterService(&six);
  builder.RegisterService(&controller);
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::cerr << "{\"@level\":\"info\",\"@message\":\"plugin started\"}" << std::endl;
  std::cout << "1|" << (v5 ? 5 : 6) << "|unix|" << socket << "|grpc|" << certificate << std::endl;
  server->Wait();
  return 0;
}
