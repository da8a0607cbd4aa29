// CRuby, opened at run time: the newest libruby that is there. Only the few functions that have kept their shape from 3.1 to 3.4 are used.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::ruby {

class Libruby {
 public:
  // Paths of libruby-3.x.so in `directories` (empty: the system's), newest first.
  static std::vector<std::string> find(const std::vector<std::string>& directories);

  Status open(const std::string& path);
  // Starts the interpreter. `stack` is the address of a local variable in a frame that outlives every other call.
  Status start(void* stack, const std::vector<std::string>& load_path);
  // The text of the expression's value; an exception is an error. `request`, when given, is $engenho_request.
  Result<std::string> evaluate(const char* expression, const std::string* request = nullptr);
  // The interpreter's own fork starts a thread in the new process since 3.3, which would stay outside of its sandbox. So: fork(), confine, and after_fork()
  // before anything is evaluated there, which starts what the interpreter wants. -1 when it fails.
  pid_t fork();
  void after_fork();

 private:
  using Value = unsigned long;
  void* library_ = nullptr;
  bool has_syntax_suggest_ = false;
  int (*setup_)() = nullptr;
  void (*sysinit_)(int*, char***) = nullptr;
  void (*init_stack_)(void*) = nullptr;
  void* (*options_)(int, char**) = nullptr;
  int (*executable_)(void*, int*) = nullptr;
  int (*execute_)(void*) = nullptr;
  Value (*eval_)(const char*, int*) = nullptr;
  Value (*new_string_)(const char*, long) = nullptr;
  Value (*set_global_)(const char*, Value) = nullptr;
  char* (*c_string_)(volatile Value*) = nullptr;
  void (*after_fork_)() = nullptr;
  long (*number_)(Value) = nullptr;
  bool fork_starts_thread_ = false;
  Value (*error_)() = nullptr;
  void (*set_error_)(Value) = nullptr;
};

}  // namespace engenho::ruby
