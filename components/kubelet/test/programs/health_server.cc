// health_server PORT: a gRPC server with gRPC's own health service, for the end-to-end tests of probes. The server as a whole serves unless
// /tmp/unready exists, the service "live" unless /tmp/dead does.
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: health_server PORT\n");
    return 2;
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(std::string("0.0.0.0:") + argv[1], grpc::InsecureServerCredentials());
  // With no service beside its own the library does not start.
  grpc::CallbackGenericService others;
  builder.RegisterCallbackGenericService(&others);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  auto* health = server->GetHealthCheckService();
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  for (;;) {
    health->SetServingStatus("", ::access("/tmp/unready", F_OK) != 0);
    health->SetServingStatus("live", ::access("/tmp/dead", F_OK) != 0);
    const timespec pause{0, 100'000'000};
    if (sigtimedwait(&ends, nullptr, &pause) > 0) return 0;
  }
}
