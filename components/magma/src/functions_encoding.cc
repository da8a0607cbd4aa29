// Encodings and hashes.
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "digest.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "engenho/base/yaml.h"
#include "functions.h"

namespace engenho::magma {

namespace {

using H = Function::Handling;
using K = Type::Kind;
#define TEXT(var, index) ENGENHO_MAGMA_ARG(const std::string var, text_argument(a, index))

std::unexpected<Status> fail(std::string message) { return err(bad_request(std::move(message))); }

bool valid_utf8(std::string_view s) {
  for (size_t i = 0; i < s.size();) {
    const auto b = static_cast<unsigned char>(s[i]);
    const size_t n = b < 0x80 ? 1 : (b & 0xe0) == 0xc0 && b >= 0xc2 ? 2 : (b & 0xf0) == 0xe0 ? 3 : (b & 0xf8) == 0xf0 && b <= 0xf4 ? 4 : 0;
    if (n == 0 || i + n > s.size()) return false;
    for (size_t k = 1; k < n; ++k) {
      if ((static_cast<unsigned char>(s[i + k]) & 0xc0) != 0x80) return false;
    }
    i += n;
  }
  return true;
}

Result<Value> base64gzip(Arguments& a, const Scope&) {
  TEXT(text, 0);
  z_stream z{};
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return fail("gzip failed");
  std::string out(deflateBound(&z, text.size()) + 32, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int code = deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  if (code != Z_STREAM_END) return fail("gzip failed");
  if (out.size() > 9) out[9] = '\xff';   // the system is not told, as in Go
  return Value::string(base64_encode(out));
}

Result<Value> csvdecode(Arguments& a, const Scope&) {
  TEXT(text, 0);
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row;
  std::string field;
  bool quoted = false, any = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') field += '"', ++i;
      else if (c == '"') quoted = false;
      else field += c;
    } else if (c == '"' && field.empty()) {
      quoted = any = true;
    } else if (c == ',') {
      row.push_back(std::move(field));
      field.clear();
      any = true;
    } else if (c == '\n') {
      if (!field.empty() && field.back() == '\r') field.pop_back();
      if (any || !field.empty()) {
        row.push_back(std::move(field));
        rows.push_back(std::move(row));
      }
      field.clear();
      row.clear();
      any = false;
    } else {
      field += c;
      any = true;
    }
  }
  if (quoted) return fail("a quoted field is not closed");
  if (any || !field.empty()) {
    row.push_back(std::move(field));
    rows.push_back(std::move(row));
  }
  if (rows.empty()) return fail("missing header line");
  Value::Items out;
  for (size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].size() != rows[0].size()) return fail("record on line " + std::to_string(i + 1) + ": wrong number of fields");
    Value::Members members;
    for (size_t k = 0; k < rows[0].size(); ++k) {
      if (!members.emplace(rows[0][k], Value::string(rows[i][k])).second) return fail("duplicate column name \"" + rows[0][k] + "\"");
    }
    out.push_back(Value::object(std::move(members)));
  }
  Type::Attributes columns;
  for (const std::string& name : rows[0]) columns.emplace_back(name, Type::string());
  return Value::list(Type::object(std::move(columns)), std::move(out));
}

// As JSON, with numbers written out.
void encode(const Value& v, std::string& out) {
  if (!v.holds()) {
    out += "null";
  } else if (v.is_number()) {
    out += number_to_string(v.as_number());
  } else if (v.type().is_sequence()) {
    out += '[';
    for (const Value& item : v.items()) {
      if (&item != &v.items()[0]) out += ',';
      encode(item, out);
    }
    out += ']';
  } else if (v.type().is_mapping()) {
    out += '{';
    bool first = true;
    for (const auto& [name, member] : v.members()) {
      if (!first) out += ',';
      first = false;
      json::dump_string_to(name, out);
      out += ':';
      encode(member, out);
    }
    out += '}';
  } else {
    out += json::dump(to_plain_json(v));
  }
}

// Lists and maps in block style, strings in quotes, as Terraform's yamlencode.
void yaml(const json::Value& v, int depth, bool after_dash, std::string& out) {
  const std::string margin(static_cast<size_t>(depth) * 2, ' ');
  if (v.is_object() && !v.as_object().empty()) {
    bool first = true;
    for (const auto& [name, member] : v.as_object()) {
      if (!(first && after_dash)) out += margin;
      first = false;
      json::dump_string_to(name, out);
      out += ":";
      if (member.is_object() && !member.as_object().empty()) out += "\n", yaml(member, depth + 1, false, out);
      else if (member.is_array() && !member.as_array().empty()) out += "\n", yaml(member, depth, false, out);
      else out += " ", yaml(member, depth, false, out);
    }
  } else if (v.is_array() && !v.as_array().empty()) {
    bool first = true;
    for (const json::Value& item : v.as_array()) {
      if (!(first && after_dash)) out += margin;
      first = false;
      out += "- ";
      yaml(item, depth + 1, true, out);
    }
  } else if (v.is_string() && v.as_string().find('\n') != std::string::npos && v.as_string().find_first_of("\t\r") == std::string::npos && v.as_string()[0] != ' ' && v.as_string()[0] != '\n') {
    std::string text = v.as_string();
    out += text.back() == '\n' ? (text.size() > 1 && text[text.size() - 2] == '\n' ? "|+\n" : "|\n") : "|-\n";
    if (text.back() == '\n') text.pop_back();
    for (std::string_view line : split(text, '\n')) {
      if (!line.empty()) out += std::string(static_cast<size_t>(std::max(depth, 1)) * 2, ' ');
      out += line;
      out += "\n";
    }
  } else {
    out += json::dump(v) + "\n";
  }
}

Result<Value> yamldecode(Arguments& a, const Scope&) {
  TEXT(text, 0);
  auto parsed = yaml::parse(text);
  if (!parsed) return err(parsed.error());
  return implied_from_json(parsed->value);
}

Result<Value> urlencode(Arguments& a, const Scope&) {
  TEXT(text, 0);
  std::string out;
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) || c == '-' || c == '_' || c == '.' || c == '~') out += c;
    else if (c == ' ') out += '+';
    else out += "%" + std::string(1, "0123456789ABCDEF"[u >> 4]) + std::string(1, "0123456789ABCDEF"[u & 15]);
  }
  return Value::string(std::move(out));
}

Result<Value> rsadecrypt(Arguments& a, const Scope&) {
  TEXT(encoded, 0);
  TEXT(pem, 1);
  ENGENHO_MAGMA_ARG(const std::string cipher, base64_decode(encoded));
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  if (!key) return fail("invalid private key");
  std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(key.get(), nullptr), EVP_PKEY_CTX_free);
  size_t size = cipher.size() + 1024;
  std::string out(size, '\0');
  if (!context || EVP_PKEY_decrypt_init(context.get()) != 1 || EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PADDING) != 1 ||
      EVP_PKEY_decrypt(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size, reinterpret_cast<const unsigned char*>(cipher.data()), cipher.size()) != 1) {
    return fail("failed to decrypt: the key does not match or the cipher text is damaged");
  }
  out.resize(size);
  return Value::string(std::move(out)).marked();
}

Result<Value> uuidv5(Arguments& a, const Scope&) {
  TEXT(space, 0);
  TEXT(name, 1);
  static const std::map<std::string, std::string> kSpaces = {{"dns", "10"}, {"url", "11"}, {"oid", "12"}, {"x500", "14"}};
  std::string hex;
  if (auto at = kSpaces.find(space); at != kSpaces.end()) hex = "6ba7b8" + at->second + "9dad11d180b400c04fd430c8";
  else for (char c : space) if (c != '-') hex += c;
  auto bytes = hex_decode(hex);
  if (!bytes || bytes->size() != 16) return fail("uuidv5() doesn't support namespace \"" + space + "\"");
  std::string hash = digest("SHA1", *bytes + name).substr(0, 16);
  hash[6] = static_cast<char>((hash[6] & 0x0f) | 0x50);
  hash[8] = static_cast<char>((hash[8] & 0x3f) | 0x80);
  const std::string h = hex_encode(hash);
  return Value::string(h.substr(0, 8) + "-" + h.substr(8, 4) + "-" + h.substr(12, 4) + "-" + h.substr(16, 4) + "-" + h.substr(20));
}

Result<Value> text_encode(Arguments& a, const Scope&) {
  TEXT(text, 0);
  TEXT(encoding, 1);
  const std::string name = to_lower(encoding);
  if (name == "utf-8" || name == "utf8") return Value::string(base64_encode(text));
  const bool little = name == "utf-16le";
  if (!little && name != "utf-16be") return fail("the encoding \"" + encoding + "\" is not supported; UTF-8, UTF-16LE and UTF-16BE are");
  std::string out;
  auto put = [&](uint32_t unit) { out += static_cast<char>(little ? unit & 0xff : unit >> 8), out += static_cast<char>(little ? unit >> 8 : unit & 0xff); };
  for (size_t i = 0; i < text.size();) {
    const auto b = static_cast<unsigned char>(text[i]);
    const size_t n = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    uint32_t code = n == 1 ? b : b & (0x7f >> n);
    for (size_t k = 1; k < n && i + k < text.size(); ++k) code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3f);
    if (code >= 0x10000) put(0xd800 + ((code - 0x10000) >> 10)), put(0xdc00 + ((code - 0x10000) & 0x3ff));
    else put(code);
    i += n;
  }
  return Value::string(base64_encode(out));
}

#define F(body) [](Arguments& a, const Scope&) -> Result<Value> { body }
#define HASH(md, encode) F(TEXT(t, 0); return Value::string(encode(digest(md, t)));)

}  // namespace

const std::vector<Function>& encoding_functions() {
  static const std::vector<Function> all = {
      {"base64decode", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); ENGENHO_MAGMA_ARG(std::string d, base64_decode(t)); if (!valid_utf8(d)) return fail("the result of decoding the provided string is not valid UTF-8");
             return Value::string(std::move(d));)},
      {"base64encode", 1, 1, H::kPlain, K::kString, F(TEXT(t, 0); return Value::string(base64_encode(t));)},
      {"base64gzip", 1, 1, H::kPlain, K::kString, base64gzip},
      {"base64sha256", 1, 1, H::kPlain, K::kString, HASH("SHA256", base64_encode)},
      {"base64sha512", 1, 1, H::kPlain, K::kString, HASH("SHA512", base64_encode)},
      {"md5", 1, 1, H::kPlain, K::kString, HASH("MD5", hex_encode)},
      {"sha1", 1, 1, H::kPlain, K::kString, HASH("SHA1", hex_encode)},
      {"sha256", 1, 1, H::kPlain, K::kString, HASH("SHA256", hex_encode)},
      {"sha512", 1, 1, H::kPlain, K::kString, HASH("SHA512", hex_encode)},
      {"bcrypt", 1, 2, H::kPlain, K::kString, [](Arguments& a, const Scope& scope) -> Result<Value> {
         TEXT(t, 0);
         int64_t cost = 10;
         if (a.size() > 1) {
           ENGENHO_MAGMA_ARG(cost, integer_argument(a, 1));
         }
         if (cost < 4 || cost > 16) return fail("the cost must be between 4 and 16");
         if (!scope.applying()) return Value::unknown(Type::string());
         ENGENHO_MAGMA_ARG(std::string hash, bcrypt(t, static_cast<int>(cost)));
         return Value::string(std::move(hash));
       }},
      {"csvdecode", 1, 1, H::kPlain, K::kDynamic, csvdecode},
      {"jsondecode", 1, 1, H::kPlain, K::kDynamic, F(TEXT(t, 0); ENGENHO_MAGMA_ARG(json::Value v, json::parse(t)); return implied_from_json(v);)},
      {"jsonencode", 1, 1, H::kNullable, K::kString, F(std::string out; encode(a[0], out); return Value::string(std::move(out));)},
      {"textencodebase64", 2, 2, H::kPlain, K::kString, text_encode},
      {"textdecodebase64", 2, 2, H::kPlain, K::kString, F(TEXT(t, 0); TEXT(e, 1); if (to_lower(e) != "utf-8") return fail("the encoding \"" + e + "\" is not supported; UTF-8 is");
             ENGENHO_MAGMA_ARG(std::string d, base64_decode(t)); return Value::string(std::move(d));)},
      {"urlencode", 1, 1, H::kPlain, K::kString, urlencode},
      {"uuid", 0, 0, H::kPlain, K::kString, [](Arguments&, const Scope& scope) -> Result<Value> { return scope.applying() ? Value::string(random_uuid()) : Value::unknown(Type::string()); }},
      {"uuidv5", 2, 2, H::kPlain, K::kString, uuidv5},
      {"rsadecrypt", 2, 2, H::kPlain, K::kString, rsadecrypt},
      {"yamldecode", 1, 1, H::kPlain, K::kDynamic, yamldecode},
      {"yamlencode", 1, 1, H::kNullable, K::kString, F(std::string out; yaml(to_plain_json(a[0]), 0, false, out); return Value::string(std::move(out));)},
  };
  return all;
}

}  // namespace engenho::magma
