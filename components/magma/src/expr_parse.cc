// The parser of expressions and templates: recursive descent over the text itself, since templates and expressions nest.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "expr.h"

namespace engenho::magma {

namespace {

using Kind = Expr::Kind;

std::shared_ptr<Expr> node(Kind kind, std::vector<ExprPtr> children = {}, std::string name = "") {
  auto e = std::make_shared<Expr>();
  e->kind = kind;
  e->children = std::move(children);
  e->name = std::move(name);
  return e;
}
ExprPtr literal(Value value) {
  auto e = node(Kind::kLiteral);
  e->literal = std::move(value);
  return e;
}

void append_utf8(uint32_t c, std::string& out) {
  if (c < 0x80) out += static_cast<char>(c);
  else if (c < 0x800) out += static_cast<char>(0xc0 | (c >> 6)), out += static_cast<char>(0x80 | (c & 0x3f));
  else if (c < 0x10000) out += static_cast<char>(0xe0 | (c >> 12)), out += static_cast<char>(0x80 | ((c >> 6) & 0x3f)), out += static_cast<char>(0x80 | (c & 0x3f));
  else out += static_cast<char>(0xf0 | (c >> 18)), out += static_cast<char>(0x80 | ((c >> 12) & 0x3f)), out += static_cast<char>(0x80 | ((c >> 6) & 0x3f)), out += static_cast<char>(0x80 | (c & 0x3f));
}

bool ident_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80); }
bool ident_part(char c) { return ident_start(c) || (c >= '0' && c <= '9') || c == '-'; }
bool digit(char c) { return c >= '0' && c <= '9'; }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<ExprPtr> whole_expression() {
    ENGENHO_ASSIGN(ExprPtr e, expression());
    skip();
    if (at_ != text_.size()) return fail("unexpected text after the expression");
    return e;
  }

  // A template up to the end of the text, or, `quoted`, up to the closing quote.
  Result<ExprPtr> template_parts(bool quoted) {
    std::vector<Part> parts;
    std::string text;
    for (;;) {
      if (at_ >= text_.size()) {
        if (quoted) return fail("a string is not closed");
        break;
      }
      const char c = text_[at_];
      if (quoted && c == '"') break;
      if (quoted && c == '\\') {
        ENGENHO_TRY(escape(text));
        continue;
      }
      if ((c == '$' || c == '%') && peek(1) == c && peek(2) == '{') {
        text += c;
        text += '{';
        at_ += 3;
        continue;
      }
      if ((c == '$' || c == '%') && peek(1) == '{') {
        if (!text.empty()) parts.push_back({literal(Value::string(std::move(text))), "", {}, false, false});
        text.clear();
        at_ += 2;
        Part part;
        part.interpolation = c == '$';
        if (peek() == '~') part.strip_left = true, ++at_;
        if (c == '$') {
          Nested nested(*this);
          if (nested.too_deep()) return fail("nested too deeply");
          newlines_ = true;
          ENGENHO_ASSIGN(part.expr, expression());
        } else {
          ENGENHO_TRY(directive(part));
        }
        newlines_ = true;
        skip();
        if (peek() == '~') part.strip_right = true, ++at_;
        if (peek() != '}') return fail(c == '$' ? "expected a closing brace of the interpolation" : "expected a closing brace of the template directive");
        ++at_;
        parts.push_back(std::move(part));
        continue;
      }
      text += c;
      ++at_;
    }
    if (!text.empty()) parts.push_back({literal(Value::string(std::move(text))), "", {}, false, false});
    strip(parts);
    size_t index = 0;
    ENGENHO_ASSIGN(auto nodes, assemble(parts, index, {}));
    if (index != parts.size()) return fail("unexpected template directive \"" + parts[index].keyword + "\"");
    if (nodes.empty()) return literal(Value::string(""));
    if (parts.size() == 1 && parts[0].keyword.empty() && !parts[0].interpolation) return nodes[0];
    auto e = node(Kind::kTemplate, std::move(nodes));
    e->flag = parts.size() == 1 && parts[0].interpolation;
    return ExprPtr(e);
  }

  Result<ExprPtr> expression() {
    Nested nested(*this);
    if (nested.too_deep()) return fail("nested too deeply");
    ENGENHO_ASSIGN(ExprPtr condition, binary(0));
    skip();
    if (peek() != '?') return condition;
    ++at_;
    ENGENHO_ASSIGN(ExprPtr yes, expression());
    skip();
    if (peek() != ':') return fail("expected \":\" of the conditional");
    ++at_;
    ENGENHO_ASSIGN(ExprPtr no, expression());
    return ExprPtr(node(Kind::kConditional, {condition, yes, no}));
  }

 private:
  struct Part {
    ExprPtr expr;             // literal text, or an interpolation
    std::string keyword;      // of a directive: if, else, endif, for, endfor
    std::vector<std::string> names;
    bool strip_left = false, strip_right = false;
    bool interpolation = false;
  };
  struct Nested {
    explicit Nested(Parser& p) : parser(p), newlines(p.newlines_) { ++parser.depth_; }
    ~Nested() {
      --parser.depth_;
      parser.newlines_ = newlines;
    }
    bool too_deep() const { return parser.depth_ > kMaxExpressionDepth; }
    Parser& parser;
    bool newlines;
  };

  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  std::unexpected<Status> fail(const std::string& what) const {
    return err(bad_request("invalid expression at character " + std::to_string(at_ + 1) + ": " + what));
  }
  void skip() {
    for (;;) {
      const char c = peek();
      if (at_ >= text_.size()) return;
      if (c == ' ' || c == '\t' || c == '\r' || (c == '\n' && newlines_)) ++at_;
      else if (c == '#' || (c == '/' && peek(1) == '/')) {
        while (at_ < text_.size() && peek() != '\n') ++at_;
      } else if (c == '/' && peek(1) == '*') {
        const size_t end = text_.find("*/", at_ + 2);
        at_ = end == std::string_view::npos ? text_.size() : end + 2;
      } else {
        return;
      }
    }
  }
  std::string identifier() {
    const size_t from = at_;
    if (!ident_start(peek())) return "";
    while (ident_part(peek()) && at_ < text_.size()) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }
  bool word(std::string_view w) {
    skip();
    if (text_.substr(at_, w.size()) != w || ident_part(peek(w.size()))) return false;
    at_ += w.size();
    return true;
  }

  Status escape(std::string& out) {
    const char c = peek(1);
    at_ += 2;
    switch (c) {
      case 'n': out += '\n'; return {};
      case 'r': out += '\r'; return {};
      case 't': out += '\t'; return {};
      case '"': out += '"'; return {};
      case '\\': out += '\\'; return {};
      case 'u':
      case 'U': {
        const size_t count = c == 'u' ? 4 : 8;
        uint32_t code = 0;
        for (size_t i = 0; i < count; ++i) {
          const char h = peek();
          const int v = digit(h) ? h - '0' : h >= 'a' && h <= 'f' ? h - 'a' + 10 : h >= 'A' && h <= 'F' ? h - 'A' + 10 : -1;
          if (v < 0) return fail("bad \\u escape").error();
          code = code * 16 + static_cast<uint32_t>(v);
          ++at_;
        }
        append_utf8(code > 0x10ffff ? 0xfffd : code, out);
        return {};
      }
      default: return fail("this escape is not supported in a quoted string").error();
    }
  }

  Status directive(Part& part) {
    newlines_ = true;
    skip();
    part.keyword = identifier();
    if (part.keyword == "if") {
      ENGENHO_ASSIGN_OR_RETURN(part.expr, expression());
    } else if (part.keyword == "for") {
      skip();
      part.names.push_back(identifier());
      skip();
      if (peek() == ',') {
        ++at_;
        skip();
        part.names.push_back(identifier());
      }
      if (part.names.back().empty()) return fail("expected a variable name after \"for\"").error();
      if (!word("in")) return fail("expected \"in\"").error();
      ENGENHO_ASSIGN_OR_RETURN(part.expr, expression());
    } else if (part.keyword != "else" && part.keyword != "endif" && part.keyword != "endfor") {
      return fail("\"" + part.keyword + "\" is no template directive").error();
    }
    return {};
  }

  static void strip(std::vector<Part>& parts) {
    for (size_t i = 0; i < parts.size(); ++i) {
      auto text_of = [&](size_t j) -> const std::string* {
        return parts[j].keyword.empty() && !parts[j].interpolation ? &parts[j].expr->literal.as_string() : nullptr;
      };
      constexpr const char* kSpace = " \t\r\n";
      if (parts[i].strip_left && i > 0) {
        if (const std::string* t = text_of(i - 1)) {
          const size_t end = t->find_last_not_of(kSpace);
          parts[i - 1].expr = literal(Value::string(end == std::string::npos ? "" : t->substr(0, end + 1)));
        }
      }
      if (parts[i].strip_right && i + 1 < parts.size()) {
        if (const std::string* t = text_of(i + 1)) {
          const size_t begin = t->find_first_not_of(kSpace);
          parts[i + 1].expr = literal(Value::string(begin == std::string::npos ? "" : t->substr(begin)));
        }
      }
    }
  }

  // The parts up to one of the `ends` directives, which stays.
  Result<std::vector<ExprPtr>> assemble(const std::vector<Part>& parts, size_t& index, const std::vector<std::string>& ends) {
    std::vector<ExprPtr> out;
    while (index < parts.size()) {
      const Part& part = parts[index];
      if (std::find(ends.begin(), ends.end(), part.keyword) != ends.end() && !part.keyword.empty()) return out;
      ++index;
      if (part.keyword.empty()) {
        out.push_back(part.expr);
      } else if (part.keyword == "if") {
        ENGENHO_ASSIGN(auto yes, assemble(parts, index, {"else", "endif"}));
        std::vector<ExprPtr> no;
        if (index < parts.size() && parts[index].keyword == "else") {
          ++index;
          ENGENHO_ASSIGN(no, assemble(parts, index, {"endif"}));
        }
        if (index >= parts.size()) return fail("a template \"if\" has no \"endif\"");
        ++index;
        out.push_back(node(Kind::kTemplateIf, {part.expr, node(Kind::kTemplate, std::move(yes)), node(Kind::kTemplate, std::move(no))}));
      } else if (part.keyword == "for") {
        ENGENHO_ASSIGN(auto body, assemble(parts, index, {"endfor"}));
        if (index >= parts.size()) return fail("a template \"for\" has no \"endfor\"");
        ++index;
        auto e = node(Kind::kTemplateFor, {part.expr, node(Kind::kTemplate, std::move(body))}, part.names.back());
        if (part.names.size() == 2) e->name2 = part.names[0];
        out.push_back(e);
      } else {
        return fail("unexpected template directive \"" + part.keyword + "\"");
      }
    }
    return out;
  }

  std::string binary_operator(int level) {
    static const std::vector<std::vector<std::string>> kLevels = {{"||"}, {"&&"}, {"==", "!="}, {"<=", ">=", "<", ">"}, {"+", "-"}, {"*", "/", "%"}};
    skip();
    for (const std::string& op : kLevels[static_cast<size_t>(level)]) {
      if (text_.substr(at_, op.size()) == op) {
        if (op == "%" && peek(1) == '{') return "";
        at_ += op.size();
        return op;
      }
    }
    return "";
  }

  Result<ExprPtr> binary(int level) {
    if (level == 6) return unary();
    ENGENHO_ASSIGN(ExprPtr left, binary(level + 1));
    for (;;) {
      const std::string op = binary_operator(level);
      if (op.empty()) return left;
      ENGENHO_ASSIGN(ExprPtr right, binary(level + 1));
      left = node(Kind::kBinary, {left, right}, op);
    }
  }

  Result<ExprPtr> unary() {
    skip();
    const char c = peek();
    if (c == '!' || c == '-') {
      Nested nested(*this);
      if (nested.too_deep()) return fail("nested too deeply");
      ++at_;
      ENGENHO_ASSIGN(ExprPtr operand, unary());
      return ExprPtr(node(Kind::kUnary, {operand}, std::string(1, c)));
    }
    ENGENHO_ASSIGN(ExprPtr base, primary());
    return traversal(base);
  }

  Result<ExprPtr> traversal(ExprPtr base) {
    for (;;) {
      // A newline ends an expression where newlines count, so only spaces are passed over before "[" and ".".
      const char c = peek();
      if (c == '.' && peek(1) == '.') {
        return base;   // "..." expands the last argument, or groups
      } else if (c == '.') {
        if (peek(1) == '*') {
          at_ += 2;
          ENGENHO_ASSIGN(base, splat(base, false));
        } else if (digit(peek(1))) {
          ++at_;
          const size_t from = at_;
          while (digit(peek())) ++at_;
          Number n = 0;
          parse_number(text_.substr(from, at_ - from), n);
          base = node(Kind::kIndex, {base, literal(Value::number(n))});
        } else {
          ++at_;
          const std::string name = identifier();
          if (name.empty()) return fail("expected an attribute name after the dot");
          base = node(Kind::kGetAttr, {base}, name);
        }
      } else if (c == '[') {
        if (text_.substr(at_, 3) == "[*]") {
          at_ += 3;
          ENGENHO_ASSIGN(base, splat(base, true));
          continue;
        }
        ENGENHO_ASSIGN(ExprPtr key, bracketed());
        base = node(Kind::kIndex, {base, key});
      } else {
        return base;
      }
    }
  }

  // "[" expression "]", also over several lines.
  Result<ExprPtr> bracketed() {
    Nested nested(*this);
    newlines_ = true;
    ++at_;
    ENGENHO_ASSIGN(ExprPtr key, expression());
    skip();
    if (peek() != ']') return fail("expected \"]\"");
    ++at_;
    return key;
  }

  // What follows belongs to each element: all steps after [*], only attributes after .*.
  Result<ExprPtr> splat(ExprPtr base, bool full) {
    ExprPtr each = node(Kind::kSplatItem);
    for (;;) {
      if (peek() == '.' && peek(1) != '*' && ident_start(peek(1))) {
        ++at_;
        each = node(Kind::kGetAttr, {each}, identifier());
      } else if (full && peek() == '[' && text_.substr(at_, 3) != "[*]") {
        ENGENHO_ASSIGN(ExprPtr key, bracketed());
        each = node(Kind::kIndex, {each, key});
      } else {
        break;
      }
    }
    return ExprPtr(node(Kind::kSplat, {base, each}));
  }

  Result<ExprPtr> primary() {
    skip();
    const char c = peek();
    if (at_ >= text_.size()) return fail("an expression is missing");
    if (digit(c)) {
      const size_t from = at_;
      while (digit(peek())) ++at_;
      if (peek() == '.' && digit(peek(1))) {
        ++at_;
        while (digit(peek())) ++at_;
      }
      if ((peek() == 'e' || peek() == 'E') && (digit(peek(1)) || ((peek(1) == '+' || peek(1) == '-') && digit(peek(2))))) {
        at_ += 2;
        while (digit(peek())) ++at_;
      }
      Number n;
      if (!parse_number(text_.substr(from, at_ - from), n)) return fail("bad number");
      return literal(Value::number(n));
    }
    if (c == '"') {
      Nested nested(*this);
      if (nested.too_deep()) return fail("nested too deeply");
      ++at_;
      ENGENHO_ASSIGN(ExprPtr e, template_parts(true));
      ++at_;
      return e;
    }
    if (c == '(') {
      Nested nested(*this);
      newlines_ = true;
      ++at_;
      ENGENHO_ASSIGN(ExprPtr e, expression());
      skip();
      if (peek() != ')') return fail("expected \")\"");
      ++at_;
      return e;
    }
    if (c == '[') return tuple_or_for();
    if (c == '{') return object_or_for();
    if (c == '<' && peek(1) == '<') return fail("heredocs are not supported inside JSON strings; write \\n");
    std::string name = identifier();
    if (name.empty()) return fail(std::string("unexpected character \"") + c + "\"");
    if (name == "true" || name == "false") return literal(Value::boolean(name == "true"));
    if (name == "null") return literal(Value());
    while (peek() == ':' && peek(1) == ':') {
      at_ += 2;
      name += "::" + identifier();
    }
    const size_t after = at_;
    while (peek() == ' ' || peek() == '\t') ++at_;
    if (peek() == '(') return call(name);
    at_ = after;
    return ExprPtr(node(Kind::kVariable, {}, name));
  }

  Result<ExprPtr> call(const std::string& name) {
    Nested nested(*this);
    newlines_ = true;
    ++at_;
    std::vector<ExprPtr> arguments;
    bool expand = false;
    skip();
    while (peek() != ')') {
      ENGENHO_ASSIGN(ExprPtr argument, expression());
      arguments.push_back(argument);
      skip();
      if (text_.substr(at_, 3) == "...") {
        at_ += 3;
        expand = true;
        skip();
        if (peek() == ',') ++at_, skip();
        break;
      }
      if (peek() == ',') {
        ++at_;
        skip();
      } else if (peek() != ')') {
        return fail("expected \",\" or \")\" in the arguments of " + name);
      }
    }
    if (peek() != ')') return fail("expected \")\" after the arguments of " + name);
    ++at_;
    auto e = node(Kind::kCall, std::move(arguments), name);
    e->flag = expand;
    return ExprPtr(e);
  }

  Result<ExprPtr> tuple_or_for() {
    Nested nested(*this);
    newlines_ = true;
    ++at_;
    if (word("for")) return for_expression(']');
    std::vector<ExprPtr> items;
    skip();
    while (peek() != ']') {
      ENGENHO_ASSIGN(ExprPtr item, expression());
      items.push_back(item);
      skip();
      if (peek() == ',') {
        ++at_;
        skip();
      } else if (peek() != ']') {
        return fail("expected \",\" or \"]\"");
      }
    }
    ++at_;
    return ExprPtr(node(Kind::kTuple, std::move(items)));
  }

  Result<ExprPtr> object_or_for() {
    Nested nested(*this);
    newlines_ = true;
    ++at_;
    if (word("for")) return for_expression('}');
    std::vector<ExprPtr> parts;
    skip();
    while (peek() != '}') {
      // A bare name is a literal key; "(x)" and templates are expressions.
      const size_t from = at_;
      std::string name = identifier();
      ExprPtr key;
      skip();
      if (!name.empty() && (peek() == '=' || peek() == ':') && peek(1) != '=') {
        key = literal(Value::string(name));
      } else {
        at_ = from;
        ENGENHO_ASSIGN(key, expression());
      }
      skip();
      if (peek() != '=' && peek() != ':') return fail("expected \"=\" or \":\" after the key");
      ++at_;
      newlines_ = true;
      skip();
      newlines_ = false;   // a newline ends the item
      ENGENHO_ASSIGN(ExprPtr value, expression());
      newlines_ = false;
      skip();
      parts.push_back(key);
      parts.push_back(value);
      const bool separated = peek() == ',' || peek() == '\n';
      if (separated) ++at_;
      newlines_ = true;
      skip();
      if (!separated && peek() != '}') return fail("expected \",\", a newline or \"}\"");
    }
    ++at_;
    return ExprPtr(node(Kind::kObject, std::move(parts)));
  }

  Result<ExprPtr> for_expression(char close) {
    auto e = node(Kind::kFor);
    skip();
    e->name = identifier();
    skip();
    if (peek() == ',') {
      ++at_;
      skip();
      e->name2 = e->name;   // key, value
      e->name = identifier();
    }
    if (e->name.empty()) return fail("expected a variable name after \"for\"");
    if (!word("in")) return fail("expected \"in\"");
    ENGENHO_ASSIGN(ExprPtr collection, expression());
    skip();
    if (peek() != ':') return fail("expected \":\" in the for expression");
    ++at_;
    ENGENHO_ASSIGN(ExprPtr value, expression());
    skip();
    if (close == '}') {
      if (text_.substr(at_, 2) != "=>") return fail("expected \"=>\" in the for expression");
      at_ += 2;
      e->for_key = value;
      ENGENHO_ASSIGN(value, expression());
      skip();
      if (text_.substr(at_, 3) == "...") at_ += 3, e->for_group = true;
    }
    if (word("if")) {
      ENGENHO_ASSIGN(e->for_condition, expression());
    }
    skip();
    if (peek() != close) return fail(std::string("expected \"") + close + "\" at the end of the for expression");
    ++at_;
    e->children = {collection, value};
    return ExprPtr(e);
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  bool newlines_ = true;
};

}  // namespace

Result<ExprPtr> parse_expression(std::string_view text) { return Parser(text).whole_expression(); }
Result<ExprPtr> parse_template(std::string_view text) {
  if (text.find("${") == std::string_view::npos && text.find("%{") == std::string_view::npos) return literal(Value::string(std::string(text)));
  return Parser(text).template_parts(false);
}

Result<ExprPtr> expr_from_json(const json::Value& json) {
  switch (json.type()) {
    case json::Type::kString: return parse_template(json.as_string());
    case json::Type::kArray: {
      std::vector<ExprPtr> items;
      for (const json::Value& part : json.as_array()) {
        ENGENHO_ASSIGN(ExprPtr item, expr_from_json(part));
        items.push_back(std::move(item));
      }
      return ExprPtr(node(Kind::kTuple, std::move(items)));
    }
    case json::Type::kObject: {
      std::vector<ExprPtr> parts;
      for (const auto& [name, part] : json.as_object()) {
        ENGENHO_ASSIGN(ExprPtr key, parse_template(name));
        ENGENHO_ASSIGN(ExprPtr value, expr_from_json(part));
        parts.push_back(std::move(key));
        parts.push_back(std::move(value));
      }
      return ExprPtr(node(Kind::kObject, std::move(parts)));
    }
    default: return literal(implied_from_json(json));
  }
}

}  // namespace engenho::magma
