// Volumes of a pod, their mounts, and the environment of a container.
#include <algorithm>
#include <map>
#include <set>

#include "engenho/schema/quantity.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

// Sources in the order in which they are looked at: a second one is an error of its own.
constexpr const char* kSources[] = {"emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
                                    "glusterfs", "flexVolume", "configMap", "rbd", "cinder", "cephfs", "flocker", "downwardAPI", "fc",
                                    "azureFile", "persistentVolumeClaim", "vsphereVolume", "quobyte", "azureDisk", "storageos",
                                    "photonPersistentDisk", "portworxVolume", "scaleIO", "projected", "csi", "ephemeral", "image"};

// A path with ".." in it.
bool has_backsteps(std::string_view path) {
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    if (path.substr(start, end - start) == "..") return true;
    start = end + 1;
  }
  return false;
}

// What lies in a volume: relative, without "..", nor starting with it.
void local_path(FieldErrors& errors, const std::string& path, std::string_view text) {
  descending_path(errors, path, text);
  if (text.starts_with("..") && !text.starts_with("../")) errors.invalid(path, text, "must not start with '..'");
}

void key_items(FieldErrors& errors, const std::string& path, const Value& source) {
  const json::Array& items = list(source, "items");
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path / "items", i);
    if (items[i].str_at({"key"}).empty()) errors.required(here / "key");
    if (items[i].str_at({"path"}).empty()) errors.required(here / "path");
    local_path(errors, here / "path", items[i].str_at({"path"}));
    file_mode(errors, here / "mode", items[i].get("mode"));
  }
}

// A reference to a field of the pod. Names with a subscript are annotations and labels.
void field_ref(FieldErrors& errors, const std::string& path, const Value& ref, const std::vector<std::string>& supported) {
  const std::string_view version = ref.str_at({"apiVersion"}), text = ref.str_at({"fieldPath"});
  if (version.empty()) return errors.required(path / "apiVersion");
  if (text.empty()) return errors.required(path / "fieldPath");
  if (text.ends_with("']")) {
    for (const char* map : {"metadata.annotations", "metadata.labels"}) {
      const std::string start = std::string(map) + "['";
      if (!text.starts_with(start)) continue;
      std::string name(text.substr(start.size(), text.size() - start.size() - 2));
      if (std::string_view(map) == "metadata.annotations") {
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      }
      return messages(errors, path, name, schema::is_qualified_name(name));
    }
    errors.invalid(path, text, "does not support subscript");
    return;
  }
  static const std::set<std::string, std::less<>> known = {
      "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
      "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.hostIP", "status.hostIPs",
      "status.podIP", "status.podIPs"};
  if (known.find(text) == known.end()) {
    errors.invalid(path / "fieldPath", text, "error converting fieldPath: field label not supported: " + std::string(text));
  } else if (std::find(supported.begin(), supported.end(), text) == supported.end()) {
    errors.not_supported(path / "fieldPath", text, supported);
  }
}

void resource_ref(FieldErrors& errors, const std::string& path, const Value& ref, bool of_volume) {
  static const std::vector<std::string> names = {"limits.cpu", "limits.ephemeral-storage", "limits.memory",
                                                 "requests.cpu", "requests.ephemeral-storage", "requests.memory"};
  const std::string_view resource = ref.str_at({"resource"});
  if (of_volume && ref.str_at({"containerName"}).empty()) errors.required(path / "containerName");
  else if (resource.empty()) errors.required(path / "resource");
  else if (std::find(names.begin(), names.end(), resource) == names.end() && !resource.starts_with("limits.hugepages-") &&
           !resource.starts_with("requests.hugepages-")) {
    errors.not_supported(path / "resource", resource, names);
  }
}

void downward_items(FieldErrors& errors, const std::string& path, const Value& source) {
  static const std::vector<std::string> fields = {"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace",
                                                  "metadata.uid"};
  for (const Value& item : list(source, "items")) {
    if (item.str_at({"path"}).empty()) errors.required(path / "path");
    local_path(errors, path / "path", item.str_at({"path"}));
    const Value *field = item.get("fieldRef"), *resource = item.get("resourceFieldRef");
    if (is_set(field)) {
      field_ref(errors, path / "fieldRef", *field, fields);
      if (is_set(resource)) errors.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
    } else if (is_set(resource)) {
      resource_ref(errors, path / "resourceFieldRef", *resource, true);
    } else {
      errors.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    file_mode(errors, path / "mode", item.get("mode"));
  }
}

void projected(FieldErrors& errors, const std::string& path, const Value& source) {
  file_mode(errors, path / "defaultMode", source.get("defaultMode"));
  const json::Array& sources = list(source, "sources");
  std::set<std::string, std::less<>> paths;
  auto taken = [&](std::string_view p, std::string_view by) {
    if (p.empty()) return;
    if (!paths.emplace(p).second) errors.invalid(path, by, "conflicting duplicate paths");
  };
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string here = at(path / "sources", i);
    int count = 0;
    auto begins = [&](const char* name) -> const Value* {
      const Value* v = sources[i].get(name);
      if (!is_set(v)) return nullptr;
      if (count++ > 0) {
        errors.forbidden(here, "may not specify more than 1 volume type per source");
        return nullptr;
      }
      return v;
    };
    for (const char* kind : {"secret", "configMap"}) {
      const Value* v = begins(kind);
      if (v == nullptr) continue;
      if (v->str_at({"name"}).empty()) errors.required(here / kind / "name");
      key_items(errors, here / kind, *v);
      for (const Value& item : list(*v, "items")) taken(item.str_at({"path"}), v->str_at({"name"}));
    }
    if (const Value* v = begins("downwardAPI")) {
      downward_items(errors, here / "downwardAPI", *v);
      for (const Value& item : list(*v, "items")) taken(item.str_at({"path"}), "downwardAPI");
    }
    if (const Value* v = begins("serviceAccountToken")) {
      const std::string token = here / "serviceAccountToken";
      const int64_t seconds = number(*v, "expirationSeconds", 3600);
      if (seconds < 600) errors.invalid(token / "expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
      else if (seconds > (int64_t{1} << 32)) errors.invalid(token / "expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
      const std::string_view p = v->str_at({"path"});
      if (p.empty()) errors.required(path / "path");
      else local_path(errors, path / "path", p);
      taken(p, p);
    }
    if (const Value* v = begins("clusterTrustBundle"); v != nullptr && v->str_at({"path"}).empty()) {
      errors.required(here / "clusterTrustBundle.path");
    }
    begins("podCertificate");
  }
}

void volume_source(FieldErrors& errors, const std::string& path, const Value& volume, const Value& metadata) {
  (void)metadata;
  int count = 0;
  for (const char* kind : kSources) {
    const Value* s = volume.get(kind);
    if (!is_set(s)) continue;
    const std::string here = path / kind;
    if (count++ > 0) {
      errors.forbidden(here, "may not specify more than 1 volume type");
      continue;
    }
    const std::string_view k = kind;
    auto needs = [&](std::initializer_list<const char*> names) {
      for (const char* name : names) {
        if (s->str_at({name}).empty()) errors.required(here / name);
      }
    };
    if (k == "emptyDir") {
      if (const Value* limit = s->get("sizeLimit"); is_set(limit) && schema::Quantity::parse_or_zero(limit->str()).sign() < 0) {
        errors.forbidden(here / "sizeLimit", "SizeLimit field must be a valid resource quantity");
      }
    } else if (k == "hostPath") {
      const std::string_view p = s->str_at({"path"});
      if (p.empty()) {
        errors.required(here / "path");
        continue;
      }
      if (has_backsteps(p)) errors.invalid(here / "path", p, "must not contain '..'");
      one_of(errors, here / "type", s->str_at({"type"}),
             {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"});
    } else if (k == "secret" || k == "configMap") {
      needs({k == "secret" ? "secretName" : "name"});
      file_mode(errors, here / "defaultMode", s->get("defaultMode"));
      key_items(errors, here, *s);
    } else if (k == "nfs") {
      needs({"server", "path"});
      if (!s->str_at({"path"}).starts_with('/')) errors.invalid(here / "path", s->str_at({"path"}), "must be an absolute path");
    } else if (k == "iscsi") {
      needs({"targetPortal", "iqn"});
    } else if (k == "downwardAPI") {
      file_mode(errors, here / "defaultMode", s->get("defaultMode"));
      downward_items(errors, here, *s);
    } else if (k == "persistentVolumeClaim") {
      needs({"claimName"});
    } else if (k == "csi" || k == "flexVolume") {
      needs({"driver"});
    } else if (k == "projected") {
      projected(errors, here, *s);
    } else if (k == "image") {
      needs({"reference"});
      if (const std::string_view pull = s->str_at({"pullPolicy"}); !pull.empty()) {
        one_of(errors, here / "pullPolicy", pull, {"Always", "IfNotPresent", "Never"});
      }
    } else if (k == "gitRepo") {
      needs({"repository"});
    } else if (k == "ephemeral" && !is_set(s->get("volumeClaimTemplate"))) {
      errors.required(here / "volumeClaimTemplate");
    }
  }
  if (count == 0) errors.required(path, "must specify a volume type");
}

const Value* find_volume(const json::Array& volumes, std::string_view name) {
  for (const Value& v : volumes) {
    if (v.str_at({"name"}) == name) return &v;
  }
  return nullptr;
}

}  // namespace

void descending_path(FieldErrors& errors, const std::string& path, std::string_view text) {
  if (text.starts_with('/')) errors.invalid(path, text, "must be a relative path");
  if (has_backsteps(text)) errors.invalid(path, text, "must not contain '..'");
}

void file_mode(FieldErrors& errors, const std::string& path, const Value* mode) {
  if (is_set(mode) && (mode->int_or(0) < 0 || mode->int_or(0) > 0777)) {
    errors.invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive");
  }
}

void volumes(FieldErrors& errors, const std::string& path, const json::Array& items, const Value& metadata) {
  std::set<std::string, std::less<>> names;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path, i);
    const std::string_view name = items[i].str_at({"name"});
    volume_source(errors, here, items[i], metadata);
    if (name.empty()) errors.required(here / "name");
    else messages(errors, here / "name", name, schema::is_dns1123_label(name));
    if (!name.empty() && !names.emplace(name).second) errors.duplicate(here / "name", name);
  }
}

void volume_mounts(FieldErrors& errors, const std::string& path, const Value& container, const json::Array& volumes) {
  const json::Array &mounts = list(container, "volumeMounts"), &devices = list(container, "volumeDevices");
  auto in = [](const json::Array& where, const char* member, std::string_view text) {
    return std::any_of(where.begin(), where.end(), [&](const Value& v) { return v.str_at({member}) == text; });
  };
  const std::string all = path / "volumeMounts";
  std::set<std::string, std::less<>> points;
  for (size_t i = 0; i < mounts.size(); ++i) {
    const Value& m = mounts[i];
    const std::string here = at(all, i);
    const std::string_view name = m.str_at({"name"}), point = m.str_at({"mountPath"});
    if (name.empty()) errors.required(here / "name");
    if (find_volume(volumes, name) == nullptr) errors.not_found(here / "name", name);
    if (point.empty()) errors.required(here / "mountPath");
    if (!points.emplace(point).second) errors.invalid(here / "mountPath", point, "must be unique");
    if (in(devices, "name", name)) errors.invalid(here / "name", name, "must not already exist in volumeDevices");
    if (in(devices, "devicePath", point)) errors.invalid(here / "mountPath", point, "must not already exist as a path in volumeDevices");
    const std::string_view sub = m.str_at({"subPath"}), expression = m.str_at({"subPathExpr"});
    if (!sub.empty()) descending_path(errors, all / "subPath", sub);
    if (!expression.empty()) {
      if (!sub.empty()) errors.invalid(here / "subPathExpr", expression, "subPathExpr and subPath are mutually exclusive");
      descending_path(errors, all / "subPathExpr", expression);
    }
    const Value* propagation = m.get("mountPropagation");
    if (is_set(propagation)) {
      one_of(errors, all / "mountPropagation", propagation->str(), {"Bidirectional", "HostToContainer", "None"});
      const Value* privileged = container.at({"securityContext", "privileged"});
      if (propagation->str() == "Bidirectional" && (privileged == nullptr || !privileged->bool_or(false))) {
        errors.forbidden(all / "mountPropagation", "Bidirectional mount propagation is available only to privileged containers");
      }
    }
    if (const std::string_view recursive = m.str_at({"recursiveReadOnly"}); !recursive.empty() && recursive != "Disabled") {
      if (recursive == "Enabled" || recursive == "IfPossible") {
        if (!flag(m, "readOnly")) errors.forbidden(all / "recursiveReadOnly", "may only be specified when readOnly is true");
        if (is_set(propagation) && propagation->str() != "None") {
          errors.forbidden(all / "recursiveReadOnly", "may only be specified when mountPropagation is None or not specified");
        }
      } else {
        one_of(errors, all / "recursiveReadOnly", recursive, {"Disabled", "Enabled", "IfPossible"});
      }
    }
  }
  std::set<std::string, std::less<>> names, device_paths;
  for (size_t i = 0; i < devices.size(); ++i) {
    const std::string here = at(path / "volumeDevices", i);
    const std::string_view name = devices[i].str_at({"name"}), device = devices[i].str_at({"devicePath"});
    if (name.empty()) errors.required(here / "name");
    else if (!names.emplace(name).second) errors.invalid(here / "name", name, "must be unique");
    if (const Value* v = find_volume(volumes, name)) {
      if (!is_set(v->get("persistentVolumeClaim")) && !is_set(v->get("ephemeral"))) {
        errors.invalid(here / "name", name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
      }
    } else {
      errors.not_found(here / "name", name);
    }
    if (device.empty()) errors.required(here / "devicePath");
    else if (!device_paths.emplace(device).second) errors.invalid(here / "devicePath", device, "must be unique");
    if (has_backsteps(device)) errors.invalid(here / "devicePath", device, "must not contain '..'");
    if (in(mounts, "name", name)) errors.invalid(here / "name", name, "must not already exist in volumeMounts");
    if (in(mounts, "mountPath", device)) errors.invalid(here / "devicePath", device, "must not already exist as a path in volumeMounts");
  }
}

void env_sources(FieldErrors& errors, const std::string& path, const Value& container) {
  static const std::vector<std::string> fields = {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
                                                  "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP",
                                                  "status.podIPs"};
  auto printable = [](std::string_view s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return c >= ' ' && c <= '~' && c != '='; });
  };
  constexpr const char* kBadName = "a valid environment variable name must consist only of printable ASCII characters other than '='";
  const json::Array& env = list(container, "env");
  for (size_t i = 0; i < env.size(); ++i) {
    const std::string here = at(path / "env", i);
    const std::string_view name = env[i].str_at({"name"});
    if (name.empty()) errors.required(here / "name");
    else if (!printable(name)) errors.invalid(here / "name", name, kBadName);
    const Value* from = env[i].get("valueFrom");
    if (!is_set(from)) continue;
    const std::string source = here / "valueFrom";
    int count = 0;
    if (const Value* v = from->get("fieldRef"); is_set(v)) ++count, field_ref(errors, source / "fieldRef", *v, fields);
    if (const Value* v = from->get("resourceFieldRef"); is_set(v)) ++count, resource_ref(errors, source / "resourceFieldRef", *v, false);
    for (const char* kind : {"configMapKeyRef", "secretKeyRef"}) {
      const Value* v = from->get(kind);
      if (!is_set(v)) continue;
      ++count;
      const std::string_view key = v->str_at({"key"});
      if (key.empty()) errors.required(source / kind / "key");
      else messages(errors, source / kind / "key", key, schema::is_config_map_key(key));
    }
    if (is_set(from->get("fileKeyRef"))) ++count;
    if (count == 0) {
      errors.invalid(source, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
    } else if (!env[i].str_at({"value"}).empty()) {
      errors.invalid(source, "", "may not be specified when `value` is not empty");
    } else if (count > 1) {
      errors.invalid(source, "", "may not have more than one field specified at a time");
    }
  }
  const json::Array& from = list(container, "envFrom");
  for (size_t i = 0; i < from.size(); ++i) {
    const std::string here = at(path / "envFrom", i);
    const std::string_view prefix = from[i].str_at({"prefix"});
    if (!printable(prefix)) errors.invalid(here / "prefix", prefix, kBadName);
    const bool map = is_set(from[i].get("configMapRef")), secret = is_set(from[i].get("secretRef"));
    if (!map && !secret) errors.invalid(here, "", "must specify one of: `configMapRef` or `secretRef`");
    else if (map && secret) errors.invalid(here, "", "may not have more than one field specified at a time");
  }
}

}  // namespace engenho::apiserver::validation
