#include "subresources.h"

#include "custom_resources.h"
#include "decode_body.h"
#include "encode.h"
#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/managed_fields.h"
#include "engenho/schema/patch.h"
#include "engenho/schema/selector.h"

namespace engenho::apiserver {

namespace {

using json::Value;

int64_t number_at(const Value& v, std::initializer_list<std::string_view> path) {
  const Value* n = v.at(path);
  return n == nullptr ? 0 : n->int_or(0);
}

// Where a resource keeps what its scale shows.
const ScalePaths& scale_paths(const ResourceDef& resource) {
  static const ScalePaths workload{{"spec", "replicas"}, {"status", "replicas"}, {}};
  return resource.custom != nullptr && resource.custom->scale ? *resource.custom->scale : workload;
}
const Value* value_at(const Value& object, const std::vector<std::string>& names) {
  const Value* v = names.empty() ? nullptr : &object;
  for (const std::string& name : names) v = v == nullptr ? nullptr : v->get(name);
  return v;
}
int64_t replicas_at(const Value& object, const std::vector<std::string>& names) {
  const Value* v = value_at(object, names);
  return v == nullptr ? 0 : v->int_or(0);
}

// The Scale of a workload, as autoscaling/v1.
Value scale_of(const ResourceDef& resource, const Value& object) {
  Value out = json::Object();
  out["kind"] = "Scale";
  out["apiVersion"] = "autoscaling/v1";
  for (const char* member : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}) {
    if (const Value* v = object.at({"metadata", member})) out["metadata"][member] = *v;
  }
  out["spec"] = json::Object();
  if (const int64_t n = replicas_at(object, scale_paths(resource).spec_replicas); n != 0) out["spec"]["replicas"] = n;
  out["status"]["replicas"] = replicas_at(object, scale_paths(resource).status_replicas);
  std::string selector;
  if (resource.custom != nullptr) {
    if (const Value* v = value_at(object, scale_paths(resource).label_selector)) selector = v->str();
  } else if (resource.group.empty()) {
    selector = schema::LabelSelector::from_map(object.at({"spec", "selector"})).to_string();
  } else if (auto parsed = schema::LabelSelector::from_document(object.at({"spec", "selector"}))) {
    selector = parsed->to_string();
  }
  if (!selector.empty()) out["status"]["selector"] = selector;
  return out;
}

// The answer to a binding and to an eviction.
Value created_status() {
  Value out = json::Object();
  out["kind"] = "Status";
  out["apiVersion"] = "v1";
  out["metadata"] = json::Object();
  out["status"] = "Success";
  out["code"] = 201;
  return out;
}

std::string wrong_uid(const std::string& key, std::string_view wanted, std::string_view have) {
  return "StorageError: invalid object, Code: 4, Key: " + key + ", ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: " +
         std::string(wanted) + ", UID in object meta: " + std::string(have);
}

const schema::Schema* kind_schema(std::string_view api_version, std::string_view kind) { return catalog::find_schema(api_version, kind); }

}  // namespace

void handle_scale(const std::shared_ptr<Context>& context, Services& services) {
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  Rest& rest = services.rest;
  if (context->info.verb == "get") {
    auto object = rest.read(resource, context->info.namespace_, context->info.name);
    if (!object) return fail(object.error());
    return send_document(*context, 200, scale_of(resource, *object));
  }
  auto options = write_options(*context, context->info.verb == "update" ? "UpdateOptions" : "PatchOptions");
  if (!options) return fail(options.error());
  const schema::Schema& schema = *kind_schema("autoscaling/v1", "Scale");
  Value body, patch;
  const bool is_patch = context->info.verb == "patch";
  const std::string content_type(context->request().headers.get("Content-Type"));
  if (is_patch) {
    auto parsed = json::parse(context->request().body);
    if (!parsed) return fail(bad_request("error decoding patch: " + parsed.error().message()));
    patch = std::move(*parsed);
  } else {
    auto decoded = decode_body(*context, "autoscaling", "v1", "Scale", schema);
    if (!decoded) return fail(decoded.error());
    body = std::move(decoded->object);
    const std::string_view name = body.str_at({"metadata", "name"});
    if (!name.empty() && name != context->info.name) {
      return fail(bad_request("the name of the object (" + std::string(name) + ") does not match the name on the URL (" + context->info.name + ")"));
    }
  }
  auto updated = rest.update(
      *context, resource, context->info.name, "scale",
      [&](const Value* current) -> Result<Value> {
        if (current == nullptr) return err(schema::not_found({resource.group, resource.plural}, context->info.name));
        Value scale = scale_of(resource, *current);
        if (is_patch) {
          Status s;
          if (content_type.starts_with("application/json-patch+json")) s = schema::apply_json_patch(scale, patch);
          else if (content_type.starts_with("application/strategic-merge-patch+json")) s = schema::apply_strategic_merge_patch(schema, scale, patch);
          else schema::apply_merge_patch(scale, patch);
          if (!s.ok()) return err(s);
        } else {
          scale = body;
        }
        const int64_t replicas = number_at(scale, {"spec", "replicas"});
        schema::FieldErrors errors;
        if (replicas < 0) errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        ENGENHO_TRY(errors.to_status("autoscaling", "Scale", context->info.name));
        Value object = *current;
        Value* at = &object;
        for (const std::string& name : scale_paths(resource).spec_replicas) at = &(*at)[name];
        *at = replicas;
        // A scale that names its version must be the newest.
        const std::string_view rv = scale.str_at({"metadata", "resourceVersion"});
        if (!rv.empty() && !is_patch) object["metadata"]["resourceVersion"] = rv;
        const std::string_view uid = scale.str_at({"metadata", "uid"});
        if (!uid.empty() && uid != current->str_at({"metadata", "uid"})) {
          return err(schema::conflict({resource.group, resource.plural}, context->info.name,
                                      wrong_uid(resource.store_key(context->info.namespace_, context->info.name), uid, current->str_at({"metadata", "uid"}))));
        }
        schema::ManagerContext manager;
        manager.schema = resource.schema;
        manager.api_version = resource.api_version();
        manager.subresource = "scale";
        manager.manager = options->field_manager;
        manager.now = rest.clock().wall();
        schema::track_update(manager, current, object);
        // Ownership that comes through a scale has no time.
        if (Value* managed = object.at({"metadata", "managedFields"}); managed != nullptr && managed->is_array()) {
          for (Value& entry : managed->as_array()) {
            if (entry.str_at({"subresource"}) == "scale") entry.as_object().erase("time");
          }
        }
        return object;
      },
      *options, false);
  if (!updated) return fail(updated.error());
  send_document(*context, 200, scale_of(resource, updated->object));
}

void handle_binding(const std::shared_ptr<Context>& context, Services& services, const std::string& pod_name) {
  auto fail = [&](const Status& s) { send_status(*context, s); };
  Rest& rest = services.rest;
  auto options = write_options(*context, "CreateOptions");
  if (!options) return fail(options.error());
  auto body = decode_body(*context, "", "v1", "Binding", *kind_schema("v1", "Binding"));
  if (!body) return fail(body.error());
  const Value& binding = body->object;
  const std::string name = pod_name.empty() ? std::string(binding.str_at({"metadata", "name"})) : pod_name;
  const std::string_view named = binding.str_at({"metadata", "name"});
  if (!pod_name.empty() && !named.empty() && named != pod_name) {
    return fail(bad_request("name in URL does not match name in Binding object"));
  }
  schema::FieldErrors errors;
  const std::string_view target_kind = binding.str_at({"target", "kind"});
  if (!target_kind.empty() && target_kind != "Node") {
    errors.add(schema::FieldErrorType::kNotSupported, "target.kind", target_kind, "supported values: \"Node\", \"<empty>\"");
  }
  const std::string node(binding.str_at({"target", "name"}));
  if (node.empty()) errors.required("target.name");
  if (!errors.empty()) {
    std::string text;
    for (const auto& e : errors.errors()) text += (text.empty() ? "" : ", ") + e.message();
    return fail(Status(500, "", errors.size() > 1 ? "[" + text + "]" : text));
  }
  auto pods = rest.resources().find("", "v1", "pods");
  context->resource = pods;
  auto updated = rest.update(
      *context, *pods, name, "binding",
      [&](const Value* current) -> Result<Value> {
        if (current == nullptr) return err(schema::not_found({"", "pods"}, name));
        auto refuse = [&](const std::string& why) { return err(schema::conflict({"", "pods/binding"}, name, why)); };
        const std::string_view uid = binding.str_at({"metadata", "uid"});
        if (!uid.empty() && uid != current->str_at({"metadata", "uid"})) {
          return err(schema::conflict({"", "pods"}, name, wrong_uid(pods->store_key(context->info.namespace_, name), uid, current->str_at({"metadata", "uid"}))));
        }
        if (current->at({"metadata", "deletionTimestamp"}) != nullptr) {
          return refuse("pod " + name + " is being deleted, cannot be assigned to a host");
        }
        if (const std::string_view had = current->str_at({"spec", "nodeName"}); !had.empty()) {
          return refuse("pod " + name + " is already assigned to node \"" + std::string(had) + "\"");
        }
        if (const Value* gates = current->at({"spec", "schedulingGates"}); gates != nullptr && !gates->items().empty()) {
          return refuse("pod " + name + " has non-empty .spec.schedulingGates");
        }
        Value pod = *current;
        pod["spec"]["nodeName"] = node;
        if (const Value* labels = binding.at({"metadata", "labels"})) {
          for (const auto& [k, v] : labels->members()) pod["metadata"]["labels"][k] = v;
        }
        if (const Value* annotations = binding.at({"metadata", "annotations"})) {
          for (const auto& [k, v] : annotations->members()) pod["metadata"]["annotations"][k] = v;
        }
        Value condition = json::Object();
        condition["type"] = "PodScheduled";
        condition["status"] = "True";
        condition["lastProbeTime"] = nullptr;
        condition["lastTransitionTime"] = format_rfc3339(rest.clock().wall());
        json::Array& conditions = pod["status"]["conditions"].make_array();
        std::erase_if(conditions, [](const Value& c) { return c.str_at({"type"}) == "PodScheduled"; });
        conditions.push_back(std::move(condition));
        return pod;
      },
      *options, false);
  if (!updated) return fail(updated.error());
  send_document(*context, 201, created_status());
}

void handle_eviction(const std::shared_ptr<Context>& context, Services& services) {
  auto fail = [&](const Status& s) { send_status(*context, s); };
  Rest& rest = services.rest;
  auto options = write_options(*context, "CreateOptions");
  if (!options) return fail(options.error());
  const std::string_view version = context->request().body.find("policy/v1beta1") != std::string::npos ? "v1beta1" : "v1";
  Value eviction;
  if (version == "v1beta1") {
    auto parsed = json::parse(context->request().body);
    if (!parsed) return fail(bad_request(parsed.error().message()));
    eviction = std::move(*parsed);
  } else {
    auto body = decode_body(*context, "policy", "v1", "Eviction", *kind_schema("policy/v1", "Eviction"));
    if (!body) return fail(body.error());
    eviction = std::move(body->object);
  }
  const std::string& name = context->info.name;
  const std::string& ns = context->info.namespace_;
  const std::string_view named = eviction.str_at({"metadata", "name"});
  if (!named.empty() && named != name) return fail(bad_request("name in URL does not match name in Eviction object"));
  auto pods = rest.resources().find("", "v1", "pods");
  auto pod = rest.read(*pods, ns, name);
  if (!pod) return fail(pod.error());
  DeleteOptions deletion;
  deletion.dry_run = options->dry_run;
  if (const Value* d = eviction.get("deleteOptions")) {
    if (const Value* grace = d->get("gracePeriodSeconds"); grace != nullptr && grace->is_int()) deletion.grace_period_seconds = grace->as_int();
    deletion.propagation = d->str_at({"propagationPolicy"});
    deletion.precondition_uid = d->str_at({"preconditions", "uid"});
    deletion.precondition_revision = d->str_at({"preconditions", "resourceVersion"});
    if (const Value* dry = d->get("dryRun"); dry != nullptr && !dry->items().empty()) deletion.dry_run = true;
  }
  // Pods that do not run any more, are going already, or never ran need no budget.
  const std::string_view phase = pod->str_at({"status", "phase"});
  const bool free = phase == "Succeeded" || phase == "Failed" || phase == "Pending" || pod->at({"metadata", "deletionTimestamp"}) != nullptr;
  if (!free) {
    auto budgets = rest.resources().find("policy", "v1", "poddisruptionbudgets");
    std::vector<std::string> matching;
    std::atomic<Revision> unused{0};
    for (const ObjectPtr& b : budgets->cacher->list(budgets->store_prefix + ns + "/", unused)) {
      const Value budget = b->value();
      auto selector = schema::LabelSelector::from_document(budget.at({"spec", "selector"}));
      if (selector && selector->matches(pod->at({"metadata", "labels"}))) matching.push_back(b->name());
    }
    if (matching.size() > 1) {
      return fail(Status(500, "", "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", {}));
    }
    bool ready = false;
    if (const Value* conditions = pod->at({"status", "conditions"})) {
      for (const Value& c : conditions->items()) ready = ready || (c.str_at({"type"}) == "Ready" && c.str_at({"status"}) == "True");
    }
    if (matching.size() == 1) {
      const std::string budget_name = matching[0];
      Context inner = *context;
      inner.resource = budgets;
      auto taken = rest.update(
          inner, *budgets, budget_name, "status",
          [&](const Value* current) -> Result<Value> {
            if (current == nullptr) return err(schema::not_found({"policy", "poddisruptionbudgets"}, budget_name));
            Value budget = *current;
            const int64_t healthy = number_at(budget, {"status", "currentHealthy"}), desired = number_at(budget, {"status", "desiredHealthy"});
            if (!ready) {
              const std::string_view policy = budget.str_at({"spec", "unhealthyPodEvictionPolicy"});
              if (policy == "AlwaysAllow" || (healthy >= desired && desired > 0)) {
                return budget;
              }
            }
            const std::string text = "Cannot evict pod as it would violate the pod's disruption budget.";
            if (number_at(budget, {"status", "observedGeneration"}) < number_at(budget, {"metadata", "generation"})) {
              StatusDetails details;
              details.retry_after_seconds = 10;
              details.causes.push_back({"DisruptionBudget", "The disruption budget " + budget_name + " is still being processed by the server.", ""});
              return err(Status(429, reason::kTooManyRequests, text, std::move(details)));
            }
            const int64_t allowed = number_at(budget, {"status", "disruptionsAllowed"});
            if (allowed <= 0) {
              StatusDetails details;
              details.causes.push_back({"DisruptionBudget", healthy > desired ? "The disruption budget " + budget_name + " does not allow evicting pods currently"
                                                                               : "The disruption budget " + budget_name + " needs " + std::to_string(desired) +
                                                                " healthy pods and has " + std::to_string(healthy) + " currently", ""});
              return err(Status(429, reason::kTooManyRequests, text, std::move(details)));
            }
            budget["status"]["disruptionsAllowed"] = allowed - 1;
            budget["status"]["disruptedPods"][name] = format_rfc3339(rest.clock().wall());
            return budget;
          },
          *options, false);
      if (!taken) return fail(taken.error());
    }
  }
  const bool another = (!deletion.precondition_uid.empty() && deletion.precondition_uid != pod->str_at({"metadata", "uid"})) ||
                       (!deletion.precondition_revision.empty() && deletion.precondition_revision != pod->str_at({"metadata", "resourceVersion"}));
  if (!deletion.dry_run && !another) {
    // Whoever looks at the pod sees why it goes.
    Context inner = *context;
    inner.resource = pods;
    auto told = rest.update(
        inner, *pods, name, "status",
        [&](const Value* current) -> Result<Value> {
          if (current == nullptr) return err(schema::not_found({"", "pods"}, name));
          Value next = *current;
          Value condition = json::Object();
          condition["type"] = "DisruptionTarget";
          condition["status"] = "True";
          condition["reason"] = "EvictionByEvictionAPI";
          condition["message"] = "Eviction API: evicting";
          condition["lastProbeTime"] = nullptr;
          condition["lastTransitionTime"] = format_rfc3339(rest.clock().wall());
          json::Array& conditions = next["status"]["conditions"].make_array();
          std::erase_if(conditions, [](const Value& c) { return c.str_at({"type"}) == "DisruptionTarget"; });
          conditions.push_back(std::move(condition));
          return next;
        },
        *options, false);
    if (!told && !told.error().not_found()) return fail(told.error());
    // The revision that was asked for is the one before this.
    if (told && !deletion.precondition_revision.empty()) deletion.precondition_revision = told->object.str_at({"metadata", "resourceVersion"});
  }
  auto deleted = rest.remove(*context, *pods, ns, name, deletion);
  if (!deleted) return fail(deleted.error());
  send_document(*context, 201, created_status());
}

void handle_token(const std::shared_ptr<Context>& context, Services& services, Security& security) {
  auto fail = [&](const Status& s) { send_status(*context, s); };
  Rest& rest = services.rest;
  auto body = decode_body(*context, "authentication.k8s.io", "v1", "TokenRequest", *kind_schema("authentication.k8s.io/v1", "TokenRequest"));
  if (!body) return fail(body.error());
  Value& request = body->object;
  if (const std::string_view ns = request.str_at({"metadata", "namespace"}); !ns.empty() && ns != context->info.namespace_) {
    return fail(bad_request("the namespace of the provided object does not match the namespace sent on the request"));
  }
  if (const std::string_view named = request.str_at({"metadata", "name"}); !named.empty() && named != context->info.name) {
    schema::FieldErrors wrong;
    wrong.invalid("metadata.name", named, "must match the service account name if specified");
    return fail(wrong.to_status("authentication.k8s.io", "TokenRequest", context->info.name));
  }
  Value& asked = request["spec"]["expirationSeconds"];
  if (asked.is_null()) asked = int64_t{3600};
  auto accounts = rest.resources().find("", "v1", "serviceaccounts");
  auto account = rest.read(*accounts, context->info.namespace_, context->info.name);
  if (!account) return fail(account.error());
  schema::FieldErrors errors;
  int64_t seconds = 3600;
  if (const Value* s = request.at({"spec", "expirationSeconds"}); s != nullptr && s->is_int()) seconds = s->as_int();
  if (seconds < 600) errors.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
  if (seconds > int64_t{1} << 32) errors.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
  Authenticator::TokenSpec spec;
  spec.namespace_name = context->info.namespace_;
  spec.service_account = context->info.name;
  spec.service_account_uid = account->str_at({"metadata", "uid"});
  if (const Value* audiences = request.at({"spec", "audiences"})) {
    for (const Value& a : audiences->items()) spec.audiences.emplace_back(a.str());
  }
  if (const Value* bound = request.at({"spec", "boundObjectRef"}); bound != nullptr && bound->is_object()) {
    const std::string kind(bound->str_at({"kind"}));
    const std::string bound_name(bound->str_at({"name"}));
    const char* plural = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : kind == "Node" ? "nodes" : nullptr;
    if (plural == nullptr) {
      const std::string version(bound->str_at({"apiVersion"}));
      return fail(bad_request("cannot bind token to object of type " + (version.find('/') == std::string::npos ? "/" + version : version) + ", Kind=" + kind));
    } else {
      if (bound_name.empty()) return fail(bad_request("Name parameter required."));
      auto resource = rest.resources().find("", "v1", plural);
      auto object = rest.read(*resource, resource->namespaced ? context->info.namespace_ : std::string(), bound_name);
      if (!object) return fail(object.error());
      const std::string uid(object->str_at({"metadata", "uid"}));
      const std::string_view wanted = bound->str_at({"uid"});
      if (!wanted.empty() && wanted != uid) {
        return fail(schema::conflict({"", kind}, bound_name, "the UID in the bound object reference (" + std::string(wanted) +
                                                                   ") does not match the UID in record. The object might have been deleted and then recreated"));
      }
      if (kind == "Pod" && object->str_at({"spec", "serviceAccountName"}) != context->info.name) {
        return fail(bad_request("cannot bind token for serviceaccount \"" + context->info.name +
                                "\" to pod running with different serviceaccount name."));
      }
      spec.bound_kind = kind;
      spec.bound_name = bound_name;
      spec.bound_uid = uid;
      if (kind == "Pod") {
        spec.node_name = object->str_at({"spec", "nodeName"});
        if (!spec.node_name.empty()) {
          auto nodes = rest.resources().find("", "v1", "nodes");
          if (auto node = rest.read(*nodes, "", spec.node_name)) spec.node_uid = node->str_at({"metadata", "uid"});
        }
      }
    }
  }
  if (Status s = errors.to_status("authentication.k8s.io", "TokenRequest", request.str_at({"metadata", "name"})); !s.ok()) return fail(s);
  // One hour and seven seconds is what mounted tokens ask for: those live longer, and warn once they should have been renewed.
  if (seconds == 3607) {
    spec.warn_after_seconds = seconds;
    seconds = 365 * 24 * 3600;
  }
  spec.expiration_seconds = seconds;
  auto issued = security.authenticator.issue(spec);
  if (!issued) return fail(issued.error());
  json::Object& metadata = request["metadata"].make_object();
  metadata.set("name", context->info.name);
  metadata.set("namespace", context->info.namespace_);
  metadata.set("creationTimestamp", format_rfc3339(rest.clock().wall()));
  metadata.set("uid", account->str_at({"metadata", "uid"}));
  {
    schema::ManagerContext manager;
    manager.schema = kind_schema("authentication.k8s.io/v1", "TokenRequest");
    manager.api_version = "authentication.k8s.io/v1";
    manager.subresource = "token";
    manager.manager = manager_name(*context);
    manager.now = rest.clock().wall();
    schema::track_update(manager, nullptr, request);
  }
  if (spec.audiences.empty()) {
    json::Array audiences;
    for (const std::string& a : security.authenticator.options().api_audiences) audiences.push_back(a);
    request["spec"]["audiences"] = std::move(audiences);
  }
  request["status"]["token"] = issued->token;
  request["status"]["expirationTimestamp"] = format_rfc3339(
      spec.warn_after_seconds > 0 ? rest.clock().wall() + std::chrono::seconds(spec.warn_after_seconds) : issued->expires);
  send_document(*context, 201, request);
}

namespace {

Attributes attributes_from(const Value& spec, const UserInfo& user) {
  Attributes out;
  out.user = &user;
  if (const Value* r = spec.get("resourceAttributes")) {
    out.is_resource = true;
    out.verb = r->str_at({"verb"});
    out.group = r->str_at({"group"});
    out.version = r->str_at({"version"});
    out.resource = r->str_at({"resource"});
    out.subresource = r->str_at({"subresource"});
    out.namespace_name = r->str_at({"namespace"});
    out.name = r->str_at({"name"});
  } else if (const Value* n = spec.get("nonResourceAttributes")) {
    out.verb = n->str_at({"verb"});
    out.path = n->str_at({"path"});
  }
  return out;
}

Value user_document(const UserInfo& user) {
  Value out = json::Object();
  out["username"] = user.name;
  if (!user.uid.empty()) out["uid"] = user.uid;
  json::Array groups;
  for (const std::string& g : user.groups) groups.push_back(g);
  if (!groups.empty()) out["groups"] = std::move(groups);
  for (const auto& [k, values] : user.extra) {
    json::Array list;
    for (const std::string& v : values) list.push_back(v);
    out["extra"][k] = std::move(list);
  }
  return out;
}

json::Array text_list(const std::vector<std::string>& list) {
  json::Array out;
  for (const std::string& s : list) out.push_back(s);
  return out;
}

}  // namespace

void handle_review(const std::shared_ptr<Context>& context, Services& services, Security& security) {
  (void)services;
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto body = decode_body(*context, resource.group, resource.version, resource.kind, *resource.schema);
  if (!body) return fail(body.error());
  Value& review = body->object;
  Value& spec = review["spec"];
  schema::FieldErrors errors;
  if (resource.plural == "tokenreviews") {
    const std::string token(spec.str_at({"token"}));
    if (token.empty()) return fail(bad_request("token is required for TokenReview in authentication"));
    std::vector<std::string> audiences;
    if (const Value* a = spec.get("audiences")) {
      for (const Value& v : a->items()) audiences.emplace_back(v.str());
    }
    const bool own = audiences.empty();
    TokenVerdict verdict = security.authenticator.review_token(token, own ? security.authenticator.options().api_audiences : audiences);
    Value& status = review["status"];
    status = json::Object();
    status["user"] = json::Object();
    if (verdict.authenticated) {
      if (!verdict.user.in_group(kAuthenticated)) verdict.user.groups.emplace_back(kAuthenticated);
      status["authenticated"] = true;
      status["user"] = user_document(verdict.user);
      if (!verdict.audiences.empty()) status["audiences"] = text_list(verdict.audiences);
    } else if (!verdict.error.empty()) {
      status["error"] = verdict.error;
    }
    return send_document(*context, 201, review);
  }
  if (resource.plural == "selfsubjectreviews") {
    review["status"]["userInfo"] = user_document(context->user);
    return send_document(*context, 201, review);
  }
  if (resource.plural == "selfsubjectrulesreviews") {
    const std::string_view ns = spec.str_at({"namespace"});
    if (ns.empty()) return fail(bad_request("no namespace on request"));
    Value& status = review["status"];
    json::Array& resource_rules = status["resourceRules"].make_array();
    json::Array& url_rules = status["nonResourceRules"].make_array();
    status["incomplete"] = false;
    for (const PolicyRule& rule : security.authorizer.rules_for(context->user, ns)) {
      Value item = json::Object();
      item["verbs"] = text_list(rule.verbs);
      if (!rule.resources.empty()) {
        item["apiGroups"] = text_list(rule.api_groups);
        item["resources"] = text_list(rule.resources);
        if (!rule.resource_names.empty()) item["resourceNames"] = text_list(rule.resource_names);
        resource_rules.push_back(std::move(item));
      } else {
        item["nonResourceURLs"] = text_list(rule.non_resource_urls);
        url_rules.push_back(std::move(item));
      }
    }
    return send_document(*context, 201, review);
  }
  // Access reviews.
  const bool has_resource = spec.get("resourceAttributes") != nullptr, has_url = spec.get("nonResourceAttributes") != nullptr;
  if (has_resource && has_url) {
    errors.invalid("spec.nonResourceAttributes", *spec.get("nonResourceAttributes"),
                   "cannot be specified in combination with resourceAttributes");
  }
  if (!has_resource && !has_url) {
    errors.invalid("spec.resourceAttributes", nullptr, "exactly one of nonResourceAttributes or resourceAttributes must be specified");
  }
  UserInfo user = context->user;
  if (!resource.plural.starts_with("self")) {
    user = UserInfo();
    user.name = spec.str_at({"user"});
    user.uid = spec.str_at({"uid"});
    if (const Value* groups = spec.get("groups")) {
      for (const Value& g : groups->items()) user.groups.emplace_back(g.str());
    }
    if (user.name.empty() && user.groups.empty()) errors.invalid("spec.user", "", "at least one of user or group must be specified");
  }
  if (Status s = errors.to_status(resource.group, resource.kind, ""); !s.ok()) return fail(s);
  if (resource.plural == "localsubjectaccessreviews") {
    if (spec.str_at({"resourceAttributes", "namespace"}) != context->info.namespace_) {
      return fail(bad_request("spec.resourceAttributes.namespace must match namespace: " + context->info.namespace_));
    }
  }
  const Decision decision = security.authorizer.authorize(attributes_from(spec, user));
  Value& status = review["status"];
  status = json::Object();
  status["allowed"] = decision.allowed;
  if (!decision.reason.empty()) status["reason"] = decision.reason;
  send_document(*context, 201, review);
}

}  // namespace engenho::apiserver
