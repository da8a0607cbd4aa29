// The table of built-in functions, put together from several files.
#pragma once

#include <string>
#include <vector>

#include "expr.h"

namespace engenho::magma {

using Arguments = std::vector<Value>;

struct Function {
  const char* name;
  int min_arguments;
  int max_arguments;      // -1: any number
  // kPlain: called only with known, non-null arguments without marks; the result is unknown or sensitive when one of them is.
  // kNullable: the same, but arguments may be null. kStructural: sees arguments as they are and answers for marks itself.
  enum class Handling { kPlain, kNullable, kStructural } handling;
  Type::Kind result;      // what an unknown result is of; kDynamic when it depends
  Result<Value> (*call)(Arguments& arguments, const Scope& scope);
};

const std::vector<Function>& numeric_and_string_functions();
const std::vector<Function>& collection_functions();
const std::vector<Function>& encoding_functions();
const std::vector<Function>& date_and_network_functions();
const std::vector<Function>& file_functions();

// For the functions: the argument as that type. Errors say "argument 2: a number is required".
Result<std::string> text_argument(const Arguments& arguments, size_t index);
Result<Number> number_argument(const Arguments& arguments, size_t index);
Result<int64_t> integer_argument(const Arguments& arguments, size_t index);
Result<bool> bool_argument(const Arguments& arguments, size_t index);
Result<std::vector<std::string>> texts_argument(const Arguments& arguments, size_t index);   // a list of strings
Result<Value> argument_as(const Arguments& arguments, size_t index, const Type& type);

// UTF-8: the code points; combining marks are joined to what they follow (a plain form of grapheme clusters).
std::vector<std::string> characters(std::string_view text);
// ENGENHO_ASSIGN for code that stands on one line inside a macro.
#define ENGENHO_MAGMA_ARG_AT(n, decl, expr)                                                   \
  auto ENGENHO_CONCAT(argument_, n) = (expr);                                                 \
  if (!ENGENHO_CONCAT(argument_, n)) return err(ENGENHO_CONCAT(argument_, n).error());        \
  decl = std::move(*ENGENHO_CONCAT(argument_, n))
#define ENGENHO_MAGMA_ARG(decl, expr) ENGENHO_MAGMA_ARG_AT(__COUNTER__, decl, expr)

Value list_of_texts(std::vector<std::string> texts);

}  // namespace engenho::magma
