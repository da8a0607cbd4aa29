#include "state_head.h"

#include <algorithm>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

json::Value version_json(const StoredVersion& v) {
  json::Array pieces;
  for (const std::string& p : v.pieces) pieces.push_back(p);
  return json::Object{{"version", v.info.version},
                      {"serial", static_cast<int64_t>(v.info.serial)},
                      {"lineage", v.info.lineage},
                      {"digest", v.info.digest},
                      {"size", static_cast<int64_t>(v.info.size)},
                      {"time", format_rfc3339_micro(v.info.time)},
                      {"fence", static_cast<int64_t>(v.fence)},
                      {"inHead", v.in_head},
                      {"pieces", std::move(pieces)}};
}

Result<StoredVersion> parse_version(const json::Value& v) {
  auto number = [&](const char* name) { return v.get(name) ? v.get(name)->int_or(0) : 0; };
  StoredVersion out;
  out.info.version = number("version");
  out.info.serial = static_cast<uint64_t>(number("serial"));
  out.info.lineage = v.str_at({"lineage"});
  out.info.digest = v.str_at({"digest"});
  out.info.size = static_cast<size_t>(number("size"));
  ENGENHO_ASSIGN(out.info.time, parse_rfc3339(v.str_at({"time"})));
  out.fence = static_cast<uint64_t>(number("fence"));
  out.in_head = v.get("inHead") != nullptr && v.get("inHead")->bool_or(false);
  if (const json::Value* pieces = v.get("pieces")) {
    for (const json::Value& p : pieces->items()) out.pieces.emplace_back(p.str());
  }
  return out;
}

}  // namespace

std::string StateName::key() const {
  // No name holds a zero byte, so different names never run together.
  std::string text = pangea_namespace;
  text += '\0';
  text += template_namespace;
  text += '\0';
  text += template_name;
  return sha256_hex(text).substr(0, 32);
}

bool Head::refers_to(const std::string& piece) const {
  auto has = [&](const StoredVersion& v) { return std::find(v.pieces.begin(), v.pieces.end(), piece) != v.pieces.end(); };
  return (current && has(*current)) || std::any_of(history.begin(), history.end(), has);
}

std::string head_name(const std::string& key) {
  return "state-" + key;
}
std::string cursor_name(const std::string& key, uint64_t epoch, int segment) {
  return "cursor-" + key + "-" + std::to_string(epoch) + "-" + std::to_string(segment);
}
std::string piece_name(const std::string& key, uint64_t token, std::string_view bytes) {
  return "state-" + key + "-" + std::to_string(token) + "-" + sha256_hex(bytes).substr(0, 40);
}

k8s::core_v1::Secret state_secret(const StateName& name, std::string object_name, const char* part) {
  k8s::core_v1::Secret out;
  out.metadata.namespace_ = kSystemNamespace;
  out.metadata.name = std::move(object_name);
  out.type = kStateSecretType;
  out.metadata.labels[kStateLabel] = name.key();
  out.metadata.labels[kPartLabel] = part;
  const std::pair<const char*, const std::string*> kNames[] = {{"pangea.pleme.io/pangea-namespace", &name.pangea_namespace},
                                                               {"pangea.pleme.io/template-namespace", &name.template_namespace},
                                                               {"pangea.pleme.io/template", &name.template_name}};
  for (const auto& [label, value] : kNames) {
    // Object names may be longer than label values; the annotation always has them.
    if (value->size() <= 63) out.metadata.labels[label] = *value;
    out.metadata.annotations[label] = *value;
  }
  return out;
}

k8s::core_v1::Secret head_secret(const StateName& name, const Head& head) {
  k8s::core_v1::Secret out = state_secret(name, head_name(name.key()), "head");
  out.metadata.resource_version = head.resource_version;
  json::Object o;
  o.set("fence", static_cast<int64_t>(head.fence));
  o.set("lockId", head.lock_id);
  o.set("lastVersion", head.last_version);
  if (head.current) o.set("current", version_json(*head.current));
  json::Array history;
  for (const StoredVersion& v : head.history) history.push_back(version_json(v));
  o.set("history", std::move(history));
  o.set("cursorEpoch", static_cast<int64_t>(head.cursor_epoch));
  o.set("cursorSegments", head.cursor_segments);
  out.data["head"] = json::dump(json::Value(std::move(o)));
  if (head.current && head.current->in_head) out.data["state"] = head.bytes;
  return out;
}

Result<Head> parse_head(const k8s::core_v1::Secret& secret) {
  auto text = secret.data.find("head");
  if (secret.type != kStateSecretType || text == secret.data.end())
    return err(internal_error("Secret " + secret.metadata.name + " is not the head of a state"));
  ENGENHO_ASSIGN(const json::Value v, json::parse(text->second));
  auto number = [&](const char* name) { return v.get(name) ? v.get(name)->int_or(0) : 0; };
  Head out;
  out.resource_version = secret.metadata.resource_version;
  out.fence = static_cast<uint64_t>(number("fence"));
  out.lock_id = v.str_at({"lockId"});
  out.last_version = number("lastVersion");
  out.cursor_epoch = static_cast<uint64_t>(number("cursorEpoch"));
  out.cursor_segments = static_cast<int>(number("cursorSegments"));
  if (const json::Value* current = v.get("current")) {
    ENGENHO_ASSIGN(out.current, parse_version(*current));
    out.current->info.current = true;
  }
  if (const json::Value* history = v.get("history")) {
    for (const json::Value& one : history->items()) {
      ENGENHO_ASSIGN(StoredVersion version, parse_version(one));
      out.history.push_back(std::move(version));
    }
  }
  if (auto bytes = secret.data.find("state"); bytes != secret.data.end()) out.bytes = bytes->second;
  return out;
}

}  // namespace engenho::pangea
