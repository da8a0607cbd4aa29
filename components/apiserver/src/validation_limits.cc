// LimitRanges.
#include <cstdio>
#include <map>
#include <set>

#include "engenho/schema/quantity.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

using schema::Quantity;

void compare(FieldErrors& errors, const std::string& path, const Value& limit) {
  std::set<std::string> names;
  auto map_of = [&](const char* member) {
    std::map<std::string, Quantity> out;
    if (const Value* map = limit.get(member)) {
      for (const auto& [name, v] : map->members()) {
        out.emplace(name, Quantity::parse_or_zero(v.str()));
        names.insert(name);
      }
    }
    return out;
  };
  const auto min = map_of("min"), max = map_of("max"), preset = map_of("default"), request = map_of("defaultRequest"), ratio = map_of("maxLimitRequestRatio");
  for (const std::string& name : names) {
    auto get = [&](const std::map<std::string, Quantity>& m) -> const Quantity* {
      auto it = m.find(name);
      return it == m.end() ? nullptr : &it->second;
    };
    const Quantity *lo = get(min), *hi = get(max), *def = get(preset), *req = get(request), *most = get(ratio);
    auto wrong = [&](const char* member, const Quantity& shown, const std::string& text) { errors.invalid(schema::key(path / member, name), shown.to_string(), text); };
    if (lo && hi && *lo > *hi) wrong("min", *lo, "min value " + lo->to_string() + " is greater than max value " + hi->to_string());
    if (req && lo && *lo > *req) wrong("defaultRequest", *req, "min value " + lo->to_string() + " is greater than default request value " + req->to_string());
    if (req && hi && *req > *hi) wrong("defaultRequest", *req, "default request value " + req->to_string() + " is greater than max value " + hi->to_string());
    if (req && def && *req > *def) wrong("defaultRequest", *req, "default request value " + req->to_string() + " is greater than default limit value " + def->to_string());
    if (def && lo && *lo > *def) wrong("default", *lo, "min value " + lo->to_string() + " is greater than default value " + def->to_string());
    if (def && hi && *def > *hi) wrong("default", *hi, "default value " + def->to_string() + " is greater than max value " + hi->to_string());
    if (most == nullptr) continue;
    if (*most < Quantity::from_int(1)) wrong("maxLimitRequestRatio", *most, "ratio " + most->to_string() + " is less than 1");
    if (lo && hi && !lo->is_zero() && most->as_double() > hi->as_double() / lo->as_double()) {
      char text[64];
      std::snprintf(text, sizeof text, "%f", hi->as_double() / lo->as_double());
      wrong("maxLimitRequestRatio", *most, "ratio " + most->to_string() + " is greater than max/min = " + text);
    }
  }
}

}  // namespace

void limit_range(FieldErrors& errors, const Value& object) {
  const Value* limits = object.at({"spec", "limits"});
  if (limits == nullptr) return;
  std::set<std::string_view> seen;
  size_t i = 0;
  for (const Value& limit : limits->items()) {
    const std::string here = at("spec.limits", i++);
    const std::string_view type = limit.str_at({"type"});
    if (!seen.insert(type).second) errors.duplicate(here / "type", type);
    if (type == "Pod") {
      for (const char* member : {"default", "defaultRequest"}) {
        const Value* map = limit.get(member);
        if (map != nullptr && !map->members().empty()) errors.forbidden(here / member, "may not be specified when `type` is 'Pod'");
      }
    }
    if (type == "PersistentVolumeClaim" && limit.at({"min", "storage"}) == nullptr && limit.at({"max", "storage"}) == nullptr) {
      errors.required(here / "limits", "either minimum or maximum storage value is required, but neither was provided");
    }
    compare(errors, here, limit);
  }
}

}  // namespace engenho::apiserver::validation
