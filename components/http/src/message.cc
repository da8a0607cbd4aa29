#include "engenho/http/message.h"

#include <algorithm>
#include <iterator>

namespace engenho::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string_view trim_blank(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

bool iequals(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  return true;
}

const std::string* Headers::find(std::string_view name) const {
  for (const Field& field : fields_)
    if (iequals(field.name, name)) return &field.value;
  return nullptr;
}

std::string_view Headers::get(std::string_view name) const {
  const std::string* value = find(name);
  return value ? std::string_view(*value) : std::string_view();
}

std::vector<std::string_view> Headers::all(std::string_view name) const {
  std::vector<std::string_view> out;
  for (const Field& field : fields_)
    if (iequals(field.name, name)) out.push_back(field.value);
  return out;
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  for (const Field& field : fields_) {
    if (!iequals(field.name, name)) continue;
    std::string_view rest = field.value;
    for (bool more = true; more;) {
      size_t comma = rest.find(',');
      if (iequals(trim_blank(rest.substr(0, comma)), token)) return true;
      more = comma != std::string_view::npos;
      if (more) rest.remove_prefix(comma + 1);
    }
  }
  return false;
}

void Headers::set(std::string_view name, std::string value) {
  remove(name);
  fields_.push_back({std::string(name), std::move(value)});
}

size_t Headers::remove(std::string_view name) {
  return std::erase_if(fields_, [&](const Field& field) { return iequals(field.name, name); });
}

Body::Body(std::string text) {
  if (text.empty()) return;
  auto owner = std::make_shared<const std::string>(std::move(text));
  std::string_view bytes = *owner;
  append(std::move(owner), bytes);
}

Body::Body(std::shared_ptr<const std::string> text) {
  if (!text) return;
  std::string_view bytes = *text;
  append(std::move(text), bytes);
}

Body Body::fixed(std::string_view text) {
  Body out;
  out.append_fixed(text);
  return out;
}

Body Body::view(std::shared_ptr<const void> owner, std::string_view bytes) {
  Body out;
  out.append(std::move(owner), bytes);
  return out;
}

void Body::append(Segment segment) {
  if (segment.size == 0) return;
  size_ += segment.size;
  segments_.push_back(std::move(segment));
}

void Body::append(Body body) {
  size_ += body.size_;
  if (segments_.empty()) {
    segments_ = std::move(body.segments_);
  } else {
    segments_.insert(segments_.end(), std::make_move_iterator(body.segments_.begin()),
                     std::make_move_iterator(body.segments_.end()));
  }
  body = Body();
}

std::string Body::to_string() const {
  std::string out;
  out.reserve(size_);
  for (const Segment& segment : segments_) out.append(segment.data, segment.size);
  return out;
}

std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::kHttp10: return "HTTP/1.0";
    case Protocol::kHttp11: return "HTTP/1.1";
    case Protocol::kHttp2: return "HTTP/2.0";
  }
  return {};
}

std::string_view status_text(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Entity";
    case 423: return "Locked";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

}  // namespace engenho::http
