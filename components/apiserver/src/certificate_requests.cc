// CertificateSigningRequests: who asks is who is asking, and only who may speak for a signer approves or signs.
// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
#include <algorithm>

#include "admission_plugins.h"
#include "authorizer.h"
#include "engenho/base/bytes.h"
#include "engenho/pki/certificate.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

class CertificateRequests final : public AdmissionPlugin {
 public:
  explicit CertificateRequests(Authorizer& authorizer) : authorizer_(authorizer) {}
  std::string_view name() const override { return "CertificateApproval"; }

  Status mutate(AdmissionRequest& r) override {
    if (!mine(r) || r.object == nullptr || !r.subresource.empty()) return {};
    Value& spec = (*r.object)["spec"];
    if (r.operation == Operation::kUpdate) {
      // What was asked for stays what it was.
      if (const Value* old = r.old_object->get("spec")) spec = *old;
      return {};
    }
    if (r.operation != Operation::kCreate) return {};
    json::Object& members = spec.make_object();
    for (const char* member : {"username", "uid", "groups", "extra"}) members.erase(member);
    members.set("username", r.user->name);
    if (!r.user->uid.empty()) members.set("uid", r.user->uid);
    if (!r.user->groups.empty()) members.set("groups", json::Array(r.user->groups.begin(), r.user->groups.end()));
    for (const auto& [k, values] : r.user->extra) spec["extra"][k] = json::Array(values.begin(), values.end());
    return {};
  }

  Status validate(const AdmissionRequest& r) override {
    if (!mine(r) || r.object == nullptr) return {};
    const std::string signer(r.object->str_at({"spec", "signerName"}));
    if (r.operation == Operation::kCreate) return subject(r, signer);
    if (r.operation != Operation::kUpdate) return {};
    if (r.subresource == "approval" && !may(r, "approve", signer)) return refuse(r, "approve", signer);
    if (r.subresource == "status") {
      const Value *now = r.object->get("status"), *before = r.old_object->get("status");
      const bool same = (now == nullptr && before == nullptr) || (now != nullptr && before != nullptr && *now == *before);
      if (!same && !may(r, "sign", signer)) return refuse(r, "sign", signer);
    }
    return {};
  }

 private:
  static bool mine(const AdmissionRequest& r) { return r.is("certificates.k8s.io", "certificatesigningrequests"); }

  static Status refuse(const AdmissionRequest& r, const std::string& verb, const std::string& signer) {
    return schema::forbidden({r.group, r.resource}, r.name, "user not permitted to " + verb + " requests with signerName " + json::dump(Value(signer)));
  }

  // The signer by name, or all of its domain.
  bool may(const AdmissionRequest& r, std::string_view verb, const std::string& signer) {
    for (const std::string& target : {signer, signer.substr(0, signer.find('/')) + "/*"}) {
      Attributes a;
      a.user = r.user;
      a.is_resource = true;
      a.verb = verb;
      a.group = "certificates.k8s.io";
      a.version = "*";
      a.resource = "signers";
      a.name = target;
      if (authorizer_.authorize(a).allowed) return true;
    }
    return false;
  }

  // Nobody gets the group that may do everything from a signer that others approve for.
  static Status subject(const AdmissionRequest& r, const std::string& signer) {
    if (signer != "kubernetes.io/kube-apiserver-client") return {};
    auto pem = base64_decode(r.object->str_at({"spec", "request"}));
    auto request = pem ? pki::SigningRequest::from_pem(*pem) : Result<pki::SigningRequest>(err(bad_request("")));
    if (!request) {
      return schema::forbidden({r.group, r.resource}, r.name, "failed to parse CSR: " + (pem ? request.error().message() : pem.error().message()));
    }
    const auto& groups = request->names().organizations;
    if (std::find(groups.begin(), groups.end(), kMasters) == groups.end()) return {};
    return schema::forbidden({r.group, r.resource}, r.name, "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
  }

  Authorizer& authorizer_;
};

}  // namespace

std::unique_ptr<AdmissionPlugin> certificate_requests(Authorizer& authorizer) { return std::make_unique<CertificateRequests>(authorizer); }

}  // namespace engenho::apiserver
