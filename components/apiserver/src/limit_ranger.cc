// LimitRanges: what a container gets when it says nothing, and the least and most that a container, a pod or a claim may ask for.
// https://kubernetes.io/docs/concepts/policy/limit-range/
#include <cstdio>

#include "admission_plugins.h"
#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/quantity.h"
#include "pod_amounts.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using schema::Quantity;

constexpr const char* kAnnotation = "kubernetes.io/limit-ranger";

struct Asked {
  Amounts requests, limits;
};

class Check {
 public:
  Check(std::string type, const Asked& asked, std::vector<std::string>& problems) : type_(std::move(type)), asked_(asked), problems_(problems) {}

  void minimum(const Value* map) {
    for (const auto& [name, least] : amounts(map)) {
      const Quantity *request = find(asked_.requests, name), *limit = find(asked_.limits, name);
      const std::string rule = "minimum " + name + " usage per " + type_ + " is " + least.to_string();
      if (request == nullptr) problems_.push_back(rule + ".  No request is specified");
      else if (*request < least) problems_.push_back(rule + ", but request is " + request->to_string());
      else if (limit != nullptr && *limit < least) problems_.push_back(rule + ", but limit is " + limit->to_string());
    }
  }
  void maximum(const Value* map) {
    for (const auto& [name, most] : amounts(map)) {
      const Quantity *request = find(asked_.requests, name), *limit = find(asked_.limits, name);
      const std::string rule = "maximum " + name + " usage per " + type_ + " is " + most.to_string();
      if (limit == nullptr) problems_.push_back(rule + ".  No limit is specified");
      else if (*limit > most) problems_.push_back(rule + ", but limit is " + limit->to_string());
      else if (request != nullptr && *request > most) problems_.push_back(rule + ", but request is " + request->to_string());
    }
  }
  void maximum_request(const Value* map) {
    for (const auto& [name, most] : amounts(map)) {
      const Quantity* request = find(asked_.requests, name);
      const std::string rule = "maximum " + name + " usage per " + type_ + " is " + most.to_string();
      if (request == nullptr) problems_.push_back(rule + ".  No request is specified");
      else if (*request > most) problems_.push_back(rule + ", but request is " + request->to_string());
    }
  }
  void ratio(const Value* map) {
    for (const auto& [name, most] : amounts(map)) {
      const Quantity *request = find(asked_.requests, name), *limit = find(asked_.limits, name);
      const std::string rule = name + " max limit to request ratio per " + type_ + " is " + most.to_string();
      if (request == nullptr || request->is_zero()) {
        problems_.push_back(rule + ", but no request is specified or request is 0");
      } else if (limit == nullptr || limit->is_zero()) {
        problems_.push_back(rule + ", but no limit is specified or limit is 0");
      } else if (const double have = limit->as_double() / request->as_double(); have > most.as_double()) {
        char text[64];
        std::snprintf(text, sizeof text, "%f", have);
        problems_.push_back(rule + ", but provided ratio is " + text);
      }
    }
  }

 private:
  static const Quantity* find(const Amounts& map, const std::string& name) {
    auto it = map.find(name);
    return it == map.end() ? nullptr : &it->second;
  }
  std::string type_;
  const Asked& asked_;
  std::vector<std::string>& problems_;
};

class LimitRanger final : public AdmissionPlugin {
 public:
  explicit LimitRanger(Rest& rest) : rest_(rest), ranges_(rest.resources().find("", "v1", "limitranges")) {}
  std::string_view name() const override { return "LimitRanger"; }

  Status mutate(AdmissionRequest& r) override {
    if (!r.is("", "pods") || r.operation != Operation::kCreate || !r.subresource.empty() || r.object == nullptr) return {};
    for (const ObjectPtr& range : ranges(r)) fill_in(range->value(), *r.object);
    return {};
  }

  Status validate(const AdmissionRequest& r) override {
    const bool pod = r.is("", "pods"), claim = r.is("", "persistentvolumeclaims");
    if ((!pod && !claim) || r.object == nullptr) return {};
    const bool resize = pod && r.subresource == "resize" && r.operation == Operation::kUpdate;
    if (!resize && (!r.subresource.empty() || (pod && r.operation != Operation::kCreate))) return {};
    if (r.operation != Operation::kCreate && r.operation != Operation::kUpdate) return {};
    if (r.old_object != nullptr && r.old_object->at({"metadata", "deletionTimestamp"}) != nullptr) return {};
    for (const ObjectPtr& range : ranges(r)) {
      std::vector<std::string> problems;
      const Value value = range->value();
      if (const Value* limits = value.at({"spec", "limits"})) {
        for (const Value& limit : limits->items()) check(limit, *r.object, pod, problems);
      }
      if (problems.empty()) continue;
      return schema::forbidden({r.group, r.resource}, r.name, problems.size() > 1 ? "[" + join(problems, ", ") + "]" : problems[0]);
    }
    return {};
  }

 private:
  // Those that were there when the request came: the cache has caught up with the store.
  std::vector<ObjectPtr> ranges(const AdmissionRequest& r) {
    (void)rest_.hub().wait_for(rest_.hub().store().revision(), std::chrono::seconds(3));
    return ranges_->cacher->list(ranges_->store_prefix + std::string(r.namespace_name) + "/", rest_.hub().revision_ref());
  }

  static void fill_in(const Value& range, Value& pod) {
    Value limits = json::Object(), requests = json::Object();
    if (const Value* list = range.at({"spec", "limits"})) {
      for (const Value& limit : list->items()) {
        if (limit.str_at({"type"}) != "Container") continue;
        if (const Value* map = limit.get("default")) for (const auto& [name, v] : map->members()) limits[name] = v;
        if (const Value* map = limit.get("defaultRequest")) for (const auto& [name, v] : map->members()) requests[name] = v;
      }
    }
    std::vector<std::string> said;
    for (const auto& [member, what] : {std::pair("containers", " container "), std::pair("initContainers", " init container ")}) {
      Value* list = pod.at({"spec", member});
      if (list == nullptr || !list->is_array()) continue;
      for (Value& c : list->as_array()) {
        for (const auto& [part, defaults] : {std::pair("requests", &requests), std::pair("limits", &limits)}) {
          std::vector<std::string> set;
          for (const auto& [name, v] : defaults->members()) {
            if (c.at({"resources", part, name}) != nullptr) continue;
            c["resources"][part][name] = v;
            set.push_back(name);
          }
          if (!set.empty()) {
            said.push_back(join(set, ", ") + (std::string_view(part) == "requests" ? " request for" : " limit for") + what + std::string(c.str_at({"name"})));
          }
        }
      }
    }
    if (!said.empty()) pod["metadata"]["annotations"][kAnnotation] = "LimitRanger plugin set: " + join(said, "; ");
  }

  static void check(const Value& limit, const Value& object, bool pod, std::vector<std::string>& problems) {
    const std::string type(limit.str_at({"type"}));
    auto all = [&](const Asked& asked) {
      Check c(type, asked, problems);
      c.minimum(limit.get("min"));
      c.maximum(limit.get("max"));
      c.ratio(limit.get("maxLimitRequestRatio"));
    };
    if (!pod) {
      if (type != "PersistentVolumeClaim") return;
      const Asked asked{amounts(object.at({"spec", "resources", "requests"})), {}};
      Check c(type, asked, problems);
      c.minimum(limit.get("min"));
      c.maximum_request(limit.get("max"));
    } else if (type == "Container") {
      for (const char* member : {"containers", "initContainers"}) {
        const Value* list = object.at({"spec", member});
        if (list == nullptr) continue;
        for (const Value& c : list->items()) all({amounts(c.at({"resources", "requests"})), amounts(c.at({"resources", "limits"}))});
      }
    } else if (type == "Pod") {
      all({pod_amounts(object, "requests"), pod_amounts(object, "limits")});
    }
  }

  Rest& rest_;
  ResourcePtr ranges_;
};

}  // namespace

std::unique_ptr<AdmissionPlugin> limit_ranger(Rest& rest) { return std::make_unique<LimitRanger>(rest); }

}  // namespace engenho::apiserver
