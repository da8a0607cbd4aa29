#include "lease_book.h"

#include <algorithm>

namespace engenho::datastore {

namespace {
int64_t unix_ns(WallTime time) { return time.time_since_epoch().count(); }
Duration seconds(int64_t count) {
  // Ten years is as good as for ever, and far from overflow.
  return std::chrono::seconds(std::min<int64_t>(count, 10LL * 365 * 24 * 3600));
}
}  // namespace

void LeaseBook::insert(LeaseId id, const GrantRow& row, Duration remaining) {
  const MonoTime deadline = clock_.mono() + std::chrono::duration_cast<MonoTime::duration>(remaining);
  leases_[id] = Lease{row, deadline, deadline};
  deadlines_.emplace(deadline, id);
}

void LeaseBook::load(LeaseId id, const GrantRow& row) {
  const Duration whole = seconds(row.ttl_seconds);
  Duration remaining = whole;
  if (!row.kept_alive)
    remaining = std::clamp(Duration(row.expiry_unix_ns - unix_ns(clock_.wall())), Duration(0), whole);
  std::lock_guard lock(mutex_);
  insert(id, row, remaining);
}

void LeaseBook::clear() {
  std::lock_guard lock(mutex_);
  leases_.clear();
  deadlines_.clear();
}

GrantRow LeaseBook::grant(LeaseId id, int64_t ttl_seconds) {
  GrantRow row;
  row.ttl_seconds = ttl_seconds;
  row.expiry_unix_ns = unix_ns(clock_.wall()) + seconds(ttl_seconds).count();
  std::lock_guard lock(mutex_);
  insert(id, row, seconds(ttl_seconds));
  return row;
}

bool LeaseBook::exists(LeaseId id) const {
  std::lock_guard lock(mutex_);
  return leases_.contains(id);
}

bool LeaseBook::expired(LeaseId id) const {
  std::lock_guard lock(mutex_);
  const auto it = leases_.find(id);
  return it != leases_.end() && it->second.deadline <= clock_.mono();
}

std::optional<GrantRow> LeaseBook::row(LeaseId id) const {
  std::lock_guard lock(mutex_);
  const auto it = leases_.find(id);
  return it == leases_.end() ? std::nullopt : std::optional(it->second.row);
}

void LeaseBook::remove(LeaseId id) {
  std::lock_guard lock(mutex_);
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  deadlines_.erase({it->second.line, id});
  leases_.erase(it);
}

std::optional<LeaseBook::Renewal> LeaseBook::renew(LeaseId id) {
  std::lock_guard lock(mutex_);
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.deadline <= clock_.mono()) return std::nullopt;
  Lease& lease = it->second;
  deadlines_.erase({lease.line, id});
  lease.deadline = lease.line =
      clock_.mono() + std::chrono::duration_cast<MonoTime::duration>(seconds(lease.row.ttl_seconds));
  deadlines_.emplace(lease.deadline, id);
  const Renewal renewal{lease.row.ttl_seconds, !lease.row.kept_alive};
  lease.row.kept_alive = true;
  return renewal;
}

std::optional<LeaseInfo> LeaseBook::info(LeaseId id) const {
  std::lock_guard lock(mutex_);
  const auto it = leases_.find(id);
  if (it == leases_.end()) return std::nullopt;
  LeaseInfo info;
  info.id = id;
  info.granted_ttl_seconds = it->second.row.ttl_seconds;
  const auto remaining = it->second.deadline - clock_.mono();
  info.remaining_seconds =
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(remaining).count());
  return info;
}

std::vector<LeaseId> LeaseBook::ids() const {
  std::lock_guard lock(mutex_);
  std::vector<std::pair<MonoTime, LeaseId>> order;
  for (const auto& [id, lease] : leases_) order.emplace_back(lease.deadline, id);
  std::sort(order.begin(), order.end());
  std::vector<LeaseId> ids;
  for (const auto& [deadline, id] : order) ids.push_back(id);
  return ids;
}

size_t LeaseBook::size() const {
  std::lock_guard lock(mutex_);
  return leases_.size();
}

std::vector<LeaseId> LeaseBook::take_due(size_t limit) {
  std::lock_guard lock(mutex_);
  std::vector<LeaseId> due;
  const MonoTime now = clock_.mono();
  while (due.size() < limit && !deadlines_.empty() && deadlines_.begin()->first <= now) {
    due.push_back(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
  }
  return due;
}

void LeaseBook::retry(LeaseId id, Duration delay) {
  std::lock_guard lock(mutex_);
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  // The lease stays expired; only the attempt is later.
  it->second.line = clock_.mono() + std::chrono::duration_cast<MonoTime::duration>(delay);
  deadlines_.emplace(it->second.line, id);
}

std::optional<MonoTime> LeaseBook::next_deadline() const {
  std::lock_guard lock(mutex_);
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

}  // namespace engenho::datastore
