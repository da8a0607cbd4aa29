#include "engenho/datastore/store.h"

#include <condition_variable>
#include <mutex>

#include "engenho/datastore/errors.h"

namespace engenho::datastore {

KeyRange KeyRange::key(std::string_view key) {
  KeyRange range{std::string(key), std::string(key)};
  range.end.push_back('\0');
  return range;
}

KeyRange KeyRange::prefix(std::string_view prefix) {
  KeyRange range{std::string(prefix), std::string(prefix)};
  while (!range.end.empty() && range.end.back() == '\xff') range.end.pop_back();
  if (!range.end.empty()) range.end.back() = static_cast<char>(range.end.back() + 1);
  return range;
}

bool KeyRange::single() const {
  return end.size() == start.size() + 1 && end.back() == '\0' && end.compare(0, start.size(), start) == 0;
}

namespace {

// Runs an asynchronous call and waits for its answer.
template <typename T, typename Start>
Result<T> await(Start&& start) {
  std::mutex mutex;
  std::condition_variable cv;
  std::optional<Result<T>> answer;
  start(Done<T>([&](Result<T> result) {
    std::lock_guard lock(mutex);
    answer.emplace(std::move(result));
    cv.notify_one();  // under the lock: the waiter's stack must not go before this returns
  }));
  std::unique_lock lock(mutex);
  cv.wait(lock, [&] { return answer.has_value(); });
  return std::move(*answer);
}

}  // namespace

Result<WriteResult> Store::create(std::string key, Bytes value, LeaseId lease) {
  return await<WriteResult>(
      [&](auto done) { create_async(std::move(key), std::move(value), lease, std::move(done)); });
}

Result<WriteResult> Store::update(std::string key, Bytes value, Revision expected, LeaseId lease) {
  return await<WriteResult>([&](auto done) {
    update_async(std::move(key), std::move(value), expected, lease, std::move(done));
  });
}

Result<WriteResult> Store::remove(std::string key, Revision expected) {
  return await<WriteResult>(
      [&](auto done) { remove_async(std::move(key), expected, std::move(done)); });
}

Result<TxnResult> Store::txn(TxnRequest request) {
  return await<TxnResult>([&](auto done) { txn_async(std::move(request), std::move(done)); });
}

Status Store::compact(Revision revision, bool physical) {
  auto result = await<Revision>([&](auto done) { compact_async(revision, physical, std::move(done)); });
  return result ? Status() : result.error();
}

Result<LeaseGrant> Store::lease_grant(int64_t ttl_seconds, LeaseId id) {
  return await<LeaseGrant>([&](auto done) { lease_grant_async(ttl_seconds, id, std::move(done)); });
}

Status Store::lease_revoke(LeaseId id) {
  auto result = await<Revision>([&](auto done) { lease_revoke_async(id, std::move(done)); });
  return result ? Status() : result.error();
}

Result<std::optional<Alarm>> Store::alarm(Alarm alarm, bool active) {
  return await<std::optional<Alarm>>([&](auto done) { alarm_async(alarm, active, std::move(done)); });
}

// ---- errors.h ----

namespace {
constexpr std::string_view kCompacted = "etcdserver: mvcc: required revision has been compacted";
constexpr std::string_view kFuture = "etcdserver: mvcc: required revision is a future revision";
constexpr std::string_view kLeaseNotFound = "etcdserver: requested lease not found";
}  // namespace

Status compacted_error() {
  static const Status status(410, reason::kExpired, std::string(kCompacted));
  return status;
}
Status future_revision_error() {
  static const Status status(504, reason::kTimeout, std::string(kFuture));
  return status;
}
Status key_not_found_error() { return not_found_error("etcdserver: key not found"); }
Status empty_key_error() { return bad_request("etcdserver: key is not provided"); }
Status duplicate_key_error() { return bad_request("etcdserver: duplicate key given in txn request"); }
Status too_many_ops_error() { return bad_request("etcdserver: too many operations in txn request"); }
Status request_too_large_error() {
  return Status(413, reason::kRequestEntityTooLarge, "etcdserver: request is too large");
}
Status lease_not_found_error() { return not_found_error(std::string(kLeaseNotFound)); }
Status lease_exists_error() { return Status(409, reason::kAlreadyExists, "etcdserver: lease already exists"); }
Status lease_ttl_error() { return bad_request("etcdserver: too large lease TTL"); }
Status too_many_requests_error() {
  return Status(429, reason::kTooManyRequests, "etcdserver: too many requests");
}
Status no_space_error() { return unavailable("etcdserver: mvcc: database space exceeded"); }
Status corrupt_error() { return unavailable("etcdserver: corrupt cluster"); }
Status store_stopped_error() { return unavailable("etcdserver: server stopped"); }
Status damaged_error(std::string what) { return internal_error("datastore: " + std::move(what)); }

bool is_compacted(const Status& status) { return status.code() == 410 && status.message() == kCompacted; }
bool is_future_revision(const Status& status) {
  return status.code() == 504 && status.message() == kFuture;
}
bool is_lease_not_found(const Status& status) {
  return status.code() == 404 && status.message() == kLeaseNotFound;
}

}  // namespace engenho::datastore
