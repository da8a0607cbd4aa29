#include "gate.h"

#include <atomic>

namespace engenho::pangea {

namespace {

const pangea_v1::SuspendState* state_of(const std::map<std::string, pangea_v1::SuspendState>& states, const std::string& name) {
  auto it = name.empty() ? states.end() : states.find(name);
  return it == states.end() || it->second.state == "inherit" ? nullptr : &it->second;
}

std::optional<bool> controller_state(const pangea_v1::OperatorPolicySpecControllerSuspend& c, const std::string& controller) {
  if (controller == "template") return c.template_;
  if (controller == "namespace") return c.namespace_;
  if (controller == "workspaceCatalog") return c.workspace_catalog;
  return c.architecture_gem;
}

}  // namespace

Gate gate(const pangea_v1::OperatorPolicy* policy, const std::string& controller, const std::string& name, const std::string& catalog) {
  if (policy == nullptr) return {};
  const auto& spec = policy->spec;
  if (spec.workspace_suspend) {
    if (controller == "template") {
      if (const auto* s = state_of(spec.workspace_suspend->templates, name)) return {s->state == "active", "template", s->reason};
    }
    if (const auto* s = state_of(spec.workspace_suspend->catalogs, catalog)) return {s->state == "active", "catalog", s->reason};
  }
  if (spec.controller_suspend) {
    // false says as much as true: a carve-out from globalSuspend.
    if (auto paused = controller_state(*spec.controller_suspend, controller)) return {!*paused, "controller", ""};
  }
  if (spec.global_suspend) return {false, "global", spec.global_suspend_reason};
  return {};
}

namespace {
std::atomic<int64_t> skipped{0};
}  // namespace
int64_t skips() { return skipped; }

bool may_run(Environment& e, const std::string& controller, const std::string& name, const std::string& catalog) {
  const auto policy = e.informers.get<pangea_v1::OperatorPolicy>().get("", "default");
  const Gate g = gate(policy.get(), controller, name, catalog);
  if (!g.run) {
    ++skipped;
    meters::skipped(controller, g.source, name);
    meters::reconciled(controller, "skip");
  }
  return g.run;
}

}  // namespace engenho::pangea
