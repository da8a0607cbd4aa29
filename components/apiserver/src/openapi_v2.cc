#include "openapi_v2.h"

#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/catalog/resources.h"
#include "engenho/schema/api_errors.h"

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
      for (const auto& [k, inner] : schema_v2(v.as_array()[0]).as_object()) out[k] = inner;
    } else if (name == "nullable" || name == "oneOf" || name == "anyOf") {
      continue;  // v2 cannot say these
    } else {
      out[name] = schema_v2(v);
    }
  }
  return out;
}

std::string build() {
  Value out = json::Object();
  out["swagger"] = "2.0";
  out["info"]["title"] = "Kubernetes";
  out["info"]["version"] = "v1.36.2+engenho";
  Value& paths = out["paths"];
  Value& definitions = out["definitions"];
  paths.make_object();
  definitions.make_object();
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
          Value& responses = op["responses"];
          responses.make_object();
          if (const Value* all = operation.get("responses")) {
            for (const auto& [code, response] : all->members()) {
              Value& r = responses[code];
              r["description"] = response.str_at({"description"}, "OK");
              if (const Value* schema = response.at({"content", "application/json", "schema"})) r["schema"] = schema_v2(*schema);
            }
          }
          op["produces"] = json::Array{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"};
        }
      }
    }
  }
  return json::dump(out);
}

}  // namespace

void send_openapi_v2(Context& context) {
  // Hundreds of requests may come at once after a restart; it is made once.
  static std::mutex mutex;
  static std::shared_ptr<const std::string> document;
  std::shared_ptr<const std::string> text;
  {
    std::lock_guard lock(mutex);
    if (document == nullptr) document = std::make_shared<const std::string>(build());
    text = document;
  }
  const std::string_view accept = context.request().headers.get("Accept");
  if (accept.find("application/com.github.proto-openapi.spec.v2") != std::string_view::npos && accept.find("json") == std::string_view::npos) {
    return send_status(context, Status(406, reason::kNotAcceptable,
                                       "only application/json is served for /openapi/v2; the protobuf form is not there yet"));
  }
  send_bytes(context, 200, "application/json", http::Body(std::move(text)));
}

}  // namespace engenho::apiserver
