#include "config.h"

#include <algorithm>
#include <filesystem>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"

namespace engenho::magma {

namespace {

// JSON has objects and arrays of objects for repeated blocks: both are lists here.
std::vector<const json::Value*> blocks_of(const json::Value& v) {
  std::vector<const json::Value*> out;
  if (v.is_array()) {
    for (const json::Value& item : v.as_array()) {
      for (const json::Value* inner : blocks_of(item)) out.push_back(inner);
    }
  } else if (v.is_object()) {
    out.push_back(&v);
  }
  return out;
}

class Reader {
 public:
  Reader(const json::Value& document, Config& config) : document_(document), config_(config) {}

  std::vector<std::string> problems;

  void read() {
    if (!document_.is_object()) return fail("", "the configuration must be a JSON object");
    static const std::set<std::string> kKnown = {"terraform", "provider", "variable", "locals", "resource", "data", "output", "moved", "import", "removed", "//"};
    for (const auto& [name, block] : document_.as_object()) {
      if (!kKnown.contains(name)) {
        fail("", "block type \"" + name + "\" is not supported" + (name == "module" ? ": configurations of one module only" : ""));
      }
    }
    each("terraform", [&](const json::Value& b) { terraform(b); });
    labelled("provider", [&](const std::string& name, const json::Value& b) { provider(name, b); });
    labelled("variable", [&](const std::string& name, const json::Value& b) { variable(name, b); });
    each("locals", [&](const json::Value& b) {
      for (const auto& [name, value] : b.as_object()) {
        if (name == "//") continue;
        if (config_.locals.contains(name)) fail("local." + name, "is defined twice");
        config_.locals[name] = expr("local." + name, value);
      }
    });
    labelled("output", [&](const std::string& name, const json::Value& b) { output(name, b); });
    for (const bool data : {false, true}) {
      labelled(data ? "data" : "resource", [&](const std::string& type, const json::Value& names) {
        for (const auto& [name, bodies] : names.as_object()) {
          if (name == "//") continue;
          const auto all = blocks_of(bodies);
          if (all.size() != 1) fail((data ? "data." : "") + type + "." + name, "must be one object");
          else resource({data, type, name}, *all[0]);
        }
      });
    }
    each("moved", [&](const json::Value& b) {
      auto from = parse_instance_address(b.str_at({"from"})), to = parse_instance_address(b.str_at({"to"}));
      if (!from || !to) return fail("moved", (from ? to : from).error().message());
      config_.moved.push_back({*from, *to});
    });
    each("import", [&](const json::Value& b) {
      auto to = parse_instance_address(b.str_at({"to"}));
      if (!to) return fail("import", to.error().message());
      if (b.get("id") == nullptr || b.get("for_each") != nullptr) return fail("import", "needs an \"id\", and has no for_each here");
      config_.imports.push_back({*to, expr("import", *b.get("id"))});
    });
    each("removed", [&](const json::Value& b) {
      auto from = parse_resource_address(b.str_at({"from"}));
      if (!from) return fail("removed", from.error().message());
      RemovedConfig removed{*from, true};
      if (const json::Value* l = b.get("lifecycle"); l != nullptr && !blocks_of(*l).empty()) {
        if (const json::Value* d = blocks_of(*l)[0]->get("destroy")) removed.destroy = d->bool_or(true);
      }
      config_.removed.push_back(removed);
    });
    check_references();
  }

 private:
  void fail(const std::string& where, const std::string& what) { problems.push_back(where.empty() ? what : where + ": " + what); }
  void each(const char* name, const std::function<void(const json::Value&)>& fn) {
    const json::Value* v = document_.get(name);
    if (v == nullptr) return;
    if (!v->is_object() && !v->is_array()) return fail(name, "must be an object");
    for (const json::Value* b : blocks_of(*v)) fn(*b);
  }
  void labelled(const char* kind, const std::function<void(const std::string&, const json::Value&)>& fn) {
    each(kind, [&](const json::Value& b) {
      for (const auto& [name, inner] : b.as_object()) {
        if (name == "//") continue;
        if (!inner.is_object() && !inner.is_array()) fail(std::string(kind) + "." + name, "must be an object");
        for (const json::Value* block : blocks_of(inner)) fn(name, *block);
      }
    });
  }
  ExprPtr expr(const std::string& where, const json::Value& value) {
    auto e = expr_from_json(value);
    if (e) return *e;
    fail(where, e.error().message());
    return std::make_shared<Expr>();
  }
  // A value in a literal position.
  bool flag(const std::string& where, const json::Value& b, const char* name, bool otherwise) {
    const json::Value* v = b.get(name);
    if (v == nullptr || v->is_null()) return otherwise;
    if (v->is_bool()) return v->as_bool();
    if (v->str() == "true" || v->str() == "false") return v->str() == "true";
    fail(where, std::string(name) + " must be true or false, written out");
    return otherwise;
  }
  void known_only(const std::string& where, const json::Value& b, const std::set<std::string>& names) {
    for (const auto& [name, v] : b.members()) {
      if (name != "//" && !names.contains(name)) fail(where, "unsupported argument \"" + name + "\"");
    }
  }
  std::vector<Reference> references(const std::string& where, const json::Value& b, const char* name) {
    std::vector<Reference> out;
    const json::Value* v = b.get(name);
    if (v == nullptr) return out;
    if (!v->is_array()) {
      fail(where, std::string(name) + " must be an array of references");
      return out;
    }
    for (const json::Value& item : v->as_array()) {
      auto reference = parse_reference(item.str());
      if (reference) out.push_back(*reference);
      else fail(where, std::string(name) + ": " + reference.error().message());
    }
    return out;
  }
  std::vector<CheckRule> rules(const std::string& where, const json::Value& b, const char* name) {
    std::vector<CheckRule> out;
    const json::Value* v = b.get(name);
    if (v == nullptr) return out;
    for (const json::Value* rule : blocks_of(*v)) {
      const json::Value* condition = rule->get("condition");
      const json::Value* message = rule->get("error_message");
      if (condition == nullptr || message == nullptr) fail(where, std::string(name) + " needs a condition and an error_message");
      else out.push_back({expr(where, *condition), expr(where, *message)});
    }
    return out;
  }

  void terraform(const json::Value& b) {
    known_only("terraform", b, {"required_version", "required_providers", "backend", "cloud", "experiments", "provider_meta"});
    const json::Value* required = b.get("required_providers");
    if (required == nullptr) return;
    for (const json::Value* block : blocks_of(*required)) {
      for (const auto& [local, entry] : block->as_object()) {
        if (local == "//") continue;
        ProviderRequirement r;
        r.source = std::string(kDefaultProviderHost) + "/hashicorp/" + local;
        if (entry.is_string()) r.version = entry.as_string();
        if (const json::Value* version = entry.get("version")) r.version = version->str();
        if (const json::Value* source = entry.get("source")) {
          const std::string text = to_lower(source->str());
          const auto parts = split(text, '/');
          if (parts.size() == 3) r.source = text;
          else if (parts.size() == 2) r.source = std::string(kDefaultProviderHost) + "/" + text;
          else if (parts.size() == 1 && !text.empty()) r.source = std::string(kDefaultProviderHost) + "/hashicorp/" + text;
          else fail("required_providers." + local, "the source must be [HOST/]NAMESPACE/TYPE");
        }
        config_.requirements[local] = r;
      }
    }
  }

  void provider(const std::string& name, const json::Value& b) {
    ProviderConfig p;
    p.local_name = name;
    p.alias = b.str_at({"alias"});
    p.body = b;
    p.body.make_object().erase("alias");
    if (const json::Value* version = b.get("version")) {
      if (config_.requirements[name].version.empty()) config_.requirements[name].version = version->str();
      if (config_.requirements[name].source.empty()) config_.requirements[name].source = std::string(kDefaultProviderHost) + "/hashicorp/" + name;
      p.body.make_object().erase("version");
    }
    if (!config_.providers.emplace(p.key(), p).second) fail("provider." + p.key(), "is configured twice; give the others an alias");
  }

  void variable(const std::string& name, const json::Value& b) {
    const std::string where = "var." + name;
    known_only(where, b, {"type", "default", "description", "sensitive", "nullable", "validation", "ephemeral"});
    VariableConfig v;
    v.name = name;
    if (const json::Value* type = b.get("type")) {
      auto e = parse_expression(type->str());
      auto t = e ? type_from_expr(**e) : Result<Type>(err(e.error()));
      if (!t) fail(where, "type: " + t.error().message());
      else v.type = *t, v.type_expr = *e;
    }
    if (const json::Value* d = b.get("default")) v.default_value = *d;
    v.sensitive = flag(where, b, "sensitive", false);
    v.nullable = flag(where, b, "nullable", true);
    v.validations = rules(where, b, "validation");
    if (!config_.variables.emplace(name, std::move(v)).second) fail(where, "is declared twice");
  }

  void output(const std::string& name, const json::Value& b) {
    const std::string where = "output." + name;
    known_only(where, b, {"value", "description", "sensitive", "depends_on", "precondition", "ephemeral"});
    OutputConfig o;
    o.name = name;
    if (b.get("value") == nullptr) return fail(where, "a value is missing");
    o.value = expr(where, *b.get("value"));
    o.sensitive = flag(where, b, "sensitive", false);
    o.depends_on = references(where, b, "depends_on");
    o.preconditions = rules(where, b, "precondition");
    if (!config_.outputs.emplace(name, std::move(o)).second) fail(where, "is declared twice");
  }

  void resource(const ResourceAddress& address, const json::Value& b) {
    const std::string where = address.to_string();
    ResourceConfig r;
    r.address = address;
    r.body = b;
    json::Object& body = r.body.make_object();
    for (const char* unsupported : {"provisioner", "connection"}) {
      if (body.contains(unsupported)) fail(where, std::string(unsupported) + " blocks are not supported");
    }
    if (const json::Value* v = b.get("count"); v != nullptr && !v->is_null()) r.count = expr(where, *v);
    if (const json::Value* v = b.get("for_each"); v != nullptr && !v->is_null()) r.for_each = expr(where, *v);
    if (r.count && r.for_each) fail(where, "count and for_each exclude each other");
    r.depends_on = references(where, b, "depends_on");
    r.provider_key = b.str_at({"provider"});
    if (r.provider_key.starts_with("${")) r.provider_key = r.provider_key.substr(2, r.provider_key.size() - 3);
    if (r.provider_key.empty()) {
      r.provider_key = address.type.substr(0, address.type.find('_'));
    } else if (!config_.providers.contains(r.provider_key) && r.provider_key.find('.') != std::string::npos) {
      fail(where, "there is no provider configuration \"" + r.provider_key + "\"");
    }
    if (const json::Value* lifecycle = b.get("lifecycle")) {
      for (const json::Value* l : blocks_of(*lifecycle)) read_lifecycle(where, *l, r);
    }
    for (const char* meta : {"count", "for_each", "depends_on", "provider", "lifecycle", "provisioner", "connection", "//"}) body.erase(meta);
    if (!config_.resources.emplace(address, std::move(r)).second) fail(where, "is declared twice");
  }

  void read_lifecycle(const std::string& where, const json::Value& l, ResourceConfig& r) {
    known_only(where + ": lifecycle", l, {"create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by", "precondition", "postcondition"});
    Lifecycle& out = r.lifecycle;
    if (l.get("create_before_destroy") != nullptr) out.create_before_destroy = flag(where, l, "create_before_destroy", false);
    out.prevent_destroy = flag(where, l, "prevent_destroy", false);
    if (const json::Value* ignore = l.get("ignore_changes")) {
      if (ignore->str() == "all") out.ignore_all = true;
      for (const json::Value& item : ignore->items()) {
        if (item.str() == "all" || item.str() == "*") {
          out.ignore_all = true;
          continue;
        }
        auto path = parse_path(item.str());
        if (path) out.ignore_changes.push_back(*path);
        else fail(where, "ignore_changes: " + path.error().message());
      }
    }
    out.replace_triggered_by = references(where, l, "replace_triggered_by");
    out.preconditions = rules(where, l, "precondition");
    out.postconditions = rules(where, l, "postcondition");
  }

  // Everything that is named exists, and nothing depends on itself.
  void check_references() {
    std::map<std::string, std::set<std::string>> edges;
    auto check = [&](const std::string& who, const std::set<Reference>& found, bool iterates) {
      for (const Reference& reference : found) {
        const std::string& root = reference.steps[0];
        const std::string name = reference.steps.size() > 1 ? reference.steps[1] : "";
        ResourceAddress address;
        size_t steps = 0;
        if (root == "var") {
          if (!config_.variables.contains(name)) fail(who, "reference to undeclared input variable \"" + name + "\"" + suggest(name, config_.variables));
        } else if (root == "local") {
          if (!config_.locals.contains(name)) fail(who, "reference to undeclared local value \"" + name + "\"" + suggest(name, config_.locals));
          edges[who].insert("local." + name);
        } else if (root == "each" || root == "count") {
          if (!iterates) fail(who, "\"" + root + "\" can be used only in resources that have " + (root == "each" ? "for_each" : "count"));
        } else if (root == "path" || root == "terraform" || root == "self") {
          continue;
        } else if (root == "module" || root == "ephemeral") {
          fail(who, "reference to \"" + root + "\": not supported");
        } else if (resource_of(reference, address, steps)) {
          if (!config_.resources.contains(address)) fail(who, "reference to undeclared resource " + address.to_string());
          edges[who].insert(address.to_string());
        } else {
          fail(who, "invalid reference \"" + reference.to_string() + "\": a reference to a resource has its type and its name");
        }
      }
    };
    for (const auto& [address, r] : config_.resources) {
      std::set<Reference> found;
      if (Status s = body_references(r.body, found); !s.ok()) fail(address.to_string(), s.message());
      std::set<Reference> iteration;
      for (const ExprPtr& e : {r.count, r.for_each}) {
        if (e) collect_references(*e, iteration);
      }
      check(address.to_string(), iteration, false);
      for (const Reference& d : r.depends_on) found.insert(d);
      for (const Reference& d : r.lifecycle.replace_triggered_by) found.insert(d);
      for (const CheckRule& rule : r.lifecycle.preconditions) collect_references(*rule.condition, found);
      check(address.to_string(), found, r.count || r.for_each);
    }
    for (const auto& [name, e] : config_.locals) {
      std::set<Reference> found;
      collect_references(*e, found);
      check("local." + name, found, false);
    }
    for (const auto& [name, o] : config_.outputs) {
      std::set<Reference> found(o.depends_on.begin(), o.depends_on.end());
      collect_references(*o.value, found);
      check("output." + name, found, false);
    }
    for (const auto& [key, p] : config_.providers) {
      std::set<Reference> found;
      if (Status s = body_references(p.body, found); !s.ok()) fail("provider." + key, s.message());
      check("provider." + key, found, false);
    }
    std::map<std::string, int> state;
    std::vector<std::string> trail;
    for (const auto& [from, to] : edges) visit(from, edges, state, trail);
  }

  void visit(const std::string& at, const std::map<std::string, std::set<std::string>>& edges, std::map<std::string, int>& state, std::vector<std::string>& trail) {
    if (state[at] == 2) return;
    if (state[at] == 1) {
      std::string cycle;
      for (auto it = std::find(trail.begin(), trail.end(), at); it != trail.end(); ++it) cycle += *it + " -> ";
      return fail("", "cycle: " + cycle + at);
    }
    state[at] = 1;
    trail.push_back(at);
    if (auto found = edges.find(at); found != edges.end()) {
      for (const std::string& next : found->second) visit(next, edges, state, trail);
    }
    trail.pop_back();
    state[at] = 2;
  }

  template <typename Map>
  static std::string suggest(const std::string& name, const Map& map) {
    std::vector<std::string> names;
    for (const auto& [key, value] : map) names.push_back(key);
    const std::string near = nearest(name, names);
    return near.empty() ? "" : "; did you mean \"" + near + "\"?";
  }

  const json::Value& document_;
  Config& config_;
};

}  // namespace

Result<Config> parse_config(const json::Value& document, std::string directory) {
  Config config;
  config.document = document;
  config.directory = std::move(directory);
  Reader reader(document, config);
  reader.read();
  if (!reader.problems.empty()) return err(bad_request(join(reader.problems, "\n")));
  return config;
}

Result<json::Value> read_config_directory(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code code;
  for (std::filesystem::directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".tf")) return err(bad_request(name + ": this engine reads Terraform JSON (*.tf.json) only"));
    if (name.ends_with(".tf.json") && name[0] != '.') files.push_back(name);
  }
  if (code) return err(bad_request(directory + ": " + code.message()));
  if (files.empty()) return err(bad_request("no configuration files: " + directory + " holds no *.tf.json"));
  std::sort(files.begin(), files.end());
  json::Object merged;
  for (const std::string& name : files) {
    ENGENHO_ASSIGN(const std::string text, read_file(directory + "/" + name));
    auto parsed = json::parse_with_duplicates(text);
    if (!parsed) return err(parsed.error().with_context(name));
    if (!parsed->value.is_object()) return err(bad_request(name + ": the configuration must be a JSON object"));
    for (auto& [kind, block] : parsed->value.as_object()) {
      json::Value& into = merged[kind];
      if (into.is_null()) into = block;
      else if (into.is_array()) into.as_array().push_back(block);
      else into = json::Array{into, block};
    }
  }
  return json::Value(std::move(merged));
}

std::string Config::provider_source(const std::string& local_name) const {
  auto at = requirements.find(local_name);
  if (at != requirements.end() && !at->second.source.empty()) return at->second.source;
  if (local_name == "terraform") return kBuiltinProvider;
  return std::string(kDefaultProviderHost) + "/hashicorp/" + local_name;
}

std::set<ResourceAddress> Config::resource_dependencies(const std::set<Reference>& references) const {
  std::set<ResourceAddress> out;
  std::set<std::string> seen;
  std::vector<Reference> work(references.begin(), references.end());
  while (!work.empty()) {
    const Reference reference = std::move(work.back());
    work.pop_back();
    ResourceAddress address;
    size_t steps = 0;
    if (reference.steps[0] == "local" && reference.steps.size() > 1) {
      auto at = locals.find(reference.steps[1]);
      if (at == locals.end() || !seen.insert(at->first).second) continue;
      std::set<Reference> inner;
      collect_references(*at->second, inner);
      work.insert(work.end(), inner.begin(), inner.end());
    } else if (resource_of(reference, address, steps)) {
      out.insert(address);
    }
  }
  return out;
}

std::set<Reference> Config::references(const ResourceConfig& r) const {
  std::set<Reference> out(r.depends_on.begin(), r.depends_on.end());
  (void)body_references(r.body, out);
  for (const ExprPtr& e : {r.count, r.for_each}) {
    if (e) collect_references(*e, out);
  }
  for (const Reference& d : r.lifecycle.replace_triggered_by) out.insert(d);
  for (const auto* rules : {&r.lifecycle.preconditions, &r.lifecycle.postconditions}) {
    for (const CheckRule& rule : *rules) collect_references(*rule.condition, out), collect_references(*rule.error_message, out);
  }
  ResourceAddress address;
  size_t steps = 0;
  std::erase_if(out, [&](const Reference& x) { return resource_of(x, address, steps) && address == r.address; });
  return out;
}

std::set<Reference> Config::references(const ProviderConfig& p) const {
  std::set<Reference> out;
  (void)body_references(p.body, out);
  return out;
}

}  // namespace engenho::magma
