#include "engenho/http/gzip.h"

#include <zlib.h>

#include "engenho/base/bytes.h"

namespace engenho::http {

bool accepts_gzip(const Headers& request) {
  for (std::string_view value : request.all("accept-encoding")) {
    for (std::string_view part : split(value, ',')) {
      size_t semicolon = part.find(';');
      std::string_view name = trim(part.substr(0, semicolon));
      if (!iequals(name, "gzip") && name != "*") continue;
      if (semicolon == std::string_view::npos) return true;
      std::string_view weight = trim(part.substr(semicolon + 1));
      // "q=0", "q=0.0", ... refuse it.
      if (!weight.starts_with("q=") && !weight.starts_with("Q=")) return true;
      return weight.find_first_of("123456789", 2) != std::string_view::npos;
    }
  }
  return false;
}

Result<std::string> gzip(const Body& body, int level) {
  z_stream z{};
  if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return err(internal_error("gzip: no memory"));
  std::string out;
  out.resize(deflateBound(&z, static_cast<uLong>(body.size())));
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  int rc = Z_OK;
  for (const Segment& segment : body.segments()) {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(segment.data));
    z.avail_in = static_cast<uInt>(segment.size);
    rc = deflate(&z, Z_NO_FLUSH);
    if (rc != Z_OK || z.avail_in != 0) break;
  }
  if (rc == Z_OK) rc = deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  if (rc != Z_STREAM_END) return err(internal_error("gzip: cannot compress"));
  return out;
}

Result<std::string> gunzip(std::string_view data, size_t max_size) {
  z_stream z{};
  if (inflateInit2(&z, 15 + 16) != Z_OK) return err(internal_error("gunzip: no memory"));
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  z.avail_in = static_cast<uInt>(data.size());
  std::string out;
  int rc = Z_OK;
  bool too_large = false;
  while (rc == Z_OK) {
    char buffer[16 << 10];
    z.next_out = reinterpret_cast<Bytef*>(buffer);
    z.avail_out = sizeof buffer;
    rc = inflate(&z, Z_NO_FLUSH);
    size_t n = sizeof buffer - z.avail_out;
    if (out.size() + n > max_size) {
      too_large = true;
      break;
    }
    out.append(buffer, n);
    if (rc == Z_OK && n == 0 && z.avail_in == 0) break;  // cut short
  }
  inflateEnd(&z);
  if (too_large) return err(bad_request("gunzip: larger than " + std::to_string(max_size) + " bytes"));
  if (rc != Z_STREAM_END) return err(bad_request("gunzip: damaged data"));
  return out;
}

}  // namespace engenho::http
