#include "printers.h"

namespace engenho::apiserver {

namespace {

using json::Value;

std::string age(WallTime now, std::string_view created) {
  auto then = parse_rfc3339(created);
  if (!then) return "<unknown>";
  int64_t s = std::chrono::duration_cast<std::chrono::seconds>(now - *then).count();
  if (s < 0) return s >= -1 ? "0s" : "<invalid>";
  auto two = [](int64_t a, const char* ua, int64_t b, const char* ub) {
    return std::to_string(a) + ua + (b == 0 ? "" : std::to_string(b) + ub);
  };
  if (s < 120) return std::to_string(s) + "s";
  const int64_t m = s / 60, h = s / 3600, d = s / 86400;
  if (m < 10) return two(m, "m", s % 60, "s");
  if (m < 180) return std::to_string(m) + "m";
  if (h < 8) return two(h, "h", m % 60, "m");
  if (h < 48) return std::to_string(h) + "h";
  if (h < 192) return two(d, "d", h % 24, "h");
  if (d < 730) return std::to_string(d) + "d";
  if (d < 2920) return two(d / 365, "y", d % 365, "d");
  return std::to_string(d / 365) + "y";
}

}  // namespace

Value table_columns(const ResourceDef& resource) {
  json::Array out;
  auto add = [&](std::string_view name, std::string_view type, std::string_view format, std::string_view description, int priority) {
    Value c = json::Object();
    c["name"] = name;
    c["type"] = type;
    c["format"] = format;
    c["description"] = description;
    c["priority"] = priority;
    out.push_back(std::move(c));
  };
  if (resource.builtin == nullptr || resource.builtin->columns.empty()) {
    add("Name", "string", "name", "", 0);
    add("Created At", "date", "", "", 0);
  } else {
    for (const catalog::PrinterColumn& c : resource.builtin->columns) add(c.name, c.type, c.format, "", c.priority);
  }
  return out;
}

json::Array table_cells(const ResourceDef& resource, const Value& object, WallTime now) {
  json::Array out;
  const std::string_view created = object.str_at({"metadata", "creationTimestamp"});
  if (resource.builtin == nullptr || resource.builtin->columns.empty()) {
    out.push_back(object.str_at({"metadata", "name"}));
    out.push_back(created);
    return out;
  }
  for (const catalog::PrinterColumn& c : resource.builtin->columns) {
    if (c.name == "Name") out.push_back(object.str_at({"metadata", "name"}));
    else if (c.name == "Age") out.push_back(age(now, created));
    else out.push_back("<none>");
  }
  return out;
}

}  // namespace engenho::apiserver
