// ArchitectureGems: fetched at a commit, version checked, loaded in the evaluator, tried out. Templates wait until a gem is Loaded and Ready, and are
// rendered with the commit that was tried.
#include <filesystem>

#include "conditions.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/yaml.h"
#include "engenho/pangea/policy.h"
#include "gate.h"
#include "gem_store.h"
#include "gem_version.h"

namespace engenho::pangea {

namespace {

constexpr Duration kFailedAgain = std::chrono::minutes(1), kSuspendedAgain = std::chrono::minutes(5);

class GemController final : public Controller {
 public:
  explicit GemController(Environment& e) : e_(e), queue_(e.clock()) {}

  void prepare() override {
    e_.informers.get<pangea_v1::ArchitectureGem>().add_handler(
        {[this](const auto& o) { queue_.add(o->metadata.name); },
         [this](const auto& before, const auto& now) {
           if (before->metadata.generation != now->metadata.generation) queue_.add(now->metadata.name);
         },
         {}});
  }
  void run(TaskGroup& group) override {
    stop_ = group.token();
    client::run_workers(group, "pangea-gem", queue_, 2, [this](const std::string& name) { return reconcile(name); });
  }

 private:
  // Why a gem is not loaded: the reason of the condition, and its text.
  struct Refusal {
    std::string condition, reason, message;
  };

  Status reconcile(const std::string& name) {
    auto read = e_.client.get<pangea_v1::ArchitectureGem>("", name);
    if (!read) return read.error().not_found() ? Status() : read.error();
    pangea_v1::ArchitectureGem object = std::move(*read);
    if (object.metadata.deletion_timestamp) return {};
    if (!may_run(e_, "architectureGem", name, "")) {
      queue_.add_after(name, kSuspendedAgain);
      return {};
    }
    pangea_v1::ArchitectureGem before = object;
    object.status.observed_generation = object.metadata.generation;
    if (object.spec.suspend) {
      object.status.phase = "Suspended";   // what was loaded last is kept
      queue_.add_after(name, kSuspendedAgain);
      return finish(object, before);
    }
    const bool first = before.status.phase.empty() || before.status.observed_generation != object.metadata.generation;
    if (first) {
      object.status.phase = "Loading";
      if (Status s = write_status(e_, object, before); !s.ok()) return s.not_found() ? Status() : s;
      before = object;
    }
    const auto refusal = load(object);
    const WallTime now = e_.now();
    auto& conditions = object.status.conditions;
    if (refusal) {
      object.status.phase = "Failed";
      set_condition(conditions, refusal->condition, false, refusal->reason, refusal->message, now);
      set_condition(conditions, "Ready", false, refusal->reason, refusal->message, now);
      e_.events.event(client::reference_to(object), "Warning", refusal->reason, shorten(refusal->message, 512));
      queue_.add_after(name, kFailedAgain);
    } else {
      object.status.phase = "Loaded";
      set_condition(conditions, "SmokeTested", true, object.status.smoke_status == "Passed" ? "AllFixturesPassed" : "NoFixtures", "", now);
      set_condition(conditions, "Ready", true, "Loaded", "", now);
      queue_.add_after(name, parse_duration(object.spec.refresh_interval).value_or(std::chrono::minutes(5)));
    }
    return finish(object, before);
  }

  Status finish(pangea_v1::ArchitectureGem& object, const pangea_v1::ArchitectureGem& before) {
    if (!(object.status == before.status)) object.status.last_reconcile_time = e_.second();
    const Status written = write_status(e_, object, before);
    meters::reconciled("architectureGem", written.ok() ? "ok" : "error");
    return written.not_found() ? Status() : written;
  }

  std::optional<Refusal> load(pangea_v1::ArchitectureGem& object) {
    const auto& spec = object.spec;
    auto& status = object.status;
    const std::string kind = spec.source ? spec.source->kind : "Ruby";
    if (kind == "Lisp" || kind == "Wasm") return Refusal{"Loaded", "NotImplemented", "spec.source.kind: " + kind + " gems are not implemented; expected Ruby"};
    if (!spec.source || spec.source->git.empty()) return Refusal{"Loaded", "GemPrepareFailed", "spec.source.git: a gem needs a repository"};
    auto checkout = e_.gems.checkout(repository_of(object), "", stop_);
    if (!checkout) return Refusal{"Loaded", "GemPrepareFailed", checkout.error().message()};
    const ruby::GemTree tree{gem_name_of(object), checkout->path, checkout->commit};
    auto info = e_.evaluator.inspect(tree, stop_);
    if (!info) return Refusal{"Loaded", std::string(ruby::failure_name(info.error().kind)), info.error().to_string()};
    status.observed_version = info->version;
    if (auto accepted = version_satisfies(info->version, spec.version); !accepted) {
      return Refusal{"Loaded", "VersionInvalid", "spec.version: " + accepted.error().message()};
    } else if (!*accepted) {
      return Refusal{"Loaded", "VersionMismatch", "the gem at " + checkout->commit.substr(0, 12) + " is version " + info->version + ", spec.version asks for " + spec.version};
    }
    auto classes = e_.evaluator.list_classes({tree}, spec.expected_classes, stop_);
    if (!classes) return Refusal{"Loaded", std::string(ruby::failure_name(classes.error().kind)), classes.error().to_string()};
    status.loaded_classes = classes->architectures;
    for (const std::string& name : classes->present) {
      if (std::find(status.loaded_classes.begin(), status.loaded_classes.end(), name) == status.loaded_classes.end()) status.loaded_classes.push_back(name);
    }
    status.loaded_class_count = static_cast<int32_t>(status.loaded_classes.size());
    status.missing_classes = classes->missing;
    if (!status.missing_classes.empty()) return Refusal{"Loaded", "ExpectedClassesMissing", "missing: " + join(status.missing_classes, ", ")};
    set_condition(status.conditions, "Loaded", true, "ExpectedClassesLoaded", "", e_.now());
    if (auto refusal = smoke(object, tree)) return refusal;
    status.observed_commit = checkout->commit;   // from here on templates use it
    return {};
  }

  std::optional<Refusal> smoke(pangea_v1::ArchitectureGem& object, const ruby::GemTree& tree) {
    auto& status = object.status;
    status.smoke_status = "NotRun";
    std::vector<pangea_v1::GemStatusFixtureResult> results;
    auto run = [&](const std::string& target, json::Object inputs, const std::string& hash) {
      pangea_v1::GemStatusFixtureResult r;
      r.class_name = target;
      r.input_hash = hash;
      auto rendered = e_.evaluator.smoke({{tree}, target, std::move(inputs)}, stop_);
      r.passed = rendered.has_value();
      if (!rendered) r.error = shorten(rendered.error().to_string(), 1024);
      return r;
    };
    if (object.spec.smoke_test && !object.spec.smoke_test->template_.empty()) {
      json::Object inputs;
      for (const auto& [name, value] : object.spec.smoke_test->variables) inputs.set(name, value);
      const std::string hash = sha256_hex(json::dump(json::Value(inputs))).substr(0, 12);
      results.push_back(run(object.spec.smoke_test->template_, std::move(inputs), hash));
    }
    for (const auto& fixture : object.spec.fixtures) results.push_back(fixture_result(fixture, tree, run));
    // A result that is the same as before keeps its time.
    for (auto& r : results) {
      auto same = std::find_if(status.fixture_results.begin(), status.fixture_results.end(), [&](const auto& old) {
        return old.class_name == r.class_name && old.input_hash == r.input_hash && old.passed == r.passed && old.error == r.error;
      });
      r.last_run = same != status.fixture_results.end() ? same->last_run : k8s::Time(e_.second());
    }
    status.fixture_results = std::move(results);
    if (status.fixture_results.empty()) return {};
    const auto failed = std::find_if(status.fixture_results.begin(), status.fixture_results.end(), [](const auto& r) { return !r.passed; });
    status.smoke_status = failed == status.fixture_results.end() ? "Passed" : "Failed";
    if (failed == status.fixture_results.end()) return {};
    return Refusal{"SmokeTested", "FixtureFailures", failed->class_name + ": " + failed->error};
  }

  template <typename Run>
  pangea_v1::GemStatusFixtureResult fixture_result(const pangea_v1::GemFixture& fixture, const ruby::GemTree& tree, const Run& run) {
    auto refuse = [&](std::string why) {
      pangea_v1::GemStatusFixtureResult r;
      r.class_name = fixture.class_name;
      r.error = fixture.fixture_path + ": " + std::move(why);
      return r;
    };
    std::error_code ec;
    const auto root = std::filesystem::canonical(tree.dir, ec);
    const auto file = std::filesystem::weakly_canonical(root / fixture.fixture_path, ec);
    if (ec || !file.string().starts_with(root.string() + "/")) return refuse("is not within the gem");
    auto text = read_file(file.string());
    if (!text) return refuse(text.error().message());
    auto parsed = yaml::parse(*text);
    if (!parsed) return refuse(parsed.error().message());
    const json::Value* inputs = parsed->value.get("inputs");
    if (inputs == nullptr) inputs = &parsed->value;
    if (!inputs->is_object()) return refuse("expected a map of inputs");
    return run(fixture.class_name, inputs->as_object(), sha256_hex(*text).substr(0, 12));
  }

  Environment& e_;
  client::WorkQueue queue_;
  StopToken stop_;
};

}  // namespace

std::unique_ptr<Controller> gem_controller(Environment& environment) { return std::make_unique<GemController>(environment); }

}  // namespace engenho::pangea
