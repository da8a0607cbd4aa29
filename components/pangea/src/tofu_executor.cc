#include "executors.h"

namespace engenho::pangea {

Result<std::unique_ptr<Executor>> make_tofu_executor(const std::string& name, const ExecutorOptions&) {
  return err(failure_status(FailureKind::kProviderUnavailable, "the executor " + name + " is not available in this build"));
}

}  // namespace engenho::pangea
