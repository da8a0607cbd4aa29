// The checks of a custom resource's schema, with the texts of the OpenAPI validator that upstream uses (kube-openapi).
#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <set>

#include "engenho/schema/custom_schema.h"
#include "formats.h"

namespace engenho::schema {

namespace {

using json::Value;

std::string_view type_of(const Value& v) {
  switch (v.type()) {
    case json::Type::kNull: return "null";
    case json::Type::kBool: return "boolean";
    case json::Type::kInt: return "integer";
    case json::Type::kDouble: return v.as_double() == std::floor(v.as_double()) ? "integer" : "number";
    case json::Type::kString: return "string";
    case json::Type::kArray: return "array";
    case json::Type::kObject: return "object";
  }
  return "";
}

std::string number_text(double d) {
  std::string out;
  json::dump_double_to(d, out);
  return out;
}

// Patterns of definitions, compiled once each. Bounded: a definition's patterns come from administrators, yet may change often.
const RE2* compiled(std::string_view pattern) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<RE2>, std::less<>> cache;
  thread_local std::shared_ptr<RE2> held;
  std::lock_guard lock(mutex);
  auto it = cache.find(pattern);
  if (it == cache.end()) {
    if (cache.size() > 10'000) cache.clear();
    RE2::Options options;
    options.set_log_errors(false);
    it = cache.emplace(std::string(pattern), std::make_shared<RE2>(re2::StringPiece(pattern.data(), pattern.size()), options)).first;
  }
  held = it->second;
  return held.get();
}

size_t utf8_length(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool matches(std::string_view pattern, std::string_view text) {
  const RE2* re = compiled(pattern);
  return !re->ok() || RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *re);
}

class Validator {
 public:
  explicit Validator(FieldErrors& errors) : errors_(errors) {}

  void value(const Schema& schema, const Value& v, const std::string& field, const std::string& body, int depth = 0) {
    if (depth > 1000) return;
    if (v.is_null() && (schema.nullable || schema.kind == Kind::kAny)) return;
    type(schema, v, field, body);
    if (const Constraints* c = schema.constraints) limits(*c, schema, v, field, body, depth);
    if (v.is_object()) members(schema, v, field, body, depth);
    if (v.is_array() && schema.kind == Kind::kArray) {
      for (size_t i = 0; i < v.as_array().size(); ++i) value(*schema.element, v.as_array()[i], index(field, i), index(body, i), depth + 1);
      list_type(schema, v, field);
    }
  }

 private:
  void add(const std::string& field, Value shown, std::string detail, FieldErrorType type = FieldErrorType::kInvalid) {
    errors_.add(type, field.empty() ? "<nil>" : field, std::move(shown), std::move(detail));
  }

  void type(const Schema& schema, const Value& v, const std::string& field, const std::string& body) {
    const std::string_view have = type_of(v);
    std::string_view want;
    bool fits = true;
    switch (schema.kind) {
      case Kind::kObject:
      case Kind::kMap: want = "object", fits = v.is_object(); break;
      case Kind::kArray: want = "array", fits = v.is_array(); break;
      case Kind::kString: want = "string", fits = v.is_string(); break;
      case Kind::kBool: want = "boolean", fits = v.is_bool(); break;
      case Kind::kInt64: want = "integer", fits = have == "integer"; break;
      case Kind::kDouble: want = "number", fits = v.is_number(); break;
      case Kind::kIntOrString: want = "integer,string", fits = v.is_string() || have == "integer"; break;
      default: return;
    }
    if (fits) return;
    add(field, have, body + " in body must be of type " + std::string(want) + ": \"" + std::string(have) + "\"", FieldErrorType::kTypeInvalid);
    if (schema.kind == Kind::kInt64 && v.is_double()) {
      add("", "", "Checked value must be of type integer (default format) in " + body);
    }
  }

  void limits(const Constraints& c, const Schema& schema, const Value& v, const std::string& field, const std::string& body, int depth) {
    branches(c, v, field, body, depth);
    const std::string in_body = body + " in body ";
    if (v.is_string()) {
      const auto length = static_cast<int64_t>(utf8_length(v.as_string()));
      // The first of these that fails is told.
      if (c.max_length && length > *c.max_length) errors_.too_long(field, static_cast<size_t>(*c.max_length));
      else if (c.min_length && length < *c.min_length) add(field, v, in_body + "should be at least " + std::to_string(*c.min_length) + " chars long");
      else if (!c.pattern.empty() && !matches(c.pattern, v.as_string())) {
        add(field, v, in_body + "should match '" + std::string(c.pattern) + "'");
      }
      if (!c.format.empty() && schema.kind == Kind::kString && !has_format(c.format, v.as_string())) {
        add(field, v, in_body + "must be of type " + std::string(c.format) + ": " + json::dump(v), FieldErrorType::kTypeInvalid);
      }
    }
    if (v.is_number()) number(c, schema, v, field, in_body, body);
    if (v.is_array()) {
      const auto n = static_cast<int64_t>(v.as_array().size());
      if (c.max_items && n > *c.max_items) errors_.too_many(field, static_cast<size_t>(n), static_cast<size_t>(*c.max_items));
      if (c.min_items && n < *c.min_items) add(field, n, in_body + "should have at least " + std::to_string(*c.min_items) + " items");
    }
    if (!c.enum_values.empty() && std::find(c.enum_values.begin(), c.enum_values.end(), v) == c.enum_values.end()) {
      std::string supported;
      for (const Value& e : c.enum_values) {
        supported += (supported.empty() ? "" : ", ") + json::dump(e.is_string() ? e : Value(json::dump(e)));
      }
      add(field, v, "supported values: " + supported, FieldErrorType::kNotSupported);
    }
    if (v.is_object()) {
      const auto n = static_cast<int64_t>(v.as_object().size());
      if (c.max_properties && n > *c.max_properties) errors_.too_many(field, static_cast<size_t>(n), static_cast<size_t>(*c.max_properties));
      if (c.min_properties && n < *c.min_properties) add(field, n, in_body + "should have at least " + std::to_string(*c.min_properties) + " properties");
      for (std::string_view name : c.required) {
        if (v.get(name) == nullptr) errors_.required(child(field, name));
      }
    }
  }

  void number(const Constraints& c, const Schema& schema, const Value& v, const std::string& field, const std::string& in_body, const std::string& body) {
    const double d = v.as_double();
    if (schema.kind == Kind::kInt64 && !c.format.empty()) {
      const bool fits = c.format == "int32"   ? d >= std::numeric_limits<int32_t>::min() && d <= std::numeric_limits<int32_t>::max()
                        : c.format == "int64" ? v.is_int() || std::abs(d) < 9.3e18
                                              : true;
      if (!fits) {
        add("", "", "Checked value must be of type integer with format " + std::string(c.format) + " in " + body);
        return;
      }
    }
    if (c.multiple_of && *c.multiple_of != 0) {
      const double quotient = d / *c.multiple_of;
      if (std::abs(quotient - std::round(quotient)) > 1e-9) add(field, v, in_body + "should be a multiple of " + number_text(*c.multiple_of));
    }
    if (c.maximum && (c.exclusive_maximum ? d >= *c.maximum : d > *c.maximum)) {
      add(field, v, in_body + (c.exclusive_maximum ? "should be less than " : "should be less than or equal to ") + number_text(*c.maximum));
    }
    if (c.minimum && (c.exclusive_minimum ? d <= *c.minimum : d < *c.minimum)) {
      add(field, v, in_body + (c.exclusive_minimum ? "should be greater than " : "should be greater than or equal to ") + number_text(*c.minimum));
    }
  }

  // allOf, anyOf, oneOf, not: a branch that fails is told with its own errors.
  void branches(const Constraints& c, const Value& v, const std::string& field, const std::string& body, int depth) {
    auto run = [&](const Schema& s) {
      FieldErrors errors;
      Validator(errors).value(s, v, field, body, depth + 1);
      return errors;
    };
    const std::string what = "\"" + body + "\" must ";
    for (const Schema* s : c.all_of) errors_.append(run(*s));
    auto fewest = [](std::vector<FieldErrors>& all) -> FieldErrors& {
      return *std::min_element(all.begin(), all.end(), [](const FieldErrors& a, const FieldErrors& b) { return a.size() < b.size(); });
    };
    auto failures = [&](std::span<const Schema* const> list, size_t& valid) {
      std::vector<FieldErrors> out;
      for (const Schema* s : list) {
        FieldErrors e = run(*s);
        if (e.empty()) ++valid;
        else out.push_back(std::move(e));
      }
      return out;
    };
    if (!c.any_of.empty()) {
      size_t valid = 0;
      auto failed = failures(c.any_of, valid);
      if (valid == 0) {
        add("", "", what + "validate at least one schema (anyOf)");
        errors_.append(std::move(fewest(failed)));
      }
    }
    if (!c.one_of.empty()) {
      size_t valid = 0;
      auto failed = failures(c.one_of, valid);
      if (valid != 1) {
        add("", "", what + "validate one and only one schema (oneOf). " +
                        (valid == 0 ? std::string("Found none valid") : "Found " + std::to_string(valid) + " valid alternatives"));
        if (valid == 0) errors_.append(std::move(fewest(failed)));
      }
    }
    if (c.not_schema != nullptr && run(*c.not_schema).empty()) add("", "", what + "not validate the schema (not)");
  }

  void members(const Schema& schema, const Value& v, const std::string& field, const std::string& body, int depth) {
    if (schema.embedded_resource) {
      for (const char* name : {"apiVersion", "kind"}) {
        if (v.str_at({name}).empty()) errors_.required(child(field, name));
      }
    }
    for (const auto& [name, item] : v.as_object()) {
      const Field* f = schema.kind == Kind::kObject ? schema.field(name) : nullptr;
      const Schema* inner = f != nullptr ? f->schema : schema.kind == Kind::kMap ? schema.element : nullptr;
      // The server's own part of the object has its own rules.
      if (inner == nullptr || (f != nullptr && !inner->name.empty())) continue;
      value(*inner, item, child(field, name), child(body, name), depth + 1);
    }
  }

  void list_type(const Schema& schema, const Value& v, const std::string& field) {
    if (schema.list_type != ListType::kSet && schema.list_type != ListType::kMap) return;
    std::set<std::string> seen;
    for (size_t i = 0; i < v.as_array().size(); ++i) {
      const Value& item = v.as_array()[i];
      Value identity = item;
      if (schema.list_type == ListType::kMap) {
        identity = json::Object();
        for (std::string_view name : schema.list_keys) {
          if (const Value* k = item.get(name)) identity[name] = *k;
        }
      }
      if (!seen.insert(json::dump(identity)).second) errors_.duplicate(index(field, i), identity);
    }
  }

  FieldErrors& errors_;
};

}  // namespace

void validate_custom(const Schema& schema, const Value& value, const std::string& field, const std::string& body, FieldErrors& errors) {
  Validator(errors).value(schema, value, field, body);
}

Status check_pattern(std::string_view pattern) {
  const RE2* re = compiled(pattern);
  if (re->ok()) return {};
  const std::string arg = re->error_arg().empty() ? "" : ": `" + re->error_arg() + "`";
  // Go's words for what RE2, its ancestor, says in its own.
  switch (re->error_code()) {
    case RE2::ErrorBadEscape: return bad_request("error parsing regexp: invalid escape sequence" + arg);
    case RE2::ErrorBadCharClass: return bad_request("error parsing regexp: invalid character class" + arg);
    case RE2::ErrorBadCharRange: return bad_request("error parsing regexp: invalid character class range" + arg);
    case RE2::ErrorMissingBracket: return bad_request("error parsing regexp: missing closing ]" + arg);
    case RE2::ErrorMissingParen: return bad_request("error parsing regexp: missing closing ): `" + std::string(pattern) + "`");
    case RE2::ErrorUnexpectedParen: return bad_request("error parsing regexp: unexpected ): `" + std::string(pattern) + "`");
    case RE2::ErrorTrailingBackslash: return bad_request("error parsing regexp: trailing backslash at end of expression: ``");
    case RE2::ErrorRepeatArgument: return bad_request("error parsing regexp: missing argument to repetition operator" + arg);
    case RE2::ErrorRepeatSize: return bad_request("error parsing regexp: invalid repeat count" + arg);
    case RE2::ErrorRepeatOp: return bad_request("error parsing regexp: invalid nested repetition operator" + arg);
    case RE2::ErrorBadPerlOp: return bad_request("error parsing regexp: invalid or unsupported Perl syntax" + arg);
    default: return bad_request("error parsing regexp: " + re->error());
  }
}

}  // namespace engenho::schema
