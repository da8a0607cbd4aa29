#include "engenho/pangea/failure.h"

#include <re2/re2.h>

#include <array>
#include <memory>
#include <vector>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

struct Kind {
  FailureKind kind;
  const char* name;
  FailureClass klass;
  const char* pattern;  // RE2, without case; empty: never by text
};

// In the order in which they are tested.
constexpr Kind kKinds[] = {
    {FailureKind::kStopped, "Stopped", FailureClass::kDecaying, ""},
    {FailureKind::kStalePlan, "StalePlan", FailureClass::kAbsolute,
     R"(saved plan is stale|plan is stale|plan file can no longer be applied|does not match the (current )?state serial|planned for a different (workspace|backend))"},
    {FailureKind::kEmptyWorkspace, "EmptyWorkspace", FailureClass::kAbsolute,
     R"(no configuration files|directory contains no .*configuration|module directory .* does not exist|backend initialization required|initialization required|please run \"?(terraform|tofu) init|required plugins are not installed|inconsistent dependency lock file|no such saved plan|failed to load .* as a plan file)"},
    {FailureKind::kStateLocked, "StateLocked", FailureClass::kDecaying,
     R"(error acquiring the state lock|state (blob )?is (already )?locked|state is locked|lock is held by)"},
    {FailureKind::kRateLimited, "RateLimited", FailureClass::kDecaying,
     R"(rate[ -]?limit|ratelimit|too many requests|\b429\b|throttl|requestlimitexceeded|slow ?down\b|quota exceeded for quota metric|api calls? quota|abuse detection|retry-after)"},
    {FailureKind::kTransientNetwork, "TransientNetwork", FailureClass::kDecaying,
     R"(i/o timeout|connection (was )?(reset|refused|closed|timed out)|reset by peer|broken pipe|no such host|temporary failure in name resolution|network is unreachable|no route to host|tls handshake timeout|context deadline exceeded|client\.timeout exceeded|unexpected eof|\beof$|server misbehaving|bad gateway|service unavailable|gateway time-?out|internal server error|\b50[0234]\b.{0,40}(error|response|status)|(status|code|http)[ :=]{0,3}50[0234]\b)"},
    {FailureKind::kObjectExistsUntracked, "ObjectExistsUntracked", FailureClass::kHold,
     R"(already[ -]?exists|alreadyexists|already been (taken|used)|entityalreadyexists|duplicate(d)? (entry|name|record|key)|bucketalready(ownedbyyou|exists)|name is (already )?(taken|in use)|already (a )?(member|associated|protected)|resource .* conflict|\b409\b)"},
    {FailureKind::kProviderUnavailable, "ProviderUnavailable", FailureClass::kHold,
     R"(failed to query available provider packages|could not retrieve the list of available versions|provider registry .* does not have a provider|failed to install provider|no available releases match|is not available in|plugin did not respond|grpcprovider\)\.\w+ request was cancelled|plugin (process )?(crashed|exited)|provider \S+ (crashed|is not running)|provider produced an unrecoverable|failed to instantiate provider|could not load plugin|provider .* not (found|installed)|no executable source|executor.* (is )?not (found|available))"},
    {FailureKind::kPermissionDenied, "PermissionDenied", FailureClass::kHold,
     R"(access ?denied|permission denied|not authorized|unauthorized|forbidden|\b40[13]\b|invalid ?(client)?token|invalid credentials|no valid credential|authentication (failed|required|error)|expired ?token|bad credentials|signaturedoesnotmatch|insufficient (permission|privilege|scope))"},
    {FailureKind::kUnclassified, "Unclassified", FailureClass::kHold, ""},
};

struct Compiled {
  FailureKind kind;
  std::unique_ptr<re2::RE2> pattern;
};

const std::vector<Compiled>& compiled() {
  static const std::vector<Compiled>* const table = [] {
    auto* out = new std::vector<Compiled>();
    re2::RE2::Options options;
    options.set_case_sensitive(false);
    options.set_never_capture(true);
    options.set_log_errors(false);
    for (const Kind& k : kKinds) {
      if (*k.pattern != '\0') out->push_back({k.kind, std::make_unique<re2::RE2>("(?m:" + std::string(k.pattern) + ")", options)});
    }
    return out;
  }();
  return *table;
}

}  // namespace

std::string_view failure_name(FailureKind kind) {
  for (const Kind& k : kKinds) {
    if (k.kind == kind) return k.name;
  }
  return "Unclassified";
}

FailureClass class_of(FailureKind kind) {
  for (const Kind& k : kKinds) {
    if (k.kind == kind) return k.klass;
  }
  return FailureClass::kHold;
}

std::string_view failure_class_name(FailureClass klass) {
  return klass == FailureClass::kAbsolute ? "absolute" : klass == FailureClass::kDecaying ? "decaying" : "hold";
}

Failure classify_failure(std::string_view text) {
  for (const Compiled& c : compiled()) {
    if (re2::RE2::PartialMatch(text, *c.pattern)) return {c.kind, class_of(c.kind)};
  }
  return {};
}

Failure classify_failure(const Status& status) {
  for (const Kind& k : kKinds) {
    if (status.details().kind == k.name) return {k.kind, k.klass};
  }
  if (status.is(reason::kTooManyRequests)) return {FailureKind::kRateLimited, class_of(FailureKind::kRateLimited)};
  return classify_failure(status.message());
}

Status failure_status(FailureKind kind, std::string message) {
  StatusDetails details;
  details.kind = failure_name(kind);
  switch (kind) {
    case FailureKind::kStalePlan:
    case FailureKind::kStateLocked:
    case FailureKind::kObjectExistsUntracked:
      return Status(409, reason::kConflict, std::move(message), std::move(details));
    case FailureKind::kRateLimited:
      return Status(429, reason::kTooManyRequests, std::move(message), std::move(details));
    case FailureKind::kStopped:
      return Status(504, reason::kTimeout, std::move(message), std::move(details));
    case FailureKind::kTransientNetwork:
    case FailureKind::kProviderUnavailable:
      return Status(503, reason::kServiceUnavailable, std::move(message), std::move(details));
    case FailureKind::kPermissionDenied:
      return Status(403, reason::kForbidden, std::move(message), std::move(details));
    default:
      return Status(400, reason::kBadRequest, std::move(message), std::move(details));
  }
}

std::string failure_signature(std::string_view text) {
  static const re2::RE2 kUuid(R"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"), kHex(R"(\b(0x[0-9a-fA-F]+|[0-9a-f]{12,})\b)"),
      kTime(R"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?)"), kPath(R"((/[\w.@+~-]+){2,}/?)"), kNumber(R"(\b\d+\b)"), kSpace(R"(\s+)");
  std::string out(text);
  re2::RE2::GlobalReplace(&out, kTime, "<time>");
  re2::RE2::GlobalReplace(&out, kUuid, "<id>");
  re2::RE2::GlobalReplace(&out, kPath, "<path>");
  re2::RE2::GlobalReplace(&out, kHex, "<hex>");
  re2::RE2::GlobalReplace(&out, kNumber, "<n>");
  re2::RE2::GlobalReplace(&out, kSpace, " ");
  return sha256_hex(trim(out)).substr(0, 16);
}

}  // namespace engenho::pangea
