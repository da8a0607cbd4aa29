// Who approves a plan of an InfrastructureTemplate must be one who may: those who may create infrastructuretemplates/approve. Who it was stands in an
// annotation that nobody else writes.
#include "admission_plugins.h"
#include "authorizer.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr std::string_view kOperator = "system:pangea";
constexpr std::string_view kApprovedBy = "pangea.pleme.io/approved-by";

class PlanApprovals final : public AdmissionPlugin {
 public:
  explicit PlanApprovals(Authorizer& authorizer) : authorizer_(authorizer) {}
  std::string_view name() const override { return "PlanApproval"; }

  Status mutate(AdmissionRequest& r) override {
    if (!r.is("pangea.pleme.io", "infrastructuretemplates") || r.object == nullptr) return {};
    if (r.subresource == "status") {
      static const Value none;
      const Value *now = r.object->at({"status", "approval"}), *before = r.old_object == nullptr ? nullptr : r.old_object->at({"status", "approval"});
      const bool given = now != nullptr && !now->is_null() && (before == nullptr || !(*now == *before));
      if (!given) return {};
      if (!may_approve(r)) return refuse(r);
      // Whoever writes the status by hand approves in his own name; the subresource says for whom it does.
      if (r.user->name != kOperator) {
        Value& approval = (*r.object)["status"]["approval"];
        approval["approver"] = r.user->name;
        json::Array& groups = approval["groups"].make_array();
        groups.clear();
        for (const std::string& group : r.user->groups) groups.emplace_back(group);
        approval["via"] = "status";
      }
      return {};
    }
    if (!r.subresource.empty()) return {};
    const std::string_view now = r.object->str_at({"spec", "approvedPlanHash"});
    const std::string_view before = r.old_object == nullptr ? std::string_view() : r.old_object->str_at({"spec", "approvedPlanHash"});
    const bool approves = !now.empty() && now != before;
    if (approves && !may_approve(r)) return refuse(r);
    if (approves) (*r.object)["metadata"]["annotations"][kApprovedBy] = r.user->name;
    else keep_annotation(*r.object, r.old_object);
    return {};
  }

 private:
  static void keep_annotation(Value& object, const Value* old) {
    const Value* had = old == nullptr ? nullptr : old->at({"metadata", "annotations", kApprovedBy});
    Value* annotations = object.at({"metadata", "annotations"});
    if (had != nullptr) object["metadata"]["annotations"][kApprovedBy] = *had;
    else if (annotations != nullptr && annotations->is_object() && annotations->as_object().erase(kApprovedBy) && annotations->members().empty()) {
      object["metadata"].as_object().erase("annotations");
    }
  }

  static Status refuse(const AdmissionRequest& r) {
    return schema::forbidden({r.group, r.resource}, r.name, "user \"" + r.user->name + "\" may not approve plans: that needs create on infrastructuretemplates/approve");
  }

  bool may_approve(const AdmissionRequest& r) {
    Attributes a;
    a.user = r.user;
    a.is_resource = true;
    a.verb = "create";
    a.group = r.group;
    a.version = r.version;
    a.resource = r.resource;
    a.subresource = "approve";
    a.namespace_name = r.namespace_name;
    a.name = r.name;
    return authorizer_.authorize(a).allowed;
  }

  Authorizer& authorizer_;
};

}  // namespace

std::unique_ptr<AdmissionPlugin> plan_approvals(Authorizer& authorizer) { return std::make_unique<PlanApprovals>(authorizer); }

}  // namespace engenho::apiserver
