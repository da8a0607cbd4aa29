// The admission plugins that a Kubernetes API server has switched on by default and that this one has.
#pragma once

#include <memory>

#include "engenho/apiserver/admission.h"
#include "rest.h"

namespace engenho::apiserver {

std::unique_ptr<AdmissionPlugin> namespace_lifecycle(Rest& rest);
std::unique_ptr<AdmissionPlugin> service_account(Rest& rest);
std::unique_ptr<AdmissionPlugin> default_toleration_seconds();
std::unique_ptr<AdmissionPlugin> pod_priority(Rest& rest);
std::unique_ptr<AdmissionPlugin> taint_nodes_by_condition();
std::unique_ptr<AdmissionPlugin> node_restriction(Rest& rest);
std::unique_ptr<AdmissionPlugin> storage_in_use_protection();
std::unique_ptr<AdmissionPlugin> limit_ranger(Rest& rest);
std::unique_ptr<AdmissionPlugin> resource_quota(Rest& rest);  // last: what it counts is not taken back
std::unique_ptr<AdmissionPlugin> default_storage_class(Rest& rest);
std::unique_ptr<AdmissionPlugin> default_ingress_class(Rest& rest);
class Authorizer;
std::unique_ptr<AdmissionPlugin> escalation_check(Authorizer& authorizer);
std::unique_ptr<AdmissionPlugin> certificate_requests(Authorizer& authorizer);
std::unique_ptr<AdmissionPlugin> plan_approvals(Authorizer& authorizer);

}  // namespace engenho::apiserver
