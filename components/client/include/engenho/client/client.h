// The client of the Kubernetes API: typed (generated structs) and dynamic (documents). Every call blocks until the server has
// answered; errors are the server's Status (not_found(), conflict(), ...).
//
//   client.get<core_v1::Pod>("default", "web");
//   client.update_status(pod);
//   client.patch<core_v1::Node>("", "n1", PatchType::kMerge, R"({"spec":{"unschedulable":true}})");
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/catalog/codec.h"
#include "engenho/catalog/resources.h"
#include "engenho/client/transport.h"

namespace engenho::client {

// The resource of a generated top-level struct.
const catalog::Resource& resource_of_schema(const schema::Schema& schema);
template <typename T>
const catalog::Resource& resource_of() {
  static const catalog::Resource& resource = resource_of_schema(k8s::schema_of<T>());
  return resource;
}

enum class PatchType { kJson, kMerge, kStrategic };

struct ListOptions {
  std::string namespace_name;     // "": all
  std::string label_selector, field_selector;
  std::string resource_version;   // "": what is there now; "0": whatever the server has at hand
};
struct RawList {
  std::vector<json::Value> items;
  std::string resource_version;
};
template <typename T>
struct List {
  std::vector<T> items;
  std::string resource_version;
};
struct DeleteOptions {
  int64_t grace_period_seconds = -1;  // -1: the object's own
  std::string propagation_policy;     // "", Orphan, Background, Foreground
  std::string uid, resource_version;  // preconditions
};

class Client {
 public:
  // `field_manager` names the writer in managedFields.
  Client(std::shared_ptr<Transport> transport, std::string field_manager);

  // --- dynamic; namespace "" for cluster-scoped resources ---
  Result<json::Value> get_raw(const catalog::Resource& r, std::string_view ns, std::string_view name, std::string_view subresource = "");
  Result<RawList> list_raw(const catalog::Resource& r, const ListOptions& options);
  Result<json::Value> create_raw(const catalog::Resource& r, std::string_view ns, const json::Value& object, std::string_view name = "",
                                 std::string_view subresource = "");
  Result<json::Value> update_raw(const catalog::Resource& r, const json::Value& object, std::string_view subresource = "");
  Result<json::Value> patch_raw(const catalog::Resource& r, std::string_view ns, std::string_view name, PatchType type,
                                std::string_view patch, std::string_view subresource = "");
  Status remove_raw(const catalog::Resource& r, std::string_view ns, std::string_view name, const DeleteOptions& options = {});
  Status remove_collection_raw(const catalog::Resource& r, std::string_view ns, const ListOptions& options = {});
  // Any path, for what has no resource here (custom resources found by discovery). The body is a document or empty.
  Result<json::Value> request(std::string_view method, std::string_view target, std::string_view content_type = "", std::string body = "");

  // --- typed ---
  template <typename T>
  Result<T> get(std::string_view ns, std::string_view name) {
    return typed<T>(get_raw(resource_of<T>(), ns, name));
  }
  template <typename T>
  Result<List<T>> list(const ListOptions& options = {}) {
    ENGENHO_ASSIGN(RawList raw, list_raw(resource_of<T>(), options));
    List<T> out;
    out.resource_version = std::move(raw.resource_version);
    out.items.reserve(raw.items.size());
    for (const json::Value& item : raw.items) {
      ENGENHO_ASSIGN(T value, k8s::from_json<T>(item));
      out.items.push_back(std::move(value));
    }
    return out;
  }
  template <typename T>
  Result<T> create(const T& object) {
    return typed<T>(create_raw(resource_of<T>(), object.metadata.namespace_, k8s::to_json(object)));
  }
  // Optimistic: fails with Conflict unless object.metadata.resource_version is the newest (when set).
  template <typename T>
  Result<T> update(const T& object) {
    return typed<T>(update_raw(resource_of<T>(), k8s::to_json(object)));
  }
  template <typename T>
  Result<T> update_status(const T& object) {
    return typed<T>(update_raw(resource_of<T>(), k8s::to_json(object), "status"));
  }
  template <typename T>
  Result<T> patch(std::string_view ns, std::string_view name, PatchType type, std::string_view patch, std::string_view subresource = "") {
    return typed<T>(patch_raw(resource_of<T>(), ns, name, type, patch, subresource));
  }
  template <typename T>
  Status remove(std::string_view ns, std::string_view name, const DeleteOptions& options = {}) {
    return remove_raw(resource_of<T>(), ns, name, options);
  }

  Transport& transport() { return *transport_; }

 private:
  template <typename T>
  Result<T> typed(Result<json::Value> raw) {
    if (!raw) return err(raw.error());
    return k8s::from_json<T>(*raw);
  }
  std::shared_ptr<Transport> transport_;
  std::string field_manager_;
};

std::string path_of(const catalog::Resource& r, std::string_view ns, std::string_view name = "", std::string_view subresource = "");

}  // namespace engenho::client
