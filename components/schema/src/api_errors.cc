#include "engenho/schema/api_errors.h"

#include "engenho/schema/go_values.h"

#include <algorithm>

namespace engenho::schema {

namespace {

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\r': out += "\\r"; break;
      default:
        if (c < 0x20 || c == 0x7F) {
          constexpr char kHex[] = "0123456789abcdef";
          out += "\\x";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += static_cast<char>(c);
        }
    }
  }
  return out + "\"";
}

StatusDetails details_of(GroupResource what, std::string_view name) {
  StatusDetails details;
  details.name = name;
  details.group = what.group;
  details.kind = what.resource;
  return details;
}

}  // namespace

std::string GroupResource::to_string() const {
  return group.empty() ? std::string(resource) : std::string(resource) + "." + std::string(group);
}

Status not_found(GroupResource what, std::string_view name) {
  return Status(404, reason::kNotFound, what.to_string() + " " + quote(name) + " not found", details_of(what, name));
}
Status already_exists(GroupResource what, std::string_view name) {
  return Status(409, reason::kAlreadyExists, what.to_string() + " " + quote(name) + " already exists", details_of(what, name));
}
Status conflict(GroupResource what, std::string_view name, std::string_view why) {
  return Status(409, reason::kConflict,
                "Operation cannot be fulfilled on " + what.to_string() + " " + quote(name) + ": " + std::string(why),
                details_of(what, name));
}
Status forbidden(GroupResource what, std::string_view name, std::string_view why) {
  std::string message;
  if (what.resource.empty()) message = "forbidden: " + std::string(why);
  else if (name.empty()) message = what.to_string() + " is forbidden: " + std::string(why);
  else message = what.to_string() + " " + quote(name) + " is forbidden: " + std::string(why);
  return Status(403, reason::kForbidden, std::move(message), details_of(what, name));
}
Status gone_expired(std::string message) { return Status(410, reason::kExpired, std::move(message)); }
Status method_not_supported(GroupResource what, std::string_view verb) {
  StatusDetails details;
  details.group = what.group;
  details.kind = what.resource;
  return Status(405, reason::kMethodNotAllowed,
                std::string(verb) + " is not supported on resources of kind " + quote(what.to_string()), std::move(details));
}
Status unauthorized() { return Status(401, reason::kUnauthorized, "Unauthorized"); }
Status too_many_requests(std::string message, int retry_after_seconds) {
  StatusDetails details;
  details.retry_after_seconds = retry_after_seconds;
  return Status(429, reason::kTooManyRequests, std::move(message), std::move(details));
}
Status server_timeout(GroupResource what, std::string_view operation, int retry_after_seconds) {
  StatusDetails details;
  details.group = what.group;
  details.kind = what.resource;
  details.name = operation;
  details.retry_after_seconds = retry_after_seconds;
  return Status(500, reason::kServerTimeout,
                "The " + std::string(operation) + " operation against " + what.to_string() +
                    " could not be completed at this time, please try again.",
                std::move(details));
}
Status unknown_resource() {
  return Status(404, reason::kNotFound, "the server could not find the requested resource", {});
}
Status internal(std::string_view message) {
  StatusDetails details;
  details.causes.push_back({"", std::string(message), ""});
  return Status(500, reason::kInternalError, "Internal error occurred: " + std::string(message), std::move(details));
}

// --- field errors --------------------------------------------------------------------------------

namespace {

std::string_view type_text(FieldErrorType type) {
  switch (type) {
    case FieldErrorType::kNotFound: return "Not found";
    case FieldErrorType::kRequired: return "Required value";
    case FieldErrorType::kDuplicate: return "Duplicate value";
    case FieldErrorType::kInvalid: return "Invalid value";
    case FieldErrorType::kNotSupported: return "Unsupported value";
    case FieldErrorType::kForbidden: return "Forbidden";
    case FieldErrorType::kTooLong: return "Too long";
    case FieldErrorType::kTooMany: return "Too many";
    case FieldErrorType::kInternal: return "Internal error";
    case FieldErrorType::kTypeInvalid: return "Invalid value";
  }
  return "";
}

std::string_view type_reason(FieldErrorType type) {
  switch (type) {
    case FieldErrorType::kNotFound: return "FieldValueNotFound";
    case FieldErrorType::kRequired: return "FieldValueRequired";
    case FieldErrorType::kDuplicate: return "FieldValueDuplicate";
    case FieldErrorType::kInvalid: return "FieldValueInvalid";
    case FieldErrorType::kNotSupported: return "FieldValueNotSupported";
    case FieldErrorType::kForbidden: return "FieldValueForbidden";
    case FieldErrorType::kTooLong: return "FieldValueTooLong";
    case FieldErrorType::kTooMany: return "FieldValueTooMany";
    case FieldErrorType::kInternal: return "InternalError";
    case FieldErrorType::kTypeInvalid: return "FieldValueTypeInvalid";
  }
  return "";
}

}  // namespace

std::string FieldError::body() const {
  std::string out(type_text(type));
  switch (type) {
    case FieldErrorType::kRequired:
    case FieldErrorType::kForbidden:
    case FieldErrorType::kTooLong:
    case FieldErrorType::kInternal: break;
    default:
      if (const std::string* raw = raw_text_of(value); raw != nullptr && raw->empty()) break;
      // Numbers, booleans and null are written bare, text is quoted, the rest is JSON.
      out += ": ";
      if (const std::string* raw = raw_text_of(value)) out += *raw;
      else out += value.is_string() ? quote(value.as_string()) : json::dump(value);
  }
  if (!detail.empty()) out += ": " + detail;
  return out;
}

std::string FieldError::message() const { return field + ": " + body(); }

void FieldErrors::add(FieldErrorType type, std::string field, json::Value value, std::string detail) {
  errors_.push_back({type, std::move(field), std::move(value), std::move(detail)});
}
void FieldErrors::invalid(std::string field, json::Value value, std::string detail) {
  add(FieldErrorType::kInvalid, std::move(field), std::move(value), std::move(detail));
}
void FieldErrors::required(std::string field, std::string detail) {
  add(FieldErrorType::kRequired, std::move(field), "", std::move(detail));
}
void FieldErrors::duplicate(std::string field, json::Value value) {
  add(FieldErrorType::kDuplicate, std::move(field), std::move(value), "");
}
void FieldErrors::not_supported(std::string field, json::Value value, const std::vector<std::string>& supported) {
  std::vector<std::string> sorted = supported;
  std::sort(sorted.begin(), sorted.end());
  std::string detail;
  for (const std::string& s : sorted) {
    if (!detail.empty()) detail += ", ";
    detail += quote(s);
  }
  add(FieldErrorType::kNotSupported, std::move(field), std::move(value),
      supported.empty() ? "" : "supported values: " + detail);
}
void FieldErrors::forbidden(std::string field, std::string detail) {
  add(FieldErrorType::kForbidden, std::move(field), "", std::move(detail));
}
void FieldErrors::too_long(std::string field, size_t max_bytes) {
  add(FieldErrorType::kTooLong, std::move(field), "", "may not be more than " + std::to_string(max_bytes) + " bytes");
}
void FieldErrors::too_many(std::string field, size_t actual, size_t max) {
  add(FieldErrorType::kTooMany, std::move(field), static_cast<int64_t>(actual),
      "must have at most " + std::to_string(max) + (max == 1 ? " item" : " items"));
}
void FieldErrors::not_found(std::string field, json::Value value) {
  add(FieldErrorType::kNotFound, std::move(field), std::move(value), "");
}
void FieldErrors::append(FieldErrors other) {
  for (FieldError& e : other.errors_) errors_.push_back(std::move(e));
}

Status FieldErrors::to_status(std::string_view group, std::string_view kind, std::string_view name) const {
  if (errors_.empty()) return {};
  StatusDetails details;
  details.name = name;
  details.group = group;
  details.kind = kind;
  std::vector<std::string> messages;
  for (const FieldError& e : errors_) {
    details.causes.push_back({std::string(type_reason(e.type)), e.body(), e.field});
    std::string message = e.message();
    if (std::find(messages.begin(), messages.end(), message) == messages.end()) messages.push_back(std::move(message));
  }
  std::string text = (group.empty() ? std::string(kind) : std::string(kind) + "." + std::string(group)) + " " + quote(name) +
                     " is invalid: ";
  if (messages.size() > 1) text += "[";
  for (size_t i = 0; i < messages.size(); ++i) text += (i > 0 ? ", " : "") + messages[i];
  if (messages.size() > 1) text += "]";
  return Status(422, reason::kInvalid, std::move(text), std::move(details));
}

std::string child(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : std::string(path) + "." + std::string(name);
}
std::string index(std::string_view path, size_t i) { return std::string(path) + "[" + std::to_string(i) + "]"; }
std::string key(std::string_view path, std::string_view k) { return std::string(path) + "[" + std::string(k) + "]"; }

json::Value to_document(const Status& status) {
  json::Value out;
  out["apiVersion"] = "v1";
  out["kind"] = "Status";
  out["metadata"] = json::Object();
  out["status"] = status.ok() ? "Success" : "Failure";
  if (!status.message().empty()) out["message"] = status.message();
  if (!status.reason().empty()) out["reason"] = status.reason();
  const StatusDetails& d = status.details();
  // Errors of these reasons always come with details, be they empty.
  const bool always = status.is(reason::kNotFound) || status.is(reason::kForbidden) || status.is(reason::kMethodNotAllowed) ||
                      status.is(reason::kConflict) || status.is(reason::kAlreadyExists);
  if (!d.empty() || always) {
    json::Value& details = out["details"];
    details.make_object();
    if (!d.name.empty()) details["name"] = d.name;
    if (!d.group.empty()) details["group"] = d.group;
    if (!d.kind.empty()) details["kind"] = d.kind;
    if (!d.uid.empty()) details["uid"] = d.uid;
    if (d.retry_after_seconds != 0) details["retryAfterSeconds"] = d.retry_after_seconds;
    // A cause without anything asks for details, and nothing in them.
    const bool any = std::any_of(d.causes.begin(), d.causes.end(), [](const StatusCause& c) { return !c.reason.empty() || !c.message.empty() || !c.field.empty(); });
    if (any) {
      json::Array& causes = details["causes"].make_array();
      for (const StatusCause& c : d.causes) {
        json::Value cause = json::Object();
        if (!c.reason.empty()) cause["reason"] = c.reason;
        if (!c.message.empty()) cause["message"] = c.message;
        if (!c.field.empty()) cause["field"] = c.field;
        causes.push_back(std::move(cause));
      }
    }
  }
  out["code"] = status.code();
  return out;
}

Status from_document(const json::Value& document) {
  if (document.str_at({"status"}) == "Success") return {};
  StatusDetails details;
  if (const json::Value* d = document.get("details")) {
    details.name = d->str_at({"name"});
    details.group = d->str_at({"group"});
    details.kind = d->str_at({"kind"});
    details.uid = d->str_at({"uid"});
    if (const json::Value* seconds = d->get("retryAfterSeconds")) {
      details.retry_after_seconds = static_cast<int32_t>(seconds->int_or(0));
    }
    if (const json::Value* causes = d->get("causes")) {
      for (const json::Value& c : causes->items()) {
        details.causes.push_back({std::string(c.str_at({"reason"})), std::string(c.str_at({"message"})), std::string(c.str_at({"field"}))});
      }
    }
  }
  const json::Value* code = document.get("code");
  return Status(code ? static_cast<int>(code->int_or(500)) : 500, document.str_at({"reason"}),
                std::string(document.str_at({"message"})), std::move(details));
}

}  // namespace engenho::schema
