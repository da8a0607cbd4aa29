// Who is it? Client certificates, static tokens, ServiceAccount tokens, nobody.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engenho/apiserver/user.h"
#include "engenho/base/clock.h"
#include "engenho/http/message.h"
#include "engenho/pki/keys.h"
#include "hub.h"
#include "resource_table.h"

namespace engenho::apiserver {

struct TokenVerdict {
  bool authenticated = false;
  UserInfo user;
  std::vector<std::string> audiences;
  std::string error;
};

class Authenticator {
 public:
  struct Options {
    std::string issuer;
    std::vector<std::string> api_audiences;
    pki::PrivateKey signing_key;
    Clock* clock = nullptr;
  };
  Authenticator(Options options, ResourceTable& resources);

  // Lines of upstream's token file: token,user,uid,"group1,group2". Error names the line.
  Status load_token_file(const std::string& path);
  void add_token(std::string token, UserInfo user);

  // Error: Unauthorized.
  Result<UserInfo> authenticate(const http::Request& request);
  TokenVerdict review_token(std::string_view token, const std::vector<std::string>& audiences);

  struct TokenSpec {
    std::string namespace_name, service_account, service_account_uid;
    std::string bound_kind, bound_name, bound_uid;   // Pod, Secret or Node; may be empty
    std::string node_name, node_uid;                 // of a bound pod
    std::vector<std::string> audiences;
    int64_t expiration_seconds = 3600;
    int64_t warn_after_seconds = 0;
  };
  struct IssuedToken {
    std::string token;
    WallTime expires;
  };
  Result<IssuedToken> issue(const TokenSpec& spec);
  const Options& options() const { return options_; }
  json::Value openid_configuration(const std::string& external) const;
  json::Value jwks() const;

 private:
  // The claims of a token that this server has signed. Only this is remembered: whether what the token stands for is still there is asked each time.
  Result<json::Value> verified_claims(std::string_view token, const std::string& digest);
  Result<TokenVerdict> check_service_account(const json::Value& claims);
  Options options_;
  ResourceTable& resources_;
  std::map<std::string, UserInfo, std::less<>> tokens_;  // by SHA-256: a lookup's time says nothing about a token
  struct Cached {
    Result<json::Value> claims;
    MonoTime until;
  };
  std::mutex mutex_;  // guards cache_
  std::map<std::string, Cached, std::less<>> cache_;
};

UserInfo service_account_user(std::string_view ns, std::string_view name, std::string_view uid);

}  // namespace engenho::apiserver
