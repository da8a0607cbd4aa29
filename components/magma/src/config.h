// Terraform configuration in JSON, the root module only. Reading it checks everything that needs no provider: the shape of blocks,
// meta-arguments, references to what exists, cycles.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "address.h"
#include "expr.h"
#include "schema.h"

namespace engenho::magma {

// Where providers come from when required_providers does not say: the host under which Terraform's own state files name them.
inline constexpr const char* kDefaultProviderHost = "registry.terraform.io";
inline constexpr const char* kBuiltinProvider = "terraform.io/builtin/terraform";

struct CheckRule {
  ExprPtr condition, error_message;
};

struct VariableConfig {
  std::string name;
  Type type;
  ExprPtr type_expr;                      // for the defaults of optional attributes; null when there is no type
  std::optional<json::Value> default_value;
  bool sensitive = false, nullable = true;
  std::vector<CheckRule> validations;
};

struct OutputConfig {
  std::string name;
  ExprPtr value;
  bool sensitive = false;
  std::vector<Reference> depends_on;
  std::vector<CheckRule> preconditions;
};

struct ProviderConfig {
  std::string local_name, alias;
  json::Value body;                       // without alias and version
  std::string key() const { return alias.empty() ? local_name : local_name + "." + alias; }
};

struct ProviderRequirement {
  std::string source;                     // full: host/namespace/type
  std::string version;                    // constraint, may be empty
};

struct Lifecycle {
  std::optional<bool> create_before_destroy;
  bool prevent_destroy = false, ignore_all = false;
  std::vector<Path> ignore_changes;
  std::vector<Reference> replace_triggered_by;
  std::vector<CheckRule> preconditions, postconditions;
};

struct ResourceConfig {
  ResourceAddress address;
  json::Value body;                       // without the meta-arguments
  ExprPtr count, for_each;
  std::vector<Reference> depends_on;
  Lifecycle lifecycle;
  std::string provider_key;               // "aws" or "aws.west"
  std::string provider_local() const { return provider_key.substr(0, provider_key.find('.')); }
};

struct MovedConfig {
  InstanceAddress from, to;
};
struct ImportConfig {
  InstanceAddress to;
  ExprPtr id;
};
struct RemovedConfig {
  ResourceAddress from;
  bool destroy = true;
};

struct Config {
  json::Value document;                   // all files merged: what a plan carries along
  std::string directory;                  // for path.module and file()
  std::map<std::string, ProviderRequirement> requirements;     // by local name
  std::map<std::string, ProviderConfig> providers;             // by key()
  std::map<std::string, VariableConfig> variables;
  std::map<std::string, ExprPtr> locals;
  std::map<std::string, OutputConfig> outputs;
  std::map<ResourceAddress, ResourceConfig> resources;
  std::vector<MovedConfig> moved;
  std::vector<ImportConfig> imports;
  std::vector<RemovedConfig> removed;

  // The full source of a provider's local name.
  std::string provider_source(const std::string& local_name) const;
  // Everything the resource's blocks refer to, through locals too: resources only.
  std::set<ResourceAddress> resource_dependencies(const std::set<Reference>& references) const;
  std::set<Reference> references(const ResourceConfig& resource) const;
  std::set<Reference> references(const ProviderConfig& provider) const;
};

// Errors (BadRequest) list every problem found, one a line, each with the address it is about.
Result<Config> parse_config(const json::Value& document, std::string directory);
// All *.tf.json files of a directory as one document. *.tf files (HCL) are refused: this engine reads JSON.
Result<json::Value> read_config_directory(const std::string& directory);

// References anywhere in a JSON body, those to the iterators of dynamic blocks left out.
Status body_references(const json::Value& body, std::set<Reference>& out);
// The value of a block's body. Errors name the argument's path.
Result<Value> decode_body(const Block& block, const json::Value& body, const Scope& scope, const std::string& path = "");
// A type constraint as variables have it: "list(string)", "object({a=string, b=optional(number, 1)})", "any".
Result<Type> type_from_expr(const Expr& expr);
Value apply_type_defaults(const Value& value, const Expr& type_expr, const Scope& scope);

}  // namespace engenho::magma
