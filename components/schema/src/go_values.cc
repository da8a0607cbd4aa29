#include "engenho/schema/go_values.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <vector>

#include "normal.h"

namespace engenho::schema {

namespace {

using json::Value;

constexpr std::string_view kRaw = "\x01raw";  // no JSON member begins so: it is a control character

std::vector<const Field*> in_go_order(const Schema& schema) {
  std::vector<const Field*> out;
  for (const Field& f : schema.fields) out.push_back(&f);
  std::stable_sort(out.begin(), out.end(), [](const Field* a, const Field* b) { return a->go_order < b->go_order; });
  return out;
}

void quote(std::string_view text, std::string& out) { json::dump_string_to(text, out); }

void write(const Schema& schema, const Value& v, std::string& out) {
  if (schema.kind == Kind::kObject && v.is_object()) {
    out += '{';
    bool first = true;
    auto member = [&](std::string_view name, const Schema* inner, const Value& item) {
      if (!first) out += ',';
      first = false;
      quote(name, out);
      out += ':';
      if (inner != nullptr) write(*inner, item, out);
      else json::dump_to(item, out);
    };
    if (schema.top_level) {
      for (const char* name : {"kind", "apiVersion"}) {
        if (const Value* item = v.get(name)) member(name, nullptr, *item);
      }
    }
    for (const Field* f : in_go_order(schema)) {
      if (schema.top_level && (f->name == "kind" || f->name == "apiVersion")) continue;
      if (const Value* item = v.get(f->name)) member(f->name, f->schema, *item);
    }
    for (const auto& [name, item] : v.as_object()) {
      if (schema.field(name) == nullptr && !(schema.top_level && (name == "kind" || name == "apiVersion"))) member(name, nullptr, item);
    }
    out += '}';
  } else if ((schema.kind == Kind::kMap && v.is_object())) {
    out += '{';
    bool first = true;
    for (const auto& [name, item] : v.as_object()) {
      if (!first) out += ',';
      first = false;
      quote(name, out);
      out += ':';
      write(*schema.element, item, out);
    }
    out += '}';
  } else if (schema.kind == Kind::kArray && v.is_array()) {
    out += '[';
    for (size_t i = 0; i < v.as_array().size(); ++i) {
      if (i > 0) out += ',';
      write(*schema.element, v.as_array()[i], out);
    }
    out += ']';
  } else {
    json::dump_to(v, out);
  }
}

// "apiGroup" is APIGroup; most names only begin upper-case.
std::string go_name(std::string_view name) {
  static const std::map<std::string_view, std::string_view> kOdd = {
      {"apiGroup", "APIGroup"}, {"apiGroups", "APIGroups"}, {"apiVersion", "APIVersion"}, {"apiVersions", "APIVersions"}, {"ip", "IP"}, {"ips", "IPs"},
      {"uid", "UID"}, {"id", "ID"}, {"url", "URL"}, {"fsType", "FSType"}, {"awsElasticBlockStore", "AWSElasticBlockStore"}, {"csi", "CSI"},
      {"gcePersistentDisk", "GCEPersistentDisk"}, {"nfs", "NFS"}, {"iscsi", "ISCSI"}, {"rbd", "RBD"}, {"fc", "FC"}, {"cephfs", "CephFS"},
      {"jsonPath", "JSONPath"}, {"httpGet", "HTTPGet"}, {"tcpSocket", "TCPSocket"}, {"grpc", "GRPC"}, {"tty", "TTY"}, {"http", "HTTP"}, {"tls", "TLS"},
      {"dnsPolicy", "DNSPolicy"}, {"dnsConfig", "DNSConfig"}, {"hostPID", "HostPID"}, {"cidr", "CIDR"}, {"x-kubernetes-", "X"}};
  if (auto it = kOdd.find(name); it != kOdd.end()) return std::string(it->second);
  std::string out(name);
  if (!out.empty()) out[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(out[0])));
  return out;
}

bool keeps_json_names(const Schema& schema) { return schema.name.starts_with("io.k8s.apimachinery."); }

void write_internal(const Schema& schema, const Value* v, std::string& out) {
  const bool absent = v == nullptr || v->is_null();
  switch (schema.kind) {
    case Kind::kObject: {
      if (keeps_json_names(schema)) {
        write(schema, absent ? Value(json::Object()) : *v, out);
        return;
      }
      out += '{';
      bool first = true;
      for (const Field* f : in_go_order(schema)) {
        const Value* item = absent ? nullptr : v->get(f->name);
        if (f->name == "metadata" && keeps_json_names(*f->schema)) {
          // Embedded: its members stand in the outer object.
          std::string inner;
          write(*f->schema, item == nullptr ? Value(json::Object()) : *item, inner);
          if (inner.size() <= 2) continue;
          if (!first) out += ',';
          first = false;
          out.append(inner, 1, inner.size() - 2);
          continue;
        }
        if (!first) out += ',';
        first = false;
        quote(go_name(f->name), out);
        out += ':';
        if (f->pointer && (item == nullptr || item->is_null())) out += "null";
        else write_internal(*f->schema, item, out);
      }
      out += '}';
      return;
    }
    case Kind::kMap:
    case Kind::kArray: {
      if (absent || (v->items().empty() && v->members().empty())) {
        out += v != nullptr && v->is_array() ? "[]" : "null";
        return;
      }
      const bool list = v->is_array();
      out += list ? '[' : '{';
      bool first = true;
      for (const Value& item : v->items()) {
        if (!first) out += ',';
        first = false;
        write_internal(*schema.element, &item, out);
      }
      for (const auto& [name, item] : v->members()) {
        if (!first) out += ',';
        first = false;
        quote(name, out);
        out += ':';
        write_internal(*schema.element, &item, out);
      }
      out += list ? ']' : '}';
      return;
    }
    default:
      if (absent) json::dump_to(zero_value(schema), out);
      else json::dump_to(*v, out);
  }
}

}  // namespace

std::string go_json(const Schema& schema, const Value& value) {
  std::string out;
  write(schema, value, out);
  return out;
}

std::string go_internal_json(const Schema& schema, const Value& value) {
  std::string out;
  write_internal(schema, &value, out);
  return out;
}

std::string go_map_text(const Value& value) {
  std::string out;
  switch (value.type()) {
    case json::Type::kNull: return "<nil>";
    case json::Type::kString: return value.as_string();
    case json::Type::kArray:
      out = "[";
      for (const Value& item : value.as_array()) out += (out.size() > 1 ? " " : "") + go_map_text(item);
      return out + "]";
    case json::Type::kObject:
      out = "map[";
      for (const auto& [name, item] : value.as_object()) out += (out.size() > 4 ? " " : "") + name + ":" + go_map_text(item);
      return out + "]";
    default: return json::dump(value);
  }
}

Value raw_text(std::string text) { return json::Object{{std::string(kRaw), Value(std::move(text))}}; }
const std::string* raw_text_of(const Value& value) {
  const Value* text = value.is_object() && value.as_object().size() == 1 ? value.get(kRaw) : nullptr;
  return text != nullptr && text->is_string() ? &text->as_string() : nullptr;
}

}  // namespace engenho::schema
