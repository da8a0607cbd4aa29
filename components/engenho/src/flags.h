// The flags of the small commands: `--name value`, `--name=value`, and words that are no flags. (The server's flags are also variables and keys of a
// file: config.h.)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"

namespace engenho {

struct Flag {
  std::string name;
  std::string value_name;                                // empty: a switch
  std::string help;
  std::function<Status(const std::string& value)> set;   // its error names what was expected
};

// The words that are no flags. Errors (BadRequest) name the flag, and the nearest valid one for one that does not exist.
Result<std::vector<std::string>> parse_flags(const std::vector<Flag>& flags, const std::vector<std::string>& arguments);
std::string flags_help(const std::vector<Flag>& flags);

std::function<Status(const std::string&)> set_text(std::string& into);
std::function<Status(const std::string&)> set_switch(bool& into);
std::function<Status(const std::string&)> set_number(int64_t& into, int64_t least);
std::function<Status(const std::string&)> set_duration(Duration& into);  // 90s, 15m, 6h, 7d
std::function<Status(const std::string&)> add_text(std::vector<std::string>& into);

Result<Duration> parse_duration(const std::string& text);

}  // namespace engenho
