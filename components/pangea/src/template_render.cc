// resolve and render: is everything there that the template needs, where is its text, what are its variables, and what comes out.
#include <algorithm>
#include <filesystem>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "notifier.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

constexpr Duration kBlockedFirst = std::chrono::seconds(30), kBlockedMost = std::chrono::seconds(600);

Duration backoff(Duration first, int attempt, Duration most) {
  Duration d = first;
  for (int i = 1; i < attempt && d < most; ++i) d *= 2;
  return std::min(d, most);
}

// What a rendering that keeps failing comes to, by the time since it last worked. Sources and gems are looked up anew at each try and each try has a process of its
// own, so the steps between the first and the last change nothing here; they are told, for those who watch for them.
struct LadderStep {
  Duration after;
  const char* name;
};
constexpr LadderStep kLadder[] = {{std::chrono::minutes(0), "Retry"},           {std::chrono::minutes(5), "RefreshSource"},   {std::chrono::minutes(15), "ReloadGems"},
                                  {std::chrono::minutes(30), "RecycleWorkers"}, {std::chrono::minutes(60), "Pause"}};
const char* ladder_step(Duration failing) {
  const char* out = kLadder[0].name;
  for (const LadderStep& step : kLadder) {
    if (failing >= step.after) out = step.name;
  }
  return out;
}

// The last file of the error is relative to the source; nothing of this machine's paths is in it (ruby/evaluator.h).
bool heals(ruby::Failure kind) {
  switch (kind) {
    case ruby::Failure::kTimeout:
    case ruby::Failure::kUnavailable:
    case ruby::Failure::kCancelled:
    case ruby::Failure::kCrash:
    case ruby::Failure::kLoad: return true;
    default: return false;
  }
}

// A file of a tree, empty when `path` is none: it may be JSON. Everything else the evaluator reads itself.
Result<std::string> file_in(const std::string& tree, const std::string& path) {
  std::error_code code;
  const auto root = std::filesystem::canonical(tree, code);
  const auto file = std::filesystem::weakly_canonical(root / path, code);
  if (path.empty() || code || !file.string().starts_with(root.string() + "/") || !std::filesystem::is_regular_file(file, code)) return std::string();
  return read_file(file.string());
}

}  // namespace

Result<Next> TemplateWork::pending() {
  auto& status = object_.status;
  status.pending_plan_hash.clear();
  status.uses_mock_outputs = false;
  enter("Verifying");
  return go_on();
}

Result<Next> TemplateWork::verifying() {
  auto& status = object_.status;
  std::string reason, message;
  auto block = [&](const char* r, std::string m) {
    if (!reason.empty()) return;
    reason = r;
    message = std::move(m);
  };
  const auto& pns = around_.pangea_namespace;
  if (!around_.references.ok()) block("ReferenceForbidden", around_.references.message());
  if (pns == nullptr) block("NamespaceNotFound", "spec.pangeaNamespace: there is no PangeaNamespace " + object_.spec.pangea_namespace);
  else if (pns->metadata.deletion_timestamp) block("NamespaceDeleting", "PangeaNamespace " + pns->metadata.name + " is being deleted");
  else if (pns->spec.suspend) block("NamespaceSuspended", "PangeaNamespace " + pns->metadata.name + " is suspended");
  else if (!pns->status.backend_ready) block("NamespaceNotReady", "PangeaNamespace " + pns->metadata.name + " is not ready" + (pns->status.error.empty() ? "" : ": " + pns->status.error));
  if (!around_.missing_catalog.empty()) block("WorkspaceNotFound", "there is no WorkspaceCatalog " + around_.missing_catalog);
  if (!around_.missing_gem.empty()) block("GemNotFound", "there is no ArchitectureGem " + around_.missing_gem);
  for (const auto& gem : around_.gems) {
    if (gem->status.observed_commit.empty() || gem->status.phase != "Loaded" || !is_true(gem->status.conditions, "Ready")) {
      block("GemNotReady", "ArchitectureGem " + gem->metadata.name + " is " + (gem->status.phase.empty() ? "Pending" : gem->status.phase));
    }
  }
  if (!reason.empty()) {
    enter("Verifying");
    if (status.verified_blocked_since.is_zero()) status.verified_blocked_since = e_.second();
    set_condition(status.conditions, "Verified", false, reason, message, e_.now());
    return wait(e_.options.short_wait);
  }
  status.verified_blocked_since.reset();
  set_condition(status.conditions, "Verified", true, "AllReady", "", e_.now());
  enter("Compiling");
  return go_on();
}

Result<Source> TemplateWork::resolve_source(bool network) {
  Source out;
  const auto& source = object_.spec.source;
  if (!source || (source->inline_.empty() && !source->config_map_ref && source->git.empty())) {
    out.kind = "gem";
    std::vector<std::string> commits;
    for (const auto& gem : around_.gems) commits.push_back(gem->status.observed_commit);
    out.revision = commits.size() == 1 ? commits[0] : "gems:" + sha256_hex(join(commits, "\n")).substr(0, 16);
    return out;
  }
  if (source->config_map_ref) {
    const auto& ref = *source->config_map_ref;
    const std::string ns = ref.namespace_.empty() ? object_.metadata.namespace_ : ref.namespace_;
    auto map = e_.client.get<core_v1::ConfigMap>(ns, ref.name);
    if (!map) return err(map.error());
    auto text = map->data.find(ref.key);
    if (text == map->data.end()) return err(not_found_error("ConfigMap " + ns + "/" + ref.name + " has no key \"" + ref.key + "\""));
    out.kind = "configMap";
    out.text = text->second;
    out.revision = "cm:" + sha256_hex(out.text).substr(0, 16);
    return out;
  }
  if (!source->git.empty()) {
    out.kind = "git";
    out.revision = object_.status.compiled_revision;
    if (!network) return out;
    ENGENHO_ASSIGN(const Checkout checkout, e_.gems.checkout(repository_of(object_), "", stop_));
    out.revision = checkout.commit;
    out.tree = checkout.path;
    ENGENHO_ASSIGN(out.text, file_in(checkout.path, source->path));
    object_.status.observed_head_revision = checkout.commit;
    object_.status.last_freshness_check_at = e_.second();
    return out;
  }
  out.kind = "inline";
  out.text = source->inline_;
  out.revision = "inline:" + sha256_hex(out.text).substr(0, 16);
  return out;
}

Result<std::optional<json::Value>> TemplateWork::referenced_output(const pangea_v1::InfrastructureTemplate& other, const std::string& output) {
  if (auto plain = other.status.outputs.find(output); plain != other.status.outputs.end()) return std::optional<json::Value>(plain->second);
  const auto& sensitive = other.status.sensitive_outputs;
  if (std::find(sensitive.begin(), sensitive.end(), output) == sensitive.end()) return std::optional<json::Value>();
  // The other's secrets are in its state alone.
  TemplateWork work(e_, other, stop_);
  work.look_around();
  if (!work.around_.references.ok()) return err(work.around_.references);
  ENGENHO_ASSIGN(auto store, work.state());
  ENGENHO_ASSIGN(Executor * runner, work.executor());
  ENGENHO_ASSIGN(const Workspace space, work.workspace(json::Object()));
  ENGENHO_ASSIGN(const json::Object whole, runner->outputs(space, *store, run_options()));
  const json::Value* found = whole.find(output);
  const json::Value* value = found == nullptr ? nullptr : found->get("value");
  return value == nullptr ? std::optional<json::Value>() : std::optional<json::Value>(*value);
}

Result<std::optional<json::Object>> TemplateWork::variables(std::string& waiting) {
  json::Value all = json::Object();
  auto layer = [&](const std::map<std::string, json::Value>& values) {
    for (const auto& [name, value] : values) deep_merge(all[name], value);
  };
  if (around_.pangea_namespace != nullptr) layer(around_.pangea_namespace->spec.default_variables);
  if (around_.catalog != nullptr) layer(around_.catalog->spec.variables);
  layer(object_.spec.variables);
  object_.status.uses_mock_outputs = false;
  for (const auto& [name, reference] : object_.spec.variable_refs) {
    const std::string ns = reference.template_ref.namespace_.empty() ? object_.metadata.namespace_ : reference.template_ref.namespace_;
    const auto other = e_.informers.get<pangea_v1::InfrastructureTemplate>().get(ns, reference.template_ref.name);
    if (other != nullptr && !other->status.last_applied_at.is_zero()) {
      ENGENHO_ASSIGN(auto value, referenced_output(*other, reference.output_key));
      if (value) {
        all[name] = std::move(*value);
        continue;
      }
    }
    if (!reference.mock_output.is_null()) {
      all[name] = reference.mock_output;
      object_.status.uses_mock_outputs = true;
      continue;
    }
    waiting = "output \"" + reference.output_key + "\" of " + ns + "/" + reference.template_ref.name + " is not there yet (spec.variableRefs." + name + ")";
    return std::optional<json::Object>();
  }
  return std::optional<json::Object>(std::move(all.make_object()));
}

std::string TemplateWork::inputs_digest(const Source& source, const json::Object& variables) const {
  json::Value all = json::Object();
  all["source"] = source.kind + " " + source.revision;
  all["variables"] = variables;
  all["template"] = object_.spec.template_name;
  all["dialect"] = object_.spec.dialect;
  if (object_.spec.source) all["path"] = object_.spec.source->path;
  json::Array& gems = all["gems"].make_array();
  for (const auto& gem : around_.gems) gems.push_back(gem->metadata.name + " " + gem->status.observed_commit);
  return sha256_hex(json::dump(all));
}

bool TemplateWork::inputs_changed() {
  std::string waiting;
  auto source = resolve_source(false);
  if (!source) return false;   // the next rendering tells
  auto values = variables(waiting);
  if (!values || !*values) return false;
  return inputs_digest(*source, **values) != object_.status.inputs_digest;
}

Result<Next> TemplateWork::compiling() {
  auto& status = object_.status;
  auto source = resolve_source(true);
  if (!source) return compile_failed("SourceUnavailable", source.error().message(), true);
  std::string waiting;
  auto values = variables(waiting);
  if (!values) return compile_failed("VariablesUnavailable", values.error().message(), true);
  if (!*values) {
    set_condition(status.conditions, "Verified", false, "WaitingForOutputs", waiting, e_.now());
    return wait(e_.options.short_wait);
  }
  const std::string digest = inputs_digest(*source, **values);
  if (digest != status.inputs_digest || !stored_config()) {
    std::string reason = "CompileFailed";
    const MonoTime begin = e_.clock().mono();
    auto config = render(*source, **values, reason);
    meters::compiled(e_.clock().mono() - begin, config.has_value(), object_.metadata.namespace_, object_.metadata.name);
    if (!config) return compile_failed(reason, config.error().message(), config.error().is(reason::kServiceUnavailable));
    const std::string text = json::dump(*config);
    status.rendered_hash = sha256_hex(text);
    if (Status s = e_.artifacts.put(object_.metadata.uid, "config", status.rendered_hash, text); !s.ok()) return err(s);
    status.inputs_digest = digest;
    status.compiled_at = e_.second();
    tell("Normal", "Compiled", "rendered from " + source->kind + " " + source->revision);
  }
  status.compiled_revision = source->revision;
  status.gems.clear();
  for (const auto& gem : around_.gems) {
    pangea_v1::GemPin pin;
    pin.name = gem->metadata.name;
    pin.gem_name = gem_name_of(*gem);
    pin.version = gem->status.observed_version;
    pin.commit = gem->status.observed_commit;
    status.gems.push_back(std::move(pin));
  }
  if (status.consecutive_compile_failures != 0) meters::compile_failures_in_a_row(object_.metadata.namespace_, object_.metadata.name, 0);
  status.consecutive_compile_failures = 0;
  status.compile_failure_signature.clear();
  status.compile_failing_since.reset();
  status.escalation_step.clear();
  enter("Initializing");
  return go_on();
}

Next TemplateWork::compile_failed(const std::string& reason, const std::string& message, bool may_heal) {
  auto& status = object_.status;
  ++status.consecutive_compile_failures;
  status.compile_failure_signature = sha256_hex(failure_signature(message)).substr(0, 16);
  status.last_error = shorten(reason + ": " + message);
  status.failure_kind = reason;
  tell("Warning", reason, message);
  meters::failed(reason);
  meters::compile_failures_in_a_row(object_.metadata.namespace_, object_.metadata.name, status.consecutive_compile_failures);
  if (!may_heal || status.consecutive_compile_failures >= std::max(1, around_.policy.settling.value.max_cycles)) enter("CompileBlocked");
  not_ready(reason, message);
  climb(message);
  return wait(backoff(kBlockedFirst, status.consecutive_compile_failures, kBlockedMost));
}

void TemplateWork::climb(const std::string& message) {
  auto& status = object_.status;
  if (status.compile_failing_since.is_zero()) status.compile_failing_since = e_.second();
  const std::string step = ladder_step(e_.now() - *status.compile_failing_since);
  if (step == status.escalation_step) return;
  status.escalation_step = step;
  tell("Warning", "EscalationLadder" + step, "failing since " + status.compile_failing_since.to_string() + ", signature " + status.compile_failure_signature + ": " + message);
  if (step != "Pause") return;
  status.auto_suspended = true;
  status.last_escalated_at = e_.second();
  status.last_escalation_reason = "EscalationLadder";
  if (around_.policy.routing.level != Level::kDefault && around_.references.ok()) e_.notifier.send(around_.policy.routing.value, {"suspend", "EscalationLadderPause", key(), shorten(message, 512)});
}

Result<Next> TemplateWork::compile_blocked() {
  // Tried again when something changed, and once in a while.
  const WallTime last = object_.status.phase_entered_at.value_or(WallTime{});
  const Duration pause = backoff(kBlockedFirst, object_.status.consecutive_compile_failures, kBlockedMost);
  std::string waiting;
  auto source = resolve_source(false);
  auto values = variables(waiting);
  const bool changed = source && values && *values && inputs_digest(*source, **values) != object_.status.inputs_digest && e_.now() - last > std::chrono::seconds(5);
  if (!changed && e_.now() - last < pause) return wait(pause - (e_.now() - last));
  object_.status.phase_entered_at.reset();
  enter("Compiling");
  return go_on();
}

Result<json::Value> TemplateWork::render(const Source& source, const json::Object& variables, std::string& reason) {
  const size_t first = source.text.find_first_not_of(" \t\r\n");
  const std::string& dialect = object_.spec.dialect;
  if (dialect == "json" || (dialect != "ruby" && first != std::string::npos && source.text[first] == '{')) {
    reason = "InvalidConfiguration";
    auto parsed = json::parse_with_duplicates(source.text);
    if (!parsed) return err(bad_request("the source is no JSON: " + parsed.error().message()));
    if (!parsed->duplicate_keys.empty()) return err(bad_request("the source has a key twice: " + parsed->duplicate_keys[0]));
    if (!parsed->value.is_object()) return err(bad_request("the source must be a JSON object"));
    object_.status.evaluator.clear();
    return std::move(parsed->value);
  }
  ruby::CompileRequest request;
  if (source.kind != "git") request.source = source.text;
  request.tree = source.tree;
  if (source.kind == "git") request.path = object_.spec.source->path;
  request.template_name = object_.spec.template_name;
  request.variables = variables;
  for (const auto& gem : around_.gems) {
    auto checkout = e_.gems.checkout(repository_of(*gem), gem->status.observed_commit, stop_);
    if (!checkout) {
      reason = "GemUnavailable";
      return err(Status(503, reason::kServiceUnavailable, "ArchitectureGem " + gem->metadata.name + ": " + checkout.error().message()));
    }
    request.gems.push_back({gem_name_of(*gem), checkout->path, checkout->commit});
  }
  auto compiled = e_.evaluator.compile(request, stop_);
  if (!compiled) {
    reason = ruby::failure_name(compiled.error().kind);
    const std::string text = compiled.error().to_string();
    return err(heals(compiled.error().kind) ? Status(503, reason::kServiceUnavailable, text) : bad_request(text));
  }
  if (auto version = e_.evaluator.version(stop_)) object_.status.evaluator = "ruby " + version->substr(0, version->find(' '));
  for (const std::string& warning : compiled->warnings) tell("Warning", "CompileWarning", warning);
  return std::move(compiled->config);
}

std::optional<json::Value> TemplateWork::stored_config() const {
  if (object_.status.rendered_hash.empty()) return {};
  auto text = e_.artifacts.get(object_.metadata.uid, "config", object_.status.rendered_hash);
  if (!text) return {};
  auto parsed = json::parse(*text);
  if (!parsed) return {};
  return std::move(*parsed);
}

}  // namespace engenho::pangea
