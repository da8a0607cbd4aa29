#include "authenticator.h"

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "engenho/pki/jwt.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr size_t kMaxCached = 4096;
constexpr auto kCacheFor = std::chrono::seconds(10);

// One CSV record; quotes protect commas.
std::vector<std::string> csv_fields(std::string_view line) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"') out.back() += line[++i];
      else quoted = !quoted;
    } else if (c == ',' && !quoted) {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

void add_group(UserInfo& user, std::string_view group) {
  if (!user.in_group(group)) user.groups.emplace_back(group);
}

}  // namespace

UserInfo service_account_user(std::string_view ns, std::string_view name, std::string_view uid) {
  UserInfo user;
  user.name = "system:serviceaccount:" + std::string(ns) + ":" + std::string(name);
  user.uid = uid;
  user.groups = {"system:serviceaccounts", "system:serviceaccounts:" + std::string(ns)};
  return user;
}

Authenticator::Authenticator(Options options, ResourceTable& resources) : options_(std::move(options)), resources_(resources) {}

void Authenticator::add_token(std::string token, UserInfo user) { tokens_[sha256(token)] = std::move(user); }

Status Authenticator::load_token_file(const std::string& path) {
  auto text = read_file(path);
  if (!text) return text.error();
  size_t number = 0;
  for (std::string_view line : split(*text, '\n')) {
    ++number;
    line = trim(line);
    if (line.empty() || line[0] == '#') continue;
    const auto fields = csv_fields(line);
    if (fields.size() < 3 || fields[0].empty() || fields[1].empty()) {
      return bad_request(path + ":" + std::to_string(number) + ": expected token,user,uid[,\"group1,group2\"]");
    }
    UserInfo user;
    user.name = trim(fields[1]);
    user.uid = trim(fields[2]);
    if (fields.size() > 3) {
      for (std::string_view g : split(fields[3], ',')) {
        if (!trim(g).empty()) user.groups.emplace_back(trim(g));
      }
    }
    add_token(fields[0], std::move(user));
  }
  return {};
}

Result<UserInfo> Authenticator::authenticate(const http::Request& request) {
  const http::PeerIdentity* peer = request.connection->peer.get();
  if (peer != nullptr) {
    if (!peer->verified || peer->not_after < options_.clock->wall() || peer->common_name.empty()) return err(schema::unauthorized());
    UserInfo user;
    user.name = peer->common_name;
    user.groups = peer->organizations;
    add_group(user, kAuthenticated);
    return user;
  }
  std::string_view authorization = request.headers.get("Authorization");
  std::string token;
  if (authorization.size() > 7 && http::iequals(authorization.substr(0, 7), "Bearer ")) {
    token = trim(authorization.substr(7));
  } else if (authorization.empty()) {
    // Browsers cannot set headers on a WebSocket: the token travels as a sub-protocol.
    constexpr std::string_view kPrefix = "base64url.bearer.authorization.k8s.io.";
    for (std::string_view field : request.headers.all("Sec-WebSocket-Protocol")) {
      for (std::string_view protocol : split(field, ',')) {
        protocol = trim(protocol);
        if (!protocol.starts_with(kPrefix)) continue;
        auto decoded = base64url_decode(protocol.substr(kPrefix.size()));
        if (!decoded) return err(schema::unauthorized());
        token = std::move(*decoded);
      }
    }
  } else if (!http::iequals(authorization.substr(0, 6), "Basic ")) {
    token.clear();
  }
  if (token.empty()) {
    if (authorization.size() >= 6 && http::iequals(authorization.substr(0, 6), "Bearer") && !trim(authorization.substr(6)).empty()) {
      return err(schema::unauthorized());
    }
    UserInfo user;
    user.name = kAnonymous;
    user.groups = {std::string(kUnauthenticated)};
    return user;
  }
  TokenVerdict verdict = review_token(token, options_.api_audiences);
  if (!verdict.authenticated) return err(schema::unauthorized());
  add_group(verdict.user, kAuthenticated);
  return std::move(verdict.user);
}

TokenVerdict Authenticator::review_token(std::string_view token, const std::vector<std::string>& audiences) {
  const std::string digest = sha256(token);
  if (auto it = tokens_.find(digest); it != tokens_.end()) {
    TokenVerdict out;
    out.authenticated = true;
    out.user = it->second;
    return out;
  }
  TokenVerdict verdict;
  auto claims = verified_claims(token, digest);
  auto checked = claims ? check_service_account(*claims) : Result<TokenVerdict>(err(claims.error()));
  if (checked) verdict = std::move(*checked);
  else verdict.error = checked.error().message();
  if (!verdict.authenticated) return verdict;
  std::vector<std::string> common;
  for (const std::string& a : verdict.audiences) {
    for (const std::string& wanted : audiences) {
      if (a == wanted) common.push_back(a);
    }
  }
  if (common.empty()) {
    verdict.authenticated = false;
    verdict.error = "token audiences are invalid for the target audiences";
    return verdict;
  }
  verdict.audiences = std::move(common);
  return verdict;
}

Result<Value> Authenticator::verified_claims(std::string_view token, const std::string& digest) {
  {
    std::lock_guard lock(mutex_);
    auto it = cache_.find(digest);
    if (it != cache_.end() && it->second.until > options_.clock->mono()) return it->second.claims;
  }
  auto verified = pki::verify_jwt(token, {options_.signing_key.public_key()});
  Result<Value> claims = verified ? Result<Value>(std::move(verified->claims)) : Result<Value>(err(verified.error()));
  std::lock_guard lock(mutex_);
  if (cache_.size() >= kMaxCached) cache_.clear();
  cache_.insert_or_assign(digest, Cached{claims, options_.clock->mono() + kCacheFor});
  return claims;
}

Result<TokenVerdict> Authenticator::check_service_account(const Value& claims) {
  ENGENHO_TRY(pki::check_jwt_times(claims, options_.clock->wall()));
  if (claims.str_at({"iss"}) != options_.issuer) return err(schema::unauthorized());
  const auto invalidated = [] {
    return err(Status(401, reason::kUnauthorized, "[invalid bearer token, service account token has been invalidated]"));
  };
  const Value* kubernetes = claims.get("kubernetes.io");
  if (kubernetes == nullptr) return err(schema::unauthorized());
  const std::string ns(kubernetes->str_at({"namespace"}));
  const std::string name(kubernetes->str_at({"serviceaccount", "name"}));
  const std::string uid(kubernetes->str_at({"serviceaccount", "uid"}));
  // The account, and what the token is bound to, must still be the ones it was made for.
  auto alive = [&](std::string_view plural, std::string_view object_ns, std::string_view object, std::string_view want) {
    auto resource = resources_.find("", "v1", plural);
    if (resource == nullptr) return false;
    auto found = resource->cacher->get(resource->store_key(object_ns, object));
    return found != nullptr && found->uid() == want;
  };
  if (!alive("serviceaccounts", ns, name, uid)) return invalidated();
  TokenVerdict out;
  out.user = service_account_user(ns, name, uid);
  for (const auto& [kind, plural] : {std::pair("pod", "pods"), std::pair("secret", "secrets")}) {
    if (const Value* bound = kubernetes->get(kind)) {
      if (!alive(plural, ns, bound->str_at({"name"}), bound->str_at({"uid"}))) return invalidated();
      if (std::string_view(kind) == "pod") {
        out.user.extra["authentication.kubernetes.io/pod-name"] = {std::string(bound->str_at({"name"}))};
        out.user.extra["authentication.kubernetes.io/pod-uid"] = {std::string(bound->str_at({"uid"}))};
      }
    }
  }
  if (const Value* node = kubernetes->get("node")) {
    out.user.extra["authentication.kubernetes.io/node-name"] = {std::string(node->str_at({"name"}))};
    if (!node->str_at({"uid"}).empty()) out.user.extra["authentication.kubernetes.io/node-uid"] = {std::string(node->str_at({"uid"}))};
  }
  if (!claims.str_at({"jti"}).empty()) {
    out.user.extra["authentication.kubernetes.io/credential-id"] = {"JTI=" + std::string(claims.str_at({"jti"}))};
  }
  out.authenticated = true;
  out.audiences = pki::jwt_audiences(claims);
  return out;
}

Result<Authenticator::IssuedToken> Authenticator::issue(const TokenSpec& spec) {
  const WallTime now = options_.clock->wall();
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  Value claims = json::Object();
  claims["iss"] = options_.issuer;
  claims["sub"] = "system:serviceaccount:" + spec.namespace_name + ":" + spec.service_account;
  json::Array audiences;
  for (const std::string& a : spec.audiences.empty() ? options_.api_audiences : spec.audiences) audiences.push_back(a);
  claims["aud"] = std::move(audiences);
  claims["iat"] = seconds;
  claims["nbf"] = seconds;
  claims["exp"] = seconds + spec.expiration_seconds;
  claims["jti"] = random_uuid();
  Value& kubernetes = claims["kubernetes.io"];
  kubernetes["namespace"] = spec.namespace_name;
  kubernetes["serviceaccount"]["name"] = spec.service_account;
  kubernetes["serviceaccount"]["uid"] = spec.service_account_uid;
  if (!spec.bound_kind.empty()) {
    Value& bound = kubernetes[to_lower(spec.bound_kind)];
    bound["name"] = spec.bound_name;
    bound["uid"] = spec.bound_uid;
  }
  if (!spec.node_name.empty() && spec.bound_kind == "Pod") {
    kubernetes["node"]["name"] = spec.node_name;
    if (!spec.node_uid.empty()) kubernetes["node"]["uid"] = spec.node_uid;
  }
  if (spec.warn_after_seconds > 0) kubernetes["warnafter"] = seconds + spec.warn_after_seconds;
  ENGENHO_ASSIGN(std::string token, pki::sign_jwt(options_.signing_key, claims));
  return IssuedToken{std::move(token), now + std::chrono::seconds(spec.expiration_seconds)};
}

Value Authenticator::openid_configuration(const std::string& external) const {
  Value out = json::Object();
  out["issuer"] = options_.issuer;
  out["jwks_uri"] = external + "/openid/v1/jwks";
  out["response_types_supported"] = json::Array{"id_token"};
  out["subject_types_supported"] = json::Array{"public"};
  out["id_token_signing_alg_values_supported"] =
      json::Array{options_.signing_key.type() == pki::KeyType::kRsa2048 ? "RS256" : "ES256"};
  return out;
}

Value Authenticator::jwks() const { return pki::jwks({options_.signing_key.public_key()}); }

}  // namespace engenho::apiserver
