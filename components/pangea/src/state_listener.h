// Serves a state to a child process on a loopback port, for the time of a run. Whoever has the password may use it.
#pragma once

#include <memory>
#include <string>

#include "engenho/http/server.h"
#include "engenho/pangea/http_state.h"

namespace engenho::pangea {

class StateListener {
 public:
  // `port`: taken when it is free, else another; 0: any.
  static Result<std::unique_ptr<StateListener>> start(magma::StateStore& state, uint16_t port, std::string password);
  ~StateListener();
  uint16_t port() const;
  std::string url() const;              // http://127.0.0.1:PORT/state
  const std::string& password() const;  // of user "pangea"

 private:
  struct Impl;
  explicit StateListener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::pangea
