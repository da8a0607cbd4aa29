#include "references.h"

#include <algorithm>

namespace engenho::pangea {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

class Collector {
 public:
  explicit Collector(std::string own) : own_(std::move(own)) {}
  void add(std::string field, const std::string& written) { out_.push_back({std::move(field), written.empty() ? own_ : written}); }
  template <typename Ref>
  void add(std::string field, const k8s::Box<Ref>& reference) {
    if (reference) add(std::move(field), reference->namespace_);
  }
  void route(const std::string& field, const k8s::Box<pangea_v1::ApprovalRouting>& routing) {
    if (routing) add(field + ".slackWebhookSecretRef", routing->slack_webhook_secret_ref);
  }
  std::vector<Reference> take() { return std::move(out_); }

 private:
  const std::string own_;
  std::vector<Reference> out_;
};

}  // namespace

std::vector<Reference> references_of(const pangea_v1::InfrastructureTemplate& object) {
  const auto& spec = object.spec;
  Collector c(object.metadata.namespace_);
  if (spec.source) {
    c.add("spec.source.configMapRef", spec.source->config_map_ref);
    c.add("spec.source.secretRef", spec.source->secret_ref);
  }
  for (const auto& [name, reference] : spec.variable_refs) c.add("spec.variableRefs." + name + ".templateRef", reference.template_ref.namespace_);
  if (spec.provider_credentials) {
    const auto& p = *spec.provider_credentials;
    for (const auto& [provider, credential] : {std::pair("aws", &p.aws),
                                               {"cloudflare", &p.cloudflare},
                                               {"github", &p.github},
                                               {"porkbun", &p.porkbun},
                                               {"akeyless", &p.akeyless},
                                               {"datadog", &p.datadog}}) {
      if (*credential) c.add(std::string("spec.providerCredentials.") + provider + ".secretRef", (*credential)->secret_ref);
    }
  }
  for (size_t i = 0; i < spec.output_bindings.size(); ++i)
    c.add("spec.outputBindings[" + std::to_string(i) + "].secretRef", spec.output_bindings[i].secret_ref.namespace_);
  for (size_t i = 0; i < spec.secret_files.size(); ++i)
    c.add("spec.secretFiles[" + std::to_string(i) + "].secretRef", spec.secret_files[i].secret_ref.namespace_);
  if (spec.policy) {
    c.route("spec.policy.approvalRouting", spec.policy->approval_routing);
    if (const auto& reactive = spec.policy->reactive) {
      if (reactive->failure_escalation) c.route("spec.policy.reactive.failureEscalation.routing", reactive->failure_escalation->routing);
      if (reactive->phase_timeout) c.route("spec.policy.reactive.phaseTimeout.routing", reactive->phase_timeout->routing);
      if (reactive->verified_blocked) c.route("spec.policy.reactive.verifiedBlocked.routing", reactive->verified_blocked->routing);
    }
  }
  return c.take();
}

Status check_references(const pangea_v1::InfrastructureTemplate& object, const pangea_v1::PangeaNamespace* place) {
  const std::string& own = object.metadata.namespace_;
  auto forbidden = [](std::string message) { return Status(403, reason::kForbidden, std::move(message)); };
  if (place != nullptr && !place->spec.allowed_namespaces.empty() && !contains(place->spec.allowed_namespaces, own)) {
    return forbidden("spec.pangeaNamespace: PangeaNamespace " + place->metadata.name + " is not for templates of namespace " + own +
                     " (its spec.allowedNamespaces)");
  }
  for (const Reference& r : references_of(object)) {
    if (r.namespace_ == own || (place != nullptr && contains(place->spec.allowed_reference_namespaces, r.namespace_))) continue;
    return forbidden(r.field + ": namespace " + r.namespace_ + " is not the template's own, and spec.allowedReferenceNamespaces of PangeaNamespace " +
                     object.spec.pangea_namespace + " does not name it");
  }
  return {};
}

}  // namespace engenho::pangea
