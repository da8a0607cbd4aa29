#include "engenho/pangea/operator.h"

#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "engenho/pangea/cluster_state.h"
#include "environment.h"
#include "gem_store.h"
#include "notifier.h"
#include "plan_shelf.h"
#include "engenho/pangea/receipt.h"

namespace engenho::pangea {

Result<Executor*> Executors::get(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto& slot = made_[name];
  if (slot == nullptr) {
    ENGENHO_ASSIGN(slot, make_executor(name, options_));
  }
  return slot.get();
}

namespace {

// Made once, beside the artifacts that belong to it.
std::string server_identity(const std::string& data_dir) {
  const std::string path = data_dir + "/server-id";
  if (auto known = read_file(path); known && !known->empty()) return *known;
  const std::string fresh = random_uuid();
  if (!make_dirs(data_dir, 0700).ok() || !write_file_atomic(path, fresh, 0600).ok()) return "";   // locks of a crash then run out by themselves
  return fresh;
}

}  // namespace

struct Operator::Impl {
  Impl(std::shared_ptr<client::Transport> transport, Options o)
      : options(std::move(o)),
        client(std::make_shared<client::Client>(std::move(transport), "pangea")),
        informers(*client),
        events(*client, "pangea"),
        executors(options.executors),
        evaluator(options.evaluator),
        gems(*client, options),
        artifacts(options.data_dir),
        notifier(*client, options),
        receipts(client, ReceiptOptions{.kept = options.receipts_kept, .clock = options.clock}),
        plans(*client),
        environment{options, client, *client, informers, events, executors, evaluator, gems, artifacts, notifier, receipts, plans, server_identity(options.data_dir)} {
    for (auto make : {namespace_controller, gem_controller, catalog_controller, operator_policy_controller, template_controller}) {
      controllers.push_back(make(environment));
      controllers.back()->prepare();
    }
    // Read by the gates; they have no handler of their own.
    informers.get<pangea_v1::OperatorPolicy>();
  }

  Options options;
  std::shared_ptr<client::Client> client;
  client::Informers informers;
  client::EventRecorder events;
  Executors executors;
  ruby::Evaluator evaluator;
  GemStore gems;
  Artifacts artifacts;
  Notifier notifier;
  ReceiptStore receipts;
  PlanShelf plans;
  Environment environment;
  std::vector<std::unique_ptr<Controller>> controllers;
  TaskGroup group{"pangea"};
};

Operator::Operator(std::shared_ptr<client::Transport> transport, Options options) : impl_(std::make_unique<Impl>(std::move(transport), std::move(options))) {}
Operator::~Operator() { stop(); }

void Operator::start() {
  if (Status s = make_dirs(impl_->options.data_dir, 0700); !s.ok()) log::error("pangea", "{}", s.message());
  impl_->informers.start();
  impl_->group.spawn("start", [this](const StopToken& stop) {
    if (!impl_->informers.wait_synced(stop)) return;
    for (const auto& controller : impl_->controllers) controller->run(impl_->group);
    // What crashes and retention leave behind, once an hour.
    while (!stop.wait_for(std::chrono::hours(1))) {
      if (auto n = impl_->receipts.collect(); !n) log::warn("pangea", "receipts: {}", n.error().message());
      if (auto n = collect_state_orphans(*impl_->client); !n) log::warn("pangea", "states: {}", n.error().message());
      if (auto n = impl_->gems.collect(); !n) log::warn("pangea", "sources: {}", n.error().message());
    }
  });
}

void Operator::stop() {
  impl_->group.stop();
  impl_->notifier.stop();
  impl_->informers.stop();
}

}  // namespace engenho::pangea
