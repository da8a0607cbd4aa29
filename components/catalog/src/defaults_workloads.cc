#include "defaults_internal.h"

namespace engenho::catalog::defaulting {

void deployment(json::Value& object) {
  json::Value* strategy = object.at({"spec", "strategy"});
  if (strategy == nullptr || strategy->str_at({"type"}) != "RollingUpdate") return;
  json::Value& rolling = (*strategy)["rollingUpdate"];
  set_default(rolling, "maxUnavailable", "25%");
  set_default(rolling, "maxSurge", "25%");
}

void daemon_set(json::Value& object) {
  json::Value* strategy = object.at({"spec", "updateStrategy"});
  if (strategy == nullptr || strategy->str_at({"type"}) != "RollingUpdate") return;
  json::Value& rolling = (*strategy)["rollingUpdate"];
  set_default(rolling, "maxUnavailable", 1);
  set_default(rolling, "maxSurge", 0);
}

void stateful_set(json::Value& object) {
  json::Value& strategy = object["spec"]["updateStrategy"];
  if (strategy.str_at({"type"}).empty()) {
    strategy["type"] = "RollingUpdate";
    set_default(strategy, "rollingUpdate", json::Object());
  }
  if (strategy.str_at({"type"}) == "RollingUpdate" && !absent(strategy.get("rollingUpdate"))) {
    set_default(strategy["rollingUpdate"], "partition", 0);
  }
  // Claim templates name their kind, unlike other embedded objects.
  if (json::Value* claims = object.at({"spec", "volumeClaimTemplates"}); claims && claims->is_array()) {
    for (json::Value& claim : claims->as_array()) {
      claim["apiVersion"] = "v1";
      claim["kind"] = "PersistentVolumeClaim";
    }
  }
}

void job(json::Value& object) {
  json::Value& spec = object["spec"];
  if (absent(spec.get("completions")) && absent(spec.get("parallelism"))) spec["completions"] = 1;
  set_default(spec, "parallelism", 1);
  set_default(spec, "backoffLimit", absent(spec.get("backoffLimitPerIndex")) ? json::Value(6) : json::Value(int64_t{2147483647}));
  const json::Value* labels = spec.at({"template", "metadata", "labels"});
  if (!absent(labels) && is_empty_list_or_map(object.at({"metadata", "labels"}))) {
    const json::Value copy = *labels;
    object["metadata"]["labels"] = copy;
  }
  json::Value& again = object["spec"];
  set_default(again, "completionMode", "NonIndexed");
  set_default(again, "suspend", false);
  set_default(again, "podReplacementPolicy", absent(again.get("podFailurePolicy")) ? "TerminatingOrFailed" : "Failed");
  set_default(again, "manualSelector", false);
}

}  // namespace engenho::catalog::defaulting
