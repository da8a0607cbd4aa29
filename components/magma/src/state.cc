#include "state.h"

#include "engenho/base/bytes.h"

namespace engenho::magma {

// The version that state files name as their writer. Terraform refuses a state of a newer one than itself.
constexpr const char* kStateWriter = "1.11.4";

const ObjectState* State::current(const InstanceAddress& address) const {
  auto r = resources.find(address.resource);
  if (r == resources.end()) return nullptr;
  auto i = r->second.instances.find(address.key);
  return i == r->second.instances.end() || !i->second.current ? nullptr : &*i->second.current;
}
InstanceState* State::find(const InstanceAddress& address) {
  auto r = resources.find(address.resource);
  if (r == resources.end()) return nullptr;
  auto i = r->second.instances.find(address.key);
  return i == r->second.instances.end() ? nullptr : &i->second;
}
InstanceState& State::at(const InstanceAddress& address, const std::string& provider) {
  ResourceState& r = resources[address.resource];
  if (!provider.empty()) r.provider = provider;
  return r.instances[address.key];
}
void State::prune() {
  for (auto r = resources.begin(); r != resources.end();) {
    std::erase_if(r->second.instances, [](const auto& entry) { return entry.second.empty(); });
    r = r->second.instances.empty() ? resources.erase(r) : std::next(r);
  }
}

std::string provider_reference(const std::string& source, const std::string& alias) {
  return "provider[\"" + source + "\"]" + (alias.empty() ? "" : "." + alias);
}

Result<std::pair<std::string, std::string>> parse_provider_reference(std::string_view text) {
  const size_t end = text.find("\"]");
  if (!text.starts_with("provider[\"") || end == std::string_view::npos) return err(bad_request("\"" + std::string(text) + "\" is no provider reference"));
  std::string alias;
  if (text.size() > end + 3 && text[end + 2] == '.') alias = text.substr(end + 3);
  return std::pair(std::string(text.substr(10, end - 10)), alias);
}

namespace {

json::Value path_json(const Path& path) {
  json::Array steps;
  for (const PathStep& step : path) {
    json::Object o;
    const auto* index = std::get_if<int64_t>(&step.key);
    const auto* name = std::get_if<std::string>(&step.key);
    if (name != nullptr && !step.is_index) {
      o.set("type", "get_attr");
      o.set("value", *name);
    } else {
      o.set("type", "index");
      json::Object key;
      key.set("value", index != nullptr ? json::Value(*index) : json::Value(*name));
      key.set("type", index != nullptr ? "number" : "string");
      o.set("value", std::move(key));
    }
    steps.push_back(std::move(o));
  }
  return steps;
}

Path path_of(const json::Value& steps) {
  Path path;
  for (const json::Value& step : steps.items()) {
    const json::Value* value = step.get("value");
    if (value == nullptr) continue;
    if (step.str_at({"type"}) == "get_attr") {
      path.push_back({std::string(value->str()), false});
    } else if (const json::Value* key = value->get("value")) {
      if (key->is_int()) path.push_back({key->as_int()});
      else path.push_back({std::string(key->str()), true});
    }
  }
  return path;
}

Result<ObjectState> read_object(const json::Value& v) {
  ObjectState o;
  o.tainted = v.str_at({"status"}) == "tainted";
  if (const json::Value* n = v.get("schema_version")) o.schema_version = n->int_or(0);
  if (const json::Value* a = v.get("attributes")) o.attributes = *a;
  else if (v.get("attributes_flat") != nullptr) return err(bad_request("attributes in the form of Terraform 0.11 are not supported"));
  if (const json::Value* paths = v.get("sensitive_attributes")) {
    for (const json::Value& p : paths->items()) o.sensitive.push_back(path_of(p));
  }
  if (const json::Value* p = v.get("private")) {
    ENGENHO_ASSIGN(o.private_data, base64_decode(p->str()));
  }
  if (const json::Value* d = v.get("dependencies")) {
    for (const json::Value& item : d->items()) o.dependencies.emplace_back(item.str());
  }
  if (const json::Value* c = v.get("create_before_destroy")) o.create_before_destroy = c->bool_or(false);
  return o;
}

json::Object write_object(const ObjectState& o) {
  json::Object v;
  if (o.tainted) v.set("status", "tainted");
  v.set("schema_version", o.schema_version);
  v.set("attributes", o.attributes);
  json::Array paths;
  for (const Path& p : o.sensitive) paths.push_back(path_json(p));
  v.set("sensitive_attributes", std::move(paths));
  if (!o.private_data.empty()) v.set("private", base64_encode(o.private_data));
  if (!o.dependencies.empty()) {
    json::Array d;
    for (const std::string& name : o.dependencies) d.push_back(name);
    v.set("dependencies", std::move(d));
  }
  if (o.create_before_destroy) v.set("create_before_destroy", true);
  return v;
}

}  // namespace

Result<State> parse_state(std::string_view document) {
  State state;
  if (trim(document).empty()) return state;
  auto parsed = json::parse(document);
  if (!parsed) return err(parsed.error().with_context("the state is damaged"));
  const json::Value& root = *parsed;
  const json::Value* version = root.get("version");
  if (version == nullptr || version->int_or(0) != 4) return err(bad_request("the state has format version " + (version ? json::dump(*version) : "none") + "; only 4 is supported"));
  if (const json::Value* serial = root.get("serial")) state.serial = static_cast<uint64_t>(serial->int_or(0));
  state.lineage = root.str_at({"lineage"});
  state.applying = root.str_at({"magma_applying"});
  if (const json::Value* outputs = root.get("outputs")) {
    for (const auto& [name, o] : outputs->members()) {
      OutputState out;
      if (const json::Value* v = o.get("value")) out.value = *v;
      if (const json::Value* t = o.get("type")) out.type = *t;
      if (const json::Value* s = o.get("sensitive")) out.sensitive = s->bool_or(false);
      state.outputs.emplace(name, std::move(out));
    }
  }
  if (const json::Value* checks = root.get("check_results")) state.check_results = *checks;
  const json::Value* resources = root.get("resources");
  for (const json::Value& r : resources != nullptr ? resources->items() : json::Array()) {
    const ResourceAddress address{r.str_at({"mode"}) == "data", std::string(r.str_at({"type"})), std::string(r.str_at({"name"}))};
    if (!r.str_at({"module"}).empty()) return err(bad_request("the state holds resources of modules (" + std::string(r.str_at({"module"})) + "), which are not supported"));
    ResourceState& resource = state.resources[address];
    resource.provider = r.str_at({"provider"});
    const json::Value* instances = r.get("instances");
    for (const json::Value& i : instances != nullptr ? instances->items() : json::Array()) {
      InstanceKey key;
      if (const json::Value* k = i.get("index_key")) {
        if (k->is_int()) key = k->as_int();
        else if (k->is_string()) key = k->as_string();
      }
      auto object = read_object(i);
      if (!object) return err(object.error().with_context(address.to_string()));
      InstanceState& instance = resource.instances[key];
      if (const std::string_view deposed = i.str_at({"deposed"}); !deposed.empty()) instance.deposed.emplace(deposed, std::move(*object));
      else instance.current = std::move(*object);
    }
  }
  return state;
}

std::string dump_state(const State& state) {
  json::Object root;
  root.set("version", 4);
  root.set("terraform_version", kStateWriter);
  root.set("serial", static_cast<int64_t>(state.serial));
  root.set("lineage", state.lineage);
  if (!state.applying.empty()) root.set("magma_applying", state.applying);
  json::Object outputs;
  for (const auto& [name, o] : state.outputs) {
    json::Object out;
    out.set("value", o.value);
    out.set("type", o.type);
    if (o.sensitive) out.set("sensitive", true);
    outputs.set(name, std::move(out));
  }
  root.set("outputs", std::move(outputs));
  json::Array resources;
  for (const auto& [address, r] : state.resources) {
    json::Object out;
    out.set("mode", address.data ? "data" : "managed");
    out.set("type", address.type);
    out.set("name", address.name);
    out.set("provider", r.provider);
    json::Array instances;
    for (const auto& [key, i] : r.instances) {
      auto add = [&](const ObjectState& object, const std::string& deposed) {
        json::Object v = write_object(object);
        if (const auto* n = std::get_if<int64_t>(&key)) v.set("index_key", *n);
        if (const auto* s = std::get_if<std::string>(&key)) v.set("index_key", *s);
        if (!deposed.empty()) v.set("deposed", deposed);
        instances.push_back(std::move(v));
      };
      if (i.current) add(*i.current, "");
      for (const auto& [name, object] : i.deposed) add(object, name);
    }
    if (!r.instances.empty() && std::get_if<int64_t>(&r.instances.begin()->first)) out.set("each", "list");
    if (!r.instances.empty() && std::get_if<std::string>(&r.instances.begin()->first)) out.set("each", "map");
    out.set("instances", std::move(instances));
    resources.push_back(std::move(out));
  }
  root.set("resources", std::move(resources));
  root.set("check_results", state.check_results);
  return json::dump_pretty(json::Value(std::move(root))) + "\n";
}

}  // namespace engenho::magma
