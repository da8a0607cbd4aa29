#include "openapi_v2.h"

#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/catalog/resources.h"
#include "engenho/schema/api_errors.h"
#include "openapi_v2_protobuf.h"

namespace engenho::apiserver {

namespace {

using json::Value;

// A v3 schema as v2 writes it: references move, a lone allOf around a reference goes, defaults of {} stay.
Value schema_v2(const Value& v3) {
  if (v3.is_array()) {
    json::Array out;
    for (const Value& item : v3.as_array()) out.push_back(schema_v2(item));
    return out;
  }
  if (!v3.is_object()) return v3;
  Value out = json::Object();
  for (const auto& [name, v] : v3.as_object()) {
    if (name == "$ref" && v.is_string()) {
      constexpr std::string_view kOld = "#/components/schemas/";
      std::string text = v.as_string();
      if (text.starts_with(kOld)) text = "#/definitions/" + text.substr(kOld.size());
      out["$ref"] = text;
    } else if (name == "allOf" && v.is_array() && v.as_array().size() == 1 && v.as_array()[0].get("$ref") != nullptr) {
      const Value inner = schema_v2(v.as_array()[0]);
      for (const auto& [k, member] : inner.as_object()) out[k] = member;
    } else if (name == "nullable" || name == "oneOf" || name == "anyOf") {
      continue;  // v2 cannot say these
    } else {
      out[name] = schema_v2(v);
    }
  }
  return out;
}

Value build() {
  Value out = json::Object();
  out["swagger"] = "2.0";
  out["info"]["title"] = "Kubernetes";
  out["info"]["version"] = "v1.36.2+engenho";
  Value paths = json::Object(), definitions = json::Object();
  for (const catalog::GroupVersion& gv : catalog::group_versions()) {
    if (!is_served(gv)) continue;
    auto document = json::parse(catalog::openapi_v3(gv.group, gv.version));
    if (!document) continue;
    if (const Value* schemas = document->at({"components", "schemas"})) {
      for (const auto& [name, schema] : schemas->members()) {
        if (definitions.get(name) == nullptr) definitions[name] = schema_v2(schema);
      }
    }
    // The operations, with what clients read of them: their names, actions and kinds.
    if (const Value* v3_paths = document->get("paths")) {
      for (const auto& [path, item] : v3_paths->members()) {
        Value& entry = paths[path];
        entry.make_object();
        for (const auto& [method, operation] : item.members()) {
          if (!operation.is_object() || method == "parameters") continue;
          Value& op = entry[method];
          op.make_object();
          for (const char* member : {"operationId", "x-kubernetes-action", "x-kubernetes-group-version-kind", "tags"}) {
            if (const Value* v = operation.get(member)) op[member] = *v;
          }
          if (const Value* body = operation.at({"requestBody", "content"}); body != nullptr && !body->members().empty()) {
            const Value* schema = body->members().begin()->second.get("schema");
            Value parameter = json::Object();
            parameter["in"] = "body";
            parameter["name"] = "body";
            if (schema != nullptr) parameter["schema"] = schema_v2(*schema);
            op["parameters"] = json::Array{parameter};
            json::Array consumes;
            for (const auto& [type, unused] : body->members()) consumes.push_back(type);
            op["consumes"] = std::move(consumes);
          }
          Value responses = json::Object();
          if (const Value* all = operation.get("responses")) {
            for (const auto& [code, response] : all->members()) {
              Value& r = responses[code];
              r["description"] = response.str_at({"description"}, "OK");
              if (const Value* schema = response.at({"content", "application/json", "schema"})) r["schema"] = schema_v2(*schema);
            }
          }
          op["responses"] = std::move(responses);
          op["produces"] = json::Array{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"};
        }
      }
    }
  }
  out["paths"] = std::move(paths);
  out["definitions"] = std::move(definitions);
  return out;
}

}  // namespace

void send_openapi_v2(Context& context) {
  // Hundreds of requests may come at once after a restart; each form is made once.
  static std::mutex mutex;
  static std::shared_ptr<const std::string> json_form, protobuf_form;
  constexpr std::string_view kProtobuf = "application/com.github.proto-openapi.spec.v2";
  const std::string_view accept = context.request().headers.get("Accept");
  const bool protobuf = accept.find(kProtobuf) < accept.find("application/json");
  std::shared_ptr<const std::string> text;
  {
    std::lock_guard lock(mutex);
    auto& made = protobuf ? protobuf_form : json_form;
    if (made == nullptr) made = std::make_shared<const std::string>(protobuf ? openapi_v2_to_protobuf(build()) : json::dump(build()));
    text = made;
  }
  // Clients ask for "@v1.0", which is no media type; upstream answers with a dot.
  send_bytes(context, 200, protobuf ? std::string(kProtobuf) + ".v1.0+protobuf" : "application/json", http::Body(std::move(text)));
}

}  // namespace engenho::apiserver
