#include "gem_version.h"

#include <cctype>
#include <vector>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

namespace {

bool is_version(std::string_view text) {
  if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) return false;
  for (char c : text) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') return false;
  }
  return true;
}

// Digits and letters apart: "1.0rc1" is 1, 0, rc, 1.
std::vector<std::string> segments(std::string_view version) {
  std::vector<std::string> out;
  bool digits = false;
  for (char c : version) {
    if (c == '.' || c == '-') {
      out.emplace_back();
      continue;
    }
    const bool digit = std::isdigit(static_cast<unsigned char>(c));
    if (out.empty() || (!out.back().empty() && digit != digits)) out.emplace_back();
    digits = digit;
    out.back() += c;
  }
  while (out.size() > 1 && (out.back().empty() || out.back() == "0")) out.pop_back();
  return out;
}

bool is_number(const std::string& s) { return s.empty() || std::isdigit(static_cast<unsigned char>(s[0])); }

int compare_numbers(std::string a, std::string b) {
  a.erase(0, std::min(a.find_first_not_of('0'), a.size()));
  b.erase(0, std::min(b.find_first_not_of('0'), b.size()));
  return a.size() != b.size() ? (a.size() < b.size() ? -1 : 1) : a.compare(b);
}

}  // namespace

int compare_versions(std::string_view a, std::string_view b) {
  const auto x = segments(a), y = segments(b);
  for (size_t i = 0; i < std::max(x.size(), y.size()); ++i) {
    const std::string p = i < x.size() ? x[i] : "0", q = i < y.size() ? y[i] : "0";
    if (is_number(p) != is_number(q)) return is_number(p) ? 1 : -1;   // letters mark what comes before a release
    if (const int c = is_number(p) ? compare_numbers(p, q) : p.compare(q); c != 0) return c;
  }
  return 0;
}

Result<bool> version_satisfies(std::string_view version, std::string_view constraint) {
  if (trim(constraint).empty()) return true;
  bool good = true;
  for (std::string_view part : split(constraint, ',')) {
    part = trim(part);
    std::string_view op = part.substr(0, part.find_first_not_of("=<>~!"));
    const std::string_view wanted = trim(part.substr(op.size()));
    if (!is_version(wanted)) return err(bad_request("\"" + std::string(part) + "\" is no constraint; expected one such as \">= 0.1\" or \"~> 1.4\""));
    const int c = compare_versions(version, wanted);
    if (op.empty() || op == "=") good = good && c == 0;
    else if (op == "!=") good = good && c != 0;
    else if (op == ">") good = good && c > 0;
    else if (op == ">=") good = good && c >= 0;
    else if (op == "<") good = good && c < 0;
    else if (op == "<=") good = good && c <= 0;
    else if (op == "~>") {
      // Below the next version of the second-last number.
      auto parts = split(wanted, '.');
      if (parts.size() > 1) parts.pop_back();
      int64_t last = 0;
      parse_int(parts.back(), last);
      std::string ceiling;
      for (size_t i = 0; i + 1 < parts.size(); ++i) ceiling += std::string(parts[i]) + ".";
      ceiling += std::to_string(last + 1);
      good = good && c >= 0 && compare_versions(version, ceiling) < 0;
    } else {
      return err(bad_request("\"" + std::string(op) + "\" is no operator; expected =, !=, >, >=, <, <= or ~>"));
    }
  }
  return good;
}

}  // namespace engenho::pangea
