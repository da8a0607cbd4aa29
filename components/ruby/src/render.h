// What `render` and `test` have in common: a request made of flags and variables.
#pragma once

#include <string>

#include "engenho/base/json.h"
#include "engenho/ruby/evaluator.h"

namespace engenho::ruby {

struct RenderArguments {
  EvaluatorOptions options;
  CompileRequest request;
  json::Object from_files, given;  // --var-file and --var

  static bool takes(const std::string& flag);
  Status take(const std::string& flag, const std::string& value);
  Status source(const std::string& file);  // a file, "-", or an architecture's name; call it after all flags
  Evaluated<CompileResult> render() const;
};

}  // namespace engenho::ruby
