#include "engenho/schema/names.h"

#include <arpa/inet.h>

#include <algorithm>

#include "engenho/base/bytes.h"

namespace engenho::schema {

namespace {

bool lower(char c) { return c >= 'a' && c <= 'z'; }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool alpha(char c) { return lower(c) || (c >= 'A' && c <= 'Z'); }
bool alnum(char c) { return alpha(c) || digit(c); }

std::string max_length(size_t n) { return "must be no more than " + std::to_string(n) + " characters"; }
std::string max_bytes(size_t n) { return "must be no more than " + std::to_string(n) + " bytes"; }  // of labels

// "... (e.g. 'my-name',  or '123-abc', regex used for validation is '...')"
std::string regex_error(std::string_view message, std::string_view format, std::initializer_list<std::string_view> examples) {
  std::string out(message);
  if (examples.size() == 0) return out + " (regex used for validation is '" + std::string(format) + "')";
  out += " (e.g. ";
  bool first = true;
  for (std::string_view e : examples) {
    if (!first) out += " or ";
    first = false;
    out += "'" + std::string(e) + "', ";
  }
  return out + "regex used for validation is '" + std::string(format) + "')";
}

bool dns1123_label_text(std::string_view v) {
  if (v.empty()) return false;
  auto edge = [](char c) { return lower(c) || digit(c); };
  if (!edge(v.front()) || !edge(v.back())) return false;
  return std::all_of(v.begin(), v.end(), [&](char c) { return edge(c) || c == '-'; });
}

bool qualified_part(std::string_view v) {
  if (v.empty() || !alnum(v.front()) || !alnum(v.back())) return false;
  return std::all_of(v.begin(), v.end(), [](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; });
}

constexpr std::string_view kLabelFmt = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
constexpr std::string_view kSubdomainFmt = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
constexpr std::string_view kQualifiedFmt = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
constexpr std::string_view kLabelValueFmt = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

}  // namespace

Messages is_dns1123_label(std::string_view v) {
  Messages out;
  if (v.size() > 63) out.push_back(max_length(63));
  if (!dns1123_label_text(v)) {
    const bool subdomain = is_dns1123_subdomain(v).empty();
    if (subdomain) {
      out.push_back("must not contain dots");
    } else {
      out.push_back(regex_error("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
                                "start and end with an alphanumeric character",
                                kLabelFmt, {"my-name", "123-abc"}));
    }
  }
  return out;
}

Messages is_dns1123_subdomain(std::string_view v) {
  Messages out;
  if (v.size() > 253) out.push_back(max_length(253));
  bool good = true;
  for (std::string_view part : split(v, '.')) good = good && dns1123_label_text(part);
  if (!good) {
    out.push_back(regex_error("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
                              "must start and end with an alphanumeric character",
                              kSubdomainFmt, {"example.com"}));
  }
  return out;
}

Messages is_dns1035_label(std::string_view v) {
  Messages out;
  if (v.size() > 63) out.push_back(max_length(63));
  if (!dns1123_label_text(v) || !lower(v.front())) {
    out.push_back(regex_error("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
                              "character, and end with an alphanumeric character",
                              "[a-z]([-a-z0-9]*[a-z0-9])?", {"my-name", "abc-123"}));
  }
  return out;
}

Messages is_qualified_name(std::string_view v) {
  Messages out;
  const std::string full = regex_error(
      "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character", kQualifiedFmt,
      {"MyName", "my.name", "123-abc"});
  const auto parts = split(v, '/');
  std::string_view name;
  if (parts.size() == 1) {
    name = parts[0];
  } else if (parts.size() == 2) {
    if (parts[0].empty()) {
      out.push_back("prefix part must be non-empty");
    } else {
      for (const std::string& m : is_dns1123_subdomain(parts[0])) out.push_back("prefix part " + m);
    }
    name = parts[1];
  } else {
    out.push_back("a qualified name " + full + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
    return out;
  }
  if (name.empty()) out.push_back("name part must be non-empty");
  else if (name.size() > 63) out.push_back("name part " + max_bytes(63));
  if (!qualified_part(name)) out.push_back("name part " + full);
  return out;
}

Messages is_label_value(std::string_view v) {
  Messages out;
  if (v.size() > 63) out.push_back(max_bytes(63));
  if (!v.empty() && !qualified_part(v)) {
    out.push_back(regex_error("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
                              "start and end with an alphanumeric character",
                              kLabelValueFmt, {"MyValue", "my_value", "12345"}));
  }
  return out;
}

Messages is_path_segment_name(std::string_view v) {
  Messages out;
  if (v == "." || v == "..") out.push_back("may not be '" + std::string(v) + "'");
  for (char c : {'/', '%'}) {
    if (v.find(c) != std::string_view::npos) out.push_back(std::string("may not contain '") + c + "'");
  }
  return out;
}

Messages is_env_var_name(std::string_view v) {
  Messages out;
  const bool good = !v.empty() && std::all_of(v.begin(), v.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7F && c != '='; });
  if (!good) {
    out.push_back(regex_error("a valid environment variable name must consist only of printable ASCII characters other than '='",
                              "[ -<>-~]+", {}));
  }
  return out;
}

Messages is_config_map_key(std::string_view v) {
  Messages out;
  if (v.size() > 253) out.push_back(max_length(253));
  const bool good = !v.empty() && std::all_of(v.begin(), v.end(), [](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; });
  if (!good) {
    out.push_back(regex_error("a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "[-._a-zA-Z0-9]+",
                              {"key.name", "KEY_NAME", "key-name"}));
  }
  if (v == ".") out.push_back("must not be '.'");
  if (v == "..") out.push_back("must not be '..'");
  else if (v.starts_with("..")) out.push_back("must not start with '..'");
  return out;
}

Messages is_valid_port_name(std::string_view v) {
  Messages out;
  if (v.size() > 15) out.push_back(max_length(15));
  if (v.empty() || !std::all_of(v.begin(), v.end(), [](char c) { return lower(c) || digit(c) || c == '-'; })) {
    out.push_back("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  }
  if (std::none_of(v.begin(), v.end(), lower)) out.push_back("must contain at least one letter (a-z)");
  if (v.find("--") != std::string_view::npos) out.push_back("must not contain consecutive hyphens");
  if (!v.empty() && (v.front() == '-' || v.back() == '-')) out.push_back("must not begin or end with a hyphen");
  return out;
}

Messages is_valid_port_number(int64_t v) {
  if (v >= 1 && v <= 65535) return {};
  return {"must be between 1 and 65535, inclusive"};
}

bool parse_ip(std::string_view text, std::string* canonical, bool* is_v6) {
  const std::string value(text);
  unsigned char bytes[16];
  char buffer[INET6_ADDRSTRLEN];
  if (text.find(':') == std::string_view::npos) {
    // inet_pton refuses leading zeros, as Kubernetes does.
    if (inet_pton(AF_INET, value.c_str(), bytes) != 1) return false;
    if (canonical) *canonical = inet_ntop(AF_INET, bytes, buffer, sizeof buffer);
    if (is_v6) *is_v6 = false;
    return true;
  }
  if (inet_pton(AF_INET6, value.c_str(), bytes) != 1) return false;
  if (canonical) *canonical = inet_ntop(AF_INET6, bytes, buffer, sizeof buffer);
  if (is_v6) *is_v6 = true;
  return true;
}

Messages is_valid_ip(std::string_view v) {
  if (parse_ip(v)) return {};
  return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
}

void validate_labels(const json::Value* labels, std::string_view path, FieldErrors& errors) {
  if (labels == nullptr) return;
  for (const auto& [k, v] : labels->members()) {
    for (std::string& m : is_qualified_name(k)) errors.invalid(std::string(path), k, std::move(m));
    for (std::string& m : is_label_value(v.str())) errors.invalid(std::string(path), v.str(), std::move(m));
  }
}

void validate_annotations(const json::Value* annotations, std::string_view path, FieldErrors& errors) {
  if (annotations == nullptr) return;
  size_t total = 0;
  for (const auto& [k, v] : annotations->members()) {
    for (std::string& m : is_qualified_name(to_lower(k))) errors.invalid(std::string(path), k, std::move(m));
    total += k.size() + v.str().size();
  }
  if (total > 256 * 1024) errors.too_long(std::string(path), 256 * 1024);
}

void validate_label_selector(const json::Value* selector, std::string_view path, FieldErrors& errors) {
  if (selector == nullptr) return;
  validate_labels(selector->get("matchLabels"), child(path, "matchLabels"), errors);
  const json::Value* expressions = selector->get("matchExpressions");
  if (expressions == nullptr) return;
  size_t i = 0;
  for (const json::Value& e : expressions->items()) {
    const std::string at = index(child(path, "matchExpressions"), i++);
    const std::string_view op = e.str_at({"operator"});
    const json::Value* values = e.get("values");
    const bool any = values != nullptr && !values->items().empty();
    if (op == "In" || op == "NotIn") {
      if (!any) errors.required(child(at, "values"), "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (any) errors.forbidden(child(at, "values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else {
      errors.invalid(child(at, "operator"), op, "not a valid selector operator");
    }
    for (std::string& m : is_qualified_name(e.str_at({"key"}))) errors.invalid(child(at, "key"), e.str_at({"key"}), std::move(m));
    if (values != nullptr) {
      size_t j = 0;
      for (const json::Value& v : values->items()) {
        for (std::string& m : is_label_value(v.str())) errors.invalid(index(child(at, "values"), j), v.str(), std::move(m));
        ++j;
      }
    }
  }
}

}  // namespace engenho::schema
