// What a plan would do, read from the plan document (the shape of `terraform show -json` of a plan file). The one vocabulary of actions,
// attributes and risk for policies, summaries and receipts, whichever executor made the plan.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::pangea {

struct Change {
  std::string address, type, name;
  std::string provider;                      // source address, "registry.terraform.io/hashicorp/aws"
  std::string action;                        // no-op create read update delete replace forget import
  std::vector<std::string> attributes;       // names of the top-level attributes that change, sorted
  std::string risk;                          // none low medium high
  std::vector<std::string> replace_because;  // top-level attributes that force a replacement, sorted
  std::string deposed;                       // key of the deposed object that this is about; else empty
  std::string import_id;                     // adopted under this id before the action

  bool destructive() const { return action == "delete" || action == "replace"; }
};

struct PlanModel {
  std::vector<Change> changes;           // of managed resources, without no-op; in order of address
  std::vector<Change> drift;             // what the refresh found changed outside; in order of address
  int total = 0;                         // managed objects, those without a change too
  int add = 0, change = 0, destroy = 0;  // a replacement counts as one add and one destroy
  bool output_changes = false;

  bool empty() const { return changes.empty() && !output_changes; }
  std::string summary() const;  // "+2 ~1 -2" or "No changes"
};

// Of the whole document: a redacted one hides which sensitive attributes change. Errors: BadRequest for another major format version, for
// a plan that is marked as incomplete and for what is not understood; nothing is skipped silently.
Result<PlanModel> read_plan(const json::Value& document);

// What may be shown: format and versions, resource_changes, resource_drift, output_changes and variables, each sensitive value replaced by null.
json::Value redact_plan(const json::Value& document);

// How much an action on such a resource puts at stake. Pure; the same for every executor.
//   none    nothing happens outside (no-op, read)
//   low     something comes into being, is adopted or let go; or a stand-in without an outside (null_resource, terraform_data, time_*, random_* but secrets)
//   changes medium  something changes in place, or something that grants access comes into being high    something is lost (delete, replace), or what grants
//   access or carries the rest (networks, databases, clusters, zones, keys) changes
std::string risk_of(std::string_view action, std::string_view type);

}  // namespace engenho::pangea
