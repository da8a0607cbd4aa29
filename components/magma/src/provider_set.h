// The providers of one run: started on first use, configured once, ended with it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "config.h"
#include "engenho/magma/engine.h"
#include "evaluation.h"
#include "provider.h"

namespace engenho::magma {

class ProviderSet {
 public:
  ProviderSet(const EngineOptions& options, const Config& config, StopToken stop);
  ~ProviderSet();

  // `reference` as in the state: provider["source"].alias. Errors say where an executable was looked for.
  Result<Provider*> get(const std::string& reference);
  // Evaluates and hands over its configuration, once; what it refers to must be there.
  Status configure(const std::string& reference, const Evaluation& evaluation, std::vector<Message>& warnings);
  // The configuration block that a reference means; null when there is none.
  const ProviderConfig* config_of(const std::string& reference) const;
  std::string reference_of(const ResourceConfig& resource) const;
  std::map<std::string, std::string> versions() const;   // of what was started

 private:
  struct Entry {
    std::mutex mutex;
    std::unique_ptr<Provider> provider;
    Status failed;
    bool configured = false;
  };
  Entry& entry(const std::string& reference);
  Result<Provider*> start(Entry& entry, const std::string& reference);

  const EngineOptions& options_;
  const Config& config_;
  StopToken stop_;
  uint64_t stop_id_ = 0;
  // What the stop callback holds on to: it may run while this ends.
  struct Handle {
    std::mutex mutex;
    ProviderSet* set;
  };
  std::shared_ptr<Handle> handle_;
  mutable std::mutex mutex_;   // guards entries_ itself
  std::map<std::string, std::unique_ptr<Entry>> entries_;
};

}  // namespace engenho::magma
