// Files of the configuration. Relative paths start at the configuration's directory.
#include <fnmatch.h>

#include <cstdlib>
#include <filesystem>

#include "digest.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "functions.h"

namespace engenho::magma {

namespace {

using H = Function::Handling;
using K = Type::Kind;
#define TEXT(var, index) ENGENHO_MAGMA_ARG(const std::string var, text_argument(a, index))

std::unexpected<Status> fail(std::string message) { return err(bad_request(std::move(message))); }

std::string expand(const std::string& path) {
  if (!path.starts_with("~")) return path;
  const char* home = std::getenv("HOME");
  return home != nullptr && (path.size() == 1 || path[1] == '/') ? home + path.substr(1) : path;
}

std::string located(const std::string& path, const Scope& scope) {
  const std::string full = expand(path);
  return full.starts_with("/") ? full : scope.module_dir() + "/" + full;
}

Result<std::string> content(const Arguments& a, const Scope& scope) {
  TEXT(path, 0);
  const std::string where = located(path, scope);
  std::error_code code;
  if (!std::filesystem::exists(where, code)) return fail("no file exists at \"" + path + "\"; this function works only with files that exist before the plan");
  if (!std::filesystem::is_regular_file(where, code)) return fail("\"" + path + "\" is not a regular file");
  return read_file(where);
}

// The template's variables in front of everything else.
class TemplateScope final : public Scope {
 public:
  TemplateScope(const Value& variables, const Scope& outer) : variables_(variables), outer_(outer) {}
  Result<Value> resolve(const std::vector<std::string>& steps, size_t& used) const override {
    used = 1;
    auto at = variables_.members().find(steps[0]);
    if (at == variables_.members().end()) return fail("vars map does not contain key \"" + steps[0] + "\"");
    return at->second;
  }
  const std::string& module_dir() const override { return outer_.module_dir(); }
  WallTime plan_time() const override { return outer_.plan_time(); }
  bool applying() const override { return outer_.applying(); }

 private:
  const Value& variables_;
  const Scope& outer_;
};

Result<Value> render(const std::string& text, const Value& variables, const Scope& scope) {
  static thread_local int depth = 0;
  if (depth > 50) return fail("templates call each other too deeply");
  if (!variables.type().is_mapping()) return fail("the variables must be a map or an object");
  ENGENHO_MAGMA_ARG(ExprPtr e, parse_template(text));
  TemplateScope inner(variables, scope);
  ++depth;
  auto value = evaluate(*e, inner);
  --depth;
  return value;
}

Result<Value> fileset(Arguments& a, const Scope& scope) {
  TEXT(path, 0);
  TEXT(pattern, 1);
  const std::filesystem::path root = located(path, scope);
  // "**" crosses directories, "*" does not.
  const bool deep = pattern.find("**") != std::string::npos;
  std::string flat = pattern;
  for (size_t at; (at = flat.find("**/")) != std::string::npos;) flat.replace(at, 3, "*");
  Value::Items out;
  std::error_code code;
  for (std::filesystem::recursive_directory_iterator it(root, code), end; !code && it != end; it.increment(code)) {
    if (!it->is_regular_file(code)) continue;
    const std::string name = it->path().lexically_relative(root).string();
    if (fnmatch(deep ? flat.c_str() : pattern.c_str(), name.c_str(), deep ? 0 : FNM_PATHNAME) == 0) out.push_back(Value::string(name));
  }
  return Value::set(Type::string(), std::move(out));
}

#define FILE_HASH(md, encode) \
  [](Arguments& a, const Scope& scope) -> Result<Value> { ENGENHO_MAGMA_ARG(const std::string c, content(a, scope)); return Value::string(encode(digest(md, c))); }

}  // namespace

const std::vector<Function>& file_functions() {
  static const std::vector<Function> all = {
      {"abspath", 1, 1, H::kPlain, K::kString, [](Arguments& a, const Scope&) -> Result<Value> { TEXT(p, 0); std::error_code c; return Value::string(std::filesystem::absolute(expand(p), c).lexically_normal().string()); }},
      {"basename", 1, 1, H::kPlain, K::kString, [](Arguments& a, const Scope&) -> Result<Value> {
         TEXT(p, 0);
         std::string s = p;
         while (s.size() > 1 && s.back() == '/') s.pop_back();
         if (s.empty()) s = ".";
         const size_t slash = s.rfind('/');
         return Value::string(slash == std::string::npos || s.size() == 1 ? s : s.substr(slash + 1));
       }},
      {"dirname", 1, 1, H::kPlain, K::kString, [](Arguments& a, const Scope&) -> Result<Value> {
         TEXT(p, 0);
         const size_t slash = p.rfind('/');
         if (slash == std::string::npos) return Value::string(".");
         std::string d = std::filesystem::path(p.substr(0, slash)).lexically_normal().string();
         return Value::string(slash == 0 ? "/" : d.empty() ? "." : d);
       }},
      {"pathexpand", 1, 1, H::kPlain, K::kString, [](Arguments& a, const Scope&) -> Result<Value> { TEXT(p, 0); return Value::string(expand(p)); }},
      {"file", 1, 1, H::kPlain, K::kString, [](Arguments& a, const Scope& s) -> Result<Value> { ENGENHO_MAGMA_ARG(std::string c, content(a, s)); return Value::string(std::move(c)); }},
      {"filebase64", 1, 1, H::kPlain, K::kString, [](Arguments& a, const Scope& s) -> Result<Value> { ENGENHO_MAGMA_ARG(std::string c, content(a, s)); return Value::string(base64_encode(c)); }},
      {"fileexists", 1, 1, H::kPlain, K::kBool, [](Arguments& a, const Scope& s) -> Result<Value> {
         TEXT(p, 0);
         std::error_code c;
         return Value::boolean(std::filesystem::is_regular_file(located(p, s), c));
       }},
      {"fileset", 2, 2, H::kPlain, K::kDynamic, fileset},
      {"filemd5", 1, 1, H::kPlain, K::kString, FILE_HASH("MD5", hex_encode)},
      {"filesha1", 1, 1, H::kPlain, K::kString, FILE_HASH("SHA1", hex_encode)},
      {"filesha256", 1, 1, H::kPlain, K::kString, FILE_HASH("SHA256", hex_encode)},
      {"filesha512", 1, 1, H::kPlain, K::kString, FILE_HASH("SHA512", hex_encode)},
      {"filebase64sha256", 1, 1, H::kPlain, K::kString, FILE_HASH("SHA256", base64_encode)},
      {"filebase64sha512", 1, 1, H::kPlain, K::kString, FILE_HASH("SHA512", base64_encode)},
      {"templatefile", 2, 2, H::kPlain, K::kDynamic, [](Arguments& a, const Scope& s) -> Result<Value> { ENGENHO_MAGMA_ARG(std::string c, content(a, s)); return render(c, a[1], s); }},
      {"templatestring", 2, 2, H::kPlain, K::kDynamic, [](Arguments& a, const Scope& s) -> Result<Value> { TEXT(t, 0); return render(t, a[1], s); }},
  };
  return all;
}

}  // namespace engenho::magma
