// Numeric and string functions, and the conversions.
#include <re2/re2.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cwctype>

#include "engenho/base/bytes.h"
#include "functions.h"

namespace engenho::magma {

namespace {

using H = Function::Handling;
using K = Type::Kind;
#define TEXT(var, index) ENGENHO_MAGMA_ARG(const std::string var, text_argument(a, index))
#define NUM(var, index) ENGENHO_MAGMA_ARG(const Number var, number_argument(a, index))
#define INT(var, index) ENGENHO_MAGMA_ARG(const int64_t var, integer_argument(a, index))

std::unexpected<Status> fail(std::string message) { return err(bad_request(std::move(message))); }

// Simple case mapping of the alphabets that have one at fixed distances; others stay as they are.
std::string map_case(std::string_view text, bool upper) {
  std::string out;
  for (const std::string& c : characters(text)) {
    if (c.size() == 1) {
      out += static_cast<char>(upper ? std::toupper(static_cast<unsigned char>(c[0])) : std::tolower(static_cast<unsigned char>(c[0])));
      continue;
    }
    uint32_t code = 0;
    if (c.size() == 2) code = ((static_cast<unsigned char>(c[0]) & 0x1fu) << 6) | (static_cast<unsigned char>(c[1]) & 0x3fu);
    uint32_t to = code;
    if (upper) {
      if ((code >= 0xe0 && code <= 0xfe && code != 0xf7) || (code >= 0x3b1 && code <= 0x3c9 && code != 0x3c2) || (code >= 0x430 && code <= 0x44f)) to = code - 32;
      else if (code >= 0x450 && code <= 0x45f) to = code - 80;
      else if (code >= 0x100 && code <= 0x137 && (code & 1)) to = code - 1;
    } else {
      if ((code >= 0xc0 && code <= 0xde && code != 0xd7) || (code >= 0x391 && code <= 0x3a9) || (code >= 0x410 && code <= 0x42f)) to = code + 32;
      else if (code >= 0x400 && code <= 0x40f) to = code + 80;
      else if (code >= 0x100 && code <= 0x137 && !(code & 1)) to = code + 1;
    }
    if (to == code || code == 0) out += c;
    else out += static_cast<char>(0xc0 | (to >> 6)), out += static_cast<char>(0x80 | (to & 0x3f));
  }
  return out;
}

std::string trim_set(const std::string& text, const std::string& cutset) {
  const auto cut = characters(cutset);
  auto chars = characters(text);
  auto in = [&](const std::string& c) { return std::find(cut.begin(), cut.end(), c) != cut.end(); };
  auto first = std::find_if_not(chars.begin(), chars.end(), in);
  while (chars.end() != first && in(chars.back())) chars.pop_back();
  std::string out;
  for (auto it = first; it < chars.end(); ++it) out += *it;
  return out;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  if (from.empty()) {   // before each character and at the end, as Go's strings.ReplaceAll
    std::string out = to;
    for (const std::string& c : characters(text)) out += c + to;
    text = out;
    return;
  }
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
}

Result<std::unique_ptr<RE2>> compile(const std::string& pattern) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(4 << 20);
  auto re = std::make_unique<RE2>(pattern, options);
  if (!re->ok()) return fail("invalid regular expression pattern: " + re->error());
  return re;
}

Value regex_result(const RE2& re, const std::vector<re2::StringPiece>& match) {
  const int groups = re.NumberOfCapturingGroups();
  auto group = [&](int i) { return match[static_cast<size_t>(i)].data() == nullptr ? Value::null(Type::string()) : Value::string(std::string(match[static_cast<size_t>(i)])); };
  if (groups == 0) return group(0);
  const auto& names = re.CapturingGroupNames();
  if (!names.empty()) {
    Value::Members members;
    for (const auto& [index, name] : names) members.emplace(name, group(index));
    return Value::object(std::move(members));
  }
  Value::Items items;
  for (int i = 1; i <= groups; ++i) items.push_back(group(i));
  return Value::tuple(std::move(items));
}

// One verb of a format string applied to one argument.
Result<std::string> format_verb(const std::string& flags, int width, int precision, char verb, const Value& v) {
  const bool left = flags.find('-') != std::string::npos, zero = flags.find('0') != std::string::npos, plus = flags.find('+') != std::string::npos,
             space = flags.find(' ') != std::string::npos, sharp = flags.find('#') != std::string::npos;
  std::string out;
  bool number = false;
  auto as_text = [&]() -> Result<std::string> {
    if (v.is_null()) return std::string("null");
    auto t = convert(v, Type::string());
    return t ? Result<std::string>(t->as_string()) : Result<std::string>(json::dump(to_plain_json(v)));
  };
  if (v.is_null() && verb != 'v') return fail("unsupported value for \"%" + std::string(1, verb) + "\": null value cannot be formatted");
  switch (verb) {
    case 'v': {
      if (sharp) {
        out = json::dump(to_plain_json(v));
        break;
      }
      ENGENHO_MAGMA_ARG(out, as_text());
      number = v.is_number();
      break;
    }
    case 's':
    case 'q': {
      auto t = convert(v, Type::string());
      if (!t) return fail("unsupported value for \"%" + std::string(1, verb) + "\": string required");
      out = t->as_string();
      if (precision >= 0) {
        auto chars = characters(out);
        out.clear();
        for (size_t i = 0; i < chars.size() && i < static_cast<size_t>(precision); ++i) out += chars[i];
      }
      if (verb == 'q') {
        std::string quoted;
        json::dump_string_to(out, quoted);
        out = quoted;
      }
      break;
    }
    case 't': {
      auto b = convert(v, Type::boolean());
      if (!b) return fail("unsupported value for \"%t\": a bool is required");
      out = b->as_bool() ? "true" : "false";
      break;
    }
    case 'd': case 'b': case 'o': case 'x': case 'X': {
      auto n = convert(v, Type::number());
      if (!n) return fail("unsupported value for \"%" + std::string(1, verb) + "\": a number is required");
      number = true;
      const Number value = std::trunc(n->as_number());
      const bool negative = value < 0;
      if (std::fabs(value) > 1.8e19L) {
        out = number_to_string(value);
        break;
      }
      auto u = static_cast<uint64_t>(std::fabs(value));
      const unsigned base = verb == 'd' ? 10 : verb == 'b' ? 2 : verb == 'o' ? 8 : 16;
      do {
        out.insert(out.begin(), (verb == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base]);
        u /= base;
      } while (u != 0);
      if (sharp && verb == 'x') out = "0x" + out;
      if (negative) out = "-" + out;
      break;
    }
    case 'e': case 'E': case 'f': case 'g': case 'G': {
      auto n = convert(v, Type::number());
      if (!n) return fail("unsupported value for \"%" + std::string(1, verb) + "\": a number is required");
      number = true;
      if (verb == 'g' && precision < 0) {
        out = number_to_string(n->as_number());
        break;
      }
      char buffer[512];
      const char pattern[] = {'%', '.', '*', 'L', verb, 0};
      std::snprintf(buffer, sizeof buffer, pattern, std::min(precision < 0 ? 6 : precision, 100), n->as_number());
      out = buffer;
      break;
    }
    default: return fail(std::string("unrecognized format character \"") + verb + "\"");
  }
  if (number && !out.starts_with("-")) {
    if (plus) out = "+" + out;
    else if (space) out = " " + out;
  }
  const size_t length = characters(out).size();
  if (width > 0 && length < static_cast<size_t>(width)) {
    const std::string pad(static_cast<size_t>(width) - length, zero && number && !left ? '0' : ' ');
    if (left) out += pad;
    else if (zero && number && (out[0] == '-' || out[0] == '+')) out = out[0] + pad + out.substr(1);
    else out = pad + out;
  }
  return out;
}

Result<std::string> format(const Arguments& a, const std::string& pattern, size_t first) {
  std::string out;
  size_t next = first, highest = first;
  bool explicit_index = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out += pattern[i];
      continue;
    }
    if (++i >= pattern.size()) return fail("a format string ends in a single \"%\"");
    if (pattern[i] == '%') {
      out += '%';
      continue;
    }
    std::string flags;
    while (i < pattern.size() && std::string_view("+-# 0").find(pattern[i]) != std::string_view::npos) flags += pattern[i++];
    auto number = [&](int otherwise) {
      if (i >= pattern.size() || !std::isdigit(static_cast<unsigned char>(pattern[i]))) return otherwise;
      int n = 0;
      while (i < pattern.size() && std::isdigit(static_cast<unsigned char>(pattern[i]))) n = std::min(n * 10 + (pattern[i++] - '0'), 10000);
      return n;
    };
    const int width = number(0);
    int precision = -1;
    if (i < pattern.size() && pattern[i] == '.') {
      ++i;
      precision = number(0);
    }
    if (i < pattern.size() && pattern[i] == '[') {
      ++i;
      next = first + static_cast<size_t>(std::max(number(1), 1)) - 1;
      explicit_index = true;
      if (i >= pattern.size() || pattern[i] != ']') return fail("a format string has an index that is not closed");
      ++i;
    }
    if (i >= pattern.size()) return fail("a format string ends within a verb");
    if (next >= a.size()) return fail("not enough arguments for the format string \"" + pattern + "\"");
    ENGENHO_MAGMA_ARG(const std::string text, format_verb(flags, width, precision, pattern[i], a[next]));
    out += text;
    highest = std::max(highest, ++next);
  }
  if (highest < a.size() && !explicit_index) return fail("too many arguments; only " + std::to_string(highest - first) + " used by the format string");
  return out;
}

Result<Value> formatlist(Arguments& a, const Scope&) {
  TEXT(pattern, 0);
  size_t count = 1;
  bool lists = false;
  for (size_t i = 1; i < a.size(); ++i) {
    if (!a[i].type().is_sequence()) continue;
    if (lists && a[i].items().size() != count) return fail("the lists must be of one length");
    count = a[i].items().size();
    lists = true;
  }
  std::vector<std::string> out;
  for (size_t row = 0; row < count; ++row) {
    Arguments one = {a[0]};
    for (size_t i = 1; i < a.size(); ++i) one.push_back(a[i].type().is_sequence() ? a[i].items()[row] : a[i]);
    ENGENHO_MAGMA_ARG(std::string text, format(one, pattern, 1));
    out.push_back(std::move(text));
  }
  return list_of_texts(std::move(out));
}

Result<Value> extreme(Arguments& a, bool largest) {
  Number best = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    NUM(n, i);
    if (i == 0 || (largest ? n > best : n < best)) best = n;
  }
  return Value::number(best);
}

Result<Value> regex(Arguments& a, bool all) {
  TEXT(pattern, 0);
  TEXT(text, 1);
  ENGENHO_MAGMA_ARG(auto re, compile(pattern));
  std::vector<re2::StringPiece> match(static_cast<size_t>(re->NumberOfCapturingGroups()) + 1);
  Value::Items found;
  size_t at = 0;
  while (at <= text.size() && re->Match(text, at, text.size(), RE2::UNANCHORED, match.data(), static_cast<int>(match.size()))) {
    found.push_back(regex_result(*re, match));
    if (!all) return found[0];
    const size_t end = static_cast<size_t>(match[0].data() - text.data()) + match[0].size();
    at = match[0].empty() ? end + 1 : end;
  }
  if (!all) return fail("pattern did not match any part of the given string");
  const Type element = found.empty() ? Type::string() : found[0].type();
  for (Value& v : found) {
    if (auto converted = convert(v, element)) v = *converted;
  }
  return Value::list(element, std::move(found));
}

Result<Value> replace(Arguments& a, const Scope&) {
  TEXT(text, 0);
  TEXT(from, 1);
  TEXT(to, 2);
  std::string out = text;
  if (from.size() > 1 && from.front() == '/' && from.back() == '/') {
    ENGENHO_MAGMA_ARG(auto re, compile(from.substr(1, from.size() - 2)));
    // Go's $1 and ${name} are RE2's \1.
    std::string rewrite;
    for (size_t i = 0; i < to.size(); ++i) {
      if (to[i] == '\\') rewrite += "\\\\";
      else if (to[i] != '$') rewrite += to[i];
      else if (i + 1 < to.size() && to[i + 1] == '$') rewrite += '$', ++i;
      else {
        std::string name;
        size_t end = i + 1;
        if (end < to.size() && to[end] == '{') {
          const size_t close = to.find('}', end);
          if (close == std::string::npos) return fail("unclosed ${ in the replacement");
          name = to.substr(end + 1, close - end - 1);
          end = close + 1;
        } else {
          while (end < to.size() && (std::isalnum(static_cast<unsigned char>(to[end])) || to[end] == '_')) name += to[end++];
        }
        int64_t group = -1;
        if (!parse_int(name, group)) {
          auto named = re->NamedCapturingGroups().find(name);
          group = named == re->NamedCapturingGroups().end() ? -1 : named->second;
        }
        if (group >= 0 && group <= std::min(9, re->NumberOfCapturingGroups())) rewrite += "\\" + std::to_string(group);
        i = end - 1;
      }
    }
    RE2::GlobalReplace(&out, *re, rewrite);
  } else {
    replace_all(out, from, to);
  }
  return Value::string(std::move(out));
}

Result<Value> substr(Arguments& a, const Scope&) {
  TEXT(text, 0);
  INT(offset, 1);
  INT(length, 2);
  const auto chars = characters(text);
  const auto size = static_cast<int64_t>(chars.size());
  int64_t from = offset < 0 ? std::max<int64_t>(size + offset, 0) : std::min(offset, size);
  int64_t to = length < 0 ? size : std::min(from + length, size);
  std::string out;
  for (; from < to; ++from) out += chars[static_cast<size_t>(from)];
  return Value::string(std::move(out));
}

Result<Value> parseint(Arguments& a, const Scope&) {
  TEXT(text, 0);
  INT(base, 1);
  if (base < 2 || base > 62) return fail("base must be a whole number between 2 and 62 inclusive");
  Number out = 0;
  size_t i = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  if (i == text.size()) return fail("cannot parse \"" + text + "\" as a base " + std::to_string(base) + " integer");
  for (size_t k = i; k < text.size(); ++k) {
    const char c = text[k];
    int64_t v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : c >= 'A' && c <= 'Z' ? (base <= 36 ? c - 'A' + 10 : c - 'A' + 36) : 99;
    if (v >= base) return fail("cannot parse \"" + text + "\" as a base " + std::to_string(base) + " integer");
    out = out * static_cast<Number>(base) + static_cast<Number>(v);
  }
  return Value::number(text[0] == '-' ? -out : out);
}

Result<Value> indent(Arguments& a, const Scope&) {
  INT(count, 0);
  TEXT(text, 1);
  if (count < 0 || count > 1000) return fail("argument 1 must be between 0 and 1000");
  std::string out = text;
  replace_all(out, "\n", "\n" + std::string(static_cast<size_t>(count), ' '));
  return Value::string(std::move(out));
}

Result<Value> title(Arguments& a, const Scope&) {
  TEXT(text, 0);
  std::string out;
  bool start = true;
  for (const std::string& c : characters(text)) {
    out += start ? map_case(c, true) : c;
    start = c.size() == 1 && !std::isalnum(static_cast<unsigned char>(c[0])) && c[0] != '_';
  }
  return Value::string(std::move(out));
}

template <K kind>
Result<Value> to_primitive(Arguments& a, const Scope&) {
  const Type type = kind == K::kBool ? Type::boolean() : kind == K::kNumber ? Type::number() : Type::string();
  auto v = convert(a[0], type);
  if (!v) return err(a[0].contains_sensitive() ? bad_request("cannot convert this sensitive value to " + type.friendly_name()) : v.error());
  return v;
}

#define F(body) [](Arguments& a, const Scope&) -> Result<Value> { body }

}  // namespace

const std::vector<Function>& numeric_and_string_functions() {
  static const std::vector<Function> all = {
      {"abs", 1, 1, H::kPlain, K::kNumber, F(NUM(n, 0); return Value::number(std::fabs(n));)},
      {"ceil", 1, 1, H::kPlain, K::kNumber, F(NUM(n, 0); return Value::number(std::ceil(n));)},
      {"floor", 1, 1, H::kPlain, K::kNumber, F(NUM(n, 0); return Value::number(std::floor(n));)},
      {"log", 2, 2, H::kPlain, K::kNumber, F(NUM(n, 0); NUM(base, 1); if (n <= 0 || base <= 0 || base == 1) return fail("the logarithm is not defined there");
             return Value::number(static_cast<Number>(std::log(static_cast<double>(n)) / std::log(static_cast<double>(base))));)},
      {"max", 1, -1, H::kPlain, K::kNumber, F(return extreme(a, true);)},
      {"min", 1, -1, H::kPlain, K::kNumber, F(return extreme(a, false);)},
      {"parseint", 2, 2, H::kPlain, K::kNumber, parseint},
      {"pow", 2, 2, H::kPlain, K::kNumber, F(NUM(x, 0); NUM(y, 1); const Number n = std::pow(x, y); if (!std::isfinite(n)) return fail("the result is not finite"); return Value::number(n);)},
      {"signum", 1, 1, H::kPlain, K::kNumber, F(NUM(n, 0); return Value::number(n < 0 ? -1 : n > 0 ? 1 : 0);)},
      {"chomp", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); const size_t end = t.find_last_not_of("\r\n"); return Value::string(end == std::string::npos ? "" : t.substr(0, end + 1));)},
      {"endswith", 2, 2, H::kPlain, K::kBool, F(TEXT(t, 0); TEXT(s, 1); return Value::boolean(t.ends_with(s));)},
      {"startswith", 2, 2, H::kPlain, K::kBool, F(TEXT(t, 0); TEXT(s, 1); return Value::boolean(t.starts_with(s));)},
      {"strcontains", 2, 2, H::kPlain, K::kBool, F(TEXT(t, 0); TEXT(s, 1); return Value::boolean(t.find(s) != std::string::npos);)},
      {"format", 1, -1, H::kNullable, K::kString, F(TEXT(p, 0); ENGENHO_MAGMA_ARG(std::string t, format(a, p, 1)); return Value::string(std::move(t));)},
      {"formatlist", 1, -1, H::kPlain, K::kList, formatlist},
      {"indent", 2, 2, H::kPlain, K::kString, indent},
      {"join", 1, -1, H::kPlain, K::kString, F(TEXT(sep, 0); std::vector<std::string> parts; for (size_t i = 1; i < a.size(); ++i) {
             ENGENHO_MAGMA_ARG(auto more, texts_argument(a, i)); parts.insert(parts.end(), more.begin(), more.end()); } return Value::string(join(parts, sep));)},
      {"lower", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); return Value::string(map_case(t, false));)},
      {"upper", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); return Value::string(map_case(t, true));)},
      {"title", 1, 1, H::kPlain, K::kString, title},
      {"regex", 2, 2, H::kPlain, K::kDynamic, F(return regex(a, false);)},
      {"regexall", 2, 2, H::kPlain, K::kDynamic, F(return regex(a, true);)},
      {"replace", 3, 3, H::kPlain, K::kString, replace},
      {"split", 2, 2, H::kPlain, K::kList, F(TEXT(sep, 0); TEXT(t, 1); if (sep.empty()) return list_of_texts(characters(t)); std::vector<std::string> parts; size_t from = 0;
             for (size_t at; (at = t.find(sep, from)) != std::string::npos; from = at + sep.size()) parts.push_back(t.substr(from, at - from));
             parts.push_back(t.substr(from)); return list_of_texts(std::move(parts));)},
      {"strrev", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); auto c = characters(t); std::reverse(c.begin(), c.end()); return Value::string(join(c, ""));)},
      {"substr", 3, 3, H::kPlain, K::kString, substr},
      {"trim", 2, 2, H::kPlain, K::kString, F(TEXT(t, 0); TEXT(c, 1); return Value::string(trim_set(t, c));)},
      {"trimprefix", 2, 2, H::kPlain, K::kString, F(TEXT(t, 0); TEXT(p, 1); return Value::string(t.starts_with(p) ? t.substr(p.size()) : t);)},
      {"trimsuffix", 2, 2, H::kPlain, K::kString, F(TEXT(t, 0); TEXT(p, 1); return Value::string(t.ends_with(p) ? t.substr(0, t.size() - p.size()) : t);)},
      {"trimspace", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); return Value::string(trim_set(t, " \t\n\v\f\r\u0085\u00a0\u2028\u2029"));)},
      {"tobool", 1, 1, H::kStructural, K::kBool, to_primitive<K::kBool>},
      {"tonumber", 1, 1, H::kStructural, K::kNumber, to_primitive<K::kNumber>},
      {"tostring", 1, 1, H::kStructural, K::kString, to_primitive<K::kString>},
  };
  return all;
}

}  // namespace engenho::magma
