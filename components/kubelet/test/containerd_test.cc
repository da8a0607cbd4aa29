// With a real containerd, where there is one and we are root: start, images, adoption, reset.
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include "containerd.h"
#include "engenho/base/fs.h"
#include "engenho/base/process.h"
#include "engenho/base/random.h"
#include "engenho/kubelet/kubelet.h"
#include "engenho/testing/catch.h"
#include "pause_image.h"
#include "runtime_config.h"

namespace engenho::kubelet {

TEST_CASE("containerd: started, adopted, and gone after reset") {
  if (geteuid() != 0 || !run_process({.argv = {"containerd", "--version"}}, std::chrono::seconds(10))) {
    WARN("skipped: needs root and containerd");
    return;
  }
  char name[] = "/tmp/engenho-containerd-XXXXXX";
  const std::string data = mkdtemp(name);
  const std::string cni = data + "/agent/cni";
  REQUIRE(make_dirs(cni + "/bin").ok());
  REQUIRE(make_dirs(cni + "/conf").ok());
  Pod pod;
  pod.metadata.name = "p";
  pod.metadata.namespace_ = "ns";
  pod.metadata.uid = random_uuid();
  pod.spec.host_network = true;   // no network plugin needed
  NodeFacts facts;
  facts.logs_dir = data + "/agent/pod-logs";
  std::string sandbox;
  {
    Containerd containerd(data, cni + "/bin", cni + "/conf");
    TaskGroup group("test");   // ends first, also when a check fails: its tasks use the object above
    const Status started = containerd.start(group);
    INFO(started.to_string());
    REQUIRE(started.ok());
    const Status imported = containerd.import_images();
    INFO(imported.to_string());
    REQUIRE(imported.ok());
    Cri cri(containerd.socket());
    auto image = cri.image_status(kPauseImage);
    REQUIRE(image);
    CHECK_FALSE(image->id().empty());
    CHECK(cri.image_status("nothing.example/at/all:1")->id().empty());
    REQUIRE(make_dirs(pod_log_dir(facts, pod)).ok());
    auto id = cri.run_sandbox(sandbox_config(facts, pod, 0));
    INFO((id ? "" : id.error().message()));
    REQUIRE(id);
    sandbox = *id;
    group.stop();   // as when engenho ends: containerd and the pod go on
  }
  {
    Containerd containerd(data, cni + "/bin", cni + "/conf");
    TaskGroup group("test");   // ends first, also when a check fails: its tasks use the object above
    REQUIRE(containerd.start(group).ok());
    Cri cri(containerd.socket());
    auto list = cri.list_sandboxes(pod.metadata.uid);
    REQUIRE(list);
    REQUIRE(list->size() == 1);
    CHECK(list->front().id() == sandbox);
    CHECK(list->front().state() == rt::SANDBOX_READY);
    group.stop();
  }
  const Status gone = reset(data);
  INFO(gone.to_string());
  CHECK(gone.ok());
  CHECK_FALSE(path_exists(data + "/agent/containerd"));
  CHECK(mounts_below(data).empty());
  std::filesystem::remove_all(data);
}

}  // namespace engenho::kubelet
