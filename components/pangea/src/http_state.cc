#include "engenho/pangea/http_state.h"

#include <openssl/evp.h>

#include <mutex>
#include <optional>

#include "engenho/base/bytes.h"
#include "engenho/base/json.h"

namespace engenho::pangea {

namespace {

std::string md5_base64(std::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  // The protocol's own check against damage on the way; nothing is trusted because of it.
  if (EVP_Digest(bytes.data(), bytes.size(), out, &size, EVP_md5(), nullptr) != 1) return "";
  return base64_encode(std::string_view(reinterpret_cast<char*>(out), size));
}

StateAnswer answer(int status, std::string text = "") {
  StateAnswer out;
  out.status = status;
  out.body = std::move(text);
  if (!out.body.empty()) out.content_type = "text/plain";
  return out;
}

StateAnswer failure(const Status& s) {
  return answer(s.conflict() ? 409 : s.code() >= 400 && s.code() < 500 ? s.code() : 500, s.message() + "\n");
}

std::string lock_json(const StateLock& lock) {
  return json::dump(json::Object{{"ID", lock.id},
                                 {"Operation", lock.operation},
                                 {"Info", lock.info},
                                 {"Who", lock.who},
                                 {"Version", ""},
                                 {"Created", lock.since.time_since_epoch().count() == 0 ? "0001-01-01T00:00:00Z" : format_rfc3339(lock.since)},
                                 {"Path", ""}});
}

StateAnswer locked(const std::optional<StateLock>& holder) {
  StateLock lock = holder.value_or(StateLock{});
  StateAnswer out;
  out.status = 423;
  out.body = lock_json(lock);
  return out;
}

struct Identity {
  uint64_t serial = 0;
  std::string lineage;
};
std::optional<Identity> identity_of(const std::string& document) {
  auto parsed = json::parse(document);
  if (!parsed || !parsed->is_object()) return std::nullopt;
  const json::Value* serial = parsed->get("serial");
  if (parsed->get("version") == nullptr || parsed->get("version")->int_or(0) != 4 || serial == nullptr || serial->int_or(-1) < 0 ||
      parsed->str_at({"lineage"}).empty())
    return std::nullopt;
  return Identity{static_cast<uint64_t>(serial->as_int()), std::string(parsed->str_at({"lineage"}))};
}

}  // namespace

// Who holds the lock, by the id that clients know.
struct HttpState::Locks {
  virtual ~Locks() = default;
  virtual Result<std::optional<StateLock>> holder() = 0;
  virtual Result<uint64_t> token_of(const std::string& id) = 0;
  virtual Status taken(const StateLock& lock, uint64_t token) = 0;
  virtual Status release(const std::string& id) = 0;  // "": whoever's
  virtual Status clear(uint64_t token) = 0;
};

HttpState::~HttpState() = default;

// The cluster knows.
struct HttpState::ClusterLocks final : Locks {
  explicit ClusterLocks(ClusterState& s) : state(s) {}
  Result<std::optional<StateLock>> holder() override { return state.holder(); }
  Result<uint64_t> token_of(const std::string& id) override { return state.token_of(id); }
  Status taken(const StateLock&, uint64_t) override { return {}; }
  Status release(const std::string& id) override {
    if (!id.empty()) {
      auto token = state.token_of(id);
      if (token) return state.unlock(*token);
    }
    return state.force_unlock(id);
  }
  Status clear(uint64_t token) override { return state.clear(token); }
  ClusterState& state;
};

// This instance remembers.
struct HttpState::OwnLocks final : Locks {
  explicit OwnLocks(magma::StateStore& s) : state(s) {}
  Result<std::optional<StateLock>> holder() override {
    std::lock_guard guard(mutex);
    return held;
  }
  Result<uint64_t> token_of(const std::string& id) override {
    std::lock_guard guard(mutex);
    if (!held || held->id != id) return err(Status(409, reason::kConflict, "the state's lock is not held, or was taken by another since"));
    return token;
  }
  Status taken(const StateLock& lock, uint64_t t) override {
    std::lock_guard guard(mutex);
    held = lock;
    token = t;
    return {};
  }
  Status release(const std::string& id) override {
    std::lock_guard guard(mutex);
    if (!held) return not_found_error("the state is not locked");
    if (!id.empty() && held->id != id) return Status(409, reason::kConflict, "the state is locked by another");
    held.reset();
    return state.unlock(token);
  }
  Status clear(uint64_t) override { return Status(405, reason::kMethodNotAllowed, "this state cannot be deleted here"); }
  magma::StateStore& state;
  std::mutex mutex;
  std::optional<StateLock> held;
  uint64_t token = 0;
};

HttpState::HttpState(ClusterState& state) : state_(state), locks_(std::make_unique<ClusterLocks>(state)) {}
HttpState::HttpState(magma::StateStore& state) : state_(state) {
  if (auto* cluster = dynamic_cast<ClusterState*>(&state))
    locks_ = std::make_unique<ClusterLocks>(*cluster);
  else
    locks_ = std::make_unique<OwnLocks>(state);
}

StateAnswer HttpState::handle(const StateRequest& request) {
  if (request.method == "GET") return get();
  if (request.method == "POST" || request.method == "PUT") return post(request);
  if (request.method == "LOCK") return lock(request);
  if (request.method == "UNLOCK") return unlock(request);
  if (request.method == "DELETE") return remove(request);
  return answer(405, "GET, POST, LOCK, UNLOCK and DELETE are understood here\n");
}

StateAnswer HttpState::get() {
  auto document = state_.read();
  if (!document) return failure(document.error());
  if (document->empty()) return answer(404);
  StateAnswer out;
  out.content_md5 = md5_base64(*document);
  out.body = std::move(*document);
  return out;
}

StateAnswer HttpState::with_token(const std::string& lock_id, const std::function<Status(uint64_t)>& work) {
  auto holder = locks_->holder();
  if (!holder) return failure(holder.error());
  if (!lock_id.empty()) {
    auto token = locks_->token_of(lock_id);
    // A lock that ran out, or was broken, is not a lock: whoever comes without one is told so.
    if (!token) return *holder ? locked(*holder) : failure(token.error());
    const Status s = work(*token);
    return s.ok() ? answer(200) : failure(s);
  }
  if (*holder) return locked(*holder);
  magma::LockInfo info;
  info.operation = "write without a lock";
  auto token = state_.lock(info);
  if (!token) return token.error().conflict() ? locked(std::nullopt) : failure(token.error());
  const Status s = work(*token);
  const Status unlocked = state_.unlock(*token);
  if (!s.ok()) return failure(s);
  return unlocked.ok() ? answer(200) : failure(unlocked);
}

StateAnswer HttpState::post(const StateRequest& request) {
  if (!request.content_md5.empty() && request.content_md5 != md5_base64(request.body))
    return answer(400, "the body is not what its Content-MD5 says: it was damaged on the way\n");
  const auto next = identity_of(request.body);
  if (!next) return answer(400, "the body is not a state of format 4 with a serial and a lineage\n");
  return with_token(request.lock_id, [&](uint64_t token) -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const std::string before, state_.read());
    Identity now;
    if (!before.empty()) {
      auto found = identity_of(before);
      if (!found) return internal_error("the stored state is damaged");
      now = *found;
      if (now.lineage != next->lineage)
        return Status(409, reason::kConflict,
                      "the state is of lineage " + next->lineage + ", and the stored one of " + now.lineage + ": they have nothing in common");
      if (now.serial == next->serial && before == request.body) return {};  // the same again: an answer was lost
      if (next->serial <= now.serial) {
        return Status(
            409, reason::kConflict,
            "the state's serial is " + std::to_string(next->serial) + ", and the stored one's " + std::to_string(now.serial) + ": a serial only grows");
      }
    }
    return state_.write(request.body, now.serial, now.lineage, token);
  });
}

StateAnswer HttpState::lock(const StateRequest& request) {
  auto parsed = json::parse(request.body);
  if (!parsed || parsed->str_at({"ID"}).empty()) return answer(400, "the body does not describe a lock: it has no ID\n");
  StateLock wanted;
  wanted.id = parsed->str_at({"ID"});
  wanted.operation = parsed->str_at({"Operation"});
  wanted.who = parsed->str_at({"Who"});
  wanted.info = parsed->str_at({"Info"});
  if (wanted.id.size() > 200 || wanted.who.size() + wanted.operation.size() + wanted.info.size() > 8000)
    return answer(400, "the description of the lock is too long\n");
  if (auto since = parse_rfc3339(parsed->str_at({"Created"}))) wanted.since = *since;
  auto holder = locks_->holder();
  if (!holder) return failure(holder.error());
  if (*holder) return (*holder)->id == wanted.id ? answer(200) : locked(*holder);
  magma::LockInfo info;
  info.id = wanted.id;
  info.operation = wanted.operation;
  info.who = wanted.who;
  info.info = wanted.info;
  auto token = state_.lock(info);
  if (!token) {
    if (!token.error().conflict()) return failure(token.error());
    auto now = locks_->holder();
    return locked(now ? *now : std::nullopt);
  }
  const Status s = locks_->taken(wanted, *token);
  if (!s.ok()) return failure(s);
  std::lock_guard guard(mutex_);
  taken_.insert(wanted.id);
  return answer(200);
}

StateAnswer HttpState::unlock(const StateRequest& request) {
  std::string id = request.lock_id;
  if (!trim(request.body).empty()) {
    auto parsed = json::parse(request.body);
    if (!parsed) return answer(400, "the body does not describe a lock\n");
    if (!parsed->str_at({"ID"}).empty())
      id = parsed->str_at({"ID"});
    else if (id.empty())
      return answer(400, "the body does not say which lock: it has no ID\n");
  }
  const Status s = locks_->release(id);
  if (s.ok() || s.not_found()) {  // not locked: that is what was asked for
    std::lock_guard guard(mutex_);
    if (id.empty()) taken_.clear();
    taken_.erase(id);
    return answer(200);
  }
  if (!s.conflict()) return failure(s);
  auto holder = locks_->holder();
  return locked(holder ? *holder : std::nullopt);
}

void HttpState::release_taken() {
  std::set<std::string> ids;
  {
    std::lock_guard guard(mutex_);
    ids.swap(taken_);
  }
  for (const std::string& id : ids) (void)locks_->release(id);
}

StateAnswer HttpState::remove(const StateRequest& request) {
  return with_token(request.lock_id, [&](uint64_t token) { return locks_->clear(token); });
}

}  // namespace engenho::pangea
