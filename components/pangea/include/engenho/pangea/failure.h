// Why a plan or an apply failed, and what is to be done about it. The table is data (failure.cc): what providers and terraform say, in the
// order in which it is tested. A rate limit often comes as "403 forbidden": it is tested for before missing permissions.
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::pangea {

enum class FailureClass {
  kAbsolute,  // what was prepared is void: begin again from the start
  kDecaying,  // goes away by itself: the same again, later and later
  kHold,      // somebody has to do something
};

enum class FailureKind {
  kStalePlan,
  kEmptyWorkspace,
  kStateLocked,
  kRateLimited,
  kTransientNetwork,
  kObjectExistsUntracked,
  kProviderUnavailable,
  kPermissionDenied,
  kStopped,
  kUnclassified,
};

struct Failure {
  FailureKind kind = FailureKind::kUnclassified;
  FailureClass klass = FailureClass::kHold;
  bool operator==(const Failure&) const = default;
};

std::string_view failure_name(FailureKind kind);          // "StalePlan", "RateLimited", ...: the reason of conditions and events
std::string_view failure_class_name(FailureClass klass);  // "absolute", "decaying", "hold"
FailureClass class_of(FailureKind kind);

// By the text of an error, whole or one diagnostic.
Failure classify_failure(std::string_view text);
// The same of an error as it is returned here; what it is by its type counts before what its text says.
Failure classify_failure(const Status& status);

// The errors that executors make themselves, so that they are told from others by their type: details().kind holds failure_name().
Status failure_status(FailureKind kind, std::string message);

// The same for every occurrence of one defect: paths, addresses in hexadecimal, identifiers, times and numbers are taken out.
std::string failure_signature(std::string_view text);

}  // namespace engenho::pangea
