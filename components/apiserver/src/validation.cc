// The dispatch of per-kind validation: which rules apply to which kind. And what the rules share.
#include "validation.h"

#include <algorithm>

#include "strategy.h"
#include "validation_definition.h"

namespace engenho::apiserver {

namespace validation {

void messages(FieldErrors& errors, const std::string& path, const Value& value, const schema::Messages& list) {
  for (const std::string& m : list) errors.invalid(path, value, m);
}
void unsupported(FieldErrors& errors, const std::string& path, const Value& value, std::initializer_list<std::string_view> supported) {
  std::string detail = "supported values: ";
  bool first = true;
  for (std::string_view s : supported) {
    if (!first) detail += ", ";
    first = false;
    detail += '"' + std::string(s) + '"';
  }
  errors.add(FieldErrorType::kNotSupported, path, value, detail);
}
bool one_of(FieldErrors& errors, const std::string& path, std::string_view value, std::initializer_list<std::string_view> supported) {
  if (std::find(supported.begin(), supported.end(), value) != supported.end()) return true;
  unsupported(errors, path, value, supported);
  return false;
}
void nonnegative(FieldErrors& errors, const std::string& path, const Value* value) {
  if (value != nullptr && value->int_or(0) < 0) errors.invalid(path, *value, "must be greater than or equal to 0");
}
bool is_set(const Value* v) { return v != nullptr && !v->is_null(); }
int64_t number(const Value& object, std::string_view member, int64_t otherwise) {
  const Value* v = object.get(member);
  return v == nullptr ? otherwise : v->int_or(otherwise);
}
bool flag(const Value& object, std::string_view member) {
  const Value* v = object.get(member);
  return v != nullptr && v->bool_or(false);
}
const json::Array& list(const Value& object, std::string_view member) {
  static const json::Array none;
  const Value* v = object.get(member);
  return v == nullptr ? none : v->items();
}

void port_number_or_name(FieldErrors& errors, const std::string& path, const Value* value) {
  if (value != nullptr && value->is_string()) messages(errors, path, *value, schema::is_valid_port_name(value->str()));
  else if (const int64_t n = value == nullptr ? 0 : value->int_or(0)) messages(errors, path, n, schema::is_valid_port_number(n));
  else messages(errors, path, 0, schema::is_valid_port_number(0));
}

namespace {
bool is_percent(std::string_view s) {
  return s.size() > 1 && s.back() == '%' && s.find_first_not_of("0123456789") == s.size() - 1;
}
}  // namespace

void number_or_percent(FieldErrors& errors, const std::string& path, const Value& value) {
  if (value.is_string()) {
    if (is_percent(value.str())) return;
    errors.invalid(path, value,
                   "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
                   "validation is '[0-9]+%')");
  } else {
    nonnegative(errors, path, &value);
  }
}
void not_above_100_percent(FieldErrors& errors, const std::string& path, const Value& value) {
  if (!is_percent(value.str())) return;
  const std::string_view digits = value.str();
  int64_t n = 0;
  for (char c : digits.substr(0, std::min<size_t>(digits.size() - 1, 9))) n = n * 10 + (c - '0');
  if (n > 100) errors.invalid(path, value, "must not be greater than 100%");
}

bool selector_matches(const Value* selector, const Value* labels) {
  if (!is_set(selector)) return false;
  const Value none = json::Object();
  const Value& have = labels == nullptr ? none : *labels;
  if (const Value* exact = selector->get("matchLabels")) {
    for (const auto& [k, v] : exact->members()) {
      const Value* mine = have.get(k);
      if (mine == nullptr || !(*mine == v)) return false;
    }
  }
  for (const Value& e : list(*selector, "matchExpressions")) {
    const std::string_view op = e.str_at({"operator"});
    const Value* mine = have.get(e.str_at({"key"}));
    const json::Array& values = list(e, "values");
    const bool in = mine != nullptr && std::find(values.begin(), values.end(), *mine) != values.end();
    if ((op == "In" && !in) || (op == "NotIn" && in) || (op == "Exists" && mine == nullptr) || (op == "DoesNotExist" && mine != nullptr)) {
      return false;
    }
  }
  return true;
}

void immutable(FieldErrors& errors, const std::string& path, const Value* now, const Value* old) {
  const Value a = now == nullptr ? Value() : *now, b = old == nullptr ? Value() : *old;
  if (!(a == b)) errors.invalid(path, a, "field is immutable");
}

}  // namespace validation

void validate_create(const ResourceDef& resource, const json::Value& object, schema::FieldErrors& errors) {
  using namespace validation;
  if (resource.custom != nullptr) return custom(errors, resource, "", object, nullptr);
  if (resource.kind == "CustomResourceDefinition") return definition(errors, object, nullptr);
  if (resource.kind == "CertificateSigningRequest") return certificate_request(errors, object);
  if (resource.kind == "LimitRange") return limit_range(errors, object);
  if (resource.group.empty() && resource.plural == "pods") return create_pod(errors, object);
  workloads(errors, resource, object, nullptr) || core(errors, resource, object, nullptr) || policy(errors, resource, object, nullptr);
}

void validate_update(const ResourceDef& resource, std::string_view subresource, const json::Value& object, const json::Value& old,
                     schema::FieldErrors& errors) {
  using namespace validation;
  if (resource.custom != nullptr) return custom(errors, resource, subresource, object, &old);
  if (subresource == "status" && status_rules(errors, resource, object, old)) return;
  if (resource.group.empty() && resource.plural == "pods") return update_pod(errors, subresource, object, old);
  if (resource.kind == "CertificateSigningRequest") return certificate_request_update(errors, subresource, object, old);
  if (resource.kind == "CustomResourceDefinition" && subresource.empty()) return definition(errors, object, &old);
  // Of a status or a scale, the spec has been checked when it was written.
  if (!subresource.empty() && subresource != "scale") return;
  if (resource.kind == "LimitRange") return limit_range(errors, object);
  immutable_fields(errors, resource, object, old);
  workloads(errors, resource, object, &old) || core(errors, resource, object, &old) || policy(errors, resource, object, &old);
}

}  // namespace engenho::apiserver
