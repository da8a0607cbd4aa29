// gzip for large responses. Not automatic: the API server compresses from 128 KiB on, when the client accepts it.
#pragma once

#include <string>

#include "engenho/base/status.h"
#include "engenho/http/message.h"

namespace engenho::http {

bool accepts_gzip(const Headers& request);  // Accept-Encoding with gzip at q > 0
Result<std::string> gzip(const Body& body, int level = 1);
Result<std::string> gunzip(std::string_view data, size_t max_size);

}  // namespace engenho::http
