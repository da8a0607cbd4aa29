#include "redactor.h"

#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

constexpr size_t kShortest = 4, kShortestLine = 12;
constexpr std::string_view kHidden = "(sensitive value)";

}  // namespace

void Redactor::add_one(std::string_view secret) {
  static const std::set<std::string_view> kCommon = {"true", "false", "null", "none", "default", "name", "value", "admin", "root", "user"};
  if (secret.size() < kShortest || kCommon.contains(secret)) return;
  auto at = std::lower_bound(secrets_.begin(), secrets_.end(), secret,
                             [](std::string_view a, std::string_view b) { return a.size() != b.size() ? a.size() > b.size() : a < b; });
  if (at == secrets_.end() || *at != secret) secrets_.emplace(at, secret);
}

void Redactor::add(std::string_view secret) {
  secret = trim(secret);
  add_one(secret);
  // As it looks inside a JSON string.
  std::string quoted;
  json::dump_string_to(secret, quoted);
  add_one(std::string_view(quoted).substr(1, quoted.size() - 2));
  if (secret.find('\n') == std::string_view::npos) return;
  for (std::string_view line : split(secret, '\n')) {
    line = trim(line);
    if (line.size() >= kShortestLine && !line.starts_with("-----")) add_one(line);
  }
}

void Redactor::add_all(const json::Value& value) {
  if (value.is_string())
    add(value.as_string());
  else if (value.is_number())
    add(json::dump(value));
  for (const json::Value& item : value.items()) add_all(item);
  for (const auto& [name, member] : value.members()) add_all(member);
}

void Redactor::add_marked(const json::Value* value, const json::Value* marks) {
  if (value == nullptr || marks == nullptr) return;
  if (marks->is_bool()) {
    if (marks->as_bool()) add_all(*value);
    return;
  }
  for (size_t i = 0; i < marks->items().size() && i < value->items().size(); ++i) add_marked(&value->items()[i], &marks->items()[i]);
  for (const auto& [name, mark] : marks->members()) add_marked(value->get(name), &mark);
}

void Redactor::add_plan(const json::Value& document) {
  auto change = [&](const json::Value* c) {
    if (c == nullptr) return;
    add_marked(c->get("before"), c->get("before_sensitive"));
    add_marked(c->get("after"), c->get("after_sensitive"));
  };
  for (const char* list : {"resource_changes", "resource_drift"}) {
    if (const json::Value* entries = document.get(list)) {
      for (const json::Value& entry : entries->items()) change(entry.get("change"));
    }
  }
  if (const json::Value* outputs = document.get("output_changes")) {
    for (const auto& [name, c] : outputs->members()) change(&c);
  }
  if (const json::Value* variables = document.at({"configuration", "root_module", "variables"})) {
    for (const auto& [name, declared] : variables->members()) {
      if (!(declared.get("sensitive") != nullptr && declared.get("sensitive")->bool_or(false))) continue;
      if (const json::Value* value = document.at({"variables", name, "value"})) add_all(*value);
    }
  }
}

void Redactor::add_state(std::string_view document) {
  if (document.find("sensitive") == std::string_view::npos) return;
  auto parsed = json::parse(document);
  if (!parsed) return;
  if (const json::Value* outputs = parsed->get("outputs")) {
    for (const auto& [name, o] : outputs->members()) {
      if (o.get("sensitive") != nullptr && o.get("sensitive")->bool_or(false) && o.get("value") != nullptr) add_all(*o.get("value"));
    }
  }
  if (const json::Value* resources = parsed->get("resources")) {
    for (const json::Value& r : resources->items()) {
      if (r.get("instances") == nullptr) continue;
      for (const json::Value& instance : r.get("instances")->items()) {
        const json::Value* paths = instance.get("sensitive_attributes");
        if (paths == nullptr) continue;
        for (const json::Value& path : paths->items()) {
          const json::Value* at = instance.get("attributes");
          for (const json::Value& step : path.items()) {
            const json::Value* key = step.get("value");
            if (at == nullptr || key == nullptr) break;
            if (step.str_at({"type"}) == "get_attr") {
              at = at->get(key->str());
            } else {
              // An index: {"value": 0, "type": "number"} or {"value": "k", "type": "string"}.
              const json::Value* inner = key->get("value");
              if (inner != nullptr && inner->is_int() && inner->as_int() >= 0 && static_cast<size_t>(inner->as_int()) < at->items().size())
                at = &at->items()[static_cast<size_t>(inner->as_int())];
              else if (inner != nullptr && inner->is_string())
                at = at->get(inner->as_string());
            }
          }
          if (at != nullptr) add_all(*at);
        }
      }
    }
  }
}

std::string Redactor::text(std::string_view text) const {
  std::string out(text);
  for (const std::string& secret : secrets_) {
    for (size_t at = out.find(secret); at != std::string::npos; at = out.find(secret, at + kHidden.size())) out.replace(at, secret.size(), kHidden);
  }
  return out;
}

}  // namespace engenho::pangea
