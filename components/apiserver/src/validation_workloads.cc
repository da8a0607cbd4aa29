// Deployments, replica sets, stateful sets, daemon sets, replication controllers, jobs, cron jobs, revisions and pod templates.
#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/schema/cron.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

const Value& part(const Value& object, std::string_view member) {
  static const Value none = json::Object();
  const Value* v = object.get(member);
  return v == nullptr || v->is_null() ? none : *v;
}

bool empty_selector(const Value& s) {
  return part(s, "matchLabels").members().empty() && list(s, "matchExpressions").empty();
}

void selector(FieldErrors& errors, const std::string& path, const Value& spec, std::string_view kind, bool invalid_too) {
  const Value* s = spec.get("selector");
  if (!is_set(s)) return errors.required(path / "selector");
  const size_t before = errors.size();
  schema::validate_label_selector(s, path / "selector", errors);
  if (empty_selector(*s)) errors.invalid(path / "selector", *s, "empty selector is invalid for " + std::string(kind));
  if (invalid_too && errors.size() != before && !empty_selector(*s)) errors.invalid(path / "selector", *s, "invalid label selector");
}

void matches_template(FieldErrors& errors, const std::string& path, const Value& spec) {
  const Value* s = spec.get("selector");
  if (is_set(s) && empty_selector(*s)) return;
  // Of a broken selector nothing can be told.
  FieldErrors broken;
  schema::validate_label_selector(s, "", broken);
  if (!broken.empty()) return;
  const Value* labels = spec.at({"template", "metadata", "labels"});
  if (!selector_matches(s, labels)) {
    errors.invalid(path / "template.metadata.labels", labels == nullptr ? Value() : *labels, "`selector` does not match template `labels`");
  }
}

void always(FieldErrors& errors, const std::string& path, const Value& spec) {
  const std::string_view policy = spec.str_at({"template", "spec", "restartPolicy"});
  if (!policy.empty() && policy != "Always") unsupported(errors, path / "template.spec.restartPolicy", policy, {"Always"});
  if (is_set(spec.at({"template", "spec", "activeDeadlineSeconds"}))) {
    errors.forbidden(path / "template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in a pod template is not supported");
  }
}

bool is_zero(const Value* v) {
  if (!is_set(v)) return true;
  if (v->is_string()) return v->str().find_first_not_of("0%") == std::string_view::npos;
  return v->int_or(0) == 0;
}

void rolling(FieldErrors& errors, const std::string& path, const Value& r, bool cap_surge) {
  if (const Value* v = r.get("maxUnavailable"); is_set(v)) {
    number_or_percent(errors, path / "maxUnavailable", *v);
  }
  if (const Value* v = r.get("maxSurge"); is_set(v)) {
    number_or_percent(errors, path / "maxSurge", *v);
    if (cap_surge) not_above_100_percent(errors, path / "maxSurge", *v);
  }
  if (is_zero(r.get("maxUnavailable")) && is_zero(r.get("maxSurge"))) {
    const Value* v = r.get("maxUnavailable");
    errors.invalid(path / "maxUnavailable", v == nullptr ? Value(0) : *v, "may not be 0 when `maxSurge` is 0");
  }
  if (const Value* v = r.get("maxUnavailable"); is_set(v)) not_above_100_percent(errors, path / "maxUnavailable", *v);
}

void deployment(FieldErrors& errors, const Value& spec) {
  const std::string path = "spec";
  nonnegative(errors, path / "replicas", spec.get("replicas"));
  selector(errors, path, spec, "deployment", true);
  matches_template(errors, path, spec);
  always(errors, path, spec);
  pod_template(errors, path / "template", part(spec, "template"));
  const Value& strategy = part(spec, "strategy");
  const std::string_view type = strategy.str_at({"type"});
  const Value* r = strategy.get("rollingUpdate");
  if (type == "Recreate") {
    if (is_set(r)) errors.forbidden(path / "strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
  } else if (type == "RollingUpdate") {
    if (!is_set(r)) errors.required(path / "strategy.rollingUpdate", "this should be defaulted and never be nil");
    else rolling(errors, path / "strategy.rollingUpdate", *r, false);
  } else {
    Value shown = json::Object();
    shown["type"] = type;
    if (r != nullptr) shown["rollingUpdate"] = *r;
    unsupported(errors, path / "strategy", shown, {"Recreate", "RollingUpdate"});
  }
  nonnegative(errors, path / "minReadySeconds", spec.get("minReadySeconds"));
  nonnegative(errors, path / "revisionHistoryLimit", spec.get("revisionHistoryLimit"));
  if (const Value* deadline = spec.get("progressDeadlineSeconds"); is_set(deadline)) {
    nonnegative(errors, path / "progressDeadlineSeconds", deadline);
    if (deadline->int_or(0) <= number(spec, "minReadySeconds")) {
      errors.invalid(path / "progressDeadlineSeconds", *deadline, "must be greater than minReadySeconds");
    }
  }
}

void replica_set(FieldErrors& errors, const Value& spec) {
  nonnegative(errors, "spec.replicas", spec.get("replicas"));
  nonnegative(errors, "spec.minReadySeconds", spec.get("minReadySeconds"));
  selector(errors, "spec", spec, "replicaset", true);
  matches_template(errors, "spec", spec);
  pod_template(errors, "spec.template", part(spec, "template"));
  always(errors, "spec", spec);
}

void stateful_set(FieldErrors& errors, const Value& spec, const Value* old) {
  one_of(errors, "spec.podManagementPolicy", spec.str_at({"podManagementPolicy"}), {"OrderedReady", "Parallel"});
  const std::string_view type = spec.str_at({"updateStrategy", "type"});
  const Value* r = spec.at({"updateStrategy", "rollingUpdate"});
  if (type.empty()) {
    errors.required("spec.updateStrategy");
  } else if (type == "OnDelete") {
    if (is_set(r)) {
      errors.invalid("spec.updateStrategy.rollingUpdate", *r, "only allowed for updateStrategy 'RollingUpdate'");
    }
  } else if (type == "RollingUpdate") {
    if (is_set(r)) nonnegative(errors, "spec.updateStrategy.rollingUpdate.partition", r->get("partition"));
  } else {
    errors.invalid("spec.updateStrategy", part(spec, "updateStrategy"), "must be 'RollingUpdate' or 'OnDelete'");
  }
  nonnegative(errors, "spec.replicas", spec.get("replicas"));
  nonnegative(errors, "spec.minReadySeconds", spec.get("minReadySeconds"));
  if (const Value* start = spec.at({"ordinals", "start"})) nonnegative(errors, "spec.ordinals.start", start);
  selector(errors, "spec", spec, "statefulset", false);
  matches_template(errors, "spec", spec);
  pod_template(errors, "spec.template", part(spec, "template"));
  always(errors, "spec", spec);
  if (old == nullptr) return;
  Value a = spec, b = part(*old, "spec");
  for (const char* member :
       {"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"}) {
    a.make_object().erase(member);
    b.make_object().erase(member);
  }
  if (!(a == b)) {
    errors.forbidden("spec",
                     "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
                     "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
  }
}

void daemon_set(FieldErrors& errors, const Value& spec) {
  const Value* s = spec.get("selector");
  schema::validate_label_selector(s, "spec.selector", errors);
  if (is_set(s) && empty_selector(*s)) errors.invalid("spec.selector", *s, "empty selector is invalid for daemonset");
  const Value* labels = spec.at({"template", "metadata", "labels"});
  if (is_set(s) && !selector_matches(s, labels)) {
    errors.invalid("spec.template.metadata.labels", labels == nullptr ? Value() : *labels, "`selector` does not match template `labels`");
  }
  pod_template(errors, "spec.template", part(spec, "template"));
  always(errors, "spec", spec);
  nonnegative(errors, "spec.minReadySeconds", spec.get("minReadySeconds"));
  const std::string_view type = spec.str_at({"updateStrategy", "type"});
  if (type == "RollingUpdate") {
    const Value* r = spec.at({"updateStrategy", "rollingUpdate"});
    if (!is_set(r)) errors.required("spec.updateStrategy.rollingUpdate");
    else rolling(errors, "spec.updateStrategy.rollingUpdate", *r, true);
  } else if (type != "OnDelete") {
    one_of(errors, "spec.updateStrategy", type, {"RollingUpdate", "OnDelete"});
  }
  nonnegative(errors, "spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"));
}

void replication_controller(FieldErrors& errors, const Value& spec) {
  nonnegative(errors, "spec.minReadySeconds", spec.get("minReadySeconds"));
  const Value& labels = part(spec, "selector");
  if (labels.members().empty()) errors.required("spec.selector");
  nonnegative(errors, "spec.replicas", spec.get("replicas"));
  const Value* t = spec.get("template");
  if (!is_set(t)) return errors.required("spec.template");
  if (!labels.members().empty()) {
    Value s = json::Object();
    s["matchLabels"] = labels;
    const Value* have = t->at({"metadata", "labels"});
    if (!selector_matches(&s, have)) {
      errors.invalid("spec.template.metadata.labels", have == nullptr ? Value() : *have, "`selector` does not match template `labels`");
    }
  }
  pod_template(errors, "spec.template", *t);
  always(errors, "spec", spec);
}

void failure_policy(FieldErrors& errors, const std::string& path, const Value& spec) {
  const Value* policy = spec.get("podFailurePolicy");
  if (!is_set(policy)) return;
  std::set<std::string, std::less<>> names;
  for (const char* which : {"initContainers", "containers"}) {
    const Value* items = spec.at({"template", "spec", which});
    for (const Value& c : items == nullptr ? json::Array() : items->items()) names.emplace(c.str_at({"name"}));
  }
  const json::Array& rules = list(*policy, "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::string here = at(path / "podFailurePolicy.rules", i);
    const Value& rule = rules[i];
    const std::string_view action = rule.str_at({"action"});
    if (action.empty()) {
      errors.required(here / "action", "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]");
    } else if (action == "FailIndex") {
      if (!is_set(spec.get("backoffLimitPerIndex"))) errors.invalid(here / "action", action, "requires the backoffLimitPerIndex to be set");
    } else {
      one_of(errors, here / "action", action, {"Count", "FailIndex", "FailJob", "Ignore"});
    }
    const Value* codes = rule.get("onExitCodes");
    if (is_set(codes)) {
      const std::string at_codes = here / "onExitCodes";
      const std::string_view op = codes->str_at({"operator"});
      one_of(errors, at_codes / "operator", op, {"In", "NotIn"});
      if (const std::string_view name = codes->str_at({"containerName"}); !name.empty() && names.find(name) == names.end()) {
        errors.invalid(at_codes / "containerName", name, "must be one of the container or initContainer names in the pod template");
      }
      const json::Array& values = list(*codes, "values");
      if (values.empty()) errors.invalid(at_codes / "values", values, "at least one value is required");
      if (values.size() > 255) errors.too_many(at_codes / "values", values.size(), 255);
      bool ordered = true;
      std::set<int64_t> seen;
      for (size_t k = 0; k < values.size(); ++k) {
        if (op == "In" && values[k].int_or(0) == 0) errors.invalid(at(at_codes / "values", k), 0, "must not be 0 for the In operator");
        if (k > 0) ordered = ordered && values[k - 1].int_or(0) <= values[k].int_or(0);
        if (!seen.insert(values[k].int_or(0)).second) errors.duplicate(at(at_codes / "values", k), values[k]);
      }
      if (!ordered) errors.invalid(at_codes / "values", values, "must be ordered");
    }
    const json::Array& conditions = list(rule, "onPodConditions");
    for (size_t k = 0; k < conditions.size(); ++k) {
      const std::string at_condition = at(here / "onPodConditions", k);
      messages(errors, at_condition / "type", conditions[k].str_at({"type"}), schema::is_qualified_name(conditions[k].str_at({"type"})));
      one_of(errors, at_condition / "status", conditions[k].str_at({"status"}), {"False", "True", "Unknown"});
    }
  }
}

void job_spec(FieldErrors& errors, const std::string& path, const Value& spec) {
  for (const char* member : {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
                             "backoffLimitPerIndex", "maxFailedIndexes"}) {
    nonnegative(errors, path / member, spec.get(member));
  }
  if (const Value* by = spec.get("managedBy"); is_set(by)) {
    const std::string_view text = by->str();
    const size_t slash = text.find('/');
    if (slash == text.npos || slash == 0 || slash + 1 == text.size()) {
      errors.invalid(path / "managedBy", *by, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    } else {
      messages(errors, path / "managedBy", text.substr(0, slash), schema::is_dns1123_subdomain(text.substr(0, slash)));
    }
  }
  const std::string_view mode = spec.str_at({"completionMode"});
  const Value *completions = spec.get("completions"), *per_index = spec.get("backoffLimitPerIndex"), *max_failed = spec.get("maxFailedIndexes");
  if (!mode.empty()) one_of(errors, path / "completionMode", mode, {"NonIndexed", "Indexed"});
  if (mode == "Indexed") {
    if (!is_set(completions)) errors.required(path / "completions", "when completion mode is Indexed");
    if (number(spec, "parallelism") > 100000) {
      errors.invalid(path / "parallelism", *spec.get("parallelism"), "must be less than or equal to 100000 when completion mode is Indexed");
    }
    if (is_set(completions) && is_set(max_failed) && max_failed->int_or(0) > completions->int_or(0)) {
      errors.invalid(path / "maxFailedIndexes", *max_failed, "must be less than or equal to completions");
    }
    if (is_set(max_failed) && !is_set(per_index)) errors.required(path / "backoffLimitPerIndex", "when maxFailedIndexes is specified");
  } else {
    if (is_set(per_index)) errors.invalid(path / "backoffLimitPerIndex", *per_index, "requires indexed completion mode");
    if (is_set(max_failed)) errors.invalid(path / "maxFailedIndexes", *max_failed, "requires indexed completion mode");
  }
  failure_policy(errors, path, spec);
  pod_template(errors, path / "template", part(spec, "template"));
  const std::string_view restart = spec.str_at({"template", "spec", "restartPolicy"});
  const std::string at_restart = path / "template.spec.restartPolicy";
  if (restart.empty() || restart == "Always") {
    errors.required(at_restart, "valid values: \"OnFailure\", \"Never\"");
  } else if (restart != "OnFailure" && restart != "Never") {
    unsupported(errors, at_restart, restart, {"OnFailure", "Never"});
  } else if (is_set(spec.get("podFailurePolicy")) && restart != "Never") {
    errors.invalid(at_restart, restart, "only \"Never\" is supported when podFailurePolicy is specified");
  }
}

void job(FieldErrors& errors, const Value& object, const Value* old) {
  const Value& spec = part(object, "spec");
  const Value* s = spec.get("selector");
  const Value* labels = spec.at({"template", "metadata", "labels"});
  job_spec(errors, "spec", spec);
  if (!is_set(s)) errors.required("spec.selector");
  else schema::validate_label_selector(s, "spec.selector", errors);
  if (!flag(spec, "manualSelector") && old == nullptr && is_set(s)) {
    Value own = json::Object();
    own["matchLabels"]["batch.kubernetes.io/controller-uid"] = object.str_at({"metadata", "uid"});
    if (!(*s == own)) errors.invalid("spec.selector", *s, "`selector` not auto-generated");
  }
  if (!selector_matches(s, labels)) {
    errors.invalid("spec.template.metadata.labels", labels == nullptr ? Value() : *labels, "`selector` does not match template `labels`");
  }
  if (old == nullptr) return;
  const Value& before = part(*old, "spec");
  const Value *completions = spec.get("completions"), *was = before.get("completions");
  const bool same = (!is_set(completions) && !is_set(was)) || (is_set(completions) && is_set(was) && *completions == *was);
  if (!same) {
    const Value shown = completions == nullptr ? Value() : *completions;
    if (before.str_at({"completionMode"}) != "Indexed" || !is_set(completions) || !is_set(was)) {
      errors.invalid("spec.completions", shown, "field is immutable");
    } else if (!spec.get("parallelism") || !(*spec.get("parallelism") == *completions)) {
      errors.invalid("spec.completions", shown, "can only be modified in tandem with spec.parallelism");
    }
  }
  immutable(errors, "spec.selector", s, before.get("selector"));
  // The template of one that has not started yet may say where its pods go.
  Value now = part(spec, "template"), then = part(before, "template");
  const Value* started = old->at({"status", "startTime"});
  if (flag(before, "suspend") && !is_set(started)) {
    for (const char* member : {"nodeSelector", "tolerations", "affinity", "schedulingGates"}) {
      now["spec"].make_object().erase(member);
      then["spec"].make_object().erase(member);
    }
    for (const char* member : {"labels", "annotations"}) {
      now["metadata"].make_object().erase(member);
      then["metadata"].make_object().erase(member);
    }
  }
  immutable(errors, "spec.template", &now, &then);
  for (const char* member : {"completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"}) {
    immutable(errors, std::string("spec") / member, spec.get(member), before.get(member));
  }
}

void cron_job(FieldErrors& errors, const Value& object, const Value* old) {
  const Value& spec = part(object, "spec");
  const std::string_view name = object.str_at({"metadata", "name"}), schedule = spec.str_at({"schedule"});
  if (old == nullptr && name.size() > 52) errors.invalid("metadata.name", name, "must be no more than 52 characters");
  if (schedule.empty()) {
    errors.required("spec.schedule");
  } else if (schedule.find("TZ") != schedule.npos) {
    errors.invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
  } else {
    schema::CronSchedule ignored;
    if (std::string e = schema::parse_cron(schedule, ignored); !e.empty()) errors.invalid("spec.schedule", schedule, e);
  }
  nonnegative(errors, "spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"));
  if (const Value* zone = spec.get("timeZone"); is_set(zone)) {
    if (zone->str().empty()) errors.invalid("spec.timeZone", *zone, "timeZone must be nil or non-empty string");
    else if (zone->str() == "Local" || zone->str() == "local") errors.invalid("spec.timeZone", *zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
  }
  const std::string_view policy = spec.str_at({"concurrencyPolicy"});
  if (policy.empty()) errors.required("spec.concurrencyPolicy");
  else one_of(errors, "spec.concurrencyPolicy", policy, {"Allow", "Forbid", "Replace"});
  const Value& job = part(part(spec, "jobTemplate"), "spec");
  job_spec(errors, "spec.jobTemplate.spec", job);
  if (const Value* s = job.get("selector"); is_set(s)) {
    errors.invalid("spec.jobTemplate.spec.selector", *s, "`selector` will be auto-generated");
  }
  if (flag(job, "manualSelector")) unsupported(errors, "spec.jobTemplate.spec.manualSelector", true, {"nil", "false"});
  nonnegative(errors, "spec.successfulJobsHistoryLimit", spec.get("successfulJobsHistoryLimit"));
  nonnegative(errors, "spec.failedJobsHistoryLimit", spec.get("failedJobsHistoryLimit"));
}

}  // namespace

bool workloads(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value* old) {
  const Value& spec = part(object, "spec");
  const std::string& plural = resource.plural;
  auto fixed_selector = [&] {
    if (old != nullptr) immutable(errors, "spec.selector", spec.get("selector"), old->at({"spec", "selector"}));
  };
  if (resource.group == "apps") {
    if (plural == "deployments") deployment(errors, spec), fixed_selector();
    else if (plural == "replicasets") replica_set(errors, spec), fixed_selector();
    else if (plural == "statefulsets") stateful_set(errors, spec, old);
    else if (plural == "daemonsets") fixed_selector(), daemon_set(errors, spec);
    else if (plural == "controllerrevisions") {
      nonnegative(errors, "revision", object.get("revision"));
      const Value* data = object.get("data");
      if (!is_set(data)) errors.required("data", "data is mandatory");
      else if (!data->is_object()) errors.required("data", "data must be a valid JSON object");
      if (old != nullptr) {
        const Value* was = old->get("data");
        immutable(errors, "data", data, was);
      }
    } else {
      return false;
    }
    return true;
  }
  if (resource.group == "batch") {
    if (plural == "jobs") job(errors, object, old);
    else if (plural == "cronjobs") cron_job(errors, object, old);
    else return false;
    return true;
  }
  if (!resource.group.empty()) return false;
  if (plural == "replicationcontrollers") return replication_controller(errors, spec), true;
  if (plural == "podtemplates") return pod_template(errors, "template", part(object, "template")), true;
  return false;
}

}  // namespace engenho::apiserver::validation
