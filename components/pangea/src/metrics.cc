#include "metrics.h"

#include "engenho/base/metrics.h"

namespace engenho::pangea::meters {

namespace {
metrics::Registry& registry() { return metrics::Registry::global(); }
double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
}  // namespace

void reconciled(const std::string& controller, const std::string& result) {
  registry().counter("pangea_controller_reconciliations_total", "Reconciliations by controller and result.", {{"controller", controller}, {"result", result}}).add();
  if (controller == "template") registry().counter("pangea_reconciliations_total", "Reconciliations of templates.").add();
  if (controller == "namespace") registry().counter("pangea_namespace_reconciliations_total", "Reconciliations of namespaces.").add();
}
void skipped(const std::string& controller, const std::string& source, const std::string& target) {
  registry().counter("pangea_policy_skipped_total", "Reconciliations that the OperatorPolicy kept from running.",
                     {{"controller", controller}, {"source", source}, {"target", target}}).add();
}
void phase_lasted(const std::string& phase, Duration elapsed) {
  registry().histogram("pangea_reconciliation_duration_seconds", "Time of one phase of a template.", {.1, .5, 1, 5, 10, 30, 60, 120, 300}, {{"phase", phase}}).observe(seconds(elapsed));
}
void compiled(Duration elapsed, bool good, const std::string& ns, const std::string& name) {
  registry().histogram("pangea_compilation_duration_seconds", "Time to render a template.", {.01, .025, .1, .5, 1, 2, 5, 10, 30}).observe(seconds(elapsed));
  if (!good) registry().counter("pangea_compile_failures_total", "Renderings that failed.", {{"namespace", ns}, {"name", name}}).add();
}
void operation(const std::string& executor, const std::string& operation, bool good) {
  registry().counter("pangea_tofu_operations_total", "Runs of an executor.", {{"executor", executor}, {"operation", operation}, {"result", good ? "ok" : "error"}}).add();
}
void decided(const std::string& ns, const std::string& name, const std::string& decision) {
  registry().counter("pangea_policy_decisions_total", "Decisions about whole plans.", {{"namespace", ns}, {"template", name}, {"decision", decision}}).add();
}
void drift(const std::string& ns, const std::string& name, int cycles, bool settled, size_t stuck) {
  const metrics::Labels labels{{"namespace", ns}, {"template", name}};
  registry().gauge("pangea_consecutive_drift_cycles", "Cycles in a row that found drift.", labels).set(cycles);
  registry().gauge("pangea_settled", "1 when the last cycle found nothing to do.", labels).set(settled ? 1 : 0);
  registry().gauge("pangea_stuck_resources", "Resources that drift again and again.", labels).set(static_cast<double>(stuck));
}
void drift_found() { registry().counter("pangea_drift_detected_total", "Cycles that found drift.").add(); }
void drift_detail(const std::string& ns, const std::string& name, const std::string& action, const std::string& risk, int count) {
  registry().gauge("pangea_template_drift_detail", "Changes of the newest plan.", {{"namespace", ns}, {"template", name}, {"action", action}, {"risk", risk}}).set(count);
}
void compile_failures_in_a_row(const std::string& ns, const std::string& name, int count) {
  registry().gauge("pangea_template_consecutive_compile_failures", "Renderings that failed in a row.", {{"namespace", ns}, {"name", name}}).set(count);
}
namespace {
metrics::Gauge& active() { return registry().gauge("pangea_active_reconciliations", "Templates that are being worked on."); }
}  // namespace
Active::Active() { active().add(1); }
Active::~Active() { active().add(-1); }
void settling_failed(const std::string& ns, const std::string& name, const std::string& reason) {
  registry().counter("pangea_settling_failures_total", "Templates that would not settle.", {{"namespace", ns}, {"template", name}, {"reason", reason}}).add();
}
void freshness_unknown() { registry().counter("pangea_source_freshness_check_failures_total", "Looks at a repository that failed.").add(); }
void failed(const std::string& error_type) { registry().counter("pangea_reconciliation_errors_total", "Failed reconciliations by kind.", {{"error_type", error_type}}).add(); }
void resources(const std::string& ns, const std::string& name, int count) {
  registry().gauge("pangea_managed_resources_total", "Resources in a template's state.", {{"namespace", ns}, {"template", name}}).set(count);
}
void applied(size_t done, size_t failed) {
  registry().counter("pangea_magma_resources_applied_total", "Resources whose change was carried out.").add(done);
  registry().counter("pangea_magma_resources_failed_total", "Resources whose change failed.").add(failed);
}
void templates_in(const std::string& phase, double count) { registry().gauge("pangea_templates_by_phase", "Templates in a phase.", {{"phase", phase}}).set(count); }

}  // namespace engenho::pangea::meters
