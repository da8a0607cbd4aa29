// CertificateSigningRequests.
#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/pki/certificate.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

void signer_name(FieldErrors& errors, std::string_view name) {
  const std::string path = "spec.signerName";
  if (name.empty()) return errors.required(path);
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos || slash + 1 == name.size() || slash == 0) {
    return errors.invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
  }
  messages(errors, path, name.substr(0, slash), schema::is_dns1123_subdomain(name.substr(0, slash)));
  for (std::string_view part : split(name.substr(slash + 1), '.')) messages(errors, path, name.substr(slash + 1), schema::is_dns1123_label(to_lower(part)));
  if (name.substr(0, slash).find('.') == std::string_view::npos) errors.invalid(path, name.substr(0, slash), "should be a domain with at least two segments separated by dots");
  if (name == "kubernetes.io/legacy-unknown") errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
}

void usages(FieldErrors& errors, const json::Array& items) {
  static const std::vector<std::string> kUsages = {
      "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection",
      "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
      "server auth", "signing", "timestamping"};
  if (items.empty()) errors.required("spec.usages");
  for (size_t i = 0; i < items.size(); ++i) {
    if (std::find(kUsages.begin(), kUsages.end(), items[i].str()) == kUsages.end()) errors.not_supported(at("spec.usages", i), items[i], kUsages);
  }
  std::set<std::string_view> seen;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!seen.insert(items[i].str()).second) errors.duplicate(at("spec.usages", i), items[i]);
  }
}

const Value* condition(const Value& object, std::string_view type) {
  const Value* conditions = object.at({"status", "conditions"});
  if (conditions == nullptr) return nullptr;
  for (const Value& c : conditions->items()) {
    if (c.str_at({"type"}) == type) return &c;
  }
  return nullptr;
}

void conditions(FieldErrors& errors, const Value& object) {
  const Value* list = object.at({"status", "conditions"});
  if (list == nullptr) return;
  std::set<std::string_view> seen;
  size_t i = 0;
  for (const Value& c : list->items()) {
    const std::string here = at("status.conditions", i++);
    const std::string_view type = c.str_at({"type"}), status = c.str_at({"status"});
    if (type.empty()) errors.required(here / "type");
    if (status.empty()) errors.required(here / "status");
    else if (type == "Approved" || type == "Denied" || type == "Failed") one_of(errors, here / "status", status, {"True"});
    else one_of(errors, here / "status", status, {"False", "True", "Unknown"});
    const bool rival = (type == "Approved" && seen.contains("Denied")) || (type == "Denied" && seen.contains("Approved"));
    if (rival) errors.invalid("status.conditions", type, "Approved and Denied conditions are mutually exclusive");
    if (!seen.insert(type).second) errors.duplicate(here / "type", type);
  }
}

}  // namespace

void certificate_request(FieldErrors& errors, const Value& object) {
  const Value none = json::Object();
  const Value* found = object.get("spec");
  const Value& spec = found == nullptr ? none : *found;
  const std::string_view request = spec.str_at({"request"});
  auto pem = base64_decode(request);
  if (request.empty() || !pem || pem->find("-----BEGIN CERTIFICATE REQUEST-----") == std::string::npos) {
    errors.invalid("spec.request", request.empty() ? Value() : Value(request), "PEM block type must be CERTIFICATE REQUEST");
  } else if (auto parsed = pki::SigningRequest::from_pem(*pem); !parsed) {
    errors.invalid("spec.request", request, parsed.error().message());
  }
  usages(errors, list(spec, "usages"));
  signer_name(errors, spec.str_at({"signerName"}));
  if (const Value* seconds = spec.get("expirationSeconds"); is_set(seconds) && seconds->int_or(0) < 600) {
    errors.invalid("spec.expirationSeconds", *seconds, "may not specify a duration less than 600 seconds (10 minutes)");
  }
}

void certificate_request_update(FieldErrors& errors, std::string_view subresource, const Value& object, const Value& old) {
  conditions(errors, object);
  for (const char* type : {"Approved", "Denied", "Failed"}) {
    const bool now = condition(object, type) != nullptr, before = condition(old, type) != nullptr;
    const std::string what = std::string(" a condition of type \"") + type + "\"";
    if (before && !now) errors.forbidden("status.conditions", "updates may not remove" + what);
    if (now && !before && subresource == "status" && std::string_view(type) != "Failed") errors.forbidden("status.conditions", "updates may not add" + what);
  }
  const std::string_view now = object.str_at({"status", "certificate"}), before = old.str_at({"status", "certificate"});
  if (now == before) return;
  if (!before.empty()) return errors.forbidden("status.certificate", "updates may not modify existing certificate content");
  auto pem = base64_decode(now);
  if (!pem || !pki::Certificate::all_from_pem(*pem) || pki::Certificate::all_from_pem(*pem)->empty()) {
    errors.invalid("status.certificate", "<certificate data>", "must contain at least one CERTIFICATE PEM block");
  }
}

}  // namespace engenho::apiserver::validation
