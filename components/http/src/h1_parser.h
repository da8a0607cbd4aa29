// HTTP/1.1 message heads and chunked bodies (RFC 9112), for server and client. Strict where leniency lets two parties
// disagree about where a message ends: no bare line feeds, no folded lines, no blanks before a colon, one Content-Length,
// never together with Transfer-Encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engenho/http/message.h"

namespace engenho::http {

// The length of the head including the empty line, or 0 when it is not all there. `from`: where to go on searching.
size_t find_head_end(std::string_view data, size_t from);

// Each takes a whole head. On failure the status to answer (400, 431, 501, 505), else 0.
int parse_request_head(std::string_view head, Request& out);
bool parse_response_head(std::string_view head, int& status, bool& http11, Headers& headers);

struct Framing {
  enum class Kind { kNone, kLength, kChunked, kUntilClose } kind = Kind::kNone;
  uint64_t length = 0;
};
// 0, or the status to answer for contradictory or unknown framing fields.
int request_framing(const Headers& headers, Protocol protocol, Framing& out);
bool response_framing(const Headers& headers, int status, bool head_request, Framing& out);
bool valid_field_name(std::string_view name);
bool valid_field_value(std::string_view value);

// Decodes a chunked body as it comes.
class ChunkedDecoder {
 public:
  enum class State { kMore, kDone, kBad };
  // Takes bytes from the front of `in`. At most one piece of payload comes back in `payload` (a part of `in`'s memory); call it
  // again while `in` is not empty and kMore is returned.
  State feed(std::string_view& in, std::string_view& payload);

 private:
  enum class Part { kSize, kExtension, kSizeLf, kData, kDataCr, kDataLf, kTrailer, kTrailerLine, kTrailerLf, kEndLf };
  Part part_ = Part::kSize;
  uint64_t left_ = 0;
  int digits_ = 0;
  size_t overhead_ = 0;  // bytes of extensions and trailers
};

}  // namespace engenho::http
