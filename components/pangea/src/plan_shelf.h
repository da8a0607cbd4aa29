// Plans that somebody should look at: the redacted document, one a template, as a Secret in pangea-system. The newest replaces the one before.
#pragma once

#include <string>

#include "engenho/base/json.h"
#include "engenho/client/client.h"

namespace engenho::pangea {

class PlanShelf {
 public:
  explicit PlanShelf(client::Client& client) : client_(client) {}
  Status put(const std::string& uid, const std::string& hash, const json::Value& shown);
  Result<json::Value> get(const std::string& uid);   // {"planHash", "plan"}
  void remove(const std::string& uid);

 private:
  client::Client& client_;
};

}  // namespace engenho::pangea
