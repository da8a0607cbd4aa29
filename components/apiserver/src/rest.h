// The generic store of objects: one write path for every kind and every caller. Strategies (strategy.h) say what differs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context.h"
#include "engenho/apiserver/admission.h"
#include "engenho/datastore/store.h"
#include "hub.h"
#include "resource_table.h"
#include "strategy.h"

namespace engenho::apiserver {

struct DeleteOptions {
  std::optional<int64_t> grace_period_seconds;
  std::string propagation;                     // "", Orphan, Background, Foreground
  std::optional<bool> orphan_dependents;
  std::string precondition_uid, precondition_revision;
  bool dry_run = false;
};

struct WriteOptions {
  bool dry_run = false;
  std::string field_manager;
};

// Runs before a write is stored and after it has been refused or stored: allocations (cluster IPs, node ports) that must be
// taken and given back.
class WriteHook {
 public:
  virtual ~WriteHook() = default;
  // `old` is null for a create. May change `object`. Errors refuse the write.
  virtual Status before(const ResourceDef& resource, json::Value& object, const json::Value* old, bool dry_run) = 0;
  // The write of `object` did not happen after all.
  virtual void undo(const ResourceDef& resource, const json::Value& object, const json::Value* old) = 0;
};

class Rest {
 public:
  Rest(Hub& hub, ResourceTable& resources, Clock& clock) : hub_(hub), resources_(resources), clock_(clock) {}

  void add_admission(std::unique_ptr<AdmissionPlugin> plugin) { plugins_.push_back(std::move(plugin)); }
  void add_hook(std::unique_ptr<WriteHook> hook) { hooks_.push_back(std::move(hook)); }
  void set_event_ttl(int64_t seconds) { event_ttl_seconds_ = seconds; }

  // `object` is in the version `resource` serves, decoded and defaulted, with managedFields. All results are in storage version and
  // carry their resourceVersion.
  Result<json::Value> create(Context& context, const ResourceDef& resource, json::Value object, const WriteOptions& options);

  // The change: from the present object in the served version (null: absent) to the wanted one, decoded and defaulted.
  // Called again when somebody else was faster.
  using Change = std::function<Result<json::Value>(const json::Value* current)>;
  struct Updated {
    json::Value object;
    bool created = false;
  };
  // `create_when_absent`: apply and the kinds that PUT creates.
  Result<Updated> update(Context& context, const ResourceDef& resource, const std::string& name, std::string_view subresource,
                         const Change& change, const WriteOptions& options, bool create_when_absent);

  struct Deleted {
    json::Value object;       // as it is now, or was
    bool gone = false;        // false: waits for finalizers or its grace period
  };
  Result<Deleted> remove(Context& context, const ResourceDef& resource, const std::string& ns, const std::string& name,
                         const DeleteOptions& options);

  // In storage version, straight from the store. NotFound when absent.
  Result<json::Value> read(const ResourceDef& resource, std::string_view ns, std::string_view name);
  Status admit_connect(Context& context, const ResourceDef& resource, const json::Value* options);

  Hub& hub() { return hub_; }
  ResourceTable& resources() { return resources_; }
  Clock& clock() { return clock_; }

 private:
  Status run_admission(AdmissionRequest& request, bool mutate);
  AdmissionRequest admission_request(Context& context, const ResourceDef& resource, Operation operation, std::string_view subresource,
                                     std::string_view ns, std::string_view name, bool dry_run);
  Result<datastore::LeaseId> lease_for(const ResourceDef& resource);
  bool ready_to_go(const ResourceDef& resource, const json::Value& object) const;

  Hub& hub_;
  ResourceTable& resources_;
  Clock& clock_;
  std::vector<std::unique_ptr<AdmissionPlugin>> plugins_;
  std::vector<std::unique_ptr<WriteHook>> hooks_;
  int64_t event_ttl_seconds_ = 3600;
  std::mutex lease_mutex_;
  datastore::LeaseId event_lease_ = 0;
  WallTime event_lease_made_{};
};

}  // namespace engenho::apiserver
