// The gRPC health check (grpc.health.v1), with its two one-field messages written by hand: HealthCheckRequest{service = 1},
// HealthCheckResponse{status = 1}, where 1 is SERVING.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include "probes.h"

namespace engenho::kubelet {

Status run_grpc_health(const std::string& address, const std::string& service, Duration timeout) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);   // a connection of its own: nothing of an earlier failure
  grpc::GenericStub stub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  std::string request;
  if (!service.empty()) {
    if (service.size() > 127) return bad_request("service name is too long");
    request = std::string("\x0a") + static_cast<char>(service.size()) + service;
  }
  grpc::Slice slice(request);
  const grpc::ByteBuffer body(&slice, 1);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", body, &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);   // ends at the deadline at the latest
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  if (!status.ok()) {
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return timeout_error("timeout: failed to connect service \"" + address + "\" in time");
    return internal_error("service \"" + address + "\": " + status.error_message());
  }
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (answer.Dump(&slices).ok()) {
    for (const auto& s : slices) bytes.append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  const bool serving = bytes.size() >= 2 && bytes[0] == 0x08 && bytes[1] == 1;
  return serving ? Status() : internal_error("service unhealthy (responded with \"" + std::string(bytes.size() >= 2 && bytes[1] == 2 ? "NOT_SERVING" : "UNKNOWN") + "\")");
}

}  // namespace engenho::kubelet
