#pragma once

#include "evaluation.h"
#include "graph.h"
#include "instance.h"
#include "provider_set.h"

namespace engenho::magma {

// Makes one plan. Use once.
class Planner {
 public:
  Planner(const EngineOptions& options, const PlanRequest& request, const Config& config, const ProgressSink& sink, StopToken stop);
  // `stored`: the state as it was read. All problems of all resources are in the error.
  Result<PlanData> run(State stored, std::map<std::string, Value> variables);
  // With an id: adopts one object into the state instead of planning.
  Result<State> import(State stored, std::map<std::string, Value> variables, const InstanceAddress& address, const std::string& id);
  std::map<std::string, std::string> versions() const { return providers_.versions(); }

 private:
  void fail(const std::string& object, const std::string& what);
  void add_resource(const ResourceConfig& resource);
  bool plan_resource(const ResourceConfig& resource);
  bool plan_managed(const ResourceConfig& resource, Provider& provider, const std::string& reference, const InstanceAddress& address, const Value& each);
  bool plan_data(const ResourceConfig& resource, Provider& provider, const std::string& reference, const InstanceAddress& address, const Value& each);
  // Refreshes, and records drift. Null value: there is no such object, or no more.
  Result<Value> refresh_object(Provider& provider, const std::string& reference, const InstanceAddress& address, const std::string& deposed);
  bool plan_delete(Provider& provider, const std::string& reference, const InstanceAddress& address, const std::string& deposed, const std::string& reason, const Lifecycle* lifecycle);
  bool plan_orphans(const ResourceAddress& resource);
  bool plan_leftovers(const ResourceConfig& resource, Provider& provider, const std::string& reference, const Expansion& expansion);
  Result<Value> adopt(Provider& provider, const std::string& reference, const InstanceAddress& address, const std::string& id);
  Result<Provider*> ready_provider(const std::string& reference, const std::string& object, bool configure = true);
  bool replaces_others(const ResourceConfig& resource, const Scope& scope);
  bool pending_dependency(const ResourceConfig& resource);
  void plan_outputs();
  void move_objects();
  void move_count(const ResourceConfig& resource, const Expansion& expansion);
  bool targeted(const ResourceAddress& resource) const;
  void find_targets();
  std::vector<std::string> dependencies(const ResourceConfig& resource) const;
  bool create_before_destroy(const ResourceAddress& resource) const { return create_first_.contains(resource); }
  void find_create_first();
  void add_change(Change change);
  int parallelism(const std::string& reference) const;

  const EngineOptions& options_;
  const PlanRequest& request_;
  const Config& config_;
  const ProgressSink& sink_;
  StopToken stop_;
  ProviderSet providers_;
  std::optional<Evaluation> evaluation_;
  std::optional<std::set<ResourceAddress>> targets_;   // none: everything
  std::set<InstanceAddress> target_instances_, replace_;
  std::set<ResourceAddress> create_first_;
  std::map<InstanceAddress, InstanceAddress> moved_;   // new -> old
  std::map<ResourceAddress, std::set<ResourceAddress>> direct_;   // dependencies by configuration
  std::mutex mutex_;   // guards plan_ and problems_
  PlanData plan_;
  std::vector<std::string> problems_;
};

}  // namespace engenho::magma
