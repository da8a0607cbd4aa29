// What the stages of a template leave for the next, on this machine: the rendered configuration and the saved plan, by the template's uid. They hold
// secrets: directory 0700, files 0600. Losing them costs a render and a plan, nothing else; each is named by the digest of what it was made from.
#pragma once

#include <optional>
#include <string>

#include "engenho/base/status.h"

namespace engenho::pangea {

class Artifacts {
 public:
  explicit Artifacts(std::string root) : root_(std::move(root)) {}

  // The working directory of a template's executor; made when it is not there.
  Result<std::string> workspace(const std::string& uid) const;
  // Replaces the one of that kind ("config", "plan").
  Status put(const std::string& uid, const std::string& kind, const std::string& digest, std::string_view content) const;
  // Nothing unless it is that of `digest` and whole.
  std::optional<std::string> get(const std::string& uid, const std::string& kind, const std::string& digest) const;
  void drop(const std::string& uid, const std::string& kind) const;
  void remove(const std::string& uid) const;   // all of a template
  // Where a template's state lives with the backend `local`.
  Result<std::string> local_state(const std::string& pangea_namespace, const std::string& ns, const std::string& name) const;

 private:
  std::string path(const std::string& uid, const std::string& kind) const { return root_ + "/templates/" + uid + "/" + kind; }
  std::string root_;
};

}  // namespace engenho::pangea
