#include "spdy_codec.h"

#include "engenho/base/bytes.h"

namespace engenho::http {
namespace {

constexpr size_t kMaxBlock = 64 << 10;  // unpacked

// The words of the dictionary, each preceded by its length in four bytes, and its plain tail.
constexpr std::string_view kWords[] = {
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding", "accept-language",
    "accept-ranges", "age", "allow", "authorization", "cache-control", "connection", "content-base", "content-encoding",
    "content-language", "content-length", "content-location", "content-md5", "content-range", "content-type", "date", "etag",
    "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
    "last-modified", "location", "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer",
    "retry-after", "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin"};
constexpr std::string_view kTail =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal "
    "Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, "
    "Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    "text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

const Bytef* dictionary_bytes() { return reinterpret_cast<const Bytef*>(spdy_dictionary().data()); }

}  // namespace

void put_u16(std::string& out, uint32_t v) {
  out += static_cast<char>(v >> 8 & 0xff);
  out += static_cast<char>(v & 0xff);
}
void put_u32(std::string& out, uint32_t v) {
  put_u16(out, v >> 16);
  put_u16(out, v & 0xffff);
}
uint32_t get_u32(const char* data) {
  auto* p = reinterpret_cast<const unsigned char*>(data);
  return static_cast<uint32_t>(p[0]) << 24 | static_cast<uint32_t>(p[1]) << 16 | static_cast<uint32_t>(p[2]) << 8 | p[3];
}

const std::string& spdy_dictionary() {
  static const std::string text = [] {
    std::string out;
    for (std::string_view word : kWords) {
      put_u32(out, static_cast<uint32_t>(word.size()));
      out += word;
    }
    out += kTail;
    return out;
  }();
  return text;
}

SpdyDeflater::SpdyDeflater() {
  ok_ = deflateInit(&z_, Z_BEST_SPEED) == Z_OK &&
        deflateSetDictionary(&z_, dictionary_bytes(), static_cast<uInt>(spdy_dictionary().size())) == Z_OK;
}
SpdyDeflater::~SpdyDeflater() { deflateEnd(&z_); }

Result<std::string> SpdyDeflater::encode(const Headers& headers) {
  // One entry a name; several values are joined with a zero byte.
  std::vector<std::pair<std::string, std::string>> fields;
  for (const Headers::Field& field : headers) {
    std::string name = to_lower(field.name);
    bool merged = false;
    for (auto& [known, value] : fields) {
      if (known != name) continue;
      value += '\0';
      value += field.value;
      merged = true;
    }
    if (!merged) fields.emplace_back(std::move(name), field.value);
  }
  std::string plain;
  put_u32(plain, static_cast<uint32_t>(fields.size()));
  for (const auto& [name, value] : fields) {
    put_u32(plain, static_cast<uint32_t>(name.size()));
    plain += name;
    put_u32(plain, static_cast<uint32_t>(value.size()));
    plain += value;
  }
  if (!ok_ || plain.size() > kMaxBlock) return err(internal_error("spdy: cannot encode a header block"));
  std::string out(deflateBound(&z_, static_cast<uLong>(plain.size())) + 64, '\0');
  z_.next_in = reinterpret_cast<Bytef*>(plain.data());
  z_.avail_in = static_cast<uInt>(plain.size());
  z_.next_out = reinterpret_cast<Bytef*>(out.data());
  z_.avail_out = static_cast<uInt>(out.size());
  if (deflate(&z_, Z_SYNC_FLUSH) != Z_OK || z_.avail_in != 0 || z_.avail_out == 0) {
    ok_ = false;
    return err(internal_error("spdy: cannot compress a header block"));
  }
  out.resize(out.size() - z_.avail_out);
  return out;
}

SpdyInflater::SpdyInflater() { ok_ = inflateInit(&z_) == Z_OK; }
SpdyInflater::~SpdyInflater() { inflateEnd(&z_); }

Result<Headers> SpdyInflater::decode(std::string_view block) {
  auto broken = [&](const char* why) {
    ok_ = false;
    return err(bad_request(std::string("spdy: ") + why));
  };
  if (!ok_) return broken("broken header compression");
  std::string plain(kMaxBlock, '\0');
  z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(block.data()));
  z_.avail_in = static_cast<uInt>(block.size());
  z_.next_out = reinterpret_cast<Bytef*>(plain.data());
  z_.avail_out = static_cast<uInt>(plain.size());
  while (z_.avail_in > 0) {
    int rc = inflate(&z_, Z_SYNC_FLUSH);
    if (rc == Z_NEED_DICT)
      rc = inflateSetDictionary(&z_, dictionary_bytes(), static_cast<uInt>(spdy_dictionary().size()));
    if (rc == Z_BUF_ERROR && z_.avail_in == 0) break;
    if (rc != Z_OK) return broken("bad header compression");
    if (z_.avail_out == 0) return broken("header block too large");
  }
  plain.resize(plain.size() - z_.avail_out);

  Headers out;
  size_t at = 0;
  auto number = [&](uint32_t& v) {
    if (plain.size() - at < 4) return false;
    v = get_u32(plain.data() + at);
    at += 4;
    return true;
  };
  auto text = [&](std::string_view& v) {
    uint32_t size = 0;
    if (!number(size) || size > plain.size() - at) return false;
    v = std::string_view(plain).substr(at, size);
    at += size;
    return true;
  };
  uint32_t count = 0;
  if (!number(count)) return broken("bad header block");
  for (uint32_t i = 0; i < count; ++i) {
    std::string_view name, value;
    if (!text(name) || !text(value) || name.empty()) return broken("bad header block");
    for (std::string_view one : split(value, '\0')) out.add(std::string(name), std::string(one));
  }
  return out;
}

}  // namespace engenho::http
