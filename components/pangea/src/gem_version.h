// Versions of gems and constraints on them, as RubyGems has them: https://guides.rubygems.org/patterns/#semantic-versioning
#pragma once

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho::pangea {

// `constraint`: "1.2.3", ">= 0.1", "~> 1.4, != 1.4.2"; empty: any. Errors: BadRequest with the text that is not understood.
Result<bool> version_satisfies(std::string_view version, std::string_view constraint);
// Negative, 0 or positive. "1.0.a" counts before "1.0".
int compare_versions(std::string_view a, std::string_view b);

}  // namespace engenho::pangea
