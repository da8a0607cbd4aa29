#include "h1_parser.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace engenho::http {
namespace {

constexpr size_t kMaxChunkOverhead = 64 << 10;

constexpr auto kTokenChars = [] {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<size_t>(c)] = true;
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'})
    table[static_cast<size_t>(c)] = true;
  return table;
}();

bool is_token(std::string_view text) {
  if (text.empty()) return false;
  for (unsigned char c : text)
    if (!kTokenChars[c]) return false;
  return true;
}

std::string_view trim_blank(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The next line without its CRLF; false at the end or at a lone CR or LF.
bool next_line(std::string_view& rest, std::string_view& line) {
  size_t at = rest.find('\n');
  if (at == std::string_view::npos || at == 0 || rest[at - 1] != '\r') return false;
  line = rest.substr(0, at - 1);
  rest.remove_prefix(at + 1);
  return line.find('\r') == std::string_view::npos;
}

bool parse_fields(std::string_view rest, Headers& out) {
  std::string_view line;
  out.reserve(static_cast<size_t>(std::count(rest.begin(), rest.end(), '\n')));
  while (next_line(rest, line)) {
    if (line.empty()) return rest.empty();
    size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return false;
    std::string_view value = trim_blank(line.substr(colon + 1));
    if (!valid_field_value(value)) return false;
    out.add(std::string(line.substr(0, colon)), std::string(value));
  }
  return false;
}

bool parse_length(std::string_view text, uint64_t& out) {
  if (text.empty() || text.size() > 18) return false;
  out = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    out = out * 10 + static_cast<uint64_t>(c - '0');
  }
  return true;
}

int framing_fields(const Headers& headers, Framing& out) {
  const std::string* length = nullptr;
  const std::string* encoding = nullptr;
  for (const Headers::Field& field : headers) {
    if (field.name.size() == 14 && iequals(field.name, "content-length")) {
      if (length) return 400;
      length = &field.value;
    } else if (field.name.size() == 17 && iequals(field.name, "transfer-encoding")) {
      if (encoding) return 400;
      encoding = &field.value;
    }
  }
  if (encoding) {
    if (length) return 400;
    if (!iequals(*encoding, "chunked")) return 501;
    out.kind = Framing::Kind::kChunked;
  } else if (length) {
    if (!parse_length(*length, out.length)) return 400;
    out.kind = out.length ? Framing::Kind::kLength : Framing::Kind::kNone;
  }
  return 0;
}

}  // namespace

bool valid_field_name(std::string_view name) { return is_token(name); }

bool valid_field_value(std::string_view value) {
  for (unsigned char c : value)
    if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
  return true;
}

size_t find_head_end(std::string_view data, size_t from) {
  size_t at = data.find("\r\n\r\n", from > 3 ? from - 3 : 0);
  return at == std::string_view::npos ? 0 : at + 4;
}

int parse_request_head(std::string_view head, Request& out) {
  std::string_view line;
  if (!next_line(head, line)) return 400;
  size_t first = line.find(' ');
  size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return 400;
  std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  std::string_view version = line.substr(last + 1);
  if (!is_token(method) || target.empty()) return 400;
  for (unsigned char c : target)
    if (c <= 0x20 || c == 0x7f) return 400;
  if (version == "HTTP/1.1") {
    out.protocol = Protocol::kHttp11;
  } else if (version == "HTTP/1.0") {
    out.protocol = Protocol::kHttp10;
  } else {
    return version.starts_with("HTTP/") ? 505 : 400;
  }
  if (!parse_fields(head, out.headers)) return 400;

  const std::string* host = nullptr;
  for (const Headers::Field& field : out.headers) {
    if (field.name.size() != 4 || !iequals(field.name, "host")) continue;
    if (host) return 400;
    host = &field.value;
  }
  if (host) {
    out.host = *host;
  } else if (out.protocol == Protocol::kHttp11) {
    return 400;
  }
  // The absolute form, as sent to proxies: its authority wins (RFC 9112, section 3.2.2).
  if (target.front() != '/' && target != "*" && method != "CONNECT") {
    size_t scheme_end = target.find("://");
    if (scheme_end == std::string_view::npos) return 400;
    std::string_view rest = target.substr(scheme_end + 3);
    size_t path = rest.find_first_of("/?");
    out.host = std::string(rest.substr(0, path));
    std::string_view origin = path == std::string_view::npos ? std::string_view("/") : rest.substr(path);
    out.target = origin.front() == '?' ? "/" + std::string(origin) : std::string(origin);
  } else {
    out.target = std::string(target);
  }
  out.method = std::string(method);
  return 0;
}

bool parse_response_head(std::string_view head, int& status, bool& http11, Headers& headers) {
  std::string_view line;
  if (!next_line(head, line)) return false;
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || line[8] != ' ' || (line[7] != '0' && line[7] != '1')) return false;
  http11 = line[7] == '1';
  status = 0;
  for (char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return false;
    status = status * 10 + (c - '0');
  }
  if (status < 100 || (line.size() > 12 && line[12] != ' ')) return false;
  return parse_fields(head, headers);
}

int request_framing(const Headers& headers, Protocol protocol, Framing& out) {
  int bad = framing_fields(headers, out);
  if (bad) return bad;
  // HTTP/1.0 knows no chunks: a peer that sends them through an old proxy is asking for confusion.
  if (protocol == Protocol::kHttp10 && out.kind == Framing::Kind::kChunked) return 400;
  return 0;
}

bool response_framing(const Headers& headers, int status, bool head_request, Framing& out) {
  if (framing_fields(headers, out) != 0) return false;
  if (head_request || status < 200 || status == 204 || status == 304) {
    out = Framing{};
  } else if (out.kind == Framing::Kind::kNone && !headers.contains("content-length")) {
    out.kind = Framing::Kind::kUntilClose;
  }
  return true;
}

ChunkedDecoder::State ChunkedDecoder::feed(std::string_view& in, std::string_view& payload) {
  payload = {};
  while (!in.empty()) {
    if (part_ == Part::kData) {
      size_t n = static_cast<size_t>(std::min<uint64_t>(left_, in.size()));
      payload = in.substr(0, n);
      in.remove_prefix(n);
      left_ -= n;
      if (left_ == 0) part_ = Part::kDataCr;
      return State::kMore;
    }
    unsigned char c = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    switch (part_) {
      case Part::kSize: {
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit >= 0) {
          if (++digits_ > 15) return State::kBad;
          left_ = left_ * 16 + static_cast<uint64_t>(digit);
          break;
        }
        if (digits_ == 0) return State::kBad;
        if (c == '\r') {
          part_ = Part::kSizeLf;
        } else if (c == ';' || c == ' ' || c == '\t') {
          part_ = Part::kExtension;
        } else {
          return State::kBad;
        }
        break;
      }
      case Part::kExtension:
        if (++overhead_ > kMaxChunkOverhead || c == '\n') return State::kBad;
        if (c == '\r') part_ = Part::kSizeLf;
        break;
      case Part::kSizeLf:
        if (c != '\n') return State::kBad;
        part_ = left_ > 0 ? Part::kData : Part::kTrailer;
        digits_ = 0;
        break;
      case Part::kDataCr:
        if (c != '\r') return State::kBad;
        part_ = Part::kDataLf;
        break;
      case Part::kDataLf:
        if (c != '\n') return State::kBad;
        part_ = Part::kSize;
        break;
      case Part::kTrailer:
        part_ = c == '\r' ? Part::kEndLf : Part::kTrailerLine;
        if (c == '\n') return State::kBad;
        break;
      case Part::kTrailerLine:
        if (++overhead_ > kMaxChunkOverhead || c == '\n') return State::kBad;
        if (c == '\r') part_ = Part::kTrailerLf;
        break;
      case Part::kTrailerLf:
        if (c != '\n') return State::kBad;
        part_ = Part::kTrailer;
        break;
      case Part::kEndLf: return c == '\n' ? State::kDone : State::kBad;
      case Part::kData: break;
    }
  }
  return State::kMore;
}

}  // namespace engenho::http
