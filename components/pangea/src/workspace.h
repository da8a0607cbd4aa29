// What both executors make of a workspace before a run, and the run's own limits.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engenho/pangea/executor.h"
#include "redactor.h"

namespace engenho::pangea {

struct Prepared {
  json::Value config;                    // with the provider blocks
  json::Object variables;                // those that are declared
  std::vector<std::string> environment;  // the whole of a child's: "NAME=value"
  Redactor redactor;
};
// Errors: BadRequest that names what is wrong: a file's name, a variable of the environment, a backend.
Result<Prepared> prepare(const Workspace& workspace);

// The directory for one run: there, mode 0700, nobody else's, with the secret files in it, which go at the end.
class RunDirectory {
 public:
  static Result<std::unique_ptr<RunDirectory>> enter(const Workspace& workspace);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  const std::string& path() const { return path_; }
  // A file that goes with the run, mode 0600.
  Status write(const std::string& name, std::string_view content);

 private:
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
  int lock_ = -1;
  std::vector<std::string> written_;
};

// Stops when the run's token stops or its time is over.
class Limit {
 public:
  explicit Limit(const Run& run);
  ~Limit();
  StopToken token() const { return token_; }
  bool late() const { return late_; }
  // What ended the work, if this did; else `status`.
  Status explain(const Status& status) const;

 private:
  const Run& run_;
  StopToken token_;
  std::atomic<bool> late_{false};
  uint64_t chained_ = 0;
  TaskGroup group_{"pangea-limit"};
};

// The first of the errors that is of a known kind.
Failure classify_all(const std::vector<std::string>& errors);

}  // namespace engenho::pangea
