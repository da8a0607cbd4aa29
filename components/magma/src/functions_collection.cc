// Functions over lists, sets and maps, and those about types and marks.
#include <algorithm>
#include <cmath>

#include "engenho/base/bytes.h"
#include "functions.h"

namespace engenho::magma {

namespace {

using H = Function::Handling;
using K = Type::Kind;

std::unexpected<Status> fail(std::string message) { return err(bad_request(std::move(message))); }

// The elements as a list where they agree on a type, else a tuple.
Value sequence(Value::Items items, bool list) {
  if (list) {
    std::vector<Type> types;
    for (const Value& v : items) types.push_back(v.type());
    auto common = unify(types);
    if (common && (!common->has_dynamic() || items.empty())) {
      bool good = true;
      for (Value& v : items) {
        auto converted = convert(v, *common);
        if (converted) v = *converted;
        else good = false;
      }
      if (good) return Value::list(*common, std::move(items));
    }
  }
  return Value::tuple(std::move(items));
}

// For the structural functions: refuses null, answers unknown for unknown.
#define COLLECTION(index)                                                                                           \
  if (a[index].is_null()) return fail("argument " + std::to_string((index) + 1) + " must not be null");             \
  if (!a[index].is_known()) return Value::unknown().marked(a[index].sensitive());
#define SEQUENCE(index)                                                                                             \
  COLLECTION(index)                                                                                                 \
  if (!a[index].type().is_sequence()) return fail("argument " + std::to_string((index) + 1) + " must be a list, set or tuple");
#define MAPPING(index)                                                                                              \
  COLLECTION(index)                                                                                                 \
  if (!a[index].type().is_mapping()) return fail("argument " + std::to_string((index) + 1) + " must be a map or an object");

bool is_list(const Value& v) { return v.type().is(K::kList) || v.type().is(K::kSet); }

Result<Value> length(Arguments& a, const Scope&) {
  if (a[0].is_null()) return fail("argument 1 must not be null");
  const Type& t = a[0].type();
  if (t.is(K::kTuple)) return Value::number(static_cast<Number>(t.elements().size())).marked(a[0].sensitive());
  if (t.is(K::kObject)) return Value::number(static_cast<Number>(t.attributes().size())).marked(a[0].sensitive());
  if (!a[0].is_known()) return Value::unknown(Type::number()).marked(a[0].sensitive());
  if (a[0].is_string()) return Value::number(static_cast<Number>(characters(a[0].as_string()).size())).marked(a[0].sensitive());
  if (t.is(K::kMap)) return Value::number(static_cast<Number>(a[0].members().size())).marked(a[0].sensitive());
  if (!t.is_sequence()) return fail("argument must be a string, a collection type, or a structural type");
  if (t.is(K::kSet) && !a[0].is_wholly_known()) return Value::unknown(Type::number()).marked(a[0].sensitive());
  return Value::number(static_cast<Number>(a[0].items().size())).marked(a[0].sensitive());
}

Result<Value> keys(Arguments& a, const Scope&) {
  if (a[0].type().is(K::kObject) && !a[0].is_known()) {
    Value::Items names;
    for (const auto& [name, t] : a[0].type().attributes()) names.push_back(Value::string(name));
    return Value::tuple(std::move(names)).marked(a[0].sensitive());
  }
  MAPPING(0)
  Value::Items names;
  for (const auto& [name, member] : a[0].members()) names.push_back(Value::string(name));
  return (a[0].type().is(K::kMap) ? Value::list(Type::string(), std::move(names)) : Value::tuple(std::move(names))).marked(a[0].sensitive());
}

Result<Value> values(Arguments& a, const Scope&) {
  MAPPING(0)
  Value::Items items;
  for (const auto& [name, member] : a[0].members()) items.push_back(member);
  if (a[0].type().is(K::kMap)) return Value::list(a[0].type().element(), std::move(items)).marked(a[0].sensitive());
  return Value::tuple(std::move(items)).marked(a[0].sensitive());
}

Result<Value> merge(Arguments& a, const Scope&) {
  Value::Members members;
  bool all_maps = true, sensitive = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].is_null()) continue;
    sensitive = sensitive || a[i].sensitive();
    if (!a[i].is_known()) return Value::unknown().marked(sensitive);
    if (!a[i].type().is_mapping()) return fail("arguments must be maps or objects, got \"" + a[i].type().friendly_name() + "\"");
    all_maps = all_maps && a[i].type().is(K::kMap);
    for (const auto& [name, member] : a[i].members()) members.insert_or_assign(name, member);
  }
  if (all_maps && !members.empty()) {
    std::vector<Type> types;
    for (const auto& [name, member] : members) types.push_back(member.type());
    if (auto common = unify(types); common && !common->has_dynamic()) return Value::map(*common, std::move(members)).marked(sensitive);
  }
  return Value::object(std::move(members)).marked(sensitive);
}

Result<Value> lookup(Arguments& a, const Scope&) {
  MAPPING(0)
  ENGENHO_ASSIGN(Value key, argument_as(a, 1, Type::string()));
  const bool sensitive = a[0].sensitive() || key.sensitive();
  if (!key.is_known()) return Value::unknown().marked(sensitive);
  auto at = a[0].members().find(key.as_string());
  if (at != a[0].members().end()) return at->second.marked(sensitive);
  if (a.size() < 3) return fail("lookup failed to find the given key and there is no default");
  if (a[0].type().is(K::kMap)) {
    if (auto converted = convert(a[2], a[0].type().element())) return converted->marked(sensitive);
  }
  return a[2].marked(sensitive);
}

Result<Value> element(Arguments& a, const Scope&) {
  SEQUENCE(0)
  ENGENHO_ASSIGN(Value index, argument_as(a, 1, Type::number()));
  if (!index.is_known()) return Value::unknown().marked(a[0].sensitive());
  const auto size = static_cast<int64_t>(a[0].items().size());
  if (size == 0) return fail("cannot use element function with an empty list");
  const Number n = index.as_number();
  if (n != std::trunc(n) || std::fabs(n) > 9e18L) return fail("index must be a whole number");
  const int64_t at = ((static_cast<int64_t>(n) % size) + size) % size;
  return a[0].items()[static_cast<size_t>(at)].marked(a[0].sensitive() || index.sensitive());
}

Result<Value> concat(Arguments& a, const Scope&) {
  Value::Items items;
  bool lists = true, sensitive = false;
  for (size_t i = 0; i < a.size(); ++i) {
    SEQUENCE(i)
    lists = lists && is_list(a[i]);
    sensitive = sensitive || a[i].sensitive();
    items.insert(items.end(), a[i].items().begin(), a[i].items().end());
  }
  return sequence(std::move(items), lists).marked(sensitive);
}

bool flatten_into(const Value& v, Value::Items& out, bool& sensitive) {
  sensitive = sensitive || v.sensitive();
  if (!v.is_known()) return false;
  for (const Value& item : v.items()) {
    if (item.type().is_sequence() && !item.is_null()) {
      if (!flatten_into(item, out, sensitive)) return false;
    } else {
      out.push_back(item);
    }
  }
  return true;
}
Result<Value> flatten(Arguments& a, const Scope&) {
  SEQUENCE(0)
  Value::Items out;
  bool sensitive = false;
  if (!flatten_into(a[0], out, sensitive)) return Value::unknown().marked(sensitive);
  return Value::tuple(std::move(out)).marked(sensitive);
}

Result<Value> coalesce(Arguments& a, const Scope&) {
  std::vector<Type> types;
  for (const Value& v : a) types.push_back(v.type());
  auto common = unify(types);
  for (const Value& v : a) {
    if (!v.is_known()) return Value::unknown(common && !common->has_dynamic() ? *common : Type()).marked(v.sensitive());
    if (v.is_null() || (v.is_string() && v.as_string().empty())) continue;
    if (common && !common->has_dynamic()) return convert(v, *common);
    return v;
  }
  return fail("no non-null, non-empty-string arguments");
}

Result<Value> coalescelist(Arguments& a, const Scope&) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].is_null()) continue;
    SEQUENCE(i)
    if (!a[i].items().empty()) return a[i];
  }
  return fail("no non-null arguments");
}

Result<Value> slice(Arguments& a, const Scope&) {
  SEQUENCE(0)
  for (size_t i : {size_t{1}, size_t{2}}) {
    if (!a[i].is_known()) return Value::unknown().marked(a[0].sensitive());
  }
  ENGENHO_ASSIGN(const int64_t from, integer_argument(a, 1));
  ENGENHO_ASSIGN(const int64_t to, integer_argument(a, 2));
  if (from < 0 || to < from || static_cast<size_t>(to) > a[0].items().size()) return fail("the indexes must be within the list, the start not after the end");
  Value::Items items(a[0].items().begin() + from, a[0].items().begin() + to);
  return (is_list(a[0]) ? Value::list(a[0].type().element(), std::move(items)) : Value::tuple(std::move(items))).marked(a[0].sensitive());
}

Result<Value> reverse(Arguments& a, const Scope&) {
  SEQUENCE(0)
  Value::Items items(a[0].items().rbegin(), a[0].items().rend());
  return (is_list(a[0]) ? Value::list(a[0].type().element(), std::move(items)) : Value::tuple(std::move(items))).marked(a[0].sensitive());
}

Result<Value> zipmap(Arguments& a, const Scope&) {
  SEQUENCE(0)
  SEQUENCE(1)
  if (a[0].items().size() != a[1].items().size()) return fail("number of keys (" + std::to_string(a[0].items().size()) + ") does not match number of values (" + std::to_string(a[1].items().size()) + ")");
  Value::Members members;
  bool sensitive = a[0].sensitive() || a[1].sensitive();
  for (size_t i = 0; i < a[0].items().size(); ++i) {
    ENGENHO_ASSIGN(Value key, convert(a[0].items()[i], Type::string()));
    if (key.is_null()) return fail("a key is null");
    if (!key.is_known()) return Value::unknown().marked(sensitive);
    sensitive = sensitive || key.sensitive();
    members.insert_or_assign(key.as_string(), a[1].items()[i]);
  }
  if (is_list(a[1])) return Value::map(a[1].type().element(), std::move(members)).marked(sensitive);
  return Value::object(std::move(members)).marked(sensitive);
}

Result<Value> one(Arguments& a, const Scope&) {
  SEQUENCE(0)
  if (a[0].items().empty()) return Value::null(a[0].type().is_collection() ? a[0].type().element() : Type());
  if (a[0].items().size() > 1) return fail("must be a list, set, or tuple value with either zero or one elements");
  return a[0].items()[0].marked(a[0].sensitive());
}

Result<Value> contains(Arguments& a, const Scope&) {
  SEQUENCE(0)
  bool unknown = false;
  const bool sensitive = a[0].contains_sensitive() || a[1].contains_sensitive();
  for (const Value& item : a[0].items()) {
    auto wanted = convert(a[1], item.type());
    ENGENHO_ASSIGN(Value same, equal_values(item, wanted ? *wanted : a[1]));
    if (!same.is_known()) unknown = true;
    else if (same.as_bool()) return Value::boolean(true).marked(sensitive);
  }
  return (unknown ? Value::unknown(Type::boolean()) : Value::boolean(false)).marked(sensitive);
}

Result<Value> distinct(Arguments& a, const Scope&) {
  Value::Items out;
  if (!a[0].type().is_sequence()) return fail("argument 1 must be a list");
  for (const Value& item : a[0].items()) {
    if (std::none_of(out.begin(), out.end(), [&](const Value& v) { return v.equals(item); })) out.push_back(item);
  }
  return sequence(std::move(out), true);
}

Result<Value> compact(Arguments& a, const Scope&) {
  auto list = convert(a[0], Type::list(Type::string()));
  if (!list) return err(list.error());
  Value::Items out;
  for (const Value& item : list->items()) {
    if (!item.is_null() && !item.as_string().empty()) out.push_back(item);
  }
  return Value::list(Type::string(), std::move(out));
}

Result<Value> chunklist(Arguments& a, const Scope&) {
  if (!a[0].type().is_sequence()) return fail("argument 1 must be a list");
  ENGENHO_ASSIGN(const int64_t size, integer_argument(a, 1));
  if (size < 0) return fail("the size argument must be positive");
  Value::Items chunks, chunk;
  for (const Value& item : a[0].items()) {
    chunk.push_back(item);
    if (size > 0 && static_cast<int64_t>(chunk.size()) == size) chunks.push_back(sequence(std::move(chunk), true)), chunk.clear();
  }
  if (!chunk.empty()) chunks.push_back(sequence(std::move(chunk), true));
  return sequence(std::move(chunks), true);
}

Result<Value> index(Arguments& a, const Scope&) {
  if (!a[0].type().is_sequence()) return fail("argument must be a list or tuple");
  for (size_t i = 0; i < a[0].items().size(); ++i) {
    ENGENHO_ASSIGN(Value same, equal_values(a[0].items()[i], a[1]));
    if (same.is_known() && same.as_bool()) return Value::number(static_cast<Number>(i));
  }
  return fail("item not found");
}

Result<Value> matchkeys(Arguments& a, const Scope&) {
  for (int i = 0; i < 3; ++i) {
    if (!a[static_cast<size_t>(i)].type().is_sequence()) return fail("all arguments must be lists");
  }
  if (a[0].items().size() != a[1].items().size()) return fail("length of keys and values should be equal");
  Value::Items out;
  for (size_t i = 0; i < a[1].items().size(); ++i) {
    for (const Value& wanted : a[2].items()) {
      if (!a[1].items()[i].equals(wanted)) continue;
      out.push_back(a[0].items()[i]);
      break;
    }
  }
  return sequence(std::move(out), true);
}

Result<Value> range(Arguments& a, const Scope&) {
  ENGENHO_ASSIGN(Number start, number_argument(a, 0));
  Number limit = start, step = 1;
  if (a.size() == 1) start = 0;
  else {
    ENGENHO_ASSIGN(limit, number_argument(a, 1));
  }
  if (a.size() == 3) {
    ENGENHO_ASSIGN(step, number_argument(a, 2));
  } else if (limit < start) {
    step = -1;
  }
  if (step == 0) return fail("step must not be zero");
  if ((step > 0 && limit < start) || (step < 0 && limit > start)) return fail("the limit is on the other side of the step");
  Value::Items out;
  for (Number n = start; step > 0 ? n < limit : n > limit; n += step) {
    if (out.size() >= 1024) return fail("more than 1024 values were generated; either decrease the difference between start and end or use a larger step");
    out.push_back(Value::number(n));
  }
  return Value::list(Type::number(), std::move(out));
}

Result<Value> as_set(const Value& v) {
  auto s = convert(v, Type::set(Type()));
  return s;
}
enum class SetOp { kUnion, kIntersection, kSubtract };
template <SetOp op>
Result<Value> set_operation(Arguments& a, const Scope&) {
  std::vector<Value> sets;
  std::vector<Type> types;
  for (const Value& v : a) {
    ENGENHO_ASSIGN(Value s, as_set(v));
    if (!s.items().empty()) types.push_back(s.type().element());
    sets.push_back(std::move(s));
  }
  auto common = unify(types);
  if (!common) return fail("the sets must have one element type");
  for (Value& s : sets) {
    ENGENHO_ASSIGN(s, convert(s, Type::set(*common)));
  }
  Value::Items out = sets[0].items();
  auto in = [](const Value& set, const Value& v) { return std::any_of(set.items().begin(), set.items().end(), [&](const Value& x) { return x.equals(v); }); };
  for (size_t i = 1; i < sets.size(); ++i) {
    if (op == SetOp::kUnion) out.insert(out.end(), sets[i].items().begin(), sets[i].items().end());
    else std::erase_if(out, [&](const Value& v) { return in(sets[i], v) == (op == SetOp::kSubtract); });
  }
  return Value::set(*common, std::move(out));
}

Result<Value> setproduct(Arguments& a, const Scope&) {
  if (a.size() < 2) return fail("at least two arguments are required");
  std::vector<Value::Items> rows = {{}};
  bool sets = false;
  for (const Value& v : a) {
    if (!v.type().is_sequence()) return fail("all arguments must be lists or sets");
    sets = sets || v.type().is(K::kSet);
    std::vector<Value::Items> next;
    if (rows.size() * v.items().size() > 1'000'000) return fail("the product has more than a million elements");
    for (const auto& row : rows) {
      for (const Value& item : v.items()) {
        next.push_back(row);
        next.back().push_back(item);
      }
    }
    rows = std::move(next);
  }
  Value::Items out;
  for (auto& row : rows) out.push_back(Value::tuple(std::move(row)));
  if (sets) return as_set(Value::tuple(std::move(out)));
  return sequence(std::move(out), true);
}

Result<Value> sort(Arguments& a, const Scope&) {
  ENGENHO_ASSIGN(auto texts, texts_argument(a, 0));
  std::sort(texts.begin(), texts.end());
  return list_of_texts(std::move(texts));
}

Result<Value> sum(Arguments& a, const Scope&) {
  if (!a[0].type().is_sequence() || a[0].items().empty()) return fail("cannot sum an empty list");
  Number total = 0;
  for (const Value& v : a[0].items()) {
    auto n = convert(v, Type::number());
    if (!n || n->is_null()) return fail("argument must be list, set, or tuple of number values");
    total += n->as_number();
  }
  return Value::number(total);
}

Result<Value> transpose(Arguments& a, const Scope&) {
  ENGENHO_ASSIGN(Value map, argument_as(a, 0, Type::map(Type::list(Type::string()))));
  std::map<std::string, std::vector<std::string>> out;
  for (const auto& [name, list] : map.members()) {
    for (const Value& item : list.items()) {
      if (item.is_null()) return fail("input must not contain null string");
      out[item.as_string()].push_back(name);
    }
  }
  Value::Members members;
  for (auto& [name, texts] : out) members.emplace(name, list_of_texts(std::move(texts)));
  return Value::map(Type::list(Type::string()), std::move(members));
}

template <bool all>
Result<Value> every(Arguments& a, const Scope&) {
  SEQUENCE(0)
  bool unknown = false;
  const bool sensitive = a[0].contains_sensitive();
  for (const Value& item : a[0].items()) {
    auto b = convert(item, Type::boolean());
    if (!b) return fail("argument 1 must be a list of bool");
    if (!b->is_known()) unknown = true;
    else if (b->is_null() ? all : b->as_bool() != all) return Value::boolean(!all).marked(sensitive);
  }
  return (unknown ? Value::unknown(Type::boolean()) : Value::boolean(all)).marked(sensitive);
}

template <K kind>
Result<Value> to_collection(Arguments& a, const Scope&) {
  const Type type = kind == K::kList ? Type::list(Type()) : kind == K::kSet ? Type::set(Type()) : Type::map(Type());
  if (!a[0].is_known()) return Value::unknown(a[0].type().kind() == kind ? a[0].type() : Type()).marked(a[0].sensitive());
  auto v = convert(a[0], type);
  if (!v) return err(a[0].contains_sensitive() ? bad_request("cannot convert this sensitive value to " + type.friendly_name()) : v.error());
  return v;
}

std::string type_text(const Type& t) {
  switch (t.kind()) {
    case K::kList: return "list(" + type_text(t.element()) + ")";
    case K::kSet: return "set(" + type_text(t.element()) + ")";
    case K::kMap: return "map(" + type_text(t.element()) + ")";
    case K::kTuple: {
      std::string out = "tuple([";
      for (size_t i = 0; i < t.elements().size(); ++i) out += (i ? ", " : "") + type_text(t.elements()[i]);
      return out + "])";
    }
    case K::kObject: {
      std::string out = "object({";
      for (size_t i = 0; i < t.attributes().size(); ++i) out += (i ? ", " : "") + t.attributes()[i].first + ": " + type_text(t.attributes()[i].second);
      return out + "})";
    }
    default: return t.friendly_name();
  }
}

#define F(body) [](Arguments& a, const Scope&) -> Result<Value> { body }

}  // namespace

const std::vector<Function>& collection_functions() {
  static const std::vector<Function> all = {
      {"alltrue", 1, 1, H::kStructural, K::kBool, every<true>},
      {"anytrue", 1, 1, H::kStructural, K::kBool, every<false>},
      {"chunklist", 2, 2, H::kPlain, K::kDynamic, chunklist},
      {"coalesce", 1, -1, H::kStructural, K::kDynamic, coalesce},
      {"coalescelist", 1, -1, H::kStructural, K::kDynamic, coalescelist},
      {"compact", 1, 1, H::kPlain, K::kList, compact},
      {"concat", 1, -1, H::kStructural, K::kDynamic, concat},
      {"contains", 2, 2, H::kStructural, K::kBool, contains},
      {"distinct", 1, 1, H::kPlain, K::kDynamic, distinct},
      {"element", 2, 2, H::kStructural, K::kDynamic, element},
      {"flatten", 1, 1, H::kStructural, K::kDynamic, flatten},
      {"index", 2, 2, H::kPlain, K::kNumber, index},
      {"keys", 1, 1, H::kStructural, K::kDynamic, keys},
      {"length", 1, 1, H::kStructural, K::kNumber, length},
      {"lookup", 2, 3, H::kStructural, K::kDynamic, lookup},
      {"matchkeys", 3, 3, H::kPlain, K::kDynamic, matchkeys},
      {"merge", 0, -1, H::kStructural, K::kDynamic, merge},
      {"one", 1, 1, H::kStructural, K::kDynamic, one},
      {"range", 1, 3, H::kPlain, K::kDynamic, range},
      {"reverse", 1, 1, H::kStructural, K::kDynamic, reverse},
      {"setintersection", 1, -1, H::kPlain, K::kDynamic, set_operation<SetOp::kIntersection>},
      {"setproduct", 2, -1, H::kPlain, K::kDynamic, setproduct},
      {"setsubtract", 2, 2, H::kPlain, K::kDynamic, set_operation<SetOp::kSubtract>},
      {"setunion", 1, -1, H::kPlain, K::kDynamic, set_operation<SetOp::kUnion>},
      {"slice", 3, 3, H::kStructural, K::kDynamic, slice},
      {"sort", 1, 1, H::kPlain, K::kList, sort},
      {"sum", 1, 1, H::kPlain, K::kNumber, sum},
      {"transpose", 1, 1, H::kPlain, K::kDynamic, transpose},
      {"values", 1, 1, H::kStructural, K::kDynamic, values},
      {"zipmap", 2, 2, H::kStructural, K::kDynamic, zipmap},
      {"tolist", 1, 1, H::kStructural, K::kDynamic, to_collection<K::kList>},
      {"toset", 1, 1, H::kStructural, K::kDynamic, to_collection<K::kSet>},
      {"tomap", 1, 1, H::kStructural, K::kDynamic, to_collection<K::kMap>},
      {"sensitive", 1, 1, H::kStructural, K::kDynamic, F(return a[0].marked();)},
      {"nonsensitive", 1, 1, H::kStructural, K::kDynamic, F(return a[0].unmarked_deep();)},
      {"issensitive", 1, 1, H::kStructural, K::kBool, F(return Value::boolean(a[0].sensitive());)},
      {"ephemeralasnull", 1, 1, H::kStructural, K::kDynamic, F(return a[0];)},
      {"type", 1, 1, H::kStructural, K::kString, F(return Value::string(type_text(a[0].type()));)},
  };
  return all;
}

}  // namespace engenho::magma
