#include "engenho/pangea/cluster_state.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "engenho/http/gzip.h"
#include "state_head.h"
#include "state_lease.h"

namespace engenho::pangea {

using k8s::core_v1::Secret;

namespace {

constexpr int kAttempts = 6;
constexpr size_t kSegmentLines = 200;
constexpr size_t kMaxState = size_t{1} << 30;

Status lost_lock() {
  return Status(409, reason::kConflict, "the state's lock is not held, or was taken by another since");
}

Status stale(const std::optional<StoredVersion>& found, uint64_t serial, const std::string& lineage) {
  const StateVersion now = found ? found->info : StateVersion{};
  return Status(409, reason::kConflict,
                now.lineage != lineage ? "the stored state has another lineage: it is of another history than the one expected"
                                       : "the stored state has serial " + std::to_string(now.serial) + " where " + std::to_string(serial) +
                                             " was expected: it was changed meanwhile");
}

// A write may have been done although its answer was lost.
bool maybe_done(const Status& s) {
  return s.conflict() || s.code() >= 500;
}

struct Identity {
  uint64_t serial = 0;
  std::string lineage;
};
Result<Identity> identity_of(const std::string& document) {
  auto parsed = json::parse(document);
  if (!parsed) return err(bad_request("the state is no JSON document"));
  const json::Value *version = parsed->get("version"), *serial = parsed->get("serial");
  if (version == nullptr || version->int_or(0) != 4) return err(bad_request("the state is not of format 4"));
  if (serial == nullptr || serial->int_or(-1) < 0 || parsed->str_at({"lineage"}).empty()) return err(bad_request("the state has no serial or no lineage"));
  return Identity{static_cast<uint64_t>(serial->as_int()), std::string(parsed->str_at({"lineage"}))};
}

}  // namespace

struct ClusterState::Impl {
  Impl(std::shared_ptr<client::Client> c, StateName n, ClusterStateOptions o)
      : client(std::move(c)), name(std::move(n)), key(name.key()), options(o), lease(client, name, options) {}

  const std::shared_ptr<client::Client> client;
  const StateName name;
  const std::string key;
  const ClusterStateOptions options;
  StateLease lease;
  std::mutex mutex;               // guards what follows: one change at a time
  std::optional<Head> seen;       // as last read or written under a lock; may be out of date, which its resourceVersion tells
  std::optional<Secret> segment;  // the cursor's last one
  uint64_t released = 0;          // the newest token that was given back here

  Result<std::optional<Head>> get_head() {
    auto found = client->get<Secret>(kSystemNamespace, head_name(key));
    if (!found && found.error().not_found()) return std::optional<Head>();
    if (!found) return err(found.error());
    ENGENHO_ASSIGN(Head head, parse_head(*found));
    return std::optional<Head>(std::move(head));
  }

  // Replaces the head that `next` was made from.
  Status put_head(Head next) {
    const Secret object = head_secret(name, next);
    auto written = next.resource_version.empty() ? create_in_system(*client, object) : client->update(object);
    if (!written) {
      seen.reset();
      if (written.error().already_exists()) return Status(409, reason::kConflict, "the state's head was made by another meanwhile");
      return written.error();
    }
    next.resource_version = written->metadata.resource_version;
    seen = std::move(next);
    return {};
  }

  // The head of which `token` is the newest lock.
  Result<Head> held_head(uint64_t token, bool fresh) {
    if (token <= released) return err(lost_lock());
    if (!seen || fresh) {
      ENGENHO_ASSIGN(seen, get_head());
    }
    if (!seen || seen->fence != token) return err(lost_lock());
    return *seen;
  }

  // Applies `change` to the head under `token`, again when another changed it meanwhile. Locks `mutex`.
  Status change_head(uint64_t token, const std::function<Status(Head&)>& change) {
    Status last;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      auto head = held_head(token, attempt > 0);
      if (!head) return last.ok() || head.error().conflict() ? head.error() : last;
      ENGENHO_RETURN_IF_ERROR(change(*head));
      last = put_head(std::move(*head));
      if (last.ok() || !maybe_done(last)) return last;
    }
    return last;
  }

  Result<std::vector<std::string>> put_pieces(std::string_view bytes, uint64_t token) {
    std::vector<std::string> names;
    for (size_t at = 0; at < bytes.size(); at += options.piece_bytes) {
      const std::string_view part = bytes.substr(at, options.piece_bytes);
      Secret piece = state_secret(name, piece_name(key, token, part), "piece");
      piece.metadata.labels[kFenceLabel] = std::to_string(token);
      piece.immutable = true;
      piece.data["piece"] = std::string(part);
      auto made = client->create(piece);
      // There already: by a try of this same write whose answer was lost.
      if (!made && !made.error().already_exists()) return err(made.error());
      names.push_back(piece.metadata.name);
    }
    return names;
  }

  void drop_pieces(const std::vector<std::string>& names, const Head& head) {
    for (const std::string& piece : names) {
      if (!head.refers_to(piece)) (void)client->remove<Secret>(kSystemNamespace, piece);  // what stays is collected later
    }
  }

  Result<std::string> document_of(const Head& head, const StoredVersion& v) {
    std::string packed;
    if (v.in_head) {
      packed = head.bytes;
    } else {
      for (const std::string& piece : v.pieces) {
        ENGENHO_ASSIGN(const Secret found, client->get<Secret>(kSystemNamespace, piece));
        auto part = found.data.find("piece");
        if (part == found.data.end()) return err(internal_error("the state's piece " + piece + " is empty"));
        packed += part->second;
      }
    }
    ENGENHO_ASSIGN(std::string document, http::gunzip(packed, kMaxState));
    if (sha256_hex(document) != v.info.digest) return err(internal_error("the stored state is damaged: its digest does not match"));
    return document;
  }

  // Puts the present version into the history. What was written under the same lock is one version: it is replaced.
  Status retire_current(Head& head, uint64_t token, std::vector<std::string>& dropped) {
    if (!head.current) return {};
    StoredVersion old = std::move(*head.current);
    head.current.reset();
    old.info.current = false;
    if (old.fence == token) {
      dropped.insert(dropped.end(), old.pieces.begin(), old.pieces.end());
      head.bytes.clear();
      return {};
    }
    if (old.in_head) {
      ENGENHO_ASSIGN_OR_RETURN(old.pieces, put_pieces(head.bytes, token));
      old.in_head = false;
    }
    head.bytes.clear();
    head.history.insert(head.history.begin(), std::move(old));
    while (head.history.size() > static_cast<size_t>(std::max(0, options.history))) {
      const StoredVersion& last = head.history.back();
      dropped.insert(dropped.end(), last.pieces.begin(), last.pieces.end());
      head.history.pop_back();
    }
    return {};
  }

  Status write(const std::string& document, uint64_t serial, const std::string& lineage, uint64_t token) {
    ENGENHO_ASSIGN_OR_RETURN(const Identity identity, identity_of(document));
    const std::string digest = sha256_hex(document);
    ENGENHO_ASSIGN_OR_RETURN(const std::string packed, http::gzip(http::Body::view(nullptr, document)));
    std::vector<std::string> dropped;
    Head done;
    ENGENHO_RETURN_IF_ERROR(change_head(token, [&](Head& head) -> Status {
      dropped.clear();
      const StateVersion now = head.current ? head.current->info : StateVersion{};
      const bool there = head.current && now.digest == digest && now.serial == identity.serial && head.current->fence == token;
      if (!there) {
        if (now.serial != serial || now.lineage != lineage) return stale(head.current, serial, lineage);
        const bool same_operation = head.current && head.current->fence == token;
        const int64_t version = same_operation ? now.version : head.last_version + 1;
        ENGENHO_RETURN_IF_ERROR(retire_current(head, token, dropped));
        StoredVersion next;
        next.fence = token;
        next.info = {version, identity.serial, identity.lineage, digest, document.size(), options.clock->wall(), true};
        next.in_head = packed.size() <= options.inline_bytes;
        if (next.in_head) {
          head.bytes = packed;
        } else {
          ENGENHO_ASSIGN_OR_RETURN(next.pieces, put_pieces(packed, token));
        }
        head.last_version = version;
        head.current = std::move(next);
      }
      done = head;
      return {};
    }));
    drop_pieces(dropped, done);
    return {};
  }

  Status take_lock(magma::LockInfo info, uint64_t& token) {
    if (info.id.empty()) info.id = random_uuid();
    ENGENHO_ASSIGN_OR_RETURN(std::optional<Head> head, get_head());
    token = (head ? head->fence : 0) + 1;
    ENGENHO_RETURN_IF_ERROR(lease.take(info, token));
    // From here on the head refuses whoever held the lock before.
    Status last;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      if (attempt > 0) {
        auto again = get_head();
        if (!again) {
          last = again.error();
          continue;
        }
        head = std::move(*again);
        if (head && head->fence == token && head->lock_id == info.id) {  // done, and the answer was lost
          seen = head;
          return {};
        }
        if (head && head->fence >= token) {
          last = lost_lock();
          break;
        }
      }
      Head next = head.value_or(Head{});
      next.fence = token;
      next.lock_id = info.id;
      last = put_head(std::move(next));
      if (last.ok()) return {};
      if (!maybe_done(last)) break;
    }
    (void)lease.release();
    return last;
  }

  Status append(const std::string& line, uint64_t token) {
    ENGENHO_ASSIGN_OR_RETURN(const Head head, held_head(token, true));
    if (segment && segment->metadata.name != cursor_name(key, head.cursor_epoch, head.cursor_segments - 1)) segment.reset();
    if (!segment && head.cursor_segments > 0) {
      ENGENHO_ASSIGN_OR_RETURN(segment, client->get<Secret>(kSystemNamespace, cursor_name(key, head.cursor_epoch, head.cursor_segments - 1)));
    }
    if (segment) {
      std::string& lines = segment->data["lines"];
      if (static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n')) < kSegmentLines) {
        lines += line + "\n";
        auto written = client->update(*segment);
        if (written) {
          segment = std::move(*written);
          return {};
        }
        const Status s = written.error();
        segment.reset();
        if (!maybe_done(s)) return s;
        // Perhaps written, perhaps changed by whoever holds the lock now: look again, once.
        ENGENHO_RETURN_IF_ERROR(held_head(token, true) ? Status() : lost_lock());
        ENGENHO_ASSIGN_OR_RETURN(Secret found, client->get<Secret>(kSystemNamespace, cursor_name(key, head.cursor_epoch, head.cursor_segments - 1)));
        if (found.data["lines"].ends_with(line + "\n")) {
          segment = std::move(found);
          return {};
        }
        found.data["lines"] += line + "\n";
        ENGENHO_ASSIGN_OR_RETURN(segment, client->update(found));
        return {};
      }
    }
    // A new segment counts when the head says so.
    Secret fresh = state_secret(name, cursor_name(key, head.cursor_epoch, head.cursor_segments), "cursor");
    fresh.metadata.labels[kEpochLabel] = std::to_string(head.cursor_epoch);
    fresh.data["lines"] = line + "\n";
    auto made = client->create(fresh);
    if (!made && made.error().already_exists()) {
      // Of a try that did not get as far as the head: nobody was told that its line is kept.
      ENGENHO_ASSIGN_OR_RETURN(const Secret old, client->get<Secret>(kSystemNamespace, fresh.metadata.name));
      fresh.metadata.resource_version = old.metadata.resource_version;
      made = client->update(fresh);
    }
    if (!made) return made.error();
    const int segments = head.cursor_segments + 1;
    ENGENHO_RETURN_IF_ERROR(change_head(token, [&](Head& h) -> Status {
      if (h.cursor_epoch != head.cursor_epoch) return lost_lock();
      h.cursor_segments = segments;
      return {};
    }));
    segment = std::move(*made);
    return {};
  }

  Status clear_cursor(uint64_t token) {
    uint64_t epoch = 0;
    int segments = 0;
    ENGENHO_ASSIGN_OR_RETURN(const Head head, held_head(token, false));
    epoch = head.cursor_epoch;
    segments = head.cursor_segments;
    segment.reset();
    if (segments == 0) return {};
    ENGENHO_RETURN_IF_ERROR(change_head(token, [&](Head& h) -> Status {
      if (h.cursor_epoch != epoch) return {};
      h.cursor_epoch = epoch + 1;
      h.cursor_segments = 0;
      return {};
    }));
    for (int i = 0; i < segments; ++i) (void)client->remove<Secret>(kSystemNamespace, cursor_name(key, epoch, i));
    return {};
  }
};

ClusterState::ClusterState(std::shared_ptr<client::Client> client, StateName name, ClusterStateOptions options)
    : impl_(std::make_unique<Impl>(std::move(client), std::move(name), options)) {}
ClusterState::~ClusterState() = default;

Result<std::string> ClusterState::read() {
  // A piece that is gone belonged to a version that was replaced while it was read.
  for (int attempt = 0;; ++attempt) {
    ENGENHO_ASSIGN(const std::optional<Head> head, impl_->get_head());
    if (!head || !head->current) return std::string();
    auto document = impl_->document_of(*head, *head->current);
    if (document || !document.error().not_found() || attempt == kAttempts) return document;
  }
}

Status ClusterState::write(const std::string& document, uint64_t serial, const std::string& lineage, uint64_t token) {
  std::lock_guard guard(impl_->mutex);
  return impl_->write(document, serial, lineage, token);
}

Result<std::vector<std::string>> ClusterState::read_cursor() {
  std::vector<std::string> out;
  for (int attempt = 0;; ++attempt) {
    out.clear();
    ENGENHO_ASSIGN(const std::optional<Head> head, impl_->get_head());
    if (!head) return out;
    Status failed;
    for (int i = 0; i < head->cursor_segments && failed.ok(); ++i) {
      auto found = impl_->client->get<Secret>(kSystemNamespace, cursor_name(impl_->key, head->cursor_epoch, i));
      if (!found) {
        failed = found.error();
        break;
      }
      for (std::string_view line : split(found->data["lines"], '\n')) {
        if (!line.empty()) out.emplace_back(line);
      }
    }
    if (failed.ok()) return out;
    if (!failed.not_found() || attempt == kAttempts) return err(failed);
  }
}

Status ClusterState::append_cursor(const std::string& line, uint64_t token) {
  std::lock_guard guard(impl_->mutex);
  return impl_->append(line, token);
}

Status ClusterState::clear_cursor(uint64_t token) {
  std::lock_guard guard(impl_->mutex);
  return impl_->clear_cursor(token);
}

Result<uint64_t> ClusterState::lock(const magma::LockInfo& info) {
  std::lock_guard guard(impl_->mutex);
  uint64_t token = 0;
  ENGENHO_TRY(impl_->take_lock(info, token));
  impl_->segment.reset();
  return token;
}

Status ClusterState::unlock(uint64_t token) {
  std::lock_guard guard(impl_->mutex);
  if (impl_->lease.held()) {
    // Under the lock the head was written last by this object, or the lock is lost.
    if (token <= impl_->released || (impl_->seen && impl_->seen->fence != token)) return lost_lock();
    impl_->released = token;
    return impl_->lease.release();
  }
  // Taken by an object that is no more (a lock of a client that comes and goes): by its token.
  ENGENHO_ASSIGN_OR_RETURN(const Head head, impl_->held_head(token, true));
  impl_->released = token;
  return impl_->lease.force_release(head.lock_id);
}

Result<StateVersion> ClusterState::current() {
  ENGENHO_ASSIGN(const std::optional<Head> head, impl_->get_head());
  return head && head->current ? head->current->info : StateVersion{};
}

Result<std::vector<StateVersion>> ClusterState::versions() {
  ENGENHO_ASSIGN(const std::optional<Head> head, impl_->get_head());
  std::vector<StateVersion> out;
  if (!head) return out;
  if (head->current) out.push_back(head->current->info);
  for (const StoredVersion& v : head->history) out.push_back(v.info);
  return out;
}

Result<std::string> ClusterState::read_version(int64_t version) {
  ENGENHO_ASSIGN(const std::optional<Head> head, impl_->get_head());
  if (head && head->current && head->current->info.version == version) return impl_->document_of(*head, *head->current);
  if (head) {
    for (const StoredVersion& v : head->history) {
      if (v.info.version == version) return impl_->document_of(*head, v);
    }
  }
  return err(not_found_error("the state has no version " + std::to_string(version) + "; versions() lists them"));
}

Status ClusterState::rollback(int64_t version, const std::string& who) {
  magma::LockInfo info;
  info.operation = "rollback";
  info.who = who;
  ENGENHO_ASSIGN_OR_RETURN(const uint64_t token, lock(info));
  auto work = [&]() -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const StateVersion now, current());
    if (now.current && now.version == version) return bad_request("version " + std::to_string(version) + " is the present one");
    ENGENHO_ASSIGN_OR_RETURN(const std::string old, read_version(version));
    ENGENHO_ASSIGN_OR_RETURN(json::Value document, json::parse(old));
    document["serial"] = static_cast<int64_t>(std::max(now.serial, identity_of(old).value_or(Identity{}).serial) + 1);
    if (now.current) document["lineage"] = now.lineage;
    document.as_object().erase("magma_applying");  // whatever was being applied then is not going on
    return write(json::dump_pretty(document) + "\n", now.serial, now.lineage, token);
  };
  const Status status = work();
  const Status unlocked = unlock(token);
  return status.ok() ? unlocked : status;
}

Status ClusterState::clear(uint64_t token) {
  std::lock_guard guard(impl_->mutex);
  std::vector<std::string> dropped;
  Head done;
  ENGENHO_RETURN_IF_ERROR(impl_->change_head(token, [&](Head& head) -> Status {
    dropped.clear();
    ENGENHO_RETURN_IF_ERROR(impl_->retire_current(head, token, dropped));
    done = head;
    return {};
  }));
  impl_->drop_pieces(dropped, done);
  return {};
}

Status ClusterState::purge(const std::string& who) {
  magma::LockInfo info;
  info.operation = "purge";
  info.who = who;
  ENGENHO_ASSIGN_OR_RETURN(const uint64_t token, lock(info));
  std::lock_guard guard(impl_->mutex);
  auto work = [&]() -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const Head head, impl_->held_head(token, true));
    client::DeleteOptions exactly;
    exactly.resource_version = head.resource_version;
    // The head first: without it nothing else is reachable, and what a crash leaves is collected.
    ENGENHO_RETURN_IF_ERROR(impl_->client->remove<Secret>(kSystemNamespace, head_name(impl_->key), exactly));
    impl_->seen.reset();
    client::ListOptions all;
    all.namespace_name = kSystemNamespace;
    all.label_selector = std::string(kStateLabel) + "=" + impl_->key;
    return impl_->client->remove_collection_raw(client::resource_of<Secret>(), kSystemNamespace, all);
  };
  const Status status = work();
  impl_->released = token;
  (void)impl_->lease.release();
  if (!status.ok()) return status;
  impl_->released = 0;  // with the Lease the count of tokens begins anew
  return impl_->lease.remove();
}

Result<std::optional<StateLock>> ClusterState::holder() {
  return impl_->lease.holder();
}

Result<uint64_t> ClusterState::token_of(const std::string& lock_id) {
  ENGENHO_ASSIGN(const std::optional<StateLock> lock, holder());
  ENGENHO_ASSIGN(const std::optional<Head> head, impl_->get_head());
  if (lock_id.empty() || !lock || lock->id != lock_id || !head || head->lock_id != lock_id) return err(lost_lock());
  return head->fence;
}

Status ClusterState::force_unlock(const std::string& lock_id) {
  ENGENHO_RETURN_IF_ERROR(impl_->lease.force_release(lock_id));
  // The head forgets the token, so that the former holder's writes fail even before the next lock.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    ENGENHO_ASSIGN_OR_RETURN(std::optional<Head> head, impl_->get_head());
    if (!head || (!lock_id.empty() && head->lock_id != lock_id)) return {};
    ++head->fence;
    head->lock_id.clear();
    std::lock_guard guard(impl_->mutex);
    const Status s = impl_->put_head(std::move(*head));
    if (s.ok() || !maybe_done(s)) return s;
  }
  return lost_lock();
}

StopToken ClusterState::lost() const {
  return impl_->lease.lost();
}

Result<int> collect_state_orphans(client::Client& client) {
  client::ListOptions all;
  all.namespace_name = kSystemNamespace;
  all.label_selector = std::string(kPartLabel);
  ENGENHO_ASSIGN(const auto found, client.list<Secret>(all));  // one point in time
  std::map<std::string, Head> heads;
  auto label = [](const Secret& s, const char* name) {
    auto at = s.metadata.labels.find(name);
    return at == s.metadata.labels.end() ? std::string() : at->second;
  };
  for (const Secret& s : found.items) {
    if (s.type != kStateSecretType || label(s, kPartLabel) != "head") continue;
    ENGENHO_ASSIGN(Head head, parse_head(s));
    heads.emplace(label(s, kStateLabel), std::move(head));
  }
  int removed = 0;
  for (const Secret& s : found.items) {
    const std::string part = label(s, kPartLabel);
    if (s.type != kStateSecretType || (part != "piece" && part != "cursor")) continue;
    auto head = heads.find(label(s, kStateLabel));
    int64_t number = 0;
    bool orphan = head == heads.end();
    if (!orphan && part == "piece") {
      // The newest token's holder may be about to refer to it.
      orphan = parse_int(label(s, kFenceLabel), number) && static_cast<uint64_t>(number) < head->second.fence && !head->second.refers_to(s.metadata.name);
    } else if (!orphan) {
      orphan = parse_int(label(s, kEpochLabel), number) && static_cast<uint64_t>(number) < head->second.cursor_epoch;
    }
    if (!orphan) continue;
    const Status gone = client.remove<Secret>(kSystemNamespace, s.metadata.name);
    if (gone.ok())
      ++removed;
    else if (!gone.not_found())
      return err(gone);
  }
  return removed;
}

}  // namespace engenho::pangea
