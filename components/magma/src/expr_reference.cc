// What expressions refer to.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "expr.h"

namespace engenho::magma {

namespace {

using Kind = Expr::Kind;

void collect(const Expr& e, std::vector<std::string>& bound, std::set<Reference>& out) {
  // A chain of attributes and constant indexes down to a variable is one reference.
  if (e.kind == Kind::kVariable || e.kind == Kind::kGetAttr || e.kind == Kind::kIndex) {
    std::vector<std::string> steps;
    const Expr* at = &e;
    while (at->kind == Kind::kGetAttr || at->kind == Kind::kIndex) {
      if (at->kind == Kind::kGetAttr) {
        steps.push_back(at->name);
      } else {
        const Expr& key = *at->children[1];
        if (key.kind == Kind::kLiteral && key.literal.is_number()) {
          steps.push_back("[" + number_to_string(key.literal.as_number()) + "]");
        } else if (key.kind == Kind::kLiteral && key.literal.is_string()) {
          std::string text = "[";
          json::dump_string_to(key.literal.as_string(), text);
          steps.push_back(text + "]");
        } else {
          collect(key, bound, out);
          steps.clear();
        }
      }
      at = at->children[0].get();
    }
    if (at->kind == Kind::kVariable) {
      if (std::find(bound.begin(), bound.end(), at->name) != bound.end()) return;
      steps.push_back(at->name);
      std::reverse(steps.begin(), steps.end());
      out.insert({std::move(steps)});
      return;
    }
    collect(*at, bound, out);
    return;
  }
  if (e.kind == Kind::kFor || e.kind == Kind::kTemplateFor) {
    collect(*e.children[0], bound, out);
    const size_t before = bound.size();
    bound.push_back(e.name);
    if (!e.name2.empty()) bound.push_back(e.name2);
    collect(*e.children[1], bound, out);
    if (e.for_key) collect(*e.for_key, bound, out);
    if (e.for_condition) collect(*e.for_condition, bound, out);
    bound.resize(before);
    return;
  }
  for (const ExprPtr& child : e.children) collect(*child, bound, out);
}

}  // namespace

void collect_references(const Expr& expr, std::set<Reference>& out) {
  std::vector<std::string> bound;
  collect(expr, bound, out);
}

std::string Reference::to_string() const {
  std::string out;
  for (const std::string& step : steps) {
    if (!out.empty() && step[0] != '[') out += '.';
    out += step;
  }
  return out;
}

Result<Reference> parse_reference(std::string_view text) {
  // Older configurations write these as templates.
  std::string_view inner = trim(text);
  if (inner.starts_with("${") && inner.ends_with("}")) inner = inner.substr(2, inner.size() - 3);
  ENGENHO_ASSIGN(ExprPtr e, parse_expression(inner));
  std::set<Reference> found;
  collect_references(*e, found);
  if (found.size() != 1 || (e->kind != Kind::kGetAttr && e->kind != Kind::kIndex && e->kind != Kind::kVariable)) {
    return err(bad_request("\"" + std::string(text) + "\" is no reference; expected something like aws_vpc.main"));
  }
  return *found.begin();
}

Result<Path> parse_path(std::string_view text) {
  ENGENHO_ASSIGN(Reference reference, parse_reference(text));
  Path path;
  for (const std::string& step : reference.steps) {
    if (step[0] != '[') {
      path.push_back({step, false});
    } else if (step[1] == '"') {
      auto key = json::parse(std::string_view(step).substr(1, step.size() - 2));
      if (!key) return err(key.error());
      path.push_back({std::string(key->str()), true});
    } else {
      int64_t index = 0;
      if (!parse_int(std::string_view(step).substr(1, step.size() - 2), index)) return err(bad_request("bad index in \"" + std::string(text) + "\""));
      path.push_back({index});
    }
  }
  return path;
}

}  // namespace engenho::magma
