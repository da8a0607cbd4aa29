#include "support.h"
#include "value.h"

using namespace engenho;
using namespace engenho::magma;
using namespace engenho::magma::testing;

namespace {

std::mt19937_64& rng() {
  static std::mt19937_64 generator(engenho::testing::seed());
  return generator;
}
int pick(int n) { return static_cast<int>(rng()() % static_cast<unsigned>(n)); }

Type random_type(int depth) {
  switch (pick(depth <= 0 ? 3 : 8)) {
    case 0: return Type::boolean();
    case 1: return Type::number();
    case 2: return Type::string();
    case 3: return Type::list(random_type(depth - 1));
    case 4: return Type::set(random_type(depth - 1));
    case 5: return Type::map(random_type(depth - 1));
    case 6: {
      std::vector<Type> elements;
      for (int i = pick(4); i > 0; --i) elements.push_back(random_type(depth - 1));
      return Type::tuple(std::move(elements));
    }
    default: {
      Type::Attributes attributes;
      for (int i = pick(4); i > 0; --i) attributes.emplace_back("a" + std::to_string(i), random_type(depth - 1));
      return Type::object(std::move(attributes));
    }
  }
}

Value random_value(const Type& type, bool unknowns) {
  const int special = pick(12);
  if (special == 0) return Value::null(type);
  if (special == 1 && unknowns) return Value::unknown(type);
  switch (type.kind()) {
    case Type::Kind::kBool: return Value::boolean(pick(2) == 0);
    case Type::Kind::kNumber: {
      static const Number kNumbers[] = {0, 1, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, 4294967295.0L, 4294967296.0L, 9007199254740993.0L, 9223372036854775807.0L, -9223372036854775807.0L, 0.5L, 1.25L, 0.1L, 1e30L};
      return Value::number(kNumbers[pick(static_cast<int>(std::size(kNumbers)))]);
    }
    case Type::Kind::kString: {
      std::string s;
      static const std::string kPieces[] = {"a", "é", "\n", "\"", "\\", "\u2028", "0", "x y"};
      for (int i = pick(5) == 0 ? 300 : pick(6); i > 0; --i) s += kPieces[pick(8)];
      return Value::string(std::move(s));
    }
    case Type::Kind::kList:
    case Type::Kind::kSet: {
      Value::Items items;
      for (int i = pick(4); i > 0; --i) items.push_back(random_value(type.element(), unknowns));
      return type.is(Type::Kind::kList) ? Value::list(type.element(), std::move(items)) : Value::set(type.element(), std::move(items));
    }
    case Type::Kind::kTuple: {
      Value::Items items;
      for (const Type& t : type.elements()) items.push_back(random_value(t, unknowns));
      Value v = Value::tuple(std::move(items));
      return v;
    }
    case Type::Kind::kMap: {
      Value::Members members;
      for (int i = pick(4); i > 0; --i) members.emplace("k" + std::to_string(i), random_value(type.element(), unknowns));
      return Value::map(type.element(), std::move(members));
    }
    default: {
      Value::Members members;
      for (const auto& [name, t] : type.attributes()) members.emplace(name, random_value(t, unknowns));
      return Value::object(std::move(members));
    }
  }
}

}  // namespace

TEST_CASE("any value survives msgpack, with its type and as dynamic") {
  for (int i = 0; i < 3000; ++i) {
    const Type type = random_type(3);
    const Value v = random_value(type, true);
    auto back = from_msgpack(to_msgpack(v, type), type);
    INFO("type " << json::dump(type.to_json()) << " value " << json::dump(to_plain_json(v)));
    REQUIRE(back);
    REQUIRE(back->equals(v));
    if (!v.is_known() || v.is_null()) continue;   // their type is not written
    auto dynamic = from_msgpack(to_msgpack(v, Type()), Type());
    REQUIRE(dynamic);
    REQUIRE(dynamic->equals(v));
  }
}

TEST_CASE("any known value survives JSON, and any type its JSON form") {
  for (int i = 0; i < 3000; ++i) {
    const Type type = random_type(3);
    const Value v = random_value(type, false);
    INFO("type " << json::dump(type.to_json()) << " value " << json::dump(to_plain_json(v)));
    auto parsed_type = Type::from_json(type.to_json());
    REQUIRE(parsed_type);
    REQUIRE(*parsed_type == type);
    auto parsed = json::parse(json::dump(to_json(v, type)));
    auto back = from_json(*parsed, type);
    REQUIRE(back);
    REQUIRE(back->equals(v));
  }
}

TEST_CASE("damaged msgpack is an error, never a crash") {
  for (int i = 0; i < 3000; ++i) {
    const Type type = random_type(3);
    std::string bytes = to_msgpack(random_value(type, true), type);
    if (pick(2) == 0) bytes.resize(static_cast<size_t>(pick(static_cast<int>(bytes.size()) + 1)));
    for (int k = pick(4); k > 0 && !bytes.empty(); --k) bytes[static_cast<size_t>(pick(static_cast<int>(bytes.size())))] = static_cast<char>(pick(256));
    (void)from_msgpack(bytes, type);
  }
  std::string deep(100000, '\x91');
  REQUIRE_FALSE(from_msgpack("\xdd\xff\xff\xff\xff", Type::list(Type::string())));
  REQUIRE_FALSE(from_msgpack(std::string("\x01\x02", 2), Type::number()));
}

TEST_CASE("values convert to their own type unchanged, and to text and back") {
  for (int i = 0; i < 2000; ++i) {
    const Type type = random_type(3);
    const Value v = random_value(type, true);
    auto same = convert(v, type);
    REQUIRE(same);
    REQUIRE(same->equals(v));
    REQUIRE(convertible(type, type));
  }
  for (const char* text : {"0", "-1", "0.1", "1.5", "123456789012345678", "0.30000000000000004", "0.000001"}) {
    Number n;
    REQUIRE(parse_number(text, n));
    CHECK(number_to_string(n) == text);
  }
  CHECK(number_to_string(0.1L + 0.2L) == "0.3");
  CHECK(number_to_string(1e21L) == "1000000000000000000000");
  Number n;
  for (const char* text : {"", "x", "0x10", "nan", "inf", "1 ", "1e99999"}) CHECK_FALSE(parse_number(text, n));
}

TEST_CASE("sets are ordered and without duplicates; a sensitive element marks the whole") {
  const Value set = Value::set(Type::string(), {Value::string("b"), Value::string("a"), Value::string("b").marked()});
  REQUIRE(set.items().size() == 2);
  CHECK(set.items()[0].as_string() == "a");
  CHECK(set.sensitive());
  CHECK_FALSE(set.items()[1].sensitive());
}

TEST_CASE("unification finds the type that a list of both would have") {
  CHECK(*unify({Type::string(), Type::number()}) == Type::string());
  CHECK_FALSE(unify({Type::boolean(), Type::number()}));
  CHECK(*unify({Type::tuple({Type::string()}), Type::tuple({Type::string(), Type::string()})}) == Type::list(Type::string()));
  CHECK(*unify({Type::object({{"a", Type::string()}}), Type::object({{"b", Type::number()}})}) == Type::map(Type::string()));
}

TEST_CASE("marks are found and set by path") {
  const Value v = Value::object({{"a", Value::tuple({Value::string("x"), Value::string("y").marked()})}, {"b", Value::string("z")}});
  const auto paths = sensitive_paths(v);
  REQUIRE(paths.size() == 1);
  CHECK(path_to_string(paths[0]) == ".a[1]");
  CHECK_FALSE(v.unmarked_deep().contains_sensitive());
  CHECK(mark_paths(v.unmarked_deep(), paths).get("a").items()[1].sensitive());
}
