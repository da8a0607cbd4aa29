#include "provider_set.h"

#include "builtin.h"
#include "plugin.h"

namespace engenho::magma {

ProviderSet::ProviderSet(const EngineOptions& options, const Config& config, StopToken stop) : options_(options), config_(config), stop_(std::move(stop)) {
  handle_ = std::make_shared<Handle>();
  handle_->set = this;
  stop_id_ = stop_.on_stop([handle = handle_] {
    std::lock_guard alive(handle->mutex);
    if (handle->set == nullptr) return;
    std::vector<Provider*> running;
    {
      std::lock_guard lock(handle->set->mutex_);
      for (auto& [reference, e] : handle->set->entries_) {
        if (e->provider) running.push_back(e->provider.get());
      }
    }
    for (Provider* provider : running) provider->stop();
  });
}
ProviderSet::~ProviderSet() {
  stop_.remove(stop_id_);
  std::lock_guard alive(handle_->mutex);
  handle_->set = nullptr;
}

ProviderSet::Entry& ProviderSet::entry(const std::string& reference) {
  std::lock_guard lock(mutex_);
  auto& slot = entries_[reference];
  if (!slot) slot = std::make_unique<Entry>();
  return *slot;
}

const ProviderConfig* ProviderSet::config_of(const std::string& reference) const {
  auto parsed = parse_provider_reference(reference);
  if (!parsed) return nullptr;
  for (const auto& [key, p] : config_.providers) {
    if (p.alias == parsed->second && config_.provider_source(p.local_name) == parsed->first) return &p;
  }
  return nullptr;
}

std::string ProviderSet::reference_of(const ResourceConfig& resource) const {
  const size_t dot = resource.provider_key.find('.');
  return provider_reference(config_.provider_source(resource.provider_local()), dot == std::string::npos ? "" : resource.provider_key.substr(dot + 1));
}

Result<Provider*> ProviderSet::start(Entry& e, const std::string& reference) {
  if (e.provider) return e.provider.get();
  if (!e.failed.ok()) return err(e.failed);
  auto attempt = [&]() -> Result<std::unique_ptr<Provider>> {
    ENGENHO_ASSIGN(const auto parsed, parse_provider_reference(reference));
    const std::string& source = parsed.first;
    if (options_.builtin_providers) {
      if (auto builtin = make_builtin_provider(source)) return builtin;
    }
    std::string constraint;
    for (const auto& [local, r] : config_.requirements) {
      if (r.source == source) constraint = r.version;
    }
    ENGENHO_ASSIGN(const PluginLocation location, find_plugin(options_.plugin_dirs, source, constraint));
    return start_plugin(location, source, options_);
  };
  auto provider = attempt();
  if (!provider) {
    e.failed = provider.error();
    return err(e.failed);
  }
  {
    std::lock_guard lock(mutex_);
    e.provider = std::move(*provider);
  }
  // Whoever asked for a stop before it was there did not reach it.
  if (stop_.stopped()) return err(unavailable("cancelled"));
  return e.provider.get();
}

Result<Provider*> ProviderSet::get(const std::string& reference) {
  Entry& e = entry(reference);
  std::lock_guard lock(e.mutex);
  return start(e, reference);
}

Status ProviderSet::configure(const std::string& reference, const Evaluation& evaluation, std::vector<Message>& warnings) {
  Entry& e = entry(reference);
  std::lock_guard lock(e.mutex);
  if (!e.failed.ok()) return e.failed;
  if (e.configured) return {};
  auto attempt = [&]() -> Status {
    ENGENHO_ASSIGN_OR_RETURN(Provider* const provider, start(e, reference));
    const ProviderConfig* block = config_of(reference);
    ENGENHO_ASSIGN_OR_RETURN(const auto parsed, parse_provider_reference(reference));
    if (block == nullptr && !parsed.second.empty()) return bad_request("provider configuration \"" + reference + "\" is needed for what is in the state, and is not in the configuration");
    const std::string where = block != nullptr ? "provider." + block->key() : "provider." + parsed.first.substr(parsed.first.rfind('/') + 1);
    auto value = decode_body(provider->schema().provider, block != nullptr ? block->body : json::Value(json::Object()), Evaluation::InstanceScope(evaluation));
    if (!value) return value.error().with_context(where);
    evaluation.learn(mark_by_schema(*value, provider->schema().provider));
    Diagnostics d;
    Value prepared = provider->validate_config(value->unmarked_deep(), d);
    if (!has_errors(d)) provider->configure(prepared, d);
    for (const Diagnostic& one : d) {
      if (!one.error) warnings.push_back({false, where, one.summary, one.detail});
    }
    if (has_errors(d)) return bad_request(where + ": " + evaluation.without_secrets(error_text(d)));
    e.configured = true;
    return {};
  };
  e.failed = attempt();
  return e.failed;
}

std::map<std::string, std::string> ProviderSet::versions() const {
  std::map<std::string, std::string> out;
  std::lock_guard lock(mutex_);
  for (const auto& [reference, e] : entries_) {
    auto parsed = parse_provider_reference(reference);
    if (parsed && e->provider) out[parsed->first] = e->provider->version();
  }
  return out;
}

}  // namespace engenho::magma
