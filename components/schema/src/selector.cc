#include "engenho/schema/selector.h"

#include <algorithm>
#include <cstdlib>

#include "engenho/base/bytes.h"
#include "engenho/schema/names.h"

namespace engenho::schema {

namespace {

// The grammar of apimachinery's labels package: a lexer of words and the symbols below, and its error texts.
struct Token {
  enum Kind { kEnd, kWord, kSymbol } kind = kEnd;
  std::string text;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  Token next() {
    while (at_ < text_.size() && space(text_[at_])) ++at_;
    if (at_ >= text_.size()) return {};
    const char c = text_[at_];
    if (symbol(c)) {
      for (std::string_view two : {"==", "!="}) {
        if (text_.substr(at_, 2) == two) {
          at_ += 2;
          return {Token::kSymbol, std::string(two)};
        }
      }
      ++at_;
      return {Token::kSymbol, std::string(1, c)};
    }
    const size_t start = at_;
    while (at_ < text_.size() && !space(text_[at_]) && !symbol(text_[at_])) ++at_;
    return {Token::kWord, std::string(text_.substr(start, at_ - start))};
  }

 private:
  static bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  static bool symbol(char c) { return std::string_view("=!(),><").find(c) != std::string_view::npos; }
  std::string_view text_;
  size_t at_ = 0;
};

class Parser {
 public:
  explicit Parser(std::string_view text) {
    Lexer lexer(text);
    for (;;) {
      tokens_.push_back(lexer.next());
      if (tokens_.back().kind == Token::kEnd) break;
    }
  }

  Status run(std::vector<LabelSelector::Requirement>& out) {
    if (peek().kind == Token::kEnd) return {};
    for (;;) {
      ENGENHO_RETURN_IF_ERROR(requirement(out));
      Token t = take();
      if (t.kind == Token::kEnd) return {};
      if (t.text != ",") return fail("found '" + t.text + "', expected: ',' or 'end of string'");
      const Token& following = peek();
      if (following.kind != Token::kWord && following.text != "!") {
        return fail("found '" + following.text + "', expected: identifier after ','");
      }
    }
  }

 private:
  static Status fail(std::string why) { return bad_request("unable to parse requirement: " + std::move(why)); }
  const Token& peek() const { return tokens_[at_]; }
  Token take() {
    Token t = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return t;
  }

  Status add(std::vector<LabelSelector::Requirement>& out, LabelSelector::Requirement r) {
    if (auto m = is_qualified_name(r.key); !m.empty()) {
      return fail("key: Invalid value: \"" + r.key + "\": " + join(m, "; "));
    }
    if (r.op == LabelSelector::Op::kGreater || r.op == LabelSelector::Op::kLess) {
      int64_t number;
      if (r.values.size() != 1 || !parse_int(r.values[0], number)) {
        return fail("values[0]: Invalid value: \"" + (r.values.empty() ? "" : r.values[0]) +
                    "\": for 'Gt', 'Lt' operators, the value must be an integer");
      }
    }
    for (size_t i = 0; i < r.values.size(); ++i) {
      if (auto m = is_label_value(r.values[i]); !m.empty()) {
        return fail("values[" + std::to_string(i) + "][" + r.key + "]: Invalid value: \"" + r.values[i] + "\": " + join(m, "; "));
      }
    }
    out.push_back(std::move(r));
    return {};
  }

  Status requirement(std::vector<LabelSelector::Requirement>& out) {
    using Op = LabelSelector::Op;
    Token t = take();
    bool negated = false;
    if (t.text == "!" && t.kind == Token::kSymbol) {
      negated = true;
      t = take();
    }
    if (t.kind != Token::kWord) return fail("found '" + t.text + "', expected: identifier");
    std::string name = t.text;
    if (peek().kind == Token::kEnd || peek().text == ",") {
      return add(out, {std::move(name), negated ? Op::kNotExists : Op::kExists, {}});
    }
    if (negated) return add(out, {std::move(name), Op::kNotExists, {}});
    Token op = take();
    if (op.kind == Token::kWord && (op.text == "in" || op.text == "notin")) {
      std::vector<std::string> values;
      Token open = take();
      if (open.text != "(") return fail("found '" + open.text + "' expected: '('");
      for (bool expect_value = true;;) {
        Token v = take();
        if (v.kind == Token::kWord) {
          values.push_back(v.text);
          expect_value = false;
        } else if (v.text == ",") {
          if (expect_value) values.push_back("");
          expect_value = true;
        } else if (v.text == ")") {
          if (expect_value) values.push_back("");
          break;
        } else {
          return fail("found '" + v.text + "', expected: ',', or ')' or identifier");
        }
      }
      std::sort(values.begin(), values.end());
      values.erase(std::unique(values.begin(), values.end()), values.end());
      return add(out, {std::move(name), op.text == "in" ? Op::kIn : Op::kNotIn, std::move(values)});
    }
    if (op.text == "=" || op.text == "==" || op.text == "!=" || op.text == ">" || op.text == "<") {
      std::string value;
      if (peek().kind == Token::kWord) value = take().text;
      else if (peek().kind != Token::kEnd && peek().text != ",") return fail("found '" + peek().text + "', expected: identifier");
      const Op kind = op.text == "!=" ? Op::kNotIn : op.text == ">" ? Op::kGreater : op.text == "<" ? Op::kLess : Op::kIn;
      return add(out, {std::move(name), kind, {std::move(value)}});
    }
    return fail("found '" + op.text + "', expected: in, notin, =, ==, !=, gt, lt");
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace

LabelSelector LabelSelector::nothing() {
  LabelSelector s;
  s.nothing_ = true;
  return s;
}

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector s;
  ENGENHO_TRY(Parser(text).run(s.requirements_));
  std::stable_sort(s.requirements_.begin(), s.requirements_.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  return s;
}

Result<LabelSelector> LabelSelector::from_document(const json::Value* selector) {
  if (selector == nullptr || selector->is_null()) return nothing();
  LabelSelector s = from_map(selector->get("matchLabels"));
  if (const json::Value* expressions = selector->get("matchExpressions")) {
    for (const json::Value& e : expressions->items()) {
      const std::string_view op = e.str_at({"operator"});
      Requirement r;
      r.key = e.str_at({"key"});
      if (op == "In") r.op = Op::kIn;
      else if (op == "NotIn") r.op = Op::kNotIn;
      else if (op == "Exists") r.op = Op::kExists;
      else if (op == "DoesNotExist") r.op = Op::kNotExists;
      else return err(bad_request("\"" + std::string(op) + "\" is not a valid label selector operator"));
      if (const json::Value* values = e.get("values")) {
        for (const json::Value& v : values->items()) r.values.emplace_back(v.str());
      }
      s.requirements_.push_back(std::move(r));
    }
  }
  return s;
}

LabelSelector LabelSelector::from_map(const json::Value* labels) {
  LabelSelector s;
  if (labels == nullptr) return s;
  for (const auto& [k, v] : labels->members()) s.requirements_.push_back({k, Op::kIn, {std::string(v.str())}});
  return s;
}

bool LabelSelector::matches(const std::function<const std::string*(std::string_view)>& label) const {
  if (nothing_) return false;
  for (const Requirement& r : requirements_) {
    const std::string* value = label(r.key);
    auto among = [&] { return std::find(r.values.begin(), r.values.end(), *value) != r.values.end(); };
    bool ok = false;
    switch (r.op) {
      case Op::kIn: ok = value != nullptr && among(); break;
      case Op::kNotIn: ok = value == nullptr || !among(); break;
      case Op::kExists: ok = value != nullptr; break;
      case Op::kNotExists: ok = value == nullptr; break;
      case Op::kGreater:
      case Op::kLess: {
        int64_t have, want;
        ok = value != nullptr && parse_int(*value, have) && parse_int(r.values[0], want) &&
             (r.op == Op::kGreater ? have > want : have < want);
        break;
      }
    }
    if (!ok) return false;
  }
  return true;
}

bool LabelSelector::matches(const json::Value* labels) const {
  return matches([&](std::string_view name) -> const std::string* {
    const json::Value* v = labels == nullptr ? nullptr : labels->get(name);
    return v != nullptr && v->is_string() ? &v->as_string() : nullptr;
  });
}

std::string LabelSelector::to_string() const {
  std::string out;
  for (const Requirement& r : requirements_) {
    if (!out.empty()) out += ',';
    switch (r.op) {
      case Op::kExists: out += r.key; break;
      case Op::kNotExists: out += "!" + r.key; break;
      case Op::kGreater: out += r.key + ">" + r.values[0]; break;
      case Op::kLess: out += r.key + "<" + r.values[0]; break;
      case Op::kIn:
      case Op::kNotIn:
        if (r.values.size() == 1) out += r.key + (r.op == Op::kIn ? "=" : "!=") + r.values[0];
        else out += r.key + (r.op == Op::kIn ? " in (" : " notin (") + join(r.values, ",") + ")";
        break;
    }
  }
  return out;
}

Result<std::vector<FieldRequirement>> parse_field_selector(std::string_view text) {
  std::vector<FieldRequirement> out;
  // Terms are separated by commas; backslash escapes ',', '=' and itself in a value.
  std::vector<std::string> terms(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      terms.back() += text[i];
      terms.back() += text[++i];
    } else if (text[i] == ',') {
      terms.emplace_back();
    } else {
      terms.back() += text[i];
    }
  }
  for (const std::string& term : terms) {
    if (term.empty()) continue;
    size_t at = std::string::npos, length = 0;
    bool equal = true;
    for (size_t i = 0; i < term.size(); ++i) {
      if (term[i] == '\\') {
        ++i;
        continue;
      }
      if (term.compare(i, 2, "!=") == 0) at = i, length = 2, equal = false;
      else if (term.compare(i, 2, "==") == 0) at = i, length = 2;
      else if (term[i] == '=') at = i, length = 1;
      if (at != std::string::npos) break;
    }
    if (at == std::string::npos) {
      return err(bad_request("invalid selector: '" + std::string(text) + "'; can't understand '" + term + "'"));
    }
    std::string value;
    const std::string raw = term.substr(at + length);
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '\\') {
        if (i + 1 >= raw.size() || std::string_view("\\,=").find(raw[i + 1]) == std::string_view::npos) {
          return err(bad_request("invalid field selector: invalid escape sequence: \\" + raw.substr(i + 1, 1)));
        }
        value += raw[++i];
      } else if (raw[i] == '=' || raw[i] == ',') {
        return err(bad_request("invalid field selector: unescaped character in value: " + std::to_string(static_cast<unsigned char>(raw[i]))));
      } else {
        value += raw[i];
      }
    }
    out.push_back({term.substr(0, at), std::move(value), equal});
  }
  return out;
}

}  // namespace engenho::schema
