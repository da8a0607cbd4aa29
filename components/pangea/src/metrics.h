// The operator's metrics, under the names that dashboards of the upstream operator know.
#pragma once

#include <string>

#include "engenho/base/clock.h"

namespace engenho::pangea::meters {

void reconciled(const std::string& controller, const std::string& result);            // ok, error, skip
void skipped(const std::string& controller, const std::string& source, const std::string& target);
void phase_lasted(const std::string& phase, Duration elapsed);
void compiled(Duration elapsed, bool good, const std::string& ns, const std::string& name);
void operation(const std::string& executor, const std::string& operation, bool good);  // plan, apply, destroy, import
void decided(const std::string& ns, const std::string& name, const std::string& decision);
void drift(const std::string& ns, const std::string& name, int cycles, bool settled, size_t stuck);
void drift_found();
void drift_detail(const std::string& ns, const std::string& name, const std::string& action, const std::string& risk, int count);
void compile_failures_in_a_row(const std::string& ns, const std::string& name, int count);
// Counts the templates that are being worked on, as long as it lives.
class Active {
 public:
  Active();
  ~Active();
  Active(const Active&) = delete;
  Active& operator=(const Active&) = delete;
};
void settling_failed(const std::string& ns, const std::string& name, const std::string& reason);
void freshness_unknown();
void failed(const std::string& error_type);
void resources(const std::string& ns, const std::string& name, int count);
void applied(size_t done, size_t failed);
// How many templates are in a phase.
void templates_in(const std::string& phase, double count);

}  // namespace engenho::pangea::meters
