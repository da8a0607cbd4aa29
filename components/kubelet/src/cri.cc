#include "cri.h"

#include <grpcpp/grpcpp.h>

#include <map>
#include <mutex>

#include "cri_v1.grpc.pb.h"

namespace engenho::kubelet {

struct Cri::Impl {
  std::unique_ptr<rt::RuntimeService::Stub> runtime;
  std::unique_ptr<rt::ImageService::Stub> images;
  std::mutex mutex;                                   // guards what follows
  std::multimap<std::string, grpc::ClientContext*> active;   // by what they are for: a pod's UID for pulls, else empty
  bool cancelled = false;
};

namespace {

using std::chrono::minutes;
using std::chrono::seconds;

Status status_of(const grpc::Status& s, const char* what) {
  if (s.ok()) return {};
  const std::string text = std::string(what) + ": " + s.error_message();
  switch (s.error_code()) {
    case grpc::StatusCode::NOT_FOUND: return not_found_error(text);
    case grpc::StatusCode::DEADLINE_EXCEEDED: return timeout_error(text);
    case grpc::StatusCode::UNAVAILABLE: return unavailable(text);
    default: return internal_error(text);
  }
}

// A call that can be cancelled while it is under way.
template <typename Impl>
class Active {
 public:
  Active(Impl& impl, std::string key, grpc::ClientContext& context) : impl_(impl) {
    std::lock_guard lock(impl_.mutex);
    if (impl_.cancelled) context.TryCancel();
    at_ = impl_.active.emplace(std::move(key), &context);
  }
  ~Active() {
    std::lock_guard lock(impl_.mutex);
    impl_.active.erase(at_);
  }

 private:
  Impl& impl_;
  std::multimap<std::string, grpc::ClientContext*>::iterator at_;
};

template <typename Stub, typename Request, typename Response, typename Impl>
Result<Response> call(Impl& impl, const std::string& key, Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
                      Duration timeout, const char* what) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
  const Active<Impl> active(impl, key, context);
  Response response;
  if (Status s = status_of((stub.*method)(&context, request, &response), what); !s.ok()) return err(s);
  return response;
}

}  // namespace

#define RUNTIME(name, request, timeout) \
  call<rt::RuntimeService::Stub, rt::name##Request, rt::name##Response>(*impl_, "", *impl_->runtime, &rt::RuntimeService::Stub::name, request, timeout, #name)
#define IMAGES(name, request, timeout) IMAGES_FOR("", name, request, timeout)
#define IMAGES_FOR(key, name, request, timeout) \
  call<rt::ImageService::Stub, rt::name##Request, rt::name##Response>(*impl_, key, *impl_->images, &rt::ImageService::Stub::name, request, timeout, #name)

Cri::Cri(const std::string& endpoint) : impl_(std::make_unique<Impl>()) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(16 << 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // The authority would be the socket's path, which Go's HTTP/2 refuses.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  auto channel = grpc::CreateCustomChannel(endpoint.starts_with("/") ? "unix://" + endpoint : endpoint, grpc::InsecureChannelCredentials(), arguments);
  impl_->runtime = rt::RuntimeService::NewStub(channel);
  impl_->images = rt::ImageService::NewStub(channel);
}
Cri::~Cri() = default;

void Cri::cancel_pulls(const std::string& pod_uid) {
  std::lock_guard lock(impl_->mutex);
  auto [a, b] = impl_->active.equal_range(pod_uid);
  for (auto it = a; it != b; ++it) it->second->TryCancel();
}
bool Cri::cancelled() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->cancelled;
}
void Cri::cancel_all() {
  std::lock_guard lock(impl_->mutex);
  impl_->cancelled = true;
  for (auto& [key, context] : impl_->active) context->TryCancel();
}

Result<rt::VersionResponse> Cri::version() { return RUNTIME(Version, rt::VersionRequest(), seconds(3)); }
Result<rt::StatusResponse> Cri::status() { return RUNTIME(Status, rt::StatusRequest(), seconds(10)); }

Result<std::vector<rt::PodSandbox>> Cri::list_sandboxes(const std::string& pod_uid) {
  rt::ListPodSandboxRequest request;
  if (!pod_uid.empty()) (*request.mutable_filter()->mutable_label_selector())[kLabelPodUid] = pod_uid;
  ENGENHO_ASSIGN(auto response, RUNTIME(ListPodSandbox, request, minutes(1)));
  return std::vector<rt::PodSandbox>(response.items().begin(), response.items().end());
}
Result<rt::PodSandboxStatus> Cri::sandbox_status(const std::string& id) {
  rt::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(id);
  ENGENHO_ASSIGN(auto response, RUNTIME(PodSandboxStatus, request, minutes(1)));
  return response.status();
}
Result<std::string> Cri::run_sandbox(const rt::PodSandboxConfig& config) {
  rt::RunPodSandboxRequest request;
  *request.mutable_config() = config;
  ENGENHO_ASSIGN(auto response, RUNTIME(RunPodSandbox, request, minutes(4)));
  return response.pod_sandbox_id();
}
Status Cri::stop_sandbox(const std::string& id) {
  rt::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  auto r = RUNTIME(StopPodSandbox, request, minutes(2));
  return r || r.error().not_found() ? Status() : r.error();
}
Status Cri::remove_sandbox(const std::string& id) {
  rt::RemovePodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  auto r = RUNTIME(RemovePodSandbox, request, minutes(2));
  return r || r.error().not_found() ? Status() : r.error();
}
Result<std::vector<rt::Container>> Cri::list_containers(const std::string& pod_uid) {
  rt::ListContainersRequest request;
  if (!pod_uid.empty()) (*request.mutable_filter()->mutable_label_selector())[kLabelPodUid] = pod_uid;
  ENGENHO_ASSIGN(auto response, RUNTIME(ListContainers, request, minutes(1)));
  return std::vector<rt::Container>(response.containers().begin(), response.containers().end());
}
Result<rt::ContainerStatus> Cri::container_status(const std::string& id) {
  rt::ContainerStatusRequest request;
  request.set_container_id(id);
  ENGENHO_ASSIGN(auto response, RUNTIME(ContainerStatus, request, minutes(1)));
  return response.status();
}
Result<std::string> Cri::create_container(const std::string& sandbox, const rt::ContainerConfig& config, const rt::PodSandboxConfig& sandbox_config) {
  rt::CreateContainerRequest request;
  request.set_pod_sandbox_id(sandbox);
  *request.mutable_config() = config;
  *request.mutable_sandbox_config() = sandbox_config;
  ENGENHO_ASSIGN(auto response, RUNTIME(CreateContainer, request, minutes(2)));
  return response.container_id();
}
Status Cri::start_container(const std::string& id) {
  rt::StartContainerRequest request;
  request.set_container_id(id);
  auto r = RUNTIME(StartContainer, request, minutes(2));
  return r ? Status() : r.error();
}
Status Cri::stop_container(const std::string& id, int64_t grace_seconds) {
  rt::StopContainerRequest request;
  request.set_container_id(id);
  request.set_timeout(grace_seconds);
  auto r = RUNTIME(StopContainer, request, seconds(grace_seconds) + minutes(2));
  return r || r.error().not_found() ? Status() : r.error();
}
Status Cri::remove_container(const std::string& id) {
  rt::RemoveContainerRequest request;
  request.set_container_id(id);
  auto r = RUNTIME(RemoveContainer, request, minutes(2));
  return r || r.error().not_found() ? Status() : r.error();
}
Status Cri::reopen_log(const std::string& id) {
  rt::ReopenContainerLogRequest request;
  request.set_container_id(id);
  auto r = RUNTIME(ReopenContainerLog, request, seconds(30));
  return r ? Status() : r.error();
}
Result<rt::Image> Cri::image_status(const std::string& image) {
  rt::ImageStatusRequest request;
  request.mutable_image()->set_image(image);
  ENGENHO_ASSIGN(auto response, IMAGES(ImageStatus, request, minutes(1)));
  return response.image();
}
Result<std::string> Cri::pull_image(const std::string& image, const rt::AuthConfig* auth, const rt::PodSandboxConfig& sandbox) {
  rt::PullImageRequest request;
  request.mutable_image()->set_image(image);
  if (auth != nullptr) *request.mutable_auth() = *auth;
  *request.mutable_sandbox_config() = sandbox;
  ENGENHO_ASSIGN(auto response, IMAGES_FOR(sandbox.metadata().uid(), PullImage, request, minutes(30)));
  return response.image_ref();
}
Result<std::vector<rt::Image>> Cri::list_images() {
  ENGENHO_ASSIGN(auto response, IMAGES(ListImages, rt::ListImagesRequest(), minutes(1)));
  return std::vector<rt::Image>(response.images().begin(), response.images().end());
}
Result<rt::ExecSyncResponse> Cri::exec_sync(const std::string& id, const std::vector<std::string>& command, int64_t timeout_seconds) {
  rt::ExecSyncRequest request;
  request.set_container_id(id);
  for (const std::string& c : command) request.add_cmd(c);
  request.set_timeout(timeout_seconds);
  return RUNTIME(ExecSync, request, timeout_seconds > 0 ? Duration(seconds(timeout_seconds + 5)) : Duration(std::chrono::hours(1)));
}
Result<std::string> Cri::exec_url(const rt::ExecRequest& request) {
  ENGENHO_ASSIGN(auto response, RUNTIME(Exec, request, minutes(1)));
  return response.url();
}
Result<std::string> Cri::attach_url(const rt::AttachRequest& request) {
  ENGENHO_ASSIGN(auto response, RUNTIME(Attach, request, minutes(1)));
  return response.url();
}
Result<std::string> Cri::port_forward_url(const rt::PortForwardRequest& request) {
  ENGENHO_ASSIGN(auto response, RUNTIME(PortForward, request, minutes(1)));
  return response.url();
}

}  // namespace engenho::kubelet
