// The implementations behind make_executor().
#pragma once

#include <memory>
#include <string>

#include "engenho/pangea/executor.h"

namespace engenho::pangea {

Result<std::unique_ptr<Executor>> make_magma_executor(const ExecutorOptions& options);
// `name`: "tofu" or "terraform", the name that was asked for.
Result<std::unique_ptr<Executor>> make_tofu_executor(const std::string& name, const ExecutorOptions& options);

}  // namespace engenho::pangea
