// Errors are values: a Status maps one to one onto the Kubernetes API's metav1.Status (HTTP code, reason, message,
// details), so an error made deep in the store reaches a client as it was meant. Exceptions do not cross a component's
// border.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace engenho {

struct StatusCause {
  std::string reason;   // "FieldValueInvalid", ...
  std::string message;
  std::string field;    // dotted path, "spec.containers[0].name"
};

struct StatusDetails {
  std::string name;
  std::string group;
  std::string kind;     // resource or kind, whichever the reason calls for
  std::string uid;
  std::vector<StatusCause> causes;
  int32_t retry_after_seconds = 0;

  bool empty() const {
    return name.empty() && group.empty() && kind.empty() && uid.empty() && causes.empty() &&
           retry_after_seconds == 0;
  }
};

// Reasons are the strings that clients match on.
namespace reason {
inline constexpr std::string_view kUnauthorized = "Unauthorized";
inline constexpr std::string_view kForbidden = "Forbidden";
inline constexpr std::string_view kNotFound = "NotFound";
inline constexpr std::string_view kAlreadyExists = "AlreadyExists";
inline constexpr std::string_view kConflict = "Conflict";
inline constexpr std::string_view kGone = "Gone";
inline constexpr std::string_view kExpired = "Expired";
inline constexpr std::string_view kInvalid = "Invalid";
inline constexpr std::string_view kServerTimeout = "ServerTimeout";
inline constexpr std::string_view kTimeout = "Timeout";
inline constexpr std::string_view kTooManyRequests = "TooManyRequests";
inline constexpr std::string_view kBadRequest = "BadRequest";
inline constexpr std::string_view kMethodNotAllowed = "MethodNotAllowed";
inline constexpr std::string_view kNotAcceptable = "NotAcceptable";
inline constexpr std::string_view kRequestEntityTooLarge = "RequestEntityTooLarge";
inline constexpr std::string_view kUnsupportedMediaType = "UnsupportedMediaType";
inline constexpr std::string_view kInternalError = "InternalError";
inline constexpr std::string_view kServiceUnavailable = "ServiceUnavailable";
}  // namespace reason

// Cheap to copy and to return: an OK status is a null pointer; an error shares an immutable record.
class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(int code, std::string_view reason, std::string message, StatusDetails details = {});

  bool ok() const { return rep_ == nullptr; }
  explicit operator bool() const { return ok(); }
  int code() const { return rep_ ? rep_->code : 200; }  // HTTP status code
  const std::string& reason() const;                    // empty for OK and for unknown reasons
  const std::string& message() const;
  const StatusDetails& details() const;

  bool is(std::string_view reason) const { return !ok() && rep_->reason == reason; }
  bool not_found() const { return is(reason::kNotFound); }
  bool already_exists() const { return is(reason::kAlreadyExists); }
  bool conflict() const { return is(reason::kConflict); }

  // The same error, said from further out: "<context>: <message>".
  Status with_context(std::string_view context) const;
  std::string to_string() const;  // for logs: "OK" or "NotFound (404): message"

 private:
  struct Rep {
    int code;
    std::string reason, message;
    StatusDetails details;
  };
  std::shared_ptr<const Rep> rep_;
};

template <typename T>
using Result = std::expected<T, Status>;

inline std::unexpected<Status> err(Status status) { return std::unexpected<Status>(std::move(status)); }

// Generic errors for code that knows no kinds. The API server's own (with group, resource and causes) are in
// schema/api_errors.h.
Status bad_request(std::string message);
Status internal_error(std::string message);
Status unavailable(std::string message);
Status timeout_error(std::string message);
Status not_found_error(std::string message);
// From errno: "<what>: <strerror>"; ENOSPC, ENOENT and the rest are all InternalError (500), the text tells.
Status errno_error(std::string_view what, int error_number);

}  // namespace engenho

// Returns the error of an expression that yields a Status.
#define ENGENHO_TRY(expr)                                      \
  do {                                                         \
    if (::engenho::Status try_status = (expr); !try_status.ok()) return ::engenho::err(try_status); \
  } while (0)
// The same inside a function that returns Status itself.
#define ENGENHO_RETURN_IF_ERROR(expr)                          \
  do {                                                         \
    if (::engenho::Status try_status = (expr); !try_status.ok()) return try_status; \
  } while (0)
#define ENGENHO_CONCAT_(a, b) a##b
#define ENGENHO_CONCAT(a, b) ENGENHO_CONCAT_(a, b)
// ENGENHO_ASSIGN(auto x, f()): x is the value, or the error returns from a function that returns Result<...>.
#define ENGENHO_ASSIGN(decl, expr)                                                       \
  auto ENGENHO_CONCAT(try_result_, __LINE__) = (expr);                                   \
  if (!ENGENHO_CONCAT(try_result_, __LINE__))                                            \
    return ::engenho::err(std::move(ENGENHO_CONCAT(try_result_, __LINE__)).error());     \
  decl = std::move(*ENGENHO_CONCAT(try_result_, __LINE__))
// The same inside a function that returns Status.
#define ENGENHO_ASSIGN_OR_RETURN(decl, expr)                                             \
  auto ENGENHO_CONCAT(try_result_, __LINE__) = (expr);                                   \
  if (!ENGENHO_CONCAT(try_result_, __LINE__))                                            \
    return std::move(ENGENHO_CONCAT(try_result_, __LINE__)).error();                     \
  decl = std::move(*ENGENHO_CONCAT(try_result_, __LINE__))
