#include "engenho/base/status.h"

#include <cstring>

namespace engenho {

namespace {
const std::string kEmpty;
const StatusDetails kNoDetails;
}  // namespace

Status::Status(int code, std::string_view reason, std::string message, StatusDetails details)
    : rep_(std::make_shared<const Rep>(
          Rep{code, std::string(reason), std::move(message), std::move(details)})) {}

const std::string& Status::reason() const { return rep_ ? rep_->reason : kEmpty; }
const std::string& Status::message() const { return rep_ ? rep_->message : kEmpty; }
const StatusDetails& Status::details() const { return rep_ ? rep_->details : kNoDetails; }

Status Status::with_context(std::string_view context) const {
  if (ok()) return *this;
  return Status(rep_->code, rep_->reason, std::string(context) + ": " + rep_->message, rep_->details);
}

std::string Status::to_string() const {
  if (ok()) return "OK";
  std::string out = rep_->reason.empty() ? "Error" : rep_->reason;
  out += " (" + std::to_string(rep_->code) + "): " + rep_->message;
  return out;
}

Status bad_request(std::string message) { return Status(400, reason::kBadRequest, std::move(message)); }
Status internal_error(std::string message) { return Status(500, reason::kInternalError, std::move(message)); }
Status unavailable(std::string message) {
  return Status(503, reason::kServiceUnavailable, std::move(message));
}
Status timeout_error(std::string message) { return Status(504, reason::kTimeout, std::move(message)); }
Status not_found_error(std::string message) { return Status(404, reason::kNotFound, std::move(message)); }
Status errno_error(std::string_view what, int error_number) {
  return internal_error(std::string(what) + ": " + std::strerror(error_number));
}

}  // namespace engenho
