// Terraform's expression language as it stands in JSON configuration: strings are templates, "${...}" holds an expression.
// Trees are immutable and shared.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/clock.h"
#include "value.h"

namespace engenho::magma {

struct Expr;
using ExprPtr = std::shared_ptr<const Expr>;

struct Expr {
  enum class Kind {
    kLiteral,      // literal
    kTemplate,     // children are the parts; `flag`: exactly one interpolation, whose value it is
    kTemplateIf,   // condition, then, else (each a template)
    kTemplateFor,  // collection, body; name: value variable, name2: key variable
    kVariable,     // name: the root of a reference
    kGetAttr,      // children[0].name
    kIndex,        // children[0][children[1]]
    kSplat,        // children[0][*] then children[1] applied to each, in which kSplatItem stands for the element
    kSplatItem,
    kCall,         // name(children...); `flag`: the last argument is expanded
    kUnary,        // name: "!" or "-"
    kBinary,       // name: the operator
    kConditional,  // children: condition, then, else
    kFor,          // children: collection, [key,] value, [condition]; see below
    kObject,       // children: key, value, key, value...
    kTuple,
  };
  Kind kind = Kind::kLiteral;
  Value literal;
  std::string name, name2;
  bool flag = false;
  std::vector<ExprPtr> children;
  // kFor
  ExprPtr for_key, for_condition;   // null when absent; a key makes it an object
  bool for_group = false;
};

inline constexpr int kMaxExpressionDepth = 100;

// Errors (BadRequest) say what was expected and at which character.
Result<ExprPtr> parse_expression(std::string_view text);
Result<ExprPtr> parse_template(std::string_view text);
// A JSON value in an expression position. Members named "//" are comments at the top of a block only, not here.
Result<ExprPtr> expr_from_json(const json::Value& json);

// A reference's static beginning: aws_vpc.main.id -> {"aws_vpc", "main", "id"}; an index that is a constant is a step of its own, "[0]"
// or "[\"k\"]"; other indexes end it.
struct Reference {
  std::vector<std::string> steps;
  bool operator<(const Reference& other) const { return steps < other.steps; }
  bool operator==(const Reference& other) const = default;
  std::string to_string() const;
};
// What the expression reads outside itself (variables of for expressions are left out).
void collect_references(const Expr& expr, std::set<Reference>& out);
// A literal position that names something: depends_on, ignore_changes, replace_triggered_by, targets.
Result<Reference> parse_reference(std::string_view text);
Result<Path> parse_path(std::string_view text);   // tags["a"], ingress[0].port

// What names mean where an expression is evaluated.
class Scope {
 public:
  virtual ~Scope() = default;
  // The value of a reference whose attribute steps are given; `used` becomes the number of steps that it stands for.
  virtual Result<Value> resolve(const std::vector<std::string>& steps, size_t& used) const = 0;
  virtual const std::string& module_dir() const = 0;   // relative paths of file() and its kin start there
  virtual WallTime plan_time() const = 0;
  virtual bool applying() const = 0;                   // timestamp() and uuid() are unknown until then
};

Result<Value> evaluate(const Expr& expr, const Scope& scope);

// Calls a built-in function by name. Errors name the function and the argument.
Result<Value> call_function(const std::string& name, std::vector<Value> arguments, const Scope& scope);
std::vector<std::string> function_names();
// Operators, for evaluate() and for functions that are defined by them.
Result<Value> equal_values(const Value& a, const Value& b);
Result<Value> index_value(const Value& collection, const Value& key);

}  // namespace engenho::magma
