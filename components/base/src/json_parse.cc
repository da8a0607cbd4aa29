// The parser is written by hand because its errors are part of the API: clients and tests match on the texts of Go's
// encoding/json, duplicate keys are reported with their path, and integers keep their type. nlohmann/json's SAX interface gives
// none of the three.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "engenho/base/json.h"

namespace engenho::json {

namespace {

class Parser {
 public:
  Parser(std::string_view text, const ParseOptions& options) : text_(text), options_(options) {}

  Result<Parsed> run() {
    Parsed out;
    skip_space();
    if (!value(out.value, 0)) return err(bad_request(std::move(error_)));
    skip_space();
    if (at_ < text_.size()) {
      fail_character("after top-level value");
      return err(bad_request(std::move(error_)));
    }
    out.duplicate_keys = std::move(duplicates_);
    return out;
  }

 private:
  bool fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }
  bool fail_end() { return fail("unexpected end of JSON input"); }
  bool fail_character(const char* where) {
    if (at_ >= text_.size()) return fail_end();
    return fail("invalid character " + quoted(at_) + " " + where);
  }
  std::string quoted(size_t at) const {
    const unsigned char c = text_[at];
    if (c == '\'') return "'\\''";
    if (c == '"') return "'\"'";
    switch (c) {
      case '\n': return "'\\n'";
      case '\r': return "'\\r'";
      case '\t': return "'\\t'";
      case '\b': return "'\\b'";
      case '\f': return "'\\f'";
      case '\v': return "'\\v'";
      case '\a': return "'\\a'";
      case '\\': return "'\\\\'";
      default: break;
    }
    char buffer[16];
    if (c < 0x20 || c == 0x7F) {
      std::snprintf(buffer, sizeof buffer, "'\\x%02x'", c);
      return buffer;
    }
    if (c < 0x80) return std::string("'") + static_cast<char>(c) + "'";
    // Go prints the byte as the rune of that number.
    if (c < 0xA0) {
      std::snprintf(buffer, sizeof buffer, "'\\u%04x'", c);
      return buffer;
    }
    std::string out = "'";
    append_utf8(c, out);
    return out + "'";
  }

  static void append_utf8(uint32_t rune, std::string& out) {
    if (rune < 0x80) {
      out += static_cast<char>(rune);
    } else if (rune < 0x800) {
      out += static_cast<char>(0xC0 | rune >> 6);
      out += static_cast<char>(0x80 | (rune & 0x3F));
    } else if (rune < 0x10000) {
      out += static_cast<char>(0xE0 | rune >> 12);
      out += static_cast<char>(0x80 | (rune >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (rune & 0x3F));
    } else {
      out += static_cast<char>(0xF0 | rune >> 18);
      out += static_cast<char>(0x80 | (rune >> 12 & 0x3F));
      out += static_cast<char>(0x80 | (rune >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (rune & 0x3F));
    }
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
      ++at_;
    }
  }

  bool value(Value& out, int depth) {
    if (at_ >= text_.size()) return fail_end();
    if (depth > options_.max_depth) return fail("exceeded max depth");
    switch (text_[at_]) {
      case '{': return object(out, depth);
      case '[': return array(out, depth);
      case '"': {
        std::string text;
        if (!string(text)) return false;
        out = Value(std::move(text));
        return true;
      }
      case 't': return literal("true", Value(true), out);
      case 'f': return literal("false", Value(false), out);
      case 'n': return literal("null", Value(), out);
      default: return number(out);
    }
  }

  bool literal(std::string_view word, Value value, Value& out) {
    for (size_t i = 0; i < word.size(); ++i, ++at_) {
      if (at_ >= text_.size()) return fail_end();
      if (text_[at_] != word[i]) {
        const std::string where =
            "in literal " + std::string(word) + " (expecting '" + word[i] + "')";
        return fail_character(where.c_str());
      }
    }
    out = std::move(value);
    return true;
  }

  bool number(Value& out) {
    const size_t start = at_;
    auto digit = [&] { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; };
    bool integer = true;
    if (at_ < text_.size() && text_[at_] == '-') {
      ++at_;
      if (!digit()) return fail_character("in numeric literal");
    }
    if (!digit()) return fail_character("looking for beginning of value");
    if (text_[at_] == '0') {
      ++at_;
    } else {
      while (digit()) ++at_;
    }
    if (at_ < text_.size() && text_[at_] == '.') {
      integer = false;
      ++at_;
      if (!digit()) return fail_character("after decimal point in numeric literal");
      while (digit()) ++at_;
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      integer = false;
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      if (!digit()) return fail_character("in exponent of numeric literal");
      while (digit()) ++at_;
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    if (integer) {
      int64_t i = 0;
      if (std::from_chars(first, last, i).ec == std::errc()) {
        out = Value(i);
        return true;
      }
    }
    double d = 0;
    auto result = std::from_chars(first, last, d);
    if (result.ec == std::errc::result_out_of_range && std::isinf(d)) {
      return fail("json: cannot unmarshal number " + std::string(first, last) +
                  " into Go value of type float64");
    }
    out = Value(d);
    return true;
  }

  bool hex4(uint32_t& out) {
    out = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_ >= text_.size()) return fail_end();
      const char c = text_[at_];
      uint32_t digit;
      if (c >= '0' && c <= '9') digit = c - '0';
      else if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
      else if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
      else return fail_character("in \\u hexadecimal character escape");
      out = out << 4 | digit;
    }
    return true;
  }

  bool string(std::string& out) {
    ++at_;  // the opening quote
    for (;;) {
      const size_t start = at_;
      while (at_ < text_.size()) {
        const unsigned char c = text_[at_];
        if (c == '"' || c == '\\' || c < 0x20) break;
        ++at_;
      }
      out.append(text_.data() + start, at_ - start);
      if (at_ >= text_.size()) return fail_end();
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c != '\\') return fail_character("in string literal");
      if (++at_ >= text_.size()) return fail_end();
      switch (text_[at_]) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case '/': out += '/'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'n': out += '\n'; break;
        case 'r': out += '\r'; break;
        case 't': out += '\t'; break;
        case 'u': {
          ++at_;
          uint32_t rune;
          if (!hex4(rune)) return false;
          if (rune >= 0xD800 && rune < 0xDC00 && text_.substr(at_, 2) == "\\u") {
            const size_t back = at_;
            at_ += 2;
            uint32_t low;
            if (!hex4(low)) return false;
            if (low >= 0xDC00 && low < 0xE000) {
              rune = 0x10000 + ((rune - 0xD800) << 10) + (low - 0xDC00);
            } else {
              at_ = back;  // the second escape is read again on its own
              rune = 0xFFFD;
            }
          } else if (rune >= 0xD800 && rune < 0xE000) {
            rune = 0xFFFD;
          }
          append_utf8(rune, out);
          continue;
        }
        default: return fail_character("in string escape code");
      }
      ++at_;
    }
  }

  bool array(Value& out, int depth) {
    ++at_;
    Array& items = out.make_array();
    skip_space();
    if (at_ < text_.size() && text_[at_] == ']') {
      ++at_;
      return true;
    }
    for (;;) {
      skip_space();
      const size_t length = path_.size();
      path_ += '[' + std::to_string(items.size()) + ']';
      if (!value(items.emplace_back(), depth + 1)) return false;
      path_.resize(length);
      skip_space();
      if (at_ >= text_.size()) return fail_end();
      if (text_[at_] == ',') {
        ++at_;
      } else if (text_[at_] == ']') {
        ++at_;
        return true;
      } else {
        return fail_character("after array element");
      }
    }
  }

  bool object(Value& out, int depth) {
    ++at_;
    Object& members = out.make_object();
    skip_space();
    if (at_ < text_.size() && text_[at_] == '}') {
      ++at_;
      return true;
    }
    std::string key;
    for (;;) {
      skip_space();
      if (at_ >= text_.size()) return fail_end();
      if (text_[at_] != '"') return fail_character("looking for beginning of object key string");
      key.clear();
      if (!string(key)) return false;
      skip_space();
      if (at_ >= text_.size()) return fail_end();
      if (text_[at_] != ':') return fail_character("after object key");
      ++at_;
      skip_space();
      const size_t length = path_.size();
      if (!path_.empty()) path_ += '.';
      path_ += key;
      if (Value* existing = members.find(key)) {
        duplicates_.push_back(path_);
        Value again;
        if (!value(again, depth + 1)) return false;
        if (existing->is_object() && again.is_object()) {
          for (auto& [k, v] : again.as_object()) existing->as_object().set(k, std::move(v));
        } else {
          *existing = std::move(again);
        }
      } else {
        // The slot is filled after the value is complete: nested parsing must not hold a reference into a vector that grows.
        Value member;
        if (!value(member, depth + 1)) return false;
        members.set(key, std::move(member));
      }
      path_.resize(length);
      skip_space();
      if (at_ >= text_.size()) return fail_end();
      if (text_[at_] == ',') {
        ++at_;
      } else if (text_[at_] == '}') {
        ++at_;
        return true;
      } else {
        return fail_character("after object key:value pair");
      }
    }
  }

  std::string_view text_;
  ParseOptions options_;
  size_t at_ = 0;
  std::string path_, error_;
  std::vector<std::string> duplicates_;
};

}  // namespace

Result<Parsed> parse_with_duplicates(std::string_view text, const ParseOptions& options) {
  return Parser(text, options).run();
}

Result<Value> parse(std::string_view text, const ParseOptions& options) {
  auto parsed = parse_with_duplicates(text, options);
  if (!parsed) return err(parsed.error());
  return std::move(parsed->value);
}

}  // namespace engenho::json
