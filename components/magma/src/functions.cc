#include "functions.h"

#include <cmath>
#include <unordered_map>

#include "engenho/base/bytes.h"

namespace engenho::magma {

namespace {

const std::unordered_map<std::string_view, const Function*>& table() {
  static const auto* const all = [] {
    auto* map = new std::unordered_map<std::string_view, const Function*>;
    for (const auto* part : {&numeric_and_string_functions(), &collection_functions(), &encoding_functions(), &date_and_network_functions(), &file_functions()}) {
      for (const Function& f : *part) map->emplace(f.name, &f);
    }
    return map;
  }();
  return *all;
}

Type type_of(Type::Kind kind) {
  switch (kind) {
    case Type::Kind::kBool: return Type::boolean();
    case Type::Kind::kNumber: return Type::number();
    case Type::Kind::kString: return Type::string();
    case Type::Kind::kList: return Type::list(Type::string());
    default: return Type();
  }
}

}  // namespace

std::vector<std::string> function_names() {
  std::vector<std::string> names = {"try", "can"};
  for (const auto& [name, f] : table()) names.emplace_back(name);
  return names;
}

Result<Value> call_function(const std::string& name, Arguments arguments, const Scope& scope) {
  auto at = table().find(name.starts_with("core::") ? std::string_view(name).substr(6) : std::string_view(name));
  if (at == table().end()) {
    if (name.starts_with("provider::")) return err(bad_request("functions of providers (" + name + ") are not supported"));
    const std::string near = nearest(name, function_names());
    return err(bad_request("there is no function named \"" + name + "\"" + (near.empty() ? "" : "; did you mean \"" + near + "\"?")));
  }
  const Function& f = *at->second;
  const int count = static_cast<int>(arguments.size());
  if (count < f.min_arguments || (f.max_arguments >= 0 && count > f.max_arguments)) {
    return err(bad_request("function " + name + " takes " + std::to_string(f.min_arguments) +
                           (f.max_arguments < 0 ? " or more" : f.max_arguments != f.min_arguments ? " to " + std::to_string(f.max_arguments) : "") + " arguments, not " +
                           std::to_string(count)));
  }
  bool sensitive = false;
  if (f.handling != Function::Handling::kStructural) {
    bool unknown = false;
    for (size_t i = 0; i < arguments.size(); ++i) {
      sensitive = sensitive || arguments[i].contains_sensitive();
      unknown = unknown || !arguments[i].is_wholly_known();
      if (arguments[i].is_null() && f.handling == Function::Handling::kPlain) {
        return err(bad_request("function " + name + ": argument " + std::to_string(i + 1) + " must not be null"));
      }
    }
    if (unknown) return Value::unknown(type_of(f.result)).marked(sensitive);
    if (sensitive) {
      for (Value& argument : arguments) argument = argument.unmarked_deep();
    }
  }
  auto result = f.call(arguments, scope);
  // What a function says of a sensitive argument could quote it.
  if (!result) return err(sensitive ? bad_request("function " + name + " failed on a sensitive value") : result.error().with_context("function " + name));
  return result->marked(sensitive);
}

Result<Value> argument_as(const Arguments& arguments, size_t index, const Type& type) {
  if (index >= arguments.size()) return err(bad_request("argument " + std::to_string(index + 1) + " is missing"));
  auto value = convert(arguments[index], type);
  if (!value) return err(value.error().with_context("argument " + std::to_string(index + 1)));
  if (value->is_null()) return err(bad_request("argument " + std::to_string(index + 1) + " must not be null"));
  return value;
}
Result<std::string> text_argument(const Arguments& arguments, size_t index) {
  ENGENHO_ASSIGN(Value v, argument_as(arguments, index, Type::string()));
  return v.as_string();
}
Result<Number> number_argument(const Arguments& arguments, size_t index) {
  ENGENHO_ASSIGN(Value v, argument_as(arguments, index, Type::number()));
  return v.as_number();
}
Result<int64_t> integer_argument(const Arguments& arguments, size_t index) {
  ENGENHO_ASSIGN(const Number n, number_argument(arguments, index));
  if (!fits_int64(n)) return err(bad_request("argument " + std::to_string(index + 1) + " must be a whole number"));
  return static_cast<int64_t>(n);
}
Result<bool> bool_argument(const Arguments& arguments, size_t index) {
  ENGENHO_ASSIGN(Value v, argument_as(arguments, index, Type::boolean()));
  return v.as_bool();
}
Result<std::vector<std::string>> texts_argument(const Arguments& arguments, size_t index) {
  ENGENHO_ASSIGN(Value v, argument_as(arguments, index, Type::list(Type::string())));
  std::vector<std::string> out;
  for (const Value& item : v.items()) {
    if (item.is_null()) return err(bad_request("argument " + std::to_string(index + 1) + ": an element is null"));
    out.push_back(item.as_string());
  }
  return out;
}

Value list_of_texts(std::vector<std::string> texts) {
  Value::Items items;
  for (std::string& text : texts) items.push_back(Value::string(std::move(text)));
  return Value::list(Type::string(), std::move(items));
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    const auto b = static_cast<unsigned char>(text[i]);
    size_t length = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    length = std::min(length, text.size() - i);
    uint32_t code = length == 1 ? b : b & (0x7f >> length);
    for (size_t k = 1; k < length; ++k) code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3f);
    const bool combining = (code >= 0x300 && code <= 0x36f) || (code >= 0x1ab0 && code <= 0x1aff) || (code >= 0x20d0 && code <= 0x20ff) ||
                           (code >= 0xfe00 && code <= 0xfe0f) || code == 0x200d || (code >= 0x1f3fb && code <= 0x1f3ff);
    const bool joined = !out.empty() && (combining || out.back().ends_with("\u200d") || (code == '\n' && out.back() == "\r"));
    if (joined) out.back() += text.substr(i, length);
    else out.emplace_back(text.substr(i, length));
    i += length;
  }
  return out;
}

}  // namespace engenho::magma
