// What references mean while a configuration is planned or applied. Thread-safe; the order of the graph guarantees that what is asked
// for is there.
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include "plan_data.h"

namespace engenho::magma {

class Evaluation {
 public:
  Evaluation(const Config& config, std::map<std::string, Value> variables, std::string workspace, WallTime time, bool applying);

  void set_expansion(const ResourceAddress& resource, Expansion expansion);
  void set_instance(const InstanceAddress& instance, Value value);
  std::optional<Expansion> expansion(const ResourceAddress& resource) const;

  // Scope of a body: `key` of the instance, with its each.value; `self` for postconditions.
  class InstanceScope final : public Scope {
   public:
    InstanceScope(const Evaluation& evaluation, InstanceKey key = {}, Value each = {}, std::optional<Value> self = {})
        : evaluation_(evaluation), key_(std::move(key)), each_(std::move(each)), self_(std::move(self)) {}
    Result<Value> resolve(const std::vector<std::string>& steps, size_t& used) const override;
    const std::string& module_dir() const override { return evaluation_.config_.directory; }
    WallTime plan_time() const override { return evaluation_.time_; }
    bool applying() const override { return evaluation_.applying_; }

   private:
    const Evaluation& evaluation_;
    InstanceKey key_;
    Value each_;
    std::optional<Value> self_;
  };

  // The instances that count or for_each ask for; `each` has the values of for_each.
  Result<Expansion> expand(const ResourceConfig& resource, std::map<std::string, Value>& each) const;
  // Checks of preconditions, postconditions and validations: what did not hold.
  std::vector<std::string> failed_rules(const std::vector<CheckRule>& rules, const Scope& scope) const;
  const Config& config() const { return config_; }

  // Remembers the texts in the sensitive parts of a value, and takes them out of what is to be said: providers quote what they get.
  void learn(const Value& value) const;
  std::string without_secrets(std::string text) const;

 private:
  Result<Value> local(const std::string& name) const;
  Result<Value> resource(const ResourceAddress& address) const;

  const Config& config_;
  const std::map<std::string, Value> variables_;
  const std::string workspace_;
  const WallTime time_;
  const bool applying_;
  mutable std::mutex mutex_;   // guards what follows
  mutable std::map<std::string, Value> locals_;
  mutable std::set<std::string> secrets_;
  std::map<ResourceAddress, Expansion> expansions_;
  std::map<ResourceAddress, std::map<InstanceKey, Value>> instances_;
};

// The values of all declared variables from what was given; errors list every problem. Unknown names are problems.
Result<std::map<std::string, Value>> variable_values(const Config& config, const json::Object& given);

}  // namespace engenho::magma
