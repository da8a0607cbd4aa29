#include "engenho/pangea/failure.h"

#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pangea;

TEST_CASE("errors are told apart by what is said") {
  const std::pair<const char*, FailureKind> kCases[] = {
      {"Error: Saved plan is stale: The given plan file can no longer be applied because the state was changed by another operation", FailureKind::kStalePlan},
      {"Error: No configuration files", FailureKind::kEmptyWorkspace},
      {"Error: Backend initialization required, please run \"terraform init\"", FailureKind::kEmptyWorkspace},
      {"Error: Error acquiring the state lock", FailureKind::kStateLocked},
      {"GET https://api.github.com/repos: 403 API rate limit exceeded for user ID 1. [rate reset in 5m]", FailureKind::kRateLimited},
      {"operation error EC2: DescribeVpcs, https response error StatusCode: 503, RequestLimitExceeded: Request limit exceeded.", FailureKind::kRateLimited},
      {"ThrottlingException: Rate exceeded", FailureKind::kRateLimited},
      {"403 Forbidden: You have exceeded a secondary rate limit", FailureKind::kRateLimited},
      {"dial tcp 10.0.0.1:443: i/o timeout", FailureKind::kTransientNetwork},
      {"read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer", FailureKind::kTransientNetwork},
      {"dial tcp: lookup api.example.invalid: no such host", FailureKind::kTransientNetwork},
      {"unexpected response: 502 Bad Gateway", FailureKind::kTransientNetwork},
      {"EntityAlreadyExists: Role with name x already exists.", FailureKind::kObjectExistsUntracked},
      {"422 name already exists on this account", FailureKind::kObjectExistsUntracked},
      {"Error: Failed to query available provider packages", FailureKind::kProviderUnavailable},
      {"Error: Plugin did not respond: the plugin encountered an error", FailureKind::kProviderUnavailable},
      {"Request cancelled: The plugin6.(*GRPCProvider).ApplyResourceChange request was cancelled.", FailureKind::kProviderUnavailable},
      {"AccessDenied: User is not authorized to perform: iam:CreateRole", FailureKind::kPermissionDenied},
      {"403 Forbidden", FailureKind::kPermissionDenied},
      {"401 Bad credentials", FailureKind::kPermissionDenied},
      {"Invalid value for variable", FailureKind::kUnclassified},
      {"", FailureKind::kUnclassified},
  };
  for (const auto& [text, kind] : kCases) {
    INFO(text);
    CHECK(failure_name(classify_failure(text).kind) == failure_name(kind));
  }
  CHECK(classify_failure("Saved plan is stale").klass == FailureClass::kAbsolute);
  CHECK(classify_failure("rate limit, 403").klass == FailureClass::kDecaying);
  CHECK(classify_failure("forbidden").klass == FailureClass::kHold);
  CHECK(classify_failure("?").klass == FailureClass::kHold);
}

TEST_CASE("what an error is by its type counts before what it says") {
  CHECK(classify_failure(failure_status(FailureKind::kStalePlan, "403 forbidden")).kind == FailureKind::kStalePlan);
  CHECK(classify_failure(failure_status(FailureKind::kStopped, "rate limit").with_context("apply")).kind == FailureKind::kStopped);
  CHECK(failure_status(FailureKind::kStateLocked, "x").conflict());
  for (int i = 0; i <= static_cast<int>(FailureKind::kUnclassified); ++i) {
    const auto kind = static_cast<FailureKind>(i);
    CHECK(classify_failure(failure_status(kind, "")).kind == kind);
  }
}

TEST_CASE("a defect has one signature wherever it occurs") {
  const std::string one = failure_signature("main.rb:12: undefined method `x' for 0x00007f1c2a in /var/a/workspaces/t1/main.rb at 2026-01-02T03:04:05Z");
  CHECK(one == failure_signature("main.rb:97: undefined method `x' for 0x00007f9999  in /srv/b/main.rb at 2027-11-12T13:14:15.5+01:00\n"));
  CHECK(one != failure_signature("main.rb:12: undefined method `y' for 0x00007f1c2a in /var/a/main.rb at 2026-01-02T03:04:05Z"));
  CHECK(one.size() == 16);
}
