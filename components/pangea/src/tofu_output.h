// What `terraform plan -json` and `apply -json` say, line by line.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engenho/pangea/executor.h"
#include "redactor.h"

namespace engenho::pangea {

class TofuOutput {
 public:
  TofuOutput(const Redactor& redactor, const Run& run) : redactor_(redactor), run_(run) {}
  void line(std::string_view text);

  struct Diagnostic {
    bool error = false;
    std::string address, text;
  };
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  std::vector<std::string> errors() const;
  std::vector<std::string> warnings() const;
  bool begun() const { return begun_; }  // something was begun outside
  // The fate of each change. `good`: the program ended well.
  std::vector<Outcome> outcomes(const PlanModel& model, bool good) const;

 private:
  struct Fate {
    WallTime started{};
    std::map<std::string, int> begun, done, failed;  // by action
    Duration elapsed{0};
    std::string message;
  };
  const Redactor& redactor_;
  const Run& run_;
  bool begun_ = false;
  std::map<std::string, Fate> fates_;
  std::vector<Diagnostic> diagnostics_;
  std::string other_;  // lines that are no JSON
};

// Without the frame that terraform draws around errors, redacted.
std::string plain_error(std::string_view text, const Redactor& redactor);

}  // namespace engenho::pangea
