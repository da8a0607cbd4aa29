// A provider as the engine sees it: a plugin process or built in. Thread-safe: calls for different instances run at once.
// Values that go in and out carry no marks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "schema.h"

namespace engenho::magma {

struct Diagnostic {
  bool error = true;
  std::string summary, detail;
  Path path;
};
using Diagnostics = std::vector<Diagnostic>;
bool has_errors(const Diagnostics& diagnostics);
// One line a diagnostic, errors only; for a Status.
std::string error_text(const Diagnostics& diagnostics);
Diagnostic error_diagnostic(std::string summary, std::string detail = "", Path path = {});

struct ReadResult {
  Value state;                 // null: it is gone
  std::string private_data;
};
struct PlanResult {
  Value planned;
  std::vector<Path> requires_replace;
  std::string private_data;
  bool legacy_types = false;   // the provider may plan and return what the rules forbid
};
struct ApplyOutcome {
  Value state;                 // null: it is gone; set even with errors when something exists
  std::string private_data;
  bool legacy_types = false;
  bool answered = true;        // false: the call broke off, and what it did is not known
};
struct Imported {
  std::string type;
  Value state;
  std::string private_data;
};

class Provider {
 public:
  virtual ~Provider() = default;
  virtual const ProviderSchema& schema() const = 0;
  // Diagnostics are appended; a result is meaningful only without errors among them, save where said otherwise.
  virtual Value validate_config(const Value& config, Diagnostics& d) = 0;   // with defaults filled in
  virtual void configure(const Value& config, Diagnostics& d) = 0;
  virtual void validate_resource(const std::string& type, bool data, const Value& config, Diagnostics& d) = 0;
  virtual Value upgrade(const std::string& type, int64_t version, const json::Value& attributes, Diagnostics& d) = 0;
  virtual ReadResult read(const std::string& type, const Value& current, const std::string& private_data, Diagnostics& d) = 0;
  virtual PlanResult plan(const std::string& type, const Value& prior, const Value& proposed, const Value& config, const std::string& prior_private, Diagnostics& d) = 0;
  virtual ApplyOutcome apply(const std::string& type, const Value& prior, const Value& planned, const Value& config, const std::string& planned_private, Diagnostics& d) = 0;
  virtual std::vector<Imported> import(const std::string& type, const std::string& id, Diagnostics& d) = 0;
  virtual Value read_data(const std::string& type, const Value& config, Diagnostics& d) = 0;
  virtual void stop() {}       // asks calls that are under way to end soon
  // Whether an apply that was cut short can be repeated without harm: true for what touches nothing outside the state.
  virtual bool repeatable() const { return false; }
  virtual std::string version() const = 0;
};

}  // namespace engenho::magma
