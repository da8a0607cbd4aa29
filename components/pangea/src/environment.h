// What every Pangea controller is given.
#pragma once

#include <map>
#include <mutex>

#include "artifacts.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/pangea_v1.h"
#include "engenho/client/events.h"
#include "engenho/client/informer.h"
#include "engenho/client/work_queue.h"
#include "engenho/pangea/operator.h"
#include "metrics.h"

namespace engenho::pangea {

namespace core_v1 = k8s::core_v1;
namespace pangea_v1 = k8s::pangea_v1;

class GemStore;
class Notifier;
class PlanShelf;
class ReceiptStore;

// Executors, made on first use. Thread-safe.
class Executors {
 public:
  explicit Executors(ExecutorOptions options) : options_(std::move(options)) {}
  Result<Executor*> get(const std::string& name);

 private:
  const ExecutorOptions options_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Executor>> made_;
};

struct Environment {
  const Options& options;
  std::shared_ptr<client::Client> shared_client;
  client::Client& client;
  client::Informers& informers;
  client::EventRecorder& events;
  Executors& executors;
  ruby::Evaluator& evaluator;
  GemStore& gems;
  Artifacts& artifacts;
  Notifier& notifier;
  ReceiptStore& receipts;
  PlanShelf& plans;
  const std::string owner;   // this server, over restarts; names its locks

  Clock& clock() const { return *options.clock; }
  WallTime now() const { return options.clock->wall(); }
  // As times stand in a status: whole seconds.
  WallTime second(WallTime time) const { return std::chrono::floor<std::chrono::seconds>(time); }
  WallTime second() const { return second(now()); }
};

class Controller {
 public:
  virtual ~Controller() = default;
  virtual void prepare() = 0;                  // registers handlers; before the informers start
  virtual void run(TaskGroup& group) = 0;      // starts the workers; the informers are in sync
};
std::unique_ptr<Controller> namespace_controller(Environment& environment);
std::unique_ptr<Controller> gem_controller(Environment& environment);
std::unique_ptr<Controller> catalog_controller(Environment& environment);
std::unique_ptr<Controller> operator_policy_controller(Environment& environment);
std::unique_ptr<Controller> template_controller(Environment& environment);

constexpr std::string_view kWorkspaceLabel = "pangea.pleme.io/workspace";
constexpr std::string_view kFinalizer = "pangea.pleme.io/cleanup";

}  // namespace engenho::pangea
