#include "engenho/schema/json_path.h"

#include <cctype>

#include "engenho/base/bytes.h"

namespace engenho::schema {

namespace {

constexpr size_t kMaxSteps = 100;

Status bad(std::string_view text, const std::string& why) { return bad_request("invalid JSONPath \"" + std::string(text) + "\": " + why); }

json::Value literal(std::string_view s) {
  s = trim(s);
  if (s.size() >= 2 && (s.front() == '\'' || s.front() == '"') && s.back() == s.front()) return s.substr(1, s.size() - 2);
  if (auto v = json::parse(s)) return std::move(*v);
  return s;
}

}  // namespace

Result<JsonPath> JsonPath::parse(std::string_view text) {
  JsonPath out;
  size_t at = text.starts_with('$') ? 1 : 0;
  if (text.empty()) return err(bad(text, "empty"));
  while (at < text.size()) {
    if (out.steps_.size() > kMaxSteps) return err(bad(text, "too long"));
    Step step;
    if (text[at] == '.') {
      // "\." is a dot within a name.
      std::string name;
      size_t i = at + 1;
      for (; i < text.size() && text[i] != '.' && text[i] != '['; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        name += text[i];
      }
      at = i;
      if (name.empty()) {
        if (at >= text.size() || text[at] == '[') continue;  // "." alone, ".[0]"
        return err(bad(text, "recursive descent is not supported"));
      }
      if (name == "*") step.what = Step::kAll;
      else step.name = std::move(name);
    } else if (text[at] == '[') {
      size_t end = at + 1;
      char quote = '\0';
      int depth = 1;
      for (; end < text.size(); ++end) {
        const char c = text[end];
        if (quote != '\0') {
          if (c == quote) quote = '\0';
        } else if (c == '\'' || c == '"') {
          quote = c;
        } else if (c == '[') {
          ++depth;
        } else if (c == ']' && --depth == 0) {
          break;
        }
      }
      if (end >= text.size()) return err(bad(text, "unterminated array"));
      const std::string_view inside = trim(text.substr(at + 1, end - at - 1));
      at = end + 1;
      if (inside == "*" || inside == ":") {
        step.what = Step::kAll;
      } else if (inside.size() >= 2 && (inside.front() == '\'' || inside.front() == '"')) {
        step.name = inside.substr(1, inside.size() - 2);
      } else if (inside.starts_with("?(") && inside.ends_with(")")) {
        step.what = Step::kFilter;
        std::string_view condition = trim(inside.substr(2, inside.size() - 3));
        std::string_view left = condition, right;
        for (std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
          const size_t found = condition.find(op);
          if (found == std::string_view::npos) continue;
          step.op = op;
          left = trim(condition.substr(0, found));
          right = condition.substr(found + op.size());
          break;
        }
        if (!left.starts_with('@')) return err(bad(text, "a filter begins with @"));
        ENGENHO_ASSIGN(const JsonPath inner, parse(left == "@" ? "." : left.substr(1)));
        step.filter = inner.plain_names();
        if (step.filter.empty() && left != "@") return err(bad(text, "a filter compares one field"));
        if (!step.op.empty()) step.operand = literal(right);
      } else if (!parse_int(inside, step.index)) {
        return err(bad(text, "invalid array index " + std::string(inside)));
      } else {
        step.what = Step::kIndex;
      }
    } else {
      return err(bad(text, "expected . or ["));
    }
    out.steps_.push_back(std::move(step));
  }
  return out;
}

bool JsonPath::Step::passes(const json::Value& item) const {
  const json::Value* v = &item;
  for (const std::string& part : filter) {
    v = v->get(part);
    if (v == nullptr) return false;
  }
  if (op.empty()) return true;
  if (v->is_number() && operand.is_number()) {
    const double a = v->as_double(), b = operand.as_double();
    return op == "==" ? a == b : op == "!=" ? a != b : op == "<" ? a < b : op == "<=" ? a <= b : op == ">" ? a > b : a >= b;
  }
  if (op == "==") return *v == operand;
  if (op == "!=") return !(*v == operand);
  if (!v->is_string() || !operand.is_string()) return false;
  const int c = v->as_string().compare(operand.as_string());
  return op == "<" ? c < 0 : op == "<=" ? c <= 0 : op == ">" ? c > 0 : c >= 0;
}

std::vector<const json::Value*> JsonPath::find(const json::Value& document) const {
  std::vector<const json::Value*> now{&document}, next;
  for (const Step& step : steps_) {
    next.clear();
    for (const json::Value* v : now) {
      switch (step.what) {
        case Step::kName:
          if (const json::Value* member = v->get(step.name)) next.push_back(member);
          break;
        case Step::kIndex: {
          const auto size = static_cast<int64_t>(v->items().size());
          const int64_t i = step.index < 0 ? size + step.index : step.index;
          if (i >= 0 && i < size) next.push_back(&v->items()[static_cast<size_t>(i)]);
          break;
        }
        case Step::kAll:
          for (const json::Value& item : v->items()) next.push_back(&item);
          for (const auto& [name, member] : v->members()) next.push_back(&member);
          break;
        case Step::kFilter:
          for (const json::Value& item : v->items()) {
            if (step.passes(item)) next.push_back(&item);
          }
          break;
      }
    }
    now.swap(next);
  }
  return now;
}

std::vector<std::string> JsonPath::plain_names() const {
  std::vector<std::string> out;
  for (const Step& step : steps_) {
    if (step.what != Step::kName) return {};
    out.push_back(step.name);
  }
  return out;
}

}  // namespace engenho::schema
