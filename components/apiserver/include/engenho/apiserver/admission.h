// Admission: what may change or refuse a write after authorization and before it is stored. Plugins run in the order in which
// they were added; all mutating ones first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/apiserver/user.h"
#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::apiserver {

enum class Operation { kCreate, kUpdate, kDelete, kConnect };

struct AdmissionRequest {
  Operation operation = Operation::kCreate;
  std::string_view group, version, resource, kind, subresource;  // of the object as it is stored
  std::string_view namespace_name, name;                         // name may be empty when it is generated
  json::Value* object = nullptr;       // kDelete: null
  const json::Value* old_object = nullptr;  // kUpdate, kDelete
  const UserInfo* user = nullptr;
  bool dry_run = false;
  std::vector<std::string>* warnings = nullptr;

  bool is(std::string_view g, std::string_view r) const { return group == g && resource == r; }
};

class AdmissionPlugin {
 public:
  virtual ~AdmissionPlugin() = default;
  virtual std::string_view name() const = 0;
  // May change request.object. Error: Forbidden, as a rule (schema::forbidden).
  virtual Status mutate(AdmissionRequest& request) { return {}; }
  virtual Status validate(const AdmissionRequest& request) { return {}; }
};

}  // namespace engenho::apiserver
