// The formats of OpenAPI strings that Kubernetes checks.
#pragma once

#include <string_view>

namespace engenho::schema {

// True for formats that are unknown.
bool has_format(std::string_view format, std::string_view text);

}  // namespace engenho::schema
