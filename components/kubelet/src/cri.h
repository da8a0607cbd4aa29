// The CRI calls that the kubelet makes, as blocking functions. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cri_v1.pb.h"
#include "engenho/base/clock.h"
#include "engenho/base/status.h"

namespace engenho::kubelet {

namespace rt = runtime::v1;

// Labels by which pods and containers are found again; the names are upstream's, so that crictl shows them.
inline constexpr const char* kLabelPodName = "io.kubernetes.pod.name";
inline constexpr const char* kLabelPodNamespace = "io.kubernetes.pod.namespace";
inline constexpr const char* kLabelPodUid = "io.kubernetes.pod.uid";
inline constexpr const char* kLabelContainerName = "io.kubernetes.container.name";
inline constexpr const char* kAnnotationHash = "io.kubernetes.container.hash";
inline constexpr const char* kAnnotationRestarts = "io.kubernetes.container.restartCount";
inline constexpr const char* kAnnotationMessagePath = "io.kubernetes.container.terminationMessagePath";
inline constexpr const char* kAnnotationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy";
inline constexpr const char* kAnnotationGrace = "io.kubernetes.pod.terminationGracePeriod";

class Cri {
 public:
  explicit Cri(const std::string& endpoint);  // a socket path or unix:// URL
  ~Cri();

  Result<rt::VersionResponse> version();
  Result<rt::StatusResponse> status();
  Result<std::vector<rt::PodSandbox>> list_sandboxes(const std::string& pod_uid = "");
  Result<rt::PodSandboxStatus> sandbox_status(const std::string& id);
  Result<std::string> run_sandbox(const rt::PodSandboxConfig& config);
  Status stop_sandbox(const std::string& id);
  Status remove_sandbox(const std::string& id);
  Result<std::vector<rt::Container>> list_containers(const std::string& pod_uid = "");
  Result<rt::ContainerStatus> container_status(const std::string& id);
  Result<std::string> create_container(const std::string& sandbox, const rt::ContainerConfig& config, const rt::PodSandboxConfig& sandbox_config);
  Status start_container(const std::string& id);
  Status stop_container(const std::string& id, int64_t grace_seconds);
  Status remove_container(const std::string& id);
  Status reopen_log(const std::string& id);
  // Empty id: the image is not there.
  Result<rt::Image> image_status(const std::string& image);
  Result<std::string> pull_image(const std::string& image, const rt::AuthConfig* auth, const rt::PodSandboxConfig& sandbox);
  Result<std::vector<rt::Image>> list_images();
  Result<rt::ExecSyncResponse> exec_sync(const std::string& id, const std::vector<std::string>& command, int64_t timeout_seconds);
  // Ends the pulls under way for a pod; ends every call, now and from now on (for stop()).
  void cancel_pulls(const std::string& pod_uid);
  void cancel_all();
  bool cancelled() const;   // errors say nothing about the runtime then
  // URLs of the runtime's streaming server.
  Result<std::string> exec_url(const rt::ExecRequest& request);
  Result<std::string> attach_url(const rt::AttachRequest& request);
  Result<std::string> port_forward_url(const rt::PortForwardRequest& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::kubelet
