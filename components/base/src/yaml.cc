#include "engenho/base/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <map>
#include <sstream>

namespace engenho::yaml {

namespace {

using json::Value;

struct LimitReached {};

// Plain scalars as sigs.k8s.io/yaml resolves them: YAML 1.1 words, integers in base 2, 8, 10 and 16, floats.
Value resolve(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  for (const char* word : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}) {
    if (text == word) return true;
  }
  for (const char* word : {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}) {
    if (text == word) return false;
  }
  const char c = text[0];
  if (!(c >= '0' && c <= '9') && c != '-' && c != '+' && c != '.') return text;
  std::string digits;
  for (char d : text) {
    if (d != '_') digits += d;
  }
  std::string_view body = digits;
  bool negative = false;
  if (body[0] == '-' || body[0] == '+') {
    negative = body[0] == '-';
    body.remove_prefix(1);
  }
  int base = 10;
  if (body.starts_with("0x") || body.starts_with("0X")) base = 16, body.remove_prefix(2);
  else if (body.starts_with("0b") || body.starts_with("0B")) base = 2, body.remove_prefix(2);
  else if (body.starts_with("0o")) base = 8, body.remove_prefix(2);
  else if (body.size() > 1 && body[0] == '0' && body.find_first_not_of("01234567") == std::string_view::npos) base = 8;
  if (!body.empty() && body[0] != '-' && body[0] != '+') {
    uint64_t magnitude = 0;
    auto result = std::from_chars(body.data(), body.data() + body.size(), magnitude, base);
    if (result.ec == std::errc() && result.ptr == body.data() + body.size()) {
      if (!negative && magnitude <= INT64_MAX) return static_cast<int64_t>(magnitude);
      if (negative && magnitude <= static_cast<uint64_t>(INT64_MAX) + 1) return static_cast<int64_t>(0 - magnitude);
      return (negative ? -1.0 : 1.0) * static_cast<double>(magnitude);
    }
  }
  // A float: digits with a point or an exponent, nothing else (from_chars would take "inf" and "nan" too).
  if (base == 10 && body.find_first_not_of("0123456789.eE+-") == std::string_view::npos &&
      body.find_first_of("0123456789") != std::string_view::npos) {
    double value = 0;
    auto result = std::from_chars(body.data(), body.data() + body.size(), value);
    if (result.ec == std::errc() && result.ptr == body.data() + body.size() && std::isfinite(value)) {
      return negative ? -value : value;
    }
  }
  return text;
}

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(size_t max_nodes) : left_(max_nodes) {}

  void OnDocumentStart(const YAML::Mark&) override {
    stack_.clear();
    anchors_.clear();
    root_ = Value();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(Value(), anchor, mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw YAML::ParserException(mark, "alias refers to an anchor that contains it");
    count(it->second);
    add(it->second, 0, mark);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return add(Value(text), anchor, mark);
    add(resolve(text), anchor, mark, &text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Value(json::Array()), anchor, mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Value(json::Object()), anchor, mark);
  }
  void OnMapEnd() override { close(); }

  json::Parsed take() { return {std::move(root_), std::move(duplicates_)}; }

 private:
  struct Frame {
    Value value;
    YAML::anchor_t anchor;
    std::string path, key;
    bool have_key = false, merge = false;
    YAML::Mark mark;
  };

  void spend() {
    if (left_-- == 0) throw LimitReached();
  }
  void count(const Value& value) {
    spend();
    for (const Value& item : value.items()) count(item);
    for (const auto& [key, member] : value.members()) count(member);
  }
  std::string child_path() const {
    if (stack_.empty()) return "";
    const Frame& top = stack_.back();
    if (top.value.is_array()) return top.path + "[" + std::to_string(top.value.as_array().size()) + "]";
    return top.path.empty() ? top.key : top.path + "." + top.key;
  }
  void open(Value value, YAML::anchor_t anchor, const YAML::Mark& mark) {
    spend();
    if (stack_.size() > 1000) throw YAML::ParserException(mark, "exceeded max depth");
    if (!stack_.empty() && stack_.back().value.is_object() && !stack_.back().have_key) {
      throw YAML::ParserException(mark, "a mapping key must be a scalar");
    }
    std::string path = child_path();
    stack_.push_back({std::move(value), anchor, std::move(path), "", false, false, mark});
  }
  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    add(std::move(frame.value), frame.anchor, frame.mark);
  }
  void add(Value value, YAML::anchor_t anchor, const YAML::Mark& mark, const std::string* text = nullptr) {
    if (anchor != 0) anchors_[anchor] = value;
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& top = stack_.back();
    if (top.value.is_array()) {
      spend();
      top.value.as_array().push_back(std::move(value));
    } else if (!top.have_key) {
      spend();
      if (value.is_string()) top.key = value.as_string();
      else if (text != nullptr && !value.is_null()) top.key = value.is_bool() || value.is_number() ? json::dump(value) : *text;
      else if (value.is_null()) top.key = "null";
      else throw YAML::ParserException(mark, "a mapping key must be a scalar");
      top.have_key = true;
      top.merge = text != nullptr && *text == "<<";
    } else {
      top.have_key = false;
      json::Object& members = top.value.as_object();
      if (top.merge) {
        auto merge = [&](const Value& from) {
          for (const auto& [k, v] : from.members()) {
            if (!members.contains(k)) members.set(k, v);
          }
        };
        if (value.is_array()) {
          for (const Value& item : value.as_array()) merge(item);
        } else {
          merge(value);
        }
        return;
      }
      if (members.contains(top.key)) duplicates_.push_back(child_path());
      members.set(top.key, std::move(value));
    }
  }

  size_t left_;
  Value root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Value> anchors_;
  std::vector<std::string> duplicates_;
};

Status run(std::string_view text, size_t max_nodes, bool all, std::vector<json::Parsed>& out) {
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    for (;;) {
      Builder builder(max_nodes);
      if (!parser.HandleNextDocument(builder)) break;
      out.push_back(builder.take());
      if (!all) break;
    }
  } catch (const LimitReached&) {
    return bad_request("yaml: document has more than " + std::to_string(max_nodes) + " nodes");
  } catch (const YAML::Exception& e) {
    return bad_request("yaml: line " + std::to_string(e.mark.line + 1) + ": " + e.msg);
  } catch (const std::exception& e) {
    return bad_request(std::string("yaml: ") + e.what());
  }
  return {};
}

bool needs_quotes(const std::string& text) {
  if (text.empty() || !resolve(text).is_string()) return true;
  if (text.find_first_of("-?:,[]{}#&*!|>'\"%@` \t=<") == 0) return true;
  if (text.back() == ' ' || text.back() == ':') return true;
  if (text.find(": ") != std::string::npos || text.find(" #") != std::string::npos) return true;
  if (text == "y" || text == "n" || text == "Y" || text == "N") return true;
  // What looks like a date would be a time to YAML 1.1.
  if (text.size() >= 10 && text[4] == '-' && text[7] == '-' && text[0] >= '0' && text[0] <= '9') return true;
  for (unsigned char c : text) {
    if (c < 0x20 || c == 0x7F) return true;
  }
  return false;
}

void scalar_to(const Value& value, int indent, std::string& out) {
  if (!value.is_string()) {
    json::dump_to(value, out);
    return;
  }
  const std::string& text = value.as_string();
  bool printable = true;
  for (unsigned char c : text) printable = printable && (c >= 0x20 || c == '\n');
  if (text.find('\n') != std::string::npos && printable && text[0] != ' ' && text[0] != '\n' &&
      text.find(" \n") == std::string::npos) {
    size_t trailing = 0;
    while (trailing < text.size() && text[text.size() - 1 - trailing] == '\n') ++trailing;
    out += trailing == 0 ? "|-" : trailing == 1 ? "|" : "|+";
    std::string_view rest = text;
    if (trailing > 0) rest.remove_suffix(1);
    while (true) {
      const size_t end = rest.find('\n');
      out += '\n';
      if (!rest.substr(0, end).empty()) {
        out.append(static_cast<size_t>(indent), ' ');
        out.append(rest.substr(0, end));
      }
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
    return;
  }
  if (needs_quotes(text)) json::dump_string_to(text, out);
  else out += text;
}

void block_to(const Value& value, int indent, std::string& out) {
  if (value.is_object() && !value.as_object().empty()) {
    for (const auto& [key, member] : value.as_object()) {
      out.append(static_cast<size_t>(indent), ' ');
      scalar_to(Value(key), indent + 2, out);
      out += ':';
      const bool nested = (member.is_object() && !member.as_object().empty()) ||
                          (member.is_array() && !member.as_array().empty());
      if (nested) {
        out += '\n';
        block_to(member, member.is_array() ? indent : indent + 2, out);
      } else {
        out += ' ';
        scalar_to(member, indent + 2, out);
        out += '\n';
      }
    }
  } else if (value.is_array() && !value.as_array().empty()) {
    for (const Value& item : value.as_array()) {
      std::string nested;
      block_to(item, indent + 2, nested);
      out.append(static_cast<size_t>(indent), ' ');
      out += "- ";
      const bool block = (item.is_object() && !item.as_object().empty()) || (item.is_array() && !item.as_array().empty());
      out.append(block ? std::string_view(nested).substr(static_cast<size_t>(indent) + 2) : std::string_view(nested));
    }
  } else {
    scalar_to(value, indent, out);
    out += '\n';
  }
}

}  // namespace

Result<json::Parsed> parse(std::string_view text, size_t max_nodes) {
  std::vector<json::Parsed> documents;
  ENGENHO_TRY(run(text, max_nodes, false, documents));
  if (documents.empty()) return json::Parsed{};
  return std::move(documents.front());
}

Result<std::vector<Value>> parse_all(std::string_view text, size_t max_nodes) {
  std::vector<json::Parsed> documents;
  ENGENHO_TRY(run(text, max_nodes, true, documents));
  std::vector<Value> out;
  for (json::Parsed& document : documents) {
    if (!document.value.is_null()) out.push_back(std::move(document.value));
  }
  return out;
}

std::string dump(const Value& value) {
  std::string out;
  block_to(value, 0, out);
  return out;
}

}  // namespace engenho::yaml
