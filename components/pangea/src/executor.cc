#include "engenho/pangea/executor.h"

#include "engenho/base/bytes.h"
#include "executors.h"

namespace engenho::pangea {

namespace {

constexpr int64_t kFormat = 1;

json::Object content_of(const SavedPlan& plan) {
  json::Object out;
  out.set("format", kFormat);
  out.set("executor", plan.executor);
  out.set("id", plan.id);
  out.set("document", plan.document);
  json::Object providers;
  for (const auto& [source, version] : plan.providers) providers.set(source, version);
  out.set("providers", std::move(providers));
  out.set("serial", static_cast<int64_t>(plan.serial));
  out.set("lineage", plan.lineage);
  out.set("only_refresh", plan.only_refresh);
  json::Array warnings;
  for (const std::string& w : plan.warnings) warnings.push_back(w);
  out.set("warnings", std::move(warnings));
  out.set("payload", base64_encode(plan.payload));
  return out;
}

}  // namespace

std::string SavedPlan::serialize() const {
  json::Object content = content_of(*this);
  const std::string checksum = sha256_hex(json::dump(json::Value(content)));
  content.set("checksum", checksum);
  return json::dump(json::Value(std::move(content))) + "\n";
}

Result<SavedPlan> SavedPlan::parse(std::string_view bytes) {
  auto parsed = json::parse(bytes);
  if (!parsed || parsed->get("format") == nullptr || parsed->get("executor") == nullptr) return err(bad_request("this is no saved plan"));
  if (parsed->get("format")->int_or(0) != kFormat) return err(bad_request("the saved plan was written by another version of this program"));
  const std::string checksum(parsed->str_at({"checksum"}));
  parsed->as_object().erase("checksum");
  if (sha256_hex(json::dump(*parsed)) != checksum) return err(bad_request("the saved plan is damaged or was changed"));
  SavedPlan out;
  out.executor = parsed->str_at({"executor"});
  out.id = parsed->str_at({"id"});
  if (const json::Value* document = parsed->get("document")) out.document = *document;
  ENGENHO_ASSIGN(out.model, read_plan(out.document));
  if (const json::Value* providers = parsed->get("providers")) {
    for (const auto& [source, version] : providers->members()) out.providers.emplace(source, version.str());
  }
  if (const json::Value* serial = parsed->get("serial")) out.serial = static_cast<uint64_t>(serial->int_or(0));
  out.lineage = parsed->str_at({"lineage"});
  out.only_refresh = parsed->get("only_refresh") != nullptr && parsed->get("only_refresh")->bool_or(false);
  if (const json::Value* warnings = parsed->get("warnings")) {
    for (const json::Value& w : warnings->items()) out.warnings.emplace_back(w.str());
  }
  ENGENHO_ASSIGN(out.payload, base64_decode(parsed->str_at({"payload"})));
  return out;
}

std::string_view outcome_name(Outcome::Result result) {
  switch (result) {
    case Outcome::Result::kDone:
      return "done";
    case Outcome::Result::kFailed:
      return "failed";
    case Outcome::Result::kSkipped:
      return "skipped";
    case Outcome::Result::kInterrupted:
      return "interrupted";
  }
  return "";
}

Status Applied::status() const {
  if (ok) return {};
  const std::string text = errors.empty() ? "the apply did not finish" : join(errors, "\n");
  return failure.kind == FailureKind::kUnclassified ? bad_request(text) : failure_status(failure.kind, text);
}

std::vector<std::string> executor_names() {
  return {"magma", "terraform", "tofu"};
}

Result<std::unique_ptr<Executor>> make_executor(const std::string& name, const ExecutorOptions& options) {
  const std::string lower = to_lower(name);
  if (lower == "magma") return make_magma_executor(options);
  if (lower == "tofu" || lower == "terraform") return make_tofu_executor(lower, options);
  const std::string near = nearest(lower, executor_names());
  return err(
      bad_request("unknown executor \"" + name + "\"; known are " + join(executor_names(), ", ") + (near.empty() ? "" : ". Did you mean " + near + "?")));
}

}  // namespace engenho::pangea
