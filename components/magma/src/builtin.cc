#include "builtin.h"

#include <cmath>
#include <mutex>

#include "config.h"
#include "engenho/base/random.h"

namespace engenho::magma {

bool has_errors(const Diagnostics& diagnostics) {
  for (const Diagnostic& d : diagnostics) {
    if (d.error) return true;
  }
  return false;
}

std::string error_text(const Diagnostics& diagnostics) {
  std::string out;
  for (const Diagnostic& d : diagnostics) {
    if (!d.error) continue;
    if (!out.empty()) out += "\n";
    const std::string path = path_to_string(d.path);
    out += (path.empty() ? "" : path.substr(path[0] == '.' ? 1 : 0) + ": ") + d.summary + (d.detail.empty() || d.detail == d.summary ? "" : ": " + d.detail);
  }
  return out;
}

Diagnostic error_diagnostic(std::string summary, std::string detail, Path path) { return {true, std::move(summary), std::move(detail), std::move(path)}; }

Attribute attribute(std::string name, Type type, std::string_view flags) {
  Attribute a;
  a.name = std::move(name);
  a.type = std::move(type);
  a.required = flags.find('r') != std::string_view::npos;
  a.optional = flags.find('o') != std::string_view::npos;
  a.computed = flags.find('c') != std::string_view::npos;
  a.sensitive = flags.find('s') != std::string_view::npos;
  return a;
}

Block block(std::vector<Attribute> attributes, std::vector<NestedBlock> blocks) {
  Block b;
  b.attributes = std::move(attributes);
  b.blocks = std::move(blocks);
  b.seal();
  return b;
}

std::string text_of(const Value& object, std::string_view name) {
  const Value& v = object.get(name);
  return v.is_string() ? v.as_string() : "";
}
int64_t int_of(const Value& object, std::string_view name, int64_t otherwise) {
  const Value& v = object.get(name);
  return v.is_number() ? static_cast<int64_t>(v.as_number()) : otherwise;
}
bool bool_of(const Value& object, std::string_view name) {
  const Value& v = object.get(name);
  return v.is_bool() && v.as_bool();
}

namespace {

class Builtin final : public Provider {
 public:
  explicit Builtin(BuiltinProvider definition, StopToken stop) : definition_(std::move(definition)), stop_(std::move(stop)) {
    schema_.provider = definition_.config;
    for (const auto& [name, r] : definition_.resources) schema_.resources.emplace(name, r.schema);
    for (const auto& [name, d] : definition_.data_sources) schema_.data_sources.emplace(name, d.schema);
  }

  const ProviderSchema& schema() const override { return schema_; }
  Value validate_config(const Value& config, Diagnostics&) override { return config; }
  void configure(const Value&, Diagnostics&) override {}
  void validate_resource(const std::string& type, bool data, const Value& config, Diagnostics& d) override {
    if (!data && resource(type).validate) resource(type).validate(config, d);
  }

  Value upgrade(const std::string& type, int64_t version, const json::Value& attributes, Diagnostics& d) override {
    const ResourceSchema& schema = resource(type).schema;
    if (version > schema.version) {
      d.push_back(error_diagnostic("Resource instance managed by newer provider version", "the state has schema version " + std::to_string(version) + " of " + type + ", this provider knows " + std::to_string(schema.version)));
      return {};
    }
    auto value = from_json(attributes, schema.block.type());
    if (!value) {
      d.push_back(error_diagnostic("Invalid state of " + type, value.error().message()));
      return {};
    }
    // What later versions added takes its default, as if it had always been there.
    for (const auto& [name, v] : resource(type).defaults) {
      if (value->get(name).is_null()) *value = value->with(name, v);
    }
    return *value;
  }

  ReadResult read(const std::string& type, const Value& current, const std::string& private_data, Diagnostics& d) override {
    const BuiltinResource& r = resource(type);
    return {r.read && current.holds() ? r.read(current, d) : current, private_data};
  }

  PlanResult plan(const std::string& type, const Value& prior, const Value& proposed, const Value& config, const std::string& private_data, Diagnostics&) override {
    const BuiltinResource& r = resource(type);
    PlanResult out{proposed, {}, private_data};
    if (!proposed.holds()) return out;
    Value::Members members = proposed.members();
    for (const auto& [name, v] : r.defaults) {
      if (config.get(name).is_null()) members[name] = v;
    }
    if (prior.holds()) {
      bool changed = false;
      for (const Attribute& a : r.schema.block.attributes) changed = changed || !members[a.name].equals(prior.get(a.name));
      for (const NestedBlock& b : r.schema.block.blocks) changed = changed || !members[b.name].equals(prior.get(b.name));
      for (const std::string& name : r.force_new) {
        if (!members[name].equals(prior.get(name))) out.requires_replace.push_back({{name}});
      }
      if (changed) {
        for (const std::string& name : r.recompute) {
          if (config.get(name).is_null()) members[name] = Value::unknown(members[name].type());
        }
      }
    }
    out.planned = Value::object(std::move(members));
    if (r.plan) r.plan(prior, out.planned, out.requires_replace);
    return out;
  }

  ApplyOutcome apply(const std::string& type, const Value& prior, const Value& planned, const Value&, const std::string& private_data, Diagnostics& d) override {
    const BuiltinResource& r = resource(type);
    if (!planned.holds()) {
      if (r.remove) r.remove(prior, d);
      return {has_errors(d) ? prior : Value::null(r.schema.block.type()), private_data};
    }
    Value state = r.write(planned, prior, d);
    return {std::move(state), private_data};
  }

  std::vector<Imported> import(const std::string& type, const std::string& id, Diagnostics& d) override {
    const BuiltinResource& r = resource(type);
    if (!r.import) {
      d.push_back(error_diagnostic("Resource Import Not Implemented", type + " does not support import"));
      return {};
    }
    Value state = r.import(id, d);
    if (has_errors(d)) return {};
    return {{type, std::move(state), ""}};
  }

  Value read_data(const std::string& type, const Value& config, Diagnostics& d) override { return definition_.data_sources.find(type)->second.read(config, d); }
  void stop() override { stop_.request_stop(); }
  bool repeatable() const override { return definition_.repeatable; }
  std::string version() const override { return definition_.version; }

 private:
  const BuiltinResource& resource(const std::string& type) const { return definition_.resources.find(type)->second; }
  BuiltinProvider definition_;
  StopToken stop_;
  ProviderSchema schema_;
};

}  // namespace

std::unique_ptr<Provider> make_builtin_provider(const std::string& source) {
  StopToken stop;
  const std::string host = std::string(kDefaultProviderHost) + "/hashicorp/";
  if (source == kBuiltinProvider) return std::make_unique<Builtin>(terraform_provider(), stop);
  // OpenTofu names the same providers under its own host; the namespace is what counts.
  const size_t slash = source.find('/');
  const std::string name = slash == std::string::npos ? "" : source.substr(slash + 1);
  if (name == "hashicorp/null") return std::make_unique<Builtin>(null_provider(), stop);
  if (name == "hashicorp/random") return std::make_unique<Builtin>(random_provider(), stop);
  if (name == "hashicorp/local") return std::make_unique<Builtin>(local_provider(), stop);
  if (name == "hashicorp/time") return std::make_unique<Builtin>(time_provider(stop), stop);
  if (name == "hashicorp/tls") return std::make_unique<Builtin>(tls_provider(), stop);
  return nullptr;
}

BuiltinProvider terraform_provider() {
  BuiltinProvider p;
  p.version = "builtin";
  BuiltinResource r;
  r.schema.block = block({attribute("input", Type(), "o"), attribute("output", Type(), "c"), attribute("triggers_replace", Type(), "o"), attribute("id", Type::string(), "c")});
  r.plan = [](const Value& prior, Value& planned, std::vector<Path>& replace) {
    const Value input = planned.get("input");   // not a reference: the planned value is replaced below
    const bool triggered = prior.holds() && !prior.get("triggers_replace").equals(planned.get("triggers_replace"));
    if (triggered) replace.push_back({{std::string("triggers_replace")}});
    if (!prior.holds() || triggered) planned = planned.with("id", Value::unknown(Type::string()));
    if (!prior.holds() || triggered || !prior.get("input").equals(input)) {
      const bool fresh = !prior.holds() || triggered;
      planned = planned.with("output", fresh && input.is_null() ? input : Value::unknown(input.type()));
    }
  };
  r.write = [](const Value& planned, const Value&, Diagnostics&) {
    Value state = planned;
    if (!planned.get("id").holds()) state = state.with("id", Value::string(random_uuid()));
    return state.with("output", planned.get("input"));
  };
  r.import = [](const std::string& id, Diagnostics&) {
    return Value::object({{"id", Value::string(id)}, {"input", Value()}, {"output", Value()}, {"triggers_replace", Value()}});
  };
  p.resources.emplace("terraform_data", std::move(r));
  return p;
}

BuiltinProvider null_provider() {
  BuiltinProvider p;
  p.version = "3.2.4";
  const Type texts = Type::map(Type::string());
  BuiltinResource r;
  r.schema.block = block({attribute("id", Type::string(), "c"), attribute("triggers", texts, "o")});
  r.force_new = {"triggers"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics&) {
    return prior.holds() ? planned : planned.with("id", Value::string(std::to_string(random_u64() >> 1)));
  };
  p.resources.emplace("null_resource", std::move(r));
  BuiltinData d;
  d.schema.block = block({attribute("has_computed_default", Type::string(), "oc"), attribute("id", Type::string(), "c"), attribute("inputs", texts, "o"),
                          attribute("outputs", texts, "c"), attribute("random", Type::string(), "c")});
  d.read = [](const Value& config, Diagnostics&) {
    const Value inputs = config.get("inputs");
    Value out = config.with("outputs", inputs).with("id", Value::string("static")).with("random", Value::string(std::to_string(random_u64() >> 1)));
    return out.get("has_computed_default").is_null() ? out.with("has_computed_default", Value::string("default")) : out;
  };
  p.data_sources.emplace("null_data_source", std::move(d));
  return p;
}

}  // namespace engenho::magma
