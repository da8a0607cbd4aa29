// SPDY/3 name/value blocks: compressed with one zlib stream per direction and session, primed with the protocol's
// dictionary (draft-mbelshe-httpbis-spdy-00, section 2.6.10).
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "engenho/base/status.h"
#include "engenho/http/message.h"

namespace engenho::http {

const std::string& spdy_dictionary();  // 1423 bytes, Adler-32 e3c6a7c2

class SpdyDeflater {
 public:
  SpdyDeflater();
  ~SpdyDeflater();
  SpdyDeflater(const SpdyDeflater&) = delete;
  SpdyDeflater& operator=(const SpdyDeflater&) = delete;
  Result<std::string> encode(const Headers& headers);

 private:
  z_stream z_{};
  bool ok_;
};

class SpdyInflater {
 public:
  SpdyInflater();
  ~SpdyInflater();
  SpdyInflater(const SpdyInflater&) = delete;
  SpdyInflater& operator=(const SpdyInflater&) = delete;
  // An error leaves the session's compression state broken: the session must end.
  Result<Headers> decode(std::string_view block);

 private:
  z_stream z_{};
  bool ok_;
};

void put_u16(std::string& out, uint32_t v);
void put_u32(std::string& out, uint32_t v);
uint32_t get_u32(const char* data);

}  // namespace engenho::http
