// msgpack (the msgpack specification, revision 5), as cty uses it: an extension of any code is an unknown value; a value of dynamic
// type is an array of its type as JSON bytes and itself; a number that no int64 and no double holds exactly is its decimal text.
#include <cmath>
#include <cstring>

#include "value.h"

namespace engenho::magma {

using Kind = Type::Kind;

namespace {

constexpr int kMaxDepth = 200;

class Writer {
 public:
  std::string out;

  void byte(unsigned b) { out += static_cast<char>(b); }
  void big_endian(uint64_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) byte(static_cast<unsigned>(v >> (8 * i)) & 0xff);
  }
  void text(std::string_view s) {
    if (s.size() < 32) byte(0xa0 | static_cast<unsigned>(s.size()));
    else if (s.size() < 256) byte(0xd9), big_endian(s.size(), 1);
    else if (s.size() < 65536) byte(0xda), big_endian(s.size(), 2);
    else byte(0xdb), big_endian(s.size(), 4);
    out += s;
  }
  void binary(std::string_view s) {
    if (s.size() < 256) byte(0xc4), big_endian(s.size(), 1);
    else if (s.size() < 65536) byte(0xc5), big_endian(s.size(), 2);
    else byte(0xc6), big_endian(s.size(), 4);
    out += s;
  }
  void array(size_t n) {
    if (n < 16) byte(0x90 | static_cast<unsigned>(n));
    else if (n < 65536) byte(0xdc), big_endian(n, 2);
    else byte(0xdd), big_endian(n, 4);
  }
  void map(size_t n) {
    if (n < 16) byte(0x80 | static_cast<unsigned>(n));
    else if (n < 65536) byte(0xde), big_endian(n, 2);
    else byte(0xdf), big_endian(n, 4);
  }
  void integer(int64_t v) {
    if (v >= 0) {
      const auto u = static_cast<uint64_t>(v);
      if (u < 128) byte(static_cast<unsigned>(u));
      else if (u < 256) byte(0xcc), big_endian(u, 1);
      else if (u < 65536) byte(0xcd), big_endian(u, 2);
      else if (u < (1ull << 32)) byte(0xce), big_endian(u, 4);
      else byte(0xcf), big_endian(u, 8);
    } else if (v >= -32) {
      byte(static_cast<unsigned>(v) & 0xff);
    } else if (v >= INT8_MIN) {
      byte(0xd0), big_endian(static_cast<uint64_t>(v), 1);
    } else if (v >= INT16_MIN) {
      byte(0xd1), big_endian(static_cast<uint64_t>(v), 2);
    } else if (v >= INT32_MIN) {
      byte(0xd2), big_endian(static_cast<uint64_t>(v), 4);
    } else {
      byte(0xd3), big_endian(static_cast<uint64_t>(v), 8);
    }
  }
  void number(Number n) {
    if (fits_int64(n)) return integer(static_cast<int64_t>(n));
    const double d = static_cast<double>(n);
    if (static_cast<Number>(d) == n) {
      uint64_t bits;
      std::memcpy(&bits, &d, sizeof bits);
      byte(0xcb);
      big_endian(bits, 8);
    } else {
      text(number_to_string(n));
    }
  }
  void value(const Value& v, const Type& type) {
    if (!v.is_known()) {
      byte(0xd4), byte(0), byte(0);  // fixext1, type 0
      return;
    }
    if (v.is_null()) return byte(0xc0);
    if (type.is_dynamic()) {
      array(2);
      binary(json::dump(v.type().to_json()));
      return value(v, v.type());
    }
    switch (v.type().kind()) {
      case Kind::kBool: return byte(v.as_bool() ? 0xc3 : 0xc2);
      case Kind::kNumber: return number(v.as_number());
      case Kind::kString: return text(v.as_string());
      case Kind::kList:
      case Kind::kSet:
      case Kind::kTuple:
        array(v.items().size());
        for (size_t i = 0; i < v.items().size(); ++i) {
          value(v.items()[i], type.is_collection() ? type.element() : type.is(Kind::kTuple) ? type.elements()[i] : v.items()[i].type());
        }
        return;
      case Kind::kMap:
      case Kind::kObject:
        map(v.members().size());
        for (const auto& [name, member] : v.members()) {
          text(name);
          const Type* t = type.is(Kind::kMap) ? &type.element() : type.attribute(name);
          value(member, t != nullptr ? *t : member.type());
        }
        return;
      default: return byte(0xc0);
    }
  }
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : in_(bytes) {}
  bool at_end() const { return in_.empty(); }

  Result<Value> value(const Type& type, int depth) {
    if (depth > kMaxDepth) return bad("nested too deeply");
    if (in_.empty()) return bad("ends too early");
    const unsigned b = peek();
    if (b == 0xc0) {
      take();
      return Value::null(type);
    }
    if (is_extension(b)) {
      if (!skip_extension()) return bad("ends too early");
      return Value::unknown(type);
    }
    if (type.is_dynamic()) {
      size_t count = 0;
      std::string_view type_bytes;
      if (!array(count) || count != 2 || !bytes(type_bytes)) return bad("a dynamic value is an array of type and value");
      ENGENHO_ASSIGN(json::Value parsed, json::parse(type_bytes));
      ENGENHO_ASSIGN(Type inner, Type::from_json(parsed));
      return value(inner, depth + 1);
    }
    switch (type.kind()) {
      case Kind::kBool:
        if (b != 0xc2 && b != 0xc3) return bad("bool required");
        take();
        return Value::boolean(b == 0xc3);
      case Kind::kNumber: return number();
      case Kind::kString: {
        std::string_view text;
        if (!bytes(text)) return bad("string required");
        return Value::string(std::string(text));
      }
      case Kind::kList:
      case Kind::kSet:
      case Kind::kTuple: {
        size_t count = 0;
        if (!array(count)) return bad(type.friendly_name() + " required");
        if (type.is(Kind::kTuple) && count != type.elements().size()) return bad("tuple of another length");
        Value::Items items;
        for (size_t i = 0; i < count; ++i) {
          ENGENHO_ASSIGN(Value item, value(type.is(Kind::kTuple) ? type.elements()[i] : type.element(), depth + 1));
          items.push_back(std::move(item));
        }
        if (type.is(Kind::kTuple)) return Value::tuple(std::move(items));
        const Type element = type.element().has_dynamic() && !items.empty() ? items[0].type() : type.element();
        return type.is(Kind::kList) ? Value::list(element, std::move(items)) : Value::set(element, std::move(items));
      }
      case Kind::kMap:
      case Kind::kObject: {
        size_t count = 0;
        if (!map(count)) return bad(type.friendly_name() + " required");
        Value::Members members;
        for (size_t i = 0; i < count; ++i) {
          std::string_view name;
          if (!bytes(name)) return bad("a key must be a string");
          const std::string key(name);
          const Type* t = type.is(Kind::kMap) ? &type.element() : type.attribute(key);
          if (t == nullptr) return bad("attribute \"" + key + "\" is not in the schema");
          auto member = value(*t, depth + 1);
          if (!member) return err(member.error().with_context("." + key));
          members.emplace(key, std::move(*member));
        }
        if (type.is(Kind::kMap)) {
          const Type element = type.element().has_dynamic() && !members.empty() ? members.begin()->second.type() : type.element();
          return Value::map(element, std::move(members));
        }
        for (const auto& [name, t] : type.attributes()) {
          if (!members.contains(name)) return bad("attribute \"" + name + "\" is missing");
        }
        return Value::object(std::move(members));
      }
      default: return bad("unexpected type");
    }
  }

 private:
  std::unexpected<Status> bad(std::string message) { return err(bad_request("msgpack: " + message)); }
  unsigned peek() const { return static_cast<unsigned char>(in_[0]); }
  unsigned take() {
    const unsigned b = peek();
    in_.remove_prefix(1);
    return b;
  }
  bool big_endian(int count, uint64_t& out) {
    if (in_.size() < static_cast<size_t>(count)) return false;
    out = 0;
    for (int i = 0; i < count; ++i) out = (out << 8) | take();
    return true;
  }
  bool raw(size_t count, std::string_view& out) {
    if (in_.size() < count) return false;
    out = in_.substr(0, count);
    in_.remove_prefix(count);
    return true;
  }
  bool bytes(std::string_view& out) {
    if (in_.empty()) return false;
    const unsigned b = take();
    uint64_t n = 0;
    if ((b & 0xe0) == 0xa0) n = b & 0x1f;
    else if (b == 0xc4 || b == 0xd9) { if (!big_endian(1, n)) return false; }
    else if (b == 0xc5 || b == 0xda) { if (!big_endian(2, n)) return false; }
    else if (b == 0xc6 || b == 0xdb) { if (!big_endian(4, n)) return false; }
    else return false;
    return raw(n, out);
  }
  bool array(size_t& n) { return header(0x90, 0xdc, n); }
  bool map(size_t& n) { return header(0x80, 0xde, n); }
  bool header(unsigned fix, unsigned wide, size_t& n) {
    if (in_.empty()) return false;
    const unsigned b = take();
    uint64_t count = 0;
    if ((b & 0xf0) == fix) count = b & 0x0f;
    else if (b == wide) { if (!big_endian(2, count)) return false; }
    else if (b == wide + 1) { if (!big_endian(4, count)) return false; }
    else return false;
    n = count;
    return count <= in_.size();   // each element takes a byte or more
  }
  static bool is_extension(unsigned b) { return (b >= 0xd4 && b <= 0xd8) || (b >= 0xc7 && b <= 0xc9); }
  bool skip_extension() {
    const unsigned b = take();
    uint64_t n = 0;
    if (b >= 0xd4 && b <= 0xd8) n = 1ull << (b - 0xd4);
    else if (!big_endian(1 << (b - 0xc7), n)) return false;
    std::string_view ignored;
    return raw(n + 1, ignored);
  }
  Result<Value> number() {
    const unsigned b = peek();
    uint64_t v = 0;
    if (b < 0x80) return Value::number(static_cast<Number>(take()));
    if (b >= 0xe0) return Value::number(static_cast<Number>(static_cast<int8_t>(take())));
    if ((b & 0xe0) == 0xa0 || (b >= 0xd9 && b <= 0xdb)) {
      std::string_view text;
      Number n;
      if (!bytes(text) || !parse_number(text, n)) return bad("number required");
      return Value::number(n);
    }
    take();
    switch (b) {
      case 0xcc: case 0xcd: case 0xce: case 0xcf:
        if (!big_endian(1 << (b - 0xcc), v)) break;
        return Value::number(static_cast<Number>(v));
      case 0xd0: if (!big_endian(1, v)) break; return Value::number(static_cast<Number>(static_cast<int8_t>(v)));
      case 0xd1: if (!big_endian(2, v)) break; return Value::number(static_cast<Number>(static_cast<int16_t>(v)));
      case 0xd2: if (!big_endian(4, v)) break; return Value::number(static_cast<Number>(static_cast<int32_t>(v)));
      case 0xd3: if (!big_endian(8, v)) break; return Value::number(static_cast<Number>(static_cast<int64_t>(v)));
      case 0xca: {
        if (!big_endian(4, v)) break;
        float f;
        const uint32_t bits = static_cast<uint32_t>(v);
        std::memcpy(&f, &bits, sizeof f);
        if (!std::isfinite(f)) return bad("number is not finite");
        return Value::number(static_cast<Number>(f));
      }
      case 0xcb: {
        if (!big_endian(8, v)) break;
        double d;
        std::memcpy(&d, &v, sizeof d);
        if (!std::isfinite(d)) return bad("number is not finite");
        return Value::number(static_cast<Number>(d));
      }
      default: return bad("number required");
    }
    return bad("ends too early");
  }

  std::string_view in_;
};

}  // namespace

std::string to_msgpack(const Value& value, const Type& type) {
  Writer writer;
  writer.value(value, type);
  return std::move(writer.out);
}

Result<Value> from_msgpack(std::string_view bytes, const Type& type) {
  Reader reader(bytes);
  auto value = reader.value(type, 0);
  if (value && !reader.at_end()) return err(bad_request("msgpack: trailing bytes"));
  return value;
}

}  // namespace engenho::magma
