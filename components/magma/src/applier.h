#pragma once

#include "evaluation.h"
#include "graph.h"
#include "instance.h"
#include "provider_set.h"
#include "state_saver.h"

namespace engenho::magma {

// Carries out one plan. Use once.
class Applier {
 public:
  Applier(const EngineOptions& options, const PlanData& plan, const Config& config, const ApplyOptions& apply_options, const ProgressSink& sink, StopToken stop);
  // The lock is held. `stored`: the state as it is now: that of the plan, or of an apply of it that was cut short.
  ApplyResult run(StateStore& store, uint64_t token, const State& stored, const std::vector<std::string>& cursor);

 private:
  // One provider call: the create or update half of a change, or its delete half.
  struct Step {
    const Change* change;
    bool remove;
  };
  enum class Fate { kOpen, kDone, kHalf };   // kHalf: of a replacement, the first half is done
  Fate fate(const Change& change, const State& stored) const;
  void build(Graph& graph, const State& stored);
  bool run_write(const Change& change);
  bool run_read(const Change& change);
  bool run_delete(const Change& change);
  bool run_forget(const Change& change);
  bool failed(const Change& change, const std::string& what);
  void skip(const Change& change, const std::string& why);
  void begin(const Change& change);
  bool done(const Change& change);
  Result<Provider*> ready_provider(const std::string& reference);
  Value each_value(const ResourceConfig& resource, const InstanceKey& key, Status& status);
  void outputs(ApplyResult& result);
  std::string delete_action(const Change& change) const { return is_replace(change.action) ? "replace" : "delete"; }

  const EngineOptions& options_;
  const PlanData& plan_;
  const Config& config_;
  const ApplyOptions& apply_options_;
  const ProgressSink& sink_;
  StopToken stop_;
  ProviderSet providers_;
  Evaluation evaluation_;
  std::unique_ptr<StateSaver> saver_;
  std::once_flag mark_once_;
  Status marked_;
  std::set<std::string> interrupted_;   // creates that were begun and never ended
  std::mutex mutex_;                    // guards what follows
  std::map<const Change*, Outcome> outcomes_;
  std::map<const Change*, MonoTime> started_;
  std::map<const Change*, std::string> deposed_;   // the key under which the replaced object waits
  std::vector<Message> messages_;
};

}  // namespace engenho::magma
