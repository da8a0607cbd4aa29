// The API server's errors, with the texts, reasons and details that clients match on (apimachinery's api/errors and
// util/validation/field say what they are).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::schema {

struct GroupResource {
  std::string_view group, resource;
  std::string to_string() const;  // "deployments.apps", "pods"
};

Status not_found(GroupResource what, std::string_view name);
Status already_exists(GroupResource what, std::string_view name);
Status conflict(GroupResource what, std::string_view name, std::string_view why);
Status forbidden(GroupResource what, std::string_view name, std::string_view why);
Status gone_expired(std::string message);                 // 410 Expired
Status method_not_supported(GroupResource what, std::string_view verb);
Status unauthorized();
Status too_many_requests(std::string message, int retry_after_seconds);
Status server_timeout(GroupResource what, std::string_view operation, int retry_after_seconds);
// 404 for a path that names no resource.
Status unknown_resource();
// 500 as Go callers see a plain error.
Status internal(std::string_view message);

enum class FieldErrorType {
  kNotFound, kRequired, kDuplicate, kInvalid, kNotSupported, kForbidden, kTooLong, kTooMany, kInternal, kTypeInvalid
};

struct FieldError {
  FieldErrorType type = FieldErrorType::kInvalid;
  std::string field;
  json::Value value;
  std::string detail;
  std::string body() const;     // without the field: `Invalid value: "x": must be ...`
  std::string message() const;  // with it
};

// Collects the errors of a validation. Paths are dotted text made with child(), index() and key().
class FieldErrors {
 public:
  void add(FieldErrorType type, std::string field, json::Value value, std::string detail);
  void invalid(std::string field, json::Value value, std::string detail);
  void required(std::string field, std::string detail = "");
  void duplicate(std::string field, json::Value value);
  void not_supported(std::string field, json::Value value, const std::vector<std::string>& supported);
  void forbidden(std::string field, std::string detail);
  void too_long(std::string field, size_t max_bytes);
  void too_many(std::string field, size_t actual, size_t max);
  void not_found(std::string field, json::Value value);
  void append(FieldErrors other);

  bool empty() const { return errors_.empty(); }
  size_t size() const { return errors_.size(); }
  const std::vector<FieldError>& errors() const { return errors_; }
  // 422 Invalid for the object; OK when there are no errors.
  Status to_status(std::string_view group, std::string_view kind, std::string_view name) const;

 private:
  std::vector<FieldError> errors_;
};

std::string child(std::string_view path, std::string_view name);
std::string index(std::string_view path, size_t i);
std::string key(std::string_view path, std::string_view k);

// metav1.Status of an error as a document, and back (what a client reads).
json::Value to_document(const Status& status);
Status from_document(const json::Value& document);

}  // namespace engenho::schema
